"""Credentials of a project: who signs in to a warehouse, and which schema is written.

Four kinds have their fields at the top; ``adapter``, for every other warehouse, has them in
``credential_details``. Secret values are taken in and never shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request

from accounts.roles import Action
from environments.adapters import ADAPTERS, CONNECTION_TYPES, VERSIONS, Field
from environments.define import (
    DEFAULT_TARGET,
    DEFAULT_THREADS,
    define_credentials,
    delete_credentials,
)
from environments.models import Credentials
from environments.variables import MASK
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Creates, Lists, Reads, Resource, Shape, Updates
from jobsvc.api.fields import CountField, IdField, OptionalText, whole_number
from jobsvc.api.routes import both

# What each kind calls the schema; ``adapter`` has it among its fields.
SCHEMA_NAMES = {
    "postgres": "default_schema",
    "redshift": "default_schema",
    "snowflake": "schema",
    "bigquery": "schema",
}
# Fields of ``credential_details`` that every adapter has, and the columns they are kept in.
COMMON = {"schema": "default_schema", "target_name": "target_name", "threads": "threads"}
FIELD_TYPES = {"boolean": "boolean", "number": "number", "port": "number"}


class CredentialsShape(Shape[Credentials]):
    """Beside these keys, the fields of its kind; see the module's docstring."""

    account_id = IdField(read_only=True)
    project_id = IdField(read_only=True)

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
            "state",
            "created_at",
            "updated_at",
        ]

    def to_representation(self, instance: Credentials) -> dict[str, Any]:
        shown = dict(super().to_representation(instance))
        if instance.type in SCHEMA_NAMES:
            names = [one.name for one in ADAPTERS[instance.adapter].credentials if not one.secret]
            shown |= {name: instance.config.get(name) for name in names}
            return shown | {SCHEMA_NAMES[instance.type]: instance.default_schema}
        return shown | {
            "credential_details": _details(instance),
            "unencrypted_credential_details": {**instance.config, **_common(instance)},
        }


def _common(row: Credentials) -> dict[str, Any]:
    return {name: getattr(row, column) for name, column in COMMON.items()}


def _details(row: Credentials) -> dict[str, Any]:
    """Every field with its description; encrypted ones are masked."""
    declared = {field.name: field for field in ADAPTERS[row.adapter].credentials}
    common = _common(row)
    values = {**dict.fromkeys(declared), **row.config, **dict.fromkeys(row.secrets, MASK), **common}
    kinds = {"threads": "number"}
    fields = {}
    for name, value in values.items():
        field = declared.get(name, Field(name, name, kinds.get(name, "text")))
        secret = field.secret or name in row.secrets
        fields[name] = {
            "metadata": {
                "label": name.replace("_", " ").capitalize(),
                "description": "",
                "field_type": FIELD_TYPES.get(field.kind, "text"),
                "encrypt": secret,
                "overrideable": False,
                "options": [{"label": one, "value": one} for one in field.choices],
                "validation": {"required": field.required},
            },
            "value": value,
        }
    return {"fields": fields, "field_order": list(fields)}


class CredentialsBody(Body):
    type = serializers.ChoiceField(sorted({*CONNECTION_TYPES, "adapter"}))
    adapter_version = OptionalText(
        max_length=40, help_text="Needed where type is adapter: duckdb_v0, databricks_v0 …"
    )
    threads = CountField(min_value=1, required=False, allow_null=True)
    target_name = OptionalText(max_length=127)
    default_schema = OptionalText(max_length=255)
    schema = OptionalText(max_length=255)
    username = OptionalText(max_length=255)
    user = OptionalText(max_length=255)
    auth_type = OptionalText(max_length=255)
    database = OptionalText(max_length=255)
    warehouse = OptionalText(max_length=255)
    role = OptionalText(max_length=255)
    password = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, trim_whitespace=False, write_only=True
    )
    private_key = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, trim_whitespace=False, write_only=True
    )
    private_key_passphrase = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, trim_whitespace=False, write_only=True
    )
    credential_details = serializers.DictField(
        required=False,
        allow_null=True,
        help_text='{"fields": {NAME: {"metadata": {…}, "value": …}}, "field_order": [NAME]}',
    )


class _AllCredentials(Resource[Credentials]):
    name = "credentials"
    shape = CredentialsShape
    takes = CredentialsBody
    writes = Action.WRITE_SETTINGS

    def rows(self) -> QuerySet[Credentials]:
        return Credentials.objects.filter(project=self.project)

    def delete_row(self, row: Credentials) -> Credentials:
        return delete_credentials(row)

    def save(self, row: Credentials, values: Mapping[str, Any], *, merge: bool) -> Credentials:
        """Put ``values`` into ``row``; what they leave out stays only where they are merged.

        Secrets stay either way, unless they are named.
        """
        given, secret = _fields_of(row, values)
        for name, column in COMMON.items():
            if name in given or not merge:
                setattr(row, column, _common_value(name, given.pop(name, None)))
        before = {**row.config, **row.secrets} if merge else dict(row.secrets)
        # A mask stands for the secret that is there, and so does an empty text.
        named = {
            name: value
            for name, value in given.items()
            if not (name in row.secrets and value in (MASK, ""))
        }
        return define_credentials(row, before | named, secret=secret)


class AllCredentials(_AllCredentials, Creates[Credentials], Lists[Credentials]):
    """The credentials of a project."""

    def create(self, values: dict[str, Any]) -> Credentials:
        row = Credentials(account=self.account, project=self.project, type=values["type"])
        if row.type == "adapter":
            row.adapter_version = values.get("adapter_version") or ""
            row.adapter = VERSIONS.get(row.adapter_version, "")
        else:
            row.adapter = row.type
            row.adapter_version = ADAPTERS[row.adapter].versions[0]
        return self.save(row, values, merge=False)


class OneCredentials(_AllCredentials, Updates[Credentials], Reads[Credentials]):
    """One of them. POST replaces, PATCH merges; neither touches secrets it does not name."""

    def update(self, row: Credentials, values: dict[str, Any]) -> Credentials:
        for name in ("type", "adapter_version"):
            if (values.get(name) or getattr(row, name)) != getattr(row, name):
                raise serializers.ValidationError(
                    {name: "It cannot be changed. Make new credentials instead."}
                )
        return self.save(row, values, merge=self.request.method == "PATCH")

    def patch(self, request: Request, **path: Any) -> Answer:
        return self.post(request, **path)


def _fields_of(
    row: Credentials, values: Mapping[str, Any]
) -> tuple[dict[str, Any], frozenset[str]]:
    """The fields that a body gives, the schema as ``schema``; and those to be kept secret."""
    if row.type in SCHEMA_NAMES:
        names = {field.name for field in ADAPTERS[row.adapter].credentials}
        given = {name: value for name, value in values.items() if name in names | {*COMMON}}
        schema = SCHEMA_NAMES[row.type]
        if schema in values:
            given["schema"] = values[schema]
        return given, frozenset()
    given = {name: values[name] for name in COMMON if name in values}
    details = values.get("credential_details") or {}
    fields = details.get("fields", {})
    secret = set()
    if not isinstance(fields, Mapping):
        raise serializers.ValidationError(
            {"credential_details": 'It has no object "fields". Give {"fields": {NAME: …}}.'}
        )
    for name, field in fields.items():
        metadata = field.get("metadata") if isinstance(field, Mapping) else None
        if isinstance(metadata, Mapping) and metadata.get("encrypt") is True:
            secret.add(str(name))
        given[str(name)] = field.get("value") if isinstance(field, Mapping) else field
    return given, frozenset(secret - {*COMMON})


def _common_value(name: str, value: Any) -> Any:
    """The value of a field that every adapter has, or its default."""
    if name == "threads":
        if value in (None, ""):
            return DEFAULT_THREADS
        number = whole_number(value)
        if number is None or number < 1:
            raise serializers.ValidationError({"threads": "Give a whole number from 1."})
        return number
    if value is not None and not isinstance(value, str):
        raise serializers.ValidationError({name: "Give a text."})
    return value or (DEFAULT_TARGET if name == "target_name" else "")


_BASE = "accounts/<id:account_id>/projects/<id:project_id>/credentials"

urlpatterns = [
    *both(_BASE, AllCredentials),
    *both(f"{_BASE}/<id:pk>", OneCredentials),
]
