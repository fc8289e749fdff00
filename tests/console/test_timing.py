"""The page that tells when the nodes of a run were at work."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from jobsvc.runs.models import Run
from tests.factories import NodeResultFactory, RunFactory, RunStepFactory

VisitorOf = Callable[..., Client]


def timing_of(visitor: Client, run: Run, **headers: str) -> str:
    url = reverse("console:run_timing", args=[run.account_id, run.project_id, run.pk])
    return visitor.get(url, headers=headers).content.decode()


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
