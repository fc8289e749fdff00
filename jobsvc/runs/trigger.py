"""The single door: every run, whatever started it, is created here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Token, User
from accounts.policy import Access
from accounts.roles import Action
from environments.models import DeploymentType
from environments.variables import TARGET_SCHEMA, checked, value_of_job
from jobsvc.jobs.define import reactivate_job
from jobsvc.jobs.models import Job, validate_steps
from jobsvc.runs import queue
from jobsvc.runs.models import Run, RunTransition, RunTrigger
from jobsvc.runs.overlap import concurrency_key, locks_job, settle_overlap
from jobsvc.statuses import CauseCategory, State

# What starts a run without anybody asking for this one; a deactivated job refuses these.
AUTOMATIC = {
    CauseCategory.SCHEDULED,
    CauseCategory.JOB_COMPLETION,
    CauseCategory.CI,
    CauseCategory.MERGE,
}
OF_THE_RUN = {"should_start_at"}  # what a trigger says that is kept with the run itself
CAUSE_LENGTH = 255  # characters; longer ones are cut, as dbt Cloud's clients do themselves


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """What the caller knows about why a run should start, and what it overrides."""

    cause: str
    cause_category: CauseCategory
    deduplication_key: str | None = None
    should_start_at: datetime | None = None
    caused_by_run: Run | None = None
    user: User | None = None
    api_token: Token | None = None
    git_branch: str | None = None
    git_sha: str | None = None
    azure_pull_request_id: int | None = None
    github_pull_request_id: int | None = None
    gitlab_merge_request_id: int | None = None
    non_native_pull_request_id: int | None = None
    schema_override: str | None = None
    dbt_version_override: str | None = None
    threads_override: int | None = None
    target_name_override: str | None = None
    generate_docs_override: bool | None = None
    timeout_seconds_override: int | None = None
    steps_override: list[str] | None = None
    variables_override: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def pull_request_id(self) -> int | None:
        """The pull request's number, whichever kind of host it is on."""
        return (
            self.github_pull_request_id
            or self.gitlab_merge_request_id
            or self.azure_pull_request_id
            or self.non_native_pull_request_id
        )


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """Of a run that goes on where another one ended.

    Attributes:
        configuration: what it will do, in place of what the job says now.
        attempt_number: of a chain of automatic retries; the first run is 1.
    """

    of: Run
    configuration: Mapping[str, Any]
    attempt_number: int = 1


def trigger_run(job: Job, trigger: Trigger, resumption: Resumption | None = None) -> Run:
    """Queue one run of ``job`` and return it.

    Asking twice with the same ``deduplication_key`` returns the first run: a webhook
    delivered twice or a beat tick sent twice starts one run. A run that somebody asks for
    makes a deactivated job active again.

    Raises:
        ValidationError: the job is deleted, it is deactivated and nobody asked for this run,
            or it would have no command to run.
    """
    if job.state != State.ACTIVE:
        raise ValidationError("This job is deleted. Create it anew to run it.")
    if job.deactivated and trigger.cause_category in AUTOMATIC:
        raise ValidationError("This job is deactivated. Run it once, or save its settings.")
    configuration = resumption.configuration if resumption else configuration_of(job, trigger)
    variables = variables_of(trigger)
    try:
        with transaction.atomic():
            if locks_job(job):
                Job.objects.select_for_update(no_key=True).get(pk=job.pk)
            if job.deactivated:
                reactivate_job(job)
            run = Run.objects.create(
                account=job.account,
                project=job.project,
                environment=job.environment,
                job=job,
                configuration=configuration,
                concurrency_key=concurrency_key(job, trigger.pull_request_id),
                takes_slot=not job.is_ci,
                rank=-job.extended.queue.priority,
                chain_depth=chain_depth(trigger, resumption),
                should_start_at=trigger.should_start_at,
                retrying_run=resumption.of if resumption else None,
                attempt_number=resumption.attempt_number if resumption else 1,
            )
            given = {
                field.name: getattr(trigger, field.name)
                for field in fields(trigger)
                if field.name not in OF_THE_RUN
            }
            given |= {"cause": trigger.cause[:CAUSE_LENGTH], "variables_override": variables}
            RunTrigger.objects.create(run=run, **given)
            RunTransition.objects.create(run=run, to_status=run.status)
            if audit.actor().is_somebody:
                _tell(run, trigger, is_retry=resumption is not None)
            settle_overlap(run)
            queue.execute(run.pk)
            queue.react()
    except IntegrityError:
        if trigger.deduplication_key is None:
            raise
        return Run.objects.get(trigger__deduplication_key=trigger.deduplication_key)
    return run


def _tell(run: Run, trigger: Trigger, *, is_retry: bool) -> None:
    """Write down that a person or a token started ``run``; of what it overrides only the names."""
    given = {"job": run.job.name, "cause": trigger.cause[:CAUSE_LENGTH]} | {
        field.name: "given"
        for field in fields(trigger)
        if field.name.endswith("_override") and getattr(trigger, field.name) not in (None, {})
    }
    audit.record(
        "run.retried" if is_retry else "run.started",
        run,
        account_id=run.account_id,
        differences={name: [None, value] for name, value in given.items()},
    )


def refused_variables(job: Job, access: Access) -> str:
    """Why who has ``access`` may give a run of ``job`` no variables of its own; empty if they may.

    In production they would decide what is built and whence, which is to change the job.
    """
    is_production = job.environment.deployment_type == DeploymentType.PRODUCTION
    if not is_production or access.may(Action.WRITE_JOBS, job):
        return ""
    return (
        "Variables of a run in production are for who may change jobs there. Ask an owner of "
        "the account for such a role, such as Job admin."
    )


def variables_of(trigger: Trigger) -> dict[str, str]:
    """Variables of this run alone, as text.

    Raises:
        ValidationError: a name or a value is not allowed.
    """
    try:
        return checked(trigger.variables_override)
    except ValidationError as refused:
        said = [
            f"variables.{name}: {message}"
            for name, messages in refused.message_dict.items()
            for message in messages
        ]
        raise ValidationError({"extensions": said}) from refused


def chain_depth(trigger: Trigger, resumption: Resumption | None) -> int:
    """How many runs in a row led to this one, each started by the one before it having ended."""
    if resumption is not None:
        return resumption.of.chain_depth
    if trigger.cause_category != CauseCategory.JOB_COMPLETION or trigger.caused_by_run is None:
        return 0
    return trigger.caused_by_run.chain_depth + 1


def schema_of_pull_request(job: Job, trigger: Trigger) -> str | None:
    """Where a CI job builds a pull request: apart from all else. None for any other run.

    Source: docs.getdbt.com, "Continuous integration jobs": ``dbt_cloud_pr_<job>_<number>``.
    """
    if not job.is_ci or trigger.pull_request_id is None:
        return None
    return f"dbt_cloud_pr_{job.pk}_{trigger.pull_request_id}"


def schema_of(job: Job, trigger: Trigger) -> str | None:
    """The schema that this run builds in instead of its environment's; None where it does not.

    A variable of the run that names one counts as well: what is built elsewhere is nothing that
    other runs are to be compared with.
    """
    return (
        trigger.schema_override
        or schema_of_pull_request(job, trigger)
        or variables_of(trigger).get(TARGET_SCHEMA)
        or None
    )


def configuration_of(job: Job, trigger: Trigger) -> dict[str, Any]:
    """What this run will do: the job's settings as they are now, with the trigger's overrides.

    Kept with the run, so that a later change of the job never changes a queued run.
    """

    def pick(override: Any, own: Any) -> Any:
        return own if override is None else override

    steps = trigger.steps_override or job.execute_steps
    try:
        validate_steps(steps)
    except ValidationError as refused:
        field = "steps_override" if trigger.steps_override else "execute_steps"
        raise ValidationError({field: refused.messages}) from refused
    if not steps:
        raise ValidationError(
            {
                "execute_steps": "This run would have no commands. Give the job execute_steps, "
                "or trigger it with steps_override."
            }
        )
    extensions = dict(job.extensions)
    if trigger.steps_override:
        extensions.pop("steps", None)  # they speak of the job's own steps, by their places
    return {
        "execute_steps": steps,
        "threads": pick(trigger.threads_override, job.threads),
        "target_name": pick(trigger.target_name_override, job.target_name),
        "timeout_seconds": pick(trigger.timeout_seconds_override, job.timeout_seconds),
        "generate_docs": pick(trigger.generate_docs_override, job.generate_docs),
        "run_generate_sources": job.run_generate_sources,
        "dbt_version": pick(trigger.dbt_version_override, job.dbt_version),
        "schema_override": schema_of(job, trigger),
        "job_schema": value_of_job(job.project, job.pk, TARGET_SCHEMA),
        "git_branch": trigger.git_branch,
        "git_sha": trigger.git_sha,
        "deferring_job_definition_id": job.deferring_job_id,
        "deferring_environment_id": job.deferring_environment_id,
        "run_lint": job.is_ci and job.run_lint,
        "errors_on_lint_failure": job.errors_on_lint_failure,
        "run_compare_changes": job.is_ci and job.run_compare_changes,
        "compare_changes_flags": job.compare_changes_flags,
        "extensions": extensions,
    }
