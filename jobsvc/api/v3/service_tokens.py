"""Service tokens: keys of an account that belong to nobody. The text is shown once, at creation.

A token holds permission sets, each in all projects of its account or in one of them. One that
is made without any may do nothing until ``permissions/`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from accounts.groups import replace_grants
from accounts.models import Grant, Token, TokenKind
from accounts.roles import Action, PermissionSet
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Lists, Reads, Resource, Shape, Updates
from jobsvc.api.fields import IdField, MomentField
from jobsvc.api.pagination import MOST
from jobsvc.api.routes import both
from jobsvc.api.v3.grants import GrantBody, grants_of

GRANT_IDS = 1_000_000_000  # a grant's number must not be its token's


class ServiceTokenShape(Shape[Token]):
    account_id = IdField(read_only=True)
    uid = serializers.CharField(source="prefix", read_only=True)
    service_token_permissions = serializers.SerializerMethodField()
    permission_grants = serializers.SerializerMethodField()
    metadata_only = serializers.SerializerMethodField()
    last_used = MomentField(source="last_used_at", read_only=True)
    updated_at = MomentField(source="created_at", read_only=True)

    class Meta:
        model = Token
        fields: ClassVar = [
            "id",
            "account_id",
            "uid",
            "name",
            "state",
            "service_token_permissions",
            "permission_grants",
            "metadata_only",
            "last_used",
            "expires_at",
            "created_at",
            "updated_at",
        ]

    def get_service_token_permissions(self, token: Token) -> list[dict[str, Any]]:
        return permissions_of(token)

    def get_permission_grants(self, token: Token) -> list[dict[str, Any]]:
        return [
            {
                "permission_set": one["permission_set"],
                "project_id": one["project_id"],
                "writable_environment_categories": [],
            }
            for one in permissions_of(token)
        ]

    def get_metadata_only(self, token: Token) -> bool:
        return {one["permission_set"] for one in permissions_of(token)} == {
            PermissionSet.METADATA_ONLY.value
        }


def permissions_of(token: Token) -> list[dict[str, Any]]:
    """A token's permissions as dbt Cloud lists them; that of all projects has its number."""
    own = [(token.pk, token.permission_set, None)] if token.permission_set else []
    more = [
        (GRANT_IDS + one.pk, one.permission_set, one.project_id)
        for one in sorted(token.grants.all(), key=lambda one: one.pk)
    ]
    return [
        {
            "id": pk,
            "account_id": token.account_id,
            "service_token_id": token.pk,
            "project_id": project_id,
            "all_projects": project_id is None,
            "permission_set": permission_set,
            "state": token.state,
            "writable_environment_categories": [],
        }
        for pk, permission_set, project_id in [*own, *more]
    ]


class ServiceTokenBody(Body):
    name = serializers.CharField(max_length=255)
    permission_grants = GrantBody(many=True, required=False, allow_null=True)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


def take_apart(grants: Sequence[Grant]) -> tuple[str, list[Grant]]:
    """The first permission set that is for all projects, and the other grants.

    Without any grant it is the set that may do nothing.
    """
    everywhere = [one for one in grants if one.project is None]
    if not everywhere:
        return ("" if grants else PermissionSet.METADATA_ONLY.value), list(grants)
    return everywhere[0].permission_set, [one for one in grants if one is not everywhere[0]]


class _ServiceTokens(Resource[Token]):
    name = "service token"
    shape = ServiceTokenShape
    takes = ServiceTokenBody
    writes = Action.WRITE_ACCOUNT
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Token]:
        tokens = Token.objects.filter(account=self.account, kind=TokenKind.SERVICE)
        return tokens.prefetch_related("grants")

    def give(self, row: Token, given: list[dict[str, Any]]) -> None:
        """Let a token hold exactly what the body lists."""
        permission_set, more = take_apart(grants_of(self, given))
        with transaction.atomic():
            replace_grants(row, more)
            row.permission_set = permission_set
            row.full_clean()
            row.save(update_fields=["permission_set"])


class ServiceTokens(Lists[Token], _ServiceTokens):
    """The service tokens of an account. Only the answer to POST holds ``token_string``."""

    def post(self, request: Request, **path: Any) -> Answer:
        values = self.values(partial=False)
        permission_set, more = take_apart(grants_of(self, values.get("permission_grants") or []))
        token, text = Token.issue(
            self.account,
            values["name"],
            permission_set=permission_set,
            grants=more,
            expires_at=values.get("expires_at"),
            created_by=self.token.user,
        )
        return Answer({**self.show(token), "token_string": text}, 201)


class OneServiceToken(Updates[Token], Reads[Token], _ServiceTokens):
    """One of them. POST and PUT rename it; DELETE revokes it at once."""

    def update(self, row: Token, values: dict[str, Any]) -> Token:
        row.name = values.get("name", row.name)
        row.full_clean()
        with transaction.atomic():
            row.save(update_fields=["name"])
            if values.get("permission_grants"):
                self.give(row, values["permission_grants"])
        return row

    def put(self, request: Request, **path: Any) -> Answer:
        return self.post(request, **path)

    def delete_row(self, row: Token) -> Token:
        row.revoke()
        return row


class ServiceTokenPermissions(_ServiceTokens):
    """What a token may do. POST with a list replaces it."""

    many = True

    def get(self, request: Request, **path: Any) -> Answer:
        return self._listed(self.row())

    def post(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        if not isinstance(request.data, list):
            raise ParseError('The body is not a list. Send [{"permission_set": "job_admin"}].')
        body = GrantBody(data=request.data, many=True)
        body.is_valid(raise_exception=True)
        self.give(row, body.validated_data)
        return self._listed(self.rows().get(pk=row.pk))

    def _listed(self, row: Token) -> Answer:
        permissions = permissions_of(row)
        count = len(permissions)
        extra = {
            "filters": {"limit": MOST, "offset": 0, "account_id": self.account_id},
            "order_by": "id",
            "pagination": {"count": count, "total_count": count},
        }
        return Answer(permissions, extra=extra)


_BASE = "accounts/<id:account_id>/service-tokens"

urlpatterns = [
    *both(_BASE, ServiceTokens),
    *both(f"{_BASE}/<id:pk>", OneServiceToken),
    *both(f"{_BASE}/<id:pk>/permissions", ServiceTokenPermissions),
]
