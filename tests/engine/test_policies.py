"""What a failed step means for the run, by its policy; what warns; what stale sources do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from jobsvc.engine import runner
from jobsvc.engine.plan import FailureClass, OnFailure, RunPlan, StepKind, StepPlan
from jobsvc.engine.ports import Ending, Outcome

PlanOf = Callable[..., RunPlan]

FAILING_TEST = "select 1 as id"
WARNING_TEST = "{{ config(severity='warn') }} select 1 as id"
SOURCES = """
sources:
  - name: raw
    schema: main
    loaded_at_field: loaded_at
    freshness: {LEVEL_after: {count: 1, period: hour}}
    tables: [{name: events}]
"""
EVENTS = "select timestamp '2020-01-01' as loaded_at"


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


def test_after_a_step_that_may_fail_the_others_run_and_the_run_is_an_error(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit({"tests/never_right.sql": FAILING_TEST})
    test = step("dbt test", on_failure=OnFailure.CONTINUE)

    outcome = runner.run(plan_of(shop, test, "dbt run"), recording)

    assert recording.endings()[2:] == [Ending.ERROR, Ending.SUCCESS]
    assert outcome.ending is Ending.ERROR
    assert outcome.failure_class is FailureClass.DBT_ERROR
    assert outcome.message.startswith("Step 3 failed: Invoke dbt with `dbt test`. 1 node failed")
    assert outcome.message.endswith("The other steps ran all the same.")


def test_two_steps_that_failed_are_both_told_of(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"tests/never_right.sql": FAILING_TEST})
    test = step("dbt test", on_failure=OnFailure.CONTINUE)

    outcome = runner.run(plan_of(shop, test, test, "dbt run"), recording)

    assert "So did 1 more of its steps." in outcome.message


def test_a_step_that_only_warns_leaves_a_success_with_warnings(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit({"tests/never_right.sql": FAILING_TEST})
    test = step("dbt test", on_failure=OnFailure.WARN)

    outcome = runner.run(plan_of(shop, test, "dbt run"), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS, has_warnings=True)
    assert recording.endings()[2:] == [Ending.ERROR, Ending.SUCCESS]


def test_a_step_that_stops_wins_over_those_that_did_not(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"tests/never_right.sql": FAILING_TEST})
    gentle = step("dbt test", on_failure=OnFailure.CONTINUE)

    outcome = runner.run(plan_of(shop, gentle, "dbt test", "dbt run"), recording)

    assert outcome.message.startswith("Step 4 failed: ")
    assert recording.endings()[2:] == [Ending.ERROR, Ending.ERROR, Ending.SKIPPED]


def test_a_test_that_warns_marks_the_run(shop, plan_of: PlanOf, recording) -> None:
    shop.commit({"tests/rarely_right.sql": WARNING_TEST})

    outcome = runner.run(plan_of(shop, "dbt build", "dbt run"), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS, has_warnings=True)


def test_a_source_that_is_getting_old_marks_the_run(shop, plan_of: PlanOf, recording) -> None:
    shop.commit(
        {"models/sources.yml": SOURCES.replace("LEVEL", "warn"), "models/events.sql": EVENTS}
    )

    outcome = runner.run(plan_of(shop, "dbt run", "dbt source freshness"), recording)

    assert outcome == Outcome(ending=Ending.SUCCESS, has_warnings=True)


def freshness(policy: OnFailure) -> StepPlan:
    return step("dbt source freshness", kind=StepKind.FRESHNESS, on_failure=policy)


def test_a_stale_source_skips_the_run_where_the_job_says_so(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit(
        {"models/sources.yml": SOURCES.replace("LEVEL", "error"), "models/events.sql": EVENTS}
    )
    plan = plan_of(shop, "dbt run", freshness(OnFailure.SKIP_RUN), "dbt build")

    outcome = runner.run(plan, recording)

    assert (outcome.ending, outcome.detail) == (Ending.SUCCESS, "skipped")
    assert outcome.message.startswith("Skipped: 1 source is stale: source.shop.raw.events.")
    assert recording.endings()[3:] == [Ending.ERROR, Ending.SKIPPED]
    results = json.loads(recording.artifact(4, "sources.json"))["results"]
    assert [row["status"] for row in results] == ["error"]


def test_a_freshness_that_cannot_be_told_is_an_error_and_no_skip(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit({"models/sources.yml": SOURCES.replace("LEVEL", "error")})

    outcome = runner.run(plan_of(shop, freshness(OnFailure.SKIP_RUN), "dbt build"), recording)

    assert outcome.ending is Ending.ERROR
    assert "Runtime Error in source events" in outcome.message


def test_a_stale_source_fails_the_run_where_the_job_says_so(
    shop, plan_of: PlanOf, recording
) -> None:
    shop.commit(
        {"models/sources.yml": SOURCES.replace("LEVEL", "error"), "models/events.sql": EVENTS}
    )

    outcome = runner.run(
        plan_of(shop, "dbt run", freshness(OnFailure.STOP), "dbt build"), recording
    )

    assert outcome.ending is Ending.ERROR
    assert recording.endings()[3:] == [Ending.ERROR, Ending.SKIPPED]
