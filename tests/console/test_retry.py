"""The page that a mail's "Retry it" leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from jobsvc.jobs.models import Job
from jobsvc.notifications.messages import message_of_run
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus
from tests.factories import ArtifactFactory, JobFactory, RunFactory, RunStepFactory

pytestmark = pytest.mark.django_db

VisitorOf = Callable[..., Client]


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No broker is needed."""


@pytest.fixture
def failed() -> Run:
    job: Job = JobFactory()
    configuration = {"execute_steps": ["dbt build"], "job_type": "other"}
    run: Run = RunFactory(job=job, failed=True, configuration=configuration, dbt_version="1.11.16")
    step = RunStepFactory(run=run, status=RunStatus.ERROR, exit_code=1)
    ArtifactFactory(step=step, path="run_results.json")
    return run


def url(run: Run) -> str:
    return reverse("console:run_retry", args=[run.account_id, run.project_id, run.pk])


def test_a_mail_of_a_failure_links_to_it(failed: Run) -> None:
    links = dict(message_of_run(failed).links)

    assert links["Retry it"].endswith(url(failed))


def test_looking_at_it_starts_nothing(visitor_of: VisitorOf, failed: Run) -> None:
    page = visitor_of(failed.account).get(url(failed))

    assert f"Retry run #{failed.pk}" in page.content.decode()
    assert Run.objects.count() == 1


def test_its_button_starts_a_run_that_goes_on(visitor_of: VisitorOf, failed: Run) -> None:
    answer = visitor_of(failed.account).post(url(failed))

    new = Run.objects.latest("pk")
    assert new.retrying_run == failed
    assert answer["Location"] == reverse(
        "console:run", args=[new.account_id, new.project_id, new.pk]
    )


def test_a_run_that_did_not_fail_says_why_there_is_no_retry(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    visitor = visitor_of(run.account)

    page = visitor.get(url(run)).content.decode()
    told = visitor.post(url(run), follow=True).content.decode()

    assert "Retry the run</button>" not in page
    assert "RETRY_NOT_FAILED_RUN" in told
    assert Run.objects.count() == 1


def test_who_may_only_look_cannot_retry(visitor_of: VisitorOf, failed: Run) -> None:
    assert visitor_of(failed.account, "job_viewer").post(url(failed)).status_code == 403
