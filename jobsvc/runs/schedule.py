"""Cron's tick: start what is due."""

from __future__ import annotations

import logging
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from jobsvc.jobs.models import Job
from jobsvc.jobs.schedule import BadSchedule, next_time
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory

logger = logging.getLogger(__name__)


def start_due_runs(moment: datetime) -> list[Run]:
    """Start one run of each job that is due at ``moment``, and set when it is due again.

    Moving ``next_run_at`` forward is what claims the tick, so two beats, or one that ticks
    twice, start one run. Ticks missed while the service was down are made up for by one run.
    A job that cannot start misses its tick and holds up no other.
    """
    runs = []
    for job in Job.objects.due(moment).select_related("account", "project", "environment"):
        with transaction.atomic():
            # Asked again with the claim: the job may have been changed or deleted meanwhile.
            still = Job.objects.due(moment).filter(pk=job.pk, next_run_at=job.next_run_at)
            if still.update(next_run_at=_next(job, moment)) and (run := _start(job)):
                runs.append(run)
    return runs


def _next(job: Job, moment: datetime) -> datetime | None:
    try:
        return next_time(job.cron, after=moment, timezone=job.timezone)
    except BadSchedule:
        logger.exception("the schedule of job %s can no longer be read", job.pk)
        return None


def _start(job: Job) -> Run | None:
    try:
        return trigger_run(job, Trigger(cause="scheduled", cause_category=CauseCategory.SCHEDULED))
    except ValidationError as refused:
        logger.warning("job %s was due and could not start: %s", job.pk, refused)
        return None
