"""Repositories of a project. Making one does not attach it: the project names it for that."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from environments.define import define_repository, delete_repository
from environments.models import CloneStrategy, Repository
from jobsvc.api.base import Body, Creates, Lists, Reads, Updates
from jobsvc.api.fields import OptionalText
from jobsvc.api.routes import both
from jobsvc.api.v2.repositories import RepositoryResource
from jobsvc.api.v3.filling import fill


class RepositoryBody(Body):
    """``git_token`` and ``git_username`` are kept encrypted and never shown."""

    remote_url = serializers.CharField(
        max_length=1000, help_text="https://host/path, ssh://git@host/path or git@host:path."
    )
    git_clone_strategy = serializers.ChoiceField(
        CloneStrategy.choices,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Left out: deploy_key for an ssh address, git_token for an https one.",
    )
    pull_request_url_template = serializers.CharField(
        max_length=1000, required=False, allow_null=True, allow_blank=True
    )
    github_installation_id = serializers.IntegerField(
        min_value=1,
        max_value=2**63 - 1,
        required=False,
        allow_null=True,
        help_text="Of the GitHub App, for github_app: one that this account may use.",
    )
    git_token = OptionalText(
        max_length=1000, write_only=True, help_text="Access token or password, for https."
    )
    git_username = OptionalText(
        max_length=255, write_only=True, help_text="Where the host wants a special one."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("git_clone_strategy"):
            attrs.pop("git_clone_strategy", None)
        return attrs


class _Repositories(RepositoryResource):
    takes = RepositoryBody

    def rows(self) -> QuerySet[Repository]:
        return super().rows().filter(project=self.project)

    def save(self, row: Repository, values: dict[str, Any]) -> Repository:
        username, password = values.pop("git_username", None), values.pop("git_token", None)
        return define_repository(fill(row, values), username=username, password=password)


class Repositories(Creates[Repository], Lists[Repository], _Repositories):
    """The repositories of a project."""

    def create(self, values: dict[str, Any]) -> Repository:
        row = Repository(account=self.account, project=self.project, git_clone_strategy="")
        return self.save(row, values)


class OneRepository(Updates[Repository], Reads[Repository], _Repositories):
    """One of them; refuses to be deleted while a project is cloned from it."""

    def update(self, row: Repository, values: dict[str, Any]) -> Repository:
        return self.save(row, values)

    def delete_row(self, row: Repository) -> Repository:
        return delete_repository(row)


_BASE = "accounts/<id:account_id>/projects/<id:project_id>/repositories"

urlpatterns = [
    *both(_BASE, Repositories),
    *both(f"{_BASE}/<id:pk>", OneRepository),
]
