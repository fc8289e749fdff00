"""Pull requests: what a git host told us of them, what was decided, and what was told back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from accounts.audited import Audit, Audited
from accounts.models import Account
from environments.models import Connection, Environment, Repository
from environments.secrets import EncryptedJSONField
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run


class GitHubInstallation(Audited):
    """The GitHub App, installed by an organisation, and the account whose repositories it reads.

    Made by the operator alone: whoever could claim an installation could read its repositories.
    """

    AUDIT = Audit("github_installation")

    account = models.ForeignKey(Account, models.CASCADE, related_name="github_installations")
    installation_id = models.PositiveBigIntegerField(unique=True)
    login = models.CharField(max_length=255, help_text="The organisation or person on GitHub.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "GitHub installation"

    def __str__(self) -> str:
        return self.login


class RepositoryHook(Audited):
    """The door that one repository's webhook knocks on: its address holds ``key``."""

    AUDIT = Audit("repository_webhook", noise={"key"})

    repository = models.OneToOneField(Repository, models.CASCADE, related_name="hook")
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    secrets = EncryptedJSONField(default=dict, help_text='{"current": …, "previous": …}')
    previous_until = models.DateTimeField(
        null=True, blank=True, help_text="Until when the secret before the last one is good."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"hook of {self.repository}"

    def audit_accounts(self) -> Sequence[int | None]:
        return [self.repository.account_id]


class Verdict(models.TextChoices):
    """How far a delivery has come."""

    WAITING = "waiting", "Not yet read"
    DONE = "done", "Read"
    FAILED = "failed", "Could not be read; tried again"
    REFUSED = "refused", "Refused"


class WebhookDelivery(models.Model):
    """One delivery of a git host, kept with what was decided, in words."""

    account = models.ForeignKey(
        Account,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="None where the GitHub App told of an installation that no account has.",
    )
    hook = models.ForeignKey(
        RepositoryHook,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="deliveries",
        help_text="None for one of the GitHub App's.",
    )
    provider = models.CharField(max_length=20, default="github")
    delivery_id = models.CharField(max_length=100, help_text="The host's own.")
    event = models.CharField(max_length=100)
    action = models.CharField(max_length=100, blank=True, default="")
    repository_name = models.CharField(max_length=255, blank=True, default="")
    body = models.TextField(blank=True, default="")
    verdict = models.CharField(max_length=20, choices=Verdict, default=Verdict.WAITING)
    decision = models.TextField(blank=True, default="", help_text="What followed, in words.")
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(
        null=True, blank=True, default=now, help_text="When it is to be read; none once it was."
    )
    redelivers = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="redeliveries",
        help_text="The delivery whose body somebody let us read once more.",
    )
    received_at = models.DateTimeField(default=now, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["hook", "delivery_id"],
                condition=Q(hook__isnull=False),
                name="one_delivery_per_id_of_a_hook",
            ),
            models.UniqueConstraint(
                fields=["provider", "delivery_id"],
                condition=Q(hook=None),
                name="one_delivery_per_id_of_the_app",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="delivery_to_be_read"
            ),
            models.Index(fields=["account", "-id"], name="delivery_of_account"),
            models.Index(fields=["received_at"], name="delivery_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.delivery_id}"


class PullRequestState(models.TextChoices):
    OPEN = "open", "Open"
    CLOSED = "closed", "Closed"
    MERGED = "merged", "Merged"


class PullRequest(models.Model):
    """A pull request as the host last told of it."""

    PLACE = ("repository__project", "")  # for accounts.policy; of more projects by ``jobs_of``

    repository = models.ForeignKey(Repository, models.CASCADE, related_name="pull_requests")
    number = models.PositiveBigIntegerField()
    title = models.TextField(blank=True, default="")
    author = models.CharField(max_length=255, blank=True, default="")
    url = models.CharField(max_length=1000, blank=True, default="")
    head_ref = models.CharField(max_length=255)
    head_sha = models.CharField(max_length=64)
    head_repository = models.CharField(
        max_length=255, blank=True, default="", help_text="owner/name; of a deleted fork empty."
    )
    replaced_shas = models.JSONField(
        default=list,
        blank=True,
        help_text="Heads that gave way to this one within the second of changed_at.",
    )
    base_ref = models.CharField(max_length=255)
    default_branch = models.CharField(
        max_length=255, blank=True, default="", help_text="Of its repository."
    )
    merge_commit_sha = models.CharField(
        max_length=64, blank=True, default="", help_text="What it became, once it is merged."
    )
    is_fork = models.BooleanField(default=False)
    is_draft = models.BooleanField(default=False)
    labels = models.JSONField(default=list, blank=True)
    state = models.CharField(max_length=10, choices=PullRequestState, default=PullRequestState.OPEN)
    changed_at = models.DateTimeField(help_text="By the host's clock: what is older is not taken.")
    approved_sha = models.CharField(
        max_length=64, blank=True, default="", help_text="Of a fork: the commit that may be built."
    )
    approved_by = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repository", "number"], name="one_pull_request_per_number"
            )
        ]

    def __str__(self) -> str:
        return f"#{self.number} of {self.repository}"


class Decision(models.TextChoices):
    """What became of a commit of a pull request, for one job."""

    STARTED = "started", "Started a run"
    PASSED_OVER = "passed_over", "Started no run"
    NOTHING_RELEVANT = "nothing_relevant", "Nothing relevant changed"
    NEEDS_APPROVAL = "needs_approval", "Waits for an approval"
    REFUSED = "refused", "Could not be started"


class Check(models.Model):
    """What was decided of one commit of a pull request, for one job, and why, in words."""

    PLACE = ("job__project", "job__environment")  # for accounts.policy

    pull_request = models.ForeignKey(PullRequest, models.CASCADE, related_name="checks")
    job = models.ForeignKey(Job, models.CASCADE, related_name="+")
    head_sha = models.CharField(max_length=64)
    decision = models.CharField(max_length=20, choices=Decision)
    why = models.TextField(blank=True, default="")
    run = models.ForeignKey(
        Run, models.SET_NULL, null=True, blank=True, related_name="pull_request_checks"
    )
    asked_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="By the host's clock, what started the run: what is no later starts no other.",
    )
    attempts = models.PositiveIntegerField(default=0, help_text="Runs that were started for it.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "job", "head_sha"], name="one_check_per_job_and_commit"
            )
        ]

    def __str__(self) -> str:
        return f"{self.job} on {self.head_sha[:8]}: {self.get_decision_display()}"


class ReportKind(models.TextChoices):
    STATUS = "status", "Commit status"
    CHECK_RUN = "check_run", "Check run"
    COMMENT = "comment", "Comment"


class Report(models.Model):
    """One thing that we keep up to date at a git host: it always tells what is true now.

    A status and a check run are of one job and one commit, a comment of one pull request.
    """

    PLACE = ("job__project", "job__environment")  # for accounts.policy

    repository = models.ForeignKey(Repository, models.CASCADE, related_name="reports")
    kind = models.CharField(max_length=20, choices=ReportKind)
    job = models.ForeignKey(Job, models.CASCADE, null=True, blank=True, related_name="+")
    sha = models.CharField(max_length=64, blank=True, default="")
    number = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Of the pull request that a comment is of."
    )
    external_id = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="The host's, of the check run or the comment."
    )
    posted = models.CharField(
        max_length=64, blank=True, default="", help_text="Digest of what was last posted."
    )
    posted_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it is to be posted, by others than who posts it now; none while it is not.",
    )
    touched = models.PositiveBigIntegerField(
        default=0, help_text="Grows when there is something new to tell."
    )
    attempts = models.PositiveIntegerField(default=0, help_text="Since it was last posted.")
    error = models.TextField(blank=True, default="", help_text="Why it could not be posted.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repository", "kind", "job", "sha"],
                condition=Q(number=None),
                name="one_report_per_job_and_commit",
            ),
            models.UniqueConstraint(
                fields=["repository", "kind", "number"],
                condition=Q(number__isnull=False),
                name="one_report_per_pull_request",
            ),
            models.CheckConstraint(
                condition=Q(kind=ReportKind.COMMENT, number__isnull=False, job=None, sha="")
                | (
                    Q(kind__in=[ReportKind.STATUS, ReportKind.CHECK_RUN])
                    & Q(number=None, job__isnull=False)
                    & ~Q(sha="")
                ),
                name="report_is_of_a_commit_or_of_a_pull_request",
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="report_to_be_posted"
            ),
            models.Index(fields=["updated_at"], name="report_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.repository}"


class StatusContext(models.Model):
    """The name that a job's commit statuses have in a repository, for good.

    Rules of the git host name it (a branch asks for it), so it stays when the job is renamed,
    and no second job gets the same.
    """

    job = models.ForeignKey(Job, models.CASCADE, related_name="+")
    repository_name = models.CharField(max_length=255, help_text="owner/name, in lower case.")
    context = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repository_name", "context"], name="one_job_per_status_context"
            ),
            models.UniqueConstraint(
                fields=["repository_name", "job"], name="one_status_context_per_job"
            ),
        ]

    def __str__(self) -> str:
        return self.context


class RunSummary(models.Model):
    """What a run of a pull request, or of a merge, came to: read from its files once, at its end.

    While there is none with the run's newest move, its reports have not been marked as due.
    """

    run = models.OneToOneField(Run, models.CASCADE, related_name="summary")
    transition = models.PositiveBigIntegerField(
        default=0, help_text="The newest move of the run that its reports were marked due for."
    )
    content = models.JSONField(null=True, blank=True)
    touched_at = models.DateTimeField(default=now, help_text="When they were marked as due.")

    class Meta:
        verbose_name_plural = "run summaries"

    def __str__(self) -> str:
        return f"summary of run {self.run_id}"


class NotedRun(models.Model):
    """A run of a pull request that is over, and whose schemas are all written down."""

    run = models.OneToOneField(Run, models.CASCADE, related_name="noted")

    def __str__(self) -> str:
        return f"run {self.run_id}"


class CISchemaState(models.TextChoices):
    KEPT = "kept", "In use"
    DOOMED = "doomed", "To be dropped"
    DROPPED = "dropped", "Dropped"
    FAILED = "failed", "Could not be dropped; tried again"
    REFUSED = "refused", "Never dropped: it is not this pull request's alone"


class CISchema(models.Model):
    """A schema that runs of one pull request built, until it is dropped. Names are exact."""

    PLACE = ("job__project", "environment")  # for accounts.policy

    account = models.ForeignKey(Account, models.CASCADE, related_name="ci_schemas")
    job = models.ForeignKey(Job, models.CASCADE, related_name="+")
    environment = models.ForeignKey(Environment, models.CASCADE, related_name="+")
    connection = models.ForeignKey(Connection, models.CASCADE, related_name="+")
    pull_request_number = models.PositiveBigIntegerField()
    is_native = models.BooleanField(
        default=False, help_text="A delivery of the host tells when its pull request is closed."
    )
    prefix = models.CharField(max_length=255, help_text="The schema that its run was given.")
    database = models.CharField(max_length=255, blank=True, default="")
    schema = models.CharField(max_length=255)
    last_run = models.ForeignKey(Run, models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=20, choices=CISchemaState, default=CISchemaState.KEPT)
    due_at = models.DateTimeField(
        null=True, blank=True, help_text="When it is to be dropped, if no run uses it till then."
    )
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    dropped_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "CI schema"
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "database", "schema"], name="one_row_per_ci_schema"
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="ci_schema_to_be_dropped"
            )
        ]

    def __str__(self) -> str:
        return self.schema
