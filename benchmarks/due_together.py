"""Many jobs due in one minute: ``python -m benchmarks.due_together [postgresql|sqlite] [jobs]``.

Real processes on a real database: two beats that tick as fast as they can, two workers that
only record, and, the second time, one beat that is killed in the middle and started again.
Prints how many moments were fired, lost and doubled, and how late the runs were queued.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.installation import installation

JOBS = 2000
SLOTS = 8
LONGEST = 900.0  # seconds that a benchmark may take


@dataclass(frozen=True)
class Figures:
    """``lag`` is in seconds, from the beats' start to a run's row; the 99th percentile and all."""

    jobs: int
    fired: int
    lost: int
    doubled: int
    executed_twice: int
    unfinished: int
    beats_killed: int
    lag_p99: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs due in one minute, {self.beats_killed} beats killed: "
            f"fired {self.fired}, lost {self.lost}, doubled {self.doubled}, "
            f"executed twice {self.executed_twice}, unfinished {self.unfinished}; "
            f"queued within {self.lag_p99:.1f} s (p99), all recorded after {self.seconds:.1f} s"
        )


def measure(kind: str, data: Path, *, jobs: int = JOBS, kill: bool = False) -> Figures:
    """Let ``jobs`` be due at once and say what became of them.

    Args:
        kind: of database, ``postgresql`` or ``sqlite``.
        data: an empty folder.
        kill: kill one beat when it is somewhere in the middle, and start another.
    """
    # Nobody listens to the broker: what is asked here is what the rows say.
    with installation(kind, data, JOBSVC_BROKER_URL="memory://localhost") as service:
        watcher, *workers = (service.actor() for _ in range(3))
        moment = datetime.now(UTC).replace(second=0, microsecond=0)
        watcher.act("make_due_together", jobs, SLOTS, moment.isoformat())
        beats = [service.actor(), service.actor()]
        for actor in (*beats, *workers):
            actor.act("unfinished")  # is up, and connected
        began, clock = datetime.now(UTC), time.monotonic()
        for actor in beats:
            actor.begin("beat", LONGEST)
        for actor in workers:
            actor.begin("record", LONGEST)

        killed = 0
        while time.monotonic() - clock < LONGEST:
            queued = watcher.act("queued_runs")
            if kill and not killed and queued > jobs // 5:
                beats.pop(0).kill()
                killed = queued < jobs
                beats.append(service.actor())
                beats[-1].begin("beat", LONGEST)
            if queued >= jobs and not watcher.act("unfinished"):
                break
            time.sleep(0.05)
        seconds = time.monotonic() - clock

        late = (began - moment).total_seconds()
        lags = watcher.act("fired")
        all_lags = sorted(lag - late for each in lags.values() for lag in each)
        return Figures(
            jobs=jobs,
            fired=sum(len(each) == 1 for each in lags.values()),
            lost=sum(not each for each in lags.values()),
            doubled=sum(len(each) > 1 for each in lags.values()),
            executed_twice=watcher.act("started_twice"),
            unfinished=watcher.act("unfinished"),
            beats_killed=int(killed),
            lag_p99=all_lags[int(len(all_lags) * 0.99) - 1] if all_lags else float("nan"),
            seconds=seconds,
        )


def main(kind: str = "postgresql", jobs: str = str(JOBS)) -> None:
    for kill in (False, True):
        with tempfile.TemporaryDirectory() as data:
            print(f"{kind}: {measure(kind, Path(data), jobs=int(jobs), kill=kill)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
