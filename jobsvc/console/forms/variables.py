"""Values of one variable, at all of its places; and many variables at once, as text."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from environments import dotenv, variables
from environments.models import Environment, EnvironmentVariable, Project
from jobsvc.engine.names import LONGEST_NAME, is_secret_name
from jobsvc.jobs.models import Job

NAME = r"DBT_[A-Z0-9_]+"
LONGEST_IMPORT = 500_000  # characters
MOST_AT_ONCE = 500  # variables of one import, which sets them one by one


class VariableForm(forms.Form):
    """A name, and a field for each place that may have a value.

    Only what somebody changed is set, so that two people at work do not undo each other's.
    A secret's fields are empty; empty keeps it.
    """

    name = forms.CharField(
        max_length=LONGEST_NAME,
        help_text="Upper case, and begins with DBT_. DBT_ENV_SECRET_ makes it a secret: its "
        "values are never shown again, and dbt itself lets them be used only in profiles.yml "
        "and packages.yml.",
        widget=forms.TextInput(
            attrs={
                "pattern": NAME,
                "title": "DBT_, then upper-case letters, digits and underscores",
                "autocomplete": "off",
                "spellcheck": "false",
                "autocapitalize": "characters",
                "class": "code",
            }
        ),
    )

    def __init__(self, data: Any = None, *, project: Project, name: str = "") -> None:
        super().__init__(data)
        self.project, self.called = project, name
        self.initial["name"] = name
        self.is_secret = is_secret_name(name)
        self.places: dict[str, str] = {}  # field to what set_values calls its place
        self.there: set[str] = set()  # fields of secrets that are set
        here = variables.by_environment(project).get(name, {})
        self._add("value_project", "Project default", "project", here.get("project"))
        for environment in project.environments.active().order_by("name"):
            field = f"value_environment_{environment.pk}"
            self._add(field, environment.name, environment.name, here.get(environment.name))
        self._add_jobs()

    def _add_jobs(self) -> None:
        rows = list(variables.of_jobs(self.project, self.called)) if self.called else []
        jobs: dict[int | None, Job] = {
            job.pk: job for job in Job.objects.active().filter(project=self.project)
        }
        for row in rows:
            self._add(
                f"value_job_{row.pk}", f"Job {jobs.pop(row.job_definition_id)}", str(row.pk), row
            )
        if jobs:
            by_name = sorted(jobs.values(), key=lambda job: (job.name, job.pk))
            choices = [("", "no further job"), *((str(job.pk), job.name) for job in by_name)]
            self.fields["job"] = forms.ChoiceField(
                label="Another job that has a value of its own", choices=choices, required=False
            )
            self.fields["job_value"] = self._value_field("Its value", is_set=False)

    def _add(self, field: str, label: str, place: str, row: EnvironmentVariable | None) -> None:
        self.places[field] = place
        self.fields[field] = self._value_field(label, is_set=row is not None)
        if row is None:
            return
        if self.is_secret:
            self.there.add(field)
            self.fields[f"remove_{field}"] = forms.BooleanField(
                label=f"Remove the value of {label}", required=False
            )
        else:
            self.initial[field] = row.value

    def _value_field(self, label: str, *, is_set: bool) -> forms.Field:
        if self.is_secret:
            attributes = {"autocomplete": "new-password"}
            if is_set:
                attributes["placeholder"] = "••••••••"
            return forms.CharField(
                label=label,
                required=False,
                strip=False,
                widget=forms.PasswordInput(attrs=attributes),
                help_text="Set, and not shown again. Leave it empty to keep it." if is_set else "",
            )
        area = forms.Textarea(attrs={"rows": 1, "spellcheck": "false", "class": "code"})
        return forms.CharField(
            label=label, required=False, strip=False, widget=area, show_hidden_initial=True
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for field, value in cleaned.items():
            if isinstance(value, str):
                cleaned[field] = value.replace("\r\n", "\n")  # what browsers make of line ends
        name = cleaned.get("name", "")
        if not self.called and name and name in variables.by_environment(self.project):
            self.add_error("name", "The project has this variable already. Open it to change it.")
        if not self.called and not any(cleaned.get(field) for field in [*self.places, "job_value"]):
            self.add_error("value_project", "Give it a value here, or at one of its places.")
        if cleaned.get("job_value") and not cleaned.get("job"):
            self.add_error("job", "Choose the job that this value is for.")
        return cleaned

    def changes(self) -> dict[str, str | None]:
        """Place to value, None to take it away, for what was changed."""
        typed = self.cleaned_data
        changed: dict[str, str | None] = {}
        for field, place in self.places.items():
            if typed.get(f"remove_{field}"):
                changed[place] = None
            elif self.is_secret:
                changed |= {place: typed[field]} if typed[field] else {}
            elif field in self.changed_data:
                changed[place] = typed[field] or None
        return changed

    def fields_of_places(self) -> dict[str, str]:
        """Place to field, for what a verb refuses."""
        return {place: field for field, place in self.places.items()} | {"new_name": "name"}


class ImportForm(forms.Form):
    """Text of a ``.env`` file, and where its values go. ``values`` is what was read."""

    place = forms.ModelChoiceField(
        Environment.objects.none(),
        label="Set them for",
        required=False,
        empty_label="the project: the default of all its environments",
    )
    text = forms.CharField(
        label="Lines",
        max_length=LONGEST_IMPORT,
        strip=False,
        help_text="One NAME=value a line, as in a .env file. A value that is there is replaced; "
        "nothing is deleted.",
        widget=forms.Textarea(
            attrs={
                "rows": 14,
                "spellcheck": "false",
                "class": "code",
                "placeholder": "DBT_REGION=eu\nDBT_ENV_SECRET_TOKEN='…'",
            }
        ),
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        place: Any = self.fields["place"]
        place.queryset = project.environments.active().order_by("name")
        self.values: dict[str, str] = {}

    def clean_text(self) -> str:
        text = str(self.cleaned_data["text"])
        try:
            self.values = dotenv.read(text)
        except ValueError as wrong:
            raise ValidationError(str(wrong)) from wrong
        if not self.values:
            raise ValidationError("There is no NAME=value in it.")
        if len(self.values) > MOST_AT_ONCE:
            raise ValidationError(
                f"These are {len(self.values)} variables. Import {MOST_AT_ONCE} at once at most."
            )
        return text
