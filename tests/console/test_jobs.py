"""The jobs of a project, and the button that runs one."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import CauseCategory
from tests.factories import CompletionTriggerFactory, JobFactory, ProjectFactory, RunFactory

VisitorOf = Callable[..., Client]


def url(job: Job, name: str = "job") -> str:
    return reverse(f"console:{name}", args=[job.account_id, job.project_id, job.pk])


def jobs_of(job: Job) -> str:
    return reverse("console:jobs", args=[job.account_id, job.project_id])


def test_a_job_is_listed_with_its_last_run_and_its_schedule(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)
    RunFactory(job=job, succeeded=True)
    last = RunFactory(job=job, failed=True)

    page = visitor_of(job.account).get(jobs_of(job)).content.decode()

    assert f"/runs/{last.pk}/" in page
    assert "Error" in page
    assert "</span> Success</span>" not in page
    assert "At 02:00 every day UTC" in page


def test_deleted_jobs_are_not_listed(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Old one", state=2)

    assert "Old one" not in visitor_of(job.account).get(jobs_of(job)).content.decode()


def test_a_project_without_jobs_says_how_to_make_one(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    address = reverse("console:jobs", args=[project.account_id, project.pk])

    page = visitor_of(project.account).get(address).content.decode()

    assert f"POST /api/v2/accounts/{project.account_id}/jobs/" in page


def test_the_list_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory()
    for other in JobFactory.create_batch(12, environment=job.environment):
        RunFactory.create_batch(2, job=other)
    visitor = visitor_of(job.account)

    with django_assert_max_num_queries(15):
        visitor.get(jobs_of(job))


def test_a_job_says_what_it_waits_for(visitor_of: VisitorOf) -> None:
    chained = CompletionTriggerFactory(upstream__name="Nightly build")

    page = visitor_of(chained.job.account).get(url(chained.job)).content.decode()

    assert "After Nightly build ends in success" in page


def test_a_job_says_that_it_waits_for_all_of_several(visitor_of: VisitorOf) -> None:
    job = JobFactory(extensions={"upstream": {"mode": "all", "jobs": []}})
    for name, statuses in (("Load", [10]), ("Check", [10, 20])):
        upstream = JobFactory(environment=job.environment, name=name)
        CompletionTriggerFactory(job=job, upstream=upstream, statuses=statuses, is_dbt_field=False)

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert "After Load ends in success and Check ends in success or error" in page


def test_a_trigger_whose_job_was_deleted_says_that_it_is_broken(visitor_of: VisitorOf) -> None:
    chained = CompletionTriggerFactory(upstream__name="Nightly build", upstream__state=2)

    page = visitor_of(chained.job.account).get(url(chained.job)).content.decode()

    assert "After Nightly build (deleted: this starts nothing any more)" in page


def test_a_job_that_was_switched_off_says_why(visitor_of: VisitorOf) -> None:
    job = JobFactory(deactivated=True, deactivation_reason="The last 3 runs of this job failed.")

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert "This job is switched off. The last 3 runs of this job failed.</p>" in page


def test_run_now_queues_a_run_and_shows_it(visitor_of: VisitorOf, published: list[object]) -> None:
    job = JobFactory()

    response = visitor_of(job.account).post(url(job, "run_now"))

    run = Run.objects.get(job=job)
    assert response["Location"].endswith(f"/runs/{run.pk}/")
    assert run.trigger.cause_category == CauseCategory.UI
    assert run.trigger.user is not None
    assert run.trigger.cause == f"Started by {run.trigger.user.full_name}"


def test_run_now_says_why_a_job_cannot_run(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=[])

    response = visitor_of(job.account).post(url(job, "run_now"), follow=True)

    assert "This run would have no commands." in response.content.decode()
    assert not Run.objects.exists()


def test_a_link_alone_runs_nothing(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert visitor_of(job.account).get(url(job, "run_now")).status_code == 405


def test_who_may_only_look_finds_no_button_to_run(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    viewer = visitor_of(job.account, "job_viewer")

    assert "Run now" not in viewer.get(jobs_of(job)).content.decode()
    assert "Run now" not in viewer.get(url(job)).content.decode()


def test_who_may_only_look_cannot_run(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert visitor_of(job.account, "job_viewer").post(url(job, "run_now")).status_code == 403
    assert not Run.objects.exists()


def test_a_deleted_job_stays_readable_and_cannot_be_run(visitor_of: VisitorOf) -> None:
    job = JobFactory(state=2)
    visitor = visitor_of(job.account)

    assert "This job is deleted" in visitor.get(url(job)).content.decode()
    assert "Create it anew" in visitor.post(url(job, "run_now"), follow=True).content.decode()
