"""Connections: of an account, with ``config``; and of a project, the older shape, with ``details``.

Both views show the same rows. Secret fields are taken in and never shown; an update that does
not name one keeps it, and an explicit null clears it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import Count, Q, QuerySet
from rest_framework import serializers
from rest_framework.request import Request

from accounts.roles import Action
from environments.adapters import ADAPTERS, CONNECTION_TYPES, VERSIONS, connection_type
from environments.define import define_connection, delete_connection
from environments.models import Connection
from environments.reach import try_connection
from jobsvc.api.answers import Answer
from jobsvc.api.base import AccountView, Body, Creates, Lists, Reads, Resource, Shape, Updates
from jobsvc.api.fields import IdField, Nothing, OptionalText
from jobsvc.api.routes import both
from jobsvc.api.v2.projects import ProjectConnectionShape
from jobsvc.statuses import State


class ConnectionShape(Shape[Connection]):
    account_id = IdField(read_only=True)
    config = serializers.JSONField(read_only=True)
    is_ssh_tunnel_enabled = Nothing(False)
    private_link_endpoint_id = Nothing()
    oauth_configuration_id = Nothing()

    class Meta:
        model = Connection
        fields: ClassVar = [
            "id",
            "account_id",
            "name",
            "adapter_version",
            "config",
            "is_ssh_tunnel_enabled",
            "private_link_endpoint_id",
            "oauth_configuration_id",
            "state",
            "created_at",
            "updated_at",
        ]


class ListedConnectionShape(ConnectionShape):
    """In a list, with how many environments use it."""

    environment__count = serializers.IntegerField(source="environment_count", read_only=True)

    class Meta(ConnectionShape.Meta):
        fields: ClassVar = [*ConnectionShape.Meta.fields, "environment__count"]


class ConnectionBody(Body):
    name = serializers.CharField(max_length=255)
    adapter_version = serializers.CharField(
        max_length=40, help_text="postgres_v0, duckdb_v0, snowflake_v0 … It cannot be changed."
    )
    config = serializers.DictField(help_text="Secret fields are never shown again.")
    is_ssh_tunnel_enabled = serializers.BooleanField(required=False, allow_null=True)

    def validate_is_ssh_tunnel_enabled(self, value: bool | None) -> bool | None:
        if value:
            raise serializers.ValidationError("This service opens no tunnels. Leave it false.")
        return value


class _Connections(Resource[Connection]):
    name = "connection"
    shape: ClassVar[type[serializers.BaseSerializer[Any]]] = ConnectionShape
    takes: ClassVar[type[serializers.Serializer[Any]] | None] = ConnectionBody
    writes = Action.WRITE_SETTINGS
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Connection]:
        return Connection.objects.of_account(self.account_id)

    def delete_row(self, row: Connection) -> Connection:
        return delete_connection(row)


class Connections(Creates[Connection], Lists[Connection], _Connections):
    """The connections of an account."""

    shape = ListedConnectionShape

    def rows(self) -> QuerySet[Connection]:
        in_use = Count("environments", filter=Q(environments__state=State.ACTIVE))
        return super().rows().annotate(environment_count=in_use)

    def create(self, values: dict[str, Any]) -> Connection:
        return _new(Connection(account=self.account), values)


class OneConnection(_Connections, Updates[Connection], Reads[Connection]):
    """One of them. PATCH merges ``config`` key by key."""

    def update(self, row: Connection, values: dict[str, Any]) -> Connection:
        return _changed(row, values, {**row.config, **values.get("config", {})})

    def patch(self, request: Request, **path: Any) -> Answer:
        return self.post(request, **path)


class ConnectionTest(AccountView):
    """Tests settings without saving them. The message says what was tested and what was not."""

    writes = Action.WRITE_SETTINGS
    takes = ConnectionBody

    def post(self, request: Request, **path: Any) -> Answer:
        config = self.body.get("config")
        version = str(self.body.get("adapter_version", ""))
        reached = try_connection(
            VERSIONS.get(version, ""), config if isinstance(config, Mapping) else {}
        )
        return Answer({"success": reached.success, "message": reached.message})


class ProjectConnectionBody(Body):
    name = serializers.CharField(max_length=255)
    type = serializers.ChoiceField(sorted({*CONNECTION_TYPES, "adapter"}))
    adapter_version = OptionalText(
        max_length=40, help_text="Needed where type is adapter: duckdb_v0, databricks_v0 …"
    )
    details = serializers.DictField(help_text="What account-level connections call config.")


class _ProjectConnections(_Connections):
    shape = ProjectConnectionShape
    takes = ProjectConnectionBody

    def rows(self) -> QuerySet[Connection]:
        """The project's own, and the account's, which every project may use."""
        return super().rows().filter(Q(project=None) | Q(project=self.project))


class ProjectConnections(Creates[Connection], Lists[Connection], _ProjectConnections):
    """The connections that a project may use, in the older shape."""

    def create(self, values: dict[str, Any]) -> Connection:
        version = values.pop("adapter_version", None)
        if version is None and values["type"] == "adapter":
            raise serializers.ValidationError(
                {"adapter_version": "A connection of type adapter needs it. Add it."}
            )
        version = version or ADAPTERS[values["type"]].versions[0]
        row = Connection(account=self.account, project=self.project)
        config = _config_of(version, values["details"])
        return _new(row, values | {"adapter_version": version, "config": config})


class OneProjectConnection(_ProjectConnections, Updates[Connection], Reads[Connection]):
    """One of them. POST replaces ``details``, but keeps secrets that it does not name."""

    def update(self, row: Connection, values: dict[str, Any]) -> Connection:
        if values.get("type", connection_type(row.adapter)) != connection_type(row.adapter):
            raise serializers.ValidationError(
                {"type": "It cannot be changed. Make a new connection instead."}
            )
        if "details" not in values:
            return _changed(row, values, row.config)
        return _changed(row, values, _config_of(row.adapter_version, values["details"]))


def _config_of(adapter_version: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """The older shape's ``details`` without what only that shape had."""
    adapter = ADAPTERS.get(VERSIONS.get(adapter_version, ""))
    if adapter is None or adapter.free:
        return dict(details)
    known = {field.name for field in adapter.config}
    return {name: value for name, value in details.items() if name in known}


def _new(row: Connection, values: dict[str, Any]) -> Connection:
    row.name = values["name"]
    row.adapter_version = values["adapter_version"]
    row.adapter = VERSIONS.get(row.adapter_version, "")
    return define_connection(row, values["config"])


def _changed(row: Connection, values: dict[str, Any], config: Mapping[str, Any]) -> Connection:
    if (values.get("adapter_version") or row.adapter_version) != row.adapter_version:
        raise serializers.ValidationError(
            {"adapter_version": "It cannot be changed. Make a new connection instead."}
        )
    row.name = values.get("name", row.name)
    return define_connection(row, {**row.secrets, **config})


_PROJECT = "accounts/<id:account_id>/projects/<id:project_id>/connections"

urlpatterns = [
    *both("accounts/<id:account_id>/connections", Connections),
    *both("accounts/<id:account_id>/connections/test", ConnectionTest),
    *both("accounts/<id:account_id>/connections/<id:pk>", OneConnection),
    *both(_PROJECT, ProjectConnections),
    *both(f"{_PROJECT}/<id:pk>", OneProjectConnection),
]
