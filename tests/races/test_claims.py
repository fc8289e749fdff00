"""Several real processes on one database: who wins, and that only one does."""

from __future__ import annotations

import pytest

from jobsvc.statuses import RunStatus
from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


def test_of_six_processes_that_claim_a_run_exactly_one_gets_it(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    [run] = racers.act("trigger", job)

    assert sorted(racers.race("claim", run)) == [False] * (PROCESSES - 1) + [True]
    assert racers.act("transitions", run) == [RunStatus.QUEUED, RunStatus.STARTING]


def test_of_six_queued_runs_of_a_job_exactly_one_becomes_active(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    runs = racers.act("trigger", job, PROCESSES)

    racers.race("claim_each", runs)

    now = racers.act("statuses")
    assert [now[str(run)] for run in runs].count(RunStatus.STARTING) == 1


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_more_runs_become_active_than_an_account_has_slots(racers: Racers, slots: int) -> None:
    jobs = racers.act("make_jobs", PROCESSES, slots)
    runs = [racers.act("trigger", job)[0] for job in jobs]

    won = racers.race("claim_each", runs)

    now = racers.act("statuses")
    assert [now[str(run)] for run in runs].count(RunStatus.STARTING) == slots
    assert sum(len(claimed) for claimed in won) == slots


def test_a_slot_that_two_processes_want_goes_to_one_and_the_other_takes_the_next(
    racers: Racers,
) -> None:
    jobs = racers.act("make_jobs", PROCESSES, PROCESSES)
    runs = [racers.act("trigger", job)[0] for job in jobs]

    assert racers.race_each([("claim", run) for run in runs]) == [True] * PROCESSES


def test_of_six_processes_that_end_a_run_exactly_one_does(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    [run] = racers.act("trigger", job)
    racers.act("claim", run, 0)

    assert sorted(racers.race("finish", run)) == [False] * (PROCESSES - 1) + [True]
    assert racers.act("transitions", run)[-1] == RunStatus.ERROR


@pytest.mark.parametrize("round", range(5))
def test_a_run_that_is_claimed_and_cancelled_at_once_is_cancelled_or_asked_to_stop(
    racers: Racers, round: int
) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    [run] = racers.act("trigger", job)

    racers.race_each([("claim", run), ("cancel", run)] * (PROCESSES // 2))

    moved = racers.act("transitions", run)
    assert moved in (
        [RunStatus.QUEUED, RunStatus.CANCELLED],
        [RunStatus.QUEUED, RunStatus.STARTING],
    )
    assert racers.act("cancel_is_asked", run) == (moved[-1] == RunStatus.STARTING)


def test_a_run_that_ends_while_it_is_cancelled_has_one_end(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    [run] = racers.act("trigger", job)
    racers.act("claim", run, 0)

    racers.race_each([("finish", run), ("cancel", run)] * (PROCESSES // 2))

    assert racers.act("transitions", run) == [
        RunStatus.QUEUED,
        RunStatus.STARTING,
        RunStatus.ERROR,
    ]


def test_of_six_watchdogs_exactly_one_takes_a_lost_run_away(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    [run] = racers.act("trigger", job)
    racers.act("expire_leases")
    racers.act("reap", 0)
    racers.act("claim", run, 0)
    racers.act("expire_leases")

    assert sum(racers.race("reap")) == 1
    assert racers.act("transitions", run) == [
        RunStatus.QUEUED,
        RunStatus.STARTING,
        RunStatus.ERROR,
    ]


def test_of_six_beats_that_tick_at_once_one_starts_the_due_job(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)
    racers.act("make_due", job)

    assert sum(racers.race("tick")) == 1


def test_six_deliveries_of_one_event_start_one_run(racers: Racers) -> None:
    [job] = racers.act("make_jobs", 1, 5)

    assert len(set(racers.race("trigger_once", job, f"github:{job}"))) == 1
