"""Accounts as clients read them, and the people in one."""

from __future__ import annotations

import pytest

from accounts.models import Account
from tests.conftest import JSONClient, client_with
from tests.factories import MembershipFactory, token_of


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_an_account_has_what_clients_stumble_over(
    version: str, api: JSONClient, account: Account
) -> None:
    data = api.get(f"/api/{version}/accounts/{account.pk}/").json()["data"]

    assert (data["name"], data["run_slots"], data["plan"]) == (account.name, 5, "enterprise")
    assert (data["static_subdomain"], data["vanity_subdomain"]) == (None, None)
    assert (data["locked"], data["pending_cancel"], data["groups"]) == (False, False, [])
    assert not {"docs_job", "freshness_job"} & set(data)


def test_a_person_learns_who_they_are(account: Account) -> None:
    membership = MembershipFactory(account=account, permission_set="developer")
    MembershipFactory(user=membership.user)
    client = client_with(token_of(account, user=membership.user))

    user = client.get("/api/v2/whoami/").json()["data"]["user"]

    assert (user["id"], user["email"]) == (membership.user.pk, membership.user.email)
    assert list(user["licenses"]) == [str(account.pk)]
    assert user["permissions"][0]["permission_set"] == "developer"


def test_a_service_token_has_a_stand_in_that_is_nobody_and_stays_the_same(
    account: Account,
) -> None:
    client = client_with(token_of(account, "job_runner"))

    first, second = (client.get("/api/v2/whoami").json()["data"]["user"] for _ in range(2))

    assert first == second
    assert first["id"] > 1_000_000_000
    assert "@" in first["email"]


def test_the_people_of_an_account_can_be_ordered_by_address(
    api: JSONClient, account: Account
) -> None:
    for email in ("zoe@example.com", "ana@example.com"):
        MembershipFactory(account=account, user__email=email)
    MembershipFactory(user__email="elsewhere@example.com")

    response = api.get(f"/api/v3/accounts/{account.pk}/users/?order_by=email")

    assert [one["email"] for one in response.json()["data"]] == [
        "ana@example.com",
        "zoe@example.com",
    ]


def test_a_person_of_the_account_can_be_read(api: JSONClient, account: Account) -> None:
    user = MembershipFactory(account=account).user

    data = api.get(f"/api/v2/accounts/{account.pk}/users/{user.pk}/").json()["data"]

    assert data["fullname"] == user.full_name
    assert data["permissions"][0]["groups"] == []


def test_nobodys_password_is_shown(api: JSONClient, account: Account) -> None:
    user = MembershipFactory(account=account).user
    user.set_password("hunter2")
    user.save()

    content = api.get(f"/api/v2/accounts/{account.pk}/users/{user.pk}/").content.decode()

    assert "password" not in content
    assert user.password not in content
