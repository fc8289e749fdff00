"""A job's life through the whole service: real processes, real dbt, real warehouses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import requests

from tests.e2e.stack import (
    Place,
    Stack,
    Warehouse,
    duckdb_warehouse,
    postgres_warehouse,
    queries_running,
    wait_until,
)
from tests.installation import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e life"),  # one service is enough
]

SAMPLE_CLIENT = ROOT / "tests" / "clients" / "sample_client.py"
OWN_STEPS = ["Clone git repository", "Create profile from connection", "Invoke dbt with `dbt deps`"]
FAILING_TEST = "select 1 as wrong"
LONG_MODEL = "select 1 as id from (select pg_sleep(120)) as nap"
PlaceMaker = Callable[..., Place]


def run_sample_client(service: Stack, place: Place) -> str:
    done = subprocess.run(
        [sys.executable, str(SAMPLE_CLIENT)],
        env={
            "PATH": os.environ["PATH"],
            "DBT_CLOUD_API_TOKEN": service.token,
            "DBT_CLOUD_ACCOUNT_ID": str(service.account),
            "DBT_CLOUD_BASE_URL": f"{service.url}/api/v2",
            "DBT_CLOUD_PROJECT_ID": str(place.project),
            "DBT_CLOUD_ENVIRONMENT_ID": str(place.environment),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_sample_client_creates_a_job_and_its_run_succeeds(
    service: Stack, make_place: PlaceMaker, warehouse: Warehouse
) -> None:
    printed = run_sample_client(service, make_place(warehouse))

    assert "Job created successfully. Job ID: " in printed
    assert "Job triggered. Run ID: " in printed
    run = service.ended(int(printed.rsplit(" ", 1)[1]))
    assert run["status_humanized"] == "Success", run["status_message"]
    assert [step["status_humanized"] for step in run["run_steps"]] == ["Success"] * 7
    names = [step["name"] for step in run["run_steps"]]
    assert names[0] == OWN_STEPS[0]
    assert names[1].startswith(OWN_STEPS[1])
    assert names[2:] == [
        f"Invoke dbt with `{command}`"
        for command in ("dbt deps", "dbt deps", "dbt seed", "dbt run", "dbt test")
    ]
    for index, which in ((5, "seed"), (6, "run"), (7, "test")):
        results = service.artifact(run["id"], "run_results.json", step=index).json()
        assert results["args"]["which"] == which
        assert results["metadata"]["env"]["DBT_CLOUD_RUN_ID"] == str(run["id"])
        assert service.artifact(run["id"], "manifest.json", step=index).json()["nodes"]


def test_a_failing_step_ends_the_run_and_the_next_is_listed_as_skipped(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse(), **{"tests/never_right.sql": FAILING_TEST})
    job = service.job(place, ["dbt test --select never_right", "dbt run"])

    run = service.ended(service.trigger(job))

    assert run["status_humanized"] == "Error"
    assert [step["status_humanized"] for step in run["run_steps"][3:]] == ["Error", "Skipped"]
    assert "never_right" in run["status_message"]


def test_docs_after_a_build_leave_the_builds_results_to_the_run(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse())
    job = service.job(place, ["dbt build"], generate_docs=True)

    run = service.ended(service.trigger(job))

    assert run["is_success"], run["status_message"]
    assert run["has_docs_generated"]
    assert service.artifact(run["id"], "run_results.json").json()["args"]["which"] == "build"
    docs = service.artifact(run["id"], "run_results.json", step=5).json()
    assert docs["args"]["which"] == "generate"
    assert service.artifact(run["id"], "catalog.json").json()["nodes"]


def test_docs_asked_for_after_a_failed_build_do_not_hide_its_results(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse(), **{"tests/never_right.sql": FAILING_TEST})
    job = service.job(place, ["dbt build"], generate_docs=True)

    run = service.ended(service.trigger(job))

    assert run["status_humanized"] == "Error"
    results = service.artifact(run["id"], "run_results.json").json()
    assert results["args"]["which"] == "build"
    assert "fail" in {node["status"] for node in results["results"]}


def test_cancelling_a_long_model_ends_everything_and_keeps_what_was_built(
    service: Stack, make_place: PlaceMaker
) -> None:
    with postgres_warehouse() as (warehouse, address):
        place = make_place(warehouse, **{"models/marts/nap.sql": LONG_MODEL})
        job = service.job(place, ["dbt seed", "dbt run"])
        run = service.trigger(job, threads_override=2)
        wait_until(
            "the warehouse works on the long model",
            lambda: any("pg_sleep" in query for query in queries_running(address)),
            120,
        )
        wait_until("another model is built", lambda: built(service, run), 60)
        assert service.processes_of_runs()

        assert service.post(f"v2/runs/{run}/cancel/")["id"] == run
        ended = service.ended(run, seconds=15)

        assert ended["status_humanized"] == "Cancelled"
        assert service.processes_of_runs() == []
        assert queries_running(address) == []
    results = service.artifact(run, "run_results.json").json()["results"]
    assert "success" in {node["status"] for node in results}


def built(service: Stack, run: int) -> bool:
    return "OK created" in (service.run(run)["run_steps"][4]["logs"] or "")


def test_a_cancelled_run_that_waits_is_cancelled_at_once(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse())
    job = service.job(place, ["dbt build"])
    first, second = service.trigger(job), service.trigger(job)

    assert service.post(f"v2/runs/{second}/cancel/")["status"] == 30
    assert service.ended(first)["is_success"]


def test_a_killed_worker_ends_its_run_and_the_job_can_run_again(
    service: Stack, make_place: PlaceMaker
) -> None:
    with postgres_warehouse() as (warehouse, address):
        place = make_place(warehouse, **{"models/marts/nap.sql": LONG_MODEL})
        job = service.job(place, ["dbt run --select nap"])
        run = service.trigger(job)
        wait_until("the long model runs", lambda: queries_running(address), 120)
        assert service.processes_of_runs()

        service.kill_worker()

        wait_until("nothing of the run is left", lambda: not service.processes_of_runs(), 30)
        ended = service.ended(run, seconds=60)
        assert ended["status_humanized"] == "Error"
        assert "worker" in ended["status_message"]
    service.start_worker()
    place = make_place(duckdb_warehouse())
    again = service.job(place, ["dbt seed"])
    assert service.ended(service.trigger(again))["is_success"]


def test_a_run_triggered_while_the_broker_is_away_runs_once_it_is_back(
    service: Stack, make_place: PlaceMaker
) -> None:
    job = service.job(make_place(duckdb_warehouse()), ["dbt seed"])
    service.broker.stop()
    try:
        run = service.trigger(job)
    finally:
        service.broker.start()

    assert service.ended(run)["is_success"]


def test_no_server_setting_can_be_read_by_a_project(service: Stack, make_place: PlaceMaker) -> None:
    names = ["SECRET_KEY", "JOBSVC_SECRET_KEY", "JOBSVC_DATABASE_URL", "DJANGO_SETTINGS_MODULE"]
    place = make_place(
        duckdb_warehouse(),
        **{
            f"models/peek_{name.lower()}.sql": f"select '{{{{ env_var(\"{name}\") }}}}' as v"
            for name in names
        },
    )
    job = service.job(place, ["dbt compile"])

    run = service.ended(service.trigger(job))

    assert run["status_humanized"] == "Error"
    assert "Env var required but not provided" in run["run_steps"][3]["logs"]


def test_an_unknown_run_answers_404_in_the_envelope(service: Stack) -> None:
    answer = requests.get(
        f"{service.url}/api/v2/accounts/{service.account}/runs/999999/",
        headers={"Authorization": f"Bearer {service.token}"},
        timeout=10,
    )

    assert answer.status_code == answer.json()["status"]["code"] == 404
