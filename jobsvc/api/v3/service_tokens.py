"""Service tokens: keys of an account that belong to nobody. The text is shown once, at creation.

Here a token holds one permission set, for all projects of its account. One that is made
without any may do nothing until ``permissions/`` says otherwise.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from accounts.models import Token, TokenKind
from accounts.roles import Action, PermissionSet
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Lists, Reads, Resource, Shape, Updates
from jobsvc.api.fields import IdField, MomentField
from jobsvc.api.pagination import MOST
from jobsvc.api.routes import both


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
                "permission_set": token.permission_set,
                "project_id": None,
                "writable_environment_categories": [],
            }
        ]

    def get_metadata_only(self, token: Token) -> bool:
        return token.permission_set == PermissionSet.METADATA_ONLY


def permissions_of(token: Token) -> list[dict[str, Any]]:
    """A token's permissions as dbt Cloud lists them. There is always one, with its number."""
    return [
        {
            "id": token.pk,
            "account_id": token.account_id,
            "service_token_id": token.pk,
            "project_id": None,
            "all_projects": True,
            "permission_set": token.permission_set,
            "state": token.state,
            "writable_environment_categories": [],
        }
    ]


class Grant(Body):
    permission_set = serializers.ChoiceField(PermissionSet.choices)
    project_id = IdField(required=False, allow_null=True)

    def validate_project_id(self, value: int | None) -> None:
        if value is not None:
            raise serializers.ValidationError(
                "Here a token is for all projects of its account. Leave project_id out."
            )


class ServiceTokenBody(Body):
    name = serializers.CharField(max_length=255)
    permission_grants = Grant(many=True, required=False, allow_null=True)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


def one_permission_set(grants: list[dict[str, Any]] | None) -> str:
    """The permission set that ``grants`` name.

    Raises:
        ValidationError: they name several.
    """
    named = {grant["permission_set"] for grant in grants or []}
    if len(named) > 1:
        raise serializers.ValidationError(
            {"permission_set": "A token holds one permission set. Choose the one that it needs."}
        )
    return str(named.pop()) if named else PermissionSet.METADATA_ONLY


class _ServiceTokens(Resource[Token]):
    name = "service token"
    shape = ServiceTokenShape
    takes = ServiceTokenBody
    writes = Action.WRITE_ACCOUNT
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Token]:
        return Token.objects.filter(account=self.account, kind=TokenKind.SERVICE)


class ServiceTokens(Lists[Token], _ServiceTokens):
    """The service tokens of an account. Only the answer to POST holds ``token_string``."""

    def post(self, request: Request, **path: Any) -> Answer:
        values = self.values(partial=False)
        token, text = Token.issue(
            self.account,
            values["name"],
            permission_set=one_permission_set(values.get("permission_grants")),
            expires_at=values.get("expires_at"),
        )
        return Answer({**self.show(token), "token_string": text}, 201)


class OneServiceToken(Updates[Token], Reads[Token], _ServiceTokens):
    """One of them. POST and PUT rename it; DELETE revokes it at once."""

    def update(self, row: Token, values: dict[str, Any]) -> Token:
        row.name = values.get("name", row.name)
        if values.get("permission_grants"):
            row.permission_set = one_permission_set(values["permission_grants"])
        row.full_clean()
        row.save(update_fields=["name", "permission_set"])
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
        grants = Grant(data=request.data, many=True)
        grants.is_valid(raise_exception=True)
        row.permission_set = one_permission_set(grants.validated_data)
        row.full_clean()
        row.save(update_fields=["permission_set"])
        return self._listed(row)

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
