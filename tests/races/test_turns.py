"""Several real processes that move runs to the front, drain a worker, and answer bells."""

from __future__ import annotations

import pytest

from jobsvc.statuses import RunStatus
from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


def queued(racers: Racers, slots: int) -> list[int]:
    """A run of each of six jobs of one account."""
    jobs = racers.act("make_jobs", PROCESSES, slots)
    return [racers.act("trigger", job)[0] for job in jobs]


def test_a_run_that_is_moved_while_it_is_claimed_starts_once(racers: Racers) -> None:
    [first, run, *_others] = queued(racers, 2)

    half = PROCESSES // 2
    said = racers.race_each([("to_front", run)] * half + [("claim", run)] * half)

    assert said[half:].count(True) == 1
    assert racers.act("transitions", run) == [RunStatus.QUEUED, RunStatus.STARTING]
    assert racers.act("transitions", first) == [RunStatus.QUEUED]


def test_the_only_slot_goes_to_the_run_at_the_front_whichever_bell_is_first(
    racers: Racers,
) -> None:
    runs = queued(racers, 1)
    racers.act("to_front", runs[-1])

    started = racers.race_each([("answer", run) for run in runs])

    assert [run for run in started if run] == [runs[-1]]


def test_a_drained_worker_answers_no_bell(racers: Racers) -> None:
    runs = queued(racers, PROCESSES)
    racers.act("announce", "runs@box")
    racers.act("drain", "runs@box")

    assert racers.race_each([("answer", run) for run in runs]) == [None] * PROCESSES
    racers.act("announce", "runs@box")
    assert None not in racers.race_each([("answer", run) for run in runs])
