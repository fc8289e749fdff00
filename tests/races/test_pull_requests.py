"""Pushes to one pull request at one moment: one run is left, and it is the newest."""

from __future__ import annotations

import pytest

from jobsvc.statuses import RunStatus
from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


@pytest.mark.parametrize("round", range(3))
def test_of_six_pushes_at_once_only_the_newest_is_left(racers: Racers, round: int) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    racers.act("make_ci", job)

    runs = sorted(racers.race("push", job, 2))

    now = racers.act("statuses")
    assert [now[str(run)] for run in runs] == [
        *[RunStatus.CANCELLED] * (PROCESSES - 1),
        RunStatus.QUEUED,
    ]


@pytest.mark.parametrize("round", range(3))
def test_a_run_that_is_claimed_while_a_newer_one_is_pushed_ends_or_is_asked_to(
    racers: Racers, round: int
) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    racers.act("make_ci", job)
    older = racers.act("push", job, 2, 0)

    racers.race_each([("claim", older), ("push", job, 2)] * (PROCESSES // 2))

    now = racers.act("statuses")
    stops = racers.act("cancel_is_asked", older)
    assert (now[str(older)], stops) in ((RunStatus.CANCELLED, False), (RunStatus.STARTING, True))
