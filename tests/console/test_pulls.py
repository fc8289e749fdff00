"""The pull requests of a project: what was decided and told of each, and what people decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from ci.models import (
    Check,
    CISchema,
    CISchemaState,
    PullRequest,
    Report,
    ReportKind,
    RunSummary,
)
from ci.summary import Selected, Summary
from ci.truth import comment_of
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus
from tests.factories import (
    CheckFactory,
    JobFactory,
    ProjectFactory,
    PullRequestFactory,
    RunFactory,
    RunTriggerFactory,
)

VisitorOf = Callable[..., Client]

OLD, NEW = "0" * 40, "a" * 40


@pytest.fixture
def job(db: None) -> Job:
    return JobFactory(ci=True, name="CI", triggers_github_webhook=True)


@pytest.fixture
def pull(job: Job) -> PullRequest:
    return PullRequestFactory(
        repository=job.project.repository, number=7, title="Add fct_orders", head_sha=NEW
    )


def listed(job: Job, query: str = "") -> str:
    return reverse("console:pulls", args=[job.account_id, job.project_id]) + query


def url(job: Job, name: str = "pull", *more: int) -> str:
    return reverse(f"console:{name}", args=[job.account_id, job.project_id, 7, *more])


def started(job: Job, pull: PullRequest, sha: str = NEW, **run: Any) -> Check:
    made = RunFactory(job=job, git_sha=sha, trigger=None, **run)
    RunTriggerFactory(run=made, github_pull_request_id=pull.number)
    return CheckFactory(
        job=job, pull_request=pull, head_sha=sha, decision="started", why="", run=made, attempts=1
    )


def schema_of(job: Job, **fields: Any) -> CISchema:
    name = f"dbt_cloud_pr_{job.pk}_7"
    given = {
        "account": job.account,
        "job": job,
        "environment": job.environment,
        "connection": job.project.connection,
        "pull_request_number": 7,
        "prefix": name,
        "database": "coffee",
        "schema": name,
    }
    return CISchema.objects.create(**given | fields)


# --- The list ------------------------------------------------------------------------------


def test_a_pull_request_is_listed_with_its_last_check_and_its_schema(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    run = started(job, pull, failed=True).run
    schema = schema_of(job)

    page = visitor_of(job.account).get(listed(job)).content.decode()

    assert "Add fct_orders" in page
    assert f"/runs/{run.pk}/" in page
    assert schema.schema in page
    assert "Error" in page


def test_closed_ones_are_listed_on_request(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    merged = PullRequestFactory(
        repository=pull.repository, number=8, state="merged", title="Was merged"
    )
    visitor = visitor_of(job.account)

    assert merged.title not in visitor.get(listed(job)).content.decode()
    closed = visitor.get(listed(job, "?state=closed")).content.decode()
    assert merged.title in closed
    assert pull.title not in closed
    assert merged.title in visitor.get(listed(job, "?state=all")).content.decode()


def test_another_repositorys_pull_requests_are_not_listed(
    visitor_of: VisitorOf, job: Job, db: None
) -> None:
    other = PullRequestFactory(title="Elsewhere")

    page = visitor_of(job.account).get(listed(job, "?state=all")).content.decode()

    assert other.title not in page


def test_a_project_that_was_told_of_none_says_what_is_to_be_set_up(
    visitor_of: VisitorOf, job: Job
) -> None:
    page = visitor_of(job.account).get(listed(job)).content.decode()

    assert "No pull request has been told of yet" in page
    assert "A job of this project waits for them" in page
    assert f"/settings/repositories/{job.project.repository_id}/" in page


def test_a_project_without_a_repository_says_so(visitor_of: VisitorOf, db: None) -> None:
    project = ProjectFactory(repository=None)
    address = reverse("console:pulls", args=[project.account_id, project.pk])

    assert (
        "This project has no repository"
        in visitor_of(project.account).get(address).content.decode()
    )


def test_older_ones_are_a_link_away(visitor_of: VisitorOf, job: Job) -> None:
    for number in range(1, 53):
        PullRequestFactory(repository=job.project.repository, number=number)
    visitor = visitor_of(job.account)

    page = visitor.get(listed(job)).content.decode()

    assert "before=3" in page
    older = visitor.get(listed(job, "?before=3")).content.decode()
    assert url(job).replace("/7/", "/2/") in older
    assert url(job).replace("/7/", "/3/") not in older


def test_the_list_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf, job: Job, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20, 40):
        started(
            job, PullRequestFactory(repository=job.project.repository, number=number, head_sha=NEW)
        )
    visitor = visitor_of(job.account)
    visitor.get(listed(job))

    with django_assert_max_num_queries(15):
        visitor.get(listed(job))


# --- One of them ---------------------------------------------------------------------------


def test_each_push_shows_what_became_of_it_for_each_job(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    run = started(job, pull, OLD, succeeded=True).run
    CheckFactory(job=job, pull_request=pull, head_sha=NEW, why="Its title says [skip ci].")

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert page.index(f'id="push-{NEW}"') < page.index(f'id="push-{OLD}"')
    assert "Passed over" in page
    assert "Its title says [skip ci]." in page
    assert f"/runs/{run.pk}/" in page


def test_a_pull_request_that_nothing_was_decided_of_says_why_that_may_be(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    page = visitor_of(job.account).get(url(job)).content.decode()

    assert "No job of this project was told of its commits" in page


def test_the_page_moves_only_while_one_of_its_runs_does(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    run = started(job, pull, running=True).run
    visitor = visitor_of(job.account)

    moving = visitor.get(url(job), headers={"HX-Request": "true"}).content.decode()
    run.move_to(RunStatus.SUCCESS)
    settled = visitor.get(url(job), headers={"HX-Request": "true"}).content.decode()

    assert "<html" not in moving
    assert "hx-get" in moving
    assert "hx-get" not in settled


def test_hostile_words_are_shown_as_text(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    PullRequest.objects.update(
        title="<script>alert(1)</script>", url="javascript:alert(2)", author="<b>ana</b>"
    )

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert "&lt;script&gt;alert(1)" in page
    assert "<b>ana" not in page
    assert "javascript:alert(2)" not in page


def test_one_that_was_never_told_of_does_not_exist(visitor_of: VisitorOf, job: Job) -> None:
    assert visitor_of(job.account).get(url(job)).status_code == 404


def test_the_page_takes_as_many_queries_however_many_pushes_there_are(
    visitor_of: VisitorOf,
    job: Job,
    pull: PullRequest,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(12):
        sha = f"{number:040x}"
        started(job, pull, sha, succeeded=True)
        Report.objects.create(
            repository=pull.repository, kind=ReportKind.STATUS, job=job, sha=sha, error="No."
        )
        schema_of(job, schema=f"dbt_cloud_pr_{job.pk}_7_{number}")
    visitor = visitor_of(job.account)
    visitor.get(url(job))

    with django_assert_max_num_queries(15):
        visitor.get(url(job))


# --- Approving a fork's commit -------------------------------------------------------------


def test_a_forks_commit_is_approved_by_its_sha(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    PullRequest.objects.update(is_fork=True)
    visitor = visitor_of(job.account)

    question = visitor.get(url(job, "pull_approve")).content.decode()
    visitor.post(url(job, "pull_approve"), {"sha": NEW})

    assert NEW in question
    assert "runs with the credentials" in question
    pull.refresh_from_db()
    assert pull.approved_sha == NEW
    assert "@" in pull.approved_by


def test_a_push_that_came_meanwhile_is_not_what_was_approved(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    PullRequest.objects.update(is_fork=True)

    page = (
        visitor_of(job.account)
        .post(url(job, "pull_approve"), {"sha": OLD}, follow=True)
        .content.decode()
    )

    assert f"Its newest commit is {NEW}, not {OLD}" in page
    pull.refresh_from_db()
    assert pull.approved_sha == ""


@pytest.mark.parametrize("role", ["job_viewer", "job_runner"])
def test_who_may_not_change_jobs_is_offered_no_approval(
    visitor_of: VisitorOf, job: Job, pull: PullRequest, role: str
) -> None:
    PullRequest.objects.update(is_fork=True)
    visitor = visitor_of(job.account, role)

    assert url(job, "pull_approve") not in visitor.get(url(job)).content.decode()
    assert visitor.post(url(job, "pull_approve"), {"sha": NEW}).status_code == 403
    pull.refresh_from_db()
    assert pull.approved_sha == ""


def test_what_comes_from_no_fork_needs_no_approval(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    visitor = visitor_of(job.account)

    assert url(job, "pull_approve") not in visitor.get(url(job)).content.decode()
    assert "it needs no approval" in visitor.get(url(job, "pull_approve")).content.decode()


# --- Building it again ---------------------------------------------------------------------


def test_the_latest_commit_is_built_again(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    before = started(job, pull, succeeded=True).run
    visitor = visitor_of(job.account, "job_runner")

    question = visitor.get(url(job, "pull_rerun")).content.decode()
    visitor.post(url(job, "pull_rerun"))

    assert job.name in question
    again = Run.objects.exclude(pk=before.pk).get()
    assert again.trigger.git_sha == NEW
    assert Check.objects.get().run == again


def test_a_closed_one_is_not_built_again(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    PullRequest.objects.update(state="closed")
    visitor = visitor_of(job.account)

    assert url(job, "pull_rerun") not in visitor.get(url(job)).content.decode()
    page = visitor.post(url(job, "pull_rerun"), follow=True).content.decode()

    assert "It is closed. Reopen it to have it built." in page
    assert not Run.objects.exists()


def test_a_viewer_builds_nothing(visitor_of: VisitorOf, job: Job, pull: PullRequest) -> None:
    visitor = visitor_of(job.account, "job_viewer")

    assert url(job, "pull_rerun") not in visitor.get(url(job)).content.decode()
    assert visitor.post(url(job, "pull_rerun")).status_code == 403
    assert not Run.objects.exists()


# --- What its git host is told -------------------------------------------------------------


def test_what_could_not_be_told_says_why_and_is_posted_again(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    run = started(job, pull, succeeded=True).run
    report = Report.objects.create(
        repository=pull.repository,
        kind=ReportKind.STATUS,
        job=job,
        sha=NEW,
        error="GitHub said 401: the token is refused.",
    )
    visitor = visitor_of(job.account, "job_runner")

    page = visitor.get(url(job)).content.decode()
    visitor.post(url(job, "pull_report", run.pk))

    assert "the token is refused" in page
    assert url(job, "pull_report", run.pk) in page
    report.refresh_from_db()
    assert report.error == ""
    assert report.due_at is not None


def test_a_run_of_no_push_of_it_is_not_reported(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    other = RunFactory(job=job, succeeded=True)

    assert visitor_of(job.account).post(url(job, "pull_report", other.pk)).status_code == 404


# --- Its schemas ---------------------------------------------------------------------------


def test_schemas_are_named_before_they_are_dropped(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    schema = schema_of(job)
    visitor = visitor_of(job.account)

    assert schema.schema in visitor.get(url(job)).content.decode()
    question = visitor.get(url(job, "pull_schemas_drop")).content.decode()
    assert f'name="schema" value="{schema.pk}"' in question
    schema.refresh_from_db()
    assert schema.state == CISchemaState.KEPT
    visitor.post(url(job, "pull_schemas_drop"), {"schema": [schema.pk]})

    schema.refresh_from_db()
    assert schema.state == CISchemaState.DOOMED


def test_a_schema_that_a_run_uses_stays(visitor_of: VisitorOf, job: Job, pull: PullRequest) -> None:
    schema = schema_of(job)
    run = started(job, pull, running=True).run
    run.configuration["schema_override"] = schema.prefix
    run.save()
    visitor = visitor_of(job.account)

    question = visitor.get(url(job, "pull_schemas_drop")).content.decode()
    visitor.post(url(job, "pull_schemas_drop"), {"schema": [schema.pk]})

    assert f"Run {run.pk} uses it" in question
    schema.refresh_from_db()
    assert schema.state == CISchemaState.KEPT


def test_another_pull_requests_schemas_are_not_dropped_with_it(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    other = schema_of(job, pull_request_number=8, schema="other", prefix="other")

    visitor_of(job.account).post(url(job, "pull_schemas_drop"), {"schema": [other.pk, "x"]})

    other.refresh_from_db()
    assert other.state == CISchemaState.KEPT


def test_who_may_only_run_jobs_drops_no_schema(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    schema = schema_of(job)
    visitor = visitor_of(job.account, "job_runner")

    assert url(job, "pull_schemas_drop") not in visitor.get(url(job)).content.decode()
    posted = visitor.post(url(job, "pull_schemas_drop"), {"schema": [schema.pk]})

    assert posted.status_code == 403
    schema.refresh_from_db()
    assert schema.state == CISchemaState.KEPT


@pytest.mark.parametrize("query", ["?before=x", "?before=²", f"?before={'9' * 30}", "?state=odd"])
def test_a_query_that_means_nothing_breaks_nothing(
    visitor_of: VisitorOf, job: Job, pull: PullRequest, query: str
) -> None:
    page = visitor_of(job.account).get(listed(job, query))

    assert page.status_code == 200
    assert pull.title in page.content.decode()


# --- The ladder, what was built, and the comment -----------------------------------------


def summed_up(check: Check, **content: Any) -> None:
    assert check.run is not None
    kept = asdict(Summary(**content))
    RunSummary.objects.create(run=check.run, content=kept)


def test_the_ladder_has_a_column_for_each_push_and_a_row_for_each_job(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    older, newer = started(job, pull, OLD, failed=True), started(job, pull, succeeded=True)
    CheckFactory(
        job=JobFactory(environment=job.environment, name="Docs", ci=True),
        pull_request=pull,
        head_sha=NEW,
        decision="needs_approval",
        why="It is from a fork.",
    )

    page = visitor_of(job.account).get(url(job)).content.decode()
    ladder = page[page.index('class="ladder"') :].partition("</table>")[0]

    assert ladder.index(f"#push-{OLD}") < ladder.index(f"#push-{NEW}")
    assert ladder.index(f'title="Run {older.run_id}"') < ladder.index(f'title="Run {newer.run_id}"')
    assert "nothing was decided" in ladder
    assert "It is from a fork." in ladder


def test_what_was_built_is_told_against_what_was_deferred(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    check = started(job, pull, succeeded=True)
    summed_up(check, selected=Selected(modified=2, downstream=5, deferred=31))

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert "Built 2 modified and 5 below them; 31 deferred to what was there." in page


def test_the_comment_is_shown_as_it_is_posted(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    check = started(job, pull, succeeded=True)
    summed_up(check, counts={"success": 3})

    page = unescape(visitor_of(job.account).get(url(job, "pull_comment")).content.decode())
    shown = page[page.index('aria-label="The comment, in Markdown"') :].partition("</pre>")[0]
    posted = comment_of(pull.repository, 7, is_there=True)

    assert posted is not None
    assert "### dbt: 1 job passed" in shown
    assert posted.partition("\n")[2].strip() in shown
    assert "jobsvc:" not in shown


def test_a_comment_is_not_waited_for_while_a_run_is_summed_up(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    started(job, pull, succeeded=True)

    page = visitor_of(job.account).get(url(job, "pull_comment")).content.decode()

    assert "It is being written." in page


def test_a_pull_request_of_which_nothing_is_to_be_said(
    visitor_of: VisitorOf, job: Job, pull: PullRequest
) -> None:
    page = visitor_of(job.account).get(url(job, "pull_comment")).content.decode()

    assert f"pull request #{pull.number}" in page
    assert "There is nothing to be said yet." in page
