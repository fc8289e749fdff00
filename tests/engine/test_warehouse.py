"""Schemas are dropped by their exact names, by the adapter of each toolchain, confined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobsvc.engine.plan import ProfilePlan, SandboxPlan, WarehousePlan
from jobsvc.engine.toolchain import ExecutableToolchain
from jobsvc.engine.warehouse import DROP_SCHEMAS, BrokenOff, NoAnswer, NotInTime, ask
from tests import warehouses
from tests.warehouses import DBT, ROOT, Duck, Postgres, fill, schemas_of

EACH_DBT = sorted(ROOT.glob(".toolchains/dbt-*/bin/dbt")) or [DBT]
MINE, OTHERS, CUSTOM = "dbt_cloud_pr_1_2", "dbt_cloud_pr_1_23", "dbt_cloud_pr_1_2_marketing"

PlanFor = Callable[..., WarehousePlan]


@pytest.fixture
def plan_for(tmp_path: Path) -> PlanFor:
    """``plan_for(warehouse)`` asks it; keywords change the plan, or the profile's output."""

    def make(
        warehouse: Duck | Postgres,
        *,
        dbt: Path = DBT,
        profile_secrets: dict[str, str] | None = None,
        timeout_seconds: int = 60,
        **output: Any,
    ) -> WarehousePlan:
        return WarehousePlan(
            name="schemas-1-1",
            workspaces=str(tmp_path / "workspaces"),
            profile=ProfilePlan(
                connection_name="Warehouse",
                target_name="default",
                output={"threads": 1, "schema": MINE, **warehouse.output, **output},
                secrets=profile_secrets or {},
            ),
            toolchain=ExecutableToolchain({"here": str(dbt)}).resolve(
                "here", ["duckdb", "postgres"]
            ),
            sandbox=SandboxPlan(
                need=("landlock:1",),
                read_write=(str(tmp_path / "warehouse"),),
                ports=(warehouse.output.get("port", 443),),
            ),
            timeout_seconds=timeout_seconds,
        )

    return make


@pytest.fixture
def duck(tmp_path: Path) -> Duck:
    """A DuckDB file with a table and a view in each of three schemas."""
    (tmp_path / "warehouse").mkdir()
    duck = Duck(tmp_path / "warehouse" / "shop.duckdb")
    fill(duck, MINE, OTHERS, CUSTOM)
    return duck


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL database with the same."""
    with warehouses.postgres() as postgres:
        fill(postgres, MINE, OTHERS, CUSTOM)
        yield postgres


def drop(plan: WarehousePlan, *schemas: tuple[str, str], dry_run: bool = False) -> Any:
    request = {"schemas": [list(pair) for pair in schemas], "dry_run": dry_run}
    return ask(plan, DROP_SCHEMAS, request, should_stop=lambda: False)["schemas"]


@pytest.mark.parametrize("dbt", EACH_DBT, ids=lambda dbt: dbt.parents[1].name)
def test_each_dbt_drops_one_schema_of_duckdb_and_no_other(
    plan_for: PlanFor, duck: Duck, dbt: Path
) -> None:
    assert drop(plan_for(duck, dbt=dbt), ("shop", MINE)) == [["shop", MINE, "dropped", ""]]

    assert schemas_of(duck) == {OTHERS, CUSTOM}


@pytest.mark.services
@pytest.mark.parametrize("dbt", EACH_DBT, ids=lambda dbt: dbt.parents[1].name)
def test_each_dbt_drops_one_schema_of_postgresql_and_no_other(
    plan_for: PlanFor, postgres: Postgres, dbt: Path
) -> None:
    name = postgres.output["dbname"]

    assert drop(plan_for(postgres, dbt=dbt), (name, MINE)) == [[name, MINE, "dropped", ""]]

    assert schemas_of(postgres) == {OTHERS, CUSTOM}


def test_a_schema_without_a_database_is_one_of_the_profiles_own(
    plan_for: PlanFor, duck: Duck
) -> None:
    assert drop(plan_for(duck), ("", MINE)) == [["", MINE, "dropped", ""]]


def test_a_wildcard_in_a_name_stands_for_itself(plan_for: PlanFor, duck: Duck) -> None:
    fill(duck, "dbt_cloud_pr_1x2")

    drop(plan_for(duck), ("shop", MINE), ("shop", "dbt_cloud_pr_1__2"))

    assert schemas_of(duck) == {OTHERS, CUSTOM, "dbt_cloud_pr_1x2"}


def test_what_is_not_there_is_said_to_be_missing(plan_for: PlanFor, duck: Duck) -> None:
    assert drop(plan_for(duck), ("shop", "gone")) == [["shop", "gone", "missing", ""]]


def test_a_dry_run_drops_nothing(plan_for: PlanFor, duck: Duck) -> None:
    found = drop(plan_for(duck), ("shop", MINE), ("shop", "gone"), dry_run=True)

    assert [what for *_name, what, _error in found] == ["there", "missing"]
    assert schemas_of(duck) == {MINE, OTHERS, CUSTOM}


@pytest.mark.services
def test_a_name_that_would_be_sql_is_refused(plan_for: PlanFor, postgres: Postgres) -> None:
    name = f'x" cascade; drop schema {OTHERS} cascade; --'
    quoted = name.replace('"', '""')
    postgres.execute(f'CREATE SCHEMA "{quoted}"')

    ((_database, _schema, what, error),) = drop(plan_for(postgres), ("", name))

    assert (what, "not put into SQL" in error) == ("failed", True)
    assert {MINE, OTHERS, CUSTOM} <= schemas_of(postgres)


def test_a_file_that_is_locked_says_so_for_each_schema(plan_for: PlanFor, duck: Duck) -> None:
    with duck.locked():
        ((_database, _schema, what, error),) = drop(plan_for(duck), ("shop", MINE))

    assert (what, "lock" in error) == ("failed", True)
    assert MINE in schemas_of(duck)


def test_a_profile_that_dbt_cannot_read_is_no_answer(plan_for: PlanFor, duck: Duck) -> None:
    with pytest.raises(NoAnswer, match="connection Warehouse gave no answer"):
        drop(plan_for(duck, type="nowhere"), ("shop", MINE))


@pytest.mark.services
def test_a_secret_in_an_error_is_masked(plan_for: PlanFor, postgres: Postgres) -> None:
    plan = plan_for(
        postgres,
        dbname="{{ env_var('DBT_ENV_SECRET_PLACE') }}",
        profile_secrets={"DBT_ENV_SECRET_PLACE": "hunter2hunter2"},
    )

    ((_database, _schema, what, error),) = drop(plan, ("", MINE))

    assert (what, "hunter2" in error) == ("failed", False)


def test_it_is_broken_off_when_asked(plan_for: PlanFor, duck: Duck) -> None:
    request = {"schemas": [["shop", MINE]], "dry_run": False}

    with pytest.raises(BrokenOff):
        ask(plan_for(duck), DROP_SCHEMAS, request, should_stop=lambda: True)

    assert MINE in schemas_of(duck)


@pytest.mark.services
def test_a_lock_in_the_warehouse_is_waited_for_no_longer_than_allowed(
    plan_for: PlanFor, postgres: Postgres
) -> None:
    with psycopg.connect(postgres.url) as other:
        other.execute(f"SELECT * FROM {MINE}.orders")
        with pytest.raises(NotInTime, match="6 seconds"):
            drop(plan_for(postgres, timeout_seconds=6), ("", MINE))

    assert MINE in schemas_of(postgres)


def test_no_workspace_is_left(plan_for: PlanFor, duck: Duck, tmp_path: Path) -> None:
    drop(plan_for(duck), ("shop", MINE))

    assert list((tmp_path / "workspaces").iterdir()) == []
