"""Many messages to one address become one: which wait, for how long, and what they become.

A message waits when its job told the same address the same a moment ago, or when that address
got many lately. Those that wait for one address are sent together: the first of them carries
the others.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.timezone import now

from jobsvc.notifications.models import Delivery, DeliveryStatus, Event

SPAN = timedelta(minutes=10)
MOST = 5  # messages of failures to one address within that time, each by itself
FAILURES = {Event.FAILURE, Event.FIRST_FAILURE, Event.STILL_FAILING, Event.NEAR_DEACTIVATION}
NOT_SENT = {DeliveryStatus.MUTED, DeliveryStatus.FAILED}


def hold(delivery: Delivery) -> None:
    """Let ``delivery``, not yet saved, wait where others like it went out a moment ago.

    Only mail is held: a channel is a place to look at, not to be called to.
    """
    if delivery.channel != "email" or delivery.event == Event.TEST:
        return
    others = _of_address(delivery)
    waiting = others.filter(held=True, status=DeliveryStatus.WAITING).order_by("due_at").first()
    since = now() - SPAN
    lately = others.exclude(status__in=NOT_SENT).filter(
        Q(sent_at__gte=since) | Q(sent_at=None, created_at__gte=since)
    )
    like = lately.filter(job=delivery.job_id, likeness=delivery.likeness).exclude(likeness="")
    alone = lately.filter(event__in=FAILURES, held=False)
    many = delivery.event in FAILURES and alone.count() >= MOST
    newest = like.order_by("-pk").first()
    if newest is None and not many:
        return
    delivery.held = True
    if waiting is not None:
        delivery.due_at = waiting.due_at
    elif newest is not None:
        delivery.due_at = (newest.sent_at or newest.created_at) + SPAN
    else:
        delivery.due_at = now() + SPAN


def gather(delivery: Delivery) -> list[Delivery]:
    """What ``delivery``, just claimed, carries: itself alone, or with all that wait beside it.

    Decided once, at the first try: a second one sends the same.
    """
    if delivery.held and delivery.attempts <= 1:
        beside = _of_address(delivery).filter(
            Q(lease_until=None) | Q(lease_until__lt=Now()),
            held=True,
            status=DeliveryStatus.WAITING,
            attempts=0,
        )
        beside.exclude(pk=delivery.pk).update(
            status=DeliveryStatus.DIGESTED, digest=delivery, due_at=None
        )
    relations = ("account", "job", "run", "notification__user")
    return [delivery, *delivery.parts.select_related(*relations).order_by("pk")]


def _of_address(delivery: Delivery) -> QuerySet[Delivery]:
    return Delivery.objects.filter(
        account=delivery.account_id, channel=delivery.channel, address=delivery.address
    )
