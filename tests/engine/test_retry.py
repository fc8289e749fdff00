"""A step that is tried again inside its run, with real dbt: when, how often, and from where."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from jobsvc.engine import runner
from jobsvc.engine.attempts import keep_trying, together
from jobsvc.engine.plan import Backoff, FailureClass, RetryPlan, RunPlan, StepKind, StepPlan
from jobsvc.engine.ports import CollectedFile, Ending, Outcome, StepEnd

PlanOf = Callable[..., RunPlan]

# Counts its invocations in the warehouse; until the third, one model loses its connection.
PROJECT = """\
name: shop
version: "1.0"
profile: whatever
models: {+materialized: table}
on-run-start:
  - create table if not exists main.tries (n int)
  - insert into main.tries values (1)
"""
FLAKY = """
{% if execute and run_query('select count(*) from main.tries').columns[0].values()[0] < GOOD %}
select error('connection reset by peer') as id
{% else %}
select 1 as id
{% endif %}
"""
FAILING_TEST = "select 1 as id"


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


def flaky_until(shop: Any, attempt: int) -> None:
    """Let the project's model ``flaky`` fail until it is invoked this often."""
    shop.commit(
        {
            "dbt_project.yml": PROJECT,
            "models/flaky.sql": FLAKY.replace("GOOD", str(attempt)),
            "models/after_it.sql": "select * from {{ ref('flaky') }}",
        }
    )


def statuses(recording: Any, index: int) -> dict[str, str]:
    results = json.loads(recording.artifact(index, "run_results.json"))["results"]
    nodes = [row for row in results if not row["unique_id"].startswith("operation.")]
    return {row["unique_id"].split(".")[2]: row["status"] for row in nodes}


# --- With dbt ------------------------------------------------------------------------------------


def test_a_lost_connection_is_tried_again_at_the_policys_times(
    shop, plan_of: PlanOf, recording
) -> None:
    flaky_until(shop, 3)
    policy = RetryPlan(max_retries=3, delay_seconds=1, backoff=Backoff.EXPONENTIAL)

    outcome = runner.run(plan_of(shop, step("dbt build", retry=policy)), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS)
    attempts = recording.end(3).attempts
    assert [attempt.delay_seconds for attempt in attempts] == [0, 1, 3]
    assert [attempt.failure_class for attempt in attempts] == [
        FailureClass.TRANSIENT_WAREHOUSE,
        FailureClass.TRANSIENT_WAREHOUSE,
        None,
    ]
    waited = [
        (
            datetime.fromisoformat(later.started_at) - datetime.fromisoformat(earlier.finished_at)
        ).total_seconds()
        for earlier, later in itertools.pairwise(attempts)
    ]
    assert 1 <= waited[0] < 2 < 3 <= waited[1] < 4
    assert "Attempt 2 of 4 in 1 s: " in recording.console(3)
    assert "Attempt 3 of 4 in 3 s: " in recording.console(3)


def test_a_retry_goes_on_from_what_failed_and_the_results_name_every_node(
    shop, plan_of: PlanOf, recording
) -> None:
    flaky_until(shop, 2)
    policy = RetryPlan(max_retries=1, delay_seconds=0)

    runner.run(plan_of(shop, step("dbt build", retry=policy)), recording)

    end = recording.end(3)
    assert end.effective_command == "dbt retry"
    assert [attempt.resumed for attempt in end.attempts] == [False, True]
    assert statuses(recording, 3) == {
        "orders": "success",
        "flaky": "success",
        "after_it": "success",
    }
    assert recording.console(3).count("OK created sql table model main.orders") == 1
    assert "run/shop/models/orders.sql" in recording.artifacts(3)


def test_a_failing_test_is_not_tried_again_by_default(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"tests/never_right.sql": FAILING_TEST})
    policy = RetryPlan(max_retries=3, delay_seconds=0)

    outcome = runner.run(plan_of(shop, step("dbt build", retry=policy)), recording)

    assert outcome.failure_class is FailureClass.DBT_ERROR
    assert len(recording.end(3).attempts) == 1


def test_a_compile_error_is_not_tried_again_by_default(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"models/broken.sql": "select {{ nope() }}"})
    policy = RetryPlan(max_retries=3, delay_seconds=0)

    runner.run(plan_of(shop, step("dbt build", retry=policy)), recording)

    assert len(recording.end(3).attempts) == 1


def test_a_failing_test_is_tried_again_where_the_job_says_so(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit({"tests/never_right.sql": FAILING_TEST})
    policy = RetryPlan(max_retries=1, delay_seconds=0, retry_on=(FailureClass.DBT_ERROR,))

    outcome = runner.run(plan_of(shop, step("dbt build", retry=policy)), recording)

    assert outcome.message.startswith("Step 3 failed after 2 attempts: ")
    assert statuses(recording, 3) == {"orders": "success", "never_right": "fail"}


def test_a_step_that_ran_out_of_its_time_is_tried_again_from_its_start(
    shop, plan_of: PlanOf, recording
) -> None:
    policy = RetryPlan(max_retries=1, delay_seconds=0, retry_on=(FailureClass.TIMEOUT,))

    outcome = runner.run(
        plan_of(shop, step("dbt build", retry=policy, timeout_seconds=1)), recording
    )

    assert outcome.ending is Ending.TIMED_OUT
    assert [attempt.resumed for attempt in recording.end(3).attempts] == [False, False]


def test_a_checkout_that_fails_for_a_moment_is_tried_again(
    shop, plan_of: PlanOf, recording
) -> None:
    plan = plan_of(shop, "dbt parse")
    policy = RetryPlan(max_retries=1, delay_seconds=1)
    away = shop.bare.with_name("away.git")
    shop.bare.rename(away)
    steps = tuple(
        StepPlan(index=one.index, name=one.name, kind=one.kind, command=one.command, retry=policy)
        for one in plan.steps
    )

    def come_back(now: Any) -> bool:
        if "Attempt 2" in now.console(1) and away.exists():
            away.rename(shop.bare)
        return False

    recording.stop_when = come_back
    outcome = runner.run(RunPlan(**{**vars(plan), "steps": steps}), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS)
    assert len(recording.end(1).attempts) == 2


def test_a_cancel_while_it_waits_ends_the_run_at_once(shop, plan_of: PlanOf, recording) -> None:
    flaky_until(shop, 9)
    policy = RetryPlan(max_retries=1, delay_seconds=600)
    recording.stop_when = lambda now: "Attempt 2 of 2 in 600 s" in now.console(3)
    started = time.monotonic()

    outcome = runner.run(plan_of(shop, step("dbt build", retry=policy), "dbt test"), recording)

    assert outcome.ending is Ending.STOPPED
    assert recording.endings()[2:] == [Ending.STOPPED, Ending.SKIPPED]
    assert "waited for attempt 2" in recording.end(3).message
    assert time.monotonic() - started < 120


def test_the_runs_limit_counts_while_it_waits(shop, plan_of: PlanOf, recording) -> None:
    flaky_until(shop, 9)
    policy = RetryPlan(max_retries=1, delay_seconds=600)

    outcome = runner.run(
        plan_of(shop, step("dbt build", retry=policy), timeout_seconds=25), recording
    )

    assert outcome.ending is Ending.TIMED_OUT


# --- From an earlier run -------------------------------------------------------------------------


@pytest.fixture
def results_of_a_failed_build(shop, plan_of: PlanOf, recording, tmp_path: Path) -> Path:
    """The run_results.json of a build in which one of three models failed and one was skipped."""
    shop.commit(
        {
            "models/broken.sql": "select nope from {{ ref('orders') }}",
            "models/last.sql": "select * from {{ ref('broken') }}",
        }
    )
    runner.run(plan_of(shop, "dbt build"), recording)
    kept = tmp_path / "kept.json"
    kept.write_bytes(recording.artifact(3, "run_results.json"))
    assert statuses(recording, 3) == {"orders": "success", "broken": "error", "last": "skipped"}
    recording.ends.clear()
    return kept


def test_a_step_goes_on_from_an_earlier_runs_results_with_the_newest_code(
    shop, plan_of: PlanOf, recording, results_of_a_failed_build: Path
) -> None:
    shop.commit({"models/broken.sql": "select id from {{ ref('orders') }}"})
    build = step("dbt build", resume_from=str(results_of_a_failed_build))

    outcome = runner.run(plan_of(shop, build, attempt=2), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS)
    assert statuses(recording, 3) == {"broken": "success", "last": "success"}
    assert recording.end(3).effective_command == "dbt retry"


def test_results_of_nothing_that_failed_make_the_whole_step_run(
    shop, plan_of: PlanOf, recording, results_of_a_failed_build: Path
) -> None:
    found = json.loads(results_of_a_failed_build.read_text())
    found["results"] = [row for row in found["results"] if row["status"] == "success"]
    results_of_a_failed_build.write_text(json.dumps(found))
    shop.commit({"models/broken.sql": "select id from {{ ref('orders') }}"})
    build = step("dbt build", resume_from=str(results_of_a_failed_build))

    runner.run(plan_of(shop, build, attempt=2), recording)

    assert set(statuses(recording, 3)) == {"orders", "broken", "last"}
    assert "the step runs from its start" in recording.console(3)
    assert recording.end(3).effective_command == ""


def test_a_node_that_the_fix_took_away_makes_the_whole_step_run(
    shop, plan_of: PlanOf, recording, results_of_a_failed_build: Path
) -> None:
    shop.git("rm", "--quiet", "models/broken.sql", "models/last.sql")
    shop.commit({"models/orders.sql": "select 2 as id"})
    build = step("dbt build", resume_from=str(results_of_a_failed_build))

    outcome = runner.run(plan_of(shop, build, attempt=2), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS)
    assert statuses(recording, 3) == {"orders": "success"}


def test_results_that_nobody_can_read_make_the_whole_step_run(
    shop, plan_of: PlanOf, recording, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.json"
    junk.write_text("{")

    runner.run(plan_of(shop, step("dbt build", resume_from=str(junk))), recording)

    assert statuses(recording, 3) == {"orders": "success"}


# --- Without -------------------------------------------------------------------------------------


def failure(number: int) -> StepEnd:
    return StepEnd(
        index=3,
        ending=Ending.ERROR,
        exit_code=1,
        message=f"failed {number}",
        failure_class=FailureClass.TRANSIENT_WAREHOUSE,
    )


def test_the_last_attempt_is_the_steps_end() -> None:
    waits: list[float] = []

    end = keep_trying(
        RetryPlan(max_retries=2, delay_seconds=5, backoff=Backoff.LINEAR),
        failure,
        wait=waits.append,  # type: ignore[arg-type] # returns None, as a wait that was not cut
        say=lambda _: None,
    )

    assert (end.message, waits) == ("failed 3", [5, 10])
    assert [attempt.message for attempt in end.attempts] == ["failed 1", "failed 2", "failed 3"]


def test_results_are_put_together_only_where_both_can_be_read(tmp_path: Path) -> None:
    def left(name: str, text: str) -> StepEnd:
        file = tmp_path / name
        file.write_text(text)
        kept = CollectedFile(path="run_results.json", file=file, size=len(text))
        return StepEnd(index=3, ending=Ending.ERROR, artifacts=[kept])

    later = left("later.json", '{"results": [{"unique_id": "a"}]}')

    made = together(left("earlier.json", '{"results": 7}'), later)

    assert made.artifacts == tuple(later.artifacts)
