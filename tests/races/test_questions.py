"""What is asked every few seconds stays quick on PostgreSQL, however long the history is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import Actor, installation

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("questions")]


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Actor]:
    """A process on a database with twenty thousand finished runs and a hundred queued ones."""
    data: Path = tmp_path_factory.mktemp("questions")
    with installation("postgresql", data) as service:
        actor = service.actor()
        [job] = actor.act("make_jobs", 1, 5)
        actor.act("make_history", job, 20_000, 100)
        yield actor


@pytest.mark.parametrize("question", ["startable", "claim", "active", "slots"])
def test_unfinished_runs_are_found_by_the_index_of_unfinished_runs(
    actor: Actor, question: str
) -> None:
    plan = actor.act("explain", question)

    assert "Seq Scan on runs_run" not in plan
    assert "run_unfinished" in plan or "one_active_run_per" in plan
