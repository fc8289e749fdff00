"""Repositories, as both versions show them; version 2 only reads."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.db.models import QuerySet
from rest_framework import serializers

from accounts.roles import Action
from environments.models import CloneStrategy, Repository
from jobsvc.api.base import Lists, Reads, Resource, Shape
from jobsvc.api.fields import IdField, Nothing
from jobsvc.api.filters import number
from jobsvc.api.routes import both

BACKENDS = {"github": "github", "gitlab": "gitlab", "azure": "ado", "visualstudio": "ado"}


def host_and_path(remote_url: str) -> tuple[str, str]:
    """Where a repository is: ``git@github.com:a/b.git`` is at ``github.com``, ``a/b``."""
    if "://" in remote_url:
        parts = urlsplit(remote_url)
        host, path = parts.hostname or "", parts.path
    else:
        place, _colon, path = remote_url.partition(":")
        host = place.rpartition("@")[2]
    return host, path.strip("/").removesuffix(".git")


class RepositoryShape(Shape[Repository]):
    account_id = IdField(read_only=True)
    project_id = IdField(read_only=True, allow_null=True)
    remote_backend = serializers.SerializerMethodField()
    full_name = serializers.SerializerMethodField()
    name = serializers.SerializerMethodField()
    web_url = serializers.SerializerMethodField()
    deploy_key_id = serializers.SerializerMethodField()
    deploy_key = serializers.SerializerMethodField()
    repository_credentials_id = Nothing()
    gitlab_project_id = Nothing()
    github_installation_id = IdField(read_only=True, allow_null=True)
    github_webhook_id = Nothing()
    git_provider_id = Nothing()
    private_link_endpoint_id = Nothing()

    class Meta:
        model = Repository
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "remote_url",
            "remote_backend",
            "git_clone_strategy",
            "full_name",
            "name",
            "web_url",
            "pull_request_url_template",
            "deploy_key_id",
            "deploy_key",
            "repository_credentials_id",
            "gitlab_project_id",
            "github_installation_id",
            "github_webhook_id",
            "git_provider_id",
            "private_link_endpoint_id",
            "state",
            "created_at",
            "updated_at",
        ]

    def get_remote_backend(self, repository: Repository) -> str:
        host, _path = host_and_path(repository.remote_url)
        return next((name for part, name in BACKENDS.items() if part in host), "manual_config")

    def get_full_name(self, repository: Repository) -> str:
        return host_and_path(repository.remote_url)[1]

    def get_name(self, repository: Repository) -> str:
        return host_and_path(repository.remote_url)[1].rpartition("/")[2]

    def get_web_url(self, repository: Repository) -> str | None:
        host, path = host_and_path(repository.remote_url)
        return f"https://{host}/{path}" if host else None

    def get_deploy_key_id(self, repository: Repository) -> int | None:
        # The key is kept with its repository, so it has the repository's number.
        return repository.pk if _is_read_by_key(repository) else None

    def get_deploy_key(self, repository: Repository) -> dict[str, Any] | None:
        if not _is_read_by_key(repository):
            return None
        return {
            "id": repository.pk,
            "account_id": repository.account_id,
            "state": repository.state,
            "public_key": repository.public_key,
        }


def _is_read_by_key(repository: Repository) -> bool:
    return repository.git_clone_strategy == CloneStrategy.DEPLOY_KEY


class RepositoryResource(Resource[Repository]):
    name = "repository"
    shape = RepositoryShape
    writes = Action.WRITE_SETTINGS
    filters: ClassVar = {"project_id": number("project")}

    def rows(self) -> QuerySet[Repository]:
        return Repository.objects.of_account(self.account_id)


class Repositories(Lists[Repository], RepositoryResource):
    """The repositories of an account."""


class OneRepository(Reads[Repository], RepositoryResource):
    """One of them."""


urlpatterns = [
    *both("accounts/<id:account_id>/repositories", Repositories),
    *both("accounts/<id:account_id>/repositories/<id:pk>", OneRepository),
]
