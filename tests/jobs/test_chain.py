"""What follows what: how it is given, that it stays as given, and that no circle can be saved."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from environments.models import Environment
from jobsvc.jobs.chain import Circle, Completion
from jobsvc.jobs.define import define_job, delete_job
from jobsvc.jobs.models import CompletionTrigger, Job
from tests.conftest import JSONClient
from tests.factories import EnvironmentFactory, JobFactory, ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(account: Any) -> Environment:
    return EnvironmentFactory(project__account=account)


def upstream(*jobs: Job, statuses: Sequence[int] = (10,), mode: str = "any") -> dict[str, Any]:
    """Extensions that let a job start after ``jobs``."""
    entries = [{"job_id": job.pk, "statuses": list(statuses)} for job in jobs]
    return {"upstream": {"mode": mode, "jobs": entries}}


def follow(job: Job, first: Job) -> Job:
    """Let ``job`` start after ``first``, by dbt's own field."""
    return define_job(job, completion=Completion(first, [10]))


def triggers_of(job: Job) -> list[tuple[int, list[int], bool]]:
    rows = CompletionTrigger.objects.filter(job=job).order_by("pk")
    return list(rows.values_list("upstream", "statuses", "is_dbt_field"))


def test_dbts_condition_and_the_extensions_are_kept_side_by_side(environment: Environment) -> None:
    first, second, last = JobFactory.create_batch(3, environment=environment)
    last.extensions = upstream(first, second, statuses=[20])

    define_job(last, completion=Completion(first, [10]))

    assert triggers_of(last) == [
        (first.pk, [10], True),
        (first.pk, [20], False),
        (second.pk, [20], False),
    ]


@pytest.mark.parametrize("field", ["job_completion_trigger_condition", "extensions"])
def test_a_ci_job_follows_no_other_job(environment: Environment, field: str) -> None:
    first, last = JobFactory(environment=environment), JobFactory(environment=environment, ci=True)
    last.extensions = upstream(first) if field == "extensions" else {}

    with pytest.raises(ValidationError, match="cannot follow other jobs") as refused:
        define_job(last, completion=None if last.extensions else Completion(first, [10]))

    assert set(refused.value.message_dict) == {field}
    assert triggers_of(last) == []


def test_a_trigger_that_stays_as_it_was_keeps_its_age(environment: Environment) -> None:
    first, last = JobFactory.create_batch(2, environment=environment)
    follow(last, first)
    before = CompletionTrigger.objects.get()

    last.name = "renamed"
    define_job(last, completion=Completion(first, [10, 20]))

    after = CompletionTrigger.objects.get()
    assert (after.pk, after.created_at) == (before.pk, before.created_at)
    assert after.statuses == [10, 20]


def test_what_is_no_longer_named_starts_nothing(environment: Environment) -> None:
    first, second, last = JobFactory.create_batch(3, environment=environment)
    last.extensions = upstream(first, second)
    define_job(last, completion=None)

    last.extensions = upstream(second)
    define_job(last, completion=None)

    assert triggers_of(last) == [(second.pk, [10], False)]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"job_id": 10**9}], "This account has no job 1000000000."),
        ([{"job_id": "self"}], "A job cannot start after itself."),
        ([{"job_id": "first"}, {"job_id": "first"}], "twice"),
        ([{"job_id": "first", "statuses": [1]}], "10 (success), 20 (error), 30 (cancelled)"),
        ([{"job_id": "first", "statuses": []}], "10 (success), 20 (error), 30 (cancelled)"),
        ([{"job_id": "foreign"}], "This account has no job"),
        ([{"job_id": "deleted"}], "This account has no job"),
    ],
)
def test_an_upstream_that_cannot_be_is_refused(
    entries: list[dict[str, Any]], says: str, environment: Environment
) -> None:
    first, last, deleted = JobFactory.create_batch(3, environment=environment)
    delete_job(deleted)
    names = {"self": last, "first": first, "foreign": JobFactory(), "deleted": deleted}
    for entry in entries:
        if entry["job_id"] in names:
            entry["job_id"] = names[entry["job_id"]].pk
    last.extensions = {"upstream": {"jobs": entries}}

    with pytest.raises(ValidationError) as refused:
        define_job(last, completion=None)

    assert says in " ".join(refused.value.message_dict["extensions"])


def test_a_job_whose_upstream_was_deleted_can_still_be_saved(environment: Environment) -> None:
    first, last = JobFactory.create_batch(2, environment=environment)
    last.extensions = upstream(first)
    follow(last, first)
    delete_job(first)

    last.name = "renamed"
    follow(last, first)

    assert triggers_of(last) == [(first.pk, [10], True), (first.pk, [10], False)]


@pytest.mark.parametrize("length", [2, 3, 7])
def test_a_circle_is_refused_with_its_path(length: int, environment: Environment) -> None:
    jobs = [JobFactory(environment=environment, name=f"J{place}") for place in range(length)]
    for first, second in pairwise(jobs):
        follow(second, first)

    with pytest.raises(Circle) as refused:
        follow(jobs[0], jobs[-1])

    path = " → ".join([*(job.name for job in jobs), jobs[0].name])
    [message] = refused.value.message_dict["job_completion_trigger_condition"]
    assert path in message
    assert not CompletionTrigger.objects.filter(job=jobs[0]).exists()


def test_a_circle_across_projects_is_refused(environment: Environment) -> None:
    projects = ProjectFactory.create_batch(3, account=environment.project.account)
    jobs = [JobFactory(environment__project=project) for project in projects]
    follow(jobs[1], jobs[0])
    follow(jobs[2], jobs[1])

    with pytest.raises(Circle):
        follow(jobs[0], jobs[2])


def test_a_circle_through_an_extension_is_refused_there(environment: Environment) -> None:
    first, other, last = (JobFactory(environment=environment, name=name) for name in "ABC")
    last.extensions = upstream(other, first, mode="all")
    define_job(last, completion=None)
    first.extensions = upstream(last)

    with pytest.raises(Circle) as refused:
        define_job(first, completion=None)

    assert "A → C → A" in refused.value.message_dict["extensions"][0]


def test_two_ways_to_the_same_job_are_no_circle(environment: Environment) -> None:
    first, left, right, last = JobFactory.create_batch(4, environment=environment)
    follow(left, first)
    follow(right, first)
    last.extensions = upstream(left, right)

    define_job(last, completion=None)

    assert len(triggers_of(last)) == 2


def test_a_deleted_job_closes_no_circle(environment: Environment) -> None:
    first, second, third = JobFactory.create_batch(3, environment=environment)
    follow(second, first)
    follow(third, second)
    delete_job(second)

    follow(first, third)

    assert triggers_of(first) == [(third.pk, [10], True)]


def test_the_api_answers_a_circle_with_409(api: JSONClient, environment: Environment) -> None:
    first, second = (JobFactory(environment=environment, name=name) for name in "AB")
    follow(second, first)
    condition = {"condition": {"job_id": second.pk, "statuses": [10]}}

    response = api.post(
        f"/api/v2/accounts/{first.account_id}/jobs/{first.pk}/",
        {"job_completion_trigger_condition": condition},
    )

    status = response.json()["status"]
    assert response.status_code == status["code"] == 409
    assert "A → B → A" in status["user_message"]


def test_the_api_answers_a_job_that_follows_itself_with_400(
    api: JSONClient, environment: Environment
) -> None:
    job = JobFactory(environment=environment)

    response = api.post(
        f"/api/v2/accounts/{job.account_id}/jobs/{job.pk}/extensions/", upstream(job)
    )

    assert response.status_code == 400
    assert "cannot start after itself" in response.json()["status"]["user_message"]


def test_the_api_echoes_dbts_condition_and_the_extensions_as_they_came(
    api: JSONClient, environment: Environment
) -> None:
    first, last = JobFactory.create_batch(2, environment=environment)
    condition = {
        "condition": {"job_id": first.pk, "project_id": first.project_id, "statuses": [20, 10]}
    }
    own = upstream(first, statuses=[30], mode="all")

    response = api.post(
        f"/api/v2/accounts/{last.account_id}/jobs/{last.pk}/?include_related=extensions",
        {"job_completion_trigger_condition": condition, "extensions": own},
    )

    data = response.json()["data"]
    assert data["job_completion_trigger_condition"] == condition
    assert data["extensions"] == own


def test_an_update_that_names_only_the_extensions_leaves_dbts_condition(
    api: JSONClient, environment: Environment
) -> None:
    first, second, last = JobFactory.create_batch(3, environment=environment)
    follow(last, first)

    api.post(f"/api/v2/accounts/{last.account_id}/jobs/{last.pk}/extensions/", upstream(second))

    assert triggers_of(last) == [(first.pk, [10], True), (second.pk, [10], False)]


def test_a_job_among_a_thousand_is_saved(
    environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time it takes is printed: 100 ms is the aim, on whatever machine this is."""
    jobs = JobFactory.create_batch(1000, environment=environment)
    CompletionTrigger.objects.bulk_create(
        CompletionTrigger(job=job, upstream=jobs[place - step], statuses=[10], is_dbt_field=False)
        for place, job in enumerate(jobs)
        for step in (1, 2)
        if place >= step
    )
    times = []
    for _round in range(5):
        started = time.perf_counter()
        with pytest.raises(Circle):
            follow(jobs[0], jobs[-1])
        follow(jobs[-1], jobs[0])
        times.append((time.perf_counter() - started) / 2)
    with capsys.disabled():
        sys.stdout.write(f"\na save in a graph of 1,000 jobs: {1000 * min(times):.1f} ms\n")

    assert (jobs[0].pk, [10], True) in triggers_of(jobs[-1])
