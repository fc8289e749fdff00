"""Advice on jobs over the wire, with what runs and their manifests tell of them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import storages
from django.utils.timezone import now

from accounts.models import Account
from accounts.roles import PermissionSet
from environments.models import Environment
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.runs import advice
from tests.conftest import JSONClient, client_with
from tests.factories import (
    ArtifactFactory,
    CompletionTriggerFactory,
    EnvironmentFactory,
    JobFactory,
    RunFactory,
    RunStepFactory,
    token_of,
)

MODEL = {
    "resource_type": "model",
    "name": "orders",
    "package_name": "shop",
    "fqn": ["shop", "orders"],
    "original_file_path": "models/orders.sql",
    "tags": ["nightly"],
}
MANIFEST = {
    "metadata": {"project_name": "shop", "adapter_type": "duckdb"},
    "nodes": {"model.shop.orders": MODEL},
    "macros": {},
}


@pytest.fixture
def environment(account: Account) -> Environment:
    return EnvironmentFactory(project__account=account, deployment_type="production")


@pytest.fixture
def jobs(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}/jobs/"


def body(environment: Environment, *steps: str, **more: Any) -> dict[str, Any]:
    return {
        "project_id": environment.project_id,
        "environment_id": environment.pk,
        "name": "a job",
        "execute_steps": list(steps),
        **more,
    }


def codes(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [finding["code"] for finding in response.json()["data"]]


def left_a_manifest(job: Job, manifest: bytes = json.dumps(MANIFEST).encode()) -> None:
    """Let a run of ``job`` have succeeded that left ``manifest``."""
    run = RunFactory(job=job, succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run, builds=True), content=manifest)


def took(job: Job, *minutes: int) -> None:
    """Let runs of ``job`` have succeeded that took as long."""
    for length in minutes:
        end = now()
        start = end - timedelta(minutes=length)
        RunFactory(job=job, succeeded=True, started_at=start, finished_at=end)


# --- The addresses -----------------------------------------------------------------------


def test_a_finding_has_a_code_a_place_a_sentence_and_a_fix(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment, execute_steps=["dbt deps", "dbt run -t prod"])

    answer = api.post(f"{jobs}{job.pk}/validate/").json()

    assert answer["data"] == [
        {
            "code": "wrong_target",
            "severity": "error",
            "field": "execute_steps",
            "step": 2,
            "message": "A run has one target, here `default`, so that `--target prod` fails.",
            "fix": "Take `--target prod` out, or set settings.target_name to prod.",
        }
    ]
    assert answer["status"]["is_success"]


def test_of_a_good_job_there_is_nothing_to_say(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)

    assert api.post(f"{jobs}{job.pk}/validate").json()["data"] == []


def test_whoever_may_read_a_job_may_read_the_advice_on_it(
    account: Account, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment, execute_steps=["dbt test", "dbt run"])
    viewer = client_with(token_of(account, PermissionSet.JOB_VIEWER))

    assert codes(viewer.get(f"{jobs}{job.pk}/validate/")) == ["test_before_build"]


def test_a_change_is_judged_and_not_made(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    before = api.get(f"{jobs}{job.pk}/").json()["data"]

    response = api.post(f"{jobs}{job.pk}/validate/", {"execute_steps": ["dbt build -t prod"]})

    assert codes(response) == ["wrong_target"]
    assert api.get(f"{jobs}{job.pk}/").json()["data"] == before


def test_a_job_is_judged_before_there_is_one(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    upstream = JobFactory(environment=environment)
    condition = {"condition": {"job_id": upstream.pk, "statuses": [10]}}
    posted = body(
        environment,
        "dbt build",
        triggers={"schedule": True},
        schedule={"cron": "0 6 1 * 1"},
        job_completion_trigger_condition=condition,
    )

    assert codes(api.post(f"{jobs}validate/", posted)) == ["several_purposes", "either_day"]
    assert list(Job.objects.all()) == [upstream]
    assert not CompletionTrigger.objects.exists()


@pytest.mark.parametrize("address", ["validate/", "{job}/validate/"])
def test_what_would_not_be_saved_is_refused_in_the_same_words(
    address: str, api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    bad = body(environment, "dbt build; rm -rf /")

    refused = api.post(f"{jobs}{address.format(job=job.pk)}", bad)

    assert refused.status_code == 400
    assert refused.json() == api.post(jobs, bad).json()


# --- Saving ------------------------------------------------------------------------------


def test_saving_says_the_same_beside_the_job_and_not_in_it(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    bad = body(environment, "dbt test", "dbt run -t prod")
    good = body(environment, "dbt build")

    warned, content = api.post(jobs, bad).json(), api.post(jobs, good).json()

    assert set(warned["data"]) == set(content["data"])
    assert warned["status"]["user_message"] == content["status"]["user_message"] == "Success!"
    assert content["status"]["developer_message"] == ""
    first, second = warned["status"]["developer_message"].splitlines()
    assert first.startswith("error wrong_target, step 2: A run has one target")
    assert second.startswith("warning test_before_build, step 1: `dbt test` tests")


def test_changing_a_job_says_so_too_and_deleting_it_says_nothing(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment, execute_steps=["dbt run -t prod"])

    changed = api.post(f"{jobs}{job.pk}/", {"name": "renamed"}).json()["status"]
    deleted = api.post(f"{jobs}{job.pk}/", {"state": 2}).json()["status"]

    assert "wrong_target" in changed["developer_message"]
    assert deleted["developer_message"] == ""


def test_a_job_is_saved_also_where_no_advice_can_be_had(
    api: JSONClient, jobs: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_order(*arguments: Any) -> None:
        raise RuntimeError("the storage is away")

    left_a_manifest(JobFactory(environment=environment))
    monkeypatch.setattr(storages["artifacts"].__class__, "open", out_of_order)

    response = api.post(jobs, body(environment, "dbt run -t prod"))

    assert response.status_code == 201
    assert response.json()["status"]["developer_message"] == ""


# --- What runs tell ----------------------------------------------------------------------


def test_a_selector_is_judged_by_the_newest_manifest_of_the_environment(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    nightly = JobFactory(environment=environment)
    left_a_manifest(nightly, b"{}")
    left_a_manifest(nightly)
    job = JobFactory(
        environment=environment, execute_steps=["dbt run -s tag:nightly", "dbt run -s tag:daily"]
    )

    (finding,) = api.post(f"{jobs}{job.pk}/validate/").json()["data"]

    assert (finding["code"], finding["step"]) == ("selects_nothing", 2)
    assert "by the manifest of run " in finding["message"]


def test_a_ci_job_is_judged_by_what_it_defers_to(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    left_a_manifest(JobFactory(environment=environment))
    ci = JobFactory(
        ci=True,
        environment=EnvironmentFactory(project=environment.project),
        deferring_environment=environment,
        execute_steps=["dbt build -s state:modified+", "dbt test -s tag:daily"],
        timeout_seconds=1800,
    )

    assert codes(api.post(f"{jobs}{ci.pk}/validate/")) == ["selects_nothing"]


def test_what_a_pull_request_built_speaks_for_no_other_job(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    left_a_manifest(JobFactory(ci=True, environment=environment))
    job = JobFactory(environment=environment, execute_steps=["dbt run -s tag:daily"])

    assert codes(api.post(f"{jobs}{job.pk}/validate/")) == []


@pytest.mark.parametrize("manifest", [b"no manifest", b"{}", b'{"nodes": []}'])
def test_a_manifest_that_cannot_be_read_tells_nothing(
    manifest: bytes, api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment, execute_steps=["dbt run -s tag:daily"])
    left_a_manifest(job, manifest)

    assert codes(api.post(f"{jobs}{job.pk}/validate/")) == []


def test_a_manifest_that_would_take_too_long_is_not_read(
    api: JSONClient, jobs: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobFactory(environment=environment, execute_steps=["dbt run -s tag:daily"])
    left_a_manifest(job)
    asked = f"{jobs}{job.pk}/validate/"
    known = codes(api.post(asked))

    monkeypatch.setattr(advice, "LARGEST_MANIFEST", 100)

    assert (known, codes(api.post(asked))) == (["selects_nothing"], [])


def test_state_that_is_not_there_yet_is_told_until_it_is(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    production = JobFactory(environment=environment)
    ci = JobFactory(
        ci=True,
        environment=environment,
        deferring_job=production,
        execute_steps=["dbt build -s state:modified+"],
        timeout_seconds=1800,
    )
    asked = f"{jobs}{ci.pk}/validate/"
    before = codes(api.post(asked))

    left_a_manifest(production)

    assert (before, codes(api.post(asked))) == (["no_state_yet"], [])


def test_a_schedule_is_compared_with_what_runs_usually_take(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(scheduled=True, environment=environment, cron="*/30 * * * *")
    asked = f"{jobs}{job.pk}/validate/"
    took(job, 40, 40, 40, 40)
    of_four = codes(api.post(asked))
    took(job, 40)

    (finding,) = api.post(asked).json()["data"]

    assert of_four == []
    assert finding["code"] == "schedule_shorter_than_run"
    assert "every 30 minutes" in finding["message"]
    assert "longer than 40 minutes" in finding["message"]


def test_one_slow_run_in_twenty_is_not_what_is_usual(account: Account) -> None:
    job = JobFactory(environment__project__account=account)
    took(job, 300, *[10] * 19)

    assert advice.usual_seconds(job) == 600


def test_only_the_latest_successes_say_what_is_usual(account: Account) -> None:
    job = JobFactory(environment__project__account=account)
    took(job, *[60] * 5, *[10] * 20)
    RunFactory.create_batch(5, job=job, failed=True)

    assert advice.usual_seconds(job) == 600


def test_a_job_that_follows_a_deleted_one_only_has_one_purpose(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(scheduled=True, environment=environment)
    upstream = CompletionTriggerFactory(job=job).upstream
    asked = f"{jobs}{job.pk}/validate/"
    before = codes(api.post(asked))

    api.delete(f"{jobs}{upstream.pk}/")

    assert (before, codes(api.post(asked))) == (["several_purposes"], [])
