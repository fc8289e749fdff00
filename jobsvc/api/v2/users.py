"""People: the one who asks (``whoami``), and those of an account."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Prefetch, QuerySet
from rest_framework import serializers
from rest_framework.request import Request

from accounts.models import Group, Membership, Token, User
from accounts.roles import Action, allows
from jobsvc.api.answers import Answer
from jobsvc.api.base import AccountView, Lists, Reads, Resource
from jobsvc.api.routes import both
from jobsvc.statuses import State

# A service token has no person; the stand-in's id must not be a person's.
SERVICE_USER_IDS = 1_000_000_000


class UserShape(serializers.ModelSerializer[User]):
    """A person, with what they hold in this account; their other accounts are not shown."""

    fullname = serializers.CharField(source="full_name", read_only=True)
    licenses = serializers.SerializerMethodField()
    permissions = serializers.SerializerMethodField()
    is_active = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields: ClassVar = [
            "id",
            "first_name",
            "last_name",
            "fullname",
            "email",
            "is_active",
            "licenses",
            "permissions",
        ]

    def get_licenses(self, user: User) -> dict[str, dict[str, Any]]:
        return {
            str(held.account_id): _license(held.pk, held.account_id, held.permission_set)
            for held in user.memberships.all()
        }

    def get_is_active(self, user: User) -> bool:
        return user.is_active and all(held.is_active for held in user.memberships.all())

    def get_permissions(self, user: User) -> list[dict[str, Any]]:
        return [
            _permission(held.pk, held.account_id, held.permission_set, user.pk)
            | {"groups": _groups(held)}
            for held in user.memberships.all()
        ]


def memberships_of(account_id: int) -> QuerySet[Membership]:
    """Those of an account, each with its active groups."""
    active = Group.objects.filter(state=State.ACTIVE).order_by("pk")
    return Membership.objects.filter(account=account_id).prefetch_related(
        Prefetch("groups", active)
    )


def _groups(held: Membership) -> list[dict[str, Any]]:
    return [
        {"id": one.pk, "account_id": one.account_id, "name": one.name} for one in held.groups.all()
    ]


def license_of(held: Membership) -> dict[str, Any]:
    """The licence that a membership is in dbt Cloud's words."""
    return _license(held.pk, held.account_id, held.permission_set)


class _Users(Resource[User]):
    name = "user"
    shape = UserShape
    orders: ClassVar = ["email"]

    def rows(self) -> QuerySet[User]:
        held = memberships_of(self.account_id)
        return User.objects.filter(memberships__account=self.account_id).prefetch_related(
            Prefetch("memberships", held)
        )


class Users(Lists[User], _Users):
    """The people of an account. Version 3 serves it."""


class OneUser(Reads[User], _Users):
    """One of them."""


class WhoAmI(AccountView):
    """The person whose token this is, or what stands in for one."""

    def get(self, request: Request, **path: Any) -> Answer:
        if self.token.user is None:
            return Answer({"user": _stand_in(self.token)})
        rows = User.objects.prefetch_related(
            Prefetch("memberships", memberships_of(self.account_id))
        )
        return Answer({"user": UserShape(rows.get(pk=self.token.user.pk)).data})


def _stand_in(token: Token) -> dict[str, Any]:
    held = (token.pk, token.account_id, token.permission_set)
    host = urlsplit(settings.SITE_URL).hostname
    return {
        "id": SERVICE_USER_IDS + token.pk,
        "first_name": token.name,
        "last_name": "",
        "fullname": token.name,
        "email": f"service-token-{token.pk}@{host}",
        "is_active": True,
        "licenses": {str(token.account_id): _license(*held)},
        "permissions": [_permission(*held, SERVICE_USER_IDS + token.pk)],
    }


def _license(pk: int, account_id: int, permission_set: str) -> dict[str, Any]:
    writes = allows(permission_set, Action.WRITE_JOBS)
    return {
        "id": pk,
        "account_id": account_id,
        "license_type": "developer" if writes else "read_only",
        "state": 1,
    }


def _permission(pk: int, account_id: int, permission_set: str, user_id: int) -> dict[str, Any]:
    return {
        **_license(pk, account_id, permission_set),
        "user_id": user_id,
        "permission_set": permission_set,
        "groups": [],
    }


urlpatterns = [
    *both("whoami", WhoAmI),
    *both("accounts/<id:account_id>/users/<id:pk>", OneUser),
]
