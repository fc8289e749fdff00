"""Several jobs at once: asked first, then done to those that it can be done to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.audit import AuditEvent
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from tests.factories import JobFactory

VisitorOf = Callable[..., Client]

RESTING = {"pause": {"reason": "holidays"}}


def url(job: Job) -> str:
    return reverse("console:job_bulk", args=[job.account_id, job.project_id])


def asked(visitor: Client, deed: str, *jobs: Job) -> str:
    answer = visitor.get(url(jobs[0]), {"do": deed, "job": [job.pk for job in jobs]})
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_is_asked_by_name_and_number_and_nothing_is_done_yet(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Load")
    other = JobFactory(name="Build", environment=job.environment)

    page = asked(visitor_of(job.account), "pause", job, other)

    assert "Pause 2 jobs?" in page
    assert "<bdi>Load</bdi>" in page
    assert "<bdi>Build</bdi>" in page
    assert not Job.objects.exclude(extensions={}).exists()


def test_what_it_cannot_be_done_to_stays_and_is_told(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    resting = JobFactory(name="Rests", environment=job.environment, extensions=RESTING)

    page = asked(visitor_of(job.account), "pause", job, resting)

    assert "Pause 1 job?" in page
    assert "is paused already" in page


@pytest.mark.parametrize("deed", ["pause", "resume", "run"])
def test_it_is_done_by_post(visitor_of: VisitorOf, published: list[object], deed: str) -> None:
    before = RESTING if deed == "resume" else {}
    job = JobFactory(extensions=before)
    other = JobFactory(environment=job.environment, extensions=before)

    answer = visitor_of(job.account).post(
        url(job), {"do": deed, "job": [job.pk, other.pk]}, follow=True
    )

    assert "2 jobs " in answer.content.decode()
    assert Run.objects.count() == (2 if deed == "run" else 0)
    rests = [one.extended.pause is not None for one in Job.objects.all()]
    assert rests == [deed == "pause"] * 2
    assert AuditEvent.objects.filter(action__startswith="job_definition.several_").count() == 1


def test_who_may_only_run_jobs_pauses_none(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    runner = visitor_of(job.account, "job_runner")

    assert runner.post(url(job), {"do": "pause", "job": [job.pk]}).status_code == 403
    assert "Run 1 job?" in asked(runner, "run", job)
    assert Job.objects.get().extensions == {}


def test_jobs_of_elsewhere_are_passed_over(visitor_of: VisitorOf) -> None:
    job, foreign = JobFactory(), JobFactory(name="Foreign")
    visitor = visitor_of(job.account)

    assert "Foreign" not in asked(visitor, "pause", job, foreign)
    visitor.post(url(job), {"do": "pause", "job": [job.pk, foreign.pk]})

    assert Job.objects.get(pk=foreign.pk).extensions == {}


@pytest.mark.parametrize("job", ["", "x", "\x00", "9" * 60, "-1"])
def test_what_is_no_job_is_passed_over(visitor_of: VisitorOf, job: str) -> None:
    there = JobFactory()
    visitor = visitor_of(there.account)

    for answer in (
        visitor.get(url(there), {"do": "run", "job": job}),
        visitor.post(url(there), {"do": "run", "job": job}),
    ):
        assert "Tick one job or more" in answer.content.decode()
    assert visitor.get(url(there), {"do": "explode"}).status_code == 302


def test_the_list_offers_what_the_visitor_may_do(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    address = reverse("console:jobs", args=[job.account_id, job.project_id])

    owner = visitor_of(job.account).get(address).content.decode()
    viewer = visitor_of(job.account, "job_viewer").get(address).content.decode()

    assert 'name="do" value="pause"' in owner
    assert 'name="do"' not in viewer
    assert "Export as YAML" in viewer
