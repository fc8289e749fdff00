"""Slim CI through the whole service: only what a pull request changes is built, and apart."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import EXAMPLE, Place, Stack, Warehouse, commit, duckdb_warehouse

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e slim_ci"),  # one service is enough
]

PlaceMaker = Callable[..., Place]

CHANGED = "models/marts/busy_hours.sql"
PULL_REQUEST = 12


def change(repository: Path, branch: str, **files: str) -> str:
    """Commit ``files`` to a new branch of ``main``; the commit's sha."""

    def switch(*arguments: str) -> None:
        subprocess.run(["git", "checkout", "-q", *arguments], cwd=repository, check=True)

    switch("-b", branch, "main")
    sha = commit(repository, f"Change on {branch}", **files)
    switch("main")
    return sha


def coffee(service: Stack, make_place: PlaceMaker, warehouse: Warehouse) -> Place:
    """The example, whose pull requests read production's raw tables, too."""
    place = make_place(warehouse)
    schema = "main" if warehouse.adapter == "duckdb" else "analytics"
    service.post(
        f"v3/projects/{place.project}/environment-variables/bulk/",
        {"env_var": {"new_name": "DBT_COFFEE_RAW_SCHEMA", "project": schema}},
    )
    return place


def repository_of(service: Stack, place: Place) -> Path:
    project = service.get(f"v3/projects/{place.project}/")
    return Path(str(project["repository"]["remote_url"]).removeprefix("file://"))


def ci_job(service: Stack, place: Place, steps: list[str], **fields: Any) -> int:
    return service.job(
        place, steps, job_type="ci", deferring_environment_id=place.environment, **fields
    )


def models_built(service: Stack, run: int) -> dict[str, dict[str, Any]]:
    """What the run's build says of each model, by name."""
    results = service.artifact(run, "run_results.json").json()["results"]
    return {
        result["unique_id"].rpartition(".")[2]: result
        for result in results
        if result["unique_id"].startswith("model.")
    }


@pytest.mark.parametrize(
    "step",
    [
        "dbt build --select state:modified+",
        "dbt build --select state:modified+ --defer --state ./prod-artifacts",
    ],
)
def test_a_pull_request_builds_what_it_changes_on_productions_relations(
    service: Stack, make_place: PlaceMaker, warehouse: Warehouse, step: str
) -> None:
    place = coffee(service, make_place, warehouse)
    production = service.ended(service.trigger(service.job(place, ["dbt build"])))
    assert production["is_success"], production["status_message"]
    text = (EXAMPLE / CHANGED).read_text()
    changed = text.replace("count(*) as integer", "count(distinct order_id) as integer")
    assert changed != text
    sha = change(repository_of(service, place), "busier", **{CHANGED: changed})
    job = ci_job(service, place, [step])

    run = service.ended(
        service.trigger(job, git_branch="busier", git_sha=sha, github_pull_request_id=PULL_REQUEST)
    )

    assert run["is_success"], run["status_message"]
    assert (run["git_sha"], run["deferring_run_id"]) == (sha, production["id"])
    schema = f"dbt_cloud_pr_{job}_{PULL_REQUEST}"
    assert f"(override schema to '{schema}')" in run["run_steps"][1]["name"]
    assert f"Deferring to run {production['id']} of job a job" in run["run_steps"][1]["logs"]
    own = models_built(service, run["id"])
    theirs = models_built(service, production["id"])
    assert set(own) == {"busy_hours", "shop_days"}  # the model changed, and what reads it
    assert all(f'"{schema}"' in result["relation_name"] for result in own.values())
    assert f'"{schema}"."busy_hours"' in own["shop_days"]["compiled_code"]
    for reader, read in (
        ("busy_hours", "fct_orders"),
        ("shop_days", "fct_orders"),
        ("shop_days", "stg_shops"),
    ):
        assert theirs[read]["relation_name"] in own[reader]["compiled_code"]
    given = service.get(f"v2/runs/{run['id']}/?include_related=extensions")["extensions"]
    assert given["state"]["manifest_schema_version"] == 12
    assert given["steps"][3]["effective_command"].endswith("--favor-state")


def test_a_pull_request_that_changes_nothing_builds_nothing(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = coffee(service, make_place, duckdb_warehouse())
    assert service.ended(service.trigger(service.job(place, ["dbt build"])))["is_success"]
    sha = change(repository_of(service, place), "words", **{"README.md": "More words."})
    job = ci_job(service, place, ["dbt build --select state:modified+"])

    run = service.ended(service.trigger(job, git_sha=sha, schema_override="trial"))

    assert run["is_success"], run["status_message"]
    assert models_built(service, run["id"]) == {}


def test_ci_before_the_first_production_run_fails_before_anything_is_cloned(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse())
    job = ci_job(service, place, ["dbt build --select state:modified+"])

    run = service.ended(service.trigger(job, github_pull_request_id=PULL_REQUEST))

    assert run["status_humanized"] == "Error"
    assert "no successful run in the environment Production" in run["status_message"]
    assert {step["status_humanized"] for step in run["run_steps"]} == {"Skipped"}


def test_a_job_that_defers_to_itself_builds_all_at_first_and_then_what_changed(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse())
    job = service.job(place, ["dbt build --select state:modified+"])
    service.post(
        f"v2/jobs/{job}/",
        {**service.get(f"v2/jobs/{job}/"), "deferring_job_definition_id": job},
    )

    first = service.ended(service.trigger(job))
    commit(
        repository_of(service, place),
        "Change",
        **{CHANGED: (EXAMPLE / CHANGED).read_text().replace("count(*)", "count(order_id)")},
    )
    second = service.ended(service.trigger(job))

    assert first["is_success"], first["status_message"]
    assert first["deferring_run_id"] is None
    assert len(models_built(service, first["id"])) > 5
    assert second["is_success"], second["status_message"]
    assert second["deferring_run_id"] == first["id"]
    assert set(models_built(service, second["id"])) == {"busy_hours", "shop_days"}
