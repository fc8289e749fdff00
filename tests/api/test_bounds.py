"""The number of queries of an answer does not grow with the number of rows in it."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Account
from tests.conftest import JSONClient
from tests.factories import (
    ArtifactFactory,
    CompletionTriggerFactory,
    EnvironmentFactory,
    EnvironmentVariableFactory,
    JobFactory,
    MembershipFactory,
    RunFactory,
    RunStepFactory,
)

EVERYTHING = (
    "account,project,environment,most_recent_run,most_recent_completed_run,"
    "custom_environment_variables,extensions,trigger,job,run_steps,debug_logs,audit,repository,"
    "connection,credentials,environments,group_permissions,docs_job,freshness_job"
)


def furnish(account: Account) -> None:
    """Another project with an environment, jobs, runs, steps, artifacts and a person."""
    environment = EnvironmentFactory(project__account=account)
    job = JobFactory(environment=environment, scheduled=True)
    CompletionTriggerFactory(upstream=job, job__environment=environment)
    EnvironmentVariableFactory(project=environment.project, scope="job", job_definition_id=job.pk)
    for trait in ("succeeded", "failed", "running"):
        run = RunFactory(job=job, **{trait: True})
        for index in (1, 2, 3):
            ArtifactFactory(step=RunStepFactory(run=run, index=index))
    RunFactory(job=job)
    MembershipFactory(account=account)


@pytest.mark.parametrize("include", ["", EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize(
    "kind",
    [
        "v2/{}/jobs",
        "v2/{}/runs",
        "v2/{}/schedules",
        "v2/{}/projects",
        "v2/{}/environments",
        "v2/{}/repositories",
        "v3/{}/users",
        "v3/{}/projects",
        "v3/{}/environments",
        "v3/{}/connections",
    ],
)
def test_a_list_takes_as_many_queries_for_many_rows_as_for_few(
    kind: str,
    include: str,
    account: Account,
    api: JSONClient,
    django_assert_max_num_queries: Any,
) -> None:
    version, rest = kind.split("/", 1)
    url = f"/api/{version}/{rest.format(f'accounts/{account.pk}')}/?include_related={include}"
    for _ in range(6):
        furnish(account)
    api.get(url)  # notes the token's use, once a minute

    with django_assert_max_num_queries(14 if include else 8):
        response = api.get(url)

    assert len(response.json()["data"]) >= 6


def test_a_poll_of_a_run_is_cheap(
    account: Account, api: JSONClient, django_assert_max_num_queries: Any
) -> None:
    run = RunFactory(job__environment__project__account=account, running=True)
    url = f"/api/v2/accounts/{account.pk}/runs/{run.pk}/"
    api.get(url)

    with django_assert_max_num_queries(3):
        api.get(url)
