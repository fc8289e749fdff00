"""Several real processes on one database: who wins, and that only one does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsvc.statuses import RunStatus
from tests.installation import Installation, installation

pytestmark = pytest.mark.races

PROCESSES = 6
START_UP = 2.5  # seconds until every process of a race is ready


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    data: Path = tmp_path_factory.mktemp(request.param)
    # Nobody listens: what is raced for here is the rows alone.
    with installation(request.param, data) as made:
        yield made


def race(service: Installation, action: str, *arguments: object) -> list[object]:
    moment = time.time() + START_UP
    racers = [service.begin(action, *arguments, moment) for _ in range(PROCESSES)]
    return [service.answer(racer) for racer in racers]


def test_of_six_processes_that_claim_a_run_exactly_one_gets_it(service: Installation) -> None:
    [job] = service.act("make_jobs", 1, 5)
    [run] = service.act("trigger", job)

    assert sorted(race(service, "claim", run)) == [False] * (PROCESSES - 1) + [True]
    assert service.act("transitions", run) == [RunStatus.QUEUED, RunStatus.STARTING]


def test_of_six_queued_runs_of_a_job_exactly_one_becomes_active(service: Installation) -> None:
    [job] = service.act("make_jobs", 1, 5)
    runs = service.act("trigger", job, PROCESSES)

    race(service, "claim_each", ",".join(map(str, runs)))

    now = service.act("statuses")
    assert [now[str(run)] for run in runs].count(RunStatus.STARTING) == 1


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_more_runs_become_active_than_an_account_has_slots(
    service: Installation, slots: int
) -> None:
    jobs = service.act("make_jobs", PROCESSES, slots)
    runs = [service.act("trigger", job)[0] for job in jobs]

    won = race(service, "claim_each", ",".join(map(str, runs)))

    now = service.act("statuses")
    assert [now[str(run)] for run in runs].count(RunStatus.STARTING) == slots
    assert sum(len(claimed) for claimed in won) == slots  # type: ignore[arg-type] # lists of ids


def test_of_six_processes_that_end_a_run_exactly_one_does(service: Installation) -> None:
    [job] = service.act("make_jobs", 1, 5)
    [run] = service.act("trigger", job)
    service.act("claim", run, 0)

    assert sorted(race(service, "finish", run)) == [False] * (PROCESSES - 1) + [True]
    assert service.act("transitions", run)[-1] == RunStatus.ERROR


def test_of_six_watchdogs_exactly_one_takes_a_lost_run_away(service: Installation) -> None:
    [job] = service.act("make_jobs", 1, 5)
    [run] = service.act("trigger", job)
    service.act("expire_leases")
    service.act("reap", 0)
    service.act("claim", run, 0)
    service.act("expire_leases")

    assert sum(race(service, "reap")) == 1  # type: ignore[arg-type] # numbers of runs
    assert service.act("transitions", run) == [
        RunStatus.QUEUED,
        RunStatus.STARTING,
        RunStatus.ERROR,
    ]


def test_of_six_beats_that_tick_at_once_one_starts_the_due_job(service: Installation) -> None:
    [job] = service.act("make_jobs", 1, 5)
    service.act("make_due", job)

    assert sum(race(service, "tick")) == 1  # type: ignore[arg-type] # numbers of runs
