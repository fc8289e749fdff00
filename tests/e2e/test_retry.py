"""Retries through the whole service: after a fix, after a lost connection, after a lost worker."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import (
    EXAMPLE,
    Place,
    Stack,
    Warehouse,
    commit,
    duckdb_warehouse,
    postgres_warehouse,
    queries_running,
    wait_until,
)
from tests.e2e.test_slim_ci import change, ci_job, coffee, models_built, repository_of

pytestmark = [pytest.mark.e2e, pytest.mark.services]

PlaceMaker = Callable[..., Place]

CHANGED = "models/marts/busy_hours.sql"
PROJECT = (EXAMPLE / "dbt_project.yml").read_text()

# Counts dbt's invocations in the warehouse; before the third, the model loses its connection.
COUNTING = """
on-run-start:
  - create table if not exists main.tries (n int)
  - insert into main.tries values (1)
"""
FLAKY = """
{% if execute and run_query('select count(*) from main.tries').columns[0].values()[0] < 3 %}
select error('connection reset by peer') as id
{% else %}
select 1 as id
{% endif %}
"""
LONG_MODEL = "select 1 as id from (select pg_sleep(20)) as nap"


def extensions_of(service: Stack, run: int) -> dict[str, Any]:
    shown: dict[str, Any] = service.get(f"v2/runs/{run}/extensions/")
    return shown


def runs_of(service: Stack, job: int) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = service.get(f"v2/runs/?job_definition_id={job}&order_by=id")
    return runs


def follower(service: Stack, place: Place, job: int, statuses: list[int]) -> int:
    """A job that runs when ``job`` ends so."""
    condition = {"job_id": job, "project_id": place.project, "statuses": statuses}
    return service.job(
        place,
        ["dbt deps"],
        name="the follower",
        job_completion_trigger_condition={"condition": condition},
    )


def test_a_failed_build_that_defers_goes_on_after_the_fix_is_pushed(
    service: Stack, make_place: PlaceMaker, warehouse: Warehouse
) -> None:
    place = coffee(service, make_place, warehouse)
    production = service.ended(service.trigger(service.job(place, ["dbt build"])))
    assert production["is_success"], production["status_message"]
    repository = repository_of(service, place)
    text = (EXAMPLE / CHANGED).read_text()
    broken = change(repository, "busier", **{CHANGED: text.replace("shop_id,", "nope,", 1)})
    steps = ["dbt build --select state:modified+", "dbt test --select busy_hours"]
    job = ci_job(service, place, steps)
    failed = service.ended(
        service.trigger(job, git_branch="busier", git_sha=broken, github_pull_request_id=7)
    )
    statuses = {name: one["status"] for name, one in models_built(service, failed["id"]).items()}
    assert statuses == {"busy_hours": "error", "shop_days": "skipped"}
    assert failed["can_retry"], failed["retry_not_supported_reason"]
    assert service.get(f"v2/runs/{failed['id']}/retry/") == {
        "failed_step": f"Invoke dbt with `{steps[0]}`",
        "skipped_steps": [f"Invoke dbt with `{steps[1]}`"],
    }
    fixed = push_to(repository, "busier", **{CHANGED: text + "\n-- mended"})

    retried = service.ended(service.post(f"v2/runs/{failed['id']}/retry/")["id"])

    assert retried["is_success"], retried["status_message"]
    assert (retried["retrying_run_id"], retried["git_sha"]) == (failed["id"], fixed)
    assert retried["deferring_run_id"] == production["id"]
    results = service.artifact(retried["id"], "run_results.json", step=4).json()["results"]
    models = {row["unique_id"].rpartition(".")[2]: row for row in results if is_model(row)}
    assert {name: row["status"] for name, row in models.items()} == {
        "busy_hours": "success",
        "shop_days": "success",
    }
    theirs = models_built(service, production["id"])["fct_orders"]["relation_name"]
    assert theirs in models["busy_hours"]["compiled_code"]
    assert f"dbt_cloud_pr_{job}_7" in models["busy_hours"]["relation_name"]
    told = extensions_of(service, retried["id"])["steps"]
    assert told[3]["effective_command"].startswith("dbt retry --defer-state")
    assert [step["name"] for step in retried["run_steps"][3:]] == [
        f"Invoke dbt with `{step}`" for step in steps
    ]


def push_to(repository: Path, branch: str, **files: str) -> str:
    """Commit ``files`` to a branch that is there; the commit's sha."""
    subprocess.run(["git", "checkout", "-q", branch], cwd=repository, check=True)
    sha = commit(repository, "Mend it", **files)
    subprocess.run(["git", "checkout", "-q", "main"], cwd=repository, check=True)
    return sha


def is_model(row: dict[str, Any]) -> bool:
    return bool(row["unique_id"].startswith("model."))


def test_a_rerun_of_a_job_whose_build_failed_goes_on_and_does_not_repeat_what_was_built(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse(), **{"models/marts/late.sql": "select nope"})
    job = service.job(place, ["dbt seed", "dbt run", "dbt compile"], generate_docs=True)
    failed = service.ended(service.trigger(job))
    assert failed["status_humanized"] == "Error"
    commit(repository_of(service, place), "Mend", **{"models/marts/late.sql": "select 1 as id"})

    again = service.ended(service.post(f"v2/jobs/{job}/rerun/")["id"])

    assert again["is_success"], again["status_message"]
    assert [step["name"] for step in again["run_steps"][3:]] == [
        "Invoke dbt with `dbt run`",
        "Invoke dbt with `dbt compile`",
        "Invoke dbt with `dbt docs generate`",
    ]
    assert set(models_built(service, again["id"])) == {"late"}


def test_a_lost_connection_is_tried_again_inside_the_run_which_ends_once(
    service: Stack, make_place: PlaceMaker
) -> None:
    files = {"dbt_project.yml": PROJECT + COUNTING, "models/marts/flaky.sql": FLAKY}
    place = make_place(duckdb_warehouse(), **files)
    retry = {"max_retries": 3, "delay_seconds": 1, "backoff": "exponential"}
    job = service.job(place, ["dbt run --select flaky"], extensions={"retry": retry})
    after = follower(service, place, job, [10, 20, 30])

    run = service.ended(service.trigger(job))

    assert run["is_success"], run["status_message"]
    attempts = extensions_of(service, run["id"])["steps"][3]["attempts"]
    assert [attempt["delay_seconds"] for attempt in attempts] == [0, 1, 3]
    assert [attempt["failure_class"] for attempt in attempts] == [
        "transient_warehouse",
        "transient_warehouse",
        None,
    ]
    assert "Attempt 3 of 4 in 3 s" in run["run_steps"][3]["logs"]
    wait_until("the follower starts", lambda: runs_of(service, after))
    service.ended(runs_of(service, after)[0]["id"])
    assert len(runs_of(service, after)) == len(runs_of(service, job)) == 1


def test_a_failing_test_is_not_tried_again(service: Stack, make_place: PlaceMaker) -> None:
    place = make_place(duckdb_warehouse(), **{"tests/never_right.sql": "select 1 as wrong"})
    extensions = {"retry": {"max_retries": 3, "delay_seconds": 0}}
    job = service.job(place, ["dbt test --select never_right"], extensions=extensions)

    run = service.ended(service.trigger(job))

    assert run["is_error"]
    told = extensions_of(service, run["id"])
    assert told["failure_class"] == "dbt_error"
    assert len(told["steps"][3]["attempts"]) == 1


def test_a_run_whose_worker_was_lost_is_taken_up_by_a_new_one_and_its_end_told_once(
    service: Stack, make_place: PlaceMaker
) -> None:
    with postgres_warehouse() as (warehouse, address):
        place = make_place(warehouse, **{"models/marts/nap.sql": LONG_MODEL})
        extensions = {"retry": {"max_retries": 1, "delay_seconds": 2}}
        job = service.job(place, ["dbt seed", "dbt run --select nap"], extensions=extensions)
        after = follower(service, place, job, [10, 20, 30])
        run = service.trigger(job)
        wait_until(
            "the long model runs",
            lambda: any("pg_sleep" in query for query in queries_running(address)),
            120,
        )

        service.kill_worker()
        service.start_worker()

        first = service.ended(run, seconds=90)
        assert first["is_error"]
        assert "Attempt 2 of 2 starts by itself" in first["status_message"]
        wait_until("the retry is there", lambda: len(runs_of(service, job)) == 2, 60)
        second = service.ended(runs_of(service, job)[1]["id"])
        assert second["is_success"], second["status_message"]
        assert second["retrying_run_id"] == run
        assert len(second["run_steps"]) == 4  # the seed is not repeated
        wait_until("the follower starts", lambda: runs_of(service, after))
        ended = service.ended(runs_of(service, after)[0]["id"])
        assert ended["trigger"]["cause"].startswith(f"Triggered by run {second['id']} ")
        assert len(runs_of(service, after)) == 1
