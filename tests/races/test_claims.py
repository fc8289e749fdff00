"""Several real processes on one database: who wins, and that only one does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobsvc.statuses import RunStatus
from tests.installation import Actor, installation

pytestmark = pytest.mark.races

PROCESSES = 6
HEAD_START = 0.1  # seconds until every process of a race has read what it is to do


@dataclass
class Racers:
    """Six processes of one installation, waiting for what to do."""

    actors: list[Actor]

    def act(self, action: str, *arguments: object) -> Any:
        """Let one of them do something, alone."""
        return self.actors[0].act(action, *arguments)

    def race(self, action: str, *arguments: object) -> list[Any]:
        """Let all do the same at the same moment."""
        return self.race_each([(action, *arguments)] * PROCESSES)

    def race_each(self, actions: list[tuple[object, ...]]) -> list[Any]:
        """Let each do its own at the same moment."""
        moment = time.time() + HEAD_START
        for actor, (action, *arguments) in zip(self.actors, actions, strict=True):
            actor.begin(str(action), *arguments, moment)
        return [actor.answer() for actor in self.actors]


@pytest.fixture(
    scope="module",
    params=[
        # One process of the suite makes each installation: the racers cost seconds to start.
        pytest.param(kind, marks=pytest.mark.xdist_group(f"races on {kind}"))
        for kind in ("sqlite", "postgresql")
    ],
)
def racers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Racers]:
    data: Path = tmp_path_factory.mktemp(request.param)
    # Nobody listens: what is raced for here is the rows alone.
    with installation(request.param, data) as service:
        made = Racers([service.actor() for _ in range(PROCESSES)])
        made.race_each([("tick",)] * PROCESSES)  # all are up, and connected
        yield made


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
