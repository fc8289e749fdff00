"""A token whose only role is in one project or environment: nothing else is there for it."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Account, Grant, Token
from tests.api.addresses import Address, addresses
from tests.api.test_tenancy import call, furnished, named
from tests.conftest import JSONClient, client_with
from tests.factories import (
    EnvironmentFactory,
    ExtendedAttributesFactory,
    JobFactory,
    RunFactory,
)

ALL = addresses()
WITH_ID = [address for address in ALL if {"pk", "project_id"} & set(address.names)]
LISTS = [
    address
    for address in ALL
    if "get" in address.methods and not {"pk", "project_id"} & set(address.names)
]
CHANGING = ("post", "put", "patch", "delete")
SECRET = "of-the-others"
# What is everybody's own, whose rows are those of the token's owner.
OWN = {"notifications", "mutes"}


def token_in(account: Account, permission_set: str = "owner", **where: Any) -> JSONClient:
    """A client whose token has ``permission_set`` in a ``project=`` (and ``environment=``)."""
    grant = Grant(permission_set=permission_set, **where)
    return client_with(Token.issue(account, "narrow", grants=[grant])[1])


def kept_from(account: Account) -> dict[str, Any]:
    """One of everything in another project of ``account``, with names to look for."""
    ids = furnished(account)
    for model in ("projects", "jobs"):
        getattr(account, model).filter(pk=ids[model]).update(name=f"{model} {SECRET}")
    return ids


@pytest.mark.parametrize("address", WITH_ID, ids=named)
def test_what_is_another_projects_does_not_exist(address: Address, account: Account) -> None:
    ids = kept_from(account)
    mine = EnvironmentFactory(project__account=account)
    client = token_in(account, project=mine.project)

    statuses = {
        method: call(client, address, method, ids, account.pk) for method in address.methods
    }

    assert statuses == dict.fromkeys(address.methods, 404)


@pytest.mark.parametrize("address", WITH_ID, ids=named)
def test_what_is_another_environments_cannot_be_had(address: Address, account: Account) -> None:
    ids = kept_from(account)
    project = account.projects.get(pk=ids["projects"])
    mine = EnvironmentFactory(project=project)
    client = token_in(account, project=project, environment=mine)
    of_the_project = {"project_id"} == set(address.names) - {"account_id"}

    for method in address.methods:
        status = call(client, address, method, ids, account.pk)
        read = method == "get" and (of_the_project or "number" in address.names)
        the_project = method == "get" and address.kind == "projects"
        assert read or the_project or status in {400, 403, 404}, (method, status)


@pytest.mark.parametrize("address", LISTS, ids=named)
def test_lists_name_nothing_of_another_project(address: Address, account: Account) -> None:
    kept_from(account)
    mine = EnvironmentFactory(project__account=account)
    client = token_in(account, project=mine.project)

    answer = client.get(address.filled({"account_id": account.pk}) + "?state=all&limit=100")

    assert answer.status_code in {200, 403}  # the audit log is for who manages the account
    assert SECRET not in answer.content.decode()


@pytest.mark.parametrize(
    "address",
    [one for one in ALL if not {"pk", "project_id"} & set(one.names)],
    ids=named,
)
def test_what_is_the_accounts_cannot_be_changed(address: Address, account: Account) -> None:
    mine = EnvironmentFactory(project__account=account)
    client = token_in(account, project=mine.project)

    for method in set(address.methods) & set(CHANGING):
        answer = getattr(client, method)(address.filled({"account_id": account.pk}), {})
        assert answer.status_code in {400, 403}, (method, answer.status_code)


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("environment_id", "environments"),
        ("deferring_environment_id", "environments"),
        ("deferring_job_definition_id", "jobs"),
        ("job_completion_trigger_condition", "jobs"),
        ("extensions", "jobs"),
    ],
)
def test_a_job_cannot_be_given_what_is_another_projects(
    field: str, kind: str, account: Account
) -> None:
    theirs = kept_from(account)
    job = JobFactory(environment__project__account=account)
    client = token_in(account, project=job.project)
    value: object = theirs[kind]
    if field == "job_completion_trigger_condition":
        value = {"condition": {"job_id": value, "statuses": [10]}}
    elif field == "extensions":
        value = {"upstream": {"jobs": [{"job_id": value}]}}

    answer = client.post(f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/", {field: value})

    assert answer.status_code == 400


def test_a_job_can_be_made_only_where_the_token_may(account: Account) -> None:
    staging = EnvironmentFactory(project__account=account)
    production = EnvironmentFactory(project=staging.project)
    grant = Grant(permission_set="job_viewer", project=staging.project)
    more = Grant(permission_set="job_admin", project=staging.project, environment=staging)
    client = client_with(Token.issue(account, "narrow", grants=[grant, more])[1])

    statuses = []
    for environment in (staging, production):
        body = {
            "name": "nightly",
            "project_id": staging.project_id,
            "environment_id": environment.pk,
            "execute_steps": ["dbt build"],
        }
        answer = client.post(f"/api/v2/accounts/{account.pk}/jobs/", body)
        statuses.append(answer.status_code)

    assert statuses == [201, 403]


def test_a_run_is_cancelled_only_where_the_token_may(account: Account) -> None:
    mine, theirs = (RunFactory(job__environment__project__account=account) for _ in range(2))
    reads_all = Grant(permission_set="job_viewer")
    runs_mine = Grant(permission_set="job_runner", project=mine.project)
    client = client_with(Token.issue(account, "narrow", grants=[reads_all, runs_mine])[1])

    statuses = [
        client.post(f"/api/v2/accounts/{account.pk}/runs/{run.pk}/cancel/").status_code
        for run in (mine, theirs)
    ]

    assert statuses == [200, 403]


def test_a_project_does_not_use_a_connection_that_is_another_projects(account: Account) -> None:
    theirs = kept_from(account)
    mine = EnvironmentFactory(project__account=account)
    client = token_in(account, project=mine.project)
    base = f"/api/v3/accounts/{account.pk}/projects/{mine.project_id}/"
    body = {"name": mine.name, "connection_id": theirs["connections"]}

    as_environment = client.post(f"{base}environments/{mine.pk}/", body)
    as_project = client.post(base, {"name": "mine", "connection_id": theirs["connections"]})

    assert (as_environment.status_code, as_project.status_code) == (400, 400)


def test_an_environment_does_not_take_what_is_another_environments(account: Account) -> None:
    mine = EnvironmentFactory(project__account=account)
    attributes = ExtendedAttributesFactory(project=mine.project)
    theirs = EnvironmentFactory(project=mine.project, extended_attributes=attributes)
    client = token_in(account, project=mine.project, environment=mine)
    path = f"/api/v3/accounts/{account.pk}/projects/{mine.project_id}/environments/{mine.pk}/"
    own = {"name": mine.name, "credentials_id": mine.credentials_id}

    statuses = [
        client.post(path, own | taken).status_code
        for taken in (
            {},
            {"credentials_id": theirs.credentials_id},
            {"extended_attributes_id": theirs.extended_attributes_id},
        )
    ]

    assert statuses == [200, 400, 400]


def test_a_run_is_not_retried_into_an_environment_where_the_token_may_not_run(
    account: Account,
) -> None:
    run = RunFactory(job__environment__project__account=account, failed=True)
    client = token_in(account, project=run.project, environment=run.environment)
    run.job.environment = EnvironmentFactory(project=run.project)
    run.job.save()

    answer = client.post(f"/api/v2/accounts/{account.pk}/runs/{run.pk}/retry/")

    assert answer.status_code == 403
