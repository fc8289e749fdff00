"""Environments, as both versions show them; version 2 only reads, and shows a little more."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Exists, OuterRef, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf
from rest_framework import serializers

from accounts.roles import Action
from environments.models import Credentials, Environment
from jobsvc.api.base import Lists, Reads, Resource, Shape
from jobsvc.api.fields import IdField, Nothing
from jobsvc.api.filters import number, numbers, text, texts
from jobsvc.api.related import Related
from jobsvc.api.routes import both
from jobsvc.api.v2.projects import ProjectConnectionShape, ProjectShape
from jobsvc.api.v2.repositories import RepositoryShape
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus


class EnvironmentCredentialsShape(Shape[Credentials]):
    """What an environment shows of its credentials: numbers and texts only."""

    account_id = IdField(read_only=True)
    project_id = IdField(read_only=True)
    schema = serializers.CharField(source="default_schema", read_only=True)

    class Meta:
        model = Credentials
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "type",
            "adapter_version",
            "threads",
            "target_name",
            "schema",
            "state",
        ]


class EnvironmentShape(Shape[Environment]):
    """An environment. ``jobs`` and its variables are null, never lists: clients rely on it."""

    account_id = serializers.IntegerField(source="project.account_id", read_only=True)
    project_id = IdField(read_only=True)
    dbt_version = serializers.CharField(source="effective_dbt_version", read_only=True)
    connection_id = IdField(read_only=True, allow_null=True)
    credentials_id = IdField(read_only=True, allow_null=True)
    extended_attributes_id = IdField(read_only=True, allow_null=True)
    primary_profile_id = Nothing()
    is_deferrable = serializers.SerializerMethodField()
    project = Related(ProjectShape)
    connection = Related(ProjectConnectionShape)
    credentials = Related(EnvironmentCredentialsShape)
    repository = Related(RepositoryShape, of="project.repository")
    jobs = Nothing()
    custom_environment_variables = Nothing()

    class Meta:
        model = Environment
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "name",
            "type",
            "deployment_type",
            "dbt_version",
            "raw_dbt_version",
            "use_custom_branch",
            "custom_branch",
            "supports_docs",
            "connection_id",
            "credentials_id",
            "extended_attributes_id",
            "primary_profile_id",
            "enable_model_query_history",
            "enable_dbt_state",
            "is_deferrable",
            "state",
            "created_at",
            "updated_at",
            "project",
            "connection",
            "credentials",
            "repository",
            "jobs",
            "custom_environment_variables",
        ]

    def get_is_deferrable(self, environment: Environment) -> bool:
        """Whether it has a successful run with artifacts; read with the row where it can be."""
        known: bool | None = getattr(environment, "has_state", None)
        if known is not None:
            return known
        return _successes().filter(environment=environment).exists()


class EnvironmentV2Shape(EnvironmentShape):
    """Version 2 says where the code comes from, too."""

    repository_id = serializers.IntegerField(source="project.repository_id", read_only=True)
    dbt_project_subdirectory = serializers.CharField(
        source="project.dbt_project_subdirectory", read_only=True
    )
    created_by_id = Nothing()

    class Meta(EnvironmentShape.Meta):
        fields: ClassVar = [
            *EnvironmentShape.Meta.fields,
            "repository_id",
            "dbt_project_subdirectory",
            "created_by_id",
        ]


def _successes() -> QuerySet[Run]:
    return Run.objects.filter(status=RunStatus.SUCCESS, artifacts_saved=True)


class EnvironmentResource(Resource[Environment]):
    name = "environment"
    shape: ClassVar[type[serializers.BaseSerializer[Any]]] = EnvironmentShape
    writes = Action.WRITE_SETTINGS
    filters: ClassVar = {
        "project_id": number("project"),
        "project_id__in": numbers("project"),
        "name": text("name"),
        "name__icontains": text("name__icontains"),
        "type": text("type"),
        "credentials_id": number("credentials"),
        "dbt_version": text("asked_dbt_version"),
        "dbt_version__in": texts("asked_dbt_version"),
        "deployment_type__in": texts("deployment_type"),
    }
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Environment]:
        return (
            Environment.objects.of_account(self.account_id)
            .select_related("project__account", "project__repository", "project__connection")
            .select_related("connection", "credentials")
            .annotate(
                has_state=Exists(_successes().filter(environment=OuterRef("pk"))),
                asked_dbt_version=Coalesce(
                    NullIf("dbt_version", Value("")), "project__account__default_dbt_version"
                ),
            )
        )


class Environments(Lists[Environment], EnvironmentResource):
    """The environments of an account."""

    shape = EnvironmentV2Shape


class OneEnvironment(Reads[Environment], EnvironmentResource):
    """One of them."""

    shape = EnvironmentV2Shape


urlpatterns = [
    *both("accounts/<id:account_id>/environments", Environments),
    *both("accounts/<id:account_id>/environments/<id:pk>", OneEnvironment),
]
