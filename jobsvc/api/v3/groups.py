"""Groups of people, what they are granted, and who is in them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from accounts.groups import add_grant, define_group, delete_group, replace_grants, set_groups
from accounts.models import Group, Membership
from accounts.roles import Action
from jobsvc.api.answers import Answer
from jobsvc.api.base import AccountView, Body, Creates, Lists, Reads, Resource, Shape, Updates
from jobsvc.api.fields import IdField
from jobsvc.api.filters import text
from jobsvc.api.routes import both
from jobsvc.api.v2.users import license_of
from jobsvc.api.v3.grants import GrantBody, grants_of
from jobsvc.statuses import State

MOST_GROUPS = 1000  # in one request


def permissions_of(group: Group) -> list[dict[str, Any]]:
    """A group's grants, as dbt Cloud lists them; ``environment_id`` is this service's own."""
    return [
        {
            "id": one.pk,
            "account_id": group.account_id,
            "group_id": group.pk,
            "project_id": one.project_id,
            "environment_id": one.environment_id,
            "all_projects": one.project_id is None,
            "permission_set": one.permission_set,
            "permission_level": None,
            "state": int(State.ACTIVE),
            "writable_environment_categories": [],
        }
        for one in sorted(group.grants.all(), key=lambda one: one.pk)
    ]


class GroupShape(Shape[Group]):
    account_id = IdField(read_only=True)
    scim_managed = serializers.SerializerMethodField()
    group_permissions = serializers.SerializerMethodField()

    class Meta:
        model = Group
        fields: ClassVar = [
            "id",
            "account_id",
            "name",
            "state",
            "assign_by_default",
            "sso_mapping_groups",
            "scim_managed",
            "group_permissions",
            "created_at",
            "updated_at",
        ]

    def get_scim_managed(self, _group: Group) -> bool:
        return False

    def get_group_permissions(self, group: Group) -> list[dict[str, Any]]:
        return permissions_of(group)


class GroupBody(Body):
    name = serializers.CharField(max_length=255)
    assign_by_default = serializers.BooleanField(default=False)
    sso_mapping_groups = serializers.ListField(
        child=serializers.CharField(max_length=255), default=list, max_length=100
    )


class _Groups(Resource[Group]):
    name = "group"
    shape = GroupShape
    takes = GroupBody
    writes = Action.WRITE_ACCOUNT
    filters: ClassVar = {"name": text("name"), "name__icontains": text("name__icontains")}
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Group]:
        return Group.objects.filter(account=self.account).prefetch_related("grants")

    def save(self, row: Group, values: dict[str, Any]) -> Group:
        for name, value in values.items():
            setattr(row, name, value)
        return define_group(row)


class Groups(Creates[Group], Lists[Group], _Groups):
    """The groups of an account."""

    def create(self, values: dict[str, Any]) -> Group:
        return self.save(Group(account=self.account), values)


class OneGroup(Updates[Group], Reads[Group], _Groups):
    """One of them. POST changes it, with ``state`` 2 it deletes it."""

    def update(self, row: Group, values: dict[str, Any]) -> Group:
        return self.save(row, values)

    def delete_row(self, row: Group) -> Group:
        return delete_group(row)


def _listed(request: Request) -> list[Any]:
    if not isinstance(request.data, list):
        raise ParseError('The body is not a list. Send [{"permission_set": "job_admin"}].')
    return request.data


class GroupPermissions(_Groups):
    """What a group is granted. POST with a list replaces it."""

    @extend_schema(request=GrantBody(many=True), responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        body = GrantBody(data=_listed(request), many=True)
        body.is_valid(raise_exception=True)
        replace_grants(row, grants_of(self, body.validated_data))
        return Answer(permissions_of(self.rows().get(pk=row.pk)))


class ProjectGrantBody(GrantBody):
    """A permission set of a group in the project of the address."""

    group_id = IdField()


class ProjectGroupPermissions(AccountView):
    """What groups are granted in one project alone. POST with a list replaces it."""

    writes = Action.WRITE_ACCOUNT
    placed = True

    @extend_schema(request=ProjectGrantBody(many=True), responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, **path: Any) -> Answer:
        self.check_place(None)  # who may what is the account's to say, not the project's
        body = ProjectGrantBody(data=_listed(request), many=True)
        body.is_valid(raise_exception=True)
        given = [
            {**one, "project_id": one.get("project_id") or self.project.pk, "all_projects": False}
            for one in body.validated_data
        ]
        if any(one["project_id"] != self.project.pk for one in given):
            raise serializers.ValidationError(
                {
                    "project_id": f"The address says {self.project.pk}. "
                    "Say the same, or leave it out."
                }
            )
        groups = Group.objects.filter(account=self.account, state=State.ACTIVE)
        known = groups.prefetch_related("grants").in_bulk()
        if missing := {one["group_id"] for one in given} - known.keys():
            raise serializers.ValidationError(
                {"group_id": f"This account has no group {min(missing)}. Check the id."}
            )
        with transaction.atomic():
            for group in known.values():
                for before in group.grants.all():
                    if before.project_id == self.project.pk:
                        before.delete()
                for grant in grants_of(self, [one for one in given if one["group_id"] == group.pk]):
                    grant.group = group
                    add_grant(grant)
        return Answer(
            [
                one
                for group in groups.prefetch_related("grants").order_by("pk")
                for one in permissions_of(group)
                if one["project_id"] == self.project.pk
            ]
        )


class AssignBody(Body):
    user_id = IdField()
    desired_group_ids = serializers.ListField(child=IdField(), max_length=MOST_GROUPS)


class AssignGroups(AccountView):
    """Have a person in exactly these groups. Answers with their licence, and its groups."""

    writes = Action.WRITE_ACCOUNT

    @extend_schema(request=AssignBody, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, **path: Any) -> Answer:
        body = AssignBody(data=self.body)
        body.is_valid(raise_exception=True)
        user_id, wanted = body.validated_data["user_id"], body.validated_data["desired_group_ids"]
        member = Membership.objects.filter(account=self.account, user=user_id).first()
        if member is None:
            raise serializers.ValidationError(
                {"user_id": f"This account has no user {user_id}. GET users/ lists those it has."}
            )
        groups = Group.objects.filter(account=self.account, state=State.ACTIVE).in_bulk(wanted)
        if missing := set(wanted) - groups.keys():
            raise serializers.ValidationError(
                {"desired_group_ids": f"This account has no group {min(missing)}. Check the id."}
            )
        set_groups(member, groups.values())
        shown = [{"id": one.pk, "name": one.name} for one in groups.values()]
        return Answer([{**license_of(member), "user_id": user_id, "groups": shown}])


urlpatterns = [
    *both("accounts/<id:account_id>/groups", Groups),
    *both("accounts/<id:account_id>/groups/<id:pk>", OneGroup),
    *both("accounts/<id:account_id>/group-permissions/<id:pk>", GroupPermissions),
    *both(
        "accounts/<id:account_id>/projects/<id:project_id>/group-permissions",
        ProjectGroupPermissions,
    ),
    *both("accounts/<id:account_id>/assign-groups", AssignGroups),
]
