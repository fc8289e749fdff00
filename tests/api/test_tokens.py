"""Which tokens are let in, and how they may be sent."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils.timezone import now

from accounts.models import Account, Token
from jobsvc.statuses import State
from tests.conftest import JSONClient, client_with
from tests.factories import AccountFactory, MembershipFactory, token_of


@pytest.fixture
def place(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}/"


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "token", "BEARER", "tOkEn"])
def test_both_schemes_mean_the_same(scheme: str, account: Account, place: str) -> None:
    assert client_with(token_of(account), scheme).get(place).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Token", "Bearer ", "Basic YTpi", "Token a b", "Token unknown", "jss_alone", "Token \xe4"],
)
def test_anything_else_is_a_401_that_says_how_to_sign_in(header: str, place: str) -> None:
    client = JSONClient()
    client.credentials(HTTP_AUTHORIZATION=header)

    response = client.get(place)

    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["status"]["code"] == 401


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-1], lambda text: text + "x"])
def test_a_token_that_is_nearly_right_is_wrong(change, account: Account, place: str) -> None:
    assert client_with(change(token_of(account))).get(place).status_code == 401


def test_a_revoked_token_is_unknown_at_once(account: Account, place: str) -> None:
    client = client_with(token_of(account))
    Token.objects.update(state=State.DELETED)

    assert client.get(place).status_code == 401


def test_an_expired_token_is_unknown(account: Account, place: str) -> None:
    client = client_with(token_of(account, expires_at=now() - timedelta(seconds=1)))

    assert client.get(place).status_code == 401


def test_a_token_in_the_query_or_a_cookie_is_not_read(account: Account, place: str) -> None:
    token = token_of(account)
    client = client_with()
    client.cookies["Authorization"] = f"Token {token}"

    assert client.get(place, {"token": token, "Authorization": token}).status_code == 401


def test_a_session_of_the_console_does_not_open_the_api(account: Account, place: str) -> None:
    client = client_with()
    client.force_login(MembershipFactory(account=account).user)

    assert client.get(place).status_code == 401


def test_a_personal_token_may_do_what_its_owner_may(account: Account, place: str) -> None:
    viewer = MembershipFactory(account=account, permission_set="job_viewer").user
    client = client_with(token_of(account, user=viewer))

    assert client.get(place).status_code == 200
    assert client.post(f"{place}jobs/", {}).status_code == 403


def test_a_personal_token_ends_with_its_owners_membership(account: Account, place: str) -> None:
    membership = MembershipFactory(account=account)
    client = client_with(token_of(account, user=membership.user))
    membership.delete()

    assert client.get(place).status_code == 401


def test_use_is_noted(account: Account, place: str) -> None:
    client_with(token_of(account)).get(place)

    assert now() - Token.objects.get().last_used_at < timedelta(seconds=10)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_list_of_accounts_holds_the_tokens_own(version: str, account: Account) -> None:
    AccountFactory()

    response = client_with(token_of(account)).get(f"/api/{version}/accounts/")

    assert [one["id"] for one in response.json()["data"]] == [account.pk]
