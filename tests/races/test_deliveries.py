"""Several real processes that GitHub knocks at together."""

from __future__ import annotations

import uuid
from itertools import chain

import pytest

from jobsvc.statuses import RunStatus
from tests.ci.payloads import sha
from tests.races.conftest import PROCESSES, Racers

pytestmark = pytest.mark.races


def test_a_delivery_that_comes_many_times_at_once_starts_one_run(racers: Racers) -> None:
    job, hook, secret = racers.act("make_pull_request_door")
    again = [["once", sha("a"), 0]] * 4

    answers = racers.race("knock", hook, secret, again)

    assert sorted(chain.from_iterable(answers)) == [200] * (4 * PROCESSES - 1) + [202]
    assert racers.act("commits_of", job) == [[sha("a"), RunStatus.QUEUED]]


def test_deliveries_of_one_commit_that_come_at_once_start_one_run(racers: Racers) -> None:
    job, hook, secret = racers.act("make_pull_request_door")
    told = [[[str(uuid.uuid4()), sha("a"), 0] for _time in range(4)] for _process in range(6)]

    answers = racers.race_each([("knock", hook, secret, one) for one in told])

    assert answers == [[202] * 4] * PROCESSES
    assert racers.act("commits_of", job) == [[sha("a"), RunStatus.QUEUED]]


def test_of_commits_that_come_at_once_in_any_order_the_newest_is_left(racers: Racers) -> None:
    job, hook, secret = racers.act("make_pull_request_door")
    pushed = [[sha(letter), place] for place, letter in enumerate("abcdef")]
    orders = [pushed[place:] + pushed[:place] for place in range(PROCESSES)]
    told = [[[str(uuid.uuid4()), *push] for push in order] for order in orders]

    racers.race_each([("knock", hook, secret, one) for one in told])

    commits = racers.act("commits_of", job)
    assert [commit for commit, status in commits if status == RunStatus.QUEUED] == [sha("f")]
    assert {status for _sha, status in commits} <= {RunStatus.QUEUED, RunStatus.CANCELLED}
