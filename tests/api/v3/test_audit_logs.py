"""The audit log over the API, in dbt Cloud's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client
from rest_framework.test import APIClient

from accounts.audit import AuditEvent
from accounts.models import Account
from tests.conftest import client_with
from tests.factories import AccountFactory, JobFactory, MembershipFactory, token_of


def address(account: Account, **asked: str) -> str:
    query = "&".join(f"{name}={text}" for name, text in asked.items())
    return f"/api/v3/accounts/{account.pk}/audit-logs/?{query}"


def test_an_event_has_dbt_clouds_fields(api: APIClient, account: Account) -> None:
    JobFactory(environment__project__account=account, name="Nightly")

    rows = api.get(address(account, event_type="job_definition.added")).json()["data"]

    (event,) = rows
    assert event["event_label"] == "job definition added"
    assert event["account_id"] == account.pk
    assert event["actor"] == {"id": None, "type": "system", "name": "", "ip": ""}
    assert event["event_context"]["target_name"] == "Nightly"
    assert event["event_context"]["differences"]["name"][1] == "Nightly"


def test_events_come_newest_first_within_the_times_that_are_asked_for(
    api: APIClient, account: Account
) -> None:
    JobFactory(environment__project__account=account)

    found = api.get(address(account, logged_at_start="2000-01-01T00:00:00Z", limit="2")).json()
    late = api.get(address(account, logged_at_start="9999-01-01T00:00:00Z")).json()
    wrong = api.get(address(account, logged_at_end="yesterday")).json()

    ids = [event["id"] for event in found["data"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 2
    assert found["extra"]["pagination"]["total_count"] > 2
    assert late["data"] == wrong["data"] == []


def test_other_accounts_events_are_not_in_it(api: APIClient, account: Account) -> None:
    other = AccountFactory(name="Another")

    names = {
        row["event_context"]["target_name"] for row in api.get(address(account)).json()["data"]
    }

    assert "Another" not in names
    assert api.get(address(other)).status_code == 404


def test_only_who_manages_the_account_reads_it(
    client_of: Callable[..., APIClient], account: Account
) -> None:
    answer = client_of(account, "admin").get(address(account))

    assert answer.status_code == 403
    assert "may not read the audit log" in answer.json()["status"]["user_message"]


def test_what_is_done_by_a_token_names_it_and_its_owner(db: None) -> None:
    member = MembershipFactory(user__email="ana@example.com")
    job = JobFactory(environment__project__account=member.account)
    client = client_with(token_of(member.account, user=member.user))

    started = client.post(f"/api/v2/accounts/{job.account_id}/jobs/{job.pk}/run/", {"cause": "x"})

    event = AuditEvent.objects.get(action="run.started")
    assert (event.actor_kind, event.source) == ("token", "api")
    assert event.actor_name.startswith("test (jsu_")
    assert event.actor_name.endswith("of ana@example.com")
    assert event.request_id == started["X-Request-ID"]
    assert event.target_id == str(started.json()["data"]["id"])


def test_a_run_that_is_cancelled_and_who_did_it_is_told(api: APIClient, account: Account) -> None:
    job = JobFactory(environment__project__account=account)
    run = api.post(f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/run/", {"cause": "x"}).json()
    run_id = run["data"]["id"]

    api.post(f"/api/v2/accounts/{account.pk}/runs/{run_id}/cancel/")

    event = AuditEvent.objects.get(action="run.cancelled")
    assert (event.target_id, event.actor_kind) == (str(run_id), "token")


def test_a_token_is_forgotten_with_its_request(
    api: APIClient, account: Account, client: Client
) -> None:
    api.get(address(account))
    client.post("/accounts/login/", {"login": "nobody@example.com", "password": "x"})

    assert AuditEvent.objects.get(action="login.failed").actor_kind == "visitor"


def test_a_secret_of_a_run_is_not_told(api: APIClient, account: Account) -> None:
    job = JobFactory(environment__project__account=account)
    body: dict[str, Any] = {
        "cause": "x",
        "extensions": {"variables": {"DBT_ENV_SECRET_KEY": "kept-from-every-log"}},
    }

    assert api.post(f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/run/", body).status_code == 200

    told = AuditEvent.objects.get(action="run.started").differences
    assert told["variables_override"] == [None, "given"]
    assert "kept-from-every-log" not in str(list(AuditEvent.objects.values()))
