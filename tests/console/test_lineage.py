"""The lineage of a run and of an environment: what is shown of it, and how each node stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from jobsvc.management.example_data import graph as example
from jobsvc.runs.models import Run, RunStep
from tests.factories import NodeResultFactory, RunFactory, RunStepFactory
from tests.manifests import chain, entry, left, manifest_of

VisitorOf = Callable[..., Client]
SHOP = chain("a", "b", "c", "d", "e", "f", "g", "h")


def url(run: Run, **query: object) -> str:
    address = reverse("console:run_lineage", args=[run.account_id, run.project_id, run.pk])
    return f"{address}?{urlencode(query, doseq=True)}"


def text(client: Client, address: str, **headers: str) -> str:
    response = client.get(address, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def shown(page: str) -> list[str]:
    """The names in the list, in its order."""
    return re.findall(r"<a data-name [^>]*><bdi>([^<]*)</bdi>", page)


def look_of(page: str, name: str) -> str:
    [found] = re.findall(rf'data-tone="([^"]*)"(?:(?!</li>).)*?<bdi>{name}</bdi>', page, re.DOTALL)
    return found.rpartition('data-tone="')[2]


@pytest.fixture
def step(db: None) -> RunStep:
    """Of a run in which ``d`` failed, so that what needs it was skipped."""
    step: RunStep = RunStepFactory(run=RunFactory(failed=True), started_at=now(), builds=True)
    for name in "abc":
        NodeResultFactory(step=step, name=name)
    NodeResultFactory(step=step, name="d", status="error")
    for name in "ef":
        NodeResultFactory(step=step, name=name, status="skipped")
    left(step, SHOP)
    return step


def test_one_sees_first_what_lies_around_the_failure(visitor_of: VisitorOf, step: RunStep) -> None:
    page = text(visitor_of(step.run.account), url(step.run))

    assert shown(page) == ["b", "c", "d", "e", "f", "g"]
    assert look_of(page, "d") == "err"
    assert look_of(page, "e") == "mut skipped"
    assert look_of(page, "g") == "none"


def test_a_run_without_failures_begins_with_what_it_worked_on(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), builds=True)
    left(step, SHOP)
    for name in "bd":
        NodeResultFactory(step=step, name=name)

    assert shown(text(visitor_of(step.run.account), url(step.run))) == ["b", "d"]


def test_a_failed_test_leads_to_its_model_and_is_told_with_it(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(failed=True), builds=True)
    left(
        step,
        manifest_of(
            entry("model.shop.orders"),
            entry("model.shop.others"),
            *(entry(f"test.shop.t{n}", "model.shop.orders") for n in range(4)),
        ),
    )
    NodeResultFactory(step=step, name="orders")
    for n, status in enumerate(["pass", "pass", "fail"]):
        NodeResultFactory(step=step, name=f"t{n}", resource_type="test", status=status)

    page = text(visitor_of(step.run.account), url(step.run))

    assert shown(page) == ["orders"]
    assert '<span class="ok">2 ✓</span>' in page
    assert '<span class="err">1 ✕</span>' in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"select": "+c+1"}, "abcd"),
        ({"select": "a h"}, "ah"),
        ({"select": "a h", "only": "1"}, "a"),
        ({"only": "1"}, "bcdef"),
        ({"open": "model.shop.g"}, "bcdefgh"),
        ({"focus": "model.shop.a"}, "abcd"),
        ({"whole": "1"}, "abcdefgh"),
        ({"folder": "models"}, "abcdefgh"),
        ({"open": ["model.shop.nothing", "<script>", "\0"]}, "bcdefg"),
        ({"folder": "elsewhere"}, ""),
    ],
)
def test_the_address_says_what_is_shown(
    visitor_of: VisitorOf, step: RunStep, query: dict[str, object], names: str
) -> None:
    assert shown(text(visitor_of(step.run.account), url(step.run, **query))) == list(names)


def test_a_node_at_the_edge_leads_to_more_of_them(visitor_of: VisitorOf, step: RunStep) -> None:
    visitor = visitor_of(step.run.account)
    page = text(visitor, url(step.run))
    assert 'aria-label="Show 1 more around g"' in page

    [more] = re.findall(
        r'<a data-open href="([^"#]*)[^"]*" aria-label="Show 1 more around g"', page
    )
    opened = text(visitor, url(step.run).partition("?")[0] + more.replace("&amp;", "&"))

    assert shown(opened) == ["b", "c", "d", "e", "f", "g", "h"]


def test_a_selector_that_is_not_understood_is_told_at_its_field(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    page = text(visitor_of(step.run.account), url(step.run, select="state:modified"))

    assert "“state:modified” cannot be read here. A name, +name" in page
    assert 'aria-describedby="lineage-refusal"' in page
    assert shown(page) == ["b", "c", "d", "e", "f", "g"]


def test_too_many_nodes_are_shown_as_folders_that_open(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True))
    left(step, example.manifest(example.nodes_of("coffee_shops", 3000), now()))
    visitor = visitor_of(step.run.account)

    page = text(visitor, url(step.run, whole="1"))

    assert shown(page) == ["models/staging", "models/intermediate", "seeds", "models/marts"]
    assert "?folder=models%2Fmarts#lineage" in page
    inside = text(visitor, url(step.run, folder="models/marts/orders"))
    assert "fct_orders" in shown(inside)


def test_what_was_taken_from_another_run_is_told_apart(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    Run.objects.filter(pk=run.pk).update(deferring_run=RunFactory(job=run.job, succeeded=True))
    step = RunStepFactory(run=run, builds=True)
    left(step, SHOP)
    NodeResultFactory(step=step, name="c")

    page = text(visitor_of(run.account), url(run, select="+c"))

    assert look_of(page, "b") == "mut deferred"
    assert look_of(page, "a") == "none"


def test_of_a_node_of_two_steps_the_build_counts(visitor_of: VisitorOf, step: RunStep) -> None:
    docs = RunStepFactory(run=step.run, index=9, kind="docs")
    NodeResultFactory(step=docs, name="d", status="success")

    assert look_of(text(visitor_of(step.run.account), url(step.run)), "d") == "err"


def test_the_list_moves_while_the_run_goes_on_and_stops_with_it(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    running = RunStepFactory(run=RunFactory(job=step.run.job, running=True), builds=True)
    NodeResultFactory(step=running, name="b", status="running")
    visitor = visitor_of(step.run.account)

    part = text(visitor, url(running.run), **{"HX-Request": "true"})

    assert "<html" not in part
    assert 'hx-trigger="every 3s"' in part
    assert shown(part) == ["b"]
    assert "hx-trigger" not in text(visitor, url(step.run), **{"HX-Request": "true"})


@pytest.mark.parametrize(
    ("state", "words"),
    [("running", "dbt has written no manifest yet"), ("failed", "No manifest was kept")],
)
def test_a_run_without_a_manifest_says_why(visitor_of: VisitorOf, state: str, words: str) -> None:
    run = RunFactory(**{state: True})

    assert words in text(visitor_of(run.account), url(run))


def test_a_manifest_that_cannot_be_read_is_told(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True))
    left(step, b"{}")

    page = text(visitor_of(step.run.account), url(step.run))

    assert f"The manifest of run {step.run_id} cannot be read" in page


def test_names_of_nodes_are_never_markup(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), builds=True)
    evil = "model.shop.<script>alert(1)</script>/../ü\n\"'"
    left(step, manifest_of(entry(evil)))
    NodeResultFactory(step=step, name="evil", unique_id=evil)
    visitor = visitor_of(step.run.account)

    page = text(visitor, url(step.run, node=evil))

    assert "<script>alert" not in page
    assert 'id="node"' in page


def test_the_node_that_is_asked_for_is_shown_beside_it(
    visitor_of: VisitorOf, step: RunStep
) -> None:
    page = text(visitor_of(step.run.account), url(step.run, node="model.shop.h"))

    assert "This run did nothing with it." in page
    assert "<code>select 1 as h</code>" in page
    assert f"{step.run_id}/lineage/?focus=model.shop.h" in page


def test_lineage_takes_as_many_queries_however_large_it_is(
    visitor_of: VisitorOf, step: RunStep, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    visitor = visitor_of(step.run.account)
    text(visitor, url(step.run))

    with django_assert_max_num_queries(15):
        text(visitor, url(step.run, whole="1", node="model.shop.d"))


# --- Of an environment ------------------------------------------------------------------------


def of_environment(run: Run, **query: str) -> str:
    ids = [run.account_id, run.project_id, run.environment_id]
    return f"{reverse('console:environment_lineage', args=ids)}?{urlencode(query)}"


def test_an_environment_shows_its_newest_success(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), builds=True)
    NodeResultFactory(step=step, name="c")
    left(step, SHOP)
    left(RunStepFactory(run=RunFactory(job=step.run.job, failed=True)), chain("x"))

    page = text(visitor_of(step.run.account), of_environment(step.run, whole="1"))

    assert shown(page) == list("abcdefgh")
    assert look_of(page, "c") == "ok"
    assert f"run #{step.run_id}</a>" in page


def test_an_environment_without_a_manifest_says_what_to_do(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)

    page = text(visitor_of(run.account), of_environment(run))

    assert "No successful run here has a manifest." in page
