"""Who is to be told, and of what."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import Membership, User
from environments.models import Environment, Project
from jobsvc import outbound
from jobsvc.console.access import seen
from jobsvc.jobs.models import Job
from jobsvc.notifications.define import About
from jobsvc.notifications.models import (
    TO_BE_ASKED_FOR,
    Event,
    Notification,
    NotificationType,
    Scope,
)
from jobsvc.notifications.recipients import WHEN

OFFERED = (
    NotificationType.INTERNAL,
    NotificationType.EXTERNAL,
    NotificationType.SLACK_WEBHOOK,
    NotificationType.TEAMS_WEBHOOK,
)
EVENTS = [(event.value, f"it {WHEN[event]}") for event in Event if event in TO_BE_ASKED_FOR]
USUAL = [Event.FIRST_FAILURE.value, Event.RECOVERED.value]
MOST_EVERY = 1000


class DestinationForm(forms.Form):
    """Who is told. Of the fields below the first, those that the kind needs are to be filled in."""

    type = forms.TypedChoiceField(label="How", coerce=int)
    user = forms.ModelChoiceField(User.objects.none(), label="Member", required=False)
    external_email = forms.EmailField(
        label="Outside address",
        required=False,
        max_length=254,
        help_text="For mail to an outside address.",
    )
    webhook_url = forms.CharField(
        label="Address of the incoming webhook",
        required=False,
        max_length=2000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    slack_channel_name = forms.CharField(
        label="Name of the channel",
        required=False,
        max_length=255,
        help_text="For people, here and in the log.",
    )

    def __init__(self, data: Any = None, *, notification: Notification) -> None:
        kind = NotificationType(notification.type)
        initial = {
            "type": kind.value,
            "user": notification.user_id,
            "external_email": notification.external_email,
            "slack_channel_name": notification.slack_channel_name,
        }
        super().__init__(data, initial=initial)
        self.notification = notification
        offered = OFFERED if kind in OFFERED else (kind, *OFFERED)
        self.fields["type"].choices = [(one.value, one.label) for one in offered]  # type: ignore[attr-defined]  # a choice field
        members = Membership.objects.active().filter(account=notification.account_id)
        people = User.objects.filter(memberships__in=members).order_by("email")
        self.fields["user"].queryset = people  # type: ignore[attr-defined]  # a field of rows
        self.fields["webhook_url"].help_text = (
            "It is set, and is not shown again. Type another to replace it."
            if notification.secrets.get("url")
            else "For Slack and Teams. It is kept encrypted and is not shown again."
        )

    def clean_webhook_url(self) -> str:
        url: str = self.cleaned_data["webhook_url"].strip()
        if url:
            try:
                outbound.check_address(url)
            except outbound.AddressRefused as refused:
                raise ValidationError(str(refused)) from refused
        return url

    def fill(self) -> Notification:
        """The notification with what was typed; not saved."""
        row, typed = self.notification, self.cleaned_data
        row.type = NotificationType(typed["type"])
        if row.type == NotificationType.INTERNAL:
            row.user = typed["user"]
        row.external_email = typed["external_email"] or None
        row.slack_channel_name = typed["slack_channel_name"] or None
        if typed["webhook_url"]:
            row.secrets = {"url": typed["webhook_url"]}
        return row


class AboutForm(forms.Form):
    """What somebody is told of: one job, or those of an environment, a project, a tag or all."""

    about = forms.ChoiceField(label="Of", required=False)
    tag = forms.CharField(
        label="Or of jobs with the tag",
        required=False,
        max_length=255,
        help_text="Leave the list above empty for it.",
    )
    events = forms.MultipleChoiceField(
        label="When", choices=EVENTS, initial=USUAL, widget=forms.CheckboxSelectMultiple
    )
    every = forms.IntegerField(
        label="While it still fails, once in how many failures",
        min_value=1,
        max_value=MOST_EVERY,
        initial=1,
        required=False,
    )

    def __init__(
        self, data: Any = None, *, membership: Membership, prefix: str | None = None
    ) -> None:
        super().__init__(data, prefix=prefix)
        account = membership.account
        projects = seen(membership, Project.objects.of_account(account.pk).active())
        projects = projects.order_by("name", "pk")
        environments = (
            seen(membership, Environment.objects.of_account(account.pk).active())
            .filter(project__in=projects)
            .select_related("project")
            .order_by("project__name", "name", "pk")
        )
        jobs = seen(membership, Job.objects.of_account(account.pk).active())
        jobs = jobs.order_by("name", "pk")
        self.fields["about"].choices = [  # type: ignore[attr-defined]  # a choice field
            ("", "choose …"),
            ("account:0", f"Every job of {account}"),
            ("Jobs", [(f"job:{job.pk}", f"{job} (#{job.pk})") for job in jobs]),
            (
                "Every job of an environment",
                [(f"environment:{row.pk}", f"{row.project}: {row}") for row in environments],
            ),
            ("Every job of a project", [(f"project:{row.pk}", str(row)) for row in projects]),
        ]

    def clean(self) -> dict[str, Any]:
        typed: dict[str, Any] = super().clean() or self.cleaned_data
        chosen, tag = typed.get("about"), (typed.get("tag") or "").strip()
        if bool(chosen) == bool(tag) and "about" not in self.errors:
            self.add_error(
                "about",
                "Choose what it is of, or name a tag: one of the two."
                if not chosen
                else "Choose one of the list, or name a tag; not both.",
            )
        return typed

    @property
    def chosen(self) -> About:
        """What was chosen, of a form that is valid."""
        if tag := self.cleaned_data["tag"].strip():
            return About(scope=Scope.TAG, tag=tag)
        scope, _colon, pk = self.cleaned_data["about"].partition(":")
        return About(scope=Scope(scope), id=int(pk))

    @property
    def events_chosen(self) -> list[Event]:
        return [Event(name) for name in self.cleaned_data["events"]]
