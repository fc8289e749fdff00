"""Jobs: list, create, read, change, delete, run, and their latest artifacts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import APIException, PermissionDenied, ValidationError
from rest_framework.request import Request

from accounts.roles import Action
from environments.models import Environment, Project
from jobsvc.api import schedules
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Creates, Lists, Reads, Resource, Updates
from jobsvc.api.fields import CountField, IdField, OptionalText
from jobsvc.api.filters import number, numbers, text, truth
from jobsvc.api.related import included
from jobsvc.api.routes import both
from jobsvc.api.v2.files import is_path, sent
from jobsvc.api.v2.shapes import JobShape, RunShape, jobs_of, prepare_jobs, runs_of, shown_run
from jobsvc.engine.names import check_ref, check_schema, check_sha, check_target
from jobsvc.jobs import extensions
from jobsvc.jobs.chain import Completion
from jobsvc.jobs.define import define_job, delete_job, reactivate_job
from jobsvc.jobs.models import DEFAULT_COMPARE_FLAGS, Job, JobType, validate_steps
from jobsvc.runs import toolchains
from jobsvc.runs.advice import advice_on
from jobsvc.runs.artifacts import latest_of_job
from jobsvc.runs.models import PULL_REQUEST_FIELDS
from jobsvc.runs.trigger import Trigger, refused_variables, trigger_run
from jobsvc.statuses import FINISHED, CauseCategory, State

logger = logging.getLogger(__name__)

COST_FEATURES = ("state_aware_orchestration", "efficient_testing", "dbt_state")
LARGEST_EXTENSIONS = 16 * 1024  # bytes of JSON
NO_CAUSE = "Triggered via API"
TRIGGERS = ("github_webhook", "git_provider_webhook", "schedule", "on_merge", "custom_branch_only")


class NotOnThisJob(APIException):
    status_code = 405
    default_code = "not_on_this_job"


# --- Bodies ------------------------------------------------------------------------------


def _checked(check: Callable[[str], None]) -> Callable[[str], None]:
    """A validator out of one of the engine's checks, which raise ValueError."""

    def validate(value: str) -> None:
        try:
            check(value)
        except ValueError as refused:
            raise serializers.ValidationError(str(refused)) from refused

    return validate


# One that a run could have: installed, or to be had when a run needs it.
DBT_VERSION = _checked(toolchains.check)


class StepsField(serializers.ListField):
    """dbt commands, kept to the letter: clients compare them."""

    child = serializers.CharField(trim_whitespace=False, allow_blank=True)  # named by its number

    def run_child_validation(self, data: list[Any]) -> list[str]:
        steps: list[str] = super().run_child_validation(data)
        try:
            validate_steps(steps)
        except DjangoValidationError as refused:
            raise serializers.ValidationError(refused.messages) from refused
        return steps


class ExecutionBody(Body):
    timeout_seconds = CountField(default=0)


class SettingsBody(Body):
    threads = CountField(min_value=1, default=4)
    target_name = serializers.CharField(
        default="default", trim_whitespace=False, validators=[_checked(check_target)]
    )


class TriggersBody(Body):
    github_webhook = serializers.BooleanField(default=False)
    git_provider_webhook = serializers.BooleanField(default=False)
    schedule = serializers.BooleanField(default=False)
    on_merge = serializers.BooleanField(default=False)
    custom_branch_only = serializers.BooleanField(default=False)


class ConditionBody(Body):
    whole = True
    job_id = IdField()
    statuses = serializers.ListField(
        child=serializers.ChoiceField([status.value for status in FINISHED]), allow_empty=False
    )


class CompletionBody(Body):
    condition = ConditionBody(required=False)


class JobBody(Body):
    """A job as it is posted, whole or in part."""

    project_id = IdField()
    environment_id = IdField()
    name = serializers.CharField(max_length=255, trim_whitespace=False)
    description = serializers.CharField(
        max_length=255, default="", allow_blank=True, trim_whitespace=False
    )
    dbt_version = OptionalText(max_length=60, validators=[DBT_VERSION])
    execute_steps = StepsField(default=list)
    execution = ExecutionBody(required=False)
    settings = SettingsBody(required=False)
    generate_docs = serializers.BooleanField(default=False)
    run_generate_sources = serializers.BooleanField(default=False)
    run_lint = serializers.BooleanField(default=False)
    errors_on_lint_failure = serializers.BooleanField(default=True)
    run_compare_changes = serializers.BooleanField(default=False)
    compare_changes_flags = serializers.CharField(
        max_length=1000, default=DEFAULT_COMPARE_FLAGS, allow_blank=True, trim_whitespace=False
    )
    cost_optimization_features = serializers.ListField(
        child=serializers.ChoiceField(COST_FEATURES), default=list
    )
    force_node_selection = serializers.BooleanField(required=False)
    deferring_job_definition_id = IdField(required=False)
    deferring_environment_id = IdField(required=False)
    job_type = serializers.ChoiceField(JobType.choices, required=False)
    triggers = TriggersBody(required=False)
    triggers_on_draft_pr = serializers.BooleanField(default=False)
    schedule = serializers.JSONField(required=False)
    job_completion_trigger_condition = CompletionBody(required=False)
    lifecycle_webhooks = serializers.BooleanField(default=False)
    extensions = serializers.DictField(required=False)

    def validate_name(self, name: str) -> str:
        if not name.strip():
            raise serializers.ValidationError("", code="blank")
        return name

    def validate_compare_changes_flags(self, flags: str) -> str:
        return flags or DEFAULT_COMPARE_FLAGS

    def validate_extensions(self, extensions: dict[str, Any]) -> dict[str, Any]:
        if len(json.dumps(extensions)) > LARGEST_EXTENSIONS:
            raise serializers.ValidationError(
                f"These are more than {LARGEST_EXTENSIONS} bytes. Keep less here."
            )
        return extensions


class TriggerExtensionsBody(Body):
    """What this service offers for one run beyond dbt Cloud."""

    variables = serializers.DictField(
        required=False, help_text="Environment variables of this run alone: name to value."
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, Mapping) and (unknown := sorted(set(data) - set(self.fields))):
            raise serializers.ValidationError(
                f"extensions has no {unknown[0]!r}. It may hold: {', '.join(self.fields)}."
            )
        return super().to_internal_value(data)


class TriggerBody(Body):
    """What a run may be started with; all of it may be left out."""

    cause = serializers.CharField(default=NO_CAUSE, allow_blank=True)
    git_branch = OptionalText(max_length=255, validators=[_checked(check_ref)])
    git_sha = OptionalText(validators=[_checked(check_sha)])
    azure_pull_request_id = IdField(required=False)
    azure_devops_pull_request_id = IdField(required=False)  # another name of the same
    github_pull_request_id = IdField(required=False)
    gitlab_merge_request_id = IdField(required=False)
    non_native_pull_request_id = IdField(required=False)
    schema_override = OptionalText(validators=[_checked(check_schema)])
    dbt_version_override = OptionalText(max_length=60, validators=[DBT_VERSION])
    threads_override = CountField(required=False, min_value=1)
    target_name_override = OptionalText(validators=[_checked(check_target)])
    generate_docs_override = serializers.BooleanField(required=False)
    timeout_seconds_override = CountField(required=False)
    steps_override = StepsField(required=False)
    extensions = TriggerExtensionsBody(required=False)

    def validate_cause(self, cause: str) -> str:
        return cause or NO_CAUSE

    def validate_steps_override(self, steps: list[str]) -> list[str] | None:
        return steps or None

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["variables_override"] = attrs.pop("extensions", {}).get("variables", {})
        if number := attrs.pop("azure_devops_pull_request_id", None):
            attrs.setdefault("azure_pull_request_id", number)
        given = [name for name in PULL_REQUEST_FIELDS if name in attrs]
        if len(given) > 1:
            raise serializers.ValidationError(
                {given[1]: f"A run is for one pull request. Leave out {' or '.join(given)}."}
            )
        return attrs


# --- Views -------------------------------------------------------------------------------

# Body's keys that are columns of their own.
COLUMNS = (
    "name",
    "description",
    "execute_steps",
    "generate_docs",
    "run_generate_sources",
    "run_lint",
    "errors_on_lint_failure",
    "run_compare_changes",
    "compare_changes_flags",
    "cost_optimization_features",
    "force_node_selection",
    "triggers_on_draft_pr",
    "lifecycle_webhooks",
)


class JobResource(Resource[Job]):
    """What the addresses of jobs share."""

    name = "job"
    shape: ClassVar[type[serializers.BaseSerializer[Any]]] = JobShape
    takes: ClassVar[type[serializers.Serializer[Any]] | None] = JobBody
    writes = Action.WRITE_JOBS
    filters: ClassVar = {
        "project_id": number("project"),
        "project_id__in": numbers("project"),
        "environment_id": number("environment"),
        "name__icontains": text("name__icontains"),
        "triggers_schedule": truth("triggers_schedule"),
        "is_system": truth("is_system"),
    }
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Job]:
        return jobs_of(self.account_id)

    def prepare(self, rows: list[Job], include: Collection[str]) -> None:
        prepare_jobs(rows, include)

    def save(self, job: Job, values: Mapping[str, Any]) -> Job:
        """Put the body's values on ``job`` and define it."""
        self._place(job, values)
        self.check_place(job.environment)
        for name in COLUMNS:
            if name in values:
                setattr(job, name, values[name])
        if "dbt_version" in values:
            job.dbt_version = job.raw_dbt_version = values["dbt_version"]
        if "execution" in values:
            job.timeout_seconds = (values["execution"] or {}).get("timeout_seconds", 0)
        if "settings" in values:
            self._set_settings(job, values["settings"])
        if "triggers" in values:
            for kind in TRIGGERS:
                setattr(job, f"triggers_{kind}", (values["triggers"] or {}).get(kind, False))
        if "schedule" in values:
            read = schedules.read_schedule(values["schedule"], stored_cron=job.cron)
            job.schedule, job.cron, job.timezone = read.shown, read.cron, read.timezone
        if "extensions" in values:
            job.extensions = values["extensions"] or {}
            self._check_followed(job)
        job.job_type = values.get("job_type") or (job.job_type if job.pk else _derived_type(job))
        if job.cost_optimization_features and job.job_type in {JobType.CI, JobType.MERGE}:
            raise NotOnThisJob(
                f"cost_optimization_features are not for jobs of type {job.job_type}. Send []."
            )
        return define_job(job, completion=self._completion(job, values))

    def _set_settings(self, job: Job, settings: Mapping[str, Any] | None) -> None:
        if settings is None:
            settings = {"threads": 4, "target_name": "default"}
        job.threads = settings.get("threads", job.threads)
        job.target_name = settings.get("target_name", job.target_name)

    def _place(self, job: Job, values: Mapping[str, Any]) -> None:
        """The project, environment and deferral that the body names, out of this account."""
        if "project_id" in values:
            projects = self.seen(Project.objects.of_account(self.account_id))
            job.project = self._named("project_id", projects, values)
        environments = self.seen(Environment.objects.of_account(self.account_id))
        environments = environments.select_related("project")
        if "environment_id" in values:
            job.environment = self._named("environment_id", environments, values)
        if "deferring_environment_id" in values:
            job.deferring_environment = self._named(
                "deferring_environment_id", environments, values
            )
        if "deferring_job_definition_id" in values:
            jobs = self.seen(Job.objects.of_account(self.account_id))
            job.deferring_job = self._named("deferring_job_definition_id", jobs, values)

    def _check_followed(self, job: Job) -> None:
        """Refuse jobs to start after that the token may not see; those it has may stay."""
        named = {one.job_id for one in extensions.read(job.extensions).upstream.jobs}
        if job.pk is not None:
            named -= set(job.completion_triggers.values_list("upstream", flat=True))
        missing = named - self.seen(Job.objects.of_account(self.account_id)).in_bulk(named).keys()
        if missing:
            raise ValidationError(
                {
                    "extensions": f"This account has no job {min(missing)}. "
                    "Check the ids in upstream."
                }
            )

    def _named(self, field: str, rows: QuerySet[Any], values: Mapping[str, Any]) -> Any:
        pk = values[field]
        row = None if pk is None else rows.filter(pk=pk, state=State.ACTIVE).first()
        if row is None and pk is not None:
            raise ValidationError({field: f"This account has no such thing as {pk}. Check the id."})
        return row

    def _completion(self, job: Job, values: Mapping[str, Any]) -> Completion | None:
        if "job_completion_trigger_condition" not in values:
            before = job.completion_trigger if job.pk else None
            return Completion(before.upstream, before.statuses) if before else None
        condition = (values["job_completion_trigger_condition"] or {}).get("condition")
        if not condition:
            return None
        jobs = self.seen(Job.objects.of_account(self.account_id))
        upstream = jobs.filter(pk=condition["job_id"]).first()
        if upstream is None:
            raise ValidationError(
                {
                    "job_completion_trigger_condition": "This account has no job "
                    f"{condition['job_id']}. Name the job that this one is to follow."
                }
            )
        return Completion(upstream, condition["statuses"])


def _derived_type(job: Job) -> JobType:
    """The type of a job that was not given one."""
    if job.triggers_github_webhook or job.triggers_git_provider_webhook:
        return JobType.CI
    if job.triggers_on_merge:
        return JobType.MERGE
    return JobType.SCHEDULED if job.triggers_schedule else JobType.OTHER


def with_advice(answer: Answer) -> Answer:
    """The answer to the saving of a job, with what is unwise about it in ``developer_message``.

    A job's keys are closed, and what is read in its ``extensions`` must be good to be posted back.
    """
    try:
        job = Job.objects.active().filter(pk=answer.data["id"]).first()
        findings = advice_on(job) if job else []
    except Exception:  # whatever it is, the job is saved, and a client told otherwise saves another
        logger.exception("no advice on job %s", answer.data["id"])
        return answer
    answer.developer_message = "\n".join(
        f"{one.severity.value} {one.code}{f', step {one.step}' if one.step else ''}: "
        f"{one.message} {one.fix}"
        for one in findings
    )
    return answer


class Jobs(Creates[Job], Lists[Job], JobResource):
    """The jobs of an account."""

    placed = True

    def create(self, values: dict[str, Any]) -> Job:
        return self.save(Job(account=self.account), values)

    def post(self, request: Request, **path: Any) -> Answer:
        return with_advice(super().post(request, **path))


class OneJob(Updates[Job], Reads[Job], JobResource):
    """One of them. What is left out of a POST keeps its value."""

    def update(self, row: Job, values: dict[str, Any]) -> Job:
        return self.save(row, values)

    def delete_row(self, row: Job) -> Job:
        return delete_job(row)

    def post(self, request: Request, **path: Any) -> Answer:
        return with_advice(super().post(request, **path))


class RunJob(JobResource):
    """Start a run. It is queued when this answers; read it until it is complete."""

    shape = RunShape
    takes = TriggerBody
    writes = Action.RUN

    def post(self, request: Request, **path: Any) -> Answer:
        job = self.row()
        values = self.values(partial=False)
        why_not = refused_variables(job, self.token.access)
        if why_not and values.get("variables_override"):
            raise PermissionDenied(why_not)
        trigger = Trigger(
            **values,
            cause_category=CauseCategory.API,
            user=self.token.user,
            api_token=self.token,
        )
        run = runs_of(self.account_id).get(pk=trigger_run(job, trigger).pk)
        return Answer(shown_run(run, included(request) | {"job", "trigger"}))


class ReactivateJob(JobResource):
    """Let a job start again that was deactivated because its runs failed. No body is needed."""

    writes = Action.WRITE_JOBS

    @extend_schema(request=None)
    def post(self, request: Request, **path: Any) -> Answer:
        reactivate_job(self.row())
        return Answer(self.show(self.row()))


class JobArtifact(JobResource):
    """A file of the job's latest successful run that has it."""

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, path: str, **ids: Any) -> HttpResponseBase:
        job = self.row()
        return sent(latest_of_job(job, path) if is_path(path) else None, path)


class ExtensionsBody(Body):
    """Any object."""


class JobExtensions(JobResource):
    """What this service offers for a job beyond dbt Cloud. POST replaces the whole object."""

    takes = ExtensionsBody

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, **path: Any) -> Answer:
        return Answer(self.row().extensions)

    @extend_schema(request=OpenApiTypes.OBJECT, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, **path: Any) -> Answer:
        job = self.row()
        body = JobBody(data={"extensions": self.body}, partial=True)
        body.is_valid(raise_exception=True)
        self.save(job, body.validated_data)
        return Answer(job.extensions)


urlpatterns = [
    *both("accounts/<id:account_id>/jobs", Jobs),
    *both("accounts/<id:account_id>/jobs/<id:pk>", OneJob),
    *both("accounts/<id:account_id>/jobs/<id:pk>/run", RunJob),
    *both("accounts/<id:account_id>/jobs/<id:pk>/extensions", JobExtensions),
    *both("accounts/<id:account_id>/jobs/<id:pk>/reactivate", ReactivateJob),
    path("accounts/<id:account_id>/jobs/<id:pk>/artifacts/<path:path>", JobArtifact.as_view()),
]
