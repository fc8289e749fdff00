"""A job that fails over and over is switched off, and says so."""

from __future__ import annotations

import logging

from django.db import transaction

from accounts import audit
from jobsvc.jobs.models import Job, Saving
from jobsvc.jobs.revisions import keep_what_is, keep_what_was
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus

logger = logging.getLogger(__name__)


def deactivate_failing_job(run: Run) -> bool:
    """Count anew how often the job of ``run`` has failed in a row; True if that switched it off.

    Counting what is there, and not adding one, makes it right however often and in whatever
    order reactions come. Errors count and a success ends the row; cancelled runs do neither,
    and neither does a run that is about to be retried by itself.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update(no_key=True).get(pk=run.job_id)
        failures, last = failures_in_a_row(job)
        columns: dict[str, object] = {"run_failure_count": failures}
        off = failures >= job.extended.deactivate_after and not job.deactivated
        if off:
            keep_what_was(job)
            row = "The last run" if failures == 1 else f"The last {failures} runs"
            columns |= {
                "deactivated": True,
                "deactivation_reason": f"{row} of this job failed, up to run {last}, so it is no "
                "longer started by itself. Repair it, then run it or save its settings.",
            }
            logger.warning("job %s is deactivated: %s", job.pk, columns["deactivation_reason"])
        Job.objects.filter(pk=job.pk).update(**columns)
        if off:
            job.refresh_from_db()
            keep_what_is(job, Saving.SWITCHED_OFF)
            audit.record(
                "job_definition.deactivated",
                job,
                account_id=job.account_id,
                differences={"deactivation_reason": [None, job.deactivation_reason]},
            )
    return off


def failures_in_a_row(job: Job, *, until: Run | None = None) -> tuple[int, int | None]:
    """How many runs of ``job`` failed since it last succeeded or was activated; the newest.

    Args:
        until: runs after it are left out.
    """
    runs = Run.objects.filter(job=job)
    if until is not None:
        runs = runs.filter(pk__lte=until.pk)
    success = runs.filter(status=RunStatus.SUCCESS).order_by("-pk").first()
    failures = runs.filter(status=RunStatus.ERROR, will_retry_at=None)
    if success is not None:
        failures = failures.filter(pk__gt=success.pk)
    if job.reactivated_at is not None:
        failures = failures.filter(finished_at__gt=job.reactivated_at)
    newest = failures.order_by("-pk").values_list("pk", flat=True).first()
    return failures.count(), newest
