"""Environment variables of one run alone, in the call that triggers it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from accounts.models import Account
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from tests.conftest import JSONClient
from tests.factories import JobFactory


@pytest.fixture
def job(account: Account) -> Job:
    return JobFactory(environment__project__account=account)


@pytest.fixture
def trigger(account: Account, job: Job) -> str:
    return f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/run/"


def run_with(api: JSONClient, trigger: str, variables: Any) -> dict[str, Any]:
    answer = api.post(trigger, {"extensions": {"variables": variables}})
    assert answer.status_code == 200, answer.content
    run: dict[str, Any] = answer.json()["data"]
    return run


def test_they_are_shown_where_asked_for_and_secrets_are_masked(
    api: JSONClient, account: Account, trigger: str
) -> None:
    run = run_with(api, trigger, {"DBT_DAY": "2026-11-21", "DBT_N": 3, "DBT_ENV_SECRET_X": "hush"})

    shown = api.get(f"/api/v2/accounts/{account.pk}/runs/{run['id']}/?include_related=extensions")

    assert shown.json()["data"]["extensions"]["variables"] == {
        "DBT_DAY": "2026-11-21",
        "DBT_N": "3",
        "DBT_ENV_SECRET_X": "**********",
    }


def test_dbts_clients_see_nothing_of_them(api: JSONClient, trigger: str) -> None:
    assert "DBT_DAY" not in str(run_with(api, trigger, {"DBT_DAY": "2026-11-21"}))


def test_they_are_encrypted_at_rest(api: JSONClient, trigger: str) -> None:
    run = run_with(api, trigger, {"DBT_DAY": "2026-11-21"})

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM runs_runtrigger WHERE run_id = %s", [run["id"]])
        assert "2026-11-21" not in str(cursor.fetchone())
    kept = Run.objects.get(pk=run["id"]).trigger.variables_override
    assert kept["DBT_DAY"] == "2026-11-21"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PATH": "/tmp"}, "variables.PATH"),
        ({"DBT_CLOUD_RUN_ID": "1"}, "variables.DBT_CLOUD_RUN_ID"),
        ({"DBT_TARGET_PATH": "/tmp"}, "variables.DBT_TARGET_PATH"),
        ({"dbt_day": "x"}, "upper-case letters"),
        ({"DBT_DAY": ["x"]}, "variables.DBT_DAY: The value of a variable is text"),
        ({"DBT_DAY": "a\x00b"}, "NUL character"),
        ({"DBT_TARGET_SCHEMA": 'x"; drop'}, "cannot be a schema"),
        ({"DBT_ENV_SECRET_X": "**********"}, "mask of a secret"),
        ("DBT_DAY=x", "extensions"),
    ],
)
def test_a_variable_that_cannot_be_starts_no_run(
    variables: Any, said: str, api: JSONClient, trigger: str
) -> None:
    answer = api.post(trigger, {"extensions": {"variables": variables}})

    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert not Run.objects.exists()


def test_an_extension_that_is_not_known_starts_no_run(api: JSONClient, trigger: str) -> None:
    answer = api.post(trigger, {"extensions": {"variable": {}}})

    assert answer.status_code == 400
    assert "extensions has no 'variable'. It may hold: variables." in answer.content.decode()


def test_a_retry_of_the_run_has_them_too(api: JSONClient, account: Account, trigger: str) -> None:
    run = run_with(api, trigger, {"DBT_DAY": "2026-11-21", "DBT_ENV_SECRET_X": "hush"})
    Run.objects.filter(pk=run["id"]).update(status=20, finished_at=run["created_at"])

    answer = api.post(
        f"/api/v2/accounts/{account.pk}/runs/{run['id']}/retry/", {"extensions": {"force": True}}
    )

    assert answer.status_code == 200, answer.content
    retried = Run.objects.get(pk=answer.json()["data"]["id"])
    assert dict(retried.trigger.variables_override) == {
        "DBT_DAY": "2026-11-21",
        "DBT_ENV_SECRET_X": "hush",
    }
