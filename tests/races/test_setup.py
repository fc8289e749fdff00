"""Several real processes that make the first owner at once."""

from __future__ import annotations

import pytest

from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


def test_of_people_who_set_up_at_once_one_is_the_owner(racers: Racers) -> None:
    came = racers.race_each([("set_up", place) for place in range(PROCESSES)])

    assert sorted(came) == [False] * (PROCESSES - 1) + [True]
    assert racers.act("owners") == 1
