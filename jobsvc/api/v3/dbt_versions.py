"""dbt versions: what is installed here, what a run may have installed, what the account asks for.

An address of this service's own; dbt Cloud has none like it.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.models import Account
from accounts.roles import Action
from jobsvc.api.answers import Answer
from jobsvc.api.base import AccountView, Body
from jobsvc.api.routes import both
from jobsvc.api.v2.jobs import DBT_VERSION
from jobsvc.engine.toolchain_build import is_hash_locked
from jobsvc.runs import toolchains


class DefaultBody(Body):
    default = serializers.CharField(
        max_length=60,
        validators=[DBT_VERSION],
        help_text="For the environments that name no version.",
    )


class DbtVersions(AccountView):
    """The versions that a run of this account may have. POST sets the account's default."""

    writes = Action.WRITE_SETTINGS

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, **path: Any) -> Answer:
        return Answer(_shown(self.account))

    @extend_schema(request=DefaultBody, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, **path: Any) -> Answer:
        body = DefaultBody(data=self.body)
        body.is_valid(raise_exception=True)
        self.account.default_dbt_version = body.validated_data["default"]
        self.account.save(update_fields=["default_dbt_version", "updated_at"])
        return Answer(_shown(self.account))


def _shown(account: Account) -> dict[str, Any]:
    installed = sorted(toolchains.installed().items(), key=lambda item: item[1].order, reverse=True)
    return {
        "default": account.default_dbt_version,
        "choices": toolchains.choices(),
        "installed": [
            {
                "name": name,
                "version": one.version,
                "adapters": one.adapters,
                "is_hash_locked": is_hash_locked(one),
            }
            for name, one in installed
        ],
        "installable": [
            {"series": f"{lock.series}.x", "version": lock.version, "adapters": list(lock.adapters)}
            for lock in toolchains.locks()
        ],
    }


urlpatterns = both("accounts/<id:account_id>/dbt-versions", DbtVersions)
