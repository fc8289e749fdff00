"""Projects, as both versions show them; version 2 only reads."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers

from accounts.roles import Action
from environments.adapters import VERSIONS, connection_type
from environments.models import Connection, Environment, Project
from jobsvc.api.base import Lists, Reads, Resource, Shape
from jobsvc.api.fields import IdField, Nothing
from jobsvc.api.filters import numbers, text
from jobsvc.api.related import Related
from jobsvc.api.routes import both
from jobsvc.api.v2.repositories import RepositoryShape
from jobsvc.statuses import State


class ProjectConnectionShape(Shape[Connection]):
    """A connection as the older, project-level API shows it. Secrets are left out."""

    account_id = IdField(read_only=True)
    project_id = IdField(read_only=True, allow_null=True)
    type = serializers.SerializerMethodField()
    details = serializers.JSONField(source="config", read_only=True)
    created_by_id = Nothing()
    created_by_service_token_id = Nothing()

    class Meta:
        model = Connection
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "name",
            "type",
            "adapter_version",
            "details",
            "created_by_id",
            "created_by_service_token_id",
            "state",
            "created_at",
            "updated_at",
        ]

    def get_type(self, connection: Connection) -> str:
        return connection_type(VERSIONS[connection.adapter_version])


class ProjectEnvironmentShape(serializers.ModelSerializer[Environment]):
    """What a project shows of its environments."""

    class Meta:
        model = Environment
        fields: ClassVar = ["id", "name", "type", "deployment_type"]


class ProjectShape(Shape[Project]):
    account_id = IdField(read_only=True)
    connection_id = IdField(read_only=True, allow_null=True)
    repository_id = IdField(read_only=True, allow_null=True)
    semantic_layer_config_id = Nothing()
    default_version = Nothing()
    fusion_readiness = Nothing()
    connection = Related(ProjectConnectionShape)
    repository = Related(RepositoryShape)
    environments = serializers.SerializerMethodField()
    group_permissions = serializers.SerializerMethodField()
    docs_job = serializers.SerializerMethodField()
    freshness_job = serializers.SerializerMethodField()

    class Meta:
        model = Project
        fields: ClassVar = [
            "id",
            "account_id",
            "name",
            "description",
            "connection_id",
            "repository_id",
            "semantic_layer_config_id",
            "dbt_project_subdirectory",
            "docs_job_id",
            "freshness_job_id",
            "type",
            "default_version",
            "state",
            "created_at",
            "updated_at",
            "connection",
            "repository",
            "environments",
            "group_permissions",
            "docs_job",
            "freshness_job",
            "fusion_readiness",
        ]

    def get_environments(self, project: Project) -> list[dict[str, Any]] | None:
        if "environments" not in self.context.get("include", ()):
            return None
        rows = [one for one in project.environments.all() if one.state == State.ACTIVE]
        return list(ProjectEnvironmentShape(rows, many=True).data)

    def get_group_permissions(self, _project: Project) -> list[Any] | None:
        return [] if "group_permissions" in self.context.get("include", ()) else None

    def get_docs_job(self, project: Project) -> dict[str, Any] | None:
        return self._job("docs_job", project, project.docs_job_id)

    def get_freshness_job(self, project: Project) -> dict[str, Any] | None:
        return self._job("freshness_job", project, project.freshness_job_id)

    def _job(self, name: str, project: Project, pk: int | None) -> dict[str, Any] | None:
        if pk is None or name not in self.context.get("include", ()):
            return None
        columns = ("id", "account_id", "project_id", "environment_id", "name", "state")
        rows: QuerySet[Any, dict[str, Any]] = project.jobs.filter(pk=pk).values(*columns)
        return rows.first()


class ProjectResource(Resource[Project]):
    name = "project"
    shape = ProjectShape
    writes = Action.WRITE_SETTINGS
    filters: ClassVar = {
        "project_id__in": numbers("pk"),
        "name__icontains": text("name__icontains"),
    }
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Project]:
        return (
            Project.objects.of_account(self.account_id)
            .select_related("connection", "repository")
            .prefetch_related(
                Prefetch("environments", self.seen(Environment.objects.order_by("pk")))
            )
        )

    def context(self) -> dict[str, Any]:
        """A single project always shows its connection and repository: clients rely on it."""
        context = super().context()
        if self.many and self.request.method == "GET":
            return context
        return context | {"include": context["include"] | {"connection", "repository"}}


class Projects(Lists[Project], ProjectResource):
    """The projects of an account."""


class OneProject(Reads[Project], ProjectResource):
    """One of them."""


urlpatterns = [
    *both("accounts/<id:account_id>/projects", Projects),
    *both("accounts/<id:account_id>/projects/<id:pk>", OneProject),
]
