"""Several real processes that take the last owners from an account at once."""

from __future__ import annotations

import pytest

from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


def test_of_owners_who_all_stop_at_once_one_stays(racers: Racers) -> None:
    owners = racers.act("make_owners", PROCESSES)

    stopped = racers.race_each(
        [
            ("stop_owning", owner, "leave" if place % 2 else "be a viewer")
            for place, owner in enumerate(owners)
        ]
    )

    assert sorted(stopped) == [False] + [True] * (PROCESSES - 1)


def test_somebody_new_who_joins_by_two_clicks_at_once_joins_once(racers: Racers) -> None:
    invitation = racers.act("make_invitation")

    joined = racers.race("join", invitation)

    assert sorted(joined) == [False] * (PROCESSES - 1) + [True]
