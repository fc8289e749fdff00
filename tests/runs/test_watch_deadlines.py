"""Every in-between status has its deadline, and every deadline its sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from jobsvc.jobs.chain import Completion
from jobsvc.jobs.define import define_job
from jobsvc.runs import tasks
from jobsvc.runs.models import Run
from jobsvc.runs.react import react_to_transitions
from jobsvc.runs.watch import NOT_TAKEN, watch
from jobsvc.statuses import CancelReason, RunStatus
from tests.factories import EnvironmentFactory, JobFactory, RunFactory

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]
MINUTE = timedelta(minutes=1)


def age(run: Run, minutes: float, *columns: str) -> None:
    """Let ``columns`` of the run be ``minutes`` older than they are."""
    older = {column: F(column) - MINUTE * minutes for column in columns}
    Run.objects.filter(pk=run.pk).update(**older)


def running(claimed: MakeRun, **configuration: Any) -> Run:
    run = claimed()
    run.move_to(RunStatus.RUNNING, started_at=now())
    Run.objects.filter(pk=run.pk).update(configuration=run.configuration | configuration)
    return run


# --- Queued ------------------------------------------------------------------------------


def test_a_run_that_nobody_takes_is_rung_for_again(
    queued: MakeRun, published: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    run = queued()
    age(run, 6, "created_at")

    with django_capture_on_commit_callbacks(execute=True):
        assert watch() == []

    assert published == [("execute_run", run.pk)]
    run.refresh_from_db()
    assert (run.status, run.status_message) == (RunStatus.QUEUED, NOT_TAKEN)


def test_a_run_that_nobody_takes_is_warned_of_once(
    queued: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = queued()
    age(run, 6, "created_at")

    with caplog.at_level(logging.WARNING, "jobsvc.runs.watch"):
        watch()
        watch()

    assert [record.getMessage() for record in caplog.records] == [f"run {run.pk}: {NOT_TAKEN}"]


def test_the_warning_is_gone_once_a_worker_takes_the_run(queued: MakeRun) -> None:
    run = queued()
    age(run, 6, "created_at")
    watch()

    claimed = Run.objects.claim(run.pk, worker="w1")

    assert claimed is not None
    assert claimed.status_message == ""


def test_a_run_that_was_queued_just_now_is_not_warned_of(queued: MakeRun) -> None:
    run = queued()
    age(run, 4, "created_at")
    watch()

    run.refresh_from_db()
    assert run.status_message == ""


def test_a_run_that_waits_for_another_is_not_warned_of(claimed: MakeRun, queued: MakeRun) -> None:
    job = JobFactory()
    claimed(job)
    waiting = queued(job)
    age(waiting, 60, "created_at")
    watch()

    waiting.refresh_from_db()
    assert waiting.status_message == ""


def test_a_run_whose_turn_is_still_to_come_is_not_warned_of(queued: MakeRun) -> None:
    environment = EnvironmentFactory(project__account__run_slots=1)
    first, second = (queued(JobFactory(environment=environment)) for _run in range(2))
    for run in (first, second):
        age(run, 60, "created_at")
    watch()

    told = [Run.objects.get(pk=run.pk).status_message for run in (first, second)]
    assert told == [NOT_TAKEN, ""]


def test_a_run_that_was_let_through_just_now_is_not_warned_of(queued: MakeRun) -> None:
    run = queued()
    age(run, 60, "created_at")
    RunFactory(job=run.job, succeeded=True)
    watch()

    run.refresh_from_db()
    assert run.status_message == ""


# --- Starting and running ----------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "over"), [(14, False), (16, True)])
def test_a_run_has_a_quarter_of_an_hour_to_start(
    minutes: int, over: bool, claimed: MakeRun
) -> None:
    run = claimed()
    age(run, minutes, "dequeued_at")

    assert watch() == [run] * over

    run.refresh_from_db()
    if over:
        assert run.status == RunStatus.ERROR
        assert run.status_message.startswith("The run was not ready to start within 15 minutes.")
        assert run.failure_class == "infrastructure"


@pytest.mark.parametrize(("minutes", "over"), [(14, False), (16, True)])
def test_a_run_whose_worker_lets_it_go_on_is_cancelled(
    minutes: int, over: bool, claimed: MakeRun
) -> None:
    run = running(claimed, timeout_seconds=600)
    age(run, minutes, "started_at")

    assert watch() == [run] * over

    run.refresh_from_db()
    if over:
        assert (run.status, run.cancel_reason) == (RunStatus.CANCELLED, CancelReason.TIMEOUT)
        assert run.status_message.startswith("The run went on past its limit of 600 seconds")


def test_without_a_limit_of_its_own_a_run_has_the_longest_one(
    claimed: MakeRun, settings: Any
) -> None:
    settings.RUN_MAX_SECONDS = 3600
    run = running(claimed)
    age(run, 66, "started_at")

    assert watch() == [run]


def test_a_run_lost_with_its_worker_is_a_failure_of_the_infrastructure(claimed: MakeRun) -> None:
    run = claimed()
    age(run, 10, "lease_until")
    watch()

    run.refresh_from_db()
    assert run.failure_class == "infrastructure"


# --- To be retried -----------------------------------------------------------------------


def test_a_retry_that_never_came_leaves_the_failure_as_the_end(
    published: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    first, second = JobFactory.create_batch(2, environment=EnvironmentFactory())
    define_job(second, completion=Completion(first, [RunStatus.ERROR]))
    run = RunFactory(job=first, running=True)
    due = now() - MINUTE * 16
    run.move_to(RunStatus.ERROR, message="It broke.", will_retry_at=due)
    react_to_transitions()
    tasks.start_downstream_runs(run.transitions.get().pk)
    assert not Run.objects.filter(job=second).exists()

    watch()
    react_to_transitions()
    tasks.start_downstream_runs(run.transitions.get().pk)

    run.refresh_from_db()
    assert run.will_retry_at is None
    assert run.status_message.startswith("It broke. It was to be retried by itself at")
    assert published.count(("start_downstream_runs", run.transitions.get().pk)) == 2
    assert Run.objects.filter(job=second).count() == 1


def test_a_retry_that_is_still_to_come_is_waited_for() -> None:
    due = now() - MINUTE
    run = RunFactory(failed=True, will_retry_at=due)

    watch()

    run.refresh_from_db()
    assert run.will_retry_at == due


def test_a_retry_that_was_started_is_left_alone() -> None:
    due = now() - MINUTE * 60
    run = RunFactory(failed=True, will_retry_at=due)
    RunFactory(job=run.job, retrying_run=run)

    watch()

    run.refresh_from_db()
    assert run.will_retry_at == due
