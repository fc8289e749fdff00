"""The API shows the schemas of pull requests, and has dropped what may go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import Account
from ci.models import CISchema, CISchemaState
from jobsvc.jobs.models import Job
from tests.conftest import JSONClient
from tests.factories import JobFactory, RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quiet(published: list[Any]) -> None:
    """No broker is needed."""


@pytest.fixture
def job(account: Account) -> Job:
    return JobFactory(ci=True, environment__project__account=account)


def schema(job: Job, number: int, **fields: Any) -> CISchema:
    prefix = f"dbt_cloud_pr_{job.pk}_{number}"
    made: CISchema = CISchema.objects.create(
        **{
            "account": job.account,
            "job": job,
            "environment": job.environment,
            "connection": job.environment.connection,
            "pull_request_number": number,
            "prefix": prefix,
            "database": "coffee",
            "schema": prefix,
            "due_at": now() + timedelta(days=14),
            **fields,
        }
    )
    return made


def address(job: Job, more: str = "") -> str:
    return f"/api/v3/accounts/{job.account_id}/projects/{job.project_id}/ci-schemas/{more}"


def drop(api: JSONClient, job: Job, **body: Any) -> dict[str, Any]:
    response = api.post(address(job, "drop/"), body)
    assert response.status_code == 200, response.json()
    data: dict[str, Any] = response.json()["data"]
    return data


def names(shown: list[dict[str, Any]]) -> list[str]:
    return [one["schema"] for one in shown]


def test_a_schema_is_shown_with_why_it_stays(api: JSONClient, job: Job) -> None:
    row = schema(job, 2)

    (shown,) = api.get(address(job)).json()["data"]

    assert (shown["id"], shown["schema"], shown["database"]) == (row.pk, row.schema, "coffee")
    assert (shown["status"], shown["job_id"], shown["project_id"]) == (
        "kept",
        job.pk,
        job.project_id,
    )
    assert row.due_at is not None
    assert shown["why"] == f"It is kept until {row.due_at:%Y-%m-%d at %H:%M} UTC."


def test_schemas_of_other_projects_are_not_shown(api: JSONClient, job: Job) -> None:
    schema(JobFactory(ci=True, environment__project__account=job.account), 2)

    assert api.get(address(job)).json()["data"] == []


def test_schemas_can_be_asked_for_by_their_status(api: JSONClient, job: Job) -> None:
    schema(job, 2)
    stuck = schema(job, 23, state=CISchemaState.FAILED, error="It is locked.")

    found = api.get(f"{address(job)}?status=failed").json()["data"]

    assert names(found) == [stuck.schema]
    assert "It is locked." in found[0]["why"]


def test_a_list_takes_as_many_queries_as_one_row(
    api: JSONClient, job: Job, django_assert_max_num_queries: Any
) -> None:
    for number in range(1, 21):
        schema(job, number)

    with django_assert_max_num_queries(12):
        assert len(api.get(address(job)).json()["data"]) == 20


def test_nothing_is_dropped_unless_one_says_so(api: JSONClient, job: Job) -> None:
    schema(job, 2, state=CISchemaState.DOOMED, due_at=now())
    schema(job, 23)

    said = drop(api, job)

    assert said["dry_run"] is True
    assert names(said["dropped"]) == [f"dbt_cloud_pr_{job.pk}_2"]
    assert names(said["kept"]) == [f"dbt_cloud_pr_{job.pk}_23"]
    assert said["kept"][0]["why"].startswith("It is kept until")


def test_a_dry_run_changes_nothing(api: JSONClient, job: Job) -> None:
    row = schema(job, 2)

    drop(api, job, dry_run=True, ids=[row.pk])

    row.refresh_from_db()
    assert row.state == CISchemaState.KEPT


def test_what_is_named_is_to_be_dropped(
    api: JSONClient,
    job: Job,
    published: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    row, other = schema(job, 2), schema(job, 23)

    with django_capture_on_commit_callbacks(execute=True):
        said = drop(api, job, dry_run=False, ids=[row.pk])

    row.refresh_from_db()
    other.refresh_from_db()
    assert names(said["dropped"]) == [row.schema]
    assert (row.state, other.state) == (CISchemaState.DOOMED, CISchemaState.KEPT)
    assert published == [("drop_schemas", row.pk)]


def test_what_a_run_uses_stays_whoever_asks(api: JSONClient, job: Job) -> None:
    row = schema(job, 2)
    run = RunFactory(job=job, running=True, configuration={"schema_override": row.prefix})

    said = drop(api, job, dry_run=False, ids=[row.pk])

    assert said["dropped"] == []
    assert f"Run {run.pk} uses it." in said["kept"][0]["why"]


def test_what_is_not_the_pull_requests_alone_stays_whoever_asks(api: JSONClient, job: Job) -> None:
    row = schema(job, 2, state=CISchemaState.REFUSED, error="It is production's.", due_at=None)

    said = drop(api, job, dry_run=False, ids=[row.pk])

    row.refresh_from_db()
    assert (said["kept"][0]["why"], row.state) == ("It is production's.", CISchemaState.REFUSED)


def test_a_schema_that_is_not_there_is_refused_by_number(api: JSONClient, job: Job) -> None:
    other = schema(JobFactory(ci=True), 2)

    response = api.post(address(job, "drop/"), {"ids": [other.pk]})

    assert response.status_code == 400
    assert f"no CI schema {other.pk}" in response.json()["status"]["user_message"]


@pytest.mark.parametrize("body", [{"ids": "all"}, {"ids": [0]}, {"ids": [None]}, {"dry_run": "x"}])
def test_what_cannot_be_read_drops_nothing(api: JSONClient, job: Job, body: dict[str, Any]) -> None:
    schema(job, 2, state=CISchemaState.DOOMED)

    assert api.post(address(job, "drop/"), body).status_code == 400


def test_whoever_only_reads_may_not_drop(client_of: Any, job: Job) -> None:
    viewer = client_of(job.account, "job_viewer")

    assert viewer.get(address(job)).status_code == 200
    assert viewer.post(address(job, "drop/"), {}).status_code == 403
