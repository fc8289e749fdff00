"""Several real processes that tell one GitHub the same: it is told once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.github import FakeGitHub, Repository, fake_github
from tests.races.conftest import Racers

pytestmark = pytest.mark.races


@dataclass
class Told:
    """A GitHub, and what it is to be told: a commit's status and a pull request's comment."""

    github: FakeGitHub
    shop: Repository
    sha: str
    reports: dict[str, int]


@pytest.fixture
def told(racers: Racers, tmp_path: Path) -> Iterator[Told]:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "README.md").write_text("A shop.")
    with fake_github(tmp_path / "github") as github:
        shop = github.create_repository("acme/shop", tmp_path / "source")
        reports = racers.act("make_reports", github.url, github.token, shop.head)
        yield Told(github, shop, shop.head, reports)


def test_of_six_processes_that_post_a_status_one_does(racers: Racers, told: Told) -> None:
    racers.race("post_report", told.github.url, told.reports["status"])

    assert told.github.states(told.sha) == ["success"]


def test_six_processes_make_one_comment(racers: Racers, told: Told) -> None:
    racers.race("post_report", told.github.url, told.reports["comment"])

    assert len(told.shop.comments) == 1


def test_a_comment_whose_making_was_not_noted_is_made_no_second_time(
    racers: Racers, told: Told
) -> None:
    racers.race("post_report", told.github.url, told.reports["comment"])

    racers.act("post_report_again", told.reports["comment"])
    racers.race("post_report", told.github.url, told.reports["comment"])

    assert len(told.shop.comments) == 1
    assert len(told.github.calls_to("PATCH .*/issues/comments")) == 1
