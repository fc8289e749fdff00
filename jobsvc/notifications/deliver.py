"""Send what is written down: each message by whoever claims it, again and again for a day.

A message is claimed by a lease. A sender that is killed before it sent leaves it to the next; one
that is killed after it sent and before it wrote so lets it be sent once more, under the same
Message-ID.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.timezone import now

from accounts.models import Invitation, User
from jobsvc import bell
from jobsvc.notifications import channels, emails
from jobsvc.notifications.digest import gather
from jobsvc.notifications.errors import NotTaken, Refused
from jobsvc.notifications.models import Delivery, DeliveryStatus, Event, NotificationType
from jobsvc.notifications.recipients import may_read
from jobsvc.notifications.unsubscribe import is_muted
from jobsvc.statuses import State

logger = logging.getLogger(__name__)

SEND = "jobsvc.notifications.tasks.send_delivery"
LEASE = timedelta(minutes=5)  # longer than a mail takes to a server that answers
CLOCKS_DIFFER = timedelta(seconds=2)  # ours, and the database's: what was due now is due
FIRST_WAIT = timedelta(seconds=30)  # before the second try; doubled each time
LONGEST_WAIT = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(hours=24)
PATIENCE = timedelta(seconds=5)  # within which a bell that is on its way has rung
MOST_RUNG = 20  # messages of one sweep
MOST_PRUNED = 500  # messages of one sweep

Sender = Callable[[Sequence[Delivery]], None]
# Each takes one message, or those of a digest; raises NotTaken or Refused.
SENDERS: Mapping[str, Sender] = {
    "email": emails.send,
    "slack": channels.send,
    "teams": channels.send,
}


def send_delivery(delivery_id: int) -> bool:
    """Send one message if it is due and nobody else sends it; True if it went out.

    Safe to call twice, late, or never. Whatever goes wrong is written down with the message.
    """
    delivery = _claim(delivery_id)
    if delivery is None:
        return False
    if reason := _why_not(delivery):
        _close(delivery, DeliveryStatus.MUTED, reason)
        return False
    try:
        if delivery.channel not in SENDERS:
            raise Refused(f"There is no way to {delivery.channel} here. Use a mail or a webhook.")
        SENDERS[delivery.channel](_still_wanted(gather(delivery)))
    except Refused as refused:
        _close(delivery, DeliveryStatus.FAILED, str(refused))
    except NotTaken as unavailable:
        _try_again(delivery, str(unavailable))
    except Exception:
        logger.exception("message %s could not be made", delivery.pk)
        _try_again(delivery, "It could not be made because of a problem in this service.")
    else:
        _close(delivery, DeliveryStatus.SENT)
        return True
    return False


def ring_for_due() -> None:
    """Ring for messages that are due and that nobody has sent, the longest overdue first."""
    due = _free().filter(due_at__lte=Now() - PATIENCE).order_by("due_at")
    for pk in due.values_list("pk", flat=True)[:MOST_RUNG]:
        bell.publish(SEND, pk)


def prune(moment: datetime) -> int:
    """Remove what was sent, or given up, long enough ago; return how many messages that were."""
    days = settings.KEEP_DELIVERIES_DAYS
    if days <= 0:
        return 0
    oldest = Delivery.objects.order_by("pk").values_list("pk", flat=True)[:MOST_PRUNED]
    old = Delivery.objects.filter(
        pk__in=list(oldest), created_at__lt=moment - timedelta(days=days), due_at=None
    )
    return old.delete()[1].get("notifications.Delivery", 0)


def _free() -> QuerySet[Delivery]:
    unclaimed = Q(lease_until=None) | Q(lease_until__lt=Now())
    return Delivery.objects.filter(unclaimed, status=DeliveryStatus.WAITING)


def _claim(delivery_id: int) -> Delivery | None:
    claimed = (
        _free()
        .filter(pk=delivery_id, due_at__lte=Now() + CLOCKS_DIFFER)
        .update(lease_until=Now() + LEASE, attempts=F("attempts") + 1)
    )
    if not claimed:
        return None
    relations = ("account", "job", "notification__user", "run__trigger", "run__job__account")
    more = (
        "job__project",
        "job__environment",
        "run__project",
        "run__environment",
        "run__job__project",
    )
    return Delivery.objects.select_related(*relations, *more).get(pk=delivery_id)


def _why_not(delivery: Delivery) -> str:
    """Why a message that was to be sent is no longer to be; empty where it is."""
    if delivery.event == Event.INVITATION:
        opens = Invitation.objects.open().filter(pk=delivery.details["invitation"])
        return "" if opens.exists() else "It was accepted or revoked meanwhile."
    if is_muted(delivery.account_id, delivery.address, delivery.job_id):
        return "The address wants no more of this."
    asked = delivery.notification
    if asked is None:
        return ""
    if asked.state != State.ACTIVE:
        return "The notification was deleted meanwhile."
    if asked.type == NotificationType.INTERNAL and not _is_reader(asked.user, delivery):
        return "The person may not read this account any more."
    return ""


def _still_wanted(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """The first, which was looked at, and those others that nobody stopped while they waited."""
    wanted = list(deliveries[:1])
    for delivery in deliveries[1:]:
        if reason := _why_not(delivery):
            Delivery.objects.filter(pk=delivery.pk).update(
                status=DeliveryStatus.MUTED, digest=None, error=reason
            )
        else:
            wanted.append(delivery)
    return wanted


def _is_reader(user: User | None, delivery: Delivery) -> bool:
    return user is not None and may_read(user, delivery.account_id, delivery.job)


def _close(delivery: Delivery, status: DeliveryStatus, error: str = "") -> None:
    sent_at = now() if status == DeliveryStatus.SENT else None
    Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.WAITING).update(
        status=status, error=error, due_at=None, lease_until=None, sent_at=sent_at
    )
    delivery.parts.update(sent_at=sent_at, error=error)
    if error:
        logger.warning("message %s to %s: %s", delivery.pk, delivery.address, error)


def _try_again(delivery: Delivery, error: str) -> None:
    """Let it be due again later, and later each time; given up when it is a day old."""
    doublings = min(delivery.attempts - 1, 10)
    wait = min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
    wait *= random.uniform(0.75, 1.25)  # noqa: S311 - spreads tries, hides nothing
    rows = Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.WAITING)
    if rows.filter(created_at__lt=Now() - GIVE_UP_AFTER).exists():
        _close(delivery, DeliveryStatus.FAILED, f"Given up after a day. {error}")
        return
    rows.update(due_at=Now() + wait, lease_until=None, error=error)
    logger.warning("message %s to %s waits: %s", delivery.pk, delivery.address, error)
