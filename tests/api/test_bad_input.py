"""Whatever is sent, the answer is an envelope that says whose fault it is; never a 500."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Account
from jobsvc.api.v2.jobs import JobBody, TriggerBody
from jobsvc.runs.models import Run
from tests.api.addresses import addresses
from tests.conftest import JSONClient
from tests.factories import EnvironmentFactory, JobFactory, PullRequestFactory, RunFactory

QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", " ", "1", "null", "\u202e", "\U0001f600" * 90, "x" * 2000, "'\";--", "0 2 * * *"]
    ),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.text(max_size=8),
                st.sampled_from(
                    [
                        "type",
                        "cron",
                        "date",
                        "time",
                        "days",
                        "hours",
                        "interval",
                        "minutes",
                        "timezone",
                        "condition",
                        "job_id",
                        "statuses",
                        "threads",
                        "target_name",
                        "timeout_seconds",
                        "schedule",
                    ]
                ),
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@pytest.fixture
def place(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}"


def bodies(names: Any) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from([*names, "id", "account_id", "state", "unknown"])
    return st.dictionaries(keys, JSON, max_size=5)


def assert_enveloped(response: Any) -> None:
    status = response.json()["status"]
    assert response.status_code < 500
    assert status["code"] == response.status_code
    assert status["is_success"] == (response.status_code < 400)
    assert status["user_message"]


@QUICK
@given(body=bodies(JobBody().fields))
def test_a_job_of_any_shape_is_taken_or_refused(
    body: dict[str, Any], api: JSONClient, place: str, account: Account
) -> None:
    environment = EnvironmentFactory(project__account=account)
    whole = {
        "project_id": environment.project_id,
        "environment_id": environment.pk,
        "name": "a job",
    }
    made = api.post(f"{place}/jobs/", whole | body)
    assert_enveloped(made)

    job = JobFactory(environment=environment)
    assert_enveloped(api.post(f"{place}/jobs/{job.pk}/", body))
    assert_enveloped(api.get(f"{place}/jobs/?include_related=extensions&state=all"))


@QUICK
@given(body=bodies(TriggerBody().fields))
def test_a_trigger_of_any_shape_is_taken_or_refused(
    body: dict[str, Any], api: JSONClient, place: str, account: Account
) -> None:
    job = JobFactory(environment__project__account=account)

    assert_enveloped(api.post(f"{place}/jobs/{job.pk}/run/", body))
    assert_enveloped(api.get(f"{place}/runs/?include_related=trigger,job"))


@QUICK
@given(raw=st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_read_or_refused(
    raw: bytes, api: JSONClient, place: str, account: Account
) -> None:
    job = JobFactory(environment__project__account=account)
    for content_type in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        assert_enveloped(
            api.generic("POST", f"{place}/jobs/{job.pk}/run/", raw, content_type=content_type)
        )


@QUICK
@given(
    query=st.dictionaries(
        st.sampled_from(
            [
                "limit",
                "offset",
                "order_by",
                "state",
                "pk",
                "pk__in",
                "id__gt",
                "project_id__in",
                "status",
                "status__in",
                "created_at__range",
                "finished_at__range",
                "dbt_version",
                "pull_request_id",
                "trigger_id",
                "has_docs_generated",
                "include_related",
                "name__icontains",
                "triggers_schedule",
            ]
        ),
        st.one_of(TEXTS, JSON.map(json.dumps), st.just("\0"), st.just("[1,2")),
        max_size=4,
    )
)
def test_any_query_gives_a_list(
    query: dict[str, str], api: JSONClient, place: str, account: Account
) -> None:
    if not Run.objects.exists():
        RunFactory(job__environment__project__account=account)
    for kind in ("runs", "jobs", "environments"):
        response = api.get(f"{place}/{kind}/?{urlencode(query)}")

        assert_enveloped(response)
        assert response.status_code == 200


WRITABLE = [
    (one, method)
    for one in addresses()
    for method in one.methods
    if method != "get" and not one.route.endswith("/")
]


@pytest.mark.parametrize(
    "body", [[], "text", 7, True, [{}], {"id": {}}, {"name": {"a": []}}, {"project_id": [1]}]
)
@pytest.mark.parametrize(
    ("address", "method"), WRITABLE, ids=lambda value: getattr(value, "route", value)
)
def test_no_address_fails_at_a_body_of_the_wrong_kind(
    address: Any, method: str, body: Any, api: JSONClient, account: Account
) -> None:
    job = JobFactory(environment__project__account=account)
    values = {
        "account_id": account.pk,
        "project_id": job.project_id,
        "repository_id": job.project.repository_id,
        "number": PullRequestFactory(repository=job.project.repository).number,
        "pk": {"jobs": job.pk, "environments": job.environment_id}.get(address.kind, 1),
    }

    response = getattr(api, method)(address.filled(values), body)

    assert_enveloped(response)
