"""A token opens its own account; to it, others do not exist."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Account, Group, Token
from accounts.roles import PermissionSet
from jobsvc.notifications.models import Mute
from tests.api.addresses import Address, addresses
from tests.conftest import JSONClient, client_with
from tests.factories import (
    AccountFactory,
    ArtifactFactory,
    ConnectionFactory,
    CredentialsFactory,
    DeliveryFactory,
    DispatchFactory,
    EnvironmentVariableFactory,
    ExtendedAttributesFactory,
    JobFactory,
    MembershipFactory,
    NotificationFactory,
    PullRequestFactory,
    RepositoryFactory,
    RunFactory,
    RunStepFactory,
    WebhookFactory,
    token_of,
)

ALL = addresses()
WITH_ACCOUNT = [address for address in ALL if "account_id" in address.names]
WITH_ID = [address for address in ALL if {"pk", "project_id"} & set(address.names)]


def furnished(account: Account) -> dict[str, Any]:
    """One of everything in ``account``; its id by the word that stands before it in addresses."""
    job = JobFactory(environment__project__account=account)
    repository = RepositoryFactory(account=account, project=job.project)
    run = RunFactory(job=job, succeeded=True)
    step = RunStepFactory(run=run)
    ArtifactFactory(step=step)
    project = job.project
    webhook = WebhookFactory(account=account)
    service_token, _text = Token.issue(
        account, "of the other", permission_set=PermissionSet.JOB_VIEWER
    )
    group = Group.objects.create(account=account, name="of the other")
    return {
        "projects": project.pk,
        "environments": job.environment_id,
        "repositories": repository.pk,
        "connections": ConnectionFactory(account=account, project=project).pk,
        "credentials": CredentialsFactory(project=project).pk,
        "extended-attributes": ExtendedAttributesFactory(project=project).pk,
        "environment-variables": EnvironmentVariableFactory(project=project).pk,
        "jobs": job.pk,
        "runs": run.pk,
        "deliveries": DeliveryFactory(hook__repository=repository).pk,
        "pull-requests": PullRequestFactory(repository=project.repository).number,
        "steps": step.pk,
        "users": MembershipFactory(account=account).user.pk,
        "service-tokens": service_token.pk,
        "groups": group.pk,
        "group-permissions": group.pk,
        "notifications": NotificationFactory(account=account).pk,
        "mutes": Mute.objects.create(account=account, address="a@example.org").pk,
        "subscription": webhook.pk,
        "delivery": DispatchFactory(subscription=webhook).pk,
    }


def call(client: JSONClient, address: Address, method: str, ids: dict[str, Any], own: int) -> int:
    values = {
        "account_id": own,
        "project_id": ids["projects"],
        "repository_id": ids["repositories"],
        "pk": ids.get(address.kind, 0),
        "number": ids["pull-requests"],
        "path": "manifest.json",
    }
    response = getattr(client, method)(address.filled(values))
    return int(response.status_code)


def named(address: Address) -> str:
    return address.route.removeprefix("api/")


@pytest.mark.parametrize("address", WITH_ACCOUNT, ids=named)
def test_another_account_does_not_exist(address: Address, account: Account) -> None:
    ids = furnished(account)
    stranger = client_with(token_of(AccountFactory()))

    statuses = {
        method: call(stranger, address, method, ids, account.pk) for method in address.methods
    }

    assert statuses == dict.fromkeys(address.methods, 404)


@pytest.mark.parametrize("address", WITH_ID, ids=named)
def test_another_accounts_object_does_not_exist_under_ones_own_address(
    address: Address, account: Account
) -> None:
    ids = furnished(account)
    mine = AccountFactory()
    stranger = client_with(token_of(mine))

    statuses = {method: call(stranger, address, method, ids, mine.pk) for method in address.methods}

    assert statuses == dict.fromkeys(address.methods, 404)


@pytest.mark.parametrize("address", ALL, ids=named)
def test_without_a_token_there_is_nothing_but_401(address: Address, account: Account) -> None:
    ids = furnished(account)

    statuses = {
        method: call(client_with(), address, method, ids, account.pk) for method in address.methods
    }

    assert statuses == dict.fromkeys(address.methods, 401)


@pytest.mark.parametrize(
    "body",
    [
        {"project_id": "projects"},
        {"environment_id": "environments"},
        {"deferring_environment_id": "environments"},
        {"deferring_job_definition_id": "jobs"},
        {"job_completion_trigger_condition": "jobs"},
    ],
    ids=lambda body: next(iter(body)),
)
def test_a_job_cannot_be_given_another_accounts_object(
    body: dict[str, str], account: Account, api: JSONClient
) -> None:
    theirs = furnished(AccountFactory())
    job = JobFactory(environment__project__account=account)
    ((field, kind),) = body.items()
    value: object = theirs[kind]
    if field == "job_completion_trigger_condition":
        value = {"condition": {"job_id": value, "statuses": [10]}}

    response = api.post(f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/", {field: value})

    assert response.status_code == 400
    assert response.json()["status"]["user_message"].startswith(field)


def test_an_account_in_the_body_that_is_not_the_addresss_is_refused(
    account: Account, api: JSONClient
) -> None:
    job = JobFactory(environment__project__account=account)

    response = api.post(
        f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/", {"account_id": account.pk + 1}
    )

    assert response.status_code == 400


@pytest.mark.parametrize("kind", ["jobs", "runs", "projects", "environments", "repositories"])
def test_a_list_holds_nothing_of_another_account(
    kind: str, account: Account, api: JSONClient
) -> None:
    furnished(AccountFactory())

    response = api.get(f"/api/v2/accounts/{account.pk}/{kind}/?state=all")

    assert (response.status_code, response.json()["data"]) == (200, [])


def test_a_filter_by_another_accounts_id_finds_nothing(account: Account, api: JSONClient) -> None:
    theirs = furnished(AccountFactory())
    JobFactory(environment__project__account=account)

    response = api.get(
        f"/api/v2/accounts/{account.pk}/jobs/?project_id={theirs['projects']}&state=all"
    )

    assert response.json()["data"] == []
