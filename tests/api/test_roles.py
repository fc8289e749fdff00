"""Which permission set may do what at which address: the whole table, each cell tried."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import Account
from accounts.roles import ALLOWED, Action, PermissionSet
from tests.api.addresses import addresses
from tests.conftest import client_with
from tests.factories import JobFactory, token_of

A2, A3 = "api/v2/accounts/<id:account_id>", "api/v3/accounts/<id:account_id>"
P3 = f"{A3}/projects/<id:project_id>"
PK, TEXT = "<id:pk>", "<text:pk>"
HOOK = f"{P3}/repositories/<id:repository_id>/webhook"

# What anything but reading needs at each address; None is an address that can only be read.
WRITES: dict[str, Action | None] = {
    "api/v2/accounts": None,
    "api/v2/whoami": None,
    A2: None,
    f"{A2}/users/{PK}": None,
    f"{A2}/projects": None,
    f"{A2}/projects/{PK}": None,
    f"{A2}/repositories": None,
    f"{A2}/repositories/{PK}": None,
    f"{A2}/environments": None,
    f"{A2}/environments/{PK}": None,
    f"{A2}/jobs": Action.WRITE_JOBS,
    f"{A2}/jobs/{PK}": Action.WRITE_JOBS,
    f"{A2}/jobs/{PK}/run": Action.RUN,
    f"{A2}/jobs/{PK}/rerun": Action.RUN,
    f"{A2}/jobs/{PK}/extensions": Action.WRITE_JOBS,
    f"{A2}/jobs/{PK}/reactivate": Action.WRITE_JOBS,
    f"{A2}/jobs/{PK}/pause": Action.WRITE_JOBS,
    f"{A2}/jobs/{PK}/resume": Action.WRITE_JOBS,
    f"{A2}/jobs/{PK}/schedule": None,
    f"{A2}/schedules": None,
    f"{A2}/runs/{PK}/extensions": None,
    f"{A2}/jobs/{PK}/artifacts/<path:path>": None,
    f"{A2}/jobs/validate": Action.WRITE_JOBS,
    f"{A2}/jobs/{PK}/validate": Action.WRITE_JOBS,
    f"{A2}/runs": None,
    f"{A2}/runs/{PK}": None,
    f"{A2}/runs/{PK}/cancel": Action.RUN,
    f"{A2}/runs/{PK}/retry": Action.RUN,
    f"{A2}/runs/{PK}/report": Action.RUN,
    f"{A2}/runs/{PK}/artifacts": None,
    f"{A2}/runs/{PK}/artifacts/<path:path>": None,
    f"{A2}/steps/{PK}": None,
    f"{A2}/notifications": Action.READ,
    f"{A2}/notifications/{PK}": Action.READ,
    f"{A2}/notifications/{PK}/test": Action.READ,
    f"{A2}/notifications/{PK}/deliveries": None,
    f"{A2}/notifications/deliveries": None,
    f"{A2}/notifications/mutes": None,
    f"{A2}/notifications/mutes/{PK}": Action.READ,
    "api/v2/notifications/unsubscribe": Action.READ,
    "api/v3/accounts": None,
    A3: None,
    f"{A3}/users": None,
    f"{A3}/audit-logs": None,
    f"{A3}/projects": Action.WRITE_SETTINGS,
    f"{A3}/projects/{PK}": Action.WRITE_SETTINGS,
    f"{A3}/dbt-versions": Action.WRITE_SETTINGS,
    f"{A3}/environments": None,
    f"{A3}/environments/{PK}": Action.WRITE_SETTINGS,
    f"{A3}/connections": Action.WRITE_SETTINGS,
    f"{A3}/connections/test": Action.WRITE_SETTINGS,
    f"{A3}/connections/{PK}": Action.WRITE_SETTINGS,
    f"{P3}/ci-schemas": None,
    f"{P3}/ci-schemas/drop": Action.WRITE_JOBS,
    f"{P3}/environments": Action.WRITE_SETTINGS,
    f"{P3}/environments/{PK}": Action.WRITE_SETTINGS,
    f"{P3}/environment-variables": Action.WRITE_JOBS,
    f"{P3}/environment-variables/environment": None,
    f"{P3}/environment-variables/job": None,
    f"{P3}/environment-variables/user": None,
    f"{P3}/environment-variables/bulk": Action.WRITE_JOBS,
    f"{P3}/environment-variables/{PK}": Action.WRITE_JOBS,
    f"{P3}/connections": Action.WRITE_SETTINGS,
    f"{P3}/connections/{PK}": Action.WRITE_SETTINGS,
    f"{P3}/credentials": Action.WRITE_SETTINGS,
    f"{P3}/credentials/{PK}": Action.WRITE_SETTINGS,
    f"{P3}/repositories": Action.WRITE_SETTINGS,
    f"{P3}/repositories/{PK}": Action.WRITE_SETTINGS,
    HOOK: Action.WRITE_SETTINGS,
    f"{HOOK}/deliveries": None,
    f"{HOOK}/deliveries/{PK}": None,
    f"{HOOK}/deliveries/{PK}/redeliver": Action.WRITE_SETTINGS,
    f"{P3}/pull-requests": None,
    f"{P3}/pull-requests/<id:number>": None,
    f"{P3}/pull-requests/<id:number>/approve": Action.WRITE_JOBS,
    f"{P3}/pull-requests/<id:number>/rerun": Action.RUN,
    f"{P3}/extended-attributes": Action.WRITE_SETTINGS,
    f"{P3}/extended-attributes/{PK}": Action.WRITE_SETTINGS,
    f"{A3}/service-tokens": Action.WRITE_ACCOUNT,
    f"{A3}/service-tokens/{PK}": Action.WRITE_ACCOUNT,
    f"{A3}/service-tokens/{PK}/permissions": Action.WRITE_ACCOUNT,
    f"{A3}/groups": Action.WRITE_ACCOUNT,
    f"{A3}/groups/{PK}": Action.WRITE_ACCOUNT,
    f"{A3}/group-permissions/{PK}": Action.WRITE_ACCOUNT,
    f"{P3}/group-permissions": Action.WRITE_ACCOUNT,
    f"{A3}/assign-groups": Action.WRITE_ACCOUNT,
    f"{A3}/webhooks/subscriptions": Action.WRITE_ACCOUNT,
    f"{A3}/webhooks/subscription/{TEXT}": Action.WRITE_ACCOUNT,
    f"{A3}/webhooks/subscription/{TEXT}/test": None,
    f"{A3}/webhooks/subscription/{TEXT}/deliveries": None,
    f"{A3}/webhooks/delivery/{PK}": None,
    f"{A3}/webhooks/delivery/{PK}/replay": Action.WRITE_ACCOUNT,
}
# What reading needs more than ``Action.READ`` for.
READS = {f"{A3}/audit-logs": Action.WRITE_ACCOUNT}
ONE_FORM = [address for address in addresses() if not address.route.endswith("/")]


def test_the_table_names_every_address() -> None:
    assert {address.route for address in ONE_FORM} == set(WRITES)


def test_what_can_only_be_read_has_no_other_method() -> None:
    readable = [one for one in ONE_FORM if WRITES[one.route] is None]

    assert {one.methods for one in readable} == {("get",)}


@pytest.mark.parametrize("permission_set", PermissionSet)
def test_a_permission_set_opens_what_it_allows(
    permission_set: PermissionSet, account: Account
) -> None:
    client = client_with(token_of(account, permission_set))
    nothing: dict[str, object] = {"account_id": account.pk, "path": "manifest.json"}
    nothing |= dict.fromkeys(["project_id", "repository_id", "pk", "number"], 9999)

    wrong = []
    for address in ONE_FORM:
        for method in address.methods:
            reads = READS.get(address.route, Action.READ)
            needed = reads if method == "get" else WRITES[address.route]
            refused = getattr(client, method)(address.filled(nothing)).status_code == 403
            if refused == (needed in ALLOWED[permission_set]):
                wrong.append((method, address.route))

    assert wrong == []


def test_a_refusal_says_what_is_missing(account: Account) -> None:
    viewer = client_with(token_of(account, PermissionSet.JOB_VIEWER))

    response = viewer.post(f"/api/v2/accounts/{account.pk}/jobs/1/run/", {"cause": "x"})

    assert response.status_code == 403
    assert "start and cancel runs" in response.json()["status"]["user_message"]


def test_variables_of_a_production_run_are_for_who_may_change_jobs(
    client_of: Callable[..., Client],
) -> None:
    job = JobFactory(environment__deployment_type="production")
    address = f"/api/v2/accounts/{job.account_id}/jobs/{job.pk}/run/"
    body = {"cause": "x", "extensions": {"variables": {"DBT_REGION": "eu"}}}
    runner = client_of(job.account, "job_runner")

    refused = runner.post(address, body)

    assert refused.status_code == 403
    assert "for who may change jobs there" in refused.json()["status"]["user_message"]
    assert runner.post(address, {"cause": "x"}).status_code == 200
    assert client_of(job.account, "job_admin").post(address, body).status_code == 200
