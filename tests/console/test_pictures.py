"""Pictures: what they show, and that what goes into them is only ever text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.utils.timezone import now

from jobsvc.console.pictures.strip import run_strip
from jobsvc.console.pictures.svg import element
from jobsvc.console.recent import last_runs
from jobsvc.runs.models import Run
from tests.factories import JobFactory, RunFactory

pytestmark = pytest.mark.django_db


def took(run: Run, seconds: int) -> Run:
    ended = now()
    Run.objects.filter(pk=run.pk).update(
        dequeued_at=ended - timedelta(seconds=seconds), finished_at=ended
    )
    run.refresh_from_db()
    return run


def test_what_goes_into_an_element_is_text() -> None:
    made = element("text", "<script>", aria_label='"><script>', x=1.005, title=None)

    assert made == '<text aria-label="&quot;&gt;&lt;script&gt;" x="1">&lt;script&gt;</text>'


def test_the_longest_run_fills_the_strip_and_a_short_one_is_still_seen() -> None:
    job = JobFactory()
    runs = [
        took(RunFactory(job=job, succeeded=True), seconds=3600),
        took(RunFactory(job=job, failed=True), seconds=1),
    ]

    strip = ElementTree.fromstring(run_strip(runs, room=24))

    long, short = strip.iter("rect")
    assert float(long.attrib["height"]) == 28
    assert 4 <= float(short.attrib["height"]) < 6
    assert (long.attrib["class"], short.attrib["class"]) == ("bar ok", "bar err")
    assert strip.attrib["aria-label"] == "The last 2 runs, 1 of them in error"


def test_each_bar_is_a_link_that_says_how_its_run_went() -> None:
    run = took(RunFactory(succeeded=True), seconds=104)

    [link] = ElementTree.fromstring(run_strip([run], room=24)).iter("a")

    assert link.attrib["href"].endswith(f"/runs/{run.pk}/")
    assert link.attrib["aria-label"] == f"Run {run.pk}: Success, 1 m 44 s"


def test_the_last_runs_of_many_jobs_come_oldest_first() -> None:
    job, other, idle = JobFactory.create_batch(3)
    runs = [RunFactory(job=job, succeeded=True) for _ in range(4)]
    alone = RunFactory(job=other, succeeded=True)

    found = last_runs([job, other, idle], 3)

    assert found == {job.pk: runs[1:], other.pk: [alone]}


def test_the_last_runs_of_any_number_of_jobs_are_one_query(
    django_assert_num_queries: Callable[..., Any],
) -> None:
    jobs = JobFactory.create_batch(3)

    with django_assert_num_queries(1):
        last_runs(jobs, 24)
