"""Deliveries of a git host: kept as they come, read afterwards, as often as it takes.

The row is the queue: ``due_at`` says when it is to be read, and whoever reads it pushes that on
first, so that one that stops half way is found again. What a delivery asks for may be done twice.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from accounts.models import Account
from ci import merges, pull_requests
from ci.access import full_name_of
from ci.models import GitHubInstallation, RepositoryHook, Verdict, WebhookDelivery
from ci.providers.base import (
    BadDelivery,
    Event,
    Head,
    InstallationEvent,
    Ping,
    ProviderUnavailable,
    PullRequestEvent,
    PushEvent,
    provider_for,
)
from environments.models import Repository
from jobsvc import bell
from jobsvc.engine.names import check_ref
from jobsvc.statuses import State

logger = logging.getLogger(__name__)

LEASE = timedelta(minutes=10)  # for whoever reads it; after that it is read anew
FIRST_PAUSE = timedelta(seconds=30)  # before it is tried again; doubled with each time
LONGEST_PAUSE = timedelta(minutes=30)
MOST_ATTEMPTS = 8  # which makes about an hour and a half
MOST_RUNG = 200  # deliveries that one sweep rings for
MOST_PRUNED = 1000  # deliveries that one sweep removes

REACHED = "This address is reached, and its secret is right."


class Refused(Exception):
    """The delivery is not followed. ``str(error)`` says why, and what to do."""


# --- Kept ----------------------------------------------------------------------------------


def keep(head: Head, event: Event, body: str, hook: RepositoryHook | None) -> bool:
    """Write a delivery down and have it read; False if it was there already.

    Args:
        hook: of the repository that it came for; None for the GitHub App's.
    """
    with transaction.atomic():
        delivery, is_new = WebhookDelivery.objects.get_or_create(
            provider="github",
            hook=hook,
            delivery_id=head.delivery_id,
            defaults={
                "account_id": None if hook is None else hook.repository.account_id,
                "event": head.event,
                "action": event.action,
                "repository_name": event.repository,
                "body": body,
            },
        )
        if is_new and isinstance(event, Ping):
            _end(delivery, Verdict.DONE, REACHED)
        elif is_new:
            bell.ring("ci.tasks.read_delivery", delivery.pk)
    return is_new


def redeliver(delivery: WebhookDelivery) -> WebhookDelivery:
    """Read what was delivered once more, as a delivery of its own."""
    with transaction.atomic():
        again = WebhookDelivery.objects.create(
            account_id=delivery.account_id,
            hook_id=delivery.hook_id,
            provider=delivery.provider,
            delivery_id=f"again-{uuid.uuid4()}",
            event=delivery.event,
            action=delivery.action,
            repository_name=delivery.repository_name,
            body=delivery.body,
            redelivers=delivery,
        )
        bell.ring("ci.tasks.read_delivery", again.pk)
    return again


def about(repository: Repository) -> QuerySet[WebhookDelivery]:
    """What was delivered of a repository: by its own webhook, and by the GitHub App."""
    name = full_name_of(repository.remote_url) or ""
    return WebhookDelivery.objects.filter(
        Q(hook__repository=repository)
        | Q(hook=None, account=repository.account_id, repository_name__iexact=name)
    )


def ring_for_due(moment: datetime) -> int:
    """Ring for deliveries that are to be read and were not; how many that were."""
    due = WebhookDelivery.objects.filter(due_at__lte=moment).order_by("due_at")
    waiting = list(due.values_list("pk", flat=True)[:MOST_RUNG])
    for delivery_id in waiting:
        bell.publish("ci.tasks.read_delivery", delivery_id)
    return len(waiting)


def prune(moment: datetime) -> int:
    """Remove deliveries that were kept long enough; how many that were."""
    if settings.KEEP_DELIVERIES_DAYS <= 0:
        return 0
    end = moment - timedelta(days=settings.KEEP_DELIVERIES_DAYS)
    old = WebhookDelivery.objects.filter(received_at__lt=end, due_at=None).order_by("received_at")
    ids = list(old.values_list("pk", flat=True)[:MOST_PRUNED])
    # Their bodies, of megabytes each perhaps, are not read for that.
    return WebhookDelivery.objects.filter(pk__in=ids).defer("body").delete()[0]


# --- Read ----------------------------------------------------------------------------------


def read(delivery_id: int, moment: datetime) -> None:
    """Do what a delivery asks for, if it is to be read at ``moment`` and nobody else does."""
    delivery = _claim(delivery_id, moment)
    if delivery is None:
        return
    if delivery.attempts > MOST_ATTEMPTS:
        _put_off(delivery, "Nobody who read it lived to say what followed.")
        return
    try:
        said = _follow(delivery)
    except (Refused, BadDelivery) as refused:
        _end(delivery, Verdict.REFUSED, str(refused))
    except ProviderUnavailable as error:
        _put_off(delivery, str(error), error.retry_after)
    except Exception:
        logger.exception("delivery %s could not be read", delivery.pk)
        _put_off(delivery, "This service could not read it because of a problem of its own.")
    else:
        _end(delivery, Verdict.DONE, "\n".join(dict.fromkeys(said)))


def _claim(delivery_id: int, moment: datetime) -> WebhookDelivery | None:
    waiting = WebhookDelivery.objects.filter(pk=delivery_id, due_at__lte=moment)
    delivery = waiting.select_related("hook__repository").first()
    if delivery is None:
        return None
    attempts = delivery.attempts
    delivery.attempts += 1
    delivery.due_at = moment + LEASE
    # Each claim counts up, so of those that read the row alike one finds it as it was.
    claimed = waiting.filter(attempts=attempts).update(
        attempts=delivery.attempts, due_at=delivery.due_at
    )
    return delivery if claimed else None


def _end(delivery: WebhookDelivery, verdict: Verdict, decision: str) -> None:
    _write(delivery, verdict=verdict, decision=decision, due_at=None, decided_at=now())


def _put_off(delivery: WebhookDelivery, why: str, retry_after: float | None = None) -> None:
    if delivery.attempts >= MOST_ATTEMPTS:
        said = f"{why} It was tried {delivery.attempts} times. Deliver it again to have it read."
        _end(delivery, Verdict.FAILED, said)
        return
    pause = min(FIRST_PAUSE * 2 ** (delivery.attempts - 1), LONGEST_PAUSE)
    pause = max(pause, timedelta(seconds=retry_after or 0))
    _write(delivery, verdict=Verdict.FAILED, decision=why, due_at=now() + pause)


def _write(delivery: WebhookDelivery, **values: object) -> None:
    """Unless somebody else has taken the delivery over meanwhile."""
    mine = WebhookDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts)
    mine.update(account=delivery.account_id, **values)


def _follow(delivery: WebhookDelivery) -> list[str]:
    event = provider_for(delivery.provider).read_event(delivery.event, delivery.body.encode())
    match event:
        case PullRequestEvent(pull_request=facts):
            _check_refs(facts.head_ref, facts.base_ref)
            said = _in_each(delivery, event, partial(pull_requests.take_event, event))
        case PushEvent():
            _check_refs(*filter(None, [event.branch]))
            said = _in_each(delivery, event, partial(merges.take_push, event))
        case Ping():
            said = [REACHED]
        case InstallationEvent():
            said = [
                f"{event.login}: installation {event.installation_id} was {event.action}. "
                "An operator says in /admin/ which account it is of."
            ]
        case _:
            said = [f"Nothing here follows from {delivery.event} {delivery.action}".rstrip() + "."]
    return said


def _in_each(
    delivery: WebhookDelivery, event: Event, act: Callable[[Repository], list[str]]
) -> list[str]:
    """What ``act`` says of each repository; one that it fails for keeps no other waiting."""
    said: list[str] = []
    broken: list[Exception] = []
    for repository in _repositories(delivery, event):
        try:
            said += act(repository)
        except Exception as error:
            broken.append(error)
    if broken:
        raise broken[0]
    return said


def _check_refs(*refs: str) -> None:
    try:
        for ref in refs:
            check_ref(ref)
    except ValueError as refused:
        raise Refused(str(refused)) from refused


def _repositories(delivery: WebhookDelivery, event: Event) -> list[Repository]:
    """The account's repositories that the delivery is about; several projects may have one each.

    Raises:
        Refused: it is about none, or about one that its secret does not speak for.
    """
    delivery.account = account = (
        _account_of_installation(event.installation_id)
        if delivery.hook is None
        else _account_of_hook(delivery.hook, event.repository)
    )
    found = repositories_named(account, event.repository)
    if not found:
        raise Refused(
            f"The account has no repository {event.repository}. Give a project that repository, "
            "or correct the address of the one that was renamed, then deliver it again."
        )
    return found


def _account_of_hook(hook: RepositoryHook, repository: str) -> Account:
    own = full_name_of(hook.repository.remote_url) or ""
    if own.lower() != repository.lower():
        raise Refused(
            f"It is of {repository}, but this address belongs to {hook.repository}. Make a "
            "webhook of its own for each repository; of one that was renamed, correct the "
            "address here."
        )
    return hook.repository.account


def _account_of_installation(installation_id: int | None) -> Account:
    rows = GitHubInstallation.objects.select_related("account")
    found = rows.filter(installation_id=installation_id or 0).first()
    if found is None:
        raise Refused(
            f"No account has the installation {installation_id}. An operator says in /admin/ "
            "which account it is of."
        )
    return found.account


def repositories_named(account: Account, name: str) -> list[Repository]:
    """The account's repositories whose address is that of ``name`` (``owner/name``)."""
    if account.state != State.ACTIVE:
        return []
    rows = Repository.objects.of_account(account.pk).active().filter(remote_url__icontains=name)
    return [
        row
        for row in rows.order_by("pk")
        if (full_name_of(row.remote_url) or "").lower() == name.lower()
    ]
