"""A job that fails over and over is switched off, and comes back when somebody looks at it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from jobsvc.jobs.chain import Completion
from jobsvc.jobs.define import define_job, reactivate_job
from jobsvc.jobs.models import Job
from jobsvc.runs import tasks
from jobsvc.runs.deactivate import deactivate_failing_job
from jobsvc.runs.models import Run, RunTransition
from jobsvc.runs.schedule import start_due_runs
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, RunStatus
from tests.conftest import JSONClient
from tests.factories import EnvironmentFactory, JobFactory, RunFactory

pytestmark = pytest.mark.django_db


def job_that_stands(failures: int, **fields: Any) -> Job:
    return JobFactory(extensions={"deactivate_after": failures}, **fields)


def ended(job: Job, status: int, **columns: Any) -> Run:
    """A run of ``job`` that has ended, and been reacted to."""
    run = RunFactory(job=job, over=True, status=status, **columns)
    deactivate_failing_job(run)
    job.refresh_from_db()
    return run


def deactivated(**fields: Any) -> Job:
    """A job that was deactivated for one failed run."""
    job = job_that_stands(1, **fields)
    ended(job, RunStatus.ERROR)
    assert job.deactivated
    return job


def test_errors_are_counted_and_a_success_ends_the_count() -> None:
    job = job_that_stands(10)
    counts = []
    for status in (20, 20, 30, 20, 10, 30, 20):
        ended(job, status)
        counts.append(job.run_failure_count)

    assert counts == [1, 2, 2, 3, 0, 0, 1]


def test_a_run_counts_once_however_often_it_is_told_of() -> None:
    job = job_that_stands(10)
    run = ended(job, RunStatus.ERROR)
    for _again in range(3):
        deactivate_failing_job(run)

    job.refresh_from_db()
    assert job.run_failure_count == 1


def test_reactions_in_the_wrong_order_count_right() -> None:
    job = job_that_stands(10)
    runs = [RunFactory(job=job, over=True, status=status) for status in (20, 10, 20)]
    for run in reversed(runs):
        deactivate_failing_job(run)

    job.refresh_from_db()
    assert job.run_failure_count == 1


def test_a_run_that_will_be_retried_does_not_count_yet() -> None:
    job = job_that_stands(10)
    first = ended(job, RunStatus.ERROR, will_retry_at=now())
    assert job.run_failure_count == 0

    ended(job, RunStatus.ERROR, retrying_run=first)

    assert job.run_failure_count == 1


def test_the_last_of_so_many_failures_deactivates_and_says_why() -> None:
    job = job_that_stands(3)
    for _run in range(2):
        ended(job, RunStatus.ERROR)
    assert not job.deactivated

    last = ended(job, RunStatus.ERROR)

    assert job.deactivated
    assert job.deactivation_reason == (
        f"The last 3 runs of this job failed, up to run {last.pk}, so it is no longer started by "
        "itself. Repair it, then run it or save its settings."
    )


def test_a_hundred_failures_are_enough_unless_the_job_says_otherwise() -> None:
    job = JobFactory()
    RunFactory.create_batch(98, job=job, failed=True)
    ended(job, RunStatus.ERROR)
    assert (job.run_failure_count, job.deactivated) == (99, False)

    ended(job, RunStatus.ERROR)

    assert (job.run_failure_count, job.deactivated) == (100, True)


def test_the_reaction_to_a_runs_end_counts_it() -> None:
    job = job_that_stands(1)
    run = RunFactory(job=job, running=True)
    run.move_to(RunStatus.ERROR)

    tasks.deactivate_failing_job(RunTransition.objects.get().pk)

    job.refresh_from_db()
    assert job.deactivated


# --- What a deactivated job does not do --------------------------------------------------


def test_a_deactivated_job_is_not_started_by_its_schedule() -> None:
    job = deactivated(scheduled=True)
    Job.objects.filter(pk=job.pk).update(next_run_at=now() - timedelta(minutes=1))

    assert start_due_runs(now()) == []


@pytest.mark.parametrize("category", ["scheduled", "job completion", "ci", "merge"])
def test_the_door_is_shut_for_what_nobody_asked_for(category: str) -> None:
    job = deactivated()

    with pytest.raises(ValidationError, match="deactivated"):
        trigger_run(job, Trigger(cause="x", cause_category=CauseCategory(category)))

    assert Job.objects.get(pk=job.pk).deactivated


# --- How it comes back -------------------------------------------------------------------


def by_hand(job: Job) -> None:
    trigger_run(job, Trigger(cause="x", cause_category=CauseCategory.UI))


def by_api(job: Job) -> None:
    trigger_run(job, Trigger(cause="x", cause_category=CauseCategory.API))


def by_saving(job: Job) -> None:
    define_job(job, completion=None)


WAYS = pytest.mark.parametrize("way", [by_hand, by_api, by_saving, reactivate_job])


@WAYS
def test_a_deactivated_job_is_active_again(way: Callable[[Job], object]) -> None:
    job = deactivated()

    way(job)

    job.refresh_from_db()
    assert (job.deactivated, job.deactivation_reason, job.run_failure_count) == (False, None, 0)


@WAYS
def test_a_job_that_is_active_again_makes_up_for_no_tick(way: Callable[[Job], object]) -> None:
    job = deactivated(scheduled=True)
    Job.objects.filter(pk=job.pk).update(next_run_at=now() - timedelta(days=3))
    job.refresh_from_db()

    way(job)

    job.refresh_from_db()
    assert job.next_run_at is not None
    assert job.next_run_at > now()


@WAYS
def test_failures_from_before_count_no_more(way: Callable[[Job], object]) -> None:
    job = job_that_stands(2)
    old = [ended(job, RunStatus.ERROR) for _run in range(2)]
    way(job)

    deactivate_failing_job(old[-1])
    ended(job, RunStatus.ERROR)

    assert (job.run_failure_count, job.deactivated) == (1, False)


def test_saving_an_active_job_forgets_no_failure() -> None:
    job = job_that_stands(3)
    ended(job, RunStatus.ERROR)

    define_job(job, completion=None)
    ended(job, RunStatus.ERROR)

    assert job.run_failure_count == 2


def test_a_completion_does_not_bring_a_job_back() -> None:
    first = JobFactory()
    job = job_that_stands(1, environment=first.environment)
    define_job(job, completion=Completion(first, [10]))
    ended(job, RunStatus.ERROR)
    run = RunFactory(job=first, running=True)
    run.move_to(RunStatus.SUCCESS)

    tasks.start_downstream_runs(RunTransition.objects.get(run=run).pk)

    job.refresh_from_db()
    assert job.deactivated


def test_the_api_brings_a_job_back(api: JSONClient, account: Any) -> None:
    job = deactivated(environment=EnvironmentFactory(project__account=account))
    address = f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/"
    before = api.get(address).json()["data"]
    assert (before["deactivated"], before["run_failure_count"]) == (True, 1)
    assert before["deactivation_reason"].startswith("The last run of this job failed")

    response = api.post(f"{address}reactivate/")

    assert response.status_code == 200
    assert response.json()["data"]["deactivated"] is False
    assert response.json()["data"]["deactivation_reason"] is None


@pytest.mark.parametrize(("role", "status"), [("job_viewer", 403), ("job_admin", 200)])
def test_who_may_change_a_job_may_bring_it_back(
    role: str, status: int, client_of: Callable[..., JSONClient], account: Any
) -> None:
    job = deactivated(environment=EnvironmentFactory(project__account=account))

    response = client_of(account, role).post(
        f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/reactivate/"
    )

    assert response.status_code == status
