"""What becomes of a run whose job has others that wait or go on; and which runs never overlap."""

from __future__ import annotations

from jobsvc.jobs.extensions import Misfire, OnOverlap
from jobsvc.jobs.models import Job, JobType
from jobsvc.runs.cancel import cancel_run, in_words
from jobsvc.runs.models import PULL_REQUEST_FIELDS, LostRace, Run, RunQuerySet, RunTrigger
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
    a person or another service asked for, is left alone. A pull request's run takes the place
    of all older ones of it, also of one that goes on: it waits until that is gone.
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
                _supersede(other, f"run {run.pk}, which took its place")
        case None if run.job.is_ci and run.trigger.pull_request_id:
            _build_newest(run)
        case None:
            _collapse(run)


def locks_job(job: Job) -> bool:
    """Whether the policy compares runs, so that two triggers of one job must not overlap."""
    policy = job.extended.queue.on_overlap
    return job.is_ci if policy is None else policy != OnOverlap.QUEUE


def _build_newest(run: Run) -> None:
    """Leave one run of the pull request: the one that was queued last.

    Of a lost run that is tried again by itself, the place is that of the run that was lost:
    what was queued since is newer than its commit.
    """
    if newer := _queued_since_first_try(run):
        run.move_to(
            RunStatus.CANCELLED,
            message=in_words(_which_builds(newer, run), CancelReason.SUPERSEDED),
            cancel_reason=CancelReason.SUPERSEDED,
        )
        return
    for rival in _rivals(run):
        _supersede(rival, _which_builds(run, rival))


def _queued_since_first_try(run: Run) -> Run | None:
    if run.attempt_number == 1:
        return None
    later = Run.objects.filter(job=run.job, pk__gt=run.retrying_run_id, pk__lt=run.pk)
    return _of_pull_request(later.order_by("-pk"), run.trigger).first()


def _which_builds(newer: Run, older: Run) -> str:
    """Who takes the place of ``older``, as ``cancel_run`` is to be told."""
    shas = {newer.configuration["git_sha"], older.configuration["git_sha"]}
    is_same = len(shas) == 1 and None not in shas
    what = "builds the same commit of" if is_same else "builds a newer commit of"
    return f"run {newer.pk}, which {what} pull request #{newer.trigger.pull_request_id}"


def _supersede(run: Run, by: str) -> None:
    cancel_run(run, by=by, reason=CancelReason.SUPERSEDED)


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
    return _of_pull_request(rivals, run.trigger)


def _of_pull_request(runs: RunQuerySet, trigger: RunTrigger) -> RunQuerySet:
    """Those of ``runs`` that are for the same pull request, or for none as well.

    Two hosts may give one number to two pull requests. Their runs share a schema, and so a key,
    but none is newer than the other.
    """
    same = {f"trigger__{field}": getattr(trigger, field) for field in PULL_REQUEST_FIELDS}
    return runs.filter(**same)


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
