"""Merge jobs: what follows where the branch of an environment moves."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from ci.filters import branch_of
from ci.models import PullRequest, PullRequestState
from ci.providers.base import PushEvent
from environments.models import Repository
from jobsvc.jobs.extensions import MergeOn
from jobsvc.jobs.models import Job, JobQuerySet, JobType
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, State

PUSHED = "push:{job}:"  # what begins the deduplication key of a push: then before and after


def jobs_of(repository: Repository) -> JobQuerySet:
    """The jobs that are told where a branch of ``repository`` moves."""
    return (
        Job.objects.active()
        .filter(
            triggers_on_merge=True,
            project__repository=repository,
            project__state=State.ACTIVE,
        )
        .exclude(job_type=JobType.CI)
        .select_related("account", "project", "environment")
        .order_by("pk")
    )


def take_push(event: PushEvent, repository: Repository) -> list[str]:
    """Start what the push starts in ``repository``; what that was, in sentences.

    Safe to be done twice.
    """
    if event.is_deletion:
        return [f"{event.ref} was deleted, so nothing follows."]
    if not event.branch:
        return ["It is no branch that was pushed, so nothing follows."]
    jobs = [
        job for job in jobs_of(repository) if branch_of(job, event.default_branch) == event.branch
    ]
    said = [_take_push(event, job) for job in jobs]
    return said or [f"{event.branch} moved; no merge job runs in an environment of that branch."]


def take_merged(pull_request: PullRequest) -> list[str]:
    """Start what the merge of ``pull_request`` starts by itself, whatever pushes tell.

    Nothing, where it was closed without being merged.
    """
    said: list[str] = []
    if pull_request.state != PullRequestState.MERGED:
        return said
    for job in jobs_of(pull_request.repository):
        if branch_of(job, pull_request.default_branch) != pull_request.base_ref:
            continue
        try:
            if job.extended.merge.on == MergeOn.MERGED_PR:
                said.append(_start_merged(job, pull_request))
        except ValidationError as refused:
            said.append(_refused(job, refused))
    return said


def _take_push(event: PushEvent, job: Job) -> str:
    try:
        if job.extended.merge.on == MergeOn.PUSH:
            return _start_pushed(job, event)
        merged = PullRequest.objects.filter(
            repository__account=job.account_id,
            repository=job.project.repository,
            state=PullRequestState.MERGED,
            merge_commit_sha=event.sha,
            base_ref=event.branch,
        ).first()
        if merged is None:
            return f"Job {job.name}: no merged pull request became {event.sha[:8]}, so far."
        return _start_merged(job, merged)
    except ValidationError as refused:
        return _refused(job, refused)


def _start_pushed(job: Job, event: PushEvent) -> str:
    pushes = PUSHED.format(job=job.pk)
    if not event.is_forced and _moved_on(f"{pushes}{event.sha}:"):
        return f"Job {job.name}: a later push was seen before this one."
    return _start(
        job,
        Trigger(
            cause=f"Push to {event.branch}",
            cause_category=CauseCategory.MERGE,
            git_branch=event.branch,
            git_sha=event.sha,
            deduplication_key=f"{pushes}{event.before}:{event.sha}",
        ),
    )


def _start_merged(job: Job, pull_request: PullRequest) -> str:
    return _start(
        job,
        Trigger(
            cause=f"Merge of pull request #{pull_request.number}: {pull_request.title}",
            cause_category=CauseCategory.MERGE,
            git_branch=pull_request.base_ref,
            git_sha=pull_request.merge_commit_sha,
            deduplication_key=f"merged:{job.pk}:{pull_request.merge_commit_sha}",
        ),
    )


def _moved_on(key: str) -> bool:
    """Whether a push that began where this one ends has been taken."""
    return Run.objects.filter(trigger__deduplication_key__startswith=key).exists()


def _start(job: Job, trigger: Trigger) -> str:
    earlier = Run.objects.filter(trigger__deduplication_key=trigger.deduplication_key).first()
    if earlier is not None:
        return f"Job {job.name}: run {earlier.pk} was started for it before."
    return f"Job {job.name}: started run {trigger_run(job, trigger).pk}."


def _refused(job: Job, refused: ValidationError) -> str:
    return f"Job {job.name}: {' '.join(refused.messages)}"
