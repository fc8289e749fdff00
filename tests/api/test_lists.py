"""Pages, orders, filters and include_related: what every list understands."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from accounts.models import Account
from environments.models import Environment
from jobsvc.runs.models import Run
from jobsvc.statuses import State
from tests.conftest import JSONClient
from tests.factories import EnvironmentFactory, JobFactory, RunFactory, RunTriggerFactory

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def environment(account: Account) -> Environment:
    return EnvironmentFactory(project__account=account)


@pytest.fixture
def jobs(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}/jobs/"


@pytest.fixture
def runs(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}/runs/"


def ids(response: Any) -> list[int]:
    return [one["id"] for one in response.json()["data"]]


def test_a_list_says_how_it_was_cut(api: JSONClient, jobs: str, environment: Environment) -> None:
    JobFactory.create_batch(3, environment=environment)

    extra = api.get(f"{jobs}?limit=2&offset=1&project_id={environment.project_id}").json()["extra"]

    assert extra == {
        "filters": {
            "limit": 2,
            "offset": 1,
            "account_id": environment.account.pk,
            "project_id": environment.project_id,
        },
        "order_by": "id",
        "pagination": {"count": 2, "total_count": 3},
    }


@pytest.mark.parametrize(
    ("query", "limit", "offset"),
    [
        ("", 100, 0),
        ("limit=500", 100, 0),
        ("limit=abc&offset=abc", 100, 0),
        ("limit=-1&offset=-1", 100, 0),
        ("limit=0", 100, 0),
        ("limit=1.5&offset=1e3", 100, 0),
        ("limit=&offset=", 100, 0),
        ("limit=%00", 100, 0),
        (f"limit={'9' * 5000}", 100, 0),
    ],
)
def test_nonsense_numbers_give_the_defaults(
    query: str, limit: int, offset: int, api: JSONClient, jobs: str
) -> None:
    filters = api.get(f"{jobs}?{query}").json()["extra"]["filters"]

    assert (filters["limit"], filters["offset"]) == (limit, offset)


@pytest.mark.parametrize("offset", [3, 10**9, 10**18])
def test_past_the_end_is_an_empty_page(
    offset: int, api: JSONClient, jobs: str, environment: Environment
) -> None:
    JobFactory(environment=environment)

    response = api.get(f"{jobs}?offset={offset}")

    assert (response.status_code, ids(response)) == (200, [])
    assert response.json()["extra"]["pagination"] == {"count": 0, "total_count": 1}


def test_pages_add_up_without_a_gap_or_a_double_where_all_tie(
    api: JSONClient, runs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    made = [RunFactory(job=job, created_at=START).pk for _ in range(7)]

    seen: list[int] = []
    while page := ids(api.get(f"{runs}?limit=3&offset={len(seen)}&order_by=-created_at")):
        seen += page

    assert seen == sorted(made, reverse=True)


def test_rows_without_the_time_come_last_in_either_order(
    api: JSONClient, runs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    open_ = RunFactory(job=job).pk
    first = RunFactory(job=job, failed=True, finished_at=START).pk
    second = RunFactory(job=job, failed=True, finished_at=START + timedelta(hours=1)).pk

    assert ids(api.get(f"{runs}?order_by=finished_at")) == [first, second, open_]
    assert ids(api.get(f"{runs}?order_by=-finished_at")) == [second, first, open_]


@pytest.mark.parametrize(
    "order", ["account__users__password", "job__name", "-worker", "token", "?", "created_at;", "-"]
)
def test_an_order_that_is_not_offered_is_the_default_one(
    order: str, api: JSONClient, runs: str, environment: Environment
) -> None:
    made = [RunFactory(job__environment=environment).pk for _ in range(3)]

    response = api.get(f"{runs}?order_by={quote(order)}")

    assert (ids(response), response.json()["extra"]["order_by"]) == (made, "id")


def test_jobs_are_found_by_a_part_of_their_name(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    nightly = JobFactory(environment=environment, name="Nightly build")
    JobFactory(environment=environment, name="other")

    assert ids(api.get(f"{jobs}?name__icontains=NIGHT")) == [nightly.pk]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["active"]),
        ("state=1", ["active"]),
        ("state=active", ["active"]),
        ("state=2", ["deleted"]),
        ("state=deleted", ["deleted"]),
        ("state=all", ["active", "deleted"]),
        ("state=", ["active"]),
        ("state=nonsense", ["active"]),
    ],
)
def test_deleted_jobs_are_listed_only_where_asked_for(
    query: str, found: list[str], api: JSONClient, jobs: str, environment: Environment
) -> None:
    JobFactory(environment=environment, name="active")
    JobFactory(environment=environment, name="deleted", state=State.DELETED)

    assert [one["name"] for one in api.get(f"{jobs}?{query}").json()["data"]] == found


def test_runs_are_found_by_each_filter(
    api: JSONClient, runs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    wanted = RunFactory(
        job=job,
        failed=True,
        created_at=START,
        finished_at=START + timedelta(minutes=5),
        has_docs_generated=True,
        dbt_version="1.11.16",
        trigger=None,
    )
    trigger = RunTriggerFactory(run=wanted, gitlab_merge_request_id=7)
    other = RunFactory(job__environment__project__account=environment.account, running=True)
    Run.objects.filter(pk=other.pk).update(deferring_run=wanted)
    span = quote('["2026-01-01T00:00:00+00:00","2026-01-01 00:05:00.000000+00:00"]')
    queries = [
        f"project_id={environment.project_id}",
        f"project_id__in=[{environment.project_id}, ]",
        f"project_id__in={environment.project_id},999",
        f"environment_id={environment.pk}",
        f"job_definition_id={job.pk}",
        "status=20",
        "status__in=[20,30]",
        "status__in=[20, 30]",
        "status_in=[20]",
        f"pk={wanted.pk}",
        f"pk__in=[{wanted.pk}]",
        f"created_at__range={span}",
        f"finished_at__range={span}",
        f"trigger_id={trigger.pk}",
        "pull_request_id=7",
        "has_docs_generated=true",
        "dbt_version=1.11.16",
        f"job_definition_id={job.pk}&environment_id=&status=",
        f"job_definition_id={job.pk}&unknown__lookup=1",
    ]

    found = {query: ids(api.get(f"{runs}?{query}")) for query in queries}

    assert found == {query: [wanted.pk] for query in queries}
    assert ids(api.get(f"{runs}?deferring_run_id={wanted.pk}")) == [other.pk]
    assert ids(api.get(f"{runs}?id__gt={wanted.pk}")) == [other.pk]


def test_a_range_includes_both_ends_and_leaves_out_what_has_no_time(
    api: JSONClient, runs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    ends = [START, START + timedelta(hours=1)]
    on_the_ends = [RunFactory(job=job, failed=True, finished_at=end).pk for end in ends]
    RunFactory(job=job, failed=True, finished_at=ends[1] + timedelta(microseconds=1))
    RunFactory(job=job)

    span = quote(json.dumps([end.isoformat() for end in ends]))

    assert ids(api.get(f"{runs}?finished_at__range={span}")) == on_the_ends


@pytest.mark.parametrize(
    "query",
    [
        "status=abc",
        "status__in=[x",
        "status__in=[[1]]",
        "status__in=[true]",
        'status__in={"a":1}',
        "status__in=" + "[" * 5000,
        "pk__in=[" + "1," * 2000 + "1]",
        "pk=99999999999999999999999",
        f"status={2**62}",
        f"job_definition_id={2**63 - 1}",
        "pk__in=[0.5]",
        "created_at__range=[]",
        'created_at__range=["yesterday","today"]',
        'created_at__range=["2026-13-45T00:00:00Z","x"]',
        'created_at__range=["0001-01-01T00:00:00+23:59","9999-12-31T23:59:59-23:59"]',
        "has_docs_generated=perhaps",
        "dbt_version=%00",
        "environment_id=%00",
    ],
)
def test_a_filter_that_says_nothing_finds_nothing_and_is_no_error(
    query: str, api: JSONClient, runs: str, environment: Environment
) -> None:
    run = RunFactory(job__environment=environment)
    Run.objects.filter(pk=run.pk).update(created_at=START)

    response = api.get(f"{runs}?{query}")

    assert response.status_code == 200
    if "0001" not in query:
        assert ids(response) == []


@pytest.mark.parametrize(
    "spelling",
    [
        "include_related=trigger,job",
        "include_related=trigger&include_related=job",
        "include_related=trigger,&include_related=unknown,job",
        'include_related=["trigger","job"]',
        "include_related=['trigger', 'job']",
        "include_related=[trigger,job]",
        "include_related=%5B%22trigger%22%2C%22job%22%5D",
        "include_related=trigger,job,job__account__tokens,__class__,,%00",
    ],
)
@pytest.mark.parametrize("one", [True, False])
def test_include_related_is_read_in_all_its_spellings(
    spelling: str, one: bool, api: JSONClient, runs: str, environment: Environment
) -> None:
    run = RunFactory(job__environment=environment)

    data = api.get(f"{runs}{run.pk}/?{spelling}" if one else f"{runs}?{spelling}").json()["data"]

    shown = data if one else data[0]
    assert (shown["trigger"]["id"], shown["job"]["id"]) == (run.trigger.pk, run.job.pk)


@pytest.mark.parametrize("spelling", ["", "include_related=", "include_related=[]"])
def test_what_is_not_asked_for_is_null_and_steps_are_an_empty_list(
    spelling: str, api: JSONClient, runs: str, environment: Environment
) -> None:
    run = RunFactory(job__environment=environment)

    data = api.get(f"{runs}{run.pk}/?{spelling}").json()["data"]

    names = ["trigger", "job", "environment", "repository", "audit", "run_steps"]
    assert [data[name] for name in names] == [None, None, None, None, None, []]
