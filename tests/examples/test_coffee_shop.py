"""The example project keeps its promises: the real dbt builds it on DuckDB and on PostgreSQL."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from jobsvc.engine.commands import DbtCommand
from jobsvc.jobs import schedule

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "examples" / "coffee_shop"
JOBS = ROOT / "examples" / "jobs"
DBT = Path(os.environ.get("JOBSVC_TEST_DBT", ROOT / ".toolchains" / "dbt-1.11" / "bin" / "dbt"))
POSTGRES_URL = os.environ.get(
    "JOBSVC_TEST_POSTGRES_URL", "postgresql://root@127.0.0.1:5432/postgres"
)
# dbt writes these beside the project; a developer's own copy must not be taken along.
LEFT_BY_DBT = shutil.ignore_patterns("target", "dbt_packages", "logs", "*.duckdb*")

SEEDS = 4
MODELS_IN_THE_WAREHOUSE = 9  # ten, of which one is ephemeral
DATA_TESTS = 35
UNIT_TESTS = 1
SNAPSHOTS = 1
ORDERS = 80
PRODUCTS = 9
WARNING = "test.coffee_shop.orders_outside_opening_hours"


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What one dbt command came to; ``results`` holds the rows of its result file."""

    exit_code: int
    output: str
    results: list[dict[str, Any]]
    invocation_id: str

    def count(self, status: str) -> int:
        return Counter(row["status"] for row in self.results)[status]

    def with_status(self, status: str) -> list[str]:
        return [row["unique_id"] for row in self.results if row["status"] == status]


class Shop:
    """A copy of the example with a profile of its own, and the dbt to run in it."""

    def __init__(self, folder: Path, output: dict[str, Any]) -> None:
        self.project = folder / "project"
        shutil.copytree(PROJECT, self.project, ignore=LEFT_BY_DBT)
        profile = {"from_outside": {"target": "prod", "outputs": {"prod": output}}}
        # JSON is YAML, so the profile needs no writer of its own.
        (folder / "profiles.yml").write_text(json.dumps(profile))
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DBT_PROFILES_DIR": str(folder),
            "DBT_PROFILE": "from_outside",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }

    def dbt(self, *arguments: str, results: str = "run_results.json") -> Invocation:
        file = self.project / "target" / results
        file.unlink(missing_ok=True)
        done = subprocess.run(
            [DBT, "--no-use-colors", "--no-version-check", *arguments],
            cwd=self.project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        left = json.loads(file.read_text()) if file.exists() else {"results": [], "metadata": {}}
        return Invocation(
            exit_code=done.returncode,
            output=done.stdout,
            results=left["results"],
            invocation_id=left["metadata"].get("invocation_id", ""),
        )

    def ask(self, query: str) -> dict[str, Any]:
        """The one row of ``query``, which may use ``ref``."""
        shown = self.dbt("--quiet", "show", "--inline", query, "--output", "json")
        row: dict[str, Any] = json.loads(shown.output)["show"][0]
        return row

    def raise_a_price(self) -> None:
        """Edit the price list, as somebody in the office would."""
        price_list = self.project / "seeds" / "raw_products.csv"
        rows = list(csv.reader(price_list.read_text().splitlines()))
        rows[1][rows[0].index("price_cents")] = "275"
        price_list.write_text("".join(",".join(row) + "\n" for row in rows))


@dataclass(frozen=True, kw_only=True)
class Life:
    """All that one shop went through, command by command, and how its tables stood at the end."""

    deps: Invocation
    seed: Invocation
    run: Invocation
    test: Invocation
    freshness: Invocation
    first_snapshot: Invocation
    second_run: Invocation
    second_snapshot: Invocation
    build: Invocation
    docs: Invocation
    docs_page: str
    tables: dict[str, Any]


@pytest.fixture(scope="module")
def postgres_output() -> Iterator[dict[str, Any]]:
    """The output of a profile for a database that is dropped afterwards."""
    name = f"coffee_{uuid.uuid4().hex[:12]}"
    server = conninfo_to_dict(POSTGRES_URL)
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield {
                "type": "postgres",
                "host": server["host"],
                "port": int(server.get("port") or 5432),
                "user": server["user"],
                "password": server.get("password", ""),
                "dbname": name,
                "schema": "shops",
                "threads": 4,
            }
        finally:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture(
    scope="module", params=["duckdb", pytest.param("postgres", marks=pytest.mark.services)]
)
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_output")
    file = tmp_path_factory.mktemp("warehouse") / "coffee.duckdb"
    return {"type": "duckdb", "path": str(file), "schema": "shops", "threads": 4}


@pytest.fixture(scope="module")
def life(output: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Life:
    """One shop from nothing to its documentation. Whether each command went well is for tests."""
    shop = Shop(tmp_path_factory.mktemp("shop"), output)
    story = {
        "deps": shop.dbt("deps"),
        "seed": shop.dbt("seed"),
        "run": shop.dbt("run"),
        "test": shop.dbt("test"),
        "freshness": shop.dbt("source", "freshness", results="sources.json"),
        "first_snapshot": shop.dbt("snapshot"),
        "second_run": shop.dbt("run", "--select", "fct_orders"),
    }
    shop.raise_a_price()
    shop.dbt("seed", "--select", "raw_products")
    story |= {
        "second_snapshot": shop.dbt("snapshot"),
        "docs": shop.dbt("docs", "generate", "--static"),
    }
    page = shop.project / "target" / "static_index.html"
    tables = shop.ask(
        "select"
        " (select count(*) from {{ ref('fct_orders') }}) as orders,"
        " (select min(written_by) from {{ ref('fct_orders') }}) as one_writer,"
        " (select max(written_by) from {{ ref('fct_orders') }}) as another_writer,"
        " (select count(*) from {{ ref('price_history') }}) as prices,"
        " (select count(dbt_valid_to) from {{ ref('price_history') }}) as former"
    )
    afresh = Shop(tmp_path_factory.mktemp("afresh"), {**output, "schema": "afresh"})
    afresh.dbt("deps")
    return Life(
        **story,
        build=afresh.dbt("build"),
        docs_page=page.read_text() if page.exists() else "",
        tables=tables,
    )


def test_deps_installs_the_package_of_the_folder(life: Life) -> None:
    assert life.deps.exit_code == 0, life.deps.output
    assert "Installed from <local @ packages/coffee_money>" in life.deps.output


def test_every_seed_is_loaded(life: Life) -> None:
    assert life.seed.exit_code == 0, life.seed.output
    assert life.seed.count("success") == len(life.seed.results) == SEEDS


def test_every_model_is_built(life: Life) -> None:
    assert life.run.exit_code == 0, life.run.output
    assert life.run.count("success") == len(life.run.results) == MODELS_IN_THE_WAREHOUSE


def test_every_test_passes_but_the_one_that_warns(life: Life) -> None:
    assert life.test.exit_code == 0, life.test.output
    assert len(life.test.results) == DATA_TESTS + UNIT_TESTS
    assert life.test.with_status("warn") == [WARNING]
    assert life.test.count("pass") == DATA_TESTS + UNIT_TESTS - 1


def test_freshness_passes_or_warns_whatever_the_date(life: Life) -> None:
    assert life.freshness.exit_code == 0, life.freshness.output
    assert {row["unique_id"]: row["status"] for row in life.freshness.results} == {
        "source.coffee_shop.till.raw_orders": "pass",
        "source.coffee_shop.till.raw_order_lines": "pass",
        "source.coffee_shop.office.raw_products": "warn",
    }


def test_a_second_incremental_run_writes_nothing(life: Life) -> None:
    assert life.second_run.exit_code == 0, life.second_run.output
    assert life.tables["orders"] == ORDERS
    assert life.second_run.invocation_id != life.run.invocation_id
    writers = {life.tables["one_writer"], life.tables["another_writer"]}
    assert writers == {life.run.invocation_id}


def test_a_second_snapshot_keeps_the_former_price(life: Life) -> None:
    assert life.first_snapshot.exit_code == 0, life.first_snapshot.output
    assert life.second_snapshot.exit_code == 0, life.second_snapshot.output
    assert life.tables["prices"] == PRODUCTS + 1
    assert life.tables["former"] == 1


def test_build_from_nothing_ends_with_exactly_one_warning(life: Life) -> None:
    assert life.build.exit_code == 0, life.build.output
    assert life.build.with_status("warn") == [WARNING]
    built = SEEDS + MODELS_IN_THE_WAREHOUSE + SNAPSHOTS
    assert life.build.count("success") == built
    assert life.build.count("pass") == DATA_TESTS + UNIT_TESTS - 1
    assert "Completed with 1 warning" in life.build.output


def test_docs_become_one_page_that_needs_no_other_file(life: Life) -> None:
    assert life.docs.exit_code == 0, life.docs.output
    assert "Three coffee shops" in life.docs_page


def job(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((JOBS / f"{name}.json").read_text())
    return body


def carry_out(name: str, folder: Path) -> list[Invocation]:
    """A job's steps by the real dbt, up to the first that fails, as the service would."""
    shop = Shop(folder, {"type": "duckdb", "path": str(folder / "c.duckdb"), "schema": "shops"})
    shop.dbt("deps")
    done: list[Invocation] = []
    for step in job(name)["execute_steps"]:
        done.append(shop.dbt(*shlex.split(step)[1:]))
        if done[-1].exit_code:
            break
    return done


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> list[Invocation]:
    return carry_out("crowded_hour", tmp_path_factory.mktemp("crowded"))


def test_every_step_of_the_nightly_job_succeeds(tmp_path: Path) -> None:
    done = carry_out("nightly_build", tmp_path)
    assert [step.exit_code for step in done] == [0, 0, 0], done[-1].output


def test_the_crowded_hour_stops_at_its_second_step(crowded: list[Invocation]) -> None:
    assert [step.exit_code for step in crowded] == [0, 1], crowded[-1].output
    assert len(job("crowded_hour")["execute_steps"]) == 3
    assert crowded[-1].with_status("fail") == [
        "test.coffee_shop.no_hour_beyond_what_the_machines_make"
    ]


def test_what_lies_below_the_failure_is_skipped(crowded: list[Invocation]) -> None:
    assert "model.coffee_shop.shop_days" in crowded[-1].with_status("skipped")
    assert "model.coffee_shop.product_sales" in crowded[-1].with_status("success")


@pytest.mark.parametrize("name", sorted(file.stem for file in JOBS.glob("*.json")))
def test_a_job_of_the_examples_is_one_that_the_service_accepts(name: str) -> None:
    body = job(name)
    for index, step in enumerate(body["execute_steps"], start=1):
        DbtCommand.parse(step, index=index)
    if body["schedule"]:
        schedule.check(body["schedule"]["cron"])
    assert body["execute_steps"]
    assert body["triggers"]["schedule"] is (body["job_type"] == "scheduled")
