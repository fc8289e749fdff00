"""The operator's view of where jobs run. Secrets are neither shown nor set here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from accounts.admin import ReadOnly, Undeletable
from environments.models import (
    Connection,
    Credentials,
    Environment,
    EnvironmentVariable,
    ExtendedAttributes,
    Project,
    Repository,
)


class KeepsSecrets(Undeletable):
    """Shows the names of the secrets that are set, never a value."""

    exclude = ("secrets",)
    readonly_fields = ("secrets_set", "created_at", "updated_at")

    @admin.display(description="Secrets that are set")
    def secrets_set(self, row: Any) -> str:
        return ", ".join(sorted(name for name, value in row.secrets.items() if value)) or "none"


@admin.register(Project)
class ProjectAdmin(Undeletable):
    list_display = ("id", "name", "account", "state")
    list_filter = ("state",)
    list_select_related = ("account",)
    search_fields = ("name",)
    raw_id_fields = ("account", "repository", "connection")


@admin.register(Repository)
class RepositoryAdmin(KeepsSecrets):
    list_display = ("id", "remote_url", "account", "git_clone_strategy", "state")
    list_select_related = ("account",)
    search_fields = ("remote_url",)
    raw_id_fields = ("account", "project")


@admin.register(Connection)
class ConnectionAdmin(KeepsSecrets):
    list_display = ("id", "name", "adapter", "account", "state")
    list_filter = ("adapter", "state")
    list_select_related = ("account",)
    search_fields = ("name",)
    raw_id_fields = ("account", "project")


@admin.register(Credentials)
class CredentialsAdmin(KeepsSecrets):
    list_display = ("id", "type", "project", "default_schema", "state")
    list_select_related = ("project",)
    raw_id_fields = ("account", "project")


@admin.register(ExtendedAttributes)
class ExtendedAttributesAdmin(Undeletable):
    list_display = ("id", "project", "state")
    list_select_related = ("project",)
    raw_id_fields = ("account", "project")


@admin.register(Environment)
class EnvironmentAdmin(Undeletable):
    list_display = ("id", "name", "project", "type", "deployment_type", "dbt_version", "state")
    list_filter = ("type", "deployment_type", "state")
    list_select_related = ("project",)
    search_fields = ("name",)
    raw_id_fields = ("project", "connection", "credentials", "extended_attributes")


@admin.register(EnvironmentVariable)
class EnvironmentVariableAdmin(ReadOnly):
    """Which variables there are; their values are for runs alone."""

    list_display = ("id", "name", "scope", "project", "environment", "job_definition_id")
    list_filter = ("scope",)
    list_select_related = ("project", "environment")
    search_fields = ("name",)
    exclude = ("secrets",)
