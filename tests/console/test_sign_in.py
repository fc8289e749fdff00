"""How people come in: password, second factor, recovery code, others' accounts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib.auth import SESSION_KEY
from django.core.cache import cache
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.adapter import MembersOnly
from accounts.models import User
from tests.factories import MembershipFactory, UserFactory

PASSWORD = "coffee-beans-7"


@pytest.fixture
def person(db: None) -> User:
    user: User = MembershipFactory(user__email="ana@example.com").user
    user.set_password(PASSWORD)
    user.save()
    return user


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def signed_in(client: Client) -> bool:
    return SESSION_KEY in client.session


def sign_in(client: Client, **headers: Any) -> Any:
    sent = {"login": "ana@example.com", "password": PASSWORD}
    return client.post(reverse("account_login"), sent, follow=True, **headers)


def test_a_password_alone_does_not_let_in_who_has_an_app(client: Client, person: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(person, secret)

    page = sign_in(client).content.decode()

    assert not signed_in(client)
    assert "authenticator code" in page
    client.post(reverse("mfa_authenticate"), {"code": code_of(secret)})
    assert signed_in(client)


def test_a_wrong_code_lets_nobody_in(client: Client, person: User) -> None:
    TOTP.activate(person, generate_totp_secret())
    sign_in(client)

    client.post(reverse("mfa_authenticate"), {"code": "000000"})

    assert not signed_in(client)


def test_a_recovery_code_lets_in_once(client: Client, person: User) -> None:
    TOTP.activate(person, generate_totp_secret())
    code = RecoveryCodes.activate(person).get_unused_codes()[0]
    entered = []
    for _time in range(2):
        client.logout()
        sign_in(client)
        client.post(reverse("mfa_authenticate"), {"code": code})
        entered.append(signed_in(client))

    assert entered == [True, False]


def test_an_app_is_set_up_from_the_profile(client: Client, person: User) -> None:
    sign_in(client)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    page = client.get(reverse("mfa_activate_totp")).content.decode()
    secret = re.search(r'value="([A-Z2-7]{32})"', page)
    assert secret is not None

    client.post(reverse("mfa_activate_totp"), {"code": code_of(secret[1])})

    assert get_adapter().is_mfa_enabled(person)
    assert "It is on" in client.get(reverse("mfa_index")).content.decode()
    codes = client.get(reverse("mfa_view_recovery_codes")).content.decode()
    assert len(re.findall(r"^\d{8}", codes, re.MULTILINE)) >= 9


def test_other_sessions_are_listed_and_ended(person: User) -> None:
    here, there = Client(), Client()
    sign_in(here, headers={"user-agent": "Firefox of the office"})
    sign_in(there, headers={"user-agent": "A telephone"})

    page = here.get(reverse("usersessions_list")).content.decode()
    assert "Firefox of the office" in page
    assert "A telephone" in page
    here.post(reverse("usersessions_list"))

    assert here.get("/profile/").status_code == 200
    assert there.get("/profile/").status_code == 302


@pytest.mark.parametrize(
    "name",
    [
        *("account_login", "account_reset_password", "account_reset_password_done"),
        *("account_signup", "account_inactive", "account_reauthenticate"),
        *("mfa_index", "mfa_activate_totp", "mfa_add_webauthn", "mfa_list_webauthn"),
        *("usersessions_list", "socialaccount_connections", "socialaccount_login_cancelled"),
        *("socialaccount_login_error", "account_logout", "account_email_verification_sent"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_every_page_around_signing_in_is_in_our_frame(
    client: Client, person: User, name: str, inside: bool
) -> None:
    if inside:
        sign_in(client)

    answer = client.get(reverse(name), follow=True)

    page = answer.content.decode()
    assert "console/console.css" in page
    assert page.count("<h1") == 1


def test_nobody_changes_the_address_that_lets_them_in(client: Client, person: User) -> None:
    sign_in(client)

    answer = client.post("/accounts/email/", {"action_add": "", "email": "boss@example.com"})

    assert answer["Location"] == "/profile/"
    assert not EmailAddress.objects.filter(email="boss@example.com").exists()


def test_the_sign_in_page_offers_a_passkey_and_nothing_that_is_not_set_up(
    client: Client, db: None
) -> None:
    page = client.get(reverse("account_login")).content.decode()

    assert "Sign in with a passkey" in page
    assert "GitHub" not in page


def test_the_sign_in_page_says_by_what_one_came_in_last(client: Client, person: User) -> None:
    said = "You came in so last time."
    assert said not in client.get(reverse("account_login")).content.decode()
    sign_in(client)
    client.post(reverse("account_logout"))

    page = client.get(reverse("account_login")).content.decode()

    assert page.count(said) == 1
    assert page.index(said) < page.index("Sign in with a passkey")


def test_a_way_in_that_is_none_is_not_repeated(client: Client, db: None) -> None:
    client.cookies["way_in"] = "<script>"

    page = client.get(reverse("account_login")).content.decode()

    assert "last time" not in page
    assert "&lt;script" not in page


@pytest.fixture
def no_tries_before() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def test_who_has_tried_too_often_is_told_how_long_to_wait(
    client: Client, person: User, no_tries_before: None
) -> None:
    for _time in range(6):
        page = client.post(
            reverse("account_login"), {"login": "ana@example.com", "password": "a guess"}
        ).content.decode()

    assert "Wait five minutes" in page
    assert not signed_in(client)
    sign_in(client)
    assert not signed_in(client)


def test_github_and_single_sign_on_are_offered_where_they_are_set_up(
    client: Client, db: None, settings: Any
) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = {
        "github": {"APPS": [{"client_id": "an-id", "secret": "a-secret"}]},
        "openid_connect": {
            "APPS": [
                {
                    "provider_id": "oidc",
                    "name": "Example SSO",
                    "client_id": "an-id",
                    "secret": "a-secret",
                    "settings": {"server_url": "https://sso.example.com"},
                }
            ]
        },
    }
    page = client.get(reverse("account_login")).content.decode()

    assert "Sign in with GitHub" in page
    assert "Sign in with Example SSO" in page
    to_github = client.post("/accounts/github/login/?process=login")
    assert to_github["Location"].startswith("https://github.com/login/oauth/authorize?")
    assert "client_id=an-id" in to_github["Location"]


def login_with(door: MembersOnly, email: str, *, verified: bool) -> SocialLogin:
    """Somebody whom GitHub knows by this address."""
    address = EmailAddress(email=email, verified=verified, primary=True)
    account = SocialAccount(provider="github", uid="1")
    return SocialLogin(
        user=User(email=email),
        account=account,
        email_addresses=[address],
        provider=door.get_provider(door.request, "github"),
    )


@pytest.fixture
def door(rf: RequestFactory, settings: Any) -> MembersOnly:
    settings.SOCIALACCOUNT_PROVIDERS = {
        "github": {"APPS": [{"client_id": "an-id", "secret": "a-secret"}]}
    }
    return MembersOnly(rf.get("/"))


def test_a_user_comes_in_by_the_address_that_another_host_has_verified(
    door: MembersOnly, person: User
) -> None:
    assert door.authenticate_by_email(login_with(door, "Ana@example.com", verified=True)) == (
        person,
        "Ana@example.com",
    )


@pytest.mark.parametrize(
    ("email", "verified"), [("ana@example.com", False), ("stranger@example.com", True)]
)
def test_nobody_comes_in_by_an_address_that_is_unverified_or_unknown(
    door: MembersOnly, person: User, email: str, verified: bool
) -> None:
    login = login_with(door, email, verified=verified)

    assert door.authenticate_by_email(login) is None
    assert not door.is_open_for_signup(door.request, login)


def test_an_address_that_somebody_wrote_beside_their_own_is_not_theirs(
    door: MembersOnly, person: User
) -> None:
    thief = UserFactory(email="thief@example.com")
    EmailAddress.objects.create(user=thief, email="ana@example.com", verified=False)

    found = door.authenticate_by_email(login_with(door, "ana@example.com", verified=True))

    assert found is not None
    assert found[0] == person
    assert not Authenticator.objects.exists()
