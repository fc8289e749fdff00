"""What jobs, runs and steps look like, and the queries that fetch a page of them.

A job shows its latest run and a run shows its job, so both are here.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import (
    Exists,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    prefetch_related_objects,
)
from django.db.models.functions import Coalesce
from django.utils.timezone import now
from rest_framework import serializers

from environments.models import Environment, EnvironmentVariable, VariableScope
from environments.variables import shown
from jobsvc.api import schedules
from jobsvc.api.base import Shape
from jobsvc.api.fields import IdField, MomentField, Nothing, clock, in_words, seen_from_now
from jobsvc.api.related import Related
from jobsvc.api.v2.accounts import AccountShape
from jobsvc.api.v2.environments import EnvironmentShape
from jobsvc.api.v2.projects import ProjectShape
from jobsvc.api.v2.repositories import RepositoryShape
from jobsvc.api.v2.run_extensions import extensions_of
from jobsvc.jobs.models import Job, JobType
from jobsvc.jobs.schedule import in_words as cron_in_words
from jobsvc.notifications.models import Delivery
from jobsvc.runs.logs import console_log, debug_log
from jobsvc.runs.models import Run, RunStep, RunTrigger
from jobsvc.runs.pages import page_of_run
from jobsvc.runs.retry import refusal_of, with_retry_facts
from jobsvc.statuses import RunStatus

# Job types that may be without a schedule; the others show the default one.
WITHOUT_SCHEDULE = {JobType.CI, JobType.MERGE}
DEBUG_LINES = 1000  # of a debug log, where it is not asked for whole
COLORS: dict[int, str] = {
    RunStatus.QUEUED: "#6b7280",
    RunStatus.STARTING: "#6b7280",
    RunStatus.RUNNING: "#0369a1",
    RunStatus.SUCCESS: "#15803d",
    RunStatus.ERROR: "#ad1414",
    RunStatus.CANCELLED: "#6b7280",
}


# --- Queries -----------------------------------------------------------------------------


def _successes() -> QuerySet[Run]:
    return Run.objects.filter(status=RunStatus.SUCCESS, artifacts_saved=True)


def jobs_of(account_id: int) -> QuerySet[Job]:
    """An account's jobs with what ``JobShape`` always shows."""
    return _jobs().filter(account=account_id)


def runs_of(account_id: int) -> QuerySet[Run]:
    """An account's runs with what ``RunShape`` always shows."""
    return _runs().filter(account=account_id)


def _jobs() -> QuerySet[Job]:
    return Job.objects.prefetch_related("completion_triggers__upstream").annotate(
        has_state=Exists(_successes().filter(job=OuterRef("pk")))
    )


def _runs() -> QuerySet[Run]:
    # As runs.waiting sees it: a run of the same key is in the way, or of the same job.
    same_job = Q(job=OuterRef("job"), takes_slot=True) & Q(takes_slot=OuterRef("takes_slot"))
    holder = Run.objects.active().filter(Q(concurrency_key=OuterRef("concurrency_key")) | same_job)
    runs = with_retry_facts(Run.objects.select_related("trigger__user", "trigger__api_token"))
    sent = Delivery.objects.filter(run=OuterRef("pk"), sent_at__isnull=False)
    return runs.annotate(
        notifications_sent=Exists(sent),
        blocking_run_id=Subquery(holder.values("pk")[:1]),
        pull_request=Coalesce(
            "trigger__github_pull_request_id",
            "trigger__gitlab_merge_request_id",
            "trigger__azure_pull_request_id",
            "trigger__non_native_pull_request_id",
        ),
    )


def _environments() -> Prefetch[str]:
    rows = Environment.objects.select_related("project__account").annotate(
        has_state=Exists(_successes().filter(environment=OuterRef("pk")))
    )
    return Prefetch("environment", rows)


def prepare_jobs(jobs: list[Job], include: Collection[str]) -> None:
    """Fetch for all jobs of a page at once what ``include`` names."""
    relations: list[Any] = [name for name in ("account", "project") if name in include]
    if "environment" in include:
        relations.append(_environments())
    prefetch_related_objects(jobs, *relations)
    for name, runs in (
        ("most_recent_run", Run.objects.all()),
        ("most_recent_completed_run", Run.objects.finished()),
    ):
        if name in include:
            latest = runs.filter(job=OuterRef("job")).order_by("-pk").values("pk")[:1]
            of_job = {run.job_id: run for run in _runs().filter(job__in=jobs, pk=Subquery(latest))}
            for job in jobs:
                setattr(job, name, of_job.get(job.pk))
    if "custom_environment_variables" in include:
        of_jobs = _variables(jobs)
        for job in jobs:
            setattr(job, "variables", of_jobs.get(job.pk, []))  # noqa: B010 - not a model's field


def _variables(jobs: list[Job]) -> dict[int, list[dict[str, Any]]]:
    rows = EnvironmentVariable.objects.filter(
        scope=VariableScope.JOB, job_definition_id__in=[job.pk for job in jobs]
    )
    of_jobs: dict[int, list[dict[str, Any]]] = {}
    for row in rows.order_by("name"):
        of_jobs.setdefault(row.job_definition_id or 0, []).append(
            {"id": row.pk, "name": row.name, "type": row.scope, "display_value": shown(row)}
        )
    return of_jobs


def prepare_runs(runs: list[Run], include: Collection[str]) -> None:
    """Fetch for all runs of a page at once what ``include`` names."""
    relations: list[Any] = []
    if "job" in include:
        relations.append(Prefetch("job", _jobs()))
    if "environment" in include:
        relations.append(_environments())
    if "repository" in include:
        relations.append("project__repository")
    if "run_steps" in include:
        relations.append(Prefetch("steps", RunStep.objects.select_related("run")))
    prefetch_related_objects(runs, *relations)
    if "extensions" in include:
        shown_of = extensions_of(runs)
        for run in runs:
            setattr(run, "extensions", shown_of[run.pk])  # noqa: B010 - not a model's field


def shown_run(run: Run, include: Collection[str], asked: Collection[str] = ()) -> dict[str, Any]:
    """One run, already fetched by ``runs_of``; ``asked`` may name ``debug_logs``, too."""
    prepare_runs([run], include)
    return dict(RunShape(run, context={"include": include, "asked": asked}).data)


# --- Steps -------------------------------------------------------------------------------


class StepShape(Shape[RunStep]):
    """One step of a run. In a list of runs the logs are left out, for there are too many."""

    account_id = serializers.IntegerField(source="run.account_id", read_only=True)
    run_id = IdField(read_only=True)
    status_humanized = serializers.CharField(read_only=True)
    status_color = serializers.SerializerMethodField()
    logs = serializers.SerializerMethodField()
    debug_logs = serializers.SerializerMethodField()
    truncated_debug_logs = serializers.SerializerMethodField()
    log_path = Nothing()
    debug_log_path = Nothing()
    duration = serializers.SerializerMethodField()
    duration_humanized = serializers.SerializerMethodField()
    run_step_command = Nothing()
    run_step_invocation = Nothing()

    class Meta:
        model = RunStep
        fields: ClassVar = [
            "id",
            "run_id",
            "account_id",
            "index",
            "name",
            "status",
            "status_humanized",
            "status_color",
            "logs",
            "debug_logs",
            "truncated_debug_logs",
            "log_path",
            "debug_log_path",
            "started_at",
            "finished_at",
            "created_at",
            "updated_at",
            "duration",
            "duration_humanized",
            "run_step_command",
            "run_step_invocation",
        ]

    def to_representation(self, instance: RunStep) -> dict[str, Any]:
        self.debug_text = debug_log(instance) if self._shows_logs(instance) else None
        return super().to_representation(instance)

    def _shows_logs(self, step: RunStep) -> bool:
        return step.started_at is not None and not self.context.get("many")

    def get_status_color(self, step: RunStep) -> str:
        return COLORS[step.status]

    def get_logs(self, step: RunStep) -> str | None:
        return console_log(step) if self._shows_logs(step) else None

    def get_debug_logs(self, step: RunStep) -> str | None:
        whole = "debug_logs" in self.context.get("asked", ())
        return self.debug_text if whole else self.get_truncated_debug_logs(step)

    def get_truncated_debug_logs(self, step: RunStep) -> str | None:
        if self.debug_text is None:
            return None
        return "".join(self.debug_text.splitlines(keepends=True)[-DEBUG_LINES:])

    def get_duration(self, step: RunStep) -> str:
        return clock(_between(step.started_at, step.finished_at))

    def get_duration_humanized(self, step: RunStep) -> str:
        return in_words(_between(step.started_at, step.finished_at))


# --- Runs --------------------------------------------------------------------------------


class TriggerShape(Shape[RunTrigger]):
    """Why a run exists, and what it overrides; null where it does not."""

    cause_humanized = serializers.SerializerMethodField()
    job_definition_id = serializers.IntegerField(source="run.job_id", read_only=True)

    class Meta:
        model = RunTrigger
        fields: ClassVar = [
            "id",
            "cause",
            "cause_category",
            "cause_humanized",
            "job_definition_id",
            "created_at",
            "git_branch",
            "git_sha",
            "azure_pull_request_id",
            "github_pull_request_id",
            "gitlab_merge_request_id",
            "non_native_pull_request_id",
            "schema_override",
            "dbt_version_override",
            "threads_override",
            "target_name_override",
            "generate_docs_override",
            "timeout_seconds_override",
            "steps_override",
        ]

    def get_cause_humanized(self, trigger: RunTrigger) -> str:
        return trigger.cause[:1].upper() + trigger.cause[1:]


class RunShape(Shape[Run]):
    """A run. What it overrides stands in its trigger, never at its top level."""

    trigger_id = serializers.IntegerField(source="trigger.pk", read_only=True)
    account_id = IdField(read_only=True)
    project_id = IdField(read_only=True)
    environment_id = IdField(read_only=True)
    job_definition_id = serializers.IntegerField(source="job_id", read_only=True)
    job_id = IdField(read_only=True)
    status_humanized = serializers.CharField(source="get_status_display", read_only=True)
    status_message = serializers.SerializerMethodField()
    is_complete = serializers.BooleanField(source="is_finished", read_only=True)
    is_success = serializers.SerializerMethodField()
    is_error = serializers.SerializerMethodField()
    is_cancelled = serializers.SerializerMethodField()
    in_progress = serializers.SerializerMethodField()
    is_running = serializers.SerializerMethodField()
    git_branch = serializers.SerializerMethodField()
    git_sha = serializers.SerializerMethodField()
    href = serializers.SerializerMethodField()
    last_checked_at = Nothing()
    duration = serializers.SerializerMethodField()
    queued_duration = serializers.SerializerMethodField()
    run_duration = serializers.SerializerMethodField()
    duration_humanized = serializers.SerializerMethodField()
    queued_duration_humanized = serializers.SerializerMethodField()
    run_duration_humanized = serializers.SerializerMethodField()
    created_at_humanized = serializers.SerializerMethodField()
    finished_at_humanized = serializers.SerializerMethodField()
    blocked_by = serializers.SerializerMethodField()
    artifact_s3_path = Nothing()
    notifications_sent = serializers.BooleanField(read_only=True)
    owner_thread_id = Nothing()
    executed_by_thread_id = Nothing()
    deferring_run_id = IdField(read_only=True, allow_null=True)
    retrying_run_id = IdField(read_only=True, allow_null=True)
    can_retry = serializers.SerializerMethodField()
    retry_not_supported_reason = serializers.SerializerMethodField()
    job = serializers.SerializerMethodField()
    environment = Related(EnvironmentShape)
    repository = Related(RepositoryShape, of="project.repository")
    audit = serializers.SerializerMethodField()
    deprecation = Nothing()
    used_repo_cache = Nothing()
    repo_cache_restore = Nothing()
    trigger = Related(TriggerShape)
    run_steps = Related(StepShape, of="steps", many=True)

    class Meta:
        model = Run
        fields: ClassVar = [
            "id",
            "trigger_id",
            "account_id",
            "project_id",
            "environment_id",
            "job_definition_id",
            "job_id",
            "status",
            "status_humanized",
            "status_message",
            "is_complete",
            "is_success",
            "is_error",
            "is_cancelled",
            "in_progress",
            "is_running",
            "dbt_version",
            "git_branch",
            "git_sha",
            "href",
            "created_at",
            "updated_at",
            "dequeued_at",
            "started_at",
            "finished_at",
            "should_start_at",
            "last_checked_at",
            "last_heartbeat_at",
            "duration",
            "queued_duration",
            "run_duration",
            "duration_humanized",
            "queued_duration_humanized",
            "run_duration_humanized",
            "created_at_humanized",
            "finished_at_humanized",
            "blocked_by",
            "artifacts_saved",
            "artifact_s3_path",
            "has_docs_generated",
            "has_sources_generated",
            "notifications_sent",
            "owner_thread_id",
            "executed_by_thread_id",
            "deferring_run_id",
            "retrying_run_id",
            "can_retry",
            "retry_not_supported_reason",
            "job",
            "environment",
            "repository",
            "audit",
            "deprecation",
            "used_repo_cache",
            "repo_cache_restore",
            "trigger",
            "run_steps",
        ]

    def to_representation(self, instance: Run) -> dict[str, Any]:
        shape = super().to_representation(instance)
        if "extensions" in self.context.get("include", ()):
            shape["extensions"] = getattr(instance, "extensions", {})
        return shape

    def get_status_message(self, run: Run) -> str | None:
        return run.status_message or None

    def get_is_success(self, run: Run) -> bool:
        return run.status == RunStatus.SUCCESS

    def get_is_error(self, run: Run) -> bool:
        return run.status == RunStatus.ERROR

    def get_is_cancelled(self, run: Run) -> bool:
        return run.status == RunStatus.CANCELLED

    def get_in_progress(self, run: Run) -> bool:
        return not run.is_finished

    def get_is_running(self, run: Run) -> bool:
        return run.status == RunStatus.RUNNING

    def get_git_branch(self, run: Run) -> str | None:
        return run.git_branch or run.trigger.git_branch

    def get_git_sha(self, run: Run) -> str | None:
        return run.git_sha or run.trigger.git_sha

    def get_href(self, run: Run) -> str:
        return page_of_run(run)

    def get_duration(self, run: Run) -> str:
        return clock(_between(run.created_at, run.finished_at))

    def get_queued_duration(self, run: Run) -> str:
        return clock(_between(run.created_at, run.started_at or run.finished_at))

    def get_run_duration(self, run: Run) -> str:
        return clock(_between(run.started_at, run.finished_at))

    def get_duration_humanized(self, run: Run) -> str:
        return in_words(_between(run.created_at, run.finished_at))

    def get_queued_duration_humanized(self, run: Run) -> str:
        return in_words(_between(run.created_at, run.started_at or run.finished_at))

    def get_run_duration_humanized(self, run: Run) -> str:
        return in_words(_between(run.started_at, run.finished_at))

    def get_created_at_humanized(self, run: Run) -> str:
        return seen_from_now(run.created_at)

    def get_finished_at_humanized(self, run: Run) -> str:
        return seen_from_now(run.finished_at)

    def get_blocked_by(self, run: Run) -> list[int]:
        blocking: int | None = getattr(run, "blocking_run_id", None)
        return [blocking] if blocking and run.status == RunStatus.QUEUED else []

    def get_job(self, run: Run) -> dict[str, Any] | None:
        if "job" not in self.context.get("include", ()):
            return None
        return dict(JobShape(run.job).data)

    def get_can_retry(self, run: Run) -> bool:
        return refusal_of(run) is None

    def get_retry_not_supported_reason(self, run: Run) -> str | None:
        refusal = refusal_of(run)
        return refusal.value if refusal else None

    def get_audit(self, run: Run) -> dict[str, Any] | None:
        if "audit" not in self.context.get("include", ()):
            return None
        cancelled_by = run.cancel_requested_by
        return {
            "trigger": {"actor": _actor(run.trigger)},
            "cancellation": {"actor": {"id": None, "type": None, "name": cancelled_by}}
            if cancelled_by
            else None,
        }


def _actor(trigger: RunTrigger) -> dict[str, Any]:
    if trigger.user is not None:
        return {"id": trigger.user.pk, "type": "user", "name": trigger.user.full_name}
    if trigger.api_token is not None:
        token = trigger.api_token
        return {"id": token.pk, "type": "service_token", "name": token.name}
    return {"id": None, "type": "system", "name": "jobsvc"}


def _between(start: datetime | None, end: datetime | None) -> timedelta:
    """From ``start`` to ``end``, or till now; nothing where it has not started."""
    return (end or now()) - start if start else timedelta(0)


# --- Jobs --------------------------------------------------------------------------------


class JobShape(Shape[Job]):
    """A job. Its keys are closed: one of dbt Cloud's clients refuses any it does not know.

    What this service offers beyond dbt Cloud is shown only where ``extensions`` is asked for.
    """

    account_id = IdField(read_only=True)
    project_id = IdField(read_only=True)
    environment_id = IdField(read_only=True)
    execution = serializers.SerializerMethodField()
    settings = serializers.SerializerMethodField()
    generate_sources = serializers.BooleanField(source="run_generate_sources", read_only=True)
    deferring_job_definition_id = serializers.IntegerField(
        source="deferring_job_id", read_only=True, allow_null=True
    )
    deferring_environment_id = IdField(read_only=True, allow_null=True)
    triggers = serializers.SerializerMethodField()
    schedule = serializers.SerializerMethodField()
    job_completion_trigger_condition = serializers.SerializerMethodField()
    lifecycle_webhooks_url = Nothing()
    is_deferrable = serializers.SerializerMethodField()
    cron_humanized = serializers.SerializerMethodField()
    next_run = MomentField(source="starts_next_at", read_only=True)
    next_run_humanized = serializers.SerializerMethodField()
    account = Related(AccountShape)
    project = Related(ProjectShape)
    environment = Related(EnvironmentShape)
    most_recent_run = Related(RunShape)
    most_recent_completed_run = Related(RunShape)

    class Meta:
        model = Job
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "environment_id",
            "name",
            "description",
            "dbt_version",
            "raw_dbt_version",
            "execute_steps",
            "execution",
            "settings",
            "generate_docs",
            "run_generate_sources",
            "generate_sources",
            "run_lint",
            "errors_on_lint_failure",
            "run_compare_changes",
            "compare_changes_flags",
            "cost_optimization_features",
            "force_node_selection",
            "deferring_job_definition_id",
            "deferring_environment_id",
            "job_type",
            "triggers_on_draft_pr",
            "triggers",
            "schedule",
            "job_completion_trigger_condition",
            "lifecycle_webhooks",
            "lifecycle_webhooks_url",
            "state",
            "is_deferrable",
            "is_system",
            "deactivated",
            "deactivation_reason",
            "run_failure_count",
            "cron_humanized",
            "next_run",
            "next_run_humanized",
            "created_at",
            "updated_at",
            "account",
            "project",
            "environment",
            "most_recent_run",
            "most_recent_completed_run",
            "extensions",
        ]

    def to_representation(self, instance: Job) -> dict[str, Any]:
        shape = super().to_representation(instance)
        include = self.context.get("include", ())
        if shape["force_node_selection"] is None:
            del shape["force_node_selection"]
        if "extensions" not in include:
            del shape["extensions"]
        if "custom_environment_variables" in include:
            shape["custom_environment_variables"] = getattr(instance, "variables", [])
        return shape

    def get_execution(self, job: Job) -> dict[str, int]:
        return {"timeout_seconds": job.timeout_seconds}

    def get_settings(self, job: Job) -> dict[str, int | str]:
        return {"threads": job.threads, "target_name": job.target_name}

    def get_triggers(self, job: Job) -> dict[str, bool]:
        return {
            "github_webhook": job.triggers_github_webhook,
            "git_provider_webhook": job.triggers_git_provider_webhook,
            "schedule": job.triggers_schedule,
            "on_merge": job.triggers_on_merge,
            "custom_branch_only": job.triggers_custom_branch_only,
        }

    def get_schedule(self, job: Job) -> dict[str, Any] | None:
        if job.schedule is None and job.job_type not in WITHOUT_SCHEDULE:
            return schedules.DEFAULT
        return job.schedule

    def get_job_completion_trigger_condition(self, job: Job) -> dict[str, Any] | None:
        trigger = job.completion_trigger
        if trigger is None:
            return None
        return {
            "condition": {
                "job_id": trigger.upstream_id,
                "project_id": trigger.upstream.project_id,
                "statuses": trigger.statuses,
            }
        }

    def get_is_deferrable(self, job: Job) -> bool:
        known: bool | None = getattr(job, "has_state", None)
        return _successes().filter(job=job).exists() if known is None else known

    def get_cron_humanized(self, job: Job) -> str:
        return cron_in_words(job.cron, job.timezone)

    def get_next_run_humanized(self, job: Job) -> str | None:
        return seen_from_now(job.starts_next_at) or None
