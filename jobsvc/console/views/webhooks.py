"""Webhooks: who is posted to when runs move, what was answered, and posting it again."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console import once
from jobsvc.console.access import member_of_account, page
from jobsvc.console.asked import number
from jobsvc.console.forms.refusals import tell
from jobsvc.console.forms.webhooks import WORDS, WebhookForm
from jobsvc.jobs.models import Job
from jobsvc.notifications.dispatch import try_out
from jobsvc.notifications.models import DeliveryStatus, Dispatch, WebhookSubscription
from jobsvc.notifications.webhooks import ReplayRefused, define_webhook, remove_webhook, replay
from jobsvc.statuses import State

DISPATCHES_SHOWN = 50


@require_safe
@member_of_account(everywhere=True)
def webhook_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The webhooks of an account by name, each with what was last answered."""
    context = {
        "rows": [(row, _events(row)) for row in _webhooks(membership).order_by("name", "pk")],
        "may_write": _may_write(membership),
    }
    return page(request, membership, "console/webhooks.html", context)


@require_safe
@member_of_account(everywhere=True)
def webhook_detail(request: HttpRequest, membership: Membership, webhook_id: str) -> HttpResponse:
    """One webhook with the log of what was posted, newest first."""
    webhook = _webhook(membership, webhook_id)
    dispatches = webhook.dispatches.defer("body", "answer_body", "run__configuration")
    if (before := number(request, "before")) is not None:
        dispatches = dispatches.filter(pk__lt=before)
    found = list(dispatches.select_related("run").order_by("-pk")[: DISPATCHES_SHOWN + 1])
    jobs = Job.objects.of_account(membership.account_id).filter(pk__in=webhook.job_ids)
    context: dict[str, Any] = {
        "webhook": webhook,
        "events": _events(webhook),
        "jobs": jobs.order_by("name", "pk"),
        "dispatches": found[:DISPATCHES_SHOWN],
        "older": found[DISPATCHES_SHOWN - 1].pk if len(found) > DISPATCHES_SHOWN else None,
        "secret": once.take(request, _once(webhook)),
        "may_write": _may_write(membership),
    }
    return page(request, membership, "console/webhook.html", context)


# --- Settings ------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def webhook_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make a webhook; its secret is shown on the next page, this once."""
    return _edit(request, membership, WebhookSubscription(account=membership.account))


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def webhook_edit(request: HttpRequest, membership: Membership, webhook_id: str) -> HttpResponse:
    """Change a webhook. Its secret stays."""
    return _edit(request, membership, _webhook(membership, webhook_id))


def _edit(
    request: HttpRequest, membership: Membership, webhook: WebhookSubscription
) -> HttpResponse:
    is_new, name = webhook._state.adding, webhook.name
    form = WebhookForm(request.POST or None, webhook=webhook)
    if request.method == "POST" and form.is_valid():
        try:
            define_webhook(webhook, form.cleaned_data)
        except ValidationError as refused:
            tell(form, refused)
        else:
            if is_new:
                once.keep(request, _once(webhook), webhook.hmac_secret)
            messages.success(request, f"{webhook} is saved.")
            return redirect("console:webhook", membership.account_id, webhook.pk)
    context = {"webhook": None if is_new else webhook, "name": name, "form": form}
    return page(request, membership, "console/webhook_edit.html", context)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def webhook_switch(request: HttpRequest, membership: Membership, webhook_id: str) -> HttpResponse:
    """Post to it again as if no post had ever failed (``on=1``), or no more."""
    webhook = _webhook(membership, webhook_id)
    try:
        define_webhook(webhook, {"active": request.POST.get("on") == "1"})
    except ValidationError as refused:
        for sentence in refused.messages:
            messages.error(request, sentence)
    else:
        said = "is posted to again" if webhook.active else "is posted to no more"
        messages.success(request, f"{webhook} {said}.")
    return redirect("console:webhook", membership.account_id, webhook_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def webhook_delete(request: HttpRequest, membership: Membership, webhook_id: str) -> HttpResponse:
    """Ask whether a webhook is to be deleted; do it by POST."""
    webhook = _webhook(membership, webhook_id)
    if request.method != "POST":
        waiting = webhook.dispatches.filter(status=DeliveryStatus.WAITING).count()
        context = {"webhook": webhook, "waiting": waiting}
        return page(request, membership, "console/webhook_delete.html", context)
    remove_webhook(webhook)
    messages.success(request, f"{webhook} is deleted.")
    return redirect("console:webhooks", membership.account_id)


# --- What is posted ------------------------------------------------------------------------


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def webhook_test(request: HttpRequest, membership: Membership, webhook_id: str) -> HttpResponse:
    """Post a test event now, and say what the receiver answered."""
    webhook = _webhook(membership, webhook_id)
    tried = try_out(webhook)
    if tried.status == DeliveryStatus.SENT:
        messages.success(request, f"It answered {tried.answer_status}.")
    else:
        answered = f"It answered {tried.answer_status}. " if tried.answer_status else ""
        messages.error(request, f"{answered}{tried.error}".strip())
    return redirect("console:webhook_dispatch", membership.account_id, webhook_id, tried.pk)


@require_safe
@member_of_account(everywhere=True)
def webhook_dispatch(
    request: HttpRequest, membership: Membership, webhook_id: str, dispatch_id: int
) -> HttpResponse:
    """One event: what was posted, and what was answered."""
    webhook = _webhook(membership, webhook_id)
    dispatch = get_object_or_404(webhook.dispatches.select_related("run"), pk=dispatch_id)
    context = {
        "webhook": webhook,
        "dispatch": dispatch,
        "replays": dispatch.replays.only("pk").order_by("-pk")[:DISPATCHES_SHOWN],
        "may_write": _may_write(membership),
    }
    return page(request, membership, "console/webhook_dispatch.html", context)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def webhook_replay(
    request: HttpRequest, membership: Membership, webhook_id: str, dispatch_id: int
) -> HttpResponse:
    """Post an event once more, under the id that it had."""
    webhook = _webhook(membership, webhook_id)
    dispatch: Dispatch = get_object_or_404(webhook.dispatches, pk=dispatch_id)
    try:
        dispatch = replay(dispatch)
    except ReplayRefused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, "It is posted once more. What is answered is written here.")
    return redirect("console:webhook_dispatch", membership.account_id, webhook_id, dispatch.pk)


# --- What is looked up ---------------------------------------------------------------------


def _webhooks(membership: Membership) -> QuerySet[WebhookSubscription]:
    return WebhookSubscription.objects.of_account(membership.account_id).filter(state=State.ACTIVE)


def _webhook(membership: Membership, webhook_id: str) -> WebhookSubscription:
    return get_object_or_404(_webhooks(membership), pk=webhook_id)


def _events(webhook: WebhookSubscription) -> list[str]:
    """What is posted, in words; an event that is new to us by its name."""
    known = {event.value: words for event, words in WORDS.items()}
    return [known.get(name, name) for name in webhook.event_types]


def _may_write(membership: Membership) -> bool:
    return membership.may(Action.WRITE_ACCOUNT)


def _once(webhook: WebhookSubscription) -> str:
    return f"webhook {webhook.pk}"
