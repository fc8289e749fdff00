"""Advice on a job, with what its runs, and its project's, tell of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from django.conf import settings
from django.utils.timezone import now

from jobsvc.engine.state import MANIFEST
from jobsvc.jobs.advice import Facts, Finding, advise
from jobsvc.jobs.models import CompletionTrigger, Job, JobType
from jobsvc.jobs.selection import Project
from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.defer import state_of_environment, state_of_job, usable
from jobsvc.runs.models import Run, RunQuerySet
from jobsvc.statuses import RunStatus, State

RUNS_LOOKED_AT = 20
FEWEST_RUNS = 5  # fewer say nothing of what is usual
USUAL = 0.9  # of the runs take no longer
LARGEST_MANIFEST = 32 * 1024**2  # bytes; a larger one takes too long while somebody waits


def advice_on(job: Job) -> list[Finding]:
    """What there is to say about ``job``, saved or not, by what is known now."""
    return advise(job, facts_of(job))


def facts_of(job: Job) -> Facts:
    """What is known of ``job`` beside its settings."""
    state = _state_of(job)
    project, source = _project_of(job)
    return Facts(
        now=now(),
        usual_seconds=usual_seconds(job),
        follows_jobs=CompletionTrigger.objects.filter(
            job=job.pk, upstream__state=State.ACTIVE
        ).exists(),
        has_state=None if state is None else state.exists(),
        project=project,
        source=source,
        longest_run_seconds=settings.RUN_MAX_SECONDS,
    )


def usual_seconds(job: Job) -> int | None:
    """What nine in ten of the job's latest successes did not exceed; None where there are few."""
    runs = Run.objects.filter(job=job.pk, status=RunStatus.SUCCESS, started_at__isnull=False)
    times = runs.order_by("-pk").values_list("started_at", "finished_at")[:RUNS_LOOKED_AT]
    durations = sorted((end - start).total_seconds() for start, end in times if start and end)
    if len(durations) < FEWEST_RUNS:
        return None
    return math.ceil(durations[math.ceil(USUAL * len(durations)) - 1])


def _state_of(job: Job) -> RunQuerySet | None:
    """The runs that ``job`` can defer to; None where it defers to nothing."""
    if job.deferring_job_id is not None:
        return state_of_job(job.deferring_job_id)
    if job.deferring_environment_id is not None:
        return state_of_environment(job.deferring_environment_id)
    return None


def _project_of(job: Job) -> tuple[Project | None, str]:
    """The project by the newest manifest that speaks for ``job``, and the name of that."""
    for runs in _runs_that_know(job):
        run = runs.first()
        file = open_artifact(run, MANIFEST) if run else None
        if run is None or file is None:
            continue
        with file:
            manifest = file.read(LARGEST_MANIFEST + 1)
        project = Project.read(manifest) if len(manifest) <= LARGEST_MANIFEST else None
        return project, f"the manifest of run {run.pk}"
    return None, ""


def _runs_that_know(job: Job) -> Iterator[RunQuerySet]:
    """Runs whose manifest is of the same project: of its place, of what it defers to, of any."""
    yield state_of_environment(job.environment_id)
    if (state := _state_of(job)) is not None:
        yield state
    yield usable().filter(project=job.project_id).exclude(job__job_type=JobType.CI)
