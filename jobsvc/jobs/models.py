"""What to run: the job definition."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.timezone import now

from accounts.audited import Audit, Audited
from accounts.models import Account
from environments.models import Environment, Project
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.errors import CommandRejected
from jobsvc.jobs import extensions
from jobsvc.jobs.extensions import Extensions
from jobsvc.statuses import RunStatus, State

DEFAULT_COMPARE_FLAGS = "--select state:modified"
MAX_STEPS = 100
PUNCTUAL = timedelta(seconds=60)  # a run that is queued within this time of its moment is not late


class JobType(models.TextChoices):
    SCHEDULED = "scheduled"
    OTHER = "other"
    CI = "ci"
    MERGE = "merge"
    ADAPTIVE = "adaptive"


def validate_steps(steps: list[str]) -> None:
    """Each step must be a dbt command of the allow list: the engine's own parser judges."""
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise ValidationError("execute_steps is a list of dbt commands, each a text.")
    if len(steps) > MAX_STEPS:
        raise ValidationError(f"A job has at most {MAX_STEPS} steps; split it into several jobs.")
    for index, step in enumerate(steps, start=1):
        try:
            DbtCommand.parse(step, index=index)
        except CommandRejected as rejected:
            raise ValidationError(str(rejected), code="command_rejected") from rejected


class JobQuerySet(models.QuerySet["Job"]):
    def of_account(self, account_id: int) -> JobQuerySet:
        return self.filter(account=account_id)

    def active(self) -> JobQuerySet:
        return self.filter(state=State.ACTIVE)

    def due(self, moment: datetime) -> JobQuerySet:
        """Jobs whose schedule names ``moment`` or one before it, longest overdue first."""
        return (
            self.active()
            .filter(triggers_schedule=True, deactivated=False, next_run_at__lte=moment)
            .order_by("next_run_at")
        )

    def late(self, moment: datetime) -> JobQuerySet:
        """Jobs that are overdue at ``moment``, or missed a moment in the day before it."""
        overdue = self.due(moment - PUNCTUAL).values("pk")
        return self.active().filter(
            Q(pk__in=overdue) | Q(missed_at__gte=moment - timedelta(days=1))
        )


class Job(Audited):
    """What to run, where and when. A job never runs; each run of it is a Run."""

    AUDIT = Audit(
        "job_definition",
        noise={"next_run_at", "run_failure_count", "missed_at", "reactivated_at", "is_system"},
    )

    account = models.ForeignKey(Account, models.PROTECT, related_name="jobs")
    project = models.ForeignKey(Project, models.PROTECT, related_name="jobs")
    environment = models.ForeignKey(Environment, models.PROTECT, related_name="jobs")
    name = models.CharField(max_length=255)
    description = models.CharField(max_length=255, blank=True, default="")
    job_type = models.CharField(max_length=20, choices=JobType, default=JobType.OTHER)
    dbt_version = models.CharField(max_length=60, null=True, blank=True)
    raw_dbt_version = models.CharField(max_length=60, null=True, blank=True)

    execute_steps = models.JSONField(default=list, blank=True, validators=[validate_steps])
    timeout_seconds = models.PositiveIntegerField(default=0, help_text="Seconds; 0 is no limit.")
    threads = models.PositiveIntegerField(default=4)
    target_name = models.CharField(max_length=255, default="default")
    generate_docs = models.BooleanField(default=False)
    run_generate_sources = models.BooleanField(default=False)
    run_lint = models.BooleanField(default=False)
    errors_on_lint_failure = models.BooleanField(default=True)
    run_compare_changes = models.BooleanField(default=False)
    compare_changes_flags = models.CharField(max_length=1000, default=DEFAULT_COMPARE_FLAGS)
    cost_optimization_features = models.JSONField(default=list, blank=True)
    force_node_selection = models.BooleanField(null=True, blank=True)

    deferring_job = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="+"
    )
    deferring_environment = models.ForeignKey(
        Environment, models.PROTECT, null=True, blank=True, related_name="+"
    )

    triggers_github_webhook = models.BooleanField(default=False)
    triggers_git_provider_webhook = models.BooleanField(default=False)
    triggers_schedule = models.BooleanField(default=False)
    triggers_on_merge = models.BooleanField(default=False)
    triggers_custom_branch_only = models.BooleanField(default=False)
    triggers_on_draft_pr = models.BooleanField(default=False)
    lifecycle_webhooks = models.BooleanField(default=False)

    schedule = models.JSONField(
        null=True, blank=True, help_text="As the API shows it: cron, date, time, timezone."
    )
    cron = models.CharField(max_length=255, blank=True, default="")
    timezone = models.CharField(max_length=64, default="UTC", help_text="An IANA zone.")
    next_run_at = models.DateTimeField(null=True, blank=True, editable=False)

    extensions = models.JSONField(
        default=dict, blank=True, help_text="What this service offers beyond dbt Cloud."
    )
    deactivated = models.BooleanField(default=False)
    deactivation_reason = models.CharField(max_length=255, null=True, blank=True)
    run_failure_count = models.PositiveIntegerField(
        default=0, help_text="Runs that ended in error since the last success."
    )
    missed_at = models.DateTimeField(
        null=True, blank=True, help_text="The newest moment of its schedule that started no run."
    )
    reactivated_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Failures before it count no more."
    )
    is_system = models.BooleanField(default=False)
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(triggers_schedule=False) | ~Q(cron=""),
                name="job_with_a_schedule_has_a_cron",
                violation_error_message="A job that runs on a schedule needs a cron expression.",
            ),
            models.CheckConstraint(
                condition=Q(deferring_job=None) | Q(deferring_environment=None),
                name="job_defers_to_one_thing",
                violation_error_message=(
                    "A job defers to a job or to an environment, not to both."
                ),
            ),
            models.CheckConstraint(
                condition=Q(threads__gte=1),
                name="job_has_a_thread",
                violation_error_message="A job needs at least one thread.",
            ),
            models.CheckConstraint(
                condition=~Q(target_name=""),
                name="job_has_a_target_name",
                violation_error_message="A job's target name cannot be empty.",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_run_at"],
                condition=Q(state=State.ACTIVE, triggers_schedule=True, deactivated=False),
                name="job_due",
            ),
            models.Index(fields=["account", "state", "id"], name="job_of_account"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def self_defers(self) -> bool:
        return self.pk is not None and self.deferring_job_id == self.pk

    @property
    def completion_trigger(self) -> CompletionTrigger | None:
        """The one condition that dbt's own field holds."""
        return next((one for one in self.completion_triggers.all() if one.is_dbt_field), None)

    @property
    def extended(self) -> Extensions:
        """``extensions``, read: what this service offers beyond dbt Cloud."""
        return extensions.read(self.extensions)

    @property
    def starts_next_at(self) -> datetime | None:
        """When its schedule starts it next; None while it is deactivated, for then it does not."""
        return None if self.deactivated else self.next_run_at

    def is_overdue(self, moment: datetime) -> bool:
        """Whether its schedule named a moment that nothing has looked at: no beat ticks."""
        return (
            self.triggers_schedule
            and not self.deactivated
            and self.next_run_at is not None
            and self.next_run_at <= moment - PUNCTUAL
        )

    @property
    def is_ci(self) -> bool:
        return self.job_type == JobType.CI


class CompletionTrigger(models.Model):
    """Starts ``job`` when a run of ``upstream`` ends with one of ``statuses``."""

    PLACE = ("job__project", "job__environment")  # for accounts.policy

    job = models.ForeignKey(Job, models.CASCADE, related_name="completion_triggers")
    upstream = models.ForeignKey(Job, models.PROTECT, related_name="downstream")
    statuses = models.JSONField(help_text="Some of 10, 20 and 30.")
    is_dbt_field = models.BooleanField(
        default=True, help_text="Given as job_completion_trigger_condition, not as an extension."
    )
    created_at = models.DateTimeField(
        db_default=Now(), editable=False, help_text="Runs that ended before it start nothing."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["job", "upstream", "is_dbt_field"],
                name="one_completion_trigger_per_pair_of_jobs",
                violation_error_message="This job already starts after that one.",
            ),
            models.UniqueConstraint(
                fields=["job"],
                condition=Q(is_dbt_field=True),
                name="one_completion_condition_in_dbts_field",
            ),
            models.CheckConstraint(
                condition=~Q(job=F("upstream")),
                name="job_does_not_wait_for_itself",
                violation_error_message="A job cannot start after itself.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job} after {self.upstream}"

    def clean(self) -> None:
        allowed: set[Any] = {RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.CANCELLED}
        if not self.statuses or not set(self.statuses) <= allowed:
            raise ValidationError(
                {"statuses": "Give one or more of 10 (success), 20 (error), 30 (cancelled)."}
            )


class Saving(models.TextChoices):
    """What made a revision of a job."""

    BASELINE = "baseline", "As it was before changes were kept"
    CREATED = "created", "Created"
    CHANGED = "changed", "Changed"
    RESTORED = "restored", "Restored"
    PAUSED = "paused", "Paused"
    RESUMED = "resumed", "Resumed"
    SWITCHED_OFF = "switched_off", "Switched off"
    SWITCHED_ON = "switched_on", "Switched on again"
    DELETED = "deleted", "Deleted"


class JobRevision(models.Model):
    """A job as one save left it. Written by ``jobs.revisions`` alone, and never changed.

    Attributes:
        number: counts the saves of the job, from 1.
        document: the job in the shape of the API, as ``jobs.document`` writes it.
        restored: the number of the revision that this save brought back.
        actor_kind, actor_id, actor_name, source: who saved it and from where, as in the audit
            log: a row must not change when a person does.
    """

    PLACE = ("job__project", "job__environment")  # for accounts.policy

    job = models.ForeignKey(Job, models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    saving = models.CharField(max_length=20, choices=Saving)
    document = models.JSONField()
    restored = models.PositiveIntegerField(null=True, blank=True)
    actor_kind = models.CharField(max_length=20, blank=True)
    actor_id = models.BigIntegerField(null=True, blank=True)
    actor_name = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=20, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["job", "number"], name="one_revision_per_number_of_a_job"
            )
        ]

    def __str__(self) -> str:
        return f"Change {self.number} of {self.job}"
