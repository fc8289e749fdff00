"""What the job editor keeps beside the job: its values of variables, and who asked to be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import User
from environments import variables
from environments.models import EnvironmentVariable, VariableScope
from jobsvc.engine.names import is_secret_name
from jobsvc.jobs.models import Job
from jobsvc.notifications.define import LISTS, define_notification, is_in_lists
from jobsvc.notifications.models import Notification, NotificationType
from jobsvc.statuses import State

EVENTS = [
    ("on_failure", "Fails"),
    ("on_warning", "Succeeds with warnings"),
    ("on_cancel", "Is cancelled"),
    ("on_success", "Succeeds"),
]
WHERE = {
    VariableScope.PROJECT.value: "the project",
    VariableScope.ENVIRONMENT.value: "the environment",
}


class VariableForm(forms.Form):
    """One variable of the job; a row without a name is none.

    A value that is left empty is no override; that of a secret is never shown, and an empty
    field leaves it as it is.
    """

    name = forms.CharField(required=False, max_length=255, label="Name")
    value = forms.CharField(required=False, strip=False, label="Value for this job")
    remove = forms.BooleanField(required=False, label="Remove")

    def __init__(
        self,
        *args: Any,
        known: Mapping[str, Mapping[str, EnvironmentVariable]],
        of_a_copy: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.of_a_copy = of_a_copy
        self.known = str(self.initial.get("name", ""))
        scopes = known.get(self.known, {})
        self.own = scopes.get(VariableScope.JOB)
        above = scopes.get(VariableScope.ENVIRONMENT) or scopes.get(VariableScope.PROJECT)
        self.inherited = variables.shown(above) if above else ""
        self.source = WHERE[above.scope] if above else ""
        self.is_secret = is_secret_name(self.known)
        if self.is_secret:
            self.fields["value"].widget = forms.PasswordInput(attrs={"autocomplete": "off"})
        if self.known:
            self.fields["name"].widget = forms.HiddenInput()

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("value") and not values.get("name"):
            self.add_error("name", "Give the variable's name, such as DBT_REGION.")
        return values

    def save_for(self, job: Job) -> None:
        """Set, change or remove the job's value; to be called in the job's own transaction.

        Raises:
            ValidationError: the name or the value is refused, which the row then says, too.
        """
        values = self.cleaned_data
        if not values:
            return
        name, value = self.known or values["name"], values["value"]
        if self.of_a_copy:  # what the row knows is another job's, and stays as it is
            if self.own is not None and self.is_secret and not value:
                value = self.own.value
            if name and value and not values["remove"]:
                self._set(job, name, value)
            return
        if not self.has_changed():
            return
        if not name or (self.is_secret and not value and not values["remove"]):
            return
        if value and not values["remove"]:
            self._set(job, name, value)
        elif self.own is not None:
            variables.delete_value(self.own)

    def _set(self, job: Job, name: str, value: str) -> None:
        try:
            variables.set_value(job.project, name, value, job_definition_id=job.pk)
        except ValidationError as refused:
            for field, errors in refused.error_dict.items():
                self.add_error("name" if field == "name" else "value", errors)
            raise


def variable_rows(job: Job, data: Any = None, *, like: Job | None = None) -> Any:
    """A row for each variable of the project as ``job`` sees it, and one for a new one."""
    source = like or job
    known = variables.by_scope(
        source.project,
        environment_id=source.environment_id,
        job_definition_id=source.pk,
    )
    initial = [{"name": name, "value": _own_value(scopes)} for name, scopes in known.items()]
    made = forms.formset_factory(VariableForm, extra=1, max_num=1000, absolute_max=1100)
    return made(
        data,
        prefix="variable",
        initial=initial,
        form_kwargs={"known": known, "of_a_copy": like is not None},
    )


def _own_value(scopes: Mapping[str, EnvironmentVariable]) -> str:
    own = scopes.get(VariableScope.JOB)
    return "" if own is None or own.is_secret else own.value


class TellForm(forms.Form):
    """Of which ends of the job the person who edits it gets mail."""

    tell_me = forms.MultipleChoiceField(
        choices=EVENTS,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Mail me when this job",
    )

    def __init__(self, data: Any = None, *, user: User, job: Job) -> None:
        self.user = user
        self.notification = (
            Notification.objects.filter(
                account=job.account_id,
                user=user,
                type=NotificationType.INTERNAL,
                state=State.ACTIVE,
            )
            .prefetch_related("rules")
            .order_by("pk")
            .first()
        )
        self.lists = self._lists()
        asked = [name for name, jobs in self.lists.items() if job.pk in jobs]
        super().__init__(data, initial={"tell_me": asked})

    def save_for(self, job: Job) -> None:
        """Put the job in the person's lists, or take it out."""
        if not self.has_changed():
            return
        chosen = self.cleaned_data["tell_me"]
        lists = {
            name: (jobs | {job.pk}) if name in chosen else (jobs - {job.pk})
            for name, jobs in self.lists.items()
        }
        notification = self.notification or Notification(account=job.account, user=self.user)
        define_notification(notification, lists=lists, rules=None)

    def _lists(self) -> dict[str, set[int]]:
        rules = self.notification.rules.all() if self.notification else ()
        own = [rule for rule in rules if is_in_lists(rule)]
        return {
            name: {rule.scope_id for rule in own if rule.event == event}
            for name, event in LISTS.items()
        }
