"""Why a run waits: one sentence, and the runs it waits for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.models import Account
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import trigger_run
from jobsvc.runs.waiting import Waiting, WaitsFor, reasons
from jobsvc.statuses import RunStatus
from tests.factories import JobFactory, RunFactory
from tests.runs.conftest import BY_API

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(account: Account) -> Callable[..., Job]:
    """A job of one account that has two run slots."""
    account.run_slots = 2
    account.save()
    return lambda **traits: JobFactory(environment__project__account=account, **traits)


def start(job: Job) -> Run:
    run = Run.objects.claim(trigger_run(job, BY_API).pk, worker="w1")
    assert run is not None
    return run


def why(run: Run) -> Waiting:
    return reasons([run])[run.pk]


def test_a_run_waits_for_a_run_of_its_job(job: Callable[..., Job]) -> None:
    busy = job()
    running = start(busy)

    assert why(trigger_run(busy, BY_API)) == Waiting(
        WaitsFor.JOB, f"Waits for run {running.pk} of the same job to end.", (running.pk,)
    )


def test_a_run_waits_for_another_job_that_holds_its_key(job: Callable[..., Job]) -> None:
    queue = {"queue": {"concurrency_key": "prod marts"}}
    running = start(job(extensions=queue))
    waiting = why(trigger_run(job(extensions=queue), BY_API))

    assert (waiting.reason, waiting.blocked_by) == (WaitsFor.KEY, (running.pk,))
    assert "share the concurrency key 'prod marts'" in waiting.sentence


def test_a_run_waits_behind_those_queued_earlier_for_its_job(job: Callable[..., Job]) -> None:
    its_job = job()
    first, second, third = (trigger_run(its_job, BY_API) for _time in range(3))

    assert why(third) == Waiting(
        WaitsFor.QUEUE,
        f"Waits for run {first.pk}, which was queued earlier and must not overlap it.",
        (first.pk, second.pk),
    )


def test_a_run_waits_for_a_run_slot(job: Callable[..., Job]) -> None:
    running = [start(job()), start(job())]
    waiting = why(trigger_run(job(), BY_API))

    assert waiting.reason == WaitsFor.SLOT
    assert waiting.blocked_by == tuple(run.pk for run in running)
    assert waiting.sentence.startswith("All 2 run slots are taken.")


def test_the_only_run_slot_is_told_as_one(job: Callable[..., Job], account: Account) -> None:
    account.run_slots = 1
    account.save()
    start(job())

    assert "The account's run slot is taken." in why(trigger_run(job(), BY_API)).sentence


def test_a_run_waits_for_its_turn(job: Callable[..., Job]) -> None:
    start(job())
    earlier, later = trigger_run(job(), BY_API), trigger_run(job(), BY_API)

    assert why(later) == Waiting(
        WaitsFor.TURN, "Waits for its turn: one run was queued earlier.", (earlier.pk,)
    )


def test_a_run_that_nothing_holds_back_waits_for_a_worker(job: Callable[..., Job]) -> None:
    waiting = why(trigger_run(job(), BY_API))

    assert (waiting.reason, waiting.blocked_by) == (WaitsFor.WORKER, ())


def test_a_ci_run_never_waits_for_a_slot(job: Callable[..., Job]) -> None:
    start(job())
    start(job())

    assert why(trigger_run(job(ci=True), BY_API)).reason == WaitsFor.WORKER


def test_only_queued_runs_wait(job: Callable[..., Job]) -> None:
    runs = [start(job()), RunFactory(succeeded=True), RunFactory(cancelled=True)]

    assert reasons(runs) == {}


def test_what_waits_for_nothing_but_a_worker_is_what_may_start(job: Callable[..., Job]) -> None:
    jobs = [job() for _job in range(3)] + [job(ci=True)]
    start(jobs[0])
    runs = [trigger_run(one, BY_API) for one in [*jobs, *jobs]]
    free = {run_id for run_id, waiting in reasons(runs).items() if waiting.reason == "worker"}

    assert free == {run.pk for run in runs if Run.objects.claim(run.pk, worker="w2")}


@pytest.mark.parametrize("number", [1, 30])
def test_all_runs_of_an_account_are_told_about_in_two_queries(
    job: Callable[..., Job], number: int, django_assert_num_queries: Callable[..., object]
) -> None:
    made = [trigger_run(job(), BY_API).pk for _time in range(number)]
    runs = list(Run.objects.filter(pk__in=made))

    with django_assert_num_queries(2):  # type: ignore[attr-defined] # a context manager
        assert len(reasons(runs)) == number


def test_a_run_that_is_over_keeps_nobody_waiting(job: Callable[..., Job]) -> None:
    busy = job()
    start(busy).move_to(RunStatus.ERROR, message="It failed.")

    assert why(trigger_run(busy, BY_API)).reason == WaitsFor.WORKER
