"""Retry and rerun over the wire, and what a run tells of its attempts."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Account
from jobsvc.engine.plan import StepKind
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, configuration_of
from jobsvc.statuses import CauseCategory, RunStatus
from tests.conftest import JSONClient
from tests.factories import (
    ArtifactFactory,
    EnvironmentFactory,
    JobFactory,
    RunFactory,
    RunStepFactory,
)

BY_API = Trigger(cause="x", cause_category=CauseCategory.API)


@pytest.fixture
def job(account: Account) -> Job:
    environment = EnvironmentFactory(project__account=account)
    return JobFactory(environment=environment, execute_steps=["dbt build", "dbt test"])


@pytest.fixture
def failed(job: Job) -> Run:
    """A run whose first command failed and left results."""
    run = RunFactory(job=job, failed=True, dbt_version="1.11.16", git_sha="5c1d" * 10)
    Run.objects.filter(pk=run.pk).update(configuration=configuration_of(job, BY_API))
    kinds = (StepKind.CLONE, StepKind.PROFILE, StepKind.DEPS)
    for index, kind in enumerate(kinds, start=1):
        RunStepFactory(run=run, index=index, kind=kind.value, status=RunStatus.SUCCESS, name=kind)
    build = RunStepFactory(run=run, index=4, status=RunStatus.ERROR, exit_code=1)
    ArtifactFactory(step=build, path="run_results.json")
    RunStepFactory(run=run, index=5, command="dbt test", status=RunStatus.CANCELLED, skipped=True)
    return run


@pytest.fixture
def place(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}"


@pytest.fixture
def retry(place: str, failed: Run) -> str:
    return f"{place}/runs/{failed.pk}/retry/"


def test_a_failed_run_says_that_it_can_be_retried(api: JSONClient, place: str, failed: Run) -> None:
    run = api.get(f"{place}/runs/{failed.pk}/").json()["data"]

    assert (run["can_retry"], run["retry_not_supported_reason"]) == (True, None)


def test_a_run_that_cannot_be_retried_says_why(api: JSONClient, place: str, failed: Run) -> None:
    RunFactory(job=failed.job, succeeded=True)

    newest, older = api.get(f"{place}/runs/?order_by=-id").json()["data"]

    assert (newest["can_retry"], newest["retry_not_supported_reason"]) == (
        False,
        "RETRY_NOT_FAILED_RUN",
    )
    assert (older["can_retry"], older["retry_not_supported_reason"]) == (
        False,
        "RETRY_NOT_LATEST_RUN",
    )


def test_a_retry_answers_with_the_new_run(api: JSONClient, retry: str, failed: Run) -> None:
    response = api.post(retry)

    assert response.status_code == 200
    new = response.json()["data"]
    assert new["id"] != failed.pk
    assert new["retrying_run_id"] == failed.pk
    assert new["trigger"]["cause_category"] == "rerun"
    assert new["job"]["id"] == failed.job_id


@pytest.mark.parametrize("body", [None, {}, {"extensions": None}, {"extensions": {}}])
def test_a_retry_needs_no_body(api: JSONClient, retry: str, body: Any) -> None:
    assert api.post(retry, body).status_code == 200


def test_a_retry_runs_the_same_commit_where_asked_to(api: JSONClient, retry: str) -> None:
    new = api.post(retry, {"extensions": {"git": "same"}}).json()["data"]

    assert Run.objects.get(pk=new["id"]).configuration["git_sha"] == "5c1d" * 10


def test_a_refusal_says_why_in_words(api: JSONClient, retry: str, failed: Run) -> None:
    RunFactory(job=failed.job, succeeded=True)

    response = api.post(retry)

    assert response.status_code == 409
    status = response.json()["status"]
    assert status["user_message"] == (
        "This is not the latest run of its job. Send extensions.force true to retry it all the "
        "same, or run the job anew. (RETRY_NOT_LATEST_RUN)"
    )


def test_by_force_an_older_run_is_retried(api: JSONClient, retry: str, failed: Run) -> None:
    RunFactory(job=failed.job, succeeded=True)

    assert api.post(retry, {"extensions": {"force": True}}).status_code == 200


@pytest.mark.parametrize("extensions", [{"git": "older"}, {"force": "perhaps"}, "same"])
def test_a_retry_that_asks_for_nonsense_is_refused(
    api: JSONClient, retry: str, extensions: Any
) -> None:
    assert api.post(retry, {"extensions": extensions}).status_code == 400


def test_a_retry_can_be_looked_at_before(api: JSONClient, retry: str) -> None:
    assert api.get(retry).json()["data"] == {
        "failed_step": "Invoke dbt with `dbt build`",
        "skipped_steps": ["Invoke dbt with `dbt test`"],
    }
    assert Run.objects.count() == 1


def test_another_accounts_run_does_not_exist(client_of: Any, retry: str) -> None:
    theirs = RunFactory()
    account = theirs.account

    response = client_of(account).post(f"/api/v2/accounts/{account.pk}/runs/999/retry/")

    assert response.status_code == 404


def test_a_rerun_goes_on_where_the_latest_run_failed(
    api: JSONClient, place: str, failed: Run
) -> None:
    response = api.post(f"{place}/jobs/{failed.job_id}/rerun/")

    assert response.status_code == 200
    assert response.json()["data"]["retrying_run_id"] == failed.pk


def test_a_rerun_of_a_job_that_did_not_fail_is_an_ordinary_run(
    api: JSONClient, place: str, job: Job
) -> None:
    new = api.post(f"{place}/jobs/{job.pk}/rerun/").json()["data"]

    assert new["retrying_run_id"] is None
    assert new["trigger"]["cause_category"] == "rerun"


def test_a_run_tells_of_its_steps_attempts_and_policies(
    api: JSONClient, place: str, failed: Run
) -> None:
    attempts = [{"number": 1, "failure_class": "dbt_error"}]
    failed.steps.filter(index=4).update(
        label="Nightly build", on_failure="continue", attempts=attempts, message="1 node failed"
    )

    extensions = api.get(f"{place}/runs/{failed.pk}/extensions/").json()["data"]

    assert extensions["steps"][3] == {
        "index": 4,
        "name": "Nightly build",
        "on_failure": "continue",
        "effective_command": "dbt build",
        "exit_code": 1,
        "message": "1 node failed",
        "attempts": attempts,
    }
    assert extensions["retry"] == {
        "can_be_forced": True,
        "attempt_number": 1,
        "will_retry_at": None,
    }
    assert extensions["has_warnings"] is False
