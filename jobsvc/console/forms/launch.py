"""The launchpad's form: what one run is to do otherwise than its job says. Empty is the job's."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from environments import dotenv
from environments.variables import masked
from jobsvc.console.forms.refusals import tell
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.dbt_options import COMMANDS
from jobsvc.engine.errors import CommandRejected
from jobsvc.engine.names import check_ref, check_schema, check_sha, check_target, is_secret_name
from jobsvc.engine.state import written
from jobsvc.jobs.models import Job, validate_steps
from jobsvc.runs import toolchains
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import CAUSE_LENGTH

LARGEST = 2**31 - 1  # what a column of whole numbers holds
LONGEST_STEPS = 100_000  # characters
LONGEST_VARIABLES = 100_000
LONGEST_SELECTOR = 1000
NO_CODE = {"spellcheck": "false", "autocapitalize": "off"}
CODE = {**NO_CODE, "class": "code"}
YES_NO = [("", "As the job does"), ("true", "Yes"), ("false", "No")]
NO_OVERRIDES = {"cause", "selector", "full_refresh"}
OTHER_SELECTIONS = ("models", "exclude", "selector")  # options that a selector takes the place of
# What the form calls what a verb calls otherwise.
NAMES = {"execute_steps": "steps_override", "extensions": "variables_override"}


@dataclass(frozen=True)
class Row:
    """One setting: what the job says, and the field for what this run says."""

    field: forms.BoundField
    own: str
    is_code: bool = False

    @property
    def is_tick(self) -> bool:
        return isinstance(self.field.field, forms.BooleanField)


def _checked(check: Callable[[str], None]) -> Callable[[str], None]:
    """A validator out of a check that raises ValueError."""

    def validate(value: str) -> None:
        try:
            check(value)
        except ValueError as refused:
            raise ValidationError(str(refused)) from refused

    return validate


def _text(label: str, check: Callable[[str], None], length: int = 255) -> forms.CharField:
    widget = forms.TextInput(attrs=CODE)
    validators = [_checked(check)]
    return forms.CharField(
        label=label, required=False, max_length=length, widget=widget, validators=validators
    )


class LaunchForm(forms.Form):
    """The same fields, and the same checks, as the API's body for a run."""

    cause = forms.CharField(label="Cause", max_length=CAUSE_LENGTH)
    steps_override = forms.CharField(
        label="Commands, one a line",
        required=False,
        max_length=LONGEST_STEPS,
        widget=forms.Textarea(attrs={**CODE, "rows": 4}),
    )
    selector = forms.CharField(
        label="Only these nodes, in place of what the commands select",
        required=False,
        max_length=LONGEST_SELECTOR,
        widget=forms.TextInput(attrs={**CODE, "placeholder": "fct_orders+ tag:nightly"}),
    )
    full_refresh = forms.BooleanField(
        label="Full refresh: build incremental models and seeds from nothing", required=False
    )
    git_branch = _text("Branch", check_ref)
    git_sha = _text("Commit, all 40 digits", check_sha, 40)
    schema_override = _text("Schema", check_schema)
    target_name_override = _text("Target name", check_target)
    threads_override = forms.IntegerField(
        label="Threads", required=False, min_value=1, max_value=LARGEST
    )
    dbt_version_override = _text("dbt version", toolchains.check, 60)
    timeout_seconds_override = forms.IntegerField(
        label="Time limit in seconds, 0 for none", required=False, min_value=0, max_value=LARGEST
    )
    generate_docs_override = forms.ChoiceField(
        label="Generate documentation", required=False, choices=YES_NO
    )
    variables_override = forms.CharField(
        label="Variables, one NAME=value a line",
        required=False,
        max_length=LONGEST_VARIABLES,
        strip=False,
        widget=forms.Textarea(attrs={**CODE, "rows": 3}),
    )

    def __init__(
        self,
        data: Any = None,
        *,
        job: Job,
        initial: Mapping[str, Any],
        refused: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Args:
        refused: fields that this person may not fill in, and who may.
        """
        super().__init__(data, initial=dict(initial))
        self.job = job
        self.fields["dbt_version_override"].widget.attrs["list"] = "dbt-versions"
        self.fields["git_branch"].widget.attrs["list"] = "branches"
        for name, sentence in refused.items():
            self.fields[name].disabled = True
            self.fields[name].help_text = sentence
            self.initial.pop(name, None)

    def clean_steps_override(self) -> list[str] | None:
        lines = str(self.cleaned_data["steps_override"]).splitlines()
        steps = [line.strip() for line in lines if line.strip()]
        validate_steps(steps)
        return steps or None

    def clean_generate_docs_override(self) -> bool | None:
        return {"true": True, "false": False}.get(self.cleaned_data["generate_docs_override"])

    def clean_variables_override(self) -> dict[str, str]:
        try:
            return dotenv.read(str(self.cleaned_data["variables_override"]))
        except ValueError as wrong:
            raise ValidationError(str(wrong)) from wrong

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        terms, is_full = (values.get("selector") or "").split(), values.get("full_refresh")
        if (terms or is_full) and "steps_override" not in self.errors:
            base = values.get("steps_override") or self.job.execute_steps
            try:
                steps = [_narrowed(step, place, terms, is_full) for place, step in enumerate(base)]
                validate_steps(steps)
            except (CommandRejected, ValidationError) as refused:
                said = refused.messages if isinstance(refused, ValidationError) else str(refused)
                self.add_error("selector", said)
            else:
                if steps == base:
                    what = "full_refresh" if is_full else "selector"
                    self.add_error(what, "None of the commands can do so. Change the commands.")
                values["steps_override"] = steps
        return values

    @property
    def steps(self) -> list[str]:
        """The commands that the run would have; of a form that is valid, or was not sent."""
        own = self.cleaned_data.get("steps_override") if self.is_bound else None
        return list(own or self.job.execute_steps)

    def overrides(self) -> dict[str, Any]:
        """What was given, by the names of ``Trigger``; of a form that is valid."""
        given = {name: self.cleaned_data[name] for name in self.fields if name not in NO_OVERRIDES}
        return {name: value for name, value in given.items() if value not in (None, "", {})}

    def said(self) -> list[str]:
        """What this run does otherwise, in words: of what stands in the fields."""
        names = [name for name in self.fields if name not in NO_OVERRIDES and self[name].value()]
        if self.is_bound and self.is_valid():
            names = list(self.overrides())
        return [str(self.fields[name].label).partition(",")[0].lower() for name in names]

    def curl(self, address: str) -> str:
        """The call of the API that starts the same run. Secrets are left for who types it."""
        body: dict[str, Any] = {"cause": self.cleaned_data["cause"], **self.overrides()}
        if variables := body.pop("variables_override", None):
            body["extensions"] = {"variables": masked(variables)}
        lines = [
            f"curl -X POST {address}",
            '-H "Authorization: Token $JOBSVC_TOKEN"',
            '-H "Content-Type: application/json"',
            f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
        ]
        return " \\\n  ".join(lines)

    def refuse(self, refused: ValidationError) -> None:
        """Say at the fields what the run was refused for."""
        tell(self, refused, NAMES)

    def problems(self) -> list[tuple[str, str, list[str]]]:
        """For the summary above the form: each field's id, its label, and what is wrong."""
        return [
            (str(self[name].id_for_label), str(self[name].label), [str(error) for error in errors])
            for name, errors in self.errors.items()
            if name in self.fields
        ]

    def rows(self) -> list[Row]:
        """Every setting that may be overridden, with the job's own value."""
        job = self.job
        environment = job.environment
        branch = environment.custom_branch if environment.use_custom_branch else ""
        limit = f"{job.timeout_seconds} s" if job.timeout_seconds else "none"
        selects = ("as its commands say", False)
        own = {
            "steps_override": ("\n".join(job.execute_steps) or "none", True),
            "selector": selects,
            "full_refresh": selects,
            "git_branch": (branch or "the repository's default", bool(branch)),
            "git_sha": ("the newest of the branch", False),
            "schema_override": ("the environment's", False),
            "target_name_override": (job.target_name, True),
            "threads_override": (str(job.threads), False),
            "dbt_version_override": (job.dbt_version or environment.effective_dbt_version, True),
            "timeout_seconds_override": (limit, False),
            "generate_docs_override": ("yes" if job.generate_docs else "no", False),
            "variables_override": ("the project's, the environment's and the job's", False),
        }
        return [Row(self[name], words, is_code) for name, (words, is_code) in own.items()]


def _narrowed(step: str, place: int, terms: list[str], is_full: bool | None) -> str:
    """``step`` with ``terms`` for its selection, and from nothing if ``is_full``, where it can.

    Raises:
        CommandRejected
    """
    command = DbtCommand.parse(step, index=place + 1)
    known = {option.name for option in COMMANDS[command.subcommand]}
    options = dict(command.options)
    if terms and "select" in known:
        if wrong := next((term for term in terms if term.startswith("-")), None):
            raise CommandRejected(f"{wrong} is an option, not a node. Write it into the commands.")
        options = {name: had for name, had in options.items() if name not in OTHER_SELECTIONS}
        options["select"] = tuple(terms)
    if is_full and "full_refresh" in known:
        options["full_refresh"] = ("true",)
    if options == command.options:
        return step
    return shlex.join(["dbt", *written(command.subcommand, options)])


def values_of_run(run: Run) -> tuple[dict[str, Any], list[str]]:
    """What ``run`` did otherwise than its job says now, for the fields.

    Returns:
        the values by field, and the names of its secret variables, which are not shown.
    """
    job, had = run.job, run.configuration
    values: dict[str, Any] = {
        "git_branch": had.get("git_branch"),
        "git_sha": had.get("git_sha"),
        "schema_override": had.get("schema_override"),
    }
    own = {
        "target_name": job.target_name,
        "threads": job.threads,
        "dbt_version": job.dbt_version,
        "timeout_seconds": job.timeout_seconds,
    }
    for name, now in own.items():
        if had.get(name, now) != now:
            values[f"{name}_override"] = had[name]
    if had.get("execute_steps", job.execute_steps) != job.execute_steps:
        values["steps_override"] = "\n".join(had["execute_steps"])
    if had.get("generate_docs", job.generate_docs) != job.generate_docs:
        values["generate_docs_override"] = "true" if had["generate_docs"] else "false"
    variables = dict(run.trigger.variables_override)
    hidden = sorted(name for name in variables if is_secret_name(name))
    values["variables_override"] = dotenv.written(
        {name: value for name, value in variables.items() if name not in hidden}
    )
    return {name: value for name, value in values.items() if value not in (None, "")}, hidden


# What of a run's own settings a job has, too: the form's name and the job's.
OF_A_JOB = {
    "steps_override": "execute_steps",
    "target_name_override": "target_name",
    "threads_override": "threads",
    "dbt_version_override": "dbt_version",
    "timeout_seconds_override": "timeout_seconds",
    "generate_docs_override": "generate_docs",
}


def query_of(overrides: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``overrides`` as far as a job can have them, for the address of the editor."""
    found = []
    for name in OF_A_JOB:
        value = overrides.get(name)
        if value is None:
            continue
        if isinstance(value, list):
            value = "\n".join(value)
        found.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    return found


def put_on(job: Job, query: Mapping[str, Any]) -> None:
    """Fill ``job``, which is not saved, with what ``query_of`` wrote; what is wrong is left out."""
    given = {name: query[name] for name in OF_A_JOB if name in query}
    form = LaunchForm({**given, "cause": "-"}, job=job, initial={})
    form.is_valid()
    for name, column in OF_A_JOB.items():
        value = form.cleaned_data.get(name)
        if value not in (None, ""):
            setattr(job, column, value)
