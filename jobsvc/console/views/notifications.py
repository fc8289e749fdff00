"""Notifications: who is told of what, whether it arrives, and what was told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.models import Environment, Project
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.forms.notifications import AboutForm, DestinationForm
from jobsvc.console.forms.refusals import tell
from jobsvc.jobs.models import Job
from jobsvc.notifications.define import (
    About,
    Rule,
    define_notification,
    delete_notification,
    is_ones_own,
    tell_of,
)
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Event,
    Mute,
    Notification,
    NotificationType,
    Scope,
)
from jobsvc.notifications.recipients import WHEN
from jobsvc.notifications.tell import TestedAMomentAgo, send_test
from jobsvc.notifications.unsubscribe import Subscription, mute
from jobsvc.statuses import State

DELIVERIES_SHOWN = 50
FIELDS = {  # verb to form
    "user_id": "user",
    "extensions.webhook_url": "webhook_url",
    "extensions": "about",
}


@dataclass(frozen=True)
class Told:
    """What somebody is told of one thing, in words; ``value`` names it in a form."""

    name: str
    value: str
    tag: str
    words: str


@dataclass(frozen=True)
class Row:
    """A notification of the list."""

    notification: Notification
    who: str
    told: Sequence[Told]
    may_change: bool


# --- The list ------------------------------------------------------------------------------


@require_safe
@member_of_account()
def notification_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Who is told of what in an account, and what the visitor has stopped."""
    notifications = list(_notifications(membership).prefetch_related("rules").order_by("pk"))
    told = _told(membership, notifications)
    mutes = _mutes(membership).select_related("job").order_by("pk")
    context: dict[str, Any] = {
        "rows": [
            Row(one, _who(one), told[one.pk], _may_change(membership, one)) for one in notifications
        ],
        "mutes": mutes,
        "jobs": seen(membership, Job.objects.of_account(membership.account_id).active())
        .only("name")
        .order_by("name", "pk"),
    }
    return page(request, membership, "console/notifications.html", context)


def _told(membership: Membership, notifications: Iterable[Notification]) -> dict[int, list[Told]]:
    """What each is told of, by its id, with the names of it all in three queries."""
    rules = {
        one.pk: [Rule.of(row) for row in sorted(one.rules.all(), key=lambda row: row.pk)]
        for one in notifications
    }
    abouts = {rule.about for of_one in rules.values() for rule in of_one}
    names = _names(membership, abouts)
    found: dict[int, list[Told]] = {}
    for pk, of_one in rules.items():
        by_about: dict[About, list[Rule]] = {}
        for rule in of_one:
            by_about.setdefault(rule.about, []).append(rule)
        found[pk] = [
            Told(
                name=names.get(about, f"{about.scope} {about.id}, which is gone"),
                value="" if about.scope == Scope.TAG else f"{about.scope}:{about.id}",
                tag=about.tag,
                words=", ".join(_when(rule) for rule in its),
            )
            for about, its in by_about.items()
        ]
    return found


def _names(membership: Membership, abouts: Iterable[About]) -> dict[About, str]:
    account = membership.account_id
    rows: dict[Scope, tuple[QuerySet[Any], str]] = {
        Scope.JOB: (seen(membership, Job.objects.of_account(account)), "{}"),
        Scope.ENVIRONMENT: (
            seen(membership, Environment.objects.of_account(account)),
            "every job of {}",
        ),
        Scope.PROJECT: (seen(membership, Project.objects.of_account(account)), "every job of {}"),
    }
    names = {About(scope=Scope.ACCOUNT): f"every job of {membership.account}"}
    asked: dict[Scope, list[int]] = {}
    for about in abouts:
        asked.setdefault(about.scope, []).append(about.id)
        if about.scope == Scope.TAG:
            names[about] = f"jobs with the tag {about.tag}"
    for scope, (queryset, words) in rows.items():
        found: dict[int, Model] = queryset.in_bulk(asked[scope]) if scope in asked else {}
        for pk, row in found.items():
            names[About(scope=scope, id=pk)] = words.format(row)
    return names


def _when(rule: Rule) -> str:
    words = WHEN[rule.event]
    if rule.event == Event.STILL_FAILING and rule.every > 1:
        return f"{words} (each {rule.every} failures)"
    return words


def _who(notification: Notification) -> str:
    match NotificationType(notification.type):
        case NotificationType.INTERNAL:
            return str(notification.user.email) if notification.user else "nobody any more"
        case NotificationType.EXTERNAL:
            return notification.external_email or ""
        case _:
            return notification.slack_channel_name or f"channel of notification {notification.pk}"


# --- One of them ---------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account()
def notification_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Say who is to be told, and of what first."""
    notification = Notification(account=membership.account, user=membership.user)
    return _edit(request, membership, notification)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def notification_edit(
    request: HttpRequest, membership: Membership, notification_id: int
) -> HttpResponse:
    """Say who else is to be told of the same."""
    return _edit(request, membership, _changeable(membership, notification_id))


def _edit(request: HttpRequest, membership: Membership, notification: Notification) -> HttpResponse:
    is_new, given = notification.pk is None, request.POST or None
    may_choose = membership.may(Action.WRITE_ACCOUNT)
    form = DestinationForm(given, notification=notification) if may_choose else None
    about = AboutForm(given, membership=membership) if is_new else None
    forms = [one for one in (form, about) if one is not None]
    valid = [one.is_valid() for one in forms]  # each, so that each says what is wrong with it
    if request.method == "POST" and all(valid):
        try:
            _save(notification, form, about)
        except ValidationError as refused:
            tell(forms[0], refused, FIELDS)
        else:
            messages.success(request, "It is saved. A test shows whether it arrives.")
            return redirect("console:notification", membership.account_id, notification.pk)
    context = {
        "notification": None if is_new else notification,
        "form": form,
        "about": about,
        "forms": forms,
    }
    return page(request, membership, "console/notification_edit.html", context)


@transaction.atomic
def _save(
    notification: Notification,
    form: DestinationForm | None,
    about: AboutForm | None,
) -> None:
    if form is not None:
        form.fill()
    define_notification(notification, lists={}, rules=None)
    if about is not None:
        every = about.cleaned_data["every"] or 1
        tell_of(notification, about.chosen, about.events_chosen, every=every)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account()
def notification_detail(
    request: HttpRequest, membership: Membership, notification_id: int
) -> HttpResponse:
    """What one is told of and was told; POST adds something to be told of, or replaces that."""
    notification = notification_of(membership, notification_id)
    may_change = _may_change(membership, notification)
    form = AboutForm(request.POST or None, membership=membership) if may_change else None
    if request.method == "POST":
        _refuse_where_others(membership, notification)
    if request.method == "POST" and form is not None and form.is_valid():
        try:
            every = form.cleaned_data["every"] or 1
            tell_of(notification, form.chosen, form.events_chosen, every=every)
        except ValidationError as refused:
            tell(form, refused, FIELDS)
        else:
            messages.success(request, "It is saved.")
            return redirect("console:notification", membership.account_id, notification_id)
    deliveries = Delivery.objects.filter(notification=notification)
    context = {
        "notification": notification,
        "who": _who(notification),
        "told": _told(membership, [notification])[notification.pk],
        "deliveries": _shown(deliveries)[:DELIVERIES_SHOWN],
        "form": form,
        "may_change": may_change,
        "may_choose": membership.may(Action.WRITE_ACCOUNT),
    }
    return page(request, membership, "console/notification.html", context)


@require_POST
@member_of_account()
def notification_forget(
    request: HttpRequest, membership: Membership, notification_id: int
) -> HttpResponse:
    """Let one be told no more of something."""
    notification = _changeable(membership, notification_id)
    scope, _colon, pk = request.POST.get("about", "").partition(":")
    tag = request.POST.get("tag", "")
    known = {Rule.of(row).about for row in notification.rules.all()}
    for about in known:
        is_it = about.tag == tag if tag else (about.scope, str(about.id)) == (scope, pk)
        if is_it:
            tell_of(notification, about, [])
            messages.success(request, "Nobody is told of that by it any more.")
    return redirect("console:notification", membership.account_id, notification_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account()
def notification_delete(
    request: HttpRequest, membership: Membership, notification_id: int
) -> HttpResponse:
    """Ask whether nobody is to be told by it any more; so it is by POST."""
    notification = _changeable(membership, notification_id)
    if request.method != "POST":
        context = {
            "notification": notification,
            "who": _who(notification),
            "told": _told(membership, [notification])[notification.pk],
        }
        return page(request, membership, "console/notification_delete.html", context)
    delete_notification(notification)
    messages.success(request, f"{_who(notification)} is told of nothing by it any more.")
    return redirect("console:notifications", membership.account_id)


@require_POST
@member_of_account()
def notification_test(
    request: HttpRequest, membership: Membership, notification_id: int
) -> HttpResponse:
    """Send what only shows whether it arrives."""
    notification = _changeable(membership, notification_id)
    try:
        delivery = send_test(notification)
    except TestedAMomentAgo:
        messages.warning(request, "It was tested within this minute. Wait for the next one.")
    else:
        if delivery is None:
            messages.error(
                request,
                "Nobody would get it: the person may not read this account any more. Name another.",
            )
        else:
            messages.success(
                request, f"A test is on its way to {delivery.address}. Its end is listed below."
            )
    return redirect("console:notification", membership.account_id, notification_id)


# --- What was told -------------------------------------------------------------------------


@require_safe
@member_of_account()
def notification_deliveries(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The log of messages, newest first; ``?status=`` shows those that were given up, say."""
    deliveries = Delivery.objects.filter(account=membership.account_id)
    if not membership.may(Action.READ):
        deliveries = deliveries.filter(address__iexact=membership.user.email)
    status = request.GET.get("status", "")
    status = status if status in DeliveryStatus.values else ""
    if status:
        deliveries = deliveries.filter(status=status)
    if (before := number(request, "before")) is not None:
        deliveries = deliveries.filter(pk__lt=before)
    found = list(_shown(deliveries)[: DELIVERIES_SHOWN + 1])
    context: dict[str, Any] = {
        "deliveries": found[:DELIVERIES_SHOWN],
        "older": found[DELIVERIES_SHOWN - 1].pk if len(found) > DELIVERIES_SHOWN else None,
        "status": status,
        "statuses": DeliveryStatus.choices,
    }
    return page(request, membership, "console/notifications_log.html", context)


def _shown(deliveries: QuerySet[Delivery]) -> QuerySet[Delivery]:
    rows = deliveries.select_related("job", "run").order_by("-pk")
    return rows.defer("details", "run__configuration", "run__isolation", "run__state_used")


@require_POST
@member_of_account()
def mute_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Stop the visitor's own mail of the job that ``job`` names, or of all where it is empty."""
    chosen = request.POST.get("job", "")
    job = None
    if chosen:
        jobs = seen(membership, Job.objects.of_account(membership.account_id).active())
        is_number = chosen.isascii() and chosen.isdecimal() and len(chosen) < 19
        job = get_object_or_404(jobs, pk=int(chosen) if is_number else 0)
    address = membership.user.email.lower()
    mute(Subscription(account=membership.account, address=address, job=job), everything=job is None)
    what = f"of {job}" if job else f"of all jobs of {membership.account}"
    messages.success(request, f"You get no more mail {what}.")
    return redirect("console:notifications", membership.account_id)


@require_POST
@member_of_account()
def mute_end(request: HttpRequest, membership: Membership, mute_id: int) -> HttpResponse:
    """Let mails come again that the visitor has stopped."""
    get_object_or_404(_mutes(membership), pk=mute_id).delete()
    messages.success(request, "These mails come again.")
    return redirect("console:notifications", membership.account_id)


# --- What is looked up ---------------------------------------------------------------------


def _notifications(membership: Membership) -> QuerySet[Notification]:
    rows = Notification.objects.filter(account=membership.account_id, state=State.ACTIVE)
    if not membership.may(Action.READ):
        rows = rows.filter(user=membership.user)
    return rows.select_related("account", "user")


def notification_of(membership: Membership, notification_id: int) -> Notification:
    """One that the visitor may see; 404 without one."""
    return get_object_or_404(_notifications(membership), pk=notification_id)


def _changeable(membership: Membership, notification_id: int) -> Notification:
    """One that the visitor may change; 404 without one, 403 where it is for others to change."""
    notification = notification_of(membership, notification_id)
    _refuse_where_others(membership, notification)
    return notification


def _refuse_where_others(membership: Membership, notification: Notification) -> None:
    if not _may_change(membership, notification):
        raise PermissionDenied(
            "You may say what you are told yourself, by mail. Ask an admin of the account about "
            "other people, outside addresses and channels."
        )


def _may_change(membership: Membership, notification: Notification) -> bool:
    return is_ones_own(notification, membership.user) or membership.may(Action.WRITE_ACCOUNT)


def _mutes(membership: Membership) -> QuerySet[Mute]:
    """The visitor's own: what others do not want is their own affair."""
    address = membership.user.email.lower()
    return Mute.objects.filter(account=membership.account_id, address=address)
