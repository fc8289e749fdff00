"""Many jobs due in one minute: none lost, none doubled, whoever ticks and whoever dies.

``python -m benchmarks.due_together`` is the same with 2,000 jobs, and prints the figures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.due_together import measure

pytestmark = [pytest.mark.races, pytest.mark.xdist_group("due together")]


@pytest.mark.parametrize("kill", [False, True], ids=["two beats", "a beat dies in the middle"])
@pytest.mark.parametrize(
    ("kind", "jobs"), [("postgresql", 400), ("sqlite", 150)], ids=["postgresql", "sqlite"]
)
def test_of_jobs_due_in_one_minute_each_fires_exactly_once(
    kind: str, jobs: int, kill: bool, tmp_path: Path
) -> None:
    figures = measure(kind, tmp_path, jobs=jobs, kill=kill)

    print(figures)  # noqa: T201 - the figures are what one asks this test for
    assert (figures.fired, figures.lost, figures.doubled) == (jobs, 0, 0), figures
    assert (figures.executed_twice, figures.unfinished) == (0, 0), figures
    assert figures.beats_killed == kill, figures
