"""Environments: of a project (read, created, changed, deleted) and of a whole account."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from accounts.roles import Action
from environments.define import define_environment, delete_environment
from environments.models import DeploymentType, Environment, EnvironmentType
from jobsvc.api.base import Body, Creates, Deletes, Lists, Reads, Updates
from jobsvc.api.fields import IdField, OptionalText
from jobsvc.api.routes import both
from jobsvc.api.v2.environments import EnvironmentResource
from jobsvc.api.v2.jobs import DBT_VERSION
from jobsvc.api.v3.filling import fill

# A POST replaces the environment: what of these it leaves out becomes null.
REPLACED = ("connection_id", "credentials_id", "extended_attributes_id", "deployment_type")
LATEST = "latest"


class EnvironmentBody(Body):
    name = serializers.CharField(max_length=255)
    type = serializers.ChoiceField(EnvironmentType.choices, required=False, allow_null=True)
    deployment_type = serializers.ChoiceField(
        DeploymentType.choices, required=False, allow_null=True
    )
    dbt_version = OptionalText(max_length=60, validators=[DBT_VERSION])
    use_custom_branch = serializers.BooleanField(required=False, allow_null=True)
    custom_branch = OptionalText(max_length=255)
    supports_docs = serializers.BooleanField(required=False, allow_null=True)
    connection_id = IdField(required=False, allow_null=True)
    credentials_id = IdField(required=False, allow_null=True)
    extended_attributes_id = IdField(required=False, allow_null=True)
    primary_profile_id = IdField(required=False, allow_null=True)
    enable_model_query_history = serializers.BooleanField(required=False, allow_null=True)
    enable_dbt_state = serializers.BooleanField(required=False, allow_null=True)

    def validate_primary_profile_id(self, value: int | None) -> None:
        if value is not None:
            raise serializers.ValidationError(
                f"There is no profile {value} to use here. Give connection_id and credentials_id."
            )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs.pop("primary_profile_id", None)
        if "dbt_version" in attrs:
            typed = attrs["dbt_version"]
            attrs["raw_dbt_version"] = typed
            attrs["dbt_version"] = LATEST if typed == "versionless" else typed
        return attrs


class AccountEnvironments(Lists[Environment], EnvironmentResource):
    """The environments of all projects of an account."""


class OneAccountEnvironment(Deletes[Environment], Reads[Environment], EnvironmentResource):
    """One of them; refuses to be deleted while active jobs use it."""

    def delete_row(self, row: Environment) -> Environment:
        return delete_environment(row)


class _OfProject(EnvironmentResource):
    takes = EnvironmentBody

    def rows(self) -> QuerySet[Environment]:
        return super().rows().filter(project=self.project)


class Environments(Creates[Environment], Lists[Environment], _OfProject):
    """The environments of a project."""

    def create(self, values: dict[str, Any]) -> Environment:
        return define_environment(fill(Environment(project=self.project), values))


class OneEnvironment(Updates[Environment], Reads[Environment], _OfProject):
    """One of them. A POST is a full replacement."""

    def update(self, row: Environment, values: dict[str, Any]) -> Environment:
        self._check_taken(row, values)
        return define_environment(fill(row, dict.fromkeys(REPLACED) | values))

    def _check_taken(self, row: Environment, values: dict[str, Any]) -> None:
        """Refuse what is the project's, other environments' perhaps, to a token for ``row`` alone:
        with the credentials of production it could write there.
        """
        project = self.project
        for name, rows in (
            ("credentials_id", project.credentials.all()),
            ("extended_attributes_id", project.extended_attributes.all()),
        ):
            pk = values.get(name)
            if pk in (None, getattr(row, name)):
                continue
            if not self.seen(rows, Action.WRITE_SETTINGS).filter(pk=pk).exists():
                raise serializers.ValidationError(
                    {name: f"There is no such thing as {pk} to use here. Check the id."}
                )

    def delete_row(self, row: Environment) -> Environment:
        return delete_environment(row)


urlpatterns = [
    *both("accounts/<id:account_id>/environments", AccountEnvironments),
    *both("accounts/<id:account_id>/environments/<id:pk>", OneAccountEnvironment),
    *both("accounts/<id:account_id>/projects/<id:project_id>/environments", Environments),
    *both("accounts/<id:account_id>/projects/<id:project_id>/environments/<id:pk>", OneEnvironment),
]
