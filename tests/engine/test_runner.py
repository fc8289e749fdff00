"""A run from its plan to its outcome, with real git and real dbt on DuckDB and PostgreSQL."""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from jobsvc.engine import runner
from jobsvc.engine.plan import OnFailure, RunPlan, StepKind, StepPlan
from jobsvc.engine.ports import Ending, LeaseLost, Outcome

PROJECT = 'name: shop\nversion: "1.0"\nprofile: whatever\nmodels: {+materialized: table}\n'
POSTGRES_URL = os.environ.get(
    "JOBSVC_TEST_POSTGRES_URL", "postgresql://root@127.0.0.1:5432/postgres"
)
SECRET = "correct-horse-battery"

FAILING_TEST = "select 1 as id where true"
BROKEN = "select nope from {{ ref('orders') }}"

PlanOf = Callable[..., RunPlan]


def step(command: str, **changes: Any) -> StepPlan:
    return StepPlan(
        **{
            "index": 0,
            "name": f"Invoke dbt with `{command}`",
            "kind": StepKind.COMMAND,
            "command": command,
            **changes,
        }
    )


# --- The order of it ----------------------------------------------------------------------------


def test_a_run_tells_each_step_in_order(shop, plan_of: PlanOf, recording) -> None:
    outcome = runner.run(plan_of(shop, "dbt build"), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS)
    assert recording.events == [
        ("started", 1),
        "isolated",
        (Ending.SUCCESS, 1),
        ("started", 2),
        (Ending.SUCCESS, 2),
        "ready",
        ("started", 3),
        (Ending.SUCCESS, 3),
    ]


def test_a_run_tells_its_commit_and_its_isolation(shop, plan_of: PlanOf, recording) -> None:
    sha = shop.commit({}, branch="feature")

    runner.run(plan_of(shop, checkout={"ref": "feature"}), recording)

    assert (recording.git_sha, recording.git_branch) == (sha, "feature")
    assert recording.layers["clean_env"]
    assert recording.layers["landlock"] >= 1


def test_every_successful_step_has_a_log(shop, plan_of: PlanOf, recording) -> None:
    runner.run(plan_of(shop, "dbt parse"), recording)

    assert "Successfully cloned repository." in recording.console(1)
    assert "target default, duckdb" in recording.console(2)
    assert "Running with dbt=1.11" in recording.console(3)
    assert "[debug]" in recording.debug(3)
    assert "\x1b" not in recording.console(3) + recording.debug(3)


def test_each_step_keeps_artifacts_of_its_own(shop, plan_of: PlanOf, recording) -> None:
    runner.run(plan_of(shop, "dbt deps", "dbt build", "dbt docs generate"), recording)

    assert recording.artifacts(3) == []
    assert "run/shop/models/orders.sql" in recording.artifacts(4)
    assert json.loads(recording.artifact(4, "run_results.json"))["args"]["which"] == "build"
    assert json.loads(recording.artifact(5, "run_results.json"))["args"]["which"] == "generate"
    assert "catalog.json" in recording.artifacts(5)


def test_cleaning_is_a_step_like_any_other(shop, plan_of: PlanOf, recording) -> None:
    shop.commit(
        {
            "packages.yml": "packages: [{local: tools}]",
            "tools/dbt_project.yml": "name: tools",
            "tools/macros/one.sql": "{% macro one() %}1{% endmacro %}",
            "models/orders.sql": "select {{ tools.one() }} as id",
        }
    )

    outcome = runner.run(plan_of(shop, "dbt deps", "dbt clean", "dbt parse"), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS)


def test_a_retry_goes_on_from_the_step_before(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"models/broken.sql": BROKEN})
    build = step("dbt build", on_failure=OnFailure.WARN)

    runner.run(plan_of(shop, build, "dbt retry"), recording)

    results = json.loads(recording.artifact(4, "run_results.json"))["results"]
    assert [row["unique_id"] for row in results] == ["model.shop.broken"]


def test_documentation_is_made_static(shop, plan_of: PlanOf, recording) -> None:
    runner.run(plan_of(shop, step("dbt docs generate", kind=StepKind.DOCS)), recording)

    assert "static_index.html" in recording.artifacts(3)


def test_the_parsed_project_is_used_by_the_next_step(shop, plan_of: PlanOf, recording) -> None:
    runner.run(plan_of(shop, "dbt parse", "dbt build"), recording)

    assert "Starting full parse" in recording.console(3)
    assert "full parse" not in recording.console(4)


def test_the_target_name_is_the_jobs(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"models/orders.sql": "select '{{ target.name }}' as name"})

    runner.run(plan_of(shop, "dbt compile", profile={"target_name": "prod"}), recording)

    assert recording.artifact(3, "compiled/shop/models/orders.sql") == b"select 'prod' as name"


def test_a_project_in_a_subdirectory_is_built(repository, plan_of: PlanOf, recording) -> None:
    repository.commit({"a/dbt/dbt_project.yml": PROJECT, "a/dbt/models/orders.sql": "select 1"})

    outcome = runner.run(
        plan_of(repository, "dbt parse", checkout={"subdirectory": "a/dbt"}), recording
    )

    assert outcome.ending is Ending.SUCCESS


def test_a_workspace_of_an_earlier_attempt_is_not_used(shop, plan_of: PlanOf, recording) -> None:
    plan = plan_of(shop)
    runner.workspace_of(plan).mkdir()

    with pytest.raises(FileExistsError):
        runner.run(plan, recording)

    assert recording.events == []


def test_a_plan_survives_its_way_through_a_pipe(shop, plan_of: PlanOf) -> None:
    plan = plan_of(
        shop,
        step("dbt build", timeout_seconds=5),
        checkout={"plain_http_hosts": ("127.0.0.1",)},
        secrets=(SECRET,),
    )

    assert RunPlan.from_json(plan.to_json()) == plan


# --- What ends a run ----------------------------------------------------------------------------


def test_after_a_failing_step_the_rest_is_skipped(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"tests/always.sql": FAILING_TEST})

    outcome = runner.run(plan_of(shop, "dbt test", "dbt run"), recording)

    assert outcome.ending is Ending.ERROR
    assert outcome.message == (
        "Step 3 failed: Invoke dbt with `dbt test`. 1 node failed: test.shop.always "
        "(Got 1 result, configured to fail if != 0)"
    )
    assert recording.endings() == [Ending.SUCCESS, Ending.SUCCESS, Ending.ERROR, Ending.SKIPPED]
    assert recording.end(3).exit_code == 1
    assert ("started", 4) not in recording.events


def test_documentation_is_not_reached_after_a_failed_build(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit({"models/broken.sql": BROKEN})
    docs = step("dbt docs generate", kind=StepKind.DOCS, on_failure=OnFailure.WARN)

    outcome = runner.run(plan_of(shop, "dbt build", docs), recording)

    assert recording.endings()[2:] == [Ending.ERROR, Ending.SKIPPED]
    assert "model.shop.broken (Runtime Error in model broken" in outcome.message
    results = json.loads(recording.artifact(3, "run_results.json"))["results"]
    assert {row["unique_id"]: row["status"] for row in results} == {
        "model.shop.orders": "success",
        "model.shop.broken": "error",
    }


STALE = """
sources:
  - name: raw
    schema: main
    loaded_at_field: loaded_at
    freshness: {error_after: {count: 1, period: hour}}
    tables: [{name: events}]
"""


def test_freshness_and_documentation_fail_no_run(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"models/sources.yml": STALE})
    plan = plan_of(
        shop,
        step("dbt source freshness", kind=StepKind.FRESHNESS, on_failure=OnFailure.WARN),
        "dbt build",
        step("dbt docs generate --target nope", kind=StepKind.DOCS, on_failure=OnFailure.WARN),
    )

    outcome = runner.run(plan, recording)

    assert outcome == Outcome(ending=Ending.SUCCESS, has_warnings=True)
    assert recording.endings()[2:] == [Ending.ERROR, Ending.SUCCESS, Ending.ERROR]
    assert "Runtime Error in source events" in recording.end(3).message


def test_freshness_as_a_command_ends_the_run(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"models/sources.yml": STALE})

    outcome = runner.run(plan_of(shop, "dbt source freshness", "dbt build"), recording)

    assert outcome.ending is Ending.ERROR
    assert recording.endings()[2:] == [Ending.ERROR, Ending.SKIPPED]


def test_a_selection_of_nothing_is_a_success_that_says_so(shop, plan_of: PlanOf, recording) -> None:
    outcome = runner.run(plan_of(shop, "dbt build --select tag:none"), recording)

    assert outcome.ending is Ending.SUCCESS
    assert recording.end(3).message == (
        "Nothing to do: The selection criterion 'tag:none' does not match any enabled nodes."
    )


def test_a_wrong_configuration_is_told_in_dbts_words(shop, plan_of: PlanOf, recording) -> None:
    outcome = runner.run(plan_of(shop, "dbt build --target prod"), recording)

    assert recording.end(3).exit_code == 2
    assert "does not have a target named 'prod'" in outcome.message


def test_a_server_setting_does_not_compile(shop, plan_of: PlanOf, recording, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET)
    shop.commit({"models/orders.sql": "select '{{ env_var('SECRET_KEY') }}'"})

    outcome = runner.run(plan_of(shop, "dbt compile"), recording)

    assert outcome.ending is Ending.ERROR
    assert "Env var required but not provided: 'SECRET_KEY'" in outcome.message


def test_a_command_that_no_job_may_run_starts_nothing(shop, plan_of: PlanOf, recording) -> None:
    plan = plan_of(shop, "dbt build", "dbt build; rm -rf /")

    outcome = runner.run(plan, recording)

    assert outcome.ending is Ending.ERROR
    assert "Step 4" in outcome.message
    assert recording.endings() == [Ending.SKIPPED] * 4
    assert not runner.workspace_of(plan).exists()


def test_a_missing_project_names_the_folder(shop, plan_of: PlanOf, recording) -> None:
    outcome = runner.run(
        plan_of(shop, "dbt build", checkout={"subdirectory": "analytics"}), recording
    )

    assert "There is no dbt_project.yml in the folder analytics" in outcome.message
    assert recording.endings() == [Ending.SUCCESS, Ending.ERROR, Ending.SKIPPED]
    assert "ready" not in recording.events


@pytest.mark.parametrize("subdirectory", ["../..", "/etc", "a/../.."])
def test_a_subdirectory_does_not_leave_the_checkout(
    shop, plan_of: PlanOf, recording, subdirectory
) -> None:
    outcome = runner.run(plan_of(shop, checkout={"subdirectory": subdirectory}), recording)

    assert outcome.ending is Ending.ERROR
    assert "no dbt_project.yml" in outcome.message


def test_a_path_that_leaves_the_project_ends_the_profile_step(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit({"dbt_project.yml": PROJECT + "asset-paths: [/etc]\n"})

    outcome = runner.run(plan_of(shop, "dbt build"), recording)

    assert recording.endings() == [Ending.SUCCESS, Ending.ERROR, Ending.SKIPPED]
    assert "dbt_project.yml, line 5" in outcome.message
    assert outcome.message.removeprefix(
        "Step 2 failed: Create profile from connection Warehouse. "
    ) in recording.console(2)


def test_a_failed_clone_ends_the_run_in_its_step(shop, plan_of: PlanOf, recording) -> None:
    outcome = runner.run(plan_of(shop, "dbt build", checkout={"sha": "0" * 40}), recording)

    assert outcome.message.startswith(
        "Step 1 failed: Clone git repository. Commit 0000000000000000000000000000000000000000 is"
    )
    assert recording.endings() == [Ending.ERROR, Ending.SKIPPED, Ending.SKIPPED]


def test_an_isolation_that_is_demanded_and_missing_starts_nothing(
    shop, plan_of: PlanOf, recording
) -> None:
    outcome = runner.run(plan_of(shop, "dbt build", sandbox={"need": ("landlock:99",)}), recording)

    assert "This server demands landlock:99" in outcome.message
    assert recording.endings() == [Ending.ERROR, Ending.SKIPPED, Ending.SKIPPED]


def test_a_full_disk_is_told_in_words(shop, plan_of: PlanOf, recording, monkeypatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(yaml, "safe_dump", full)

    outcome = runner.run(plan_of(shop, "dbt build"), recording)

    assert "The worker has no disk space left." in outcome.message
    assert recording.endings() == [Ending.SUCCESS, Ending.ERROR, Ending.SKIPPED]


# --- Stopping -----------------------------------------------------------------------------------

ENDLESS = """
{{ config(materialized='table') }}
with recursive t(n) as (select 1 union all select n % 3 + 1 from t)
select count(*) as n from t -- {{ ref('orders') }}
"""


def started(index: int, text: str) -> Callable[[Any], bool]:
    return lambda recording: text in recording.console(index)


def test_a_stop_in_mid_model_keeps_the_results_of_the_finished(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit({"models/endless.sql": ENDLESS})
    recording.stop_when = started(3, "2 of 2 START")

    outcome = runner.run(plan_of(shop, "dbt run", "dbt test"), recording)

    assert outcome == Outcome(
        ending=Ending.STOPPED, message="Stopped in step 3: Invoke dbt with `dbt run`."
    )
    assert recording.endings()[2:] == [Ending.STOPPED, Ending.SKIPPED]
    results = json.loads(recording.artifact(3, "run_results.json"))["results"]
    assert ("model.shop.orders", "success") in [
        (row["unique_id"], row["status"]) for row in results
    ]


def test_a_stop_during_the_checkout_ends_there(shop, plan_of: PlanOf, recording) -> None:
    recording.stop_when = lambda now: ("started", 1) in now.events

    outcome = runner.run(plan_of(shop, "dbt build"), recording)

    assert outcome.ending is Ending.STOPPED
    assert recording.endings() == [Ending.STOPPED, Ending.SKIPPED, Ending.SKIPPED]


def test_a_stop_between_steps_starts_no_other(shop, plan_of: PlanOf, recording) -> None:
    recording.stop_when = lambda now: "ready" in now.events

    outcome = runner.run(plan_of(shop, "dbt build"), recording)

    assert outcome.message == "Stopped before step 3: Invoke dbt with `dbt build`."
    assert recording.endings() == [Ending.SUCCESS, Ending.SUCCESS, Ending.SKIPPED]


def test_a_run_has_a_limit_over_all_its_steps(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"models/endless.sql": ENDLESS})
    began = time.monotonic()

    outcome = runner.run(plan_of(shop, "dbt run", "dbt test", timeout_seconds=6), recording)

    assert outcome.ending is Ending.TIMED_OUT
    assert "longer than its limit of 6 seconds" in outcome.message
    assert recording.endings()[2:] == [Ending.TIMED_OUT, Ending.SKIPPED]
    assert 6 <= time.monotonic() - began < 12


def test_a_step_has_a_limit_of_its_own(shop, plan_of: PlanOf, recording) -> None:
    plan = plan_of(shop, step("dbt build", timeout_seconds=1), "dbt test")
    shop.commit({"models/endless.sql": ENDLESS})

    outcome = runner.run(plan, recording)

    assert outcome.ending is Ending.TIMED_OUT
    assert "Step 3 took longer than its limit of 1 seconds" in outcome.message
    assert recording.endings()[2:] == [Ending.TIMED_OUT, Ending.SKIPPED]


def test_a_step_that_blocks_nothing_may_run_out_of_its_time(
    shop, plan_of: PlanOf, recording
) -> None:
    slow = step("dbt parse", on_failure=OnFailure.WARN, timeout_seconds=1)
    shop.commit({"models/orders.sql": "select 1{% for a in range(99999999) %}{% endfor %}"})

    outcome = runner.run(plan_of(shop, slow, "dbt deps"), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS, has_warnings=True)
    assert recording.endings()[2:] == [Ending.TIMED_OUT, Ending.SUCCESS]


def test_a_lost_lease_ends_all_and_says_nothing_more(shop, plan_of: PlanOf, recording) -> None:
    def lose(now: Any) -> bool:
        if ("started", 3) in now.events:
            raise LeaseLost
        return False

    recording.stop_when = lose

    with pytest.raises(LeaseLost):
        runner.run(plan_of(shop, "dbt build"), recording)

    assert recording.events[-1] == ("started", 3)


# --- Secrets and hostile projects ---------------------------------------------------------------


def test_a_secret_is_masked_in_logs_messages_and_artifacts(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit(
        {
            "models/orders.sql": "{{ log(env_var('DBT_PLAIN'), info=true) }}"
            "select '{{ env_var('DBT_PLAIN') }}' as a, nope",
        }
    )
    plan = plan_of(shop, "dbt run", environment={"DBT_PLAIN": SECRET}, secrets=(SECRET,))

    outcome = runner.run(plan, recording)

    said = recording.everything_said() + outcome.message
    kept = b"".join(file.file.read_bytes() for file in recording.end(3).artifacts)
    assert "*****" in recording.console(3)
    assert b"select '*****' as a" in kept
    assert SECRET not in said
    assert SECRET.encode() not in kept


SPY = """
import os
from pathlib import Path


def model(dbt, session):
    dbt.config(materialized="table")
    target = Path(os.environ["DBT_TARGET_PATH"])
    place = target / "sources.json"
    place.symlink_to({outside!r})
    (target / "compiled" / "more").symlink_to({outside!r})
    os.mkfifo(target / "catalog.json")
    seen = []
    for path in ({outside!r}, "/proc/1/environ", "/etc/shadow", str(target.parents[2] / "git")):
        try:
            seen.append(Path(path).read_text())
        except OSError:
            pass
    for path in ("profile/profiles.yml", "artifacts/x", "steps/x"):
        try:
            (target.parents[2] / path).write_text("changed")
            seen.append(path)
        except OSError:
            pass
    return session.sql("select '" + str(len(seen)) + "' as seen")
"""


def test_a_projects_own_code_reaches_nothing_of_others(
    shop, plan_of: PlanOf, recording, tmp_path
) -> None:
    outside = tmp_path / "another-run.json"
    outside.write_text("another run's")
    shop.commit({"models/spy.py": SPY.format(outside=str(outside))})

    runner.run(plan_of(shop, "dbt run", "dbt show --inline 'select * from spy'"), recording)

    assert {"sources.json", "catalog.json"}.isdisjoint(recording.artifacts(3))
    assert "too many or oddly named: 3." in recording.console(3)
    assert "| 0 " in recording.console(4)


def test_of_a_long_log_head_and_tail_are_kept(shop, plan_of: PlanOf, recording) -> None:
    shop.commit(
        {
            "macros/shout.sql": "{% macro shout() %}{% for n in range(3000) %}"
            "{{ log('line ' ~ n ~ ' ' ~ 'x' * 100, info=true) }}{% endfor %}{% endmacro %}"
        }
    )

    runner.run(plan_of(shop, "dbt run-operation shout", log_limit_bytes=20_000), recording)

    console = recording.console(3)
    assert "line 0 " in console
    assert "bytes cut …" in console
    assert "line 2999 " in console
    assert len(console) < 20_000 + 64 * 1024 + 100


# --- PostgreSQL ---------------------------------------------------------------------------------


@pytest.fixture
def schema() -> Iterator[str]:
    """A schema of one's own in a real PostgreSQL, dropped afterwards."""
    name = f"runner_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def on_postgres(schema: str) -> dict[str, Any]:
    at = conninfo_to_dict(POSTGRES_URL)
    port = int(at.get("port") or 5432)
    return {
        "profile": {
            "output": {
                "type": "postgres",
                "host": at["host"],
                "port": port,
                "user": at.get("user") or "root",
                "password": "{{ env_var('DBT_ENV_SECRET_JOBSVC_PASSWORD') }}",
                "dbname": at["dbname"],
                "schema": schema,
                "threads": 2,
            },
            "secrets": {"DBT_ENV_SECRET_JOBSVC_PASSWORD": at.get("password") or SECRET},
        },
        "sandbox": {"ports": (port,)},
    }


@pytest.mark.services
def test_a_run_builds_on_postgresql(shop, plan_of: PlanOf, recording, schema) -> None:
    outcome = runner.run(plan_of(shop, "dbt build", **on_postgres(schema)), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS)
    with psycopg.connect(POSTGRES_URL) as connection:
        table = sql.Identifier(schema, "orders")
        assert connection.execute(sql.SQL("SELECT id FROM {}").format(table)).fetchall() == [(1,)]


@pytest.mark.services
def test_a_connections_secret_reaches_dbt_but_no_file(
    shop, plan_of: PlanOf, recording, schema
) -> None:
    plan = plan_of(shop, "dbt debug", "dbt build", **on_postgres(schema))
    (secret,) = plan.profile.secrets.values()

    outcome = runner.run(plan, recording)

    files = [path for path in runner.workspace_of(plan).rglob("*") if path.is_file()]
    assert outcome.ending is Ending.SUCCESS
    assert not any(secret.encode() in path.read_bytes() for path in files)
    assert secret not in recording.everything_said()


@pytest.mark.services
def test_a_stop_ends_the_query_in_postgresql(shop, plan_of: PlanOf, recording, schema) -> None:
    shop.commit({"models/slow.sql": "select pg_sleep(60) -- {{ ref('orders') }}"})
    recording.stop_when = started(3, "2 of 2 START")

    outcome = runner.run(plan_of(shop, "dbt run", **on_postgres(schema)), recording)

    assert outcome.ending is Ending.STOPPED
    with psycopg.connect(POSTGRES_URL) as connection:
        running = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()"
            " AND state = 'active'",
            (f"%{schema}%",),
        ).fetchone()
    assert running == (0,)


@pytest.mark.services
def test_a_port_that_is_not_named_is_out_of_reach(shop, plan_of: PlanOf, recording, schema) -> None:
    changes = {**on_postgres(schema), "sandbox": {"ports": (443,), "need": ("landlock:4",)}}

    outcome = runner.run(plan_of(shop, "dbt build", **changes), recording)

    assert outcome.ending is Ending.ERROR
    assert "Permission denied" in recording.console(3)
