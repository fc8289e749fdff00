"""The words of a run's life and the table of its moves."""

from __future__ import annotations

import pytest

from jobsvc.statuses import ACTIVE, FINISHED, NEXT, UNFINISHED, RunStatus


def test_the_statuses_have_the_numbers_of_the_api() -> None:
    assert {status.label: status.value for status in RunStatus} == {
        "Queued": 1,
        "Starting": 2,
        "Running": 3,
        "Success": 10,
        "Error": 20,
        "Cancelled": 30,
    }


def test_every_status_is_finished_or_not() -> None:
    assert sorted([*UNFINISHED, *FINISHED]) == sorted(RunStatus)
    assert set(ACTIVE) < set(UNFINISHED)


@pytest.mark.parametrize("status", FINISHED)
def test_nothing_follows_an_end(status: RunStatus) -> None:
    assert NEXT[status] == frozenset()


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_run_can_be_cancelled_until_it_has_ended(status: RunStatus) -> None:
    assert RunStatus.CANCELLED in NEXT[status]


def test_every_status_but_the_first_follows_another() -> None:
    assert set().union(*NEXT.values()) == set(RunStatus) - {RunStatus.QUEUED}
