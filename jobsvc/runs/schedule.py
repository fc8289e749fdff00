"""Cron's tick: start what is due."""

from __future__ import annotations

import logging
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import OperationalError, transaction

from jobsvc.jobs import schedule
from jobsvc.jobs.extensions import Misfire
from jobsvc.jobs.models import PUNCTUAL, Job
from jobsvc.jobs.schedule import BadSchedule
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory

logger = logging.getLogger(__name__)

BATCH = 100  # jobs started in one transaction
MOST_MADE_UP = 100  # runs that one job is given at once for moments missed while nothing ticked


def start_due_runs(moment: datetime) -> list[Run]:
    """Start the runs of each job that is due at ``moment``, and set when it is due again.

    Any number of beats may tick at once, and each may die at any time: the move of
    ``next_run_at`` claims the job's moments in the transaction that queues their runs. Each
    tick takes other jobs than the ticks going on beside it. Moments that were missed while the
    service was down are made up for as the job's misfire policy has it. A job that cannot start
    misses its moment and holds up no other.
    """
    runs: list[Run] = []
    while True:
        with transaction.atomic():
            due = Job.objects.due(moment).select_related("account", "project", "environment")
            batch = list(due.select_for_update(skip_locked=True, no_key=True, of=("self",))[:BATCH])
            for job in batch:
                runs += _start_due(job, moment)
        if len(batch) < BATCH:
            return runs


def _start_due(job: Job, moment: datetime) -> list[Run]:
    """Claim what is due of one job, and queue its runs."""
    moments, missed = _wanted(job, moment)
    following = _next(job, moment)
    # Asked again with the claim: the job may have been changed or deleted meanwhile.
    still = Job.objects.due(moment).filter(pk=job.pk, next_run_at=job.next_run_at)
    if not still.update(next_run_at=following):
        return []
    runs = []
    for wanted in moments:
        if run := _start(job, wanted):
            runs.append(run)
        else:
            missed = wanted
    if missed is not None:
        logger.warning("job %s started no run for %s", job.pk, missed.isoformat())
        Job.objects.filter(pk=job.pk).update(missed_at=missed)
    return runs


def _wanted(job: Job, moment: datetime) -> tuple[list[datetime], datetime | None]:
    """The moments to make runs for now, oldest first, and the newest that is let go."""
    since = job.next_run_at or moment
    try:
        misfire = job.extended.schedule.misfire
        most = MOST_MADE_UP if misfire == Misfire.ALL else 1
        moments = schedule.newest_of_job(job, since=since, until=moment, number=most + 1)
    except (BadSchedule, ValidationError):
        return [since], None
    if len(moments) <= most and since not in moments:
        moments.insert(0, since)  # what was once set as due is a moment, whatever is read now
    missed = moments.pop(0) if len(moments) > most else None
    if misfire == Misfire.SKIP and moments and moments[-1] < moment - PUNCTUAL:
        missed = moments.pop()
    return moments, missed


def _next(job: Job, moment: datetime) -> datetime | None:
    try:
        return next(schedule.of_job(job, after=moment), None)
    except (BadSchedule, ValidationError):
        logger.exception("the schedule of job %s can no longer be read", job.pk)
        return None


def _start(job: Job, wanted: datetime) -> Run | None:
    trigger = Trigger(
        cause="scheduled",
        cause_category=CauseCategory.SCHEDULED,
        deduplication_key=f"schedule:{job.pk}:{wanted.isoformat()}",
        should_start_at=wanted,
    )
    try:
        return trigger_run(job, trigger)
    except ValidationError as refused:
        logger.warning("job %s was due and could not start: %s", job.pk, refused)
    except OperationalError:
        raise  # not about this job: the whole batch is tried again by the next tick
    except Exception:
        logger.exception("job %s was due and could not start", job.pk)
    return None
