"""Whom to ring: what could start now, in order, no more than there is room for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.models import Account
from jobsvc.jobs.models import Job
from jobsvc.runs.dispatch import dispatch_queued_runs
from jobsvc.runs.models import Run
from jobsvc.runs.tasks import dispatch_queued_runs as dispatch_task
from jobsvc.statuses import RunStatus
from tests.factories import AccountFactory, JobFactory, RunFactory

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


def jobs_of(account: Account, number: int, **traits: bool) -> list[Job]:
    return [JobFactory(environment__project__account=account, **traits) for _place in range(number)]


def test_a_waiting_run_is_rung_for(
    queued: MakeRun,
    published: list[tuple[object, ...]],
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    run = queued()
    with django_capture_on_commit_callbacks(execute=True):
        assert dispatch_queued_runs() == [run.pk]

    assert published == [("execute_run", run.pk)]


def test_nothing_waits_and_nobody_is_rung_for(claimed: MakeRun) -> None:
    claimed()
    RunFactory(succeeded=True)

    assert dispatch_queued_runs() == []


def test_of_a_jobs_queued_runs_the_first_is_rung_for(queued: MakeRun) -> None:
    job = JobFactory()
    first, _second = queued(job), queued(job)

    assert dispatch_queued_runs() == [first.pk]


def test_a_job_that_is_running_is_not_rung_for(claimed: MakeRun, queued: MakeRun) -> None:
    job = JobFactory()
    claimed(job)
    queued(job)

    assert dispatch_queued_runs() == []


def test_no_more_are_rung_for_than_there_are_slots(queued: MakeRun) -> None:
    runs = [queued(job) for job in jobs_of(AccountFactory(run_slots=2), 5)]

    assert dispatch_queued_runs() == [run.pk for run in runs[:2]]


def test_slots_that_are_taken_do_not_count(claimed: MakeRun, queued: MakeRun) -> None:
    busy, *waiting = jobs_of(AccountFactory(run_slots=2), 4)
    claimed(busy)
    runs = [queued(job) for job in waiting]

    assert dispatch_queued_runs() == [runs[0].pk]


def test_a_full_account_is_not_rung_for(claimed: MakeRun, queued: MakeRun) -> None:
    busy, waiting = jobs_of(AccountFactory(run_slots=1), 2)
    claimed(busy)
    queued(waiting)

    assert dispatch_queued_runs() == []


def test_ci_runs_are_rung_for_whatever_slots_are_taken(claimed: MakeRun, queued: MakeRun) -> None:
    account = AccountFactory(run_slots=1)
    claimed(jobs_of(account, 1)[0])
    runs = [queued(job) for job in jobs_of(account, 3, ci=True)]

    assert dispatch_queued_runs() == [run.pk for run in runs]


def test_a_long_queue_of_one_account_does_not_hide_another(queued: MakeRun) -> None:
    big, small = AccountFactory(run_slots=2), AccountFactory(run_slots=2)
    [many, other] = jobs_of(big, 2)
    theirs = [queued(many) for _time in range(40)] + [queued(other)]
    ours = queued(jobs_of(small, 1)[0])

    assert dispatch_queued_runs() == [theirs[0].pk, theirs[-1].pk, ours.pk]


@pytest.mark.parametrize("number", [1, 30])
def test_the_queue_is_looked_at_in_one_query(
    queued: MakeRun, number: int, django_assert_num_queries: Callable[..., object]
) -> None:
    for job in jobs_of(AccountFactory(), number):
        queued(job)

    with django_assert_num_queries(1):  # type: ignore[attr-defined] # a context manager
        dispatch_queued_runs()


@pytest.mark.parametrize(
    ("status", "rung"),
    [(RunStatus.STARTING, False), (RunStatus.RUNNING, False), (RunStatus.SUCCESS, True)],
)
def test_the_queue_is_looked_at_when_a_run_has_ended(
    queued: MakeRun,
    status: RunStatus,
    rung: bool,
    published: list[tuple[object, ...]],
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    waiting = queued()
    transition = RunFactory(succeeded=True).transitions.create(to_status=status)

    with django_capture_on_commit_callbacks(execute=True):
        dispatch_task(transition.pk)

    assert (("execute_run", waiting.pk) in published) is rung
