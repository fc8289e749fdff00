"""Rows for tests. Each factory makes a whole, valid object with everything it stands on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import factory
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.utils.timezone import now
from factory.django import DjangoModelFactory

from accounts.models import Account, Membership, Token, User
from accounts.roles import PermissionSet
from ci.models import Check, GitHubInstallation, PullRequest, RepositoryHook, WebhookDelivery
from environments.models import (
    Connection,
    Credentials,
    Environment,
    EnvironmentVariable,
    ExtendedAttributes,
    Project,
    Repository,
)
from jobsvc.engine.plan import StepKind
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.notifications.models import (
    Dispatch,
    Notification,
    NotificationType,
    WebhookSubscription,
)
from jobsvc.runs.models import Artifact, NodeResult, Run, RunStep, RunTrigger
from jobsvc.statuses import CauseCategory, RunStatus


class AccountFactory(DjangoModelFactory[Account]):
    class Meta:
        model = Account

    name = factory.Sequence("Account {}".format)


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User

    email = factory.Sequence("person{}@example.com".format)
    first_name = "Ana"
    last_name = factory.Sequence("Person {}".format)


class MembershipFactory(DjangoModelFactory[Membership]):
    class Meta:
        model = Membership

    account = factory.SubFactory(AccountFactory)
    user = factory.SubFactory(UserFactory)
    permission_set = PermissionSet.OWNER


class RepositoryFactory(DjangoModelFactory[Repository]):
    class Meta:
        model = Repository

    account = factory.SubFactory(AccountFactory)
    remote_url = "https://github.com/example/coffee_shop.git"
    git_clone_strategy = "git_token"


class GitHubInstallationFactory(DjangoModelFactory[GitHubInstallation]):
    class Meta:
        model = GitHubInstallation

    account = factory.SubFactory(AccountFactory)
    installation_id = factory.Sequence(lambda number: 40_000_000 + number)
    login = factory.Sequence("organisation-{}".format)


class RepositoryHookFactory(DjangoModelFactory[RepositoryHook]):
    class Meta:
        model = RepositoryHook

    repository = factory.SubFactory(RepositoryFactory)
    secrets = factory.LazyFunction(lambda: {"current": "the-secret"})


class DeliveryFactory(DjangoModelFactory[WebhookDelivery]):
    """A ping of a repository's webhook that was read."""

    class Meta:
        model = WebhookDelivery

    hook = factory.SubFactory(RepositoryHookFactory)
    account = factory.SelfAttribute("hook.repository.account")
    delivery_id = factory.Sequence("delivery-{}".format)
    event = "ping"
    body = "{}"
    verdict = "done"
    due_at = None


class PullRequestFactory(DjangoModelFactory[PullRequest]):
    """An open one, from a branch of the repository itself."""

    class Meta:
        model = PullRequest

    repository = factory.SubFactory(RepositoryFactory)
    number = factory.Sequence(lambda number: number + 2)
    title = "Add a model"
    author = "ana"
    head_ref = "feature"
    head_sha = "a" * 40
    base_ref = "main"
    default_branch = "main"
    changed_at = factory.LazyFunction(now)


class ConnectionFactory(DjangoModelFactory[Connection]):
    class Meta:
        model = Connection

    account = factory.SubFactory(AccountFactory)
    name = factory.Sequence("Warehouse {}".format)
    adapter = "duckdb"
    adapter_version = "duckdb_v0"
    config = factory.LazyFunction(lambda: {"path": "coffee.duckdb"})


class ProjectFactory(DjangoModelFactory[Project]):
    class Meta:
        model = Project

    account = factory.SubFactory(AccountFactory)
    name = factory.Sequence("Project {}".format)
    repository = factory.SubFactory(RepositoryFactory, account=factory.SelfAttribute("..account"))
    connection = factory.SubFactory(ConnectionFactory, account=factory.SelfAttribute("..account"))


class CredentialsFactory(DjangoModelFactory[Credentials]):
    class Meta:
        model = Credentials

    project = factory.SubFactory(ProjectFactory)
    account = factory.SelfAttribute("project.account")
    type = "duckdb"
    adapter = "duckdb"
    adapter_version = "duckdb_v0"
    default_schema = "analytics"


class ExtendedAttributesFactory(DjangoModelFactory[ExtendedAttributes]):
    class Meta:
        model = ExtendedAttributes

    project = factory.SubFactory(ProjectFactory)
    account = factory.SelfAttribute("project.account")
    extended_attributes = factory.LazyFunction(lambda: {"search_path": "analytics"})


class EnvironmentFactory(DjangoModelFactory[Environment]):
    class Meta:
        model = Environment

    project = factory.SubFactory(ProjectFactory)
    name = factory.Sequence("Environment {}".format)
    connection = factory.SelfAttribute("project.connection")
    credentials = factory.SubFactory(CredentialsFactory, project=factory.SelfAttribute("..project"))


class EnvironmentVariableFactory(DjangoModelFactory[EnvironmentVariable]):
    """A value at project scope; give ``scope`` and its ``environment`` or job for others."""

    class Meta:
        model = EnvironmentVariable

    project = factory.SubFactory(ProjectFactory)
    name = factory.Sequence("DBT_VARIABLE_{}".format)
    scope = "project"
    secrets = factory.LazyFunction(lambda: {"value": "some"})


class JobFactory(DjangoModelFactory[Job]):
    """A job that is started by hand."""

    class Meta:
        model = Job

    class Params:
        ci = factory.Trait(job_type="ci", triggers_github_webhook=True)
        scheduled = factory.Trait(
            job_type="scheduled",
            triggers_schedule=True,
            cron="0 2 * * *",
            schedule={
                "cron": "0 2 * * *",
                "date": {"type": "every_day"},
                "time": {"type": "at_exact_hours", "interval": 1, "hours": [2]},
            },
            next_run_at=factory.LazyFunction(lambda: now() + timedelta(hours=5)),
        )

    environment = factory.SubFactory(EnvironmentFactory)
    project = factory.SelfAttribute("environment.project")
    account = factory.SelfAttribute("project.account")
    name = factory.Sequence("Job {}".format)
    execute_steps = factory.LazyFunction(lambda: ["dbt build"])


class CheckFactory(DjangoModelFactory[Check]):
    """What was decided of the head of a pull request of the job's repository."""

    class Meta:
        model = Check

    job = factory.SubFactory(JobFactory, ci=True)
    pull_request = factory.SubFactory(
        PullRequestFactory, repository=factory.SelfAttribute("..job.project.repository")
    )
    head_sha = factory.SelfAttribute("pull_request.head_sha")
    decision = "passed_over"
    why = "It is a draft; the job does not build drafts."


class CompletionTriggerFactory(DjangoModelFactory[CompletionTrigger]):
    class Meta:
        model = CompletionTrigger

    job = factory.SubFactory(JobFactory)
    upstream = factory.SubFactory(
        JobFactory, environment=factory.SelfAttribute("..job.environment")
    )
    statuses = factory.LazyFunction(lambda: [RunStatus.SUCCESS.value])


class RunFactory(DjangoModelFactory[Run]):
    """A queued run, unless a trait says how far it came. Its trigger is made with it."""

    class Meta:
        model = Run
        skip_postgeneration_save = True

    class Params:
        running = factory.Trait(
            status=RunStatus.RUNNING,
            takes_slot=False,
            dequeued_at=factory.LazyFunction(now),
            started_at=factory.LazyFunction(now),
        )
        succeeded = factory.Trait(status=RunStatus.SUCCESS, over=True, artifacts_saved=True)
        failed = factory.Trait(
            status=RunStatus.ERROR, over=True, status_message="Step 4 failed: it did not work."
        )
        cancelled = factory.Trait(
            status=RunStatus.CANCELLED, over=True, status_message="Cancelled by ana@example.com."
        )
        over = factory.Trait(
            created_at=factory.LazyFunction(lambda: now() - timedelta(seconds=90)),
            dequeued_at=factory.LazyFunction(lambda: now() - timedelta(seconds=80)),
            started_at=factory.LazyFunction(lambda: now() - timedelta(seconds=75)),
            finished_at=factory.LazyFunction(now),
        )

    job = factory.SubFactory(JobFactory)
    environment = factory.SelfAttribute("job.environment")
    project = factory.SelfAttribute("job.project")
    account = factory.SelfAttribute("job.account")
    concurrency_key = factory.LazyAttribute(lambda run: f"job:{run.job.pk}")
    trigger = factory.RelatedFactory(
        "tests.factories.RunTriggerFactory", factory_related_name="run"
    )


class RunTriggerFactory(DjangoModelFactory[RunTrigger]):
    class Meta:
        model = RunTrigger

    run = factory.SubFactory(RunFactory, trigger=None)
    cause = "Triggered via API"
    cause_category = CauseCategory.API


class RunStepFactory(DjangoModelFactory[RunStep]):
    """A step of a run; index 4 is the first that a job's own commands have."""

    class Meta:
        model = RunStep

    run = factory.SubFactory(RunFactory)
    index = 4
    kind = StepKind.COMMAND.value
    command = "dbt build"
    name = factory.LazyAttribute(lambda step: f"Invoke dbt with `{step.command}`")


class NodeResultFactory(DjangoModelFactory[NodeResult]):
    """A model that a step built in ``took`` seconds, on the step's one thread."""

    class Meta:
        model = NodeResult

    class Params:
        after = 0  # seconds since its step began
        took = 2  # seconds

    step = factory.SubFactory(RunStepFactory, builds=True)
    run = factory.SelfAttribute("step.run")
    name = factory.Sequence(lambda number: f"model_{number}")
    unique_id = factory.LazyAttribute(lambda node: f"{node.resource_type}.shop.{node.name}")
    resource_type = "model"
    materialized = "table"
    status = "success"
    thread = "Thread-1"
    started_at = factory.LazyAttribute(
        lambda node: (node.step.started_at or now()) + timedelta(seconds=node.after)
    )
    finished_at = factory.LazyAttribute(
        lambda node: (
            None if node.status == "running" else node.started_at + timedelta(seconds=node.took)
        )
    )


class ArtifactFactory(DjangoModelFactory[Artifact]):
    """A file of a step, in storage, too: ``ArtifactFactory(step=…, path=…, content=b"{}")``."""

    class Meta:
        model = Artifact

    class Params:
        content = b"{}"

    step = factory.SubFactory(RunStepFactory)
    path = "manifest.json"
    size = factory.LazyAttribute(lambda artifact: len(artifact.content))
    storage_name = factory.LazyAttribute(
        lambda artifact: storages["artifacts"].save(
            f"runs/{artifact.step.run_id}/steps/{artifact.step.index}/target/{artifact.path}",
            ContentFile(artifact.content),
        )
    )


class WebhookFactory(DjangoModelFactory[WebhookSubscription]):
    """A webhook of dbt Cloud's kind that listens for the end of every job's runs."""

    class Meta:
        model = WebhookSubscription

    account = factory.SubFactory(AccountFactory)
    name = "Pager"
    client_url = "https://pager.example.com/dbt"
    event_types = factory.LazyFunction(lambda: ["job.run.completed"])
    secrets = factory.LazyFunction(lambda: {"hmac": "a-secret-of-a-test"})


class DispatchFactory(DjangoModelFactory[Dispatch]):
    """An event that is due for a webhook."""

    class Meta:
        model = Dispatch

    subscription = factory.SubFactory(WebhookFactory)
    event_type = "job.run.completed"
    event_id = factory.Sequence("wev_{}".format)
    key = factory.Sequence("event {}".format)
    body = '{"data": {}}'


class NotificationFactory(DjangoModelFactory[Notification]):
    """An outside address that is told of nothing yet."""

    class Meta:
        model = Notification

    account = factory.SubFactory(AccountFactory)
    type = NotificationType.EXTERNAL
    external_email = "team@example.org"


def token_of(account: Account, permission_set: str = PermissionSet.OWNER, **fields: Any) -> str:
    """The text of a new token: a service token, or ``user=``'s own where one is given."""
    if "user" not in fields:
        fields["permission_set"] = permission_set
    return Token.issue(account, "test", **fields)[1]
