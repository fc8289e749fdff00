"""Webhook subscriptions: who listens for what, and what they are to be posted, written down.

Every event of a subscription is one row of ``Dispatch``, made with the news that it is about and
once only; ``dispatch.py`` posts it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from accounts import audit
from jobsvc import bell, outbound
from jobsvc.jobs.models import Job
from jobsvc.notifications import payloads
from jobsvc.notifications.models import (
    DeliveryStatus,
    Dispatch,
    Event,
    WebhookSubscription,
)
from jobsvc.notifications.payloads import EVENTS, WebhookEvent
from jobsvc.runs.models import RunTransition
from jobsvc.statuses import State

POST = "jobsvc.notifications.tasks.post_webhooks"
MOST = 100  # subscriptions of one account
GIVEN = ("name", "description", "client_url", "event_types", "job_ids", "schema_version")
OF_JOBS = {
    Event.DEACTIVATED: WebhookEvent.DEACTIVATED,
    Event.MISSED_SCHEDULE: WebhookEvent.MISSED,
}


class ReplayRefused(Exception):
    """The event cannot be posted again now; ``str(error)`` says why, and what to do."""


def define_webhook(row: WebhookSubscription, values: Mapping[str, Any]) -> WebhookSubscription:
    """Save a new subscription, or ``row`` with its values replaced.

    A new one gets its secret here. One that was off and is now to be active begins anew, as if
    no post had ever failed.

    Raises:
        ValidationError: by the API's names of the fields.
    """
    heard = (row.event_types, row.job_ids)
    for name in GIVEN:
        if name in values:
            setattr(row, name, values[name])
    if heard != (row.event_types, row.job_ids):
        row.listens_since = now()  # nothing that happened before is told after all
    is_new = row._state.adding
    _check(row, is_new=is_new)
    active = bool(values.get("active", row.active))
    if is_new:
        row.active = active
        row.secrets = {"hmac": secrets.token_hex(32)}
        row.save(force_insert=True)
        return row
    with transaction.atomic(), audit.as_one():
        row.save(update_fields=[*GIVEN, "listens_since", "updated_at"])
        if active and not row.active:
            _begin_anew(row)
        if not active:
            switch_off(row, reason=None)
    return row


def switch_off(row: WebhookSubscription, *, reason: str | None) -> bool:
    """Post no more to it, and give up what waits; True if it was on.

    Args:
        reason: shown in the API; None where somebody wished it so.
    """
    with transaction.atomic():
        on = WebhookSubscription.objects.filter(pk=row.pk, active=True)
        changed = on.update(active=False, deactivate_reason=reason, updated_at=now())
        give_up(row, "It was not sent: the webhook was switched off.")
        if changed:
            _tell(row, {"active": [True, False], "deactivate_reason": [None, reason]})
    row.refresh_from_db()
    return bool(changed)


def remove_webhook(row: WebhookSubscription) -> None:
    """Mark it as deleted, and give up what waits."""
    with transaction.atomic():
        row.state = State.DELETED
        row.save(update_fields=["state", "updated_at"])
        give_up(row, "It was not sent: the webhook was deleted.")


def give_up(row: WebhookSubscription, error: str, *, older_than: datetime | None = None) -> int:
    """Let what waits for this subscription wait no longer; how many events that were."""
    waiting = row.dispatches.filter(status=DeliveryStatus.WAITING)
    if older_than is not None:
        waiting = waiting.filter(created_at__lt=older_than)
    return waiting.update(status=DeliveryStatus.FAILED, due_at=None, error=error)


def write_down(transition: RunTransition) -> list[int]:
    """Write down what a run's move is told to each who listens; ids of the dispatches.

    To be called in the transaction that notes the move as told. Called twice it changes nothing.
    Each attempt of a run that is retried by itself is a run of its own here, and told of.
    """
    run = transition.run
    listeners = _listeners(run.job, transition.created_at)
    events = payloads.events_of(transition) if listeners else []
    made = []
    for subscription in listeners:
        for event in events:
            if event not in subscription.event_types:
                continue
            told = payloads.of_run(subscription, event, payloads.new_event_id(), transition)
            key = f"{subscription.pk}:move:{transition.pk}:{event}"
            made.append(_dispatch(subscription, told, key=key, run=run))
    return _write(made)


def write_down_of_job(job: Job, event: str, about: str) -> list[int]:
    """The same of what happened to a job outside its runs; nothing for events of runs.

    Args:
        about: which time it is, so that each is told once.
    """
    kind = OF_JOBS.get(Event(event))
    if kind is None:
        return []
    moment = now()
    which = hashlib.sha256(about.encode()).hexdigest()[:32]
    made = [
        _dispatch(
            subscription,
            payloads.of_job(subscription, kind, payloads.new_event_id(), job, moment),
            key=f"{subscription.pk}:job:{job.pk}:{kind}:{which}",
        )
        for subscription in _listeners(job, moment)
        if kind in subscription.event_types
    ]
    return _write(made)


def replay(dispatch: Dispatch) -> Dispatch:
    """Post an event once more, under the id it had.

    Raises:
        ReplayRefused
    """
    if dispatch.status == DeliveryStatus.WAITING:
        raise ReplayRefused("This event is still to be sent. Wait for that.")
    if not WebhookSubscription.objects.listening().filter(pk=dispatch.subscription_id).exists():
        raise ReplayRefused("The webhook is switched off. Activate it, then replay the event.")
    with transaction.atomic():
        again = Dispatch.objects.create(
            subscription=dispatch.subscription,
            run=dispatch.run,
            event_type=dispatch.event_type,
            event_id=dispatch.event_id,
            body=dispatch.body,
            key=f"{dispatch.subscription_id}:replay:{secrets.token_hex(12)}",
            replay_of=dispatch.replay_of or dispatch,
        )
        bell.ring(POST, again.pk)
    return again


def _check(row: WebhookSubscription, *, is_new: bool) -> None:
    wrong: dict[str, str] = {}
    if (
        is_new
        and WebhookSubscription.objects.filter(account=row.account, state=State.ACTIVE).count()
        >= MOST
    ):
        raise ValidationError(f"An account has at most {MOST} webhooks. Delete one first.")
    known = EVENTS.get(row.schema_version, frozenset())
    unknown = [name for name in row.event_types if name not in known]
    if not row.event_types:
        wrong["event_types"] = "A webhook needs an event. Name one, such as job.run.completed."
    elif unknown:
        wrong["event_types"] = _unknown_event(unknown[0], row.schema_version)
    if missing := _jobs_missing(row):
        wrong["job_ids"] = f"This account has no job {missing[0]}. Take it out of the list."
    try:
        outbound.check_address(row.client_url)
    except outbound.AddressRefused as refused:
        wrong["client_url"] = str(refused)
    if wrong:
        raise ValidationError(wrong)
    row.event_types = list(dict.fromkeys(row.event_types))
    row.clean_fields(exclude=["secrets", "account"])
    row.validate_constraints()


def _unknown_event(name: str, version: int) -> str:
    if version == 1 and name in EVENTS[2]:
        return (
            f"{name} is an event of schema version 2. "
            'Send {"extensions": {"schema_version": 2}}, too.'
        )
    return f"There is no event {name!r}. Choose from: {', '.join(sorted(EVENTS[version]))}."


def _jobs_missing(row: WebhookSubscription) -> list[int]:
    """Jobs that are no longer there may be named still: clients send back what they were shown."""
    there = Job.objects.of_account(row.account_id).filter(pk__in=row.job_ids)
    return sorted(set(row.job_ids) - set(there.values_list("pk", flat=True)))


def _begin_anew(row: WebhookSubscription) -> None:
    WebhookSubscription.objects.filter(pk=row.pk).update(
        active=True,
        listens_since=now(),
        deactivate_reason=None,
        failures=0,
        failing_since=None,
        failed_tries=0,
        rests_until=None,
        updated_at=now(),
    )
    _tell(row, {"active": [False, True]})
    row.refresh_from_db()


def _tell(row: WebhookSubscription, differences: Mapping[str, Any]) -> None:
    changed = "webhook_subscription.changed"
    audit.record(changed, row, account_id=row.account_id, differences=differences)


def _listeners(job: Job, moment: datetime) -> list[WebhookSubscription]:
    rows = WebhookSubscription.objects.of_account(job.account_id).listening()
    heard = rows.filter(listens_since__lte=moment).order_by("created_at")
    return [row for row in heard if not row.job_ids or job.pk in row.job_ids]


def _dispatch(
    subscription: WebhookSubscription, told: Mapping[str, Any], **columns: Any
) -> Dispatch:
    return Dispatch(
        subscription=subscription,
        event_type=told["eventType"],
        event_id=told["eventId"],
        body=json.dumps(told),
        **columns,
    )


def _write(made: list[Dispatch]) -> list[int]:
    """Save what is not there yet, and ring for what waits."""
    if not made:
        return []
    Dispatch.objects.bulk_create(made, ignore_conflicts=True)
    rows = Dispatch.objects.filter(key__in=[one.key for one in made]).order_by("pk")
    waiting = rows.filter(status=DeliveryStatus.WAITING)
    # One bell for each subscription: whoever hears it posts all that is due.
    first = {one.subscription_id: one.pk for one in waiting.order_by("-pk")}
    for dispatch_id in sorted(first.values()):
        bell.ring(POST, dispatch_id)
    return list(rows.values_list("pk", flat=True))
