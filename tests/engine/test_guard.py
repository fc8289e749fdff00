"""A pull request's run keeps to its own schema: looked at before it builds, with a real dbt."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobsvc.engine import runner
from jobsvc.engine.plan import FailureClass, OnFailure, RunPlan, StatePlan, StepKind, StepPlan
from jobsvc.engine.ports import Ending, Outcome
from tests.engine.conftest import DBT, Recording, Repository

OWN = "dbt_cloud_pr_1_2"

# What a project must not do in CI: it takes no notice of the schema that it is given.
WRITES_TO_PRODUCTION = """\
{% macro generate_schema_name(custom, node) %}{{ custom or 'analytics' }}{% endmacro %}
"""
MARKETING = "{{ config(schema='marketing') }} select 1 as id"
ELSEWHERE = "{{ config(schema='finance') }} select 1 as id"
ONLY_FINANCE_ELSEWHERE = """\
{% macro generate_schema_name(custom, node) %}
{{- 'finance' if custom == 'finance' else default__generate_schema_name(custom, node) -}}
{% endmacro %}
"""

Builds = Callable[..., Outcome]


def policy(command: str, on_failure: OnFailure) -> StepPlan:
    return StepPlan(
        index=0, name=command, kind=StepKind.COMMAND, command=command, on_failure=on_failure
    )


@pytest.fixture
def warehouse(tmp_path: Path) -> Callable[[], list[str]]:
    """What is in the warehouse: each schema and relation, sorted."""
    file = tmp_path / "warehouse" / "shop.duckdb"
    question = "select table_schema || '.' || table_name from information_schema.tables order by 1"
    program = (
        "import duckdb, json, sys; connection = duckdb.connect(sys.argv[1]); "
        "print(json.dumps([row[0] for row in connection.execute(sys.argv[2]).fetchall()]))"
    )

    def look() -> list[str]:
        if not file.exists():
            return []
        answer = subprocess.run(
            [DBT.with_name("python"), "-c", program, str(file), question],
            check=True,
            capture_output=True,
        )
        found: list[str] = json.loads(answer.stdout)
        return found

    return look


@pytest.fixture
def builds(
    shop: Repository, plan_of: Callable[..., RunPlan], recording: Recording, tmp_path: Path
) -> Builds:
    """Carry out these commands as a pull request's run does, in a schema of its own."""
    path = str(tmp_path / "warehouse" / "shop.duckdb")

    def build(*commands: str | StepPlan, prefix: str = OWN, **changes: object) -> Outcome:
        output = {"type": "duckdb", "path": path, "threads": 2, "schema": prefix or "main"}
        plan = plan_of(shop, *commands, profile={"output": output}, schema_prefix=prefix, **changes)
        return runner.run(plan, recording)

    return build


# --- What is stopped ----------------------------------------------------------------------------


def test_a_project_that_would_write_to_production_is_stopped_before_it_builds(
    shop: Repository, builds: Builds, recording: Recording, warehouse: Callable[[], list[str]]
) -> None:
    shop.commit({"macros/schema.sql": WRITES_TO_PRODUCTION})

    outcome = builds("dbt build")

    assert outcome.ending is Ending.ERROR
    assert outcome.message.startswith(
        "Step 3 failed: Invoke dbt with `dbt build`. 1 node would be built outside the schema of "
        f"this pull request, {OWN}: model.shop.orders (analytics). Nothing was built."
    )
    assert warehouse() == []
    assert recording.schemas == []


def test_a_later_step_that_would_leave_the_schema_stops_the_first(
    shop: Repository, builds: Builds, recording: Recording, warehouse: Callable[[], list[str]]
) -> None:
    shop.commit({"macros/schema.sql": ONLY_FINANCE_ELSEWHERE, "models/ledger.sql": ELSEWHERE})

    outcome = builds("dbt build --select orders", "dbt run --select ledger")

    assert "model.shop.ledger (finance)" in outcome.message
    assert recording.endings()[2:] == [Ending.ERROR, Ending.SKIPPED]
    assert warehouse() == []


@pytest.mark.parametrize("on_failure", [OnFailure.WARN, OnFailure.CONTINUE])
def test_no_policy_of_a_step_lets_the_run_go_on(
    shop: Repository, builds: Builds, warehouse: Callable[[], list[str]], on_failure: OnFailure
) -> None:
    shop.commit({"macros/schema.sql": WRITES_TO_PRODUCTION})

    outcome = builds(policy("dbt build", on_failure), "dbt run-operation generate_database_name")

    assert outcome.ending is Ending.ERROR
    assert "would be built outside" in outcome.message


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"seeds/rates.csv": "id\n1\n"}, "dbt seed"),
        ({"tests/few.sql": "select 1 where false"}, "dbt test --store-failures"),
        (
            {"tests/few.sql": "{{ config(store_failures=true) }} select 1 where false"},
            "dbt test",
        ),
        (
            {
                "snapshots/kept.sql": "{% snapshot kept %}{{ config(unique_key='id', "
                "strategy='check', check_cols='all') }} select 1 as id{% endsnapshot %}"
            },
            "dbt snapshot",
        ),
    ],
    ids=["seed", "stored failures by option", "stored failures by configuration", "snapshot"],
)
def test_all_that_makes_relations_is_looked_at(
    shop: Repository, builds: Builds, files: dict[str, str], command: str
) -> None:
    shop.commit({**files, "macros/schema.sql": WRITES_TO_PRODUCTION})

    assert "1 node would be built outside" in builds(command).message


def test_a_node_that_only_a_variable_sends_elsewhere_is_found(
    shop: Repository, builds: Builds
) -> None:
    shop.commit(
        {"models/orders.sql": "{{ config(schema=var('place', none)) }} select 1 as id"}
        | {"macros/schema.sql": ONLY_FINANCE_ELSEWHERE}
    )

    assert "(finance)" in builds("dbt build --vars '{place: finance}'").message


def test_what_only_the_run_itself_will_know_is_taken_for_everything(
    shop: Repository, builds: Builds
) -> None:
    shop.commit({"macros/schema.sql": WRITES_TO_PRODUCTION})

    outcome = builds("dbt source freshness", "dbt build --select source_status:fresher+")

    assert "model.shop.orders (analytics)" in outcome.message


def test_a_retry_without_a_command_before_it_is_looked_at_whole(
    shop: Repository, builds: Builds
) -> None:
    shop.commit({"macros/schema.sql": WRITES_TO_PRODUCTION})

    assert "model.shop.orders (analytics)" in builds("dbt retry").message


def test_another_pull_request_is_outside(shop: Repository, builds: Builds) -> None:
    shop.commit(
        {
            "macros/schema.sql": "{% macro generate_schema_name(custom, node) %}"
            f"{OWN}3{{% endmacro %}}"
        }
    )

    assert f"model.shop.orders ({OWN}3)" in builds("dbt build").message


def test_a_project_that_cannot_be_read_fails_in_dbts_words(
    shop: Repository, builds: Builds, recording: Recording
) -> None:
    shop.commit({"models/broken.sql": "select {{ nothing"})

    outcome = builds("dbt build")

    assert outcome.failure_class is FailureClass.DBT_ERROR
    assert "dbt ended with status 2: Compilation Error in model broken" in outcome.message
    assert recording.end(3).exit_code == 2
    assert "Compilation Error in model broken" in recording.console(3)


# --- What is not --------------------------------------------------------------------------------


def test_custom_schemas_that_go_on_from_the_own_one_are_built_and_told(
    shop: Repository, builds: Builds, recording: Recording, warehouse: Callable[[], list[str]]
) -> None:
    shop.commit({"models/reach.sql": MARKETING})

    outcome = builds("dbt build")

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert warehouse() == [f"{OWN}.orders", f"{OWN}_marketing.reach"]
    assert recording.schemas == [("shop", OWN), ("shop", f"{OWN}_marketing")]
    assert f"Looked where 2 nodes would be built: all in {OWN}." in recording.console(3)


def test_only_what_a_command_selects_counts(
    shop: Repository, builds: Builds, recording: Recording, warehouse: Callable[[], list[str]]
) -> None:
    shop.commit({"macros/schema.sql": ONLY_FINANCE_ELSEWHERE, "models/ledger.sql": ELSEWHERE})

    outcome = builds("dbt build --exclude ledger")

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert recording.schemas == [("shop", OWN)]
    assert warehouse() == [f"{OWN}.orders"]


def test_only_what_changed_counts_where_the_command_compares(
    shop: Repository,
    builds: Builds,
    recording: Recording,
    production: Callable[..., StatePlan],
) -> None:
    shop.commit({"macros/schema.sql": ONLY_FINANCE_ELSEWHERE, "models/ledger.sql": ELSEWHERE})
    state = production()
    shop.commit({"models/orders.sql": "select 2 as id"})

    outcome = builds("dbt build --select state:modified+", state=state)

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert "Looked where 1 node would be built" in recording.console(3)


def test_what_has_no_relation_may_be_named_anything(shop: Repository, builds: Builds) -> None:
    ephemeral = "{{ config(materialized='ephemeral', schema='finance') }} select 1 as id"
    shop.commit(
        {
            "macros/schema.sql": ONLY_FINANCE_ELSEWHERE,
            "models/part.sql": ephemeral,
            "models/orders.sql": "select * from {{ ref('part') }}",
            "tests/few.sql": "{{ config(schema='finance') }} select 1 where false",
        }
    )

    outcome = builds("dbt build")

    assert outcome.ending is Ending.SUCCESS, outcome.message


def test_the_case_of_a_schema_is_the_warehouses_own(
    shop: Repository, builds: Builds, recording: Recording
) -> None:
    shop.commit(
        {
            "macros/schema.sql": "{% macro generate_schema_name(custom, node) %}"
            "{{ target.schema | upper }}{% endmacro %}"
        }
    )

    outcome = builds("dbt build")

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert recording.schemas == [("shop", OWN.upper())]


def test_the_guard_can_be_off_and_the_own_schemas_are_told_all_the_same(
    shop: Repository, builds: Builds, recording: Recording, warehouse: Callable[[], list[str]]
) -> None:
    shop.commit({"macros/schema.sql": ONLY_FINANCE_ELSEWHERE, "models/ledger.sql": ELSEWHERE})

    outcome = builds("dbt build", guard=False)

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert warehouse() == [f"{OWN}.orders", "finance.ledger"]
    assert recording.schemas == [("shop", OWN)]
    assert f"Looked where 2 nodes would be built: 1 outside {OWN}." in recording.console(3)


def test_a_run_that_builds_nothing_is_told_of_its_own_schema(
    shop: Repository, builds: Builds, recording: Recording
) -> None:
    outcome = builds("dbt build --select tag:none")

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert recording.schemas == [("shop", OWN)]


def test_a_run_for_no_pull_request_is_not_looked_at(
    shop: Repository, builds: Builds, recording: Recording
) -> None:
    shop.commit({"macros/schema.sql": WRITES_TO_PRODUCTION})

    assert builds("dbt build", prefix="").ending is Ending.SUCCESS
    assert recording.schemas == []
    assert "Looked where" not in recording.console(3)


def test_a_run_looks_once(shop: Repository, builds: Builds, recording: Recording) -> None:
    builds("dbt run", "dbt test", "dbt run")

    assert "Looked where 1 node would be built" in recording.console(3)
    assert "Looked where" not in recording.console(4) + recording.console(5)
