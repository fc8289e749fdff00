"""``manage.py bootstrap``: the first account, its owner and a token."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Account, Token, User
from accounts.roles import Action
from tests.conftest import client_with

pytestmark = pytest.mark.django_db


def bootstrap(**options: Any) -> dict[str, Any]:
    out = StringIO()
    call_command(
        "bootstrap",
        **{"account": "Coffee", "email": "ana@example.com", "json": True, "stdout": out} | options,
    )
    made: dict[str, Any] = json.loads(out.getvalue())
    return made


def test_it_prints_one_json_object():
    made = bootstrap()

    assert set(made) == {"account_id", "account_name", "email", "password", "token"}


def test_the_token_opens_the_account():
    made = bootstrap()

    answer = client_with(made["token"]).get(f"/api/v3/accounts/{made['account_id']}/")

    assert answer.json()["data"]["name"] == "Coffee"


def test_the_owner_may_do_everything():
    made = bootstrap()

    token = Token.objects.find(made["token"])

    assert token is not None
    assert all(token.may(action) for action in Action)


def test_a_password_that_was_made_signs_the_owner_in():
    made = bootstrap()

    assert User.objects.get(email="ana@example.com").check_password(made["password"])


def test_the_password_that_is_given_signs_the_owner_in():
    bootstrap(password="a-long-enough-phrase")

    assert User.objects.get().check_password("a-long-enough-phrase")


def test_again_keeps_account_owner_and_password():
    first = bootstrap()

    again = bootstrap()

    assert again["account_id"] == first["account_id"]
    assert again["password"] is None
    assert Account.objects.count() == User.objects.count() == 1
    assert User.objects.get().check_password(first["password"])


def test_again_finds_the_owner_whatever_the_case_of_the_address():
    bootstrap()

    bootstrap(email="Ana@Example.com")

    assert User.objects.count() == 1


def test_again_with_a_password_changes_it():
    bootstrap()

    bootstrap(password="another-long-phrase")

    assert User.objects.get().check_password("another-long-phrase")


def test_again_replaces_the_token_it_made_before():
    first = bootstrap()

    again = bootstrap()

    assert Token.objects.find(first["token"]) is None
    assert Token.objects.find(again["token"]) is not None


def test_again_leaves_other_tokens_of_the_owner():
    bootstrap()
    account, owner = Account.objects.get(), User.objects.get()
    _token, text = Token.issue(account, "laptop", user=owner)

    bootstrap()

    assert Token.objects.find(text) is not None


def test_no_password_or_token_is_kept_in_clear():
    made = bootstrap()

    row, owner = Token.objects.get(), User.objects.get()
    assert made["token"] not in (row.digest, row.prefix)
    assert made["password"] not in owner.password


def test_without_json_it_tells_a_person():
    out = StringIO()

    call_command("bootstrap", account="Coffee", email="ana@example.com", stdout=out)

    assert "ana@example.com" in out.getvalue()
    assert "shown this once" in out.getvalue()


@pytest.mark.parametrize(
    "options", [{"email": "nobody"}, {"password": "123"}, {"account": ""}, {"email": ""}]
)
def test_what_cannot_be_used_makes_nothing(options):
    with pytest.raises(CommandError):
        bootstrap(**options)

    assert not Account.objects.exists()


def test_only_the_first_person_of_all_operates_the_installation():
    bootstrap()
    bootstrap(account="Another", email="ben@example.com")

    assert list(User.objects.filter(is_superuser=True)) == [User.objects.earliest("pk")]
    assert User.objects.count() == 2
