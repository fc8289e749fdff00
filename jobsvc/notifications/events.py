"""What the end of a run means to people, beyond its status."""

from __future__ import annotations

from dataclasses import dataclass

from jobsvc.engine.plan import FailureClass
from jobsvc.engine.ports import SKIPPED
from jobsvc.notifications.models import Event
from jobsvc.runs.deactivate import failures_in_a_row
from jobsvc.runs.models import Run, RunQuerySet
from jobsvc.statuses import CancelReason, RunStatus

# Somebody, or a limit, ended these. The others made room for another run, which will be told of.
CANCELS_TO_TELL = {"", CancelReason.USER, CancelReason.TIMEOUT}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands among the runs of its job.

    Attributes:
        failures: how many have failed in a row: up to this one where it failed, else before it.
        since: the first of those; None where there is none.
        half_way: half as many have failed as switch the job off, no more and no less.
    """

    failures: int = 0
    since: Run | None = None
    half_way: bool = False


def standing_of(run: Run) -> Standing:
    """Where ``run``, which has ended, stands. The same whenever it is asked.

    Runs of a CI job are compared with those of the same pull request. Cancelled and skipped
    runs count for nothing; neither does a failure that was retried by itself.
    """
    earlier = Run.objects.filter(job=run.job, pk__lt=run.pk)
    if run.job.is_ci:
        earlier = earlier.filter(concurrency_key=run.concurrency_key)
    success = _decisive(earlier.filter(status=RunStatus.SUCCESS)).order_by("-pk").first()
    failed = _decisive(earlier.filter(status=RunStatus.ERROR))
    if success is not None:
        failed = failed.filter(pk__gt=success.pk)
    before = failed.count()
    since = failed.order_by("pk").first()
    if run.status != RunStatus.ERROR:
        return Standing(failures=before, since=since)
    return Standing(failures=before + 1, since=since or run, half_way=_is_half_way(run))


def events_of(run: Run, standing: Standing) -> frozenset[Event]:
    """Everything that the end of ``run`` is; empty for what nobody is to be told of.

    A run that is about to be retried by itself has not ended yet: its last attempt counts. A
    warning is dbt's, of a test or a source, whatever became of the run. What timed out was
    cancelled, too, as dbt Cloud has it.
    """
    if not run.is_finished or run.will_retry_at is not None:
        return frozenset()
    events: set[Event] = set()
    if run.has_warnings and run.status != RunStatus.CANCELLED:
        events.add(Event.WARNING)
    if run.failure_class == FailureClass.TIMEOUT or run.cancel_reason == CancelReason.TIMEOUT:
        events.add(Event.TIMEOUT)
    match run.status:
        case RunStatus.SUCCESS:
            events.add(Event.SUCCESS)
            if standing.failures and run.outcome != SKIPPED:
                events.add(Event.RECOVERED)
        case RunStatus.ERROR:
            again = standing.failures > 1
            events |= {Event.FAILURE, Event.STILL_FAILING if again else Event.FIRST_FAILURE}
            if standing.half_way:
                events.add(Event.NEAR_DEACTIVATION)
        case RunStatus.CANCELLED if run.cancel_reason in CANCELS_TO_TELL:
            events.add(Event.CANCELLED)
    return frozenset(events)


def _decisive(runs: RunQuerySet) -> RunQuerySet:
    return runs.filter(will_retry_at=None).exclude(outcome=SKIPPED)


def _is_half_way(run: Run) -> bool:
    most = run.job.extended.deactivate_after
    half = (most + 1) // 2
    return most > 1 and failures_in_a_row(run.job, until=run)[0] == half
