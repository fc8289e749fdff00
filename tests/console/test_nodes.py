"""One node across runs: what it takes, when it failed, when its code changed, what it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from environments.models import Environment
from jobsvc.jobs.models import Job
from jobsvc.runs.models import NodeResult, Run
from tests.factories import (
    ArtifactFactory,
    JobFactory,
    NodeResultFactory,
    RunFactory,
    RunStepFactory,
)
from tests.manifests import entry, left, manifest_of

VisitorOf = Callable[..., Client]
ORDERS = "model.shop.orders"


def url(job: Job, unique_id: str = ORDERS, query: str = "") -> str:
    return reverse("console:node", args=[job.account_id, job.project_id, unique_id]) + query


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def ran(job: Job, *, days_ago: int = 0, took: float = 2, **fields: Any) -> NodeResult:
    """A result of ``orders`` in a run of ``job``."""
    moment = now() - timedelta(days=days_ago)
    run = RunFactory(job=job, succeeded=True, git_branch="main", git_sha=f"{days_ago:07}abc")
    Run.objects.filter(pk=run.pk).update(created_at=moment)
    step = RunStepFactory(run=run, started_at=moment)
    made: NodeResult = NodeResultFactory(step=step, name="orders", took=took, **fields)
    return made


@pytest.fixture
def job(db: None) -> Job:
    made: Job = JobFactory()
    return made


@pytest.mark.parametrize(
    ("then", "today", "words"),
    [
        (10, 15, "It takes 15 s at the median of its last successes, 50% slower than a month ago"),
        (20, 10, "50% faster than a month ago (20 s)."),
        (10, 10.5, "about as long as a month ago (10 s)."),
        (2, 10, "5.0 times as long as a month ago (2.0 s)."),
        (0, 10, ", slower than a month ago (0.0 s)."),
    ],
)
def test_it_is_told_whether_it_is_slower_than_a_month_ago(
    visitor_of: VisitorOf, job: Job, then: float, today: float, words: str
) -> None:
    for days in (60, 50, 40):
        ran(job, days_ago=days, took=then)
    for days in (2, 1, 0):
        ran(job, days_ago=days, took=today)
        ran(job, days_ago=days, took=500, status="error")

    page = text(visitor_of(job.account), url(job))

    assert words in page, page[page.find("speed") - 100 :][:400]


def test_with_nothing_of_a_month_ago_there_is_no_comparison(
    visitor_of: VisitorOf, job: Job
) -> None:
    for _time in range(3):
        ran(job)

    assert "too few of a month ago" in text(visitor_of(job.account), url(job))


def test_failures_are_listed_in_the_databases_words(visitor_of: VisitorOf, job: Job) -> None:
    ran(job)
    failed = ran(job, status="error", message="column <b> does not exist")

    page = text(visitor_of(job.account), url(job))

    assert "column &lt;b&gt; does not exist" in page
    assert f"/runs/{failed.run_id}/results/?node={ORDERS}#node" in page


def test_a_change_of_its_code_is_told_with_the_commit_that_brought_it(
    visitor_of: VisitorOf, job: Job
) -> None:
    for days, checksum in ((5, "a"), (4, "a"), (3, ""), (2, "b"), (1, "b")):
        ran(job, days_ago=days, checksum=checksum)

    page = text(visitor_of(job.account), url(job))

    changed = NodeResult.objects.filter(checksum="b").earliest("pk")
    assert page.count("Changed in <a") == 1
    assert f"run #{changed.run_id}</a>" in page
    assert "main@0000002" in page


def test_where_dbt_tells_no_checksum_changes_are_not_known(visitor_of: VisitorOf, job: Job) -> None:
    ran(job)

    assert "Not known: dbt tells which version" in text(visitor_of(job.account), url(job))


def test_one_job_is_shown_at_a_time_the_one_that_runs_it_most(
    visitor_of: VisitorOf, job: Job
) -> None:
    other = JobFactory(environment=job.environment, name="Elsewhere")
    often = [ran(job) for _time in range(2)]
    once = ran(other)
    visitor = visitor_of(job.account)

    page = text(visitor, url(job))
    chosen = text(visitor, url(job, query=f"?job={other.pk}"))

    assert f'">#{often[0].run_id}</a></th>' in page
    assert f'">#{once.run_id}</a></th>' not in page
    assert f'">#{once.run_id}</a></th>' in chosen
    assert 'href="/deploy/' in page
    assert "Elsewhere" in page


def test_what_the_manifest_says_of_it_is_shown(visitor_of: VisitorOf, job: Job) -> None:
    row = ran(job)
    left(
        row.step,
        manifest_of(
            entry("model.shop.raw"),
            entry(
                ORDERS,
                "model.shop.raw",
                group="finance",
                tags=["nightly"],
                raw_code="{{ env_var('DBT_REGION') }}",
            ),
            entry("test.shop.unique_orders", ORDERS),
            groups={"group.shop.finance": {"name": "finance", "owner": {"name": "Money"}}},
        ),
    )

    page = text(visitor_of(job.account), url(job))

    for words in ("finance (Money)", "nightly", "DBT_REGION", "models/orders.sql"):
        assert words in page, page[page.find("speed") - 100 :][:400]
    assert url(job, "model.shop.raw") in page
    assert url(job, "test.shop.unique_orders") in page
    assert f"/runs/{row.run_id}/lineage/?focus={ORDERS}" in page


def test_a_node_that_only_the_manifest_knows_has_a_page(visitor_of: VisitorOf, job: Job) -> None:
    left(ran(job).step, manifest_of(entry("model.shop.never_run")))

    page = text(visitor_of(job.account), url(job, "model.shop.never_run"))

    assert "No run that is kept worked on it." in page


def test_documentation_is_linked_where_there_is_some(visitor_of: VisitorOf, job: Job) -> None:
    Environment.objects.filter(pk=job.environment_id).update(deployment_type="production")
    row = ran(job)
    ArtifactFactory(step=row.step, path="static_index.html")
    ran(job)  # a newer run, of which no documentation is kept

    page = text(visitor_of(job.account), url(job))

    assert f"/runs/{row.run_id}/docs/page/#!/model/{ORDERS}" in page


@pytest.mark.parametrize(
    "unique_id",
    ["model.shop.a/b", "model.shop.ü 日本", "model.shop.<b>?x=1#y", "model.shop.a\nb", "a/", "%"],
)
def test_whatever_a_node_is_called_it_has_its_page(
    visitor_of: VisitorOf, job: Job, unique_id: str
) -> None:
    row = ran(job, unique_id=unique_id)

    page = text(visitor_of(job.account), url(job, unique_id))

    assert "<b>?x" not in page
    assert f"#{row.run_id}</a>" in page


@pytest.mark.parametrize("unique_id", ["model.shop.nothing", "a\0b", "x" * 500])
def test_a_node_that_nobody_knows_has_none(visitor_of: VisitorOf, job: Job, unique_id: str) -> None:
    assert visitor_of(job.account).get(url(job, unique_id)).status_code == 404


def test_results_of_another_account_are_not_told(visitor_of: VisitorOf, job: Job) -> None:
    theirs = ran(JobFactory())
    mine = ran(job)

    page = text(visitor_of(job.account), url(job))

    assert f"#{mine.run_id}</a>" in page
    assert f"#{theirs.run_id}</a>" not in page


def test_the_page_takes_as_many_queries_however_often_it_ran(
    visitor_of: VisitorOf, job: Job, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for days in range(40):
        left(ran(job, days_ago=days).step, manifest_of(entry(ORDERS)))
    visitor = visitor_of(job.account)
    text(visitor, url(job))

    with django_assert_max_num_queries(15):
        text(visitor, url(job))
