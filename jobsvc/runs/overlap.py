"""What becomes of a run whose job has others that wait or go on; and which runs never overlap."""

from __future__ import annotations

from jobsvc.jobs.extensions import Misfire, OnOverlap
from jobsvc.jobs.models import Job, JobType
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import LostRace, Run, RunQuerySet
from jobsvc.statuses import CancelReason, CauseCategory, RunStatus

NAMED = "account:{account}:key:"


def concurrency_key(job: Job, pull_request_id: int | None) -> str:
    """Runs that share a key never overlap.

    A job never overlaps itself, a CI job not on one pull request; jobs of an account that name
    the same key do not overlap each other either.
    """
    if name := job.extended.queue.concurrency_key:
        return NAMED.format(account=job.account_id) + name
    if job.is_ci and pull_request_id:
        return f"job:{job.pk}:pr:{pull_request_id}"
    return f"job:{job.pk}"


def named_key(key: str) -> str:
    """The name that people gave ``key``; empty where it is a job's own."""
    return key.split(":", 3)[3] if key.startswith("account:") else ""


def settle_overlap(run: Run) -> None:
    """Apply its job's policy to ``run``, just queued: others, or itself, are cancelled.

    Without a policy it is dbt Cloud's rule: a scheduled run takes the place of an older
    scheduled run that still waits, a merge run that of an older merge run. What runs, and what
    a person or another service asked for, is left alone.
    """
    match run.job.extended.queue.on_overlap:
        case OnOverlap.QUEUE:
            return
        case OnOverlap.SKIP:
            _skip(run)
        case OnOverlap.CANCEL_QUEUED:
            _replace_queued(run, _rivals(run))
        case OnOverlap.CANCEL_RUNNING:
            _replace_queued(run, _rivals(run))
            for other in _rivals(run).active():
                cancel_run(
                    other,
                    by=f"run {run.pk}, which took its place",
                    reason=CancelReason.SUPERSEDED,
                )
        case None:
            _collapse(run)


def locks_job(job: Job) -> bool:
    """Whether the policy compares runs, so that two triggers of one job must not overlap."""
    return job.extended.queue.on_overlap not in {None, OnOverlap.QUEUE}


def _collapse(run: Run) -> None:
    category = run.trigger.cause_category
    if category == CauseCategory.MERGE and run.job.job_type != JobType.MERGE:
        return
    if category == CauseCategory.SCHEDULED and run.job.extended.schedule.misfire == Misfire.ALL:
        return  # each moment counts, so the runs that make up for several are all wanted
    if category in {CauseCategory.SCHEDULED, CauseCategory.MERGE}:
        _replace_queued(run, _rivals(run).filter(trigger__cause_category=category))


def _rivals(run: Run) -> RunQuerySet:
    """The older runs of the job that wait or go on; of a CI job, those of the pull request.

    A run of a CI job that is for no pull request has those for rivals that are for none either.
    """
    rivals = Run.objects.unfinished().filter(job=run.job, pk__lt=run.pk).order_by("pk")
    if not run.job.is_ci:
        return rivals
    number = run.trigger.pull_request_id
    return rivals.filter(pk__in=[rival.pk for rival in _with_triggers(rivals, number)])


def _with_triggers(rivals: RunQuerySet, number: int | None) -> list[Run]:
    candidates = rivals.select_related("trigger")
    return [rival for rival in candidates if rival.trigger.pull_request_id == number]


def _skip(run: Run) -> None:
    rival = _rivals(run).first()
    if rival is None:
        return
    state = "still waited" if rival.status == RunStatus.QUEUED else "was still going on"
    run.move_to(
        RunStatus.CANCELLED,
        message=f"Skipped: run {rival.pk} of this job {state}, and the job's on_overlap is skip. "
        "Nothing was run; start it by hand if it is needed before its next time.",
        cancel_reason=CancelReason.SKIPPED,
    )


def _replace_queued(run: Run, rivals: RunQuerySet) -> None:
    scheduled = run.trigger.cause_category == CauseCategory.SCHEDULED
    for rival in rivals.queued().select_related("trigger"):
        if scheduled and rival.trigger.cause_category == CauseCategory.SCHEDULED:
            reason = CancelReason.OVER_SCHEDULED
            message = (
                f"Over-scheduled: the job was due again while this run still waited, and run "
                f"{run.pk} took its place. Let the job run less often if this happens a lot."
            )
        else:
            reason = CancelReason.SUPERSEDED
            message = f"Superseded: run {run.pk} was queued later and took its place."
        try:
            rival.move_to(RunStatus.CANCELLED, message=message, cancel_reason=reason)
        except LostRace:
            continue  # a worker has just claimed it: it is no longer waiting
