"""What the first page of a run says of its nodes, of runs near it, and of its pull request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from ci.models import CISchema, CISchemaState, Report, ReportKind, RunSummary
from ci.summary import Finding, Selected, Summary
from jobsvc.console.views.run_summary import failures_in_a_row, headline
from jobsvc.engine.ports import Stream
from jobsvc.jobs.models import Job
from jobsvc.runs.logs import store
from jobsvc.runs.models import Run, RunStep, RunTrigger
from jobsvc.statuses import RunStatus
from tests.factories import (
    ArtifactFactory,
    CheckFactory,
    ConnectionFactory,
    JobFactory,
    NodeResultFactory,
    PullRequestFactory,
    RunFactory,
    RunStepFactory,
)

VisitorOf = Callable[..., Client]
HTMX = {"HX-Request": "true"}
BROKE = "model.shop.orders"


def url(run: Run) -> str:
    return reverse("console:run", args=[run.account_id, run.project_id, run.pk])


def text(client: Client, address: str, **headers: str) -> str:
    response = client.get(address, headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def run_with(job: Job, *statuses: str, **fields: object) -> Run:
    """An ended run of ``job`` in which the model ``orders`` came to each of ``statuses``."""
    given = {"over": True, "status": RunStatus.ERROR} | fields
    run: Run = RunFactory(job=job, **given)
    for index, status in enumerate(statuses, start=4):
        step = RunStepFactory(run=run, index=index, status=given["status"], started_at=now())
        NodeResultFactory(step=step, name="orders", status=status, message="No such column.")
    return run


def failure_in(page: str) -> str:
    return page.partition('<section class="panel failure')[2].partition("</section>")[0]


# --- What failed -------------------------------------------------------------------------


def test_an_error_that_several_nodes_met_is_told_once(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(failed=True), status=RunStatus.ERROR, started_at=now())
    for number in range(12):
        NodeResultFactory(step=step, name=f"node_{number}", status="error", message="Locked.")
    NodeResultFactory(step=step, name="another", status="error", message="Not there.")

    told = failure_in(text(visitor_of(step.run.account), url(step.run)))

    assert told.count("Locked.") == 1
    assert told.count("Not there.") == 1
    assert "and 4 more" in told
    assert "13 models failed" in told


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({("error", "model"): 1}, "1 model failed"),
        ({("error", "model"): 1, ("fail", "test"): 2}, "1 model and 2 tests failed"),
        ({("fail", "unit_test"): 1, ("fail", "test"): 1}, "2 tests failed"),
        (
            {("error", "model"): 1, ("skipped", "model"): 4, ("skipped", "test"): 2},
            "1 model failed, 6 nodes skipped",
        ),
        ({("success", "model"): 5, ("skipped", "model"): 1}, ""),
        ({}, ""),
    ],
)
def test_what_failed_is_counted_in_words(counts: dict[tuple[str, str], int], words: str) -> None:
    assert headline(counts) == words


def test_a_failure_says_since_which_run_it_goes_on(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    run_with(job, "success")
    first = run_with(job, "error")
    run_with(job, "skipped")
    run_with(job, "fail")
    run = run_with(job, "error")

    told = failure_in(text(visitor_of(job.account), url(run)))

    assert f'href="/r/{first.pk}/">run #{first.pk}</a>, 3 times in a row' in told


@pytest.mark.parametrize(("kind", "linked"), [("model", True), ("test", False)])
def test_a_model_that_failed_is_linked_in_the_lineage(
    visitor_of: VisitorOf, kind: str, linked: bool
) -> None:
    run = run_with(JobFactory(), "error")
    run.nodes.update(resource_type=kind)

    told = failure_in(text(visitor_of(run.account), url(run)))

    assert (f"/lineage/?focus={BROKE}" in told) is linked


def test_a_failure_after_a_success_is_new(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    run_with(job, "error")
    run_with(job, "success")
    run = run_with(job, "error")

    assert "first seen in this run" in failure_in(text(visitor_of(job.account), url(run)))


def test_the_last_step_of_a_run_says_how_a_node_went_in_it(db: None) -> None:
    job = JobFactory()
    run_with(job, "error", "success")
    run = run_with(job, "error")

    assert failures_in_a_row(run, [BROKE]) == {BROKE: []}


def test_other_pull_requests_do_not_count_for_since_when(db: None) -> None:
    job = JobFactory(ci=True)
    run_with(job, "error", concurrency_key=f"job:{job.pk}:pr:1")
    run = run_with(job, "error", concurrency_key=f"job:{job.pk}:pr:2")

    assert failures_in_a_row(run, [BROKE]) == {BROKE: []}


def test_what_no_node_explains_is_said_by_its_step(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, status_message="")
    RunStepFactory(run=run, status=RunStatus.ERROR, message="The profile was refused.")

    told = failure_in(text(visitor_of(run.account), url(run)))

    assert "The profile was refused." in told


def test_the_databases_words_are_never_markup(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(failed=True), status=RunStatus.ERROR, started_at=now())
    NodeResultFactory(step=step, name="<script>a", status="error", message="<script>b\x1b[31m")

    assert "<script>" not in failure_in(text(visitor_of(step.run.account), url(step.run)))


# --- What became of the rest -------------------------------------------------------------


def test_nodes_are_counted_by_what_became_of_them(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    for status in ("success", "success", "warn", "skipped"):
        NodeResultFactory(step=step, status=status, took=90)

    page = text(visitor_of(step.run.account), url(step.run))

    assert "4 nodes</h2>" in page
    assert '?status=success"><span class="glyph" aria-hidden="true">✓</span> 2 success' in page
    assert "<summary>1 warned</summary>" in page


def test_the_slowest_nodes_are_named_longest_first(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), started_at=now())
    for seconds in (1, 70, 5, 30, 2, 3):
        NodeResultFactory(step=step, name=f"took_{seconds}", took=seconds)

    slowest = text(visitor_of(step.run.account), url(step.run)).partition("Slowest</h3>")[2]

    places = [slowest.index(f"took_{seconds}<") for seconds in (70, 30, 5, 3, 2)]
    assert places == sorted(places)
    assert "took_1<" not in slowest


# --- While it goes on --------------------------------------------------------------------


def test_a_running_run_says_how_far_it_is_and_what_it_builds(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    before = RunStepFactory(run=RunFactory(job=job, succeeded=True), started_at=now())
    NodeResultFactory.create_batch(10, step=before)
    step = RunStepFactory(run=RunFactory(job=job, running=True), status=3, started_at=now())
    for place in range(7):
        NodeResultFactory(step=step, name=f"done_{place}", after=place)
    NodeResultFactory(step=step, name="at_work", status="running")

    page = text(visitor_of(job.account), url(step.run), **HTMX)

    assert "7 of about 10 nodes done" in page
    assert '<progress max="10" value="7"' in page
    building, _, ended = page.partition("Just finished")
    assert "at_work" in building
    assert "done_6" in ended
    assert "done_1<" not in ended


def test_before_the_first_node_there_is_no_progress(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)

    assert "<progress" not in text(visitor_of(run.account), url(run))


def test_a_queued_run_says_its_place_in_line(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    RunFactory(job=job, running=True)
    RunFactory(job=job)
    run = RunFactory(job=job)

    assert "Its place in line: 2." in text(visitor_of(job.account), url(run))


# --- Runs near it ------------------------------------------------------------------------


def test_related_runs_are_named_by_what_they_are_to_it(visitor_of: VisitorOf) -> None:
    upstream = RunFactory(succeeded=True)
    run = RunFactory(job=upstream.job, succeeded=True, git_sha="a" * 40)
    downstream = RunFactory(job=JobFactory(environment=run.environment))
    same = RunFactory(job=downstream.job, succeeded=True, git_sha="a" * 40)
    RunTrigger.objects.filter(run=run).update(caused_by_run=upstream)
    RunTrigger.objects.filter(run=downstream).update(caused_by_run=run)
    unrelated = RunFactory(job=run.job, succeeded=True, git_sha="b" * 40)

    page = text(visitor_of(run.account), url(run)).partition("Related runs</h2>")[2]

    def said_of(other: Run) -> str:
        return page.partition(f'id="related-{other.pk}"')[2].partition("</li>")[0]

    assert "Its end started this run" in said_of(upstream)
    assert "Started by this run&#x27;s end" in said_of(downstream)
    assert "Of the same commit" in said_of(same)
    assert said_of(unrelated) == ""


def test_a_run_of_the_same_commit_in_another_account_is_not_named(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True, git_sha="a" * 40)
    other = RunFactory(succeeded=True, git_sha="a" * 40)

    assert f'id="related-{other.pk}"' not in text(visitor_of(run.account), url(run))


# --- A pull request's run ----------------------------------------------------------------


@pytest.fixture
def checked(db: None) -> Run:
    """A failed run of a pull request, with all that a page can show of it."""
    job = JobFactory(ci=True)
    pull = PullRequestFactory(
        repository=job.project.repository, title="<b>Pay</b>", url="https://github.example/pull/7"
    )
    step = RunStepFactory(
        run=RunFactory(
            job=job,
            failed=True,
            dbt_version="1.11.16",
            git_sha=pull.head_sha,
            configuration={"schema_override": "dbt_cloud_pr_1_7"},
        ),
        status=RunStatus.ERROR,
        exit_code=1,
        started_at=now(),
    )
    run: Run = step.run
    RunTrigger.objects.filter(run=run).update(github_pull_request_id=pull.number)
    CheckFactory(job=job, pull_request=pull, run=run, decision="started", why="It is new.")
    about = {"repository": pull.repository}
    Report.objects.create(
        kind=ReportKind.STATUS, job=job, sha=pull.head_sha, posted_at=now(), **about
    )
    Report.objects.create(
        kind=ReportKind.COMMENT, number=pull.number, error="GitHub answered 403.", **about
    )
    ArtifactFactory(step=step, path="run_results.json")
    NodeResultFactory(step=step, name="orders", status="error", message="No such column.")
    return run


def test_a_pull_requests_run_says_what_was_told_of_it(visitor_of: VisitorOf, checked: Run) -> None:
    page = text(visitor_of(checked.account), url(checked)).partition('id="pull-title"')[2]

    assert "&lt;b&gt;Pay&lt;/b&gt;" in page
    assert "dbt_cloud_pr_1_7" in page
    assert "It is new." in page
    assert "<dt>Commit status</dt><dd>posted " in page
    assert "GitHub answered 403." in page


def test_a_pull_requests_run_says_what_was_built_and_where(
    visitor_of: VisitorOf, checked: Run
) -> None:
    found = Finding(path="models/a.sql", line=3, column=7, code="LT01", description="<b> spaces")
    summary = Summary(
        selected=Selected(modified=2, downstream=5, others=1, deferred=40),
        findings=[found],
        finding_count=61,
    )
    RunSummary.objects.create(run=checked, content=asdict(summary))
    CISchema.objects.create(
        account=checked.account,
        job=checked.job,
        environment=checked.environment,
        connection=ConnectionFactory(account=checked.account),
        pull_request_number=checked.pull_request_checks.get().pull_request.number,
        prefix="dbt_cloud_pr_1_7",
        schema="dbt_cloud_pr_1_7_marts",
        state=CISchemaState.DOOMED,
        due_at=now() + timedelta(hours=2),
    )

    page = text(visitor_of(checked.account), url(checked)).partition('id="pull-title"')[2]

    assert "2 modified, 5 downstream of them, 1 other built; 40 deferred" in page
    assert "dbt_cloud_pr_1_7_marts</bdi></code> to be dropped <time" in page
    assert "Linting found 61" in page
    assert "models/a.sql</bdi>:3:7" in page
    assert "&lt;b&gt; spaces" in page


def test_a_dbt_that_was_fallen_back_to_is_told(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True, dbt_version="1.11.16")
    RunStepFactory(
        run=run, index=2, kind="profile", status=10, message="A newer one could not be had."
    )

    page = text(visitor_of(run.account), url(run))

    assert "It ran with dbt 1.11.16. A newer one could not be had." in page


def test_everything_of_a_run_is_downloaded_from_its_menu(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)

    page = text(visitor_of(run.account), url(run))

    assert f'/runs/{run.pk}/artifacts.zip" download>Download everything' in page


def test_a_script_is_no_address_of_a_pull_request(visitor_of: VisitorOf, checked: Run) -> None:
    pull = checked.pull_request_checks.get().pull_request
    pull.url = "javascript:alert(1)"
    pull.save()

    assert "javascript:" not in text(visitor_of(checked.account), url(checked))


def test_the_fullest_page_takes_few_queries(
    visitor_of: VisitorOf, checked: Run, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    step = checked.steps.get()
    RunStep.objects.filter(pk=step.pk).update(**store(step, {Stream.CONSOLE: "It broke."}))
    visitor = visitor_of(checked.account)
    text(visitor, url(checked))  # what a first visit writes down is written down

    with django_assert_max_num_queries(15):
        assert "It broke." in text(visitor, url(checked))


def test_the_part_that_moves_takes_few_queries(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    step = RunStepFactory(run=RunFactory(running=True), status=3, started_at=now())
    NodeResultFactory(step=step, status="running")
    NodeResultFactory(step=step, status="error", message="Broken.")
    visitor = visitor_of(step.run.account)

    with django_assert_max_num_queries(15):
        text(visitor, url(step.run), **HTMX)
