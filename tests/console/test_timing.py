"""The page that tells when the nodes of a run were at work."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from jobsvc.management.example_data import graph as example
from jobsvc.runs.models import NodeResult, Run, RunStep
from tests.factories import NodeResultFactory, RunFactory, RunStepFactory
from tests.manifests import chain, entry, left, manifest_of

VisitorOf = Callable[..., Client]


def timing_of(
    visitor: Client, run: Run, asked: dict[str, str] | None = None, **headers: str
) -> str:
    url = reverse("console:run_timing", args=[run.account_id, run.project_id, run.pk])
    return visitor.get(f"{url}?{urlencode(asked or {})}", headers=headers).content.decode()


def tiles_of(page: str) -> list[str]:
    """What the tiles of a page say, each in a line."""
    [tiles] = re.findall(r'<ul class="tiles">(.*?)</ul>', page, flags=re.DOTALL)
    return [re.sub(r"<[^>]+>", "", tile).strip() for tile in tiles.split("</li>") if tile]


def bars_of(page: str) -> list[str]:
    """The names of the nodes that have a bar, as the picture has them."""
    return re.findall(r'<a class="node[^>]*aria-label="([^":]+):', page)


def in_order(page: str) -> list[str]:
    """The names in the table of the critical path."""
    _, _, table = page.partition("Critical path of step")
    return re.findall(r'class="name"><a[^>]*><bdi>([^<]+)', table.partition("</table>")[0])


@pytest.fixture
def step(db: None) -> RunStep:
    """A step in which c needs b, which needs a; d needs none and took longest of them all.

    Between a and b no time was lost; c waited two seconds for d to free the thread.
    """
    made: RunStep = RunStepFactory(run=RunFactory(succeeded=True), builds=True, started_at=now())
    left(made, manifest_of(*chain("a", "b", "c")["nodes"].values(), entry("model.shop.d")))
    for name, thread, after, took in (
        *(("a", 1, 0, 10), ("b", 1, 10, 20), ("d", 2, 0, 32)),
        ("c", 2, 32, 5),
    ):
        NodeResultFactory(step=made, name=name, thread=f"Thread-{thread}", after=after, took=took)
    return made


def test_each_step_that_ran_nodes_has_its_picture_and_table(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    for index, command in ((4, "dbt seed"), (5, "dbt build")):
        step = RunStepFactory(run=run, index=index, command=command, started_at=now())
        NodeResultFactory(step=step, name=f"node_of_{index}", took=60)
    RunStepFactory(run=run, index=6, command="dbt docs generate")

    page = timing_of(visitor_of(run.account), run)

    assert page.count("<svg") == 2
    assert "node_of_4" in page
    assert "node_of_5" in page
    assert "1 m 0 s" in page
    assert "dbt docs generate" not in page


def test_how_busy_the_threads_were_is_told(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    NodeResultFactory(step=step, thread="Thread-1", took=10)
    NodeResultFactory(step=step, thread="Thread-2", took=5)

    page = timing_of(visitor_of(step.run.account), step.run)

    assert "<b>1.5 of 2</b>" in page
    assert '<b>2</b> <span class="mut">at work at once, at most' in page


def test_the_picture_moves_while_the_run_does_and_stops_with_it(visitor_of: VisitorOf) -> None:
    running = RunStepFactory(run=RunFactory(running=True), started_at=now())
    NodeResultFactory(step=running, status="running")
    ended = RunFactory(job=running.run.job, succeeded=True)
    visitor = visitor_of(ended.account)

    assert 'hx-trigger="every 3s"' in timing_of(visitor, running.run, **{"HX-Request": "true"})
    assert "hx-trigger" not in timing_of(visitor, ended, **{"HX-Request": "true"})


def test_a_run_that_built_nothing_says_so(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)

    assert "No node of the project ran." in timing_of(visitor_of(run.account), run)


def test_the_tiles_tell_what_decided_how_long_the_step_took(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    tiles = tiles_of(timing_of(visitor_of(step.run.account), step.run))

    assert tiles == [
        "4 nodes",
        "37 s wall clock",
        "35 s critical path of 3 nodes, which ends with c",
        "32 s longest node: d",
        "1.8 of 2 threads busy on average",
        "2 at work at once, at most",
        "2 s waited for a thread, all nodes together",
    ]


def test_a_node_that_did_not_run_passes_on_what_it_needs(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    left(step, chain("first", "ephemeral", "last"))
    NodeResultFactory(step=step, name="first", after=0, took=3)
    NodeResultFactory(step=step, name="last", after=3, took=4)

    page = timing_of(visitor_of(step.run.account), step.run, {"path": "1"})

    assert in_order(page) == ["first", "last"]
    assert "7 s critical path of 2 nodes, which ends with last" in tiles_of(page)


def test_to_wait_for_the_tests_of_what_one_needs_is_not_to_wait_for_a_thread(
    visitor_of: VisitorOf,
) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    test = entry("test.shop.unique_a", "model.shop.a")
    left(step, manifest_of(*chain("a", "b")["nodes"].values(), test))
    NodeResultFactory(step=step, name="a", after=0, took=3)
    NodeResultFactory(step=step, name="unique_a", resource_type="test", after=3, took=4)
    NodeResultFactory(step=step, name="b", after=8, took=1)

    tiles = tiles_of(timing_of(visitor_of(step.run.account), step.run))

    assert "1 s waited for a thread, all nodes together" in tiles


def test_a_manifest_that_goes_in_a_circle_is_no_harm(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    circle = (entry("model.shop.a", "model.shop.b"), entry("model.shop.b", "model.shop.a"))
    left(step, manifest_of(*circle))
    NodeResultFactory(step=step, name="a")

    tiles = tiles_of(timing_of(visitor_of(step.run.account), step.run))

    assert not any("critical path" in tile for tile in tiles)


@pytest.mark.parametrize(
    ("state", "words"),
    [("running", "are not known yet"), ("succeeded", "no manifest was kept that can be read")],
)
def test_without_a_manifest_the_page_says_what_is_not_known(
    visitor_of: VisitorOf, state: str, words: str
) -> None:
    step = RunStepFactory(run=RunFactory(**{state: True}), started_at=now())
    NodeResultFactory(step=step, name="orders")

    page = timing_of(visitor_of(step.run.account), step.run, {"by": "folder", "path": "1"})

    assert words in page
    assert bars_of(page) == ["orders"]
    assert not any("critical path" in tile for tile in tiles_of(page))


def test_a_run_that_goes_on_is_told_by_the_manifest_before_it(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    run = RunFactory(job=step.run.job, running=True)
    running = RunStepFactory(run=run, started_at=now() - timedelta(seconds=60))
    NodeResultFactory(step=running, name="a", took=50)
    NodeResultFactory(step=running, name="b", after=50, status="running")

    page = timing_of(visitor_of(run.account), run, {"path": "1"}, **{"HX-Request": "true"})

    assert in_order(page) == ["a", "b"]
    assert any("1 m 0 s critical path of 2 nodes" in tile for tile in tiles_of(page))
    assert f">run #{step.run_id}</a> until this one has its own" in page


def test_the_critical_path_is_marked_in_the_picture_and_listed_in_order(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    visitor = visitor_of(step.run.account)

    assert "?path=1#step-" in timing_of(visitor, step.run)
    page = timing_of(visitor, step.run, {"path": "1"})

    assert in_order(page) == ["a", "b", "c"]
    marked = re.findall(r'<a class="node [^"]*path"[^>]*aria-label="([^"]+)"', page)
    assert marked == [
        "a: Success, 10 s, on the critical path",
        "b: Success, 20 s, on the critical path",
        "c: Success, 5 s, on the critical path",
    ]


def test_a_long_critical_path_is_named_by_its_ends(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    names = [f"m{number}" for number in range(20)]
    left(step, chain(*names))
    for number, name in enumerate(names):
        NodeResultFactory(step=step, name=name, after=number, took=1)

    page = timing_of(visitor_of(step.run.account), step.run)

    line = re.sub(r"<[^>]+>", "", page[page.index('id="mark-path-') :].partition("</p>")[0])
    assert line.endswith("m0 → m1 → m2 → m3 → … → m16 → m17 → m18 → m19")


def test_nodes_are_filtered_by_name_and_by_type(visitor_of: VisitorOf, step: RunStep) -> None:
    NodeResultFactory(step=step, name="unique_a", resource_type="test")
    visitor = visitor_of(step.run.account)

    assert bars_of(timing_of(visitor, step.run, {"q": "A"})) == ["a", "unique_a"]
    assert bars_of(timing_of(visitor, step.run, {"type": "test"})) == ["unique_a"]
    page = timing_of(visitor, step.run, {"q": "A", "type": "model", "by": "type"})
    assert bars_of(page) == ["a"]
    assert '<option value="model" selected>model (4)</option>' in page
    assert 'href="?q=A&amp;type=model&amp;by=type&amp;node=model.shop.a#node"' in page


def test_a_filter_leaves_the_axis_and_the_tiles_as_they_are(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    visitor = visitor_of(step.run.account)
    whole, part = timing_of(visitor, step.run), timing_of(visitor, step.run, {"q": "a"})

    def axis(page: str) -> list[str]:
        return re.findall(r"<text x=[^>]*>(\d+ s)</text>", page)

    assert axis(part) == axis(whole)
    assert tiles_of(part) == tiles_of(whole)
    assert "1 of 4 nodes on 2 threads in 37 s" in part


@pytest.mark.parametrize("name", ["nothing like it", "<script>", "\0" * 5 + "zz"])
def test_a_filter_that_no_node_meets_offers_all(
    visitor_of: VisitorOf, step: RunStep, name: str
) -> None:
    page = timing_of(visitor_of(step.run.account), step.run, {"q": name, "path": "1"})

    assert "No node of this step is like that." in page
    assert '<a href="?path=1">Show all</a>' in page
    assert "<script>" not in page


def test_lanes_are_made_by_type_or_by_folder_too(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    left(
        step,
        manifest_of(
            entry("model.shop.a", original_file_path="models/marts/a.sql"),
            entry("model.shop.b", original_file_path="models/staging/b.sql"),
        ),
    )
    for name, kind in (("a", "model"), ("b", "model"), ("new", "seed")):
        NodeResultFactory(step=step, name=name, resource_type=kind)
    visitor = visitor_of(step.run.account)

    def groups(by: str) -> list[str]:
        page = timing_of(visitor, step.run, {"by": by})
        return re.findall(r'<text x="0"[^>]* class="lane">([^<]+)</text>', page) or re.findall(
            r'class="lane"[^>]*>([^<]+)</text>', page
        )

    assert groups("type") == ["model (2)", "seed (1)"]
    assert groups("folder") == ["models/marts (1)", "models/staging (1)", "not in the manifest (1)"]
    assert groups("thread") == groups("nothing like it") == ["thread 1"]


def test_what_is_asked_is_kept_while_the_picture_moves(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(running=True), started_at=now())
    NodeResultFactory(step=step, name="orders", status="running")
    asked = {"q": "ord", "type": "model", "by": "type", "path": "1"}

    page = timing_of(visitor_of(step.run.account), step.run, asked, **{"HX-Request": "true"})

    assert '/timing/?q=ord&amp;type=model&amp;by=type&amp;path=1" hx-trigger="every 3s"' in page


def test_three_thousand_nodes_have_a_critical_path(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    nodes = example.nodes_of("coffee_shops", 3000)
    left(step, example.manifest(nodes, now()))
    NodeResult.objects.bulk_create(
        NodeResultFactory.build(
            run=step.run,
            step=step,
            unique_id=node.unique_id,
            name=node.name,
            resource_type=node.kind,
            thread=f"Thread-{place % 8 + 1}",
            after=place // 8,
            took=1,
        )
        for place, node in enumerate(nodes)
    )
    visitor = visitor_of(step.run.account)
    timing_of(visitor, step.run)  # the first look ever at a manifest works it out

    for by in ("thread", "folder"):
        page = timing_of(visitor, step.run, {"by": by, "path": "1"})
        assert "Critical path of step" in page
