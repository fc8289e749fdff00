"""A run ended: start what its job's completion triggers say.

Each end is noted once for each job that watches, under the account's lock, so that however
often and in whatever order reactions come, each end starts one run at most.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now
from django.utils.timezone import now

from accounts.models import Account
from jobsvc.engine.ports import SKIPPED
from jobsvc.jobs.extensions import Mode
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.runs.models import Run, UpstreamEnd
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CancelReason, CauseCategory, RunStatus, State

logger = logging.getLogger(__name__)

MOST_IN_A_ROW = 20  # runs that start each other; no save can close a circle, but a bug might
# A run that was cancelled to make room for another is no end that counts.
CANCELS_THAT_COUNT = {"", CancelReason.USER, CancelReason.TIMEOUT}
NOTE_LENGTH = 255  # characters
PATIENCE = timedelta(seconds=30)  # within which a reaction that is on its way has come
MOST_AT_ONCE = 100  # runs of one sweep


def start_downstream_runs(run: Run) -> list[Run]:
    """Start the jobs that wait for ``run``, which has ended, and return their runs.

    Safe to call again for the same run, late, and by several processes at once. A run that
    is about to be retried by itself has not ended yet: its last attempt counts.
    """
    if not run.is_finished or run.will_retry_at is not None:
        return []
    started = []
    for job_id in sorted(_jobs_after(run)):
        with transaction.atomic():
            # The lock that definitions take, too: what starts a job cannot change meanwhile.
            Account.objects.select_for_update(no_key=True).get(pk=run.account_id)
            new = _take_note(Job.objects.get(pk=job_id), run)
        if new is not None:
            started.append(new)
    Run.objects.filter(pk=run.pk, followed_at=None).update(followed_at=Now())
    return started


def tell_the_untold() -> None:
    """Start what waits for runs that ended a while ago, where the message of that was lost."""
    ended = Run.objects.finished().filter(followed_at=None, will_retry_at=None)
    for run in ended.filter(finished_at__lte=Now() - PATIENCE).order_by("pk")[:MOST_AT_ONCE]:
        try:
            start_downstream_runs(run)
        except Exception:
            logger.exception("what follows run %s could not be started", run.pk)


def _jobs_after(run: Run) -> set[int]:
    if run.status == RunStatus.CANCELLED and run.cancel_reason not in CANCELS_THAT_COUNT:
        return set()
    if run.outcome == SKIPPED:
        return set()  # it built nothing that there would be something to do about
    watching = CompletionTrigger.objects.filter(
        upstream=run.job_id, upstream__state=State.ACTIVE, job__state=State.ACTIVE
    )
    return {trigger.job_id for trigger in watching if _counts(trigger, run)}


def _counts(trigger: CompletionTrigger, run: Run) -> bool:
    """Whether ``run`` ended as ``trigger`` wants, and not before the trigger was given."""
    return (
        run.status in trigger.statuses
        and run.finished_at is not None
        and run.finished_at >= trigger.created_at
    )


def _take_note(job: Job, run: Run) -> Run | None:
    """Note once that ``run`` ended for ``job``; the run that this starts, if any."""
    end, is_new = UpstreamEnd.objects.get_or_create(job=job, run=run)
    if not is_new:
        return None
    if reason := _why_not(job, run):
        _leave(end, reason)
        return None
    used = [end]
    if job.extended.upstream.mode == Mode.ALL:
        used = _enough(job)
        if not used:
            return None
    try:
        new = trigger_run(
            job,
            Trigger(
                cause=f"Triggered by run {run.pk} of job {run.job.name}",
                cause_category=CauseCategory.JOB_COMPLETION,
                deduplication_key=f"completion:{job.pk}:{run.pk}",
                caused_by_run=run,
            ),
        )
    except ValidationError as refused:
        _leave(end, f"Not started: {' '.join(refused.messages)}")
        return None
    UpstreamEnd.objects.filter(pk__in=[one.pk for one in used]).update(started=new)
    return new


def _enough(job: Job) -> list[UpstreamEnd]:
    """The ends that wait, if every job that ``job`` waits for has one; else none.

    All that wait are used at once: of a job that ended three times meanwhile, all three.
    """
    triggers = list(CompletionTrigger.objects.filter(job=job))
    waiting = [
        end
        for end in UpstreamEnd.objects.filter(job=job, started=None, note="").select_related("run")
        if any(
            trigger.upstream_id == end.run.job_id and _counts(trigger, end.run)
            for trigger in triggers
        )
    ]
    missing = {trigger.upstream_id for trigger in triggers} - {end.run.job_id for end in waiting}
    return [] if missing else waiting


def _why_not(job: Job, run: Run) -> str:
    """Why the end of ``run`` starts nothing, in words; empty where it may."""
    if job.deactivated:
        return "Not started: the job is deactivated. Run it once, or save its settings."
    pause = job.extended.pause
    if pause is not None and (pause.until is None or pause.until > now()):
        return f"Not started: the job is paused. {pause.reason}".strip()
    if run.chain_depth >= MOST_IN_A_ROW:
        return (
            f"Not started: {MOST_IN_A_ROW} runs in a row have started each other. Look for jobs "
            "that trigger themselves by way of others."
        )
    return ""


def _leave(end: UpstreamEnd, reason: str) -> None:
    logger.warning("the end of run %s started no run of job %s: %s", end.run_id, end.job_id, reason)
    UpstreamEnd.objects.filter(pk=end.pk).update(note=reason[:NOTE_LENGTH])
