"""Post what webhooks are owed: one event at a time for each, the oldest first.

Whoever posts holds the subscription's lease. A sender that is killed between the post and the
note of it leaves the event due, so it is posted again under the same id: at least once.

An event has one try and five retries, further and further apart, within a day. A failed try also
lets the whole subscription rest, so that an address that hangs costs one sender ten seconds now
and then, however much is due there; when it rests no more one event is tried, and if that arrives
the others follow.
"""

from __future__ import annotations

import json
import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils.timezone import now

from jobsvc import bell, outbound
from jobsvc.engine.redact import Redactor
from jobsvc.notifications import payloads, webhooks
from jobsvc.notifications.models import DeliveryStatus, Dispatch, WebhookSubscription
from jobsvc.notifications.tell import tell_of_webhook

logger = logging.getLogger(__name__)

DEADLINE = 10.0  # seconds for a whole answer, as in dbt Cloud
LEASE = timedelta(seconds=30)  # longer than the deadline and all that is done around a post
TRIES = 6  # of one event
FIRST_WAIT = timedelta(seconds=30)  # before the first retry; each further one waits GROWTH times
GROWTH = 6  # and up to half as much again: five retries are over within 20 hours
LONGEST = timedelta(hours=24)  # an event that is older is not retried
LONGEST_REST = timedelta(minutes=10)  # of a subscription after failed tries
MOST_FAILURES = 1000  # events given up in a row
LONGEST_FAILING = timedelta(days=7)
KEPT_OF_ANSWER = 1024  # bytes of what the receiver said
TURN = 50  # posts before others have their turn


@dataclass(frozen=True)
class Said:
    """How one try ended: what the receiver answered, or why it did not."""

    status: int | None = None
    body: str = ""
    error: str = ""

    @property
    def arrived(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def post_what_is_due(dispatch_id: int) -> int:
    """Post all that is due for the subscription of this dispatch; how many posts that took."""
    subscription = WebhookSubscription.objects.filter(dispatches=dispatch_id).first()
    if subscription is None:
        return 0
    for posts in range(TURN):
        if not post_next(subscription, now()):
            return posts
    bell.publish(webhooks.POST, dispatch_id)
    return TURN


def post_next(subscription: WebhookSubscription, moment: datetime) -> bool:
    """Post the oldest event that is due at ``moment``, if this webhook is free for one."""
    lease_until = moment + LEASE
    mine = WebhookSubscription.objects.filter(pk=subscription.pk)
    if not mine.claimable(moment).update(lease_until=lease_until):
        return False
    subscription = mine.get()
    due = subscription.dispatches.filter(due_at__lte=moment).order_by("pk").first()
    if due is None:  # it was given up just now
        mine.filter(lease_until=lease_until).update(lease_until=None)
        return False
    said = _post(subscription, due, moment)
    with transaction.atomic():
        _note(subscription, due, said, now())
        mine.filter(lease_until=lease_until).update(lease_until=None)
    return True


def try_out(subscription: WebhookSubscription) -> Dispatch:
    """Post a test event now, once, and return it with what the receiver said."""
    moment, event_id = now(), payloads.new_event_id()
    dispatch = Dispatch.objects.create(
        subscription=subscription,
        event_type=payloads.TEST,
        event_id=event_id,
        key=f"{subscription.pk}:test:{event_id}",
        body=json.dumps(payloads.of_nothing(subscription, event_id, moment)),
        status=DeliveryStatus.FAILED,
        due_at=None,
        error="Nobody waited for the end of this test.",
    )
    said = _post(subscription, dispatch, moment)
    _write_answer(dispatch, said, due_at=None, moment=now())
    _show_answer(subscription, said, moment)
    dispatch.refresh_from_db()
    return dispatch


def sweep(moment: datetime) -> None:
    """Ring again for whatever is due, after a lost bell or because its next try has come."""
    for subscription in WebhookSubscription.objects.claimable(moment):
        due = subscription.dispatches.filter(due_at__lte=moment).order_by("pk").first()
        if due is not None:
            bell.publish(webhooks.POST, due.pk)


def prune(moment: datetime) -> int:
    """Remove from the log what has been kept long enough; how many posts that were."""
    if settings.KEEP_DELIVERIES_DAYS <= 0:
        return 0
    end = moment - timedelta(days=settings.KEEP_DELIVERIES_DAYS)
    old = Dispatch.objects.filter(created_at__lt=end).exclude(status=DeliveryStatus.WAITING)
    return old.delete()[0]


def _post(subscription: WebhookSubscription, dispatch: Dispatch, moment: datetime) -> Said:
    body = dispatch.body.encode()
    headers = payloads.signatures(subscription.hmac_secret, body, moment)
    try:
        answer = outbound.send(
            "POST",
            subscription.client_url,
            headers={"Content-Type": "application/json", **headers},
            body=body,
            deadline=DEADLINE,
            largest=KEPT_OF_ANSWER,
        )
    except (outbound.AddressRefused, outbound.NoAnswer) as error:
        return Said(error=str(error))
    except Exception:
        # Else the lease would run out and the same would be tried for ever.
        logger.exception("dispatch %s could not be posted", dispatch.pk)
        return Said(error="The post failed because of a problem in this service.")
    # A receiver may say back what it was sent.
    mask = Redactor([subscription.hmac_secret, *headers.values()])
    said = Said(answer.status, mask.feed(answer.body) + mask.flush())
    if said.arrived:
        return said
    return Said(said.status, said.body, f"The receiver answered {answer.status}.")


def _note(
    subscription: WebhookSubscription, dispatch: Dispatch, said: Said, moment: datetime
) -> None:
    """Write down how a try ended, and what follows from it for the event and the webhook."""
    tries = dispatch.attempts + 1
    is_gone = said.status == 410
    is_late = moment - dispatch.created_at > LONGEST
    over = said.arrived or is_gone or is_late or tries >= TRIES
    due_at = None if over else moment + _wait(tries)
    if not _write_answer(dispatch, said, due_at=due_at, moment=moment):
        return  # another sender, who thought this one dead, was quicker
    _show_answer(subscription, said, moment)
    own = WebhookSubscription.objects.filter(pk=subscription.pk)
    if said.arrived:
        own.update(failures=0, failing_since=None, failed_tries=0, rests_until=None)
        return
    late = webhooks.give_up(
        subscription,
        "It was given up: the receiver had not answered for a day.",
        older_than=moment - LONGEST,
    )
    subscription.failures += late + over
    subscription.failed_tries += 1
    subscription.failing_since = subscription.failing_since or moment
    own.update(
        failures=subscription.failures,
        failed_tries=subscription.failed_tries,
        failing_since=subscription.failing_since,
        rests_until=moment + min(_wait(subscription.failed_tries), LONGEST_REST),
    )
    if reason := _reason_to_stop(subscription, said, moment, given_up=bool(late + over)):
        if webhooks.switch_off(subscription, reason=reason):
            tell_of_webhook(subscription, reason)
        logger.warning("webhook %s is switched off: %s", subscription.pk, reason)


def _wait(tries: int) -> timedelta:
    """How long to wait after this many failed tries: they spread, so that not all come at once."""
    grown: timedelta = FIRST_WAIT * GROWTH ** min(tries - 1, TRIES)
    return grown * random.uniform(1, 1.5)  # noqa: S311 - it spreads, it hides nothing


def _reason_to_stop(
    subscription: WebhookSubscription, said: Said, moment: datetime, *, given_up: bool
) -> str | None:
    again = "Repair the receiver, then set active to true."
    if said.status == 410:
        return f"The receiver answered 410: it is gone for good. {again}"
    if subscription.failures >= MOST_FAILURES:
        return f"{subscription.failures} events in a row could not be delivered. {again}"
    since = subscription.failing_since or moment
    if given_up and moment - since >= LONGEST_FAILING:
        return f"Nothing could be delivered for {(moment - since).days} days. {again}"
    return None


def _write_answer(
    dispatch: Dispatch, said: Said, *, due_at: datetime | None, moment: datetime
) -> bool:
    status = DeliveryStatus.WAITING if due_at else DeliveryStatus.FAILED
    rows = Dispatch.objects.filter(
        pk=dispatch.pk, attempts=dispatch.attempts, status=dispatch.status
    )
    return bool(
        rows.update(
            status=DeliveryStatus.SENT if said.arrived else status,
            due_at=due_at,
            attempts=dispatch.attempts + 1,
            answer_status=said.status,
            answer_body=said.body,
            error=said.error,
            sent_at=moment if said.arrived else None,
        )
    )


def _show_answer(subscription: WebhookSubscription, said: Said, moment: datetime) -> None:
    """What dbt's API shows: the newest status that was received, and when anything was sent."""
    columns: dict[str, object] = {"dispatched_at": moment}
    if said.status is not None:
        columns["http_status_code"] = str(said.status)
    WebhookSubscription.objects.filter(pk=subscription.pk).update(**columns)
