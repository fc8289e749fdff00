"""Several real processes that learn of ends at once, or define what follows what."""

from __future__ import annotations

import pytest

from jobsvc.statuses import RunStatus
from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


@pytest.mark.parametrize("round", range(3))
def test_six_ends_that_are_told_at_once_start_one_run_that_waits_for_all(
    racers: Racers, round: int
) -> None:
    waiting, *others = racers.act("make_fan_in", PROCESSES, "all")
    ends = [racers.act("ended", job, RunStatus.SUCCESS) for job in others]

    started = racers.race_each([("tell_of_ends", [end]) for end in ends])

    assert sorted(started) == [0] * (PROCESSES - 1) + [1]
    assert len(racers.act("runs_of", waiting)) == 1


def test_each_process_that_tells_every_end_in_its_own_order_starts_nothing_twice(
    racers: Racers,
) -> None:
    waiting, *others = racers.act("make_fan_in", PROCESSES, "all")
    ends = [racers.act("ended", job, RunStatus.SUCCESS) for job in others]

    started = racers.race_each(
        [("tell_of_ends", ends[place:] + ends[:place]) for place in range(PROCESSES)]
    )

    assert sum(started) == 1
    assert len(racers.act("runs_of", waiting)) == 1


def test_six_processes_that_tell_the_same_ends_start_one_run_for_each(racers: Racers) -> None:
    waiting, *others = racers.act("make_fan_in", 3, "any")
    ends = [racers.act("ended", job, RunStatus.SUCCESS) for job in others]

    started = racers.race("tell_of_ends", ends)

    assert sum(started) == 3
    assert len(racers.act("runs_of", waiting)) == 3


def test_of_saves_that_would_close_a_circle_together_one_is_refused(racers: Racers) -> None:
    jobs = racers.act("make_jobs", PROCESSES, 5)
    ring = zip(jobs, [*jobs[1:], jobs[0]], strict=True)

    saved = racers.race_each([("follow", job, upstream) for job, upstream in ring])

    assert sorted(saved) == [False] + [True] * (PROCESSES - 1)


def test_failures_that_are_told_at_once_are_counted_once_each(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    ends = [racers.act("ended", job, RunStatus.ERROR) for _end in range(PROCESSES)]

    racers.race("tell_of_ends", ends)

    assert racers.act("failures_of", job) == PROCESSES
