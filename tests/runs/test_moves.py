"""A run moves along the table, once, and leaves a transition each time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from jobsvc.runs.models import ImpossibleMove, LostRace, Run
from jobsvc.statuses import ACTIVE, FINISHED, NEXT, RunStatus
from tests.factories import AccountFactory, JobFactory, RunFactory

pytestmark = pytest.mark.django_db

MOVES = list(product(RunStatus, RunStatus))
ALLOWED = [(before, after) for before, after in MOVES if after in NEXT[before]]
REFUSED = [(before, after) for before, after in MOVES if after not in NEXT[before]]


def run_with(status: RunStatus) -> Run:
    return RunFactory(
        status=status, takes_slot=False, finished_at=now() if status in FINISHED else None
    )


@pytest.mark.parametrize(("before", "after"), ALLOWED)
def test_a_move_of_the_table_is_made_and_written_down(before: RunStatus, after: RunStatus) -> None:
    run = run_with(before)

    run.move_to(after, message="Because.")

    run.refresh_from_db()
    [transition] = run.transitions.all()
    assert run.status == after
    assert (transition.from_status, transition.to_status) == (before, after)
    assert (transition.message, transition.reacted_at) == ("Because.", None)


@pytest.mark.parametrize(("before", "after"), REFUSED)
def test_any_other_move_is_refused_and_changes_nothing(before: RunStatus, after: RunStatus) -> None:
    run = run_with(before)

    with pytest.raises(ImpossibleMove):
        run.move_to(after)

    run.refresh_from_db()
    assert (run.status, run.transitions.count()) == (before, 0)


@pytest.mark.parametrize("end", FINISHED)
def test_an_end_has_a_time_and_a_message(end: RunStatus) -> None:
    run = run_with(RunStatus.RUNNING)

    run.move_to(end, message="That was it.")

    assert run.finished_at is not None
    assert run.status_message == "That was it."


def test_a_message_is_the_runs_for_as_long_as_it_has_that_status() -> None:
    run = run_with(RunStatus.STARTING)

    run.move_to(RunStatus.RUNNING, message="The workspace stands.")
    assert (run.status_message, run.finished_at) == ("The workspace stands.", None)

    run.move_to(RunStatus.SUCCESS)
    assert run.status_message == ""


def test_of_two_that_move_a_run_the_second_learns_it_lost() -> None:
    run = run_with(RunStatus.RUNNING)
    stale = Run.objects.get(pk=run.pk)
    run.move_to(RunStatus.SUCCESS)

    with pytest.raises(LostRace):
        stale.move_to(RunStatus.ERROR, message="Timed out.")

    run.refresh_from_db()
    assert (run.status, run.status_message) == (RunStatus.SUCCESS, "")


def test_a_move_with_an_old_token_is_lost_though_the_status_is_the_same() -> None:
    run = run_with(RunStatus.RUNNING)
    stale = Run.objects.get(pk=run.pk)
    Run.objects.filter(pk=run.pk).update(token=run.token + 1)

    with pytest.raises(LostRace):
        stale.move_to(RunStatus.SUCCESS)

    assert run.transitions.count() == 0


def test_a_lost_move_rings_no_bell(
    published: list[tuple[object, ...]],
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    run = run_with(RunStatus.RUNNING)
    stale = Run.objects.get(pk=run.pk)
    run.move_to(RunStatus.SUCCESS)

    with django_capture_on_commit_callbacks(execute=True), pytest.raises(LostRace):
        stale.move_to(RunStatus.ERROR)

    assert published == []


@pytest.mark.parametrize("status", [*ACTIVE, RunStatus.QUEUED])
def test_the_database_refuses_an_end_time_before_the_end(status: RunStatus) -> None:
    with pytest.raises(IntegrityError, match="finished_run_has_an_end_and_no_other_has"):
        RunFactory(status=status, takes_slot=False, finished_at=now())


@pytest.mark.parametrize("status", FINISHED)
def test_the_database_refuses_an_end_without_its_time(status: RunStatus) -> None:
    with pytest.raises(IntegrityError, match="finished_run_has_an_end_and_no_other_has"):
        RunFactory(status=status, finished_at=None)


def test_the_database_refuses_a_second_active_run_of_a_key() -> None:
    first = run_with(RunStatus.RUNNING)

    with pytest.raises(IntegrityError, match="concurrency_key"), transaction.atomic():
        RunFactory(job=first.job, running=True)


def test_the_database_refuses_a_second_active_run_on_a_slot() -> None:
    account = AccountFactory()
    one, other = (
        JobFactory(environment__project__account=account),
        JobFactory(environment__project__account=account),
    )
    RunFactory(job=one, status=RunStatus.RUNNING, slot=1)

    with pytest.raises(IntegrityError, match="slot"), transaction.atomic():
        RunFactory(job=other, status=RunStatus.RUNNING, slot=1)


def test_the_database_refuses_an_active_run_without_its_slot() -> None:
    with pytest.raises(IntegrityError, match="active_run_holds_its_slot"):
        RunFactory(status=RunStatus.RUNNING, takes_slot=True, slot=None)


def test_slots_of_different_accounts_do_not_meet() -> None:
    RunFactory(status=RunStatus.RUNNING, slot=1)
    RunFactory(status=RunStatus.RUNNING, slot=1)

    assert Run.objects.active().count() == 2
