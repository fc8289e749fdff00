"""Accounts: read only. Version 3 serves the same views."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db.models import QuerySet
from rest_framework import serializers

from accounts.models import Account
from jobsvc.api.base import Lists, Reads, Resource, Shape
from jobsvc.api.fields import Nothing
from jobsvc.api.routes import both


def account_identifier(account_id: int) -> str:
    """An account's id as a text, in dbt Cloud's form."""
    return f"act_{account_id}"


class AccountShape(Shape[Account]):
    """An account. Host prefixes are null, for clients put them before this server's name."""

    identifier = serializers.SerializerMethodField()
    plan = Nothing("enterprise")
    locked = Nothing(False)
    lock_reason = Nothing()
    unlocked_at = Nothing()
    pending_cancel = Nothing(False)
    business_critical = Nothing(False)
    static_subdomain = Nothing()
    vanity_subdomain = Nothing()
    developer_seats = Nothing(0)
    read_only_seats = Nothing(0)
    it_seats = Nothing(0)
    queue_limit = Nothing(0)
    pod_memory_request_mebibytes = Nothing(0)
    run_duration_limit_seconds = serializers.SerializerMethodField()
    enterprise_login_slug = Nothing()
    billing_email_address = Nothing()
    starter_repo_url = Nothing()
    git_auth_level = Nothing()
    docs_job_id = Nothing()
    freshness_job_id = Nothing()
    groups = Nothing([])
    account_migration_events = Nothing([])
    agent_credit_locked = Nothing(False)
    analyst_seats = Nothing(0)
    copilot_locked_until = Nothing()
    develop_pod_memory_request_mebibytes = Nothing(0)
    explorer_seats = Nothing(0)
    lock_cause = Nothing()
    run_locked_until = Nothing()
    trial_end_date = Nothing()

    class Meta:
        model = Account
        fields: ClassVar = [
            "id",
            "name",
            "state",
            "identifier",
            "plan",
            "run_slots",
            "locked",
            "lock_reason",
            "unlocked_at",
            "pending_cancel",
            "business_critical",
            "static_subdomain",
            "vanity_subdomain",
            "developer_seats",
            "read_only_seats",
            "it_seats",
            "queue_limit",
            "pod_memory_request_mebibytes",
            "run_duration_limit_seconds",
            "enterprise_login_slug",
            "billing_email_address",
            "starter_repo_url",
            "git_auth_level",
            "docs_job_id",
            "freshness_job_id",
            "groups",
            "account_migration_events",
            "agent_credit_locked",
            "analyst_seats",
            "copilot_locked_until",
            "develop_pod_memory_request_mebibytes",
            "explorer_seats",
            "lock_cause",
            "run_locked_until",
            "trial_end_date",
            "created_at",
            "updated_at",
        ]

    def get_identifier(self, account: Account) -> str:
        return account_identifier(account.pk)

    def get_run_duration_limit_seconds(self, account: Account) -> int:
        return settings.RUN_MAX_SECONDS


class _Accounts(Resource[Account]):
    own = True
    name = "account"
    shape = AccountShape
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Account]:
        return Account.objects.filter(pk=self.account_id)


class Accounts(Lists[Account], _Accounts):
    """The accounts that the token may see: its own."""


class OneAccount(Reads[Account], _Accounts):
    """One of them."""

    def row(self) -> Account:
        return self.account


urlpatterns = [
    *both("accounts", Accounts),
    *both("accounts/<id:account_id>", OneAccount),
]
