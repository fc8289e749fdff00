"""Where a job runs: project, repository, connection, credentials, environment, variables.

Everything here is kept when it is deleted (``state`` 2), because runs refer to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from accounts.audited import Audit, Audited
from accounts.models import Account
from environments.adapters import ADAPTERS
from environments.secrets import EncryptedJSONField
from jobsvc.engine.names import check_ref, check_subdirectory, check_variable_name, is_secret_name
from jobsvc.statuses import State


def _refuse(field: str, check: Any, value: str) -> None:
    try:
        check(value)
    except ValueError as refused:
        raise ValidationError({field: str(refused)}) from refused


class Kept(Audited):
    """What every object here has: its state, and when it was made and changed."""

    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class AccountScoped(models.QuerySet[Any]):
    """Rows that belong to an account by a column of their own."""

    def of_account(self, account_id: int) -> AccountScoped:
        return self.filter(account=account_id)

    def active(self) -> AccountScoped:
        return self.filter(state=State.ACTIVE)


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    def of_account(self, account_id: int) -> EnvironmentQuerySet:
        return self.filter(project__account=account_id)

    def active(self) -> EnvironmentQuerySet:
        return self.filter(state=State.ACTIVE)


class VariableQuerySet(models.QuerySet["EnvironmentVariable"]):
    def of_account(self, account_id: int) -> VariableQuerySet:
        return self.filter(project__account=account_id)


class CloneStrategy(models.TextChoices):
    """How a repository is read. Ours are ``deploy_key`` (ssh) and ``git_token`` (https)."""

    DEPLOY_KEY = "deploy_key"
    GIT_TOKEN = "git_token"  # noqa: S105 - a word of the API, not a secret
    GITHUB_APP = "github_app"
    DEPLOY_TOKEN = "deploy_token"  # noqa: S105 - a word of the API, not a secret
    AZURE_APP = "azure_active_directory_app"


class Repository(Kept):
    """A git repository that holds a dbt project."""

    AUDIT = Audit("repository")

    account = models.ForeignKey(Account, models.PROTECT, related_name="repositories")
    project = models.ForeignKey(
        "Project", models.PROTECT, null=True, blank=True, related_name="repositories"
    )
    remote_url = models.CharField(max_length=1000)
    git_clone_strategy = models.CharField(
        max_length=40, choices=CloneStrategy, default=CloneStrategy.DEPLOY_KEY
    )
    pull_request_url_template = models.CharField(max_length=1000, blank=True)
    github_installation_id = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Of the GitHub App, where it is read by that."
    )
    public_key = models.TextField(blank=True, help_text="Of the deploy key, in OpenSSH form.")
    secrets = EncryptedJSONField(
        help_text="username and password for https, private_key for ssh.", default=dict, blank=True
    )

    objects = AccountScoped.as_manager()

    class Meta:
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.remote_url


class Connection(Kept):
    """How to reach a warehouse, without saying as whom."""

    AUDIT = Audit("connection")

    account = models.ForeignKey(Account, models.PROTECT, related_name="connections")
    project = models.ForeignKey(
        "Project",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="own_connections",
        help_text="Set where the connection was made inside a project, by the older API.",
    )
    name = models.CharField(max_length=255)
    adapter = models.CharField(max_length=40, help_text="postgres, duckdb, snowflake …")
    adapter_version = models.CharField(max_length=40, help_text="The API's word: postgres_v0 …")
    config = models.JSONField(default=dict, blank=True)
    secrets = EncryptedJSONField(default=dict, blank=True)

    objects = AccountScoped.as_manager()

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.adapter not in ADAPTERS:
            raise ValidationError(
                {"adapter": f"Unknown adapter. Choose one of: {', '.join(sorted(ADAPTERS))}."}
            )


class Project(Kept):
    """A dbt project: where its code is, and the environments it runs in."""

    AUDIT = Audit("project")

    PLACE = ("pk", "environments")  # for accounts.policy: an environment's people see its project

    account = models.ForeignKey(Account, models.PROTECT, related_name="projects")
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True, default="")
    repository = models.ForeignKey(
        Repository, models.PROTECT, null=True, blank=True, related_name="+"
    )
    connection = models.ForeignKey(
        Connection, models.PROTECT, null=True, blank=True, related_name="+"
    )
    dbt_project_subdirectory = models.CharField(max_length=1000, null=True, blank=True)
    docs_job_id = models.PositiveBigIntegerField(null=True, blank=True)
    freshness_job_id = models.PositiveBigIntegerField(null=True, blank=True)
    type = models.PositiveSmallIntegerField(default=0)

    objects = AccountScoped.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "name"],
                condition=Q(state=State.ACTIVE),
                name="project_name_is_unique_in_its_account",
                violation_error_message="Another project of this account has this name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.dbt_project_subdirectory:
            _refuse("dbt_project_subdirectory", check_subdirectory, self.dbt_project_subdirectory)


class DocsLink(models.Model):
    """Opens a project's newest documentation to whoever has its address, without signing in.

    There is none until somebody makes it; see ``environments.docs_links``.

    Attributes:
        nonce: what the text of the address is made from; alone it opens nothing.
    """

    PLACE = ("project", "")  # for accounts.policy

    project = models.OneToOneField(Project, models.CASCADE, related_name="docs_link")
    nonce = models.CharField(max_length=40, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"public documentation of {self.project}"


class Credentials(Kept):
    """As whom to sign in to a warehouse, and where to write there."""

    AUDIT = Audit("credentials")

    account = models.ForeignKey(Account, models.PROTECT, related_name="credentials")
    project = models.ForeignKey(Project, models.PROTECT, related_name="credentials")
    type = models.CharField(max_length=40, help_text="The API's word: postgres, adapter …")
    adapter = models.CharField(max_length=40)
    adapter_version = models.CharField(max_length=40, blank=True)
    default_schema = models.CharField(max_length=255, blank=True)
    target_name = models.CharField(max_length=255, blank=True)
    threads = models.PositiveIntegerField(default=4)
    config = models.JSONField(default=dict, blank=True)
    secrets = EncryptedJSONField(default=dict, blank=True)

    objects = AccountScoped.as_manager()

    class Meta:
        verbose_name_plural = "credentials"

    def __str__(self) -> str:
        return f"{self.type} credentials {self.pk}"


class ExtendedAttributes(Kept):
    """Keys that are merged over those of a generated profile, top level only."""

    AUDIT = Audit("extended_attributes")

    account = models.ForeignKey(Account, models.PROTECT, related_name="extended_attributes")
    project = models.ForeignKey(Project, models.PROTECT, related_name="extended_attributes")
    extended_attributes = models.JSONField(default=dict, blank=True)

    objects = AccountScoped.as_manager()

    class Meta:
        verbose_name_plural = "extended attributes"

    def __str__(self) -> str:
        return f"extended attributes {self.pk}"


class EnvironmentType(models.TextChoices):
    DEVELOPMENT = "development"
    DEPLOYMENT = "deployment"


class DeploymentType(models.TextChoices):
    PRODUCTION = "production"
    STAGING = "staging"


class Environment(Kept):
    """Fixes three things for its jobs: the warehouse, the code's branch, the dbt version."""

    AUDIT = Audit("environment")

    PLACE = ("project", "pk")  # for accounts.policy

    project = models.ForeignKey(Project, models.PROTECT, related_name="environments")
    name = models.CharField(max_length=255)
    type = models.CharField(
        max_length=20, choices=EnvironmentType, default=EnvironmentType.DEPLOYMENT
    )
    deployment_type = models.CharField(max_length=20, choices=DeploymentType, null=True, blank=True)
    dbt_version = models.CharField(
        max_length=60, blank=True, default="", help_text="Empty for the account's."
    )
    raw_dbt_version = models.CharField(max_length=60, null=True, blank=True)
    use_custom_branch = models.BooleanField(default=False)
    custom_branch = models.CharField(max_length=255, null=True, blank=True)
    supports_docs = models.BooleanField(default=False)
    enable_model_query_history = models.BooleanField(default=False)
    enable_dbt_state = models.BooleanField(default=False)
    connection = models.ForeignKey(
        Connection, models.PROTECT, null=True, blank=True, related_name="environments"
    )
    credentials = models.ForeignKey(
        Credentials, models.PROTECT, null=True, blank=True, related_name="environments"
    )
    extended_attributes = models.ForeignKey(
        ExtendedAttributes, models.PROTECT, null=True, blank=True, related_name="environments"
    )

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(state=State.ACTIVE),
                name="environment_name_is_unique_in_its_project",
                violation_error_message="Another environment of this project has this name.",
            ),
            models.UniqueConstraint(
                fields=["project", "deployment_type"],
                condition=Q(state=State.ACTIVE, deployment_type__isnull=False),
                name="one_production_and_one_staging_environment_per_project",
                violation_error_message=(
                    "This project already has an environment of this deployment type."
                ),
            ),
            models.UniqueConstraint(
                fields=["project", "type"],
                condition=Q(state=State.ACTIVE, type=EnvironmentType.DEVELOPMENT),
                name="one_development_environment_per_project",
                violation_error_message="This project already has a development environment.",
            ),
            models.CheckConstraint(
                condition=Q(deployment_type=None) | Q(type=EnvironmentType.DEPLOYMENT),
                name="only_a_deployment_environment_has_a_deployment_type",
                violation_error_message=(
                    "Only a deployment environment may be production or staging."
                ),
            ),
            models.CheckConstraint(
                condition=Q(use_custom_branch=False)
                | Q(custom_branch__isnull=False, custom_branch__gt=""),
                name="environment_with_a_custom_branch_names_it",
                violation_error_message="Name the custom branch, or turn use_custom_branch off.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.custom_branch:
            _refuse("custom_branch", check_ref, self.custom_branch)

    def audit_accounts(self) -> Sequence[int | None]:
        return [self.project.account_id]

    @property
    def account(self) -> Account:
        return self.project.account

    @property
    def effective_dbt_version(self) -> str:
        """The version that jobs here ask for which name none of their own."""
        return self.dbt_version or self.account.default_dbt_version

    @property
    def effective_connection(self) -> Connection | None:
        """What jobs here connect to: its own connection, else the project's."""
        return self.connection or self.project.connection

    @property
    def branch(self) -> str:
        """The branch or tag that jobs here build; empty means the repository's default."""
        return self.custom_branch or "" if self.use_custom_branch else ""


class VariableScope(models.TextChoices):
    """Weakest first: a value of a later scope wins."""

    PROJECT = "project"
    ENVIRONMENT = "environment"
    JOB = "job"


class EnvironmentVariable(Audited):
    """One value of one variable, at one scope. Values are kept encrypted, secret or not.

    A job's override is kept here, too, so that all values of a project share one row of ids
    (the API addresses them by it); the job is a plain number, since jobs live a floor above.
    """

    AUDIT = Audit("environment_variable")  # its values are all in ``secrets``: never told

    project = models.ForeignKey(Project, models.CASCADE, related_name="variables")
    name = models.CharField(max_length=255)
    scope = models.CharField(max_length=20, choices=VariableScope)
    environment = models.ForeignKey(
        Environment, models.CASCADE, null=True, blank=True, related_name="variables"
    )
    job_definition_id = models.PositiveBigIntegerField(null=True, blank=True, db_index=True)
    secrets = EncryptedJSONField(default=dict, help_text='{"value": …}')
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = VariableQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(scope=VariableScope.PROJECT),
                name="one_project_value_per_variable",
            ),
            models.UniqueConstraint(
                fields=["project", "name", "environment"],
                condition=Q(scope=VariableScope.ENVIRONMENT),
                name="one_environment_value_per_variable",
            ),
            models.UniqueConstraint(
                fields=["project", "name", "job_definition_id"],
                condition=Q(scope=VariableScope.JOB),
                name="one_job_value_per_variable",
            ),
            models.CheckConstraint(
                condition=Q(scope=VariableScope.PROJECT, environment=None, job_definition_id=None)
                | Q(
                    scope=VariableScope.ENVIRONMENT,
                    environment__isnull=False,
                    job_definition_id=None,
                )
                | Q(scope=VariableScope.JOB, environment=None, job_definition_id__isnull=False),
                name="variable_has_what_its_scope_needs",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.scope})"

    def audit_accounts(self) -> Sequence[int | None]:
        return [self.project.account_id]

    def clean(self) -> None:
        _refuse("name", check_variable_name, self.name)

    @property
    def value(self) -> str:
        """The value in clear: for the run's child only."""
        return str(self.secrets.get("value", ""))

    @property
    def is_secret(self) -> bool:
        return is_secret_name(self.name)
