"""Names and order of a run's steps, as clients of dbt Cloud read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobsvc.engine.plan import OnFailure, StepKind
from jobsvc.runs.models import Run
from jobsvc.runs.record import RunRecorder
from jobsvc.runs.steps import close_steps, steps_of, write_steps
from jobsvc.runs.trigger import trigger_run
from jobsvc.statuses import FINISHED, RunStatus
from tests.factories import JobFactory
from tests.runs.conftest import BY_API

pytestmark = pytest.mark.django_db


def run_of(*, schema: str | None = None, **settings: Any) -> Run:
    return trigger_run(JobFactory(**settings), replace(BY_API, schema_override=schema))


def names_of(run: Run) -> list[str]:
    return [step.name for step in steps_of(run, "Postgres")]


def test_the_services_own_steps_come_first_then_the_jobs() -> None:
    assert names_of(run_of(execute_steps=["dbt seed", "dbt build --select a+"])) == [
        "Clone git repository",
        "Create profile from connection Postgres",
        "Invoke dbt with `dbt deps`",
        "Invoke dbt with `dbt seed`",
        "Invoke dbt with `dbt build --select a+`",
    ]


def test_freshness_comes_before_the_jobs_commands_and_docs_come_last() -> None:
    run = run_of(execute_steps=["dbt build"], run_generate_sources=True, generate_docs=True)

    assert names_of(run)[3:] == [
        "Invoke dbt with `dbt source freshness`",
        "Invoke dbt with `dbt build`",
        "Invoke dbt with `dbt docs generate`",
    ]


def test_an_overridden_schema_is_named() -> None:
    assert names_of(run_of(schema="dbt_cloud_pr_1_7"))[1] == (
        "Create profile from connection Postgres (override schema to 'dbt_cloud_pr_1_7')"
    )


def test_steps_are_numbered_from_one_without_a_gap() -> None:
    run = run_of(execute_steps=["dbt seed", "dbt build"], generate_docs=True)

    assert [step.index for step in steps_of(run, "Postgres")] == [1, 2, 3, 4, 5, 6]


def test_the_ticked_freshness_and_docs_do_not_end_a_run() -> None:
    run = run_of(run_generate_sources=True, generate_docs=True)

    steps = steps_of(run, "Postgres")

    assert [step.kind for step in steps if step.on_failure is OnFailure.WARN] == [
        StepKind.FRESHNESS,
        StepKind.DOCS,
    ]


def test_the_same_commands_as_steps_of_the_job_do_end_it() -> None:
    run = run_of(execute_steps=["dbt source freshness", "dbt docs generate"])

    assert all(step.on_failure is OnFailure.STOP for step in steps_of(run, "Postgres"))


@pytest.mark.parametrize(("stops", "policy"), [(True, OnFailure.STOP), (False, OnFailure.WARN)])
def test_linting_comes_before_the_jobs_commands_and_may_stop_the_run(
    stops: bool, policy: OnFailure
) -> None:
    run = run_of(ci=True, run_lint=True, errors_on_lint_failure=stops, run_generate_sources=True)

    freshness, lint, build = steps_of(run, "Postgres")[3:6]
    assert (freshness.kind, build.kind) == (StepKind.FRESHNESS, StepKind.COMMAND)
    assert (lint.name, lint.kind) == ("Lint the changed files with SQLFluff", StepKind.LINT)
    assert (lint.command, lint.on_failure) == ("", policy)


def test_only_ci_is_linted() -> None:
    assert not any("Lint" in name for name in names_of(run_of(run_lint=True)))


def test_every_step_is_written_down_before_the_first_begins() -> None:
    run = run_of(execute_steps=["dbt build", "dbt docs generate"])
    write_steps(run, steps_of(run, "Postgres"))

    assert list(run.steps.values_list("index", "kind", "command", "builds", "status")) == [
        (1, "clone", "", False, RunStatus.QUEUED),
        (2, "profile", "", False, RunStatus.QUEUED),
        (3, "deps", "dbt deps", False, RunStatus.QUEUED),
        (4, "command", "dbt build", True, RunStatus.QUEUED),
        (5, "command", "dbt docs generate", False, RunStatus.QUEUED),
    ]


@pytest.mark.parametrize("end", FINISHED)
def test_what_was_cut_off_ends_with_its_run_and_the_rest_is_skipped(
    recorder: RunRecorder, end: RunStatus
) -> None:
    run = recorder.run
    recorder.step_started(1)
    run.status = end

    close_steps(run)

    first, *rest = run.steps.order_by("index")
    assert (first.status, first.status_humanized) == (end, end.label)
    assert first.finished_at is not None
    assert {(step.status, step.status_humanized) for step in rest} == {
        (RunStatus.CANCELLED, "Skipped")
    }


def test_a_step_that_has_ended_stays_as_it_ended(recorder: RunRecorder) -> None:
    run = recorder.run
    run.steps.update(status=RunStatus.SUCCESS)
    run.status = RunStatus.ERROR

    close_steps(run)

    assert set(run.steps.values_list("status", flat=True)) == {RunStatus.SUCCESS}


def test_the_steps_of_another_run_are_left_alone(
    recorder: RunRecorder, claimed: Callable[..., Run]
) -> None:
    other = claimed()
    write_steps(other, steps_of(other, "Postgres"))
    recorder.run.status = RunStatus.ERROR

    close_steps(recorder.run)

    assert set(other.steps.values_list("status", flat=True)) == {RunStatus.QUEUED}


def test_what_a_job_says_of_its_steps_is_not_said_of_others_that_a_run_has_instead() -> None:
    job = JobFactory(
        execute_steps=["dbt seed"],
        extensions={
            "steps": [{"name": "Load", "on_failure": "warn"}],
            "freshness": {"on_error": "fail"},
        },
        run_generate_sources=True,
    )
    run = trigger_run(job, replace(BY_API, steps_override=["dbt build"]))
    freshness, build = steps_of(run, "Postgres")[3:]

    assert (build.label, build.on_failure) == ("", OnFailure.STOP)
    assert freshness.on_failure == OnFailure.STOP
