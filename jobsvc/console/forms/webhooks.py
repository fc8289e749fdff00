"""A webhook: where to, for what, and of which jobs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q

from jobsvc.jobs.models import Job
from jobsvc.notifications.models import WebhookSubscription
from jobsvc.notifications.payloads import EVENTS, WebhookEvent
from jobsvc.statuses import State

LONGEST_DESCRIPTION = 2000

WORDS = {
    WebhookEvent.STARTED: "a run starts",
    WebhookEvent.COMPLETED: "a run ends, in whatever way",
    WebhookEvent.ERRORED: "a run fails",
    WebhookEvent.WARNED: "a run ends with warnings",
    WebhookEvent.CANCELLED: "a run is cancelled",
    WebhookEvent.QUEUED: "a run is queued",
    WebhookEvent.DEACTIVATED: "a job is switched off by itself",
    WebhookEvent.MISSED: "a job does not start on time",
}


class WebhookForm(forms.Form):
    """Its fields have the names that the verb has for them."""

    name = forms.CharField(max_length=255)
    client_url = forms.CharField(
        label="Address",
        max_length=2000,
        help_text="Where to post to. It is refused where it leads into the network of this "
        "service.",
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"}
        ),
    )
    description = forms.CharField(
        max_length=LONGEST_DESCRIPTION, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    schema_version = forms.TypedChoiceField(
        label="Schema",
        coerce=int,
        choices=[
            (1, "1: as dbt Cloud posts it"),
            (2, "2: with more events, and more said of each"),
        ],
        initial=2,
    )
    event_types = forms.MultipleChoiceField(
        label="Post when",
        choices=[
            (event.value, words if event in EVENTS[1] else f"{words} (schema 2)")
            for event, words in WORDS.items()
        ],
        initial=[WebhookEvent.COMPLETED.value],
        widget=forms.CheckboxSelectMultiple,
    )
    job_ids = forms.TypedMultipleChoiceField(
        label="Of these jobs alone",
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: of every job, also of those that are still to be made.",
    )
    active = forms.BooleanField(label="Active: post from now on", required=False, initial=True)

    def __init__(self, data: Any = None, *, webhook: WebhookSubscription) -> None:
        names = ("name", "client_url", "description", "schema_version", "event_types", "active")
        initial = {name: getattr(webhook, name) for name in (*names, "job_ids")}
        super().__init__(data, initial=None if webhook._state.adding else initial)
        jobs = Job.objects.of_account(webhook.account_id).filter(
            Q(state=State.ACTIVE) | Q(pk__in=webhook.job_ids)
        )
        self.fields["job_ids"].choices = [  # type: ignore[attr-defined]  # a choice field
            (job.pk, f"{job} (#{job.pk})") for job in jobs.order_by("name", "pk")
        ]

    def clean_event_types(self) -> list[str]:
        chosen: list[str] = self.cleaned_data["event_types"]
        known = EVENTS.get(self.cleaned_data.get("schema_version", 2), EVENTS[2])
        unknown = [WORDS[WebhookEvent(name)] for name in chosen if name not in known]
        if unknown:
            raise forms.ValidationError(
                f"Schema 1 does not know when {unknown[0]}. Choose schema 2, or tick that off."
            )
        return chosen
