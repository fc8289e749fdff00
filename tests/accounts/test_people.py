"""Accounts and the people in them."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import Account, User
from tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db


def test_a_person_signs_in_by_e_mail_and_keeps_no_password_in_clear() -> None:
    user = User.objects.create_user("Ana@Example.com", "correct horse battery")

    assert user.email == "Ana@example.com"
    assert user.check_password("correct horse battery")
    assert "battery" not in user.password


def test_an_address_belongs_to_one_person_however_it_is_written() -> None:
    User.objects.create_user("ana@example.com")

    with pytest.raises(ValidationError, match="Somebody already has this e-mail address"):
        User.objects.create_user("ANA@example.com")


@pytest.mark.parametrize("email", ["", "ana", "ana@"])
def test_a_person_needs_an_address(email: str) -> None:
    with pytest.raises(ValidationError):
        User.objects.create_user(email)

    assert not User.objects.exists()


def test_a_person_without_a_password_cannot_sign_in_by_one() -> None:
    assert not User.objects.create_user("ana@example.com").has_usable_password()


def test_an_operator_may_open_the_admin() -> None:
    user = User.objects.create_superuser("root@example.com", "x")

    assert user.is_staff
    assert user.is_superuser


def test_a_person_without_a_name_is_called_by_their_address() -> None:
    assert UserFactory(first_name="", last_name="", email="ana@example.com").full_name == (
        "ana@example.com"
    )
    assert UserFactory(first_name="Ana", last_name="Li").full_name == "Ana Li"


def test_a_person_is_in_an_account_once() -> None:
    first = MembershipFactory()

    with pytest.raises(IntegrityError, match="membership"), transaction.atomic():
        MembershipFactory(account=first.account, user=first.user)


def test_an_account_has_at_least_one_run_slot() -> None:
    with pytest.raises(ValidationError, match="An account needs at least one run slot"):
        Account(name="Coffee", run_slots=0).full_clean()

    with pytest.raises(IntegrityError, match="account_has_a_run_slot"), transaction.atomic():
        Account.objects.create(name="Coffee", run_slots=0)
