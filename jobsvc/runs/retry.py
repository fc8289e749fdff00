"""Retry: a new run from the point where another failed, asked for by somebody or by itself.

The new run has the old one's configuration. It leaves out the steps that had gone well (its
list has the service's own first three, then the step that failed and what follows); the step
that failed goes on with ``dbt retry`` from its own results where dbt can, else it runs whole.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery

from accounts.models import Token, User
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.errors import CommandRejected
from jobsvc.engine.patience import delay_before, may_retry
from jobsvc.engine.plan import FailureClass, OnFailure, StepPlan
from jobsvc.engine.ports import WORKER_LOST
from jobsvc.engine.results import RUN_RESULTS
from jobsvc.jobs import extensions
from jobsvc.jobs.models import Job
from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.cancel import cancel_retry
from jobsvc.runs.folders import folder_for
from jobsvc.runs.models import Artifact, Run, RunStep
from jobsvc.runs.steps import OWN_KINDS
from jobsvc.runs.trigger import Resumption, Trigger, trigger_run
from jobsvc.statuses import CauseCategory, RunStatus

logger = logging.getLogger(__name__)

LATER_RUNS = 20  # looked at for one that has made a retry needless

OLDEST_DBT = (1, 6)  # the first that has `dbt retry`
MOST_AT_ONCE = 100  # runs started by one sweep
# What a new trigger says for itself; all else is taken over from the run that is retried.
OF_THE_NEW_TRIGGER = {
    "cause",
    "cause_category",
    "deduplication_key",
    "should_start_at",
    "user",
    "api_token",
}


class Refusal(StrEnum):
    """Why dbt Cloud would not retry a run: the API's own words."""

    NOT_FAILED_RUN = "RETRY_NOT_FAILED_RUN"
    NOT_LATEST_RUN = "RETRY_NOT_LATEST_RUN"
    UNSUPPORTED_VERSION = "RETRY_UNSUPPORTED_VERSION"
    UNSUPPORTED_CMD = "RETRY_UNSUPPORTED_CMD"
    NO_RUN_RESULTS = "RETRY_NO_RUN_RESULTS"


_FORCE = "Send extensions.force true to retry it all the same, or run the job anew."
SENTENCES = {
    Refusal.NOT_FAILED_RUN: f"This run did not end in an error. {_FORCE}",
    Refusal.NOT_LATEST_RUN: f"This is not the latest run of its job. {_FORCE}",
    Refusal.UNSUPPORTED_VERSION: f"The dbt of this run, older than 1.6, cannot retry. {_FORCE}",
    Refusal.UNSUPPORTED_CMD: f"dbt cannot go on amid the command that failed. {_FORCE}",
    Refusal.NO_RUN_RESULTS: f"The step that failed left no results to go on from. {_FORCE}",
}


class RetryRefused(Exception):
    """A run is not retried: ``str(error)`` says why and what to do."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(f"{SENTENCES[refusal]} ({refusal})")


class Git(StrEnum):
    """Which code a retry runs: the newest of the branch, or the commit of the run it retries."""

    LATEST = "latest"
    SAME = "same"


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a retry would do, by the names of the steps; ``failed_step`` None is all of it."""

    failed_step: str | None
    skipped_steps: list[str]


# --- May it ------------------------------------------------------------------------------------


def with_retry_facts(runs: QuerySet[Run]) -> QuerySet[Run]:
    """``runs`` with what ``refusal_of`` looks at."""
    newer = Run.objects.filter(job=OuterRef("job"), pk__gt=OuterRef("pk"))
    results = Artifact.objects.filter(step=OuterRef("pk"), path=RUN_RESULTS)
    failed = (
        RunStep.objects.filter(run=OuterRef("pk"), status=RunStatus.ERROR)
        .exclude(on_failure=OnFailure.WARN)
        .annotate(has_results=Exists(results))
        .order_by("index")
    )
    return runs.annotate(
        has_newer_run=Exists(newer),
        failed_command=Subquery(failed.values("command")[:1]),
        failed_has_results=Subquery(failed.values("has_results")[:1]),
    )


def refusal_of(run: Run) -> Refusal | None:
    """Why dbt Cloud would not retry ``run``, fetched ``with_retry_facts``; None if it would.

    Source: docs.getdbt.com, "Retry your dbt jobs"; the reasons are those of its API.
    """
    if run.status != RunStatus.ERROR:
        return Refusal.NOT_FAILED_RUN
    if getattr(run, "has_newer_run", False):
        return Refusal.NOT_LATEST_RUN
    if not _can_retry(run.dbt_version):
        return Refusal.UNSUPPORTED_VERSION
    command: str | None = getattr(run, "failed_command", None)
    if command and not _is_retryable(command):
        return Refusal.UNSUPPORTED_CMD
    if not getattr(run, "failed_has_results", False):
        return Refusal.NO_RUN_RESULTS
    return None


def can_be_forced(run: Run) -> bool:
    """Whether this service retries ``run`` on request: any that ended and did not succeed."""
    return run.is_finished and run.status != RunStatus.SUCCESS


def _can_retry(version: str | None) -> bool:
    """Whether a dbt of this version has ``dbt retry``; one that was never known left nothing."""
    numbers = [int(part) for part in (version or "").split(".")[:2] if part.isdecimal()]
    return not numbers or tuple(numbers) >= OLDEST_DBT


def _is_retryable(command: str) -> bool:
    try:
        parsed = DbtCommand.parse(command, index=1)
    except CommandRejected:
        return False
    return parsed.retryable or parsed.subcommand == "retry"


# --- From where ----------------------------------------------------------------------------------


def failed_step(run: Run) -> RunStep | None:
    """Where ``run`` failed or was cut off; None if nothing of it did.

    A step whose failure was only to warn, and after which the run went on, is not it.
    """
    steps = list(run.steps.all())
    last_started = max((step.index for step in steps if step.started_at is not None), default=0)
    for step in steps:
        let_pass = step.on_failure == OnFailure.WARN and step.index < last_started
        if step.status != RunStatus.SUCCESS and not let_pass:
            return step
    return None


def goes_on_amid(failed: RunStep) -> bool:
    """Whether a retry repeats, of the step that failed, only what did not go well.

    Only of a step that came to its own end do the results name every node.
    """
    return failed.exit_code == 1 and _is_retryable(failed.command)


def preview(run: Run) -> Preview:
    """The step that a retry of ``run`` goes on with, and those that come after it."""
    failed = failed_step(run)
    if failed is None:
        return Preview(failed_step=None, skipped_steps=[])
    after = run.steps.filter(index__gt=failed.index).order_by("index")
    return Preview(
        failed_step=failed.name, skipped_steps=list(after.values_list("name", flat=True))
    )


def _left_out(run: Run, failed: RunStep | None) -> int:
    """How many steps, of those behind the service's own, a retry of ``run`` does not repeat."""
    if failed is None or failed.kind in OWN_KINDS:
        return 0
    before = RunStep.objects.filter(run=run, index__lt=failed.index).exclude(kind__in=OWN_KINDS)
    earlier: int = run.configuration.get("left_out", 0)
    return earlier + before.count()


# --- Retry ---------------------------------------------------------------------------------------


def retry_run(
    run: Run,
    *,
    user: User | None = None,
    api_token: Token | None = None,
    git: Git = Git.LATEST,
    force: bool = False,
) -> Run:
    """Queue a new run that goes on where ``run`` failed, and return it.

    Args:
        force: do it also where dbt Cloud would not: an older run, one that was cancelled or
            ran out of time, a step that can only run from its start.

    Raises:
        RetryRefused: by dbt Cloud's rules, or because it succeeded or has not ended.
        ValidationError: the job cannot run.
    """
    with transaction.atomic():
        # The lock keeps the same run from being retried by itself at this moment.
        Run.objects.select_for_update(no_key=True).get(pk=run.pk)
        run = with_retry_facts(Run.objects.select_related("job", "trigger")).get(pk=run.pk)
        refusal = refusal_of(run)
        if refusal is not None and not (force and can_be_forced(run)):
            raise RetryRefused(refusal)
        trigger = _trigger(run, cause=f"Retry of run {run.pk}", user=user, api_token=api_token)
        resumption = Resumption(of=run, configuration=_configuration(run, git))
        return trigger_run(run.job, trigger, resumption)


def rerun_job(job: Job, *, user: User | None = None, api_token: Token | None = None) -> Run:
    """Go on where the latest run of ``job`` failed; run all of it where that did not fail.

    What was a pull request's run stays one: else it would build where production does.

    Raises:
        ValidationError: the job cannot run.
    """
    latest = Run.objects.filter(job=job).order_by("-pk").first()
    if latest is not None and latest.status == RunStatus.ERROR:
        return retry_run(latest, user=user, api_token=api_token, force=True)
    given: dict[str, Any] = {"cause": "Rerun of the job", "user": user, "api_token": api_token}
    if latest is not None and _is_of_pull_request(latest):
        return trigger_run(job, _trigger(latest, **given))
    return trigger_run(job, Trigger(cause_category=CauseCategory.RERUN, **given))


def _is_of_pull_request(run: Run) -> bool:
    return run.job.is_ci and run.trigger.pull_request_id is not None


def _is_told_of_commits(run: Run) -> bool:
    """Whether a git host starts a run for each commit of the pull request that ``run`` is of."""
    first = run
    while first.retrying_run is not None:
        first = first.retrying_run
    return _is_of_pull_request(run) and first.trigger.cause_category == CauseCategory.CI


def _trigger(run: Run, **given: Any) -> Trigger:
    """A trigger with the overrides of the run's own."""
    kept = {field.name for field in fields(Trigger)} - OF_THE_NEW_TRIGGER
    return Trigger(
        **{name: getattr(run.trigger, name) for name in kept},
        cause_category=CauseCategory.RERUN,
        **given,
    )


def _configuration(run: Run, git: Git) -> dict[str, Any]:
    configuration = dict(run.configuration)
    if git == Git.SAME:
        configuration["git_sha"] = run.git_sha or configuration.get("git_sha")
    elif configuration.get("git_branch") and not _is_told_of_commits(run):
        # A commit without a branch has no newer one; where a git host tells of each commit, a
        # newer one has a run of its own, and what is told of this one is told of its commit.
        configuration["git_sha"] = None
    return configuration | {"left_out": _left_out(run, failed_step(run))}


def resumed(steps: Sequence[StepPlan], results: str) -> tuple[StepPlan, ...]:
    """The steps of a retry, of which the first behind the service's own goes on from ``results``.

    Args:
        results: absolute path of a run_results.json; empty where that step runs whole.
    """
    place = next((n for n, step in enumerate(steps) if step.kind not in OWN_KINDS), None)
    if not results or place is None:
        return tuple(steps)
    return (
        *steps[:place],
        replace(steps[place], resume_from=results),
        *steps[place + 1 :],
    )


@contextmanager
def results_for(run: Run) -> Iterator[str]:
    """The results that the first step of a retry goes on from, on disk while the context lasts.

    Gives their absolute path; empty for a run that retries none, or where there are none to go
    on from: dbt came to no end of its own, or the files are gone. Then the step runs whole.
    """
    failed = failed_step(run.retrying_run) if run.retrying_run else None
    if run.retrying_run is None or failed is None or not goes_on_amid(failed):
        yield ""
        return
    with folder_for(run, "retry") as place:
        yield _fetch(run.retrying_run, failed, place / RUN_RESULTS)


def _fetch(old: Run, failed: RunStep, copy: Path) -> str:
    try:
        source = open_artifact(old, RUN_RESULTS, failed.index)
    except FileNotFoundError:
        logger.warning("run %s: the results of step %s are gone", old.pk, failed.index)
        return ""
    if source is None:
        return ""
    with source, copy.open("xb") as file:
        shutil.copyfileobj(source, file)
    return str(copy)


# --- By itself -----------------------------------------------------------------------------------


def after_loss(run: Run, message: str, moment: datetime) -> tuple[str, dict[str, Any]]:
    """What is to be written of ``run``, whose worker was lost: the message, and columns.

    By the policy its job had, a new run takes it up by itself a while later; ``moment`` is now.
    """
    columns: dict[str, Any] = {
        "failure_class": FailureClass.INFRASTRUCTURE,
        "outcome": WORKER_LOST,
    }
    policy = extensions.read(run.configuration.get("extensions", {})).retry
    unwanted = run.cancel_requested_at is not None
    if unwanted or not may_retry(policy, FailureClass.INFRASTRUCTURE, attempt=run.attempt_number):
        return message, columns
    delay = delay_before(policy, run.attempt_number, chance=random.random)
    again = moment + timedelta(seconds=delay)
    what_happened = message.partition(". ")[0].rstrip(".")
    attempt = f"Attempt {run.attempt_number + 1} of {policy.max_retries + 1}"
    return (
        f"{what_happened}. {attempt} starts by itself at {again:%Y-%m-%d %H:%M:%S} UTC; cancel "
        "this run to prevent that.",
        columns | {"will_retry_at": again},
    )


def start_due_retries(moment: datetime) -> list[Run]:
    """Start the retries that are due at ``moment``; each once, however often this is called."""
    due = Run.objects.filter(will_retry_at__lte=moment, retries=None).order_by("will_retry_at")
    started = []
    for run_id in list(due.values_list("pk", flat=True)[:MOST_AT_ONCE]):
        try:
            with transaction.atomic():
                new = _start_due(run_id)
        except ValidationError as refused:
            cancel_retry(run_id, f"It was not retried: {' '.join(refused.messages)}")
            continue
        if new is not None:
            started.append(new)
    return started


def _done_since(run: Run) -> Run | None:
    """A later run that did what ``run`` was to do, and succeeded.

    Trying ``run`` again would build its older code over the newer.
    """
    later = Run.objects.filter(
        job=run.job_id,
        concurrency_key=run.concurrency_key,
        pk__gt=run.pk,
        status=RunStatus.SUCCESS,
    ).order_by("-pk")[:LATER_RUNS]
    same = ("execute_steps", "schema_override")
    return next(
        (
            other
            for other in later
            if all(other.configuration.get(key) == run.configuration.get(key) for key in same)
        ),
        None,
    )


def _start_due(run_id: int) -> Run | None:
    Run.objects.select_for_update(no_key=True).get(pk=run_id)
    run = Run.objects.select_related("job", "trigger").get(pk=run_id)
    if run.will_retry_at is None or run.retries.exists():
        return None  # it was cancelled, or retried by somebody, meanwhile
    if run.job.deactivated:
        raise ValidationError("The job is deactivated. Run it once, or save its settings.")
    if done := _done_since(run):
        raise ValidationError(f"Run {done.pk} has done the same since, on newer code.")
    number = run.attempt_number + 1
    trigger = _trigger(
        run,
        cause=f"Attempt {number}, after run {run.pk} was lost",
        user=run.trigger.user,
        api_token=run.trigger.api_token,
        deduplication_key=f"retry:{run.pk}",
    )
    configuration = _configuration(run, Git.SAME)
    resumption = Resumption(of=run, configuration=configuration, attempt_number=number)
    return trigger_run(run.job, trigger, resumption)
