"""Pictures: what they show, and that what goes into them is only ever text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.utils.timezone import now

from jobsvc.console.pictures.gantt import gantt
from jobsvc.console.pictures.strip import run_strip
from jobsvc.console.pictures.svg import element
from jobsvc.console.recent import last_runs
from jobsvc.runs.models import Run
from tests.factories import JobFactory, NodeResultFactory, RunFactory, RunStepFactory

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


def test_the_last_runs_of_any_number_of_jobs_are_two_queries(
    django_assert_num_queries: Callable[..., Any],
) -> None:
    jobs = JobFactory.create_batch(3)
    for job in jobs:
        RunFactory(job=job, succeeded=True)

    with django_assert_num_queries(2):
        last_runs(jobs, 24)


def bars(picture: str | None) -> dict[str, ElementTree.Element]:
    """The bars of a Gantt picture by the names of their nodes."""
    links = ElementTree.fromstring(picture or "<svg/>").iter("a")
    return {link.attrib["aria-label"].partition(":")[0]: link for link in links}


def box(link: ElementTree.Element) -> tuple[float, float, float]:
    """Where a bar begins, how wide it is, and in which height it lies."""
    [found] = link.iter("rect")
    return tuple(float(found.attrib[name]) for name in ("x", "width", "y"))  # type: ignore[return-value]  # of three names


def test_a_bar_begins_when_its_node_did_and_is_as_long_as_it_took() -> None:
    step = RunStepFactory(started_at=now())
    first = NodeResultFactory(step=step, name="orders", after=0, took=3)
    second = NodeResultFactory(step=step, name="items", after=3, took=1)

    shown = bars(gantt([first, second], moment=now()))

    begins, width, lane = box(shown["orders"])
    assert box(shown["items"]) == pytest.approx((begins + width, width / 3, lane), abs=0.1)


def test_each_thread_has_a_lane() -> None:
    step = RunStepFactory(started_at=now())
    nodes = [
        NodeResultFactory(step=step, name=f"on_{number}", thread=f"Thread-{number}")
        for number in (10, 2, 1)
    ]

    shown = bars(gantt(nodes, moment=now()))

    heights = [box(shown[f"on_{number}"])[2] for number in (1, 2, 10)]
    assert heights == sorted(set(heights))


def test_a_node_that_still_runs_goes_on_to_this_moment() -> None:
    step = RunStepFactory(started_at=now() - timedelta(seconds=10))
    done = NodeResultFactory(step=step, name="done", took=5)
    running = NodeResultFactory(step=step, name="running", status="running")

    shown = bars(gantt([done, running], moment=step.started_at + timedelta(seconds=10)))

    assert box(shown["running"])[1] == pytest.approx(2 * box(shown["done"])[1], abs=0.1)
    assert "live" in shown["running"].attrib["class"]


def test_the_picture_says_in_words_what_is_to_be_seen() -> None:
    step = RunStepFactory(started_at=now())
    nodes = [
        NodeResultFactory(step=step, name="orders", took=90, thread="Thread-1"),
        NodeResultFactory(step=step, name="items", took=1, thread="Thread-2"),
    ]

    picture = ElementTree.fromstring(gantt(nodes, moment=now()) or "")

    assert picture.attrib["aria-label"] == (
        "2 nodes on 2 threads in 1 m 30 s; the longest is orders, 1 m 30 s"
    )


def test_a_group_has_as_many_lanes_as_were_at_work_in_it_at_once() -> None:
    step = RunStepFactory(started_at=now())
    nodes = [
        NodeResultFactory(step=step, name=name, after=after, took=took, thread=f"Thread-{after}")
        for name, after, took in (("long", 0, 9), ("first", 1, 2), ("second", 3, 2))
    ]
    alone = NodeResultFactory(step=step, name="alone")
    groups = {"models": nodes, "seeds": [alone]}

    shown = bars(gantt([*nodes, alone], moment=now(), groups=groups))

    lanes = {name: box(bar)[2] for name, bar in shown.items()}
    assert lanes["long"] < lanes["first"] == lanes["second"] < lanes["alone"]


def test_what_is_marked_is_shown_even_among_very_many_that_took_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobsvc.console.pictures.gantt.MOST_BARS", 2)
    step = RunStepFactory(started_at=now())
    nodes = [NodeResultFactory(step=step, name=f"took_{took}", took=took) for took in (1, 5, 9)]

    shown = bars(gantt(nodes, moment=now(), marked={nodes[0].unique_id}))

    assert set(shown) == {"took_1", "took_9"}


def test_the_pointer_over_a_bar_tells_its_phases() -> None:
    step = RunStepFactory(started_at=now())
    node = NodeResultFactory(
        step=step, name="orders", took=10, executing_at=step.started_at + timedelta(seconds=3)
    )

    title = bars(gantt([node], moment=now()))["orders"].find("title")

    assert title is not None
    assert title.text == "orders: Success, 10 s; compiling 3 s, executing 7 s"


def test_nodes_with_hostile_names_are_shown_as_text() -> None:
    node = NodeResultFactory(step=RunStepFactory(started_at=now()), name="<script>\u202eא")

    picture = gantt([node], moment=now()) or ""

    assert "<script>" not in picture
    assert "&lt;script&gt;" in picture


def test_before_the_first_node_there_is_no_picture() -> None:
    assert gantt([], moment=now()) is None


def test_of_very_many_nodes_the_tests_are_folded_into_one_thin_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobsvc.console.pictures.gantt.MOST_BARS", 3)
    step = RunStepFactory(started_at=now())
    models = [NodeResultFactory(step=step, name=f"model_{number}") for number in range(2)]
    tests = [
        NodeResultFactory(step=step, resource_type="test", status=status, after=after, took=1)
        for after, status in enumerate(("pass", "pass", "fail"))
    ]

    picture = gantt([*models, *tests], moment=now())

    assert set(bars(picture)) == {"model_0", "model_1"}
    row = ElementTree.fromstring(picture or "").find("g[@role='img']")
    assert row is not None
    assert row.attrib["aria-label"] == "3 tests: 2 Pass, 1 Fail"
    assert [box.attrib["class"] for box in row.findall("g")] == ["node ok test", "node err test"]
