"""Six real processes of one installation, on either database, that do things at one moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Actor, installation

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
