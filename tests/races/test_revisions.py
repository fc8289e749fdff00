"""Several real processes that save a job at once none of whose saves was ever kept."""

from __future__ import annotations

import pytest

from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


def test_what_a_job_was_is_written_down_once(racers: Racers) -> None:
    job = racers.act("make_job_of_old")

    assert racers.race("delete_at_once", job) == [True] * PROCESSES
