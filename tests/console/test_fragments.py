"""What htmx puts into a page is what the page has there when it is asked for as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from jobsvc.runs.models import LogChunk, Run
from jobsvc.statuses import RunStatus
from tests.factories import JobFactory, NodeResultFactory, RunFactory, RunStepFactory

VisitorOf = Callable[..., Client]

OF_ACCOUNT = ("account", "setup", "queue", "runs", "go")
OF_PROJECT = ("jobs",)
OF_RUN = ("run", "run_timing", "run_results")


class Said(HTMLParser):
    """What a reader gets: each piece of text, and where each link leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pieces: Counter[str] = Counter()
        self._unread = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("title", "script"):
            self._unread = tag
        if tag == "a":
            self.pieces[f"to {dict(attrs).get('href')}"] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unread:
            self._unread = ""

    def handle_data(self, data: str) -> None:
        if not self._unread and (piece := " ".join(data.split())):
            self.pieces[piece] += 1


@pytest.fixture
def run(db: None) -> Run:
    """A run at work, with something of all that moves."""
    job = JobFactory(scheduled=True)
    RunFactory(job=job, succeeded=True)
    RunFactory(job=job)
    made: Run = RunFactory(job=job, running=True)
    RunStepFactory(run=made, index=1, status=RunStatus.SUCCESS)
    step = RunStepFactory(run=made, index=2, status=RunStatus.RUNNING, started_at=now())
    for status in ("success", "error", "running"):
        NodeResultFactory(step=step, status=status)
    LogChunk.objects.create(step=step, stream="console", offset=0, text="one\ntwo\n")
    return made


@pytest.mark.parametrize("name", [*OF_ACCOUNT, *OF_PROJECT, *OF_RUN])
@pytest.mark.parametrize("ended", [False, True])
def test_a_fragment_says_what_the_whole_page_says(
    visitor_of: VisitorOf, run: Run, name: str, ended: bool
) -> None:
    if ended:
        Run.objects.filter(pk=run.pk).update(status=RunStatus.SUCCESS, finished_at=now())
    arguments = [run.account_id]
    arguments += [run.project_id] if name not in OF_ACCOUNT else []
    arguments += [run.pk] if name in OF_RUN else []
    url = reverse(f"console:{name}", args=arguments)
    visitor = visitor_of(run.account)

    with time_machine.travel(now(), tick=False):
        whole = visitor.get(url).content.decode()
        part = visitor.get(url, headers={"HX-Request": "true"}).content.decode()

    assert "<!doctype" in whole
    assert "<!doctype" not in part
    assert Said(part).pieces - Said(whole).pieces == Counter()
    assert sum(Said(part).pieces.values()) > 0
