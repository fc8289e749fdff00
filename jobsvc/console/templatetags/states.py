"""States of pull requests, deliveries and messages, said the same way on every page."""

from __future__ import annotations

import json
import re

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ci.models import (
    Check,
    CISchema,
    CISchemaState,
    Decision,
    PullRequest,
    PullRequestState,
    Report,
    Verdict,
    WebhookDelivery,
)
from jobsvc.notifications.models import Delivery, DeliveryStatus, Dispatch, WebhookSubscription
from jobsvc.runs.looks import Look, look
from jobsvc.runs.models import Run

register = template.Library()

Stated = Check | CISchema | Delivery | Dispatch | PullRequest | Report | WebhookDelivery

DECISIONS = {
    Decision.STARTED: Look("▸", "Started a run", "run"),
    Decision.PASSED_OVER: Look("—", "Passed over", "mut"),
    Decision.NOTHING_RELEVANT: Look("✓", "Nothing relevant", "ok"),
    Decision.NEEDS_APPROVAL: Look("!", "Needs approval", "warn"),
    Decision.REFUSED: Look("✕", "Not started", "err"),
}
PULL_REQUESTS = {
    PullRequestState.OPEN: Look("○", "Open", "ok"),
    PullRequestState.CLOSED: Look("⊘", "Closed", "mut"),
    PullRequestState.MERGED: Look("●", "Merged", "run"),
}
VERDICTS = {
    Verdict.WAITING: Look("◷", "Not yet read", "mut"),
    Verdict.DONE: Look("✓", "Read", "ok"),
    Verdict.FAILED: Look("✕", "Could not be read", "err"),
    Verdict.REFUSED: Look("⊘", "Refused", "warn"),
}
SCHEMAS = {
    CISchemaState.KEPT: Look("●", "In use", "ok"),
    CISchemaState.DOOMED: Look("◷", "To be dropped", "mut"),
    CISchemaState.DROPPED: Look("—", "Dropped", "mut"),
    CISchemaState.FAILED: Look("✕", "Not dropped", "err"),
    CISchemaState.REFUSED: Look("⊘", "Never dropped", "warn"),
}
MESSAGES = {
    DeliveryStatus.WAITING: Look("◷", "To be sent", "mut"),
    DeliveryStatus.SENT: Look("✓", "Sent", "ok"),
    DeliveryStatus.FAILED: Look("✕", "Given up", "err"),
    DeliveryStatus.MUTED: Look("⊘", "Muted", "mut"),
    DeliveryStatus.DIGESTED: Look("✓", "In a digest", "ok"),
}
POSTED = Look("✓", "Posted", "ok")
NOT_POSTED = Look("✕", "Not posted", "err")
TO_BE_POSTED = Look("◷", "To be posted", "mut")
LISTENING = Look("✓", "Active", "ok")
FAILING = Look("!", "Failing", "warn")
SWITCHED_OFF = Look("⊘", "Switched off", "mut")


def state_look(thing: Stated) -> Look:
    """The look of what a row of ours has come to."""
    match thing:
        case Check():
            look = DECISIONS[Decision(thing.decision)]
        case PullRequest():
            look = PULL_REQUESTS[PullRequestState(thing.state)]
        case WebhookDelivery():
            look = VERDICTS[Verdict(thing.verdict)]
        case CISchema():
            look = SCHEMAS[CISchemaState(thing.state)]
        case Report():
            said = TO_BE_POSTED if thing.due_at else POSTED
            look = NOT_POSTED if thing.error else said
        case _:
            look = MESSAGES[DeliveryStatus(thing.status)]
    return look


def webhook_look(webhook: WebhookSubscription) -> Look:
    """Whether a webhook is posted to, and whether that works."""
    if not webhook.active:
        return SWITCHED_OFF
    return FAILING if webhook.failures else LISTENING


@register.filter
def state_pill(thing: Stated) -> SafeString:
    """A state as glyph, word and colour."""
    return _pill(state_look(thing))


@register.filter
def mark(thing: Run | Stated) -> SafeString:
    """A status as its glyph and colour, where there is no room for the word; readers hear that."""
    shown = look(thing) if isinstance(thing, Run) else state_look(thing)
    return format_html(
        '<span class="glyph still {}" aria-hidden="true">{}</span><span class="unseen">{}</span>',
        shown.tone,
        shown.glyph,
        shown.word,
    )


@register.filter
def webhook_pill(webhook: WebhookSubscription) -> SafeString:
    return _pill(webhook_look(webhook))


def _pill(look: Look) -> SafeString:
    return format_html(
        '<span class="pill {}"><span class="glyph still" aria-hidden="true">{}</span> {}</span>',
        look.tone,
        look.glyph,
        look.word,
    )


@register.filter
def readable(body: str) -> str:
    """A payload with a line for each of its parts, where it is JSON; else as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


_RUN = re.compile(r"\b([Rr]un )(\d{1,18})\b")


@register.filter
def with_runs(sentence: str) -> SafeString:
    """A sentence of ours, each run that it names being a link to that run's page."""
    parts = []
    end = 0
    for found in _RUN.finditer(sentence):
        page = reverse("console:short_run", args=[int(found[2])])
        parts.append((sentence[end : found.start()], page, found[0]))
        end = found.end()
    linked = format_html_join("", '{}<a href="{}">{}</a>', parts)
    return format_html("{}{}", linked, sentence[end:])
