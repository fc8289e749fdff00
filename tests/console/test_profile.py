"""What somebody sets for themselves, and for nobody else."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Token, User
from jobsvc.notifications.models import Mute
from tests.factories import JobFactory, MembershipFactory, UserFactory

PROFILE = "/profile/"


@pytest.fixture
def person(db: None) -> User:
    return MembershipFactory(user__email="ana@example.com").user


@pytest.fixture
def visitor(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def test_a_name_and_a_time_zone_are_kept_and_used_on_every_page(
    visitor: Client, person: User
) -> None:
    sent = {"first_name": "Ana", "last_name": "Ferreira", "time_zone": "America/New_York"}
    sent |= {"date_style": "relative", "shortcuts": "on"}

    answer = visitor.post(PROFILE, sent, follow=True)

    assert "Your profile is saved." in answer.content.decode()
    account = person.memberships.get().account_id
    page = visitor.get(reverse("console:runs", args=[account])).content.decode()
    assert 'data-zone="America/New_York"' in page
    assert "Ana Ferreira" in page


def test_dates_and_keys_are_chosen_and_told_to_every_page(visitor: Client, person: User) -> None:
    account = person.memberships.get().account_id
    runs = reverse("console:runs", args=[account])
    assert "data-dates" not in visitor.get(runs).content.decode()

    visitor.post(PROFILE, {"date_style": "iso"})  # the box of the keys is not ticked

    page = visitor.get(runs).content.decode()
    assert 'data-dates="iso"' in page
    assert 'data-shortcuts="off"' in page
    assert "Single keys are switched off." in page


def test_the_profile_leads_to_ones_own_tokens(visitor: Client, person: User) -> None:
    account = person.memberships.get().account
    Token.issue(account, "mine", user=person)
    Token.issue(account, "the account's", permission_set="owner")

    page = visitor.get(PROFILE).content.decode()

    assert f'href="{reverse("console:tokens", args=[account.pk])}"' in page
    assert "1 in use" in page


def test_a_zone_that_is_none_is_refused(visitor: Client, person: User) -> None:
    answer = visitor.post(PROFILE, {"time_zone": "Mars/Olympus"})

    assert "Mars/Olympus is not one of the available choices" in answer.content.decode()
    person.refresh_from_db()
    assert person.time_zone == ""


def test_mail_that_was_stopped_can_come_again(visitor: Client, person: User) -> None:
    job = JobFactory(account=person.memberships.get().account)
    mute = Mute.objects.create(account=job.account, address="Ana@Example.com", job=job)

    assert job.name in visitor.get(PROFILE).content.decode()
    visitor.post(reverse("console:unmute", args=[mute.pk]))

    assert not Mute.objects.exists()


def test_nobody_lets_anothers_mail_come_again(visitor: Client) -> None:
    mute = Mute.objects.create(account=JobFactory().account, address="ben@example.com")

    answer = visitor.post(reverse("console:unmute", args=[mute.pk]))

    assert answer.status_code == 404
    assert Mute.objects.exists()


@pytest.mark.parametrize(
    "name", ["console:profile", "mfa_index", "usersessions_list", "account_change_password"]
)
def test_who_is_not_signed_in_is_asked_to_sign_in(client: Client, db: None, name: str) -> None:
    answer = client.get(reverse(name))

    assert answer["Location"].startswith("/accounts/login/?next=/")


def test_the_profile_leads_to_all_that_concerns_signing_in(visitor: Client) -> None:
    page = visitor.get(PROFILE).content.decode()

    for name in ("mfa_index", "usersessions_list", "account_change_password"):
        assert f'href="{reverse(name)}"' in page
        assert visitor.get(reverse(name)).status_code == 200


def test_somebody_in_no_account_has_a_profile(client: Client, db: None) -> None:
    client.force_login(UserFactory())

    assert client.get(PROFILE).status_code == 200
