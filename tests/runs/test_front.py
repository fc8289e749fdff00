"""A run that was moved to the front has its turn before those that waited longer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError

from accounts.models import Account
from jobsvc.jobs import extensions
from jobsvc.jobs.models import Job
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.dispatch import answer_bell, dispatch_queued_runs
from jobsvc.runs.front import move_to_front
from jobsvc.runs.models import LostRace, Run
from jobsvc.runs.trigger import trigger_run
from jobsvc.runs.waiting import WaitsFor, reasons
from tests.factories import AccountFactory, JobFactory
from tests.runs.conftest import BY_API

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


@pytest.fixture
def narrow() -> Account:
    """An account with one run slot."""
    return AccountFactory(run_slots=1)


def job_of(account: Account) -> Job:
    return JobFactory(environment__project__account=account)


def test_the_slot_goes_to_the_run_at_the_front(narrow: Account, queued: MakeRun) -> None:
    first, second = queued(job_of(narrow)), queued(job_of(narrow))

    move_to_front(second)

    assert dispatch_queued_runs() == [second.pk]
    assert Run.objects.claim(first.pk, worker="w1") is None
    assert Run.objects.claim(second.pk, worker="w1") is not None


def test_of_two_that_were_moved_the_last_is_first(narrow: Account, queued: MakeRun) -> None:
    runs = [queued(job_of(narrow)) for _time in range(3)]

    move_to_front(runs[1])
    move_to_front(runs[2])

    assert dispatch_queued_runs() == [runs[2].pk]


def test_of_one_jobs_runs_the_one_at_the_front_comes_first(
    narrow: Account, queued: MakeRun
) -> None:
    job = job_of(narrow)
    first, second = queued(job), queued(job)

    move_to_front(second)

    assert dispatch_queued_runs() == [second.pk]
    waiting = reasons([first])[first.pk]
    assert (waiting.reason, waiting.blocked_by) == (WaitsFor.QUEUE, (second.pk,))
    assert "is before it in the queue" in waiting.sentence


def test_who_is_overtaken_is_told_by_how_many(narrow: Account, queued: MakeRun) -> None:
    first, second = queued(job_of(narrow)), queued(job_of(narrow))

    move_to_front(second)

    waiting = reasons([first, second])
    assert waiting[second.pk].reason == WaitsFor.WORKER
    assert waiting[first.pk].sentence == "Waits for its turn: one run was put before it."


def test_it_still_does_not_overlap_a_run_of_its_job(claimed: MakeRun, queued: MakeRun) -> None:
    account = AccountFactory(run_slots=5)
    job = job_of(account)
    claimed(job)
    run = queued(job)

    move_to_front(run)

    assert dispatch_queued_runs() == []
    assert reasons([run])[run.pk].reason == WaitsFor.JOB


def test_other_accounts_are_not_overtaken(narrow: Account, queued: MakeRun) -> None:
    theirs = queued(job_of(AccountFactory(run_slots=1)))
    ours = queued(job_of(narrow))

    move_to_front(ours)

    assert set(dispatch_queued_runs()) == {theirs.pk, ours.pk}


def test_a_run_that_no_longer_waits_is_not_moved(claimed: MakeRun) -> None:
    with pytest.raises(LostRace):
        move_to_front(claimed())


def test_the_bell_of_an_earlier_run_starts_the_one_at_the_front(
    queued: MakeRun,
    published: list[tuple[object, ...]],
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    account = AccountFactory(run_slots=5)
    first, second = queued(job_of(account)), queued(job_of(account))
    move_to_front(second)

    with django_capture_on_commit_callbacks(execute=True):
        run = answer_bell(first.pk, worker="w1")

    assert run == second
    assert ("execute_run", first.pk) in published
    assert answer_bell(first.pk, worker="w1") == first


def test_the_bell_of_a_run_that_is_gone_starts_nothing(claimed: MakeRun, queued: MakeRun) -> None:
    account = AccountFactory(run_slots=5)
    taken = claimed(job_of(account))
    queued(job_of(account))

    assert answer_bell(taken.pk, worker="w1") is None


def test_runs_of_a_job_with_priority_have_their_turn_first(narrow: Account) -> None:
    usual, urgent, idle = (
        JobFactory(
            environment__project__account=narrow, extensions={"queue": {"priority": priority}}
        )
        for priority in (0, 7, -7)
    )
    runs = [trigger_run(job, BY_API) for job in (idle, usual, urgent)]

    assert dispatch_queued_runs() == [runs[2].pk]
    cancel_run(runs[2], by="ana@example.com")
    assert dispatch_queued_runs() == [runs[1].pk]
    move_to_front(runs[0])
    assert dispatch_queued_runs() == [runs[0].pk]


def test_a_run_at_the_front_is_before_the_highest_priority(narrow: Account) -> None:
    urgent = JobFactory(
        environment__project__account=narrow, extensions={"queue": {"priority": 100}}
    )
    trigger_run(urgent, BY_API)
    run = trigger_run(job_of(narrow), BY_API)

    move_to_front(run)

    assert dispatch_queued_runs() == [run.pk]


@pytest.mark.parametrize("priority", [101, -101, "7", 1.5, True])
def test_a_priority_out_of_bounds_is_refused(priority: object) -> None:
    with pytest.raises(ValidationError, match="from -100 to 100"):
        extensions.read({"queue": {"priority": priority}})
