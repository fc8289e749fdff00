"""The watchdog: no run stays in between for ever. Each in-between status has its deadline.

Any number of these may run at once; each step is a guarded UPDATE.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, ExpressionWrapper, OuterRef, Q, fields
from django.db.models.functions import Now
from django.utils.timezone import now

from jobsvc.engine.patience import longest_wait
from jobsvc.engine.plan import FailureClass
from jobsvc.jobs import extensions
from jobsvc.runs import queue
from jobsvc.runs.cancel import cancel_retry, in_words
from jobsvc.runs.models import LostRace, Run
from jobsvc.runs.retry import after_loss
from jobsvc.runs.steps import close_steps
from jobsvc.statuses import CancelReason, RunStatus

logger = logging.getLogger(__name__)

WORKER_LOST = (
    "The worker that ran this was lost. Nothing resumes by itself: retry the run when you "
    "have seen what it had built."
)
DID_NOT_START = (
    "The run was not ready to start within 15 minutes. Look at the log of its first steps and "
    "at the machine of its worker, then retry."
)
NOT_TAKEN = (
    "No worker has taken this run for 5 minutes, though nothing holds it back. See whether "
    "workers are running and whether they reach the broker."
)
RAN_ON = (
    "The run went on past its limit of {limit} seconds and its worker did not stop it. Raise "
    "the job's timeout, or let it do less; the warehouse may still be busy with it."
)
NOT_RETRIED = (
    "It was to be retried by itself at {due:%Y-%m-%d %H:%M} UTC, and was not. Retry it by hand "
    "if it is still wanted."
)

QUEUED_DEADLINE = timedelta(minutes=5)  # with nothing in the way
MOST_WARNED_OF = 100  # runs of one look; the next look sees the others
STARTING_DEADLINE = timedelta(minutes=15)
RUNNING_GRACE = timedelta(minutes=5)  # past the run's own limit, which its worker keeps
CANCEL_DEADLINE = timedelta(seconds=60)  # a worker asked to stop a run has this long
RETRY_DEADLINE = timedelta(minutes=15)  # after the moment that a retry was due

LAPSED = Q(lease_until__lte=Now()) | Q(lease_until=None)
DEAF = Q(cancel_requested_at__lte=Now() - CANCEL_DEADLINE)


@dataclass(frozen=True)
class _Missed:
    """A deadline that a run has missed: how it ends for that."""

    status: RunStatus
    message: str
    reason: str = ""
    failure_class: str = ""
    still: Q | None = None  # must be true of the row, too, when it is ended


def watch() -> list[Run]:
    """See to every run that is past a deadline; return those that this ended."""
    ended = [run for run in _active() if (missed := _missed(run)) and _take_away(run, missed)]
    for run in _not_taken():
        _ring_again(run)
    for run in _not_retried():
        _give_up_retry(run)
    return ended


# --- Active runs -------------------------------------------------------------------------


def _active() -> list[Run]:
    """Active runs; ``clock`` is the database's, by which leases and moves are dated."""
    clock = ExpressionWrapper(Now(), output_field=fields.DateTimeField())
    return list(Run.objects.active().annotate(clock=clock).order_by("pk"))


def _missed(run: Run) -> _Missed | None:
    clock: datetime = run.clock  # type: ignore[attr-defined] # annotated by _active()
    lapsed = run.lease_until is None or run.lease_until <= clock
    asked = run.cancel_requested_at
    if asked is not None and (lapsed or asked <= clock - CANCEL_DEADLINE):
        message = in_words(run.cancel_requested_by, run.cancel_reason)
        return _Missed(RunStatus.CANCELLED, message, run.cancel_reason, still=LAPSED | DEAF)
    if lapsed:
        lost = FailureClass.INFRASTRUCTURE
        return _Missed(RunStatus.ERROR, WORKER_LOST, failure_class=lost, still=LAPSED)
    if run.status == RunStatus.STARTING:
        return _missed_start(run, clock)
    return _missed_end(run, clock)


def _missed_start(run: Run, clock: datetime) -> _Missed | None:
    policy = extensions.read(run.configuration.get("extensions", {})).retry
    tries = longest_wait(policy) + policy.max_retries * settings.CHECKOUT_TIMEOUT_SECONDS
    latest = clock - STARTING_DEADLINE - timedelta(seconds=tries)
    if run.dequeued_at is None or run.dequeued_at > latest:
        return None
    return _Missed(RunStatus.ERROR, DID_NOT_START, failure_class=FailureClass.INFRASTRUCTURE)


def _missed_end(run: Run, clock: datetime) -> _Missed | None:
    most = settings.RUN_MAX_SECONDS
    limit = min(run.configuration.get("timeout_seconds") or most, most)
    latest = clock - timedelta(seconds=limit) - RUNNING_GRACE
    if run.started_at is None or run.started_at > latest:
        return None
    message = RAN_ON.format(limit=limit)
    return _Missed(RunStatus.CANCELLED, message, CancelReason.TIMEOUT, FailureClass.TIMEOUT)


def _take_away(run: Run, missed: _Missed) -> bool:
    """End ``run`` in its worker's stead; the new token fences off its late words."""
    message, columns = missed.message, {"failure_class": missed.failure_class}
    if missed.failure_class == FailureClass.INFRASTRUCTURE:
        message, columns = after_loss(run, message, now())
    try:
        with transaction.atomic():
            run.move_to(
                missed.status,
                message=message,
                guard=missed.still,
                token=run.token + 1,
                cancel_reason=missed.reason,
                **columns,
            )
            close_steps(run)
    except LostRace:
        return False
    logger.warning("run %s was taken from %s: %s", run.pk, run.worker, message)
    return True


# --- Runs that wait ----------------------------------------------------------------------


def _not_taken() -> list[Run]:
    """Runs that could have started for a while: it is their turn, and no other ended lately."""
    freed = Run.objects.finished().filter(
        account=OuterRef("account"), finished_at__gt=Now() - QUEUED_DEADLINE
    )
    waiting = (
        Run.objects.startable()
        .filter(created_at__lte=Now() - QUEUED_DEADLINE)
        .exclude(Exists(freed))
        .exclude(status_message=NOT_TAKEN)
        .select_related("account")
    )
    return [run for run in waiting[:MOST_WARNED_OF] if run.has_its_turn()]


def _ring_again(run: Run) -> None:
    """Ring, and warn of it once; from then on the sweep rings as for every other run."""
    queue.execute(run.pk)
    if Run.objects.queued().filter(pk=run.pk).update(status_message=NOT_TAKEN):
        logger.warning("run %s: %s", run.pk, NOT_TAKEN)


# --- Runs that were to be retried --------------------------------------------------------


def _not_retried() -> list[Run]:
    overdue = Run.objects.finished().filter(will_retry_at__lte=Now() - RETRY_DEADLINE)
    return list(overdue.filter(retries=None))


def _give_up_retry(run: Run) -> None:
    """Let ``run`` be the last attempt after all, so that what waits for its end is told of it."""
    why = NOT_RETRIED.format(due=run.will_retry_at)
    if cancel_retry(run.pk, why):
        logger.warning("run %s: %s", run.pk, why)
