"""What ran: one execution of a job, its steps, what they said, and what they left."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils.timezone import now

from accounts.models import Account, Token, User
from environments.models import Environment, Project
from environments.secrets import EncryptedJSONField
from jobsvc.engine.plan import FailureClass, OnFailure, StepKind
from jobsvc.engine.ports import Stream
from jobsvc.jobs.models import Job
from jobsvc.runs import queue
from jobsvc.statuses import (
    ACTIVE,
    FINISHED,
    NEXT,
    UNFINISHED,
    CancelReason,
    CauseCategory,
    RunStatus,
)


class ImpossibleMove(Exception):
    """The status asked for cannot follow the run's status."""


class LostRace(Exception):
    """The row no longer has the status, or the fencing token, that this object was read with."""


def lease_end() -> Any:
    """When a lease taken or renewed now runs out, by the database's clock, not a worker's."""
    return Now() + timedelta(seconds=settings.LEASE_SECONDS)


# The order in which runs that wait get their turn: among equals the one that was queued first.
TURN = ("rank", "pk")


class WorkerQuerySet(models.QuerySet["Worker"]):
    def heard(self) -> WorkerQuerySet:
        return self.filter(seen_at__gt=_silent_since())

    def gone(self) -> WorkerQuerySet:
        """Those that are silent for longer than a heartbeat may take, and did not say goodbye."""
        return self.filter(seen_at__lte=_silent_since())

    def with_silence(self) -> WorkerQuerySet:
        """Each with ``is_silent``: whether it is among the ``gone``."""
        silent = models.ExpressionWrapper(
            Q(seen_at__lte=_silent_since()), output_field=models.BooleanField()
        )
        return self.annotate(is_silent=silent)


def _silent_since() -> Any:
    """Who was not heard since then is gone, by the database's clock."""
    return Now() - timedelta(seconds=settings.LEASE_SECONDS)


class Worker(models.Model):
    """A Celery worker of this installation that is up, by its own word; see ``workers``.

    Its row is a notice board, never a lock: which run is whose says the run's row alone.
    """

    name = models.CharField(max_length=255, unique=True, help_text="Celery's name: runs@machine.")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    version = models.CharField(max_length=60, help_text="Of this service.")
    dbt_versions = models.JSONField(default=list, help_text="Of dbt, that are installed there.")
    processes = models.PositiveIntegerField(default=1, help_text="How much it does at a time.")
    bells = models.JSONField(
        default=dict, help_text="Each queue it listens to, and how many bells wait there, if known."
    )
    drained_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is to take no new run."
    )
    drained_by = models.CharField(max_length=255, blank=True, default="")

    objects = WorkerQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def runs_dbt(self) -> bool:
        """Whether it takes runs, so that draining it means something."""
        return RUNS in self.bells


RUNS = "runs"  # the queue that runs are rung for in; see CELERY_TASK_ROUTES


def _takes_runs(worker: str) -> Q:
    """True of no row while the node of ``worker`` is being drained."""
    node = worker.rpartition(":")[0]
    return ~Q(Exists(Worker.objects.filter(name=node, drained_at__isnull=False)))


class RunQuerySet(models.QuerySet["Run"]):
    def of_account(self, account_id: int) -> RunQuerySet:
        return self.filter(account=account_id)

    def queued(self) -> RunQuerySet:
        return self.filter(status=RunStatus.QUEUED)

    def active(self) -> RunQuerySet:
        return self.filter(status__in=ACTIVE)

    def unfinished(self) -> RunQuerySet:
        return self.filter(status__in=UNFINISHED)

    def finished(self) -> RunQuerySet:
        return self.filter(status__in=FINISHED)

    def startable(self) -> RunQuerySet:
        """Queued runs that nothing holds back now, in the order of ``TURN``.

        Of the runs that share a key only the first is one: the others wait for it. A hint for
        whom to ring; whether a run starts is decided by ``claim``.
        """
        active = Run.objects.active()
        # One look into the index for each run, also where PostgreSQL knows nothing of the table
        # yet; as a join it would compare each queued run with each.
        queue_of_key = Run.objects.queued().filter(concurrency_key=OuterRef("concurrency_key"))
        first = queue_of_key.order_by(*TURN).values("pk")[:1]
        taken = (
            active.filter(account=OuterRef("account"), slot__isnull=False)
            .order_by()
            .values("account")
            .annotate(number=Count("pk"))
            .values("number")
        )
        same_key = active.filter(concurrency_key=OuterRef("concurrency_key"))
        same_job = active.filter(job=OuterRef("job"), takes_slot=True)
        return (
            self.queued()
            .filter(pk=Subquery(first))
            .exclude(Exists(same_key))
            .exclude(Q(takes_slot=True) & Exists(same_job))
            .annotate(slots_taken=Coalesce(Subquery(taken), 0))
            .filter(Q(takes_slot=False) | Q(slots_taken__lt=F("account__run_slots")))
            .order_by(*TURN)
        )

    def claim(self, run_id: int, *, worker: str) -> Run | None:
        """Make one queued run this worker's own, or return None.

        None covers the cases the caller treats alike: someone else took the run, it was
        cancelled while it waited, another run holds its concurrency key or is before it for
        that, every run slot of its account is taken, or will be by runs that are before it, or
        the worker is being drained.

        Args:
            worker: ``node:process id``; the node is the name of its row of ``Worker``.
        """
        run = self.startable().select_related("account").filter(pk=run_id).first()
        if run is None or not run.has_its_turn():
            return None
        for slot in run.slots_to_try():
            try:
                run.move_to(
                    RunStatus.STARTING,
                    guard=_takes_runs(worker),
                    worker=worker,
                    slot=slot,
                    token=F("token") + 1,
                    attempts=F("attempts") + 1,
                    lease_until=lease_end(),
                    last_heartbeat_at=Now(),
                    dequeued_at=Now(),
                )
            except LostRace:
                return None
            except IntegrityError:
                continue  # the slot, or the key, went to another run meanwhile
            return run
        return None


class Run(models.Model):
    """One execution of a job. Its status only moves along ``statuses.NEXT``.

    ``token`` is the fencing token: it grows with each claim and each taking away, and every
    write of a worker names the one it was given.
    """

    account = models.ForeignKey(Account, models.PROTECT, related_name="runs")
    project = models.ForeignKey(Project, models.PROTECT, related_name="runs")
    environment = models.ForeignKey(Environment, models.PROTECT, related_name="runs")
    job = models.ForeignKey(Job, models.PROTECT, related_name="runs")

    status = models.PositiveSmallIntegerField(choices=RunStatus, default=RunStatus.QUEUED)
    status_message = models.TextField(blank=True, default="")
    cancel_reason = models.CharField(max_length=20, choices=CancelReason, blank=True, default="")
    configuration = models.JSONField(
        default=dict, help_text="The job's settings, with the trigger's overrides, when queued."
    )
    concurrency_key = models.CharField(max_length=300)
    takes_slot = models.BooleanField(default=True)
    slot = models.PositiveIntegerField(null=True, blank=True)
    rank = models.IntegerField(
        default=0,
        editable=False,
        help_text="Of an account's runs that wait the lowest is first; 0 is nothing special.",
    )

    token = models.PositiveIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=255, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    last_heartbeat_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_by = models.CharField(max_length=255, blank=True, default="")

    git_branch = models.CharField(max_length=255, null=True, blank=True)
    git_sha = models.CharField(max_length=64, null=True, blank=True)
    dbt_version = models.CharField(max_length=60, null=True, blank=True)
    isolation = models.JSONField(
        default=dict, help_text="The layers that really confined this run's children."
    )
    artifacts_saved = models.BooleanField(default=False)
    has_docs_generated = models.BooleanField(default=False)
    has_sources_generated = models.BooleanField(default=False)
    deferring_run = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    state_used = models.JSONField(
        default=dict, help_text="What was deferred to, and why that run: for people to read."
    )
    built_schemas = models.JSONField(
        default=list,
        help_text="Of a run with a schema of its own: each [database, schema] it may have built.",
    )
    has_warnings = models.BooleanField(default=False)
    outcome = models.CharField(
        max_length=40, blank=True, default="", help_text="What the status leaves open: skipped …"
    )
    failure_class = models.CharField(
        max_length=40,
        choices=[(kind.value, kind.value) for kind in FailureClass],
        blank=True,
        default="",
    )
    attempt_number = models.PositiveIntegerField(
        default=1, help_text="Of a chain of automatic retries; the first run is 1."
    )
    will_retry_at = models.DateTimeField(
        null=True, blank=True, help_text="When a new run takes this failed one up by itself."
    )
    chain_depth = models.PositiveIntegerField(
        default=0, help_text="How many runs in a row were started by another run's end."
    )
    followed_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the jobs that wait for its end had been told of it.",
    )
    should_start_at = models.DateTimeField(
        null=True, blank=True, help_text="The moment its schedule named."
    )
    retrying_run = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="retries"
    )

    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    dequeued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["concurrency_key"],
                condition=Q(status__in=ACTIVE),
                name="one_active_run_per_concurrency_key",
            ),
            models.UniqueConstraint(
                # A job whose concurrency key is changed meanwhile does not overlap itself either.
                fields=["job"],
                condition=Q(status__in=ACTIVE, takes_slot=True),
                name="one_active_run_per_job_that_takes_slots",
            ),
            models.UniqueConstraint(
                fields=["account", "slot"],
                condition=Q(status__in=ACTIVE),
                name="one_active_run_per_run_slot",
            ),
            models.CheckConstraint(
                condition=Q(status__in=FINISHED, finished_at__isnull=False)
                | (~Q(status__in=FINISHED) & Q(finished_at=None)),
                name="finished_run_has_an_end_and_no_other_has",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=ACTIVE) | Q(takes_slot=False) | Q(slot__isnull=False),
                name="active_run_holds_its_slot",
            ),
        ]
        indexes = [
            models.Index(fields=["account", "-id"], name="run_of_account"),
            models.Index(fields=["job", "-id"], name="run_of_job"),
            models.Index(fields=["account", "status", "-id"], name="run_of_account_by_status"),
            models.Index(fields=["job", "status", "-id"], name="run_of_job_by_status"),
            models.Index(
                fields=["project", "git_sha", "-id"],
                condition=Q(git_sha__isnull=False),
                name="run_of_commit",
            ),
            models.Index(
                fields=["status"], condition=Q(status__in=UNFINISHED), name="run_unfinished"
            ),
            models.Index(fields=["account", "finished_at"], name="run_by_end"),
            models.Index(fields=["account", "created_at"], name="run_by_begin"),
            models.Index(
                fields=["concurrency_key", "rank", "id"],
                condition=Q(status=RunStatus.QUEUED),
                name="run_queue_of_a_key",
            ),
            models.Index(
                fields=["will_retry_at"],
                condition=Q(will_retry_at__isnull=False),
                name="run_to_be_retried",
            ),
            models.Index(
                fields=["id"],
                condition=Q(status__in=FINISHED, followed_at=None, will_retry_at=None),
                name="run_whose_end_is_untold",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.job_id}"

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    def has_its_turn(self) -> bool:
        """Whether a run slot is left for this run once those have one that are before it.

        Without this, runs that are just being queued could overtake one that waits for ever.
        Asked of a run read by ``startable``.
        """
        if not self.takes_slot:
            return True
        taken: int = self.slots_taken  # type: ignore[attr-defined] # annotated by startable()
        left = self.account.run_slots - taken
        earlier = (
            Run.objects.startable()
            .filter(Q(rank__lt=self.rank) | Q(rank=self.rank, pk__lt=self.pk))
            .filter(account=self.account_id, takes_slot=True)
        )
        return len(earlier.values("pk")[:left]) < left

    def slots_to_try(self) -> list[int | None]:
        """The account's free run slots; ``[None]`` for a run that takes none."""
        if not self.takes_slot:
            return [None]
        taken = set(
            Run.objects.active().filter(account=self.account_id).values_list("slot", flat=True)
        )
        return [slot for slot in range(1, self.account.run_slots + 1) if slot not in taken]

    def move_to(
        self, status: RunStatus, *, message: str = "", guard: Q | None = None, **changes: Any
    ) -> None:
        """Move this run to ``status``, write down that it moved, and ring the bell.

        The UPDATE is guarded by the status and the fencing token this object was read with,
        so of two processes that try, one wins and the other learns of it.

        Args:
            message: shown to people, with the run for as long as it has this status.
            guard: what else must be true of the row for it to move.
            changes: columns to set in the same UPDATE.

        Raises:
            ImpossibleMove: ``status`` cannot follow the run's status.
            LostRace: the row is no longer as this object was read.
        """
        if status not in NEXT[RunStatus(self.status)]:
            raise ImpossibleMove(f"run {self.pk}: {self.get_status_display()} to {status.label}")
        changes |= {"status_message": message}
        if status in FINISHED:
            changes |= {"finished_at": Now()}
        with transaction.atomic():
            moved = Run.objects.filter(
                guard or Q(), pk=self.pk, status=self.status, token=self.token
            ).update(status=status, updated_at=Now(), **changes)
            if not moved:
                raise LostRace(f"run {self.pk} is no longer {self.get_status_display()}")
            RunTransition.objects.create(
                run=self, from_status=self.status, to_status=status, message=message
            )
            queue.react()
            # Still inside: later the row may be another worker's, and so may be its token.
            self.refresh_from_db()


# One of these says which pull request a run is for, on which kind of host.
PULL_REQUEST_FIELDS = (
    "github_pull_request_id",
    "gitlab_merge_request_id",
    "azure_pull_request_id",
    "non_native_pull_request_id",
)


class RunTrigger(models.Model):
    """Why a run exists, and what it overrides. Null means not given."""

    PLACE = ("run__project", "run__environment")  # for accounts.policy

    run = models.OneToOneField(Run, models.CASCADE, related_name="trigger")
    cause = models.CharField(max_length=255)
    cause_category = models.CharField(max_length=40, choices=CauseCategory)
    deduplication_key = models.CharField(max_length=255, null=True, blank=True, unique=True)
    caused_by_run = models.ForeignKey(
        Run, models.SET_NULL, null=True, blank=True, related_name="caused"
    )
    user = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    api_token = models.ForeignKey(Token, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=now, editable=False)

    git_branch = models.CharField(max_length=255, null=True, blank=True)
    git_sha = models.CharField(max_length=64, null=True, blank=True)
    azure_pull_request_id = models.PositiveBigIntegerField(null=True, blank=True)
    github_pull_request_id = models.PositiveBigIntegerField(null=True, blank=True)
    gitlab_merge_request_id = models.PositiveBigIntegerField(null=True, blank=True)
    non_native_pull_request_id = models.PositiveBigIntegerField(null=True, blank=True)
    schema_override = models.CharField(max_length=255, null=True, blank=True)
    dbt_version_override = models.CharField(max_length=60, null=True, blank=True)
    threads_override = models.PositiveIntegerField(null=True, blank=True)
    target_name_override = models.CharField(max_length=255, null=True, blank=True)
    generate_docs_override = models.BooleanField(null=True, blank=True)
    timeout_seconds_override = models.PositiveIntegerField(null=True, blank=True)
    steps_override = models.JSONField(null=True, blank=True)
    variables_override = EncryptedJSONField(
        default=dict, blank=True, help_text="Variables of this run alone: name to value."
    )

    def __str__(self) -> str:
        return self.cause

    @property
    def pull_request_id(self) -> int | None:
        """The pull request's number, whichever kind of host it is on."""
        return (
            self.github_pull_request_id
            or self.gitlab_merge_request_id
            or self.azure_pull_request_id
            or self.non_native_pull_request_id
        )


class RunStep(models.Model):
    """What one step of a run did. Exists from the run's start, so that progress can be shown.

    A step that never ran because an earlier one ended the run is Cancelled and ``skipped``.
    """

    PLACE = ("run__project", "run__environment")  # for accounts.policy

    run = models.ForeignKey(Run, models.CASCADE, related_name="steps")
    index = models.PositiveIntegerField()
    name = models.TextField()
    kind = models.CharField(max_length=20, choices=[(kind.value, kind.value) for kind in StepKind])
    command = models.TextField(blank=True, default="")
    on_failure = models.CharField(
        max_length=20,
        choices=[(policy.value, policy.value) for policy in OnFailure],
        default=OnFailure.STOP,
    )
    label = models.CharField(max_length=255, blank=True, default="")
    effective_command = models.TextField(
        blank=True, default="", help_text="What dbt was given, where it is not what was typed."
    )
    attempts = models.JSONField(
        default=list, help_text="Each time it was tried: number, times, exit code, message, class."
    )
    builds = models.BooleanField(
        default=False, help_text="Its results are those of a build, not of docs or a listing."
    )
    status = models.PositiveSmallIntegerField(choices=RunStatus, default=RunStatus.QUEUED)
    skipped = models.BooleanField(default=False)
    exit_code = models.SmallIntegerField(null=True, blank=True)
    message = models.TextField(blank=True, default="")
    console_log = models.CharField(
        max_length=500, blank=True, default="", help_text="Storage name, once the step is over."
    )
    debug_log = models.CharField(
        max_length=500, blank=True, default="", help_text="Storage name, once the step is over."
    )
    events_log = models.CharField(
        max_length=500, blank=True, default="", help_text="Storage name, once the step is over."
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["run", "index"]
        constraints = [
            models.UniqueConstraint(fields=["run", "index"], name="one_step_per_place_in_a_run")
        ]

    def __str__(self) -> str:
        return f"{self.index}. {self.name}"

    @property
    def status_humanized(self) -> str:
        """The API's word: a step that was passed over is "Skipped"."""
        return "Skipped" if self.skipped else self.get_status_display()


class LogChunk(models.Model):
    """A piece of a step's log while the step runs; gone once the whole is in storage."""

    step = models.ForeignKey(RunStep, models.CASCADE, related_name="chunks")
    stream = models.CharField(max_length=10, choices=[(s.value, s.value) for s in Stream])
    offset = models.PositiveBigIntegerField(help_text="In characters, from the log's start.")
    text = models.TextField()

    class Meta:
        ordering = ["step", "stream", "offset"]
        constraints = [
            models.UniqueConstraint(
                fields=["step", "stream", "offset"], name="one_log_chunk_per_offset"
            )
        ]

    def __str__(self) -> str:
        return f"{self.stream} of {self.step_id} from {self.offset}"


class Artifact(models.Model):
    """A file that a step left in dbt's target directory."""

    PLACE = ("step__run__project", "step__run__environment")  # for accounts.policy

    step = models.ForeignKey(RunStep, models.CASCADE, related_name="artifacts")
    path = models.CharField(max_length=1000, help_text="Relative to the target directory.")
    storage_name = models.CharField(max_length=1200)
    size = models.PositiveBigIntegerField(help_text="In bytes.")
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["step", "path"], name="one_artifact_per_path")
        ]

    def __str__(self) -> str:
        return self.path


class ManifestGraph(models.Model):
    """What pages need of an artifact that is a manifest, small enough to be read for each."""

    PLACE = ("artifact__step__run__project", "artifact__step__run__environment")

    artifact = models.OneToOneField(
        Artifact, models.CASCADE, primary_key=True, related_name="graph"
    )
    packed = models.BinaryField(help_text="Compressed JSON; nothing where it cannot be read.")
    code = models.BinaryField(help_text="Compressed JSON: the source of each node.")
    created_at = models.DateTimeField(default=now, editable=False)

    def __str__(self) -> str:
        return f"graph of artifact {self.artifact_id}"


class NodeResult(models.Model):
    """What a step made of one node of the project: from its beginning on, as dbt tells it.

    A step that tried a node again keeps the last try.
    """

    PLACE = ("run__project", "run__environment")  # for accounts.policy

    run = models.ForeignKey(Run, models.CASCADE, related_name="nodes")
    step = models.ForeignKey(RunStep, models.CASCADE, related_name="nodes")
    unique_id = models.CharField(max_length=500)
    name = models.CharField(max_length=500)
    resource_type = models.CharField(max_length=40)
    materialized = models.CharField(max_length=60, blank=True, default="")
    status = models.CharField(max_length=40, help_text="running, then dbt's own word.")
    thread = models.CharField(max_length=60, blank=True, default="")
    message = models.TextField(blank=True, default="")
    started_at = models.DateTimeField(null=True, blank=True)
    executing_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    rows_affected = models.BigIntegerField(null=True, blank=True)
    failures = models.BigIntegerField(null=True, blank=True, help_text="Rows that a test found.")
    checksum = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text="dbt's, of the node's code; empty where it tells none.",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["step", "unique_id"], name="one_result_per_node_of_a_step"
            )
        ]
        indexes = [
            models.Index(fields=["run", "unique_id"], name="node_result_of_run"),
            models.Index(fields=["unique_id", "-run"], name="node_result_of_node"),
        ]

    def __str__(self) -> str:
        return f"{self.unique_id}: {self.status}"

    @property
    def took(self) -> timedelta | None:
        """From its beginning to its end; None until it has ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at


class ToolchainWork(models.TextChoices):
    INSTALL = "install", "Install"
    REMOVE = "remove", "Remove"


class WorkState(models.TextChoices):
    WAITING = "waiting", "Waits for a worker"
    RUNNING = "running", "Going on"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class ToolchainChange(models.Model):
    """A dbt version that somebody asked to have installed or removed, and what came of it."""

    work = models.CharField(max_length=20, choices=ToolchainWork)
    asked = models.CharField(max_length=255, help_text="A version, or a folder's name to remove.")
    adapters = models.JSONField(default=list, blank=True)
    state = models.CharField(max_length=20, choices=WorkState, default=WorkState.WAITING)
    said = models.TextField(blank=True, default="", help_text="How it ended, in full.")
    asked_by = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["work", "asked"],
                condition=Q(state__in=[WorkState.WAITING, WorkState.RUNNING]),
                name="one_open_change_per_dbt_version",
                violation_error_message="This is being done already. Wait for its end.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_work_display()} dbt {self.asked}"

    @property
    def is_open(self) -> bool:
        return self.state in {WorkState.WAITING, WorkState.RUNNING}


class RunTransition(models.Model):
    """One move of a run: also the outbox from which reactions to it are fed."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="transitions")
    from_status = models.PositiveSmallIntegerField(choices=RunStatus, null=True, blank=True)
    to_status = models.PositiveSmallIntegerField(choices=RunStatus)
    message = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=now, editable=False)
    reacted_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True, blank=True
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["id"], condition=Q(reacted_at=None), name="run_transition_to_react_to"
            ),
            models.Index(fields=["created_at"], name="run_transition_by_age"),
        ]

    def __str__(self) -> str:
        return f"run {self.run_id}: {self.from_status} to {self.to_status}"


class UpstreamEnd(models.Model):
    """A run's end that a job watches for, noted once; what it starts is started with it.

    One without ``started`` and ``note`` still waits: for the other jobs of an ``all``.
    """

    PLACE = ("job__project", "job__environment")  # for accounts.policy

    job = models.ForeignKey(Job, models.CASCADE, related_name="+")
    run = models.ForeignKey(Run, models.CASCADE, related_name="ends_noted")
    started = models.ForeignKey(
        Run, models.CASCADE, null=True, blank=True, related_name="started_after"
    )
    note = models.CharField(
        max_length=255, blank=True, default="", help_text="Why it started nothing, in words."
    )
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "run"], name="a_run_ends_once_for_each_job")
        ]
        indexes = [
            models.Index(
                fields=["job"], condition=Q(started=None, note=""), name="upstream_end_waiting"
            )
        ]

    def __str__(self) -> str:
        return f"end of run {self.run_id} for job {self.job_id}"


class DoomedFile(models.Model):
    """A file in storage that no row speaks of any more; it is gone once this row is.

    Written with the deletion of what spoke of it, so that a crash leaves neither a row
    without its file nor a file without a row.
    """

    storage_name = models.CharField(max_length=1200)

    def __str__(self) -> str:
        return self.storage_name
