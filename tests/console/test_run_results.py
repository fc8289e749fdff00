"""The table of a run's nodes, and what is shown of one of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from jobsvc.console.export import harmless
from jobsvc.runs.models import NodeResult, Run, RunStep
from tests.factories import ArtifactFactory, NodeResultFactory, RunFactory, RunStepFactory
from tests.manifests import entry, left, manifest_of

VisitorOf = Callable[..., Client]
HTMX = {"HX-Request": "true"}


def url(run: Run, query: str = "") -> str:
    return (
        reverse("console:run_results", args=[run.account_id, run.project_id, run.pk]) + f"?{query}"
    )


def text(client: Client, address: str, **headers: str) -> str:
    response = client.get(address, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def node_of(step: RunStep, name: str, status: str = "success", **fields: object) -> NodeResult:
    made: NodeResult = NodeResultFactory(step=step, name=name, status=status, **fields)
    return made


@pytest.fixture
def step(db: None) -> RunStep:
    """Of an ended run, with a node of each kind of end."""
    step: RunStep = RunStepFactory(run=RunFactory(failed=True), started_at=now())
    node_of(step, "went_well", rows_affected=17)
    node_of(step, "was_skipped", "skipped", started_at=None, finished_at=None)
    node_of(step, "unique_orders", "fail", resource_type="test", failures=3)
    node_of(step, "broke", "error", message="column does not exist")
    return step


def names_in_order(page: str, *names: str) -> list[str]:
    return sorted(names, key=lambda name: page.index(f"<bdi>{name}</bdi>"))


def test_what_failed_comes_first(visitor_of: VisitorOf, step: RunStep) -> None:
    page = text(visitor_of(step.run.account), url(step.run))

    shown = names_in_order(page, "went_well", "was_skipped", "unique_orders", "broke")
    assert shown == ["unique_orders", "broke", "was_skipped", "went_well"]


def test_rows_and_failing_rows_are_told(visitor_of: VisitorOf, step: RunStep) -> None:
    page = text(visitor_of(step.run.account), url(step.run))

    assert ">17</td>" in page
    assert "3 failing" in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("status=error", {"broke"}),
        ("type=test", {"unique_orders"}),
        ("q=WENT", {"went_well"}),
        ("status=success&type=test", set()),
    ],
)
def test_nodes_are_filtered_by_the_address(
    visitor_of: VisitorOf, step: RunStep, query: str, shown: set[str]
) -> None:
    page = text(visitor_of(step.run.account), url(step.run, query))

    every = {"went_well", "was_skipped", "unique_orders", "broke"}
    assert {name for name in every if f"<bdi>{name}</bdi>" in page} == shown


def test_a_filter_that_nothing_passes_says_so(visitor_of: VisitorOf, step: RunStep) -> None:
    page = text(visitor_of(step.run.account), url(step.run, "status=reused"))

    assert "No node of this run is like that." in page


def test_the_nodes_of_one_page_end_where_those_of_the_next_begin(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    for number in range(60):
        node_of(step, f"of_many_{number:02}")
    visitor = visitor_of(step.run.account)

    first = text(visitor, url(step.run))
    [after] = {part.partition('"')[0] for part in first.split("?after=")[1:]}
    second = text(visitor, url(step.run, f"after={after}"))

    numbers = [n for n in range(60) if f"<bdi>of_many_{n:02}</bdi>" in first]
    assert first.count("<bdi>of_many") == 46
    assert second.count("<bdi>of_many") == 14
    assert not any(f"<bdi>of_many_{n:02}</bdi>" in second for n in numbers)


def test_more_nodes_are_added_as_rows_alone(visitor_of: VisitorOf, step: RunStep) -> None:
    rows = text(visitor_of(step.run.account), url(step.run), **HTMX, **{"HX-Target": "more"})

    assert rows.lstrip().startswith("<tr")
    assert "<table" not in rows


@pytest.mark.parametrize("after", ["x", "0-", "9-" + "9" * 30, "-1", "0-²", "99-1"])
def test_a_cursor_that_is_none_shows_the_beginning(
    visitor_of: VisitorOf, step: RunStep, after: str
) -> None:
    assert "<bdi>broke</bdi>" in text(visitor_of(step.run.account), url(step.run, f"after={after}"))


def test_the_table_moves_while_the_run_goes_on_and_stops_with_it(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    running = RunStepFactory(run=RunFactory(job=step.run.job, running=True), started_at=now())
    node_of(running, "at_work", "running")
    visitor = visitor_of(step.run.account)

    assert 'hx-trigger="every 5s"' in text(visitor, url(running.run), **HTMX)
    assert "hx-trigger" not in text(visitor, url(step.run), **HTMX)


def test_the_table_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf, step: RunStep, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        node_of(step, f"of_many_{number}")
    left(step, manifest_of(entry("model.shop.broke", "model.shop.went_well")))
    visitor = visitor_of(step.run.account)
    text(visitor, url(step.run, "node=model.shop.broke"))

    with django_assert_max_num_queries(15):
        text(visitor, url(step.run, "node=model.shop.broke"))


def test_a_node_shows_its_source_and_what_lies_around_it(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    broke = entry("model.shop.broke", "model.shop.went_well", raw_code="select <1>")
    left(step, manifest_of(entry("model.shop.went_well"), broke))

    page = text(visitor_of(step.run.account), url(step.run, "status=error&node=model.shop.broke"))

    assert "<code>select &lt;1&gt;</code>" in page
    assert "?status=error&amp;node=model.shop.went_well#node" in page


def test_a_node_tells_how_long_it_waited_for_a_thread(visitor_of: VisitorOf, step: RunStep) -> None:
    late = node_of(step, "late", after=9, took=1)
    node_of(step, "needed", after=0, took=4)
    left(step, manifest_of(entry("model.shop.needed"), entry(late.unique_id, "model.shop.needed")))

    page = text(visitor_of(step.run.account), url(step.run, f"node={late.unique_id}"))

    assert "<dt>Waited for a thread</dt><dd>5.00 s</dd>" in page


# --- As a file ---------------------------------------------------------------------------


def rows_of(client: Client, address: str) -> list[dict[str, str]]:
    response = client.get(address)
    assert isinstance(response, StreamingHttpResponse)
    assert response["Content-Disposition"].startswith("attachment")
    lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[arg-type]  # the test client's is no async one
    return list(csv.DictReader(lines))


def test_all_that_the_filters_leave_is_in_the_file(visitor_of: VisitorOf, step: RunStep) -> None:
    visitor = visitor_of(step.run.account)

    assert len(rows_of(visitor, url(step.run, "format=csv"))) == 4
    [row] = rows_of(visitor, url(step.run, "status=error&format=csv"))
    assert (row["name"], row["message"]) == ("broke", "column does not exist")


def test_no_text_of_the_file_is_a_formula(visitor_of: VisitorOf, step: RunStep) -> None:
    node_of(step, "evil", "error", message='=HYPERLINK("https://evil.example","click")')

    rows = rows_of(visitor_of(step.run.account), url(step.run, "q=evil&format=csv"))

    assert rows[0]["message"].startswith("'=HYPERLINK")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"])
def test_what_a_spreadsheet_would_calculate_is_made_text(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("cell", ["a=1", "", None, -5, -0.5])
def test_what_a_spreadsheet_takes_as_it_is_stays(cell: str | float | None) -> None:
    assert harmless(cell) == cell


# --- One node ----------------------------------------------------------------------------


def test_a_node_shows_its_whole_message_and_how_its_time_was_spent(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    begun = step.started_at + timedelta(seconds=2) if step.started_at else now()
    node = node_of(
        step,
        "slow",
        "error",
        message="words " * 200 + "the last one",
        after=2,
        took=9,
        executing_at=begun + timedelta(seconds=4),
    )

    page = text(visitor_of(step.run.account), url(step.run, f"node={node.unique_id}"))

    assert "the last one</pre>" in page
    for words in ("<dd>2.00 s</dd>", "<dd>4.00 s</dd>", "<dd>5.00 s</dd>", "<dd>9.00 s</dd>"):
        assert words in page


def test_a_nodes_compiled_sql_is_shown_as_text(visitor_of: VisitorOf, step: RunStep) -> None:
    ArtifactFactory(
        step=step, path="compiled/shop/models/marts/broke.sql", content=b"select '<script>'"
    )

    page = text(visitor_of(step.run.account), url(step.run, "node=model.shop.broke"))

    assert "select &#x27;&lt;script&gt;&#x27;" in page


def test_of_long_sql_the_beginning_is_shown(visitor_of: VisitorOf, step: RunStep) -> None:
    ArtifactFactory(step=step, path="compiled/shop/models/broke.sql", content=b"a" * 200_000)

    page = text(visitor_of(step.run.account), url(step.run, "node=model.shop.broke"))

    assert "a" * 131_072 in page
    assert "a" * 131_073 not in page
    assert "It is longer than what is shown." in page


def test_another_packages_sql_is_not_shown(visitor_of: VisitorOf, step: RunStep) -> None:
    ArtifactFactory(step=step, path="compiled/other/models/broke.sql", content=b"select 'theirs'")

    page = text(visitor_of(step.run.account), url(step.run, "node=model.shop.broke"))

    assert "theirs" not in page
    assert "No compiled SQL of it was kept." in page


def test_a_node_shows_what_became_of_it_in_earlier_runs_of_the_job(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    later = RunFactory(job=step.run.job, failed=True)
    elsewhere = RunStepFactory(run=RunFactory(failed=True))
    of_later = RunStepFactory(run=later, started_at=now())
    node_of(of_later, "broke", "error")
    node_of(elsewhere, "broke", "error")

    page = text(visitor_of(step.run.account), url(later, "node=model.shop.broke"))

    assert "Its last 2 results, 2 of them failed" in page


def test_a_node_of_two_steps_is_shown_of_the_last_and_of_either(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    again = RunStepFactory(run=step.run, index=5, started_at=now())
    node_of(again, "broke", "success", message="built at last")
    visitor = visitor_of(step.run.account)

    newest = text(visitor, url(step.run, "node=model.shop.broke"))
    chosen = text(visitor, url(step.run, "node=model.shop.broke&step=4"))

    assert '"Message">built at last</pre>' in newest
    assert "also in step 4" in newest
    assert '"Message">column does not exist</pre>' in chosen


@pytest.mark.parametrize("node", ["model.shop.nothing", "%00", "x" * 3000])
def test_a_node_that_is_not_there_leaves_the_table_alone(
    visitor_of: VisitorOf, step: RunStep, node: str
) -> None:
    page = text(visitor_of(step.run.account), url(step.run, f"node={node}"))

    assert 'id="node"' not in page
    assert "<bdi>broke</bdi>" in page


def test_what_nodes_are_called_and_say_is_never_markup(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    node = node_of(step, "<script>alert(1)</script>", "error", message="<script>alert(2)</script>")
    visitor = visitor_of(step.run.account)

    page = text(visitor, url(step.run, f"node={node.unique_id}"))

    assert "<script>alert" not in page


def test_a_bar_of_the_timing_shows_its_node_beside_the_picture(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    timing = reverse(
        "console:run_timing", args=[step.run.account_id, step.run.project_id, step.run.pk]
    )
    visitor = visitor_of(step.run.account)
    assert 'href="?node=model.shop.broke#node"' in text(visitor, timing)

    page = text(visitor, f"{timing}?node=model.shop.broke")
    assert 'id="node"' in page
    assert "<svg" in page


# --- Freshness -----------------------------------------------------------------------------


def source(name: str, status: str, **more: object) -> dict[str, object]:
    return {"unique_id": f"source.shop.raw.{name}", "status": status, **more}


def fresh(step: RunStep, content: bytes) -> str:
    """The address of a run whose sources.json has ``content``."""
    Run.objects.filter(pk=step.run_id).update(has_sources_generated=True)
    ArtifactFactory(step=step, path="sources.json", content=content)
    return url(step.run)


def test_sources_have_a_table_of_their_own_stale_ones_first(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    limits = {"warn_after": {"count": 12, "period": "hour"}, "error_after": {"count": 1}}
    found = [
        source("fine", "pass", max_loaded_at_time_ago_in_s=90),
        source("stale", "error", max_loaded_at="2026-11-20T06:00:00Z", criteria=limits),
        source("<b>gone", "runtime error", error="relation does not exist"),
    ]

    page = text(visitor_of(step.run.account), fresh(step, json.dumps({"results": found}).encode()))

    places = [page.index(name) for name in ("raw.&lt;b&gt;gone", "raw.stale", "raw.fine")]
    assert places == sorted(places)
    assert "warn after 12 hours" in page
    assert "relation does not exist" in page
    assert "1 m 30 s" in page


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"results": 1}', b'{"results": [1, {}]}', b"[" * 99_999]
)
def test_a_file_of_sources_that_is_none_does_no_harm(
    visitor_of: VisitorOf, step: RunStep, content: bytes
) -> None:
    assert "<bdi>broke</bdi>" in text(visitor_of(step.run.account), fresh(step, content))
