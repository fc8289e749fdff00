"""What a group or a service token is granted, as bodies of requests list it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rest_framework import serializers

from accounts.models import Grant
from accounts.roles import PermissionSet
from environments.models import Environment, Project
from jobsvc.api.base import AccountView, Body
from jobsvc.api.fields import IdField

ALL = "all"  # of categories of environments, the one that leaves nothing out


class GrantBody(Body):
    """A permission set in all projects, or in the one that ``project_id`` names.

    ``environment_id``, of one of its environments, is this service's own.
    """

    permission_set = serializers.ChoiceField(PermissionSet.choices)
    project_id = IdField(required=False, allow_null=True)
    environment_id = IdField(required=False, allow_null=True)
    all_projects = serializers.BooleanField(required=False, allow_null=True)
    writable_environment_categories = serializers.ListField(
        child=serializers.CharField(max_length=60), required=False, allow_null=True, max_length=10
    )

    def validate_writable_environment_categories(self, names: list[str]) -> list[str]:
        if set(names) - {ALL}:
            raise serializers.ValidationError(
                "A role here writes in every environment of its projects. Leave this out, and "
                "name the environment_id of each that the role is for instead."
            )
        return names

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        everywhere, project_id = attrs.get("all_projects"), attrs.get("project_id")
        if everywhere and project_id is not None:
            raise serializers.ValidationError(
                {"project_id": "Name a project, or say all_projects; not both."}
            )
        if everywhere is False and project_id is None:
            raise serializers.ValidationError(
                {"project_id": "Name the project, or say all_projects."}
            )
        if attrs.get("environment_id") is not None and project_id is None:
            raise serializers.ValidationError(
                {"project_id": "Name the project of the environment, too."}
            )
        return attrs


def grants_of(view: AccountView, given: Iterable[Mapping[str, Any]]) -> list[Grant]:
    """Grants for what ``given`` lists, each once; not saved, and nobody's yet.

    Raises:
        ValidationError: a project is not the account's, or an environment not the project's.
    """
    wanted = dict.fromkeys(
        (one["permission_set"], one.get("project_id"), one.get("environment_id")) for one in given
    )
    ids = {project_id for _set, project_id, _environment in wanted if project_id is not None}
    projects = Project.objects.of_account(view.account_id).active().in_bulk(ids)
    for project_id in ids - projects.keys():
        raise serializers.ValidationError(
            {"project_id": f"This account has no project {project_id}. Check the id."}
        )
    places = {pk for _set, _project, pk in wanted if pk is not None}
    environments: dict[int, Environment] = (
        Environment.objects.of_account(view.account_id).active().in_bulk(places)
    )
    for _set, project_id, pk in wanted:
        if pk is not None and (pk not in environments or environments[pk].project_id != project_id):
            raise serializers.ValidationError(
                {"environment_id": f"The project has no environment {pk}. Check the id."}
            )
    return [
        Grant(
            permission_set=name,
            project=projects[project_id] if project_id is not None else None,
            environment=environments[pk] if pk is not None else None,
        )
        for name, project_id, pk in wanted
    ]
