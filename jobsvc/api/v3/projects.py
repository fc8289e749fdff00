"""Projects: read, created, changed, deleted."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from environments.define import define_project, delete_project
from environments.models import Project
from jobsvc.api.base import Body, Creates, Lists, Reads, Updates
from jobsvc.api.fields import IdField, OptionalText
from jobsvc.api.routes import both
from jobsvc.api.v2.projects import ProjectResource
from jobsvc.api.v3.filling import fill

PROJECT_TYPES = {0: "default", 1: "hybrid"}


class ProjectBody(Body):
    name = serializers.CharField(max_length=255)
    description = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, trim_whitespace=False
    )
    connection_id = IdField(required=False, allow_null=True)
    repository_id = IdField(
        required=False,
        allow_null=True,
        help_text="Leaving it out of an update detaches the repository.",
    )
    dbt_project_subdirectory = OptionalText(max_length=1000)
    docs_job_id = IdField(required=False, allow_null=True)
    freshness_job_id = IdField(required=False, allow_null=True)
    type = serializers.ChoiceField(list(PROJECT_TYPES.items()), required=False, allow_null=True)


class _Projects(ProjectResource):
    takes = ProjectBody


class Projects(Creates[Project], Lists[Project], _Projects):
    """The projects of an account."""

    def create(self, values: dict[str, Any]) -> Project:
        return define_project(fill(Project(account=self.account), values))


class OneProject(Updates[Project], Reads[Project], _Projects):
    """One of them. Deleting it deletes its environments and jobs; its runs stay readable."""

    def update(self, row: Project, values: dict[str, Any]) -> Project:
        return define_project(fill(row, {"repository_id": None} | values))

    def delete_row(self, row: Project) -> Project:
        return delete_project(row)


urlpatterns = [
    *both("accounts/<id:account_id>/projects", Projects),
    *both("accounts/<id:account_id>/projects/<id:pk>", OneProject),
]
