"""Where a secret's value turns up in the whole of a run: nowhere but in the dbt child."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.stack import (
    Place,
    Stack,
    duckdb_warehouse,
    postgres_warehouse,
    queries_running,
    wait_until,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e secrets"),  # one service is enough
]

PlaceMaker = Callable[..., Place]

PASSWORD = "pw-7f3a9c51e2d84b60"
TOKEN = "tk-0d1e5b7a93c24f68"
NAP = "{{ config(materialized='table') }} select 1 as id from (select pg_sleep(6)) as nap"
TELLTALE = """
import base64, os

def model(dbt, session):
    dbt.config(materialized="table")
    secret = os.environ["DBT_ENV_SECRET_TOKEN"]
    print("plain", secret)
    print("base64", base64.b64encode(secret.encode()).decode())
    if secret:
        raise ValueError("the token is " + secret)
    return session.sql("select 1 as id")
"""


def files_that_hold(directory: Path, *values: str) -> list[str]:
    found = []
    for file in directory.rglob("*"):
        if file.is_file() and not file.is_symlink():
            try:
                content = file.read_bytes()
            except FileNotFoundError:  # a run's own file, gone between the two looks
                continue
            found += [str(file) for value in values if value.encode() in content]
    return found


def everything_the_api_says(service: Stack, run: int, place: Place) -> str:
    answers = [
        service.run(run),
        *(
            service.get(path)
            for path in (
                "v2/runs/?include_related=trigger,job,run_steps,debug_logs",
                "v2/jobs/?include_related=custom_environment_variables",
                "v3/connections/",
                f"v3/projects/{place.project}/credentials/",
                f"v3/projects/{place.project}/environments/",
                f"v3/projects/{place.project}/environment-variables/environment/",
            )
        ),
    ]
    return json.dumps(answers)


def test_a_secret_is_in_no_log_artifact_answer_column_process_list_or_file(
    service: Stack, make_place: PlaceMaker
) -> None:
    with postgres_warehouse() as (warehouse, address):
        warehouse.credentials["password"] = PASSWORD
        place = make_place(warehouse, **{"models/nap.sql": NAP})
        service.post(
            f"v3/projects/{place.project}/environment-variables/bulk/",
            {"env_var": {"new_name": "DBT_ENV_SECRET_TOKEN", "project": TOKEN}},
        )
        run = service.trigger(service.job(place, ["dbt run --select nap"]))
        wait_until("the model runs", lambda: queries_running(address), 120)

        arguments = [
            " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
        ]
        in_workspace = files_that_hold(service.service.data / "workspaces", PASSWORD, TOKEN)
        ended = service.ended(run)

    assert ended["is_success"], ended["status_message"]
    assert not [line for line in arguments if PASSWORD in line or TOKEN in line]
    assert in_workspace == []
    said = everything_the_api_says(service, run, place)
    assert PASSWORD not in said
    assert TOKEN not in said
    assert files_that_hold(service.service.data, PASSWORD, TOKEN) == []
    dump = subprocess.run(
        ["pg_dump", service.service.database_url], capture_output=True, text=True, check=True
    ).stdout
    assert "DBT_ENV_SECRET_TOKEN" in dump
    assert PASSWORD not in dump
    assert TOKEN not in dump


def test_a_secret_that_a_project_prints_is_masked_in_logs_results_and_messages(
    service: Stack, make_place: PlaceMaker
) -> None:
    place = make_place(duckdb_warehouse(), **{"models/telltale.py": TELLTALE})
    service.post(
        f"v3/projects/{place.project}/environment-variables/bulk/",
        {"env_var": {"new_name": "DBT_ENV_SECRET_TOKEN", "project": TOKEN}},
    )

    run = service.ended(service.trigger(service.job(place, ["dbt run --select telltale"])))

    assert run["status_humanized"] == "Error"
    assert "*****" in run["run_steps"][3]["logs"]
    assert TOKEN not in everything_the_api_says(service, run["id"], place)
    results = service.artifact(run["id"], "run_results.json").text
    assert "the token is *****" in results
    assert files_that_hold(service.service.data / "artifacts", TOKEN) == []
