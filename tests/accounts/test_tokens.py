"""Tokens: shown once, found by their digest, worth nothing once they should not be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from accounts.models import Account, Token, TokenKind, User, digest_of
from accounts.roles import Action, PermissionSet
from jobsvc.statuses import State
from tests.factories import AccountFactory, MembershipFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def person(account: Account) -> User:
    return MembershipFactory(account=account, permission_set=PermissionSet.JOB_VIEWER).user


def service_token(account: Account, **fields: Any) -> tuple[Token, str]:
    return Token.issue(account, "CI", **{"permission_set": PermissionSet.JOB_RUNNER, **fields})


def test_a_row_holds_a_tokens_digest_and_never_its_text(account: Account) -> None:
    token, text = service_token(account)

    row = Token.objects.filter(pk=token.pk).values().get()
    assert row["digest"] == digest_of(text)
    assert text not in str(row)


def test_a_tokens_shown_beginning_is_no_help_in_guessing_it(account: Account) -> None:
    token, text = service_token(account)

    assert text.startswith(token.prefix)
    assert len(text) - len(token.prefix) >= 32


@pytest.mark.parametrize(("kind", "start"), [("service", "jss_"), ("personal", "jsu_")])
def test_a_tokens_kind_can_be_told_by_its_beginning(
    account: Account, person: User, kind: str, start: str
) -> None:
    given = {"user": person} if kind == "personal" else {"permission_set": "job_runner"}
    token, text = Token.issue(account, "CI", **given)

    assert token.kind == kind
    assert text.startswith(start)


def test_two_tokens_are_never_the_same(account: Account) -> None:
    assert service_token(account)[1] != service_token(account)[1]


def test_a_token_is_found_by_its_text(account: Account) -> None:
    token, text = service_token(account)

    assert Token.objects.find(text) == token


@pytest.mark.parametrize("text", ["", "jss_", "nonsense"])
def test_a_text_that_is_no_token_finds_none(account: Account, text: str) -> None:
    service_token(account)

    assert Token.objects.find(text) is None


def test_a_digest_is_no_token(account: Account) -> None:
    token, _text = service_token(account)

    assert Token.objects.find(token.digest) is None


def test_a_token_is_usable_until_it_expires(account: Account) -> None:
    token, text = service_token(account, expires_at=now() + timedelta(minutes=1))
    assert Token.objects.find(text) == token

    Token.objects.update(expires_at=now() - timedelta(seconds=1))
    assert Token.objects.find(text) is None


def test_a_revoked_token_is_worth_nothing(account: Account) -> None:
    _token, text = service_token(account)
    Token.objects.update(state=State.DELETED)

    assert Token.objects.find(text) is None


def test_a_token_of_a_deleted_account_is_worth_nothing(account: Account) -> None:
    _token, text = service_token(account)
    Account.objects.update(state=State.DELETED)

    assert Token.objects.find(text) is None


def test_a_token_of_somebody_who_may_not_sign_in_is_worth_nothing(
    account: Account, person: User
) -> None:
    _token, text = Token.issue(account, "mine", user=person)
    User.objects.update(is_active=False)

    assert Token.objects.find(text) is None


def test_a_token_of_a_former_member_is_worth_nothing(account: Account, person: User) -> None:
    _token, text = Token.issue(account, "mine", user=person)
    person.memberships.all().delete()

    assert Token.objects.find(text) is None


def test_membership_of_another_account_does_not_save_it(account: Account, person: User) -> None:
    _token, text = Token.issue(account, "mine", user=person)
    person.memberships.all().delete()
    MembershipFactory(user=person, account=AccountFactory())

    assert Token.objects.find(text) is None


def test_a_service_token_may_what_its_permission_set_allows(account: Account) -> None:
    token, _text = service_token(account)

    assert [action for action in Action if token.may(action)] == [Action.READ, Action.RUN]


def test_a_personal_token_may_what_its_owner_may_now(account: Account, person: User) -> None:
    token, _text = Token.issue(account, "mine", user=person)
    assert [action for action in Action if token.may(action)] == [Action.READ]

    person.memberships.update(permission_set=PermissionSet.OWNER)
    now_asked = Token.objects.get(pk=token.pk)  # as each request finds it anew
    assert all(now_asked.may(action) for action in Action)


def test_what_its_owner_may_elsewhere_does_not_count(account: Account, person: User) -> None:
    token, _text = Token.issue(account, "mine", user=person)
    MembershipFactory(user=person, permission_set=PermissionSet.OWNER)

    assert not token.may(Action.RUN)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"permission_set": ""},
        {"permission_set": "emperor"},
    ],
)
def test_a_service_token_needs_a_permission_set(account: Account, given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Token.issue(account, "CI", **given)

    assert not Token.objects.exists()


def test_a_personal_token_has_no_permissions_of_its_own(account: Account, person: User) -> None:
    with pytest.raises(ValidationError, match="A personal token has an owner"):
        Token.issue(account, "mine", user=person, permission_set=PermissionSet.OWNER)


def test_the_last_use_is_written_down_once_a_minute(
    account: Account, django_assert_num_queries: Any
) -> None:
    token, _text = service_token(account)
    token.note_use()
    token.refresh_from_db()
    assert token.last_used_at is not None

    with django_assert_num_queries(0):
        token.note_use()

    token.last_used_at -= timedelta(minutes=2)
    with django_assert_num_queries(1):
        token.note_use()


def test_both_kinds_are_known() -> None:
    assert {kind.value for kind in TokenKind} == {"personal", "service"}
