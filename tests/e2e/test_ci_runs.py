"""A pull request's runs through the whole service: one at a time, apart, and looked at first."""

from __future__ import annotations

import psycopg
import pytest

from tests.e2e.stack import (
    Stack,
    commit,
    duckdb_warehouse,
    postgres_warehouse,
    queries_running,
    wait_until,
)
from tests.e2e.test_slim_ci import PlaceMaker, repository_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e ci_runs"),  # one service is enough
]

NAP = "models/marts/nap.sql"
LONG_MODEL = "select 1 as id from (select pg_sleep(120)) as nap"
PULL_REQUEST = 2
WRITES_TO_PRODUCTION = (
    "{% macro generate_schema_name(custom, node) %}{{ custom or 'analytics' }}{% endmacro %}"
)


def of_run(service: Stack, run: int) -> list[int]:
    """The live processes of one run."""
    return [
        process.pid
        for process in service.processes_of_runs()
        if f"run-{run}-" in " ".join(process.info["cmdline"] or []) + (process.info["cwd"] or "")
    ]


def test_a_newer_commit_stops_the_older_run_and_writes_only_once_that_is_gone(
    service: Stack, make_place: PlaceMaker
) -> None:
    with postgres_warehouse() as (warehouse, address):
        place = make_place(warehouse, **{NAP: LONG_MODEL})
        job = service.job(place, ["dbt run --select nap"], job_type="ci")
        older = service.trigger(job, github_pull_request_id=PULL_REQUEST)
        wait_until(
            "the older run builds",
            lambda: any("pg_sleep" in query for query in queries_running(address)),
            120,
        )
        assert of_run(service, older)
        sha = commit(repository_of(service, place), "Nap less", **{NAP: "select 2 as id"})

        newer = service.trigger(job, github_pull_request_id=PULL_REQUEST, git_sha=sha)
        wait_until("the newer starts", lambda: service.get(f"v2/runs/{newer}/")["status"] != 1, 60)

        left = of_run(service, older), queries_running(address)
        stopped, ended = service.ended(older), service.ended(newer)
        assert left == ([], [])
        assert ended["is_success"], ended["status_message"]
        assert stopped["status_message"] == (
            f"Superseded: run {newer} builds a newer commit of pull request #{PULL_REQUEST}."
        )
        assert stopped["finished_at"] <= ended["dequeued_at"]
        with psycopg.connect(address) as connection:
            schema = f"dbt_cloud_pr_{job}_{PULL_REQUEST}"
            rows = connection.execute(f"select id from {schema}.nap").fetchall()
        assert rows == [(2,)]


def test_a_project_that_would_write_to_production_is_stopped_before_anything_is_there(
    service: Stack, make_place: PlaceMaker
) -> None:
    with postgres_warehouse() as (warehouse, address):
        place = make_place(warehouse, **{"macros/generate_schema_name.sql": WRITES_TO_PRODUCTION})
        job = service.job(place, ["dbt seed", "dbt run"], job_type="ci")

        run = service.ended(service.trigger(job, non_native_pull_request_id=PULL_REQUEST))

        assert run["status_humanized"] == "Error"
        assert "would be built outside the schema of this pull request" in run["status_message"]
        with psycopg.connect(address) as connection:
            tables = connection.execute(
                "select table_schema, table_name from information_schema.tables "
                "where table_schema not in ('pg_catalog', 'information_schema')"
            ).fetchall()
        assert tables == []


def test_a_lint_finding_ends_the_run_before_it_builds(
    service: Stack, make_place: PlaceMaker
) -> None:
    untidy = "models/marts/untidy.sql"
    place = make_place(
        duckdb_warehouse(), **{untidy: "select  1 AS id, 2 as other\n", ".sqlfluffignore": "seeds/"}
    )
    job = service.job(place, ["dbt build"], job_type="ci", run_lint=True)

    run = service.ended(service.trigger(job, gitlab_merge_request_id=PULL_REQUEST))

    assert run["status_humanized"] == "Error"
    lint, build = run["run_steps"][3:5]
    assert (lint["name"], lint["status_humanized"]) == (
        "Lint the changed files with SQLFluff",
        "Error",
    )
    assert build["status_humanized"] == "Skipped"
    findings = service.artifact(run["id"], "lint.json").json()["findings"]
    assert "CP01" in {found["code"] for found in findings if found["path"] == untidy}
