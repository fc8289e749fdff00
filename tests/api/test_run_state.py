"""What a run was compared with, and the commands that came of it, as the API shows them."""

from __future__ import annotations

from typing import Any

from accounts.models import Account
from tests.conftest import JSONClient
from tests.factories import RunFactory, RunStepFactory


def extensions(api: JSONClient, account: Account, run: int) -> dict[str, Any]:
    answer = api.get(f"/api/v2/accounts/{account.pk}/runs/{run}/?include_related=extensions")
    found: dict[str, Any] = answer.json()["data"]["extensions"]
    return found


def test_a_run_shows_its_state_and_what_dbt_was_given(api: JSONClient, account: Account) -> None:
    state = RunFactory(job__environment__project__account=account, succeeded=True)
    used = {"sentence": "Deferring.", "manifest_schema_version": 12, "files": ["manifest.json"]}
    run = RunFactory(job=state.job, deferring_run=state, state_used=used)
    RunStepFactory(run=run, index=5, effective_command="dbt test --state ../state --defer")

    shown = extensions(api, account, run.pk)

    assert shown["state"] == {"run_id": state.pk, **used}
    [step] = shown["steps"]
    assert step["effective_command"] == "dbt test --state ../state --defer"


def test_a_run_that_defers_to_nothing_shows_no_state(api: JSONClient, account: Account) -> None:
    run = RunFactory(job__environment__project__account=account)

    assert extensions(api, account, run.pk)["state"] is None
