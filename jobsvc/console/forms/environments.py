"""An environment's settings, and where its runs write."""

from __future__ import annotations

from typing import Any

from django import forms

from environments.define import connections_for
from environments.models import Connection, DeploymentType, Environment, EnvironmentType
from jobsvc.console.forms.mappings import MappingField
from jobsvc.runs import toolchains

GENERAL = "general"
KINDS = (
    (DeploymentType.PRODUCTION.value, "Production"),
    (DeploymentType.STAGING.value, "Staging"),
    (GENERAL, "General"),
    (EnvironmentType.DEVELOPMENT.value, "Development"),
)


def kind_of(environment: Environment) -> str:
    if environment.type == EnvironmentType.DEVELOPMENT:
        return EnvironmentType.DEVELOPMENT.value
    return environment.deployment_type or GENERAL


class EnvironmentForm(forms.Form):
    """Beside the columns, ``kind`` joins type and deployment type, and ``branch`` says both
    that there is one and which."""

    name = forms.CharField(max_length=255)
    kind = forms.ChoiceField(
        label="Type",
        choices=KINDS,
        help_text="A project has one production, one staging and one development environment. "
        "Jobs run in all but the last, which is for people at work.",
    )
    connection = forms.ModelChoiceField(
        Connection.objects.none(), required=False, empty_label="none yet"
    )
    dbt_version = forms.ChoiceField(label="dbt version", required=False)
    branch = forms.CharField(
        max_length=255,
        required=False,
        help_text="Of the repository. Empty for its default branch.",
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocapitalize": "off"}),
    )
    extended_attributes = MappingField(
        label="Over the profile",
        help_text="YAML of fields that go over those of the connection, such as “sslmode: "
        "require”. Everybody here can read them, so put no secret in.",
    )

    def __init__(self, data: Any = None, *, environment: Environment) -> None:
        super().__init__(data)
        self.environment = environment
        usable = connections_for(environment.project)
        self._choice("connection").queryset = usable.order_by("name", "pk")
        if default := environment.project.connection:
            self._choice("connection").empty_label = f"the project's: {default}"
        versions = toolchains.choices()
        if environment.dbt_version and environment.dbt_version not in versions:
            versions = [environment.dbt_version, *versions]
        self._choice("dbt_version").choices = [
            ("", f"the account's: {environment.project.account.default_dbt_version}"),
            *((version, version) for version in versions),
        ]
        attributes = environment.extended_attributes
        self.initial = {
            "name": environment.name,
            "kind": kind_of(environment),
            "connection": environment.connection_id,
            "dbt_version": environment.dbt_version,
            "branch": environment.branch,
            "extended_attributes": attributes.extended_attributes if attributes else {},
        }

    def _choice(self, name: str) -> Any:
        return self.fields[name]

    def fill(self) -> Environment:
        """The environment with what was typed, not yet saved."""
        typed, row = self.cleaned_data, self.environment
        kind = typed["kind"]
        row.name = typed["name"]
        row.type = EnvironmentType.DEPLOYMENT
        row.deployment_type = kind if kind in DeploymentType.values else None
        if kind == EnvironmentType.DEVELOPMENT:
            row.type = EnvironmentType.DEVELOPMENT
        row.connection = typed["connection"]
        if typed["dbt_version"] != row.dbt_version:
            row.dbt_version = typed["dbt_version"]
            row.raw_dbt_version = typed["dbt_version"] or None
        row.use_custom_branch = bool(typed["branch"])
        row.custom_branch = typed["branch"] or None
        return row


class WhereToWriteForm(forms.Form):
    """What credentials hold whatever the warehouse is."""

    schema = forms.CharField(max_length=255, help_text="Where models are built.")
    threads = forms.IntegerField(
        min_value=1, max_value=2**31 - 1, help_text="How many models a run builds at once."
    )
    target_name = forms.CharField(
        label="Target name", max_length=127, help_text="What target.name is in the project's code."
    )
