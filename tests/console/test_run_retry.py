"""The one thing that a run's page suggests to do, and what a retry would do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from jobsvc.engine.plan import StepKind
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run, RunTrigger
from jobsvc.statuses import CancelReason, RunStatus
from tests.factories import (
    ArtifactFactory,
    JobFactory,
    NodeResultFactory,
    RunFactory,
    RunStepFactory,
)

VisitorOf = Callable[..., Client]


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No broker is needed."""


def url(run: Run, name: str = "run") -> str:
    return reverse(f"console:{name}", args=[run.account_id, run.project_id, run.pk])


def text(client: Client, address: str, **headers: str) -> str:
    response = client.get(address, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def failed_run(job: Job | None = None, **step: object) -> Run:
    """A run whose fourth step failed and left results, and whose fifth was passed over."""
    run: Run = RunFactory(job=job or JobFactory(), failed=True, dbt_version="1.11.16")
    clone = RunStepFactory(run=run, index=1, kind=StepKind.CLONE, command="", status=10)
    clone.name = "Clone git repository"
    clone.save()
    given = {"status": RunStatus.ERROR, "exit_code": 1, "command": "dbt build"} | step
    broken = RunStepFactory(run=run, started_at=now(), builds=True, **given)
    RunStepFactory(run=run, index=5, command="dbt test", status=30, skipped=True)
    ArtifactFactory(step=broken, path="run_results.json")
    for status in ("error", "fail", "skipped", "skipped", "success", "warn"):
        NodeResultFactory(step=broken, status=status)
    return run


def plan_in(page: str) -> str:
    return page.partition('<ol class="plan">')[2].partition("</ol>")[0]


# --- The button --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "button"),
    [
        ({"succeeded": True}, 'id="again"'),
        ({"cancelled": True}, 'id="again"'),
        ({"running": True}, 'id="cancel"'),
        ({}, 'id="cancel"'),
    ],
)
def test_each_state_suggests_one_thing(
    visitor_of: VisitorOf, how: dict[str, bool], button: str
) -> None:
    run = RunFactory(**how)

    page = text(visitor_of(run.account), url(run))

    buttons = {'id="again"', 'id="cancel"', 'id="retry"'}
    assert {one for one in buttons if one in page} == {button}


def test_a_failed_run_suggests_to_retry_it_and_asks_first(visitor_of: VisitorOf) -> None:
    run = failed_run()

    page = text(visitor_of(run.account), url(run))

    assert f'href="{url(run, "run_retry")}" data-dialog="retry-dialog"' in page
    assert '<dialog id="retry-dialog"' in page


def test_a_run_that_cannot_be_retried_says_why_beside_its_button(visitor_of: VisitorOf) -> None:
    run = failed_run()
    RunFactory(job=run.job)

    page = text(visitor_of(run.account), url(run))

    assert 'id="retry" class="button" disabled' in page
    assert "This is not the latest run of its job. Run the job from its start instead." in page
    assert "extensions.force" not in page


def test_who_may_only_look_is_offered_nothing(visitor_of: VisitorOf) -> None:
    run = failed_run()

    page = text(visitor_of(run.account, "job_viewer"), url(run))

    assert 'id="retry"' not in page
    assert "retry-dialog" not in page
    assert reverse("console:run_now", args=[run.account_id, run.project_id, run.job_id]) not in page


def test_a_run_of_a_deleted_job_is_neither_retried_nor_run_again(visitor_of: VisitorOf) -> None:
    run = failed_run()
    Job.objects.filter(pk=run.job_id).update(state=2)

    page = text(visitor_of(run.account), url(run))

    assert 'id="retry"' not in page
    assert 'id="again"' not in page


def test_the_head_of_another_part_stops_asking_with_the_run(visitor_of: VisitorOf) -> None:
    running = RunFactory(running=True)
    visitor = visitor_of(running.account)
    asks = {"HX-Request": "true", "HX-Target": "run-head"}
    assert 'hx-trigger="every 2s"' in text(visitor, url(running, "run_config"))

    going_on = text(visitor, url(running), **asks)
    running.move_to(RunStatus.SUCCESS)
    ended = text(visitor, url(running), **asks)

    assert 'id="run-head"' in going_on
    assert 'id="run-live"' not in going_on
    assert 'hx-trigger="every' in going_on
    assert 'hx-trigger="every' not in ended


# --- What a retry would do ---------------------------------------------------------------


def test_a_retry_names_its_steps_and_how_many_nodes_it_repeats(visitor_of: VisitorOf) -> None:
    run = failed_run()
    visitor = visitor_of(run.account)

    for address in (url(run), url(run, "run_retry")):
        plan = plan_in(text(visitor, address))
        assert "Clone git repository" in plan
        assert "<b>4 nodes</b> that failed or were skipped" in plan
        assert "<code>dbt test</code>" in plan


def test_a_step_that_was_cut_off_is_repeated_whole(visitor_of: VisitorOf) -> None:
    run = failed_run(exit_code=2)

    assert "all of it, from its start" in plan_in(text(visitor_of(run.account), url(run)))


def test_a_run_whose_code_could_not_be_had_begins_anew(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, dbt_version="1.11.16")
    clone = RunStepFactory(run=run, index=1, kind=StepKind.CLONE, command="", status=20)
    RunStepFactory(run=run, index=4, status=30, skipped=True)
    ArtifactFactory(step=clone, path="run_results.json")

    page = text(visitor_of(run.account), url(run))

    assert "goes on from the beginning" in page
    assert "<code>dbt build</code>" in plan_in(page)


# --- What one should know before reading on ----------------------------------------------


def test_a_retry_and_the_run_it_retries_lead_to_each_other(visitor_of: VisitorOf) -> None:
    run = failed_run()
    retry = RunFactory(job=run.job, succeeded=True, retrying_run=run)
    visitor = visitor_of(run.account)

    old, new = text(visitor, url(run)), text(visitor, url(retry))

    assert f'It was retried by <a id="retried-by-{retry.pk}"' in old
    assert f"run #{retry.pk}</a>: Success." in old
    assert f'a retry of <a id="retry-of" href="/r/{run.pk}/">run #{run.pk}</a>' in new


def test_a_run_that_gave_way_leads_to_the_one_in_its_place(visitor_of: VisitorOf) -> None:
    newer = RunFactory()
    run = RunFactory(
        job=newer.job,
        cancelled=True,
        cancel_reason=CancelReason.SUPERSEDED,
        status_message=f"Superseded: run {newer.pk} was queued later and took its place.",
    )

    page = text(visitor_of(run.account), url(run))

    assert f'href="/r/{newer.pk}/">Open run #{newer.pk}</a>' in page


def test_numbers_that_a_person_writes_are_no_links(visitor_of: VisitorOf) -> None:
    run = RunFactory(cancelled=True, cancel_reason=CancelReason.USER, status_message="run 77")

    assert "/r/77/" not in text(visitor_of(run.account), url(run))


def test_a_lost_worker_is_told_with_when_it_was_last_heard_from(visitor_of: VisitorOf) -> None:
    run = RunFactory(
        failed=True,
        outcome="worker_lost",
        worker="worker-3",
        last_heartbeat_at=now() - timedelta(minutes=7),
        status_message="The worker was lost.",
    )

    page = text(visitor_of(run.account), url(run))

    assert "worker-3 was last heard from" in page
    assert "7 min ago" in page
    assert "Nothing resumes by itself." in page


def test_what_was_deferred_to_is_told(visitor_of: VisitorOf) -> None:
    other = RunFactory(succeeded=True)
    run = RunFactory(
        job=other.job,
        succeeded=True,
        deferring_run=other,
        state_used={"sentence": "Deferring to a run."},
    )

    page = text(visitor_of(run.account), url(run))

    assert "Deferring to a run." in page
    assert f'id="deferred-to" href="/r/{other.pk}/"' in page


def test_overrides_are_counted_and_named(visitor_of: VisitorOf) -> None:
    run = RunFactory()
    RunTrigger.objects.filter(run=run).update(threads_override=2, variables_override={"DBT_A": "b"})

    page = text(visitor_of(run.account), url(run))

    assert 'title="threads, variables">2 overrides</a>' in page


def test_the_usual_time_is_the_median_of_the_jobs_successful_runs(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    for seconds in (10, 60, 4000):
        ended = now()
        RunFactory(
            job=job,
            succeeded=True,
            dequeued_at=ended - timedelta(seconds=seconds),
            finished_at=ended,
        )
    RunFactory(job=job, failed=True)
    run = RunFactory(job=job, running=True)

    assert "(usual 1 m 0 s)" in text(visitor_of(job.account), url(run))
