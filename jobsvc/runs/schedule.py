"""Cron's tick: start what is due."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from jobsvc.jobs.models import Job
from jobsvc.jobs.schedule import next_time
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory


def start_due_runs(moment: datetime) -> list[Run]:
    """Start one run of each job that is due at ``moment``, and set when it is due again.

    Moving ``next_run_at`` forward is what claims the tick, so two beats, or one that ticks
    twice, start one run. Ticks missed while the service was down are made up for by one run.
    """
    runs = []
    for job in Job.objects.due(moment).select_related("account", "project", "environment"):
        again = next_time(job.cron, after=moment, timezone=job.timezone)
        with transaction.atomic():
            claimed = Job.objects.filter(pk=job.pk, next_run_at=job.next_run_at).update(
                next_run_at=again
            )
            if claimed:
                trigger = Trigger(cause="scheduled", cause_category=CauseCategory.SCHEDULED)
                runs.append(trigger_run(job, trigger))
    return runs
