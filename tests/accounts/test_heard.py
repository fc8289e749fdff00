"""Sign-ins, keys and groups are told of in the audit log."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from allauth.usersessions.adapter import get_adapter
from allauth.usersessions.models import UserSession
from django.test import Client

from accounts.audit import AuditEvent
from accounts.models import Group, Membership, User
from tests.factories import MembershipFactory

PASSWORD = "coffee-beans-7"


@pytest.fixture
def person(db: None) -> User:
    user: User = MembershipFactory(user__email="ana@example.com").user
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client: Client, email: str, password: str) -> None:
    client.post("/accounts/login/", {"login": email, "password": password})


def only(action: str) -> AuditEvent:
    return AuditEvent.objects.get(action=action)


def test_a_sign_in_tells_who_and_from_where(client: Client, person: User) -> None:
    sign_in(client, person.email, PASSWORD)

    event = only("login.succeeded")
    assert (event.actor_kind, event.actor_name) == ("user", "ana@example.com")
    assert (event.source, event.address) == ("console", "127.0.0.1")
    assert event.account == person.memberships.get().account
    assert len(event.request_id) == 16


def test_a_proxys_word_is_taken_where_there_is_one(
    client: Client, person: User, settings: object
) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1  # type: ignore[attr-defined] # any setting can be set
    client.defaults["HTTP_X_FORWARDED_FOR"] = "6.6.6.6, 203.0.113.7"

    sign_in(client, person.email, PASSWORD)

    assert only("login.succeeded").address == "203.0.113.7"


def test_a_failed_sign_in_is_in_the_log_of_whose_address_it_was(
    client: Client, person: User
) -> None:
    sign_in(client, person.email, "wrong")

    event = only("login.failed")
    assert event.actor_kind == "visitor"
    assert event.target_name == "ana@example.com"
    assert event.account == person.memberships.get().account


def test_of_a_stranger_who_fails_nothing_typed_is_kept(client: Client, db: None) -> None:
    sign_in(client, f"{PASSWORD}@example.com", "wrong")

    event = only("login.failed")
    assert (event.account, event.target_name) == (None, "")
    assert PASSWORD not in str(AuditEvent.objects.values())


def test_a_sign_out_is_told(client: Client, person: User) -> None:
    client.force_login(person)
    client.post("/accounts/logout/")

    assert only("login.ended").actor_name == "ana@example.com"


def test_a_second_factor_is_told_by_its_kind(person: User) -> None:
    key = Authenticator(user=person, type=Authenticator.Type.TOTP, data={"secret": "hidden"})
    authenticator_added.send(sender=Authenticator, request=None, user=person, authenticator=key)

    event = only("mfa.added")
    assert event.differences == {"kind": [None, "TOTP Authenticator"]}


def test_a_session_that_is_ended_is_told(person: User) -> None:
    session = UserSession.objects.create(user=person, ip="10.1.1.1", session_key="x" * 40)

    get_adapter().end_sessions([session])

    assert only("login.session_ended").differences == {"address": ["10.1.1.1", None]}


def test_who_comes_into_a_group_and_leaves_it_is_told(person: User) -> None:
    member: Membership = person.memberships.get()
    group = Group.objects.create(account=member.account, name="Analysts")

    group.members.add(member)
    group.members.clear()

    told = AuditEvent.objects.filter(action="group.changed").order_by("pk")
    assert [event.differences for event in told] == [
        {"member ana@example.com": [None, "in it"]},
        {"member ana@example.com": ["in it", None]},
    ]
    assert {event.target_name for event in told} == {"Analysts"}


def test_a_member_whose_groups_are_set_is_told_in_each(person: User) -> None:
    member = person.memberships.get()
    groups = [Group.objects.create(account=member.account, name=name) for name in ("A", "B")]

    member.groups.set(groups)

    told = AuditEvent.objects.filter(action="group.changed").order_by("pk")
    assert [event.target_name for event in told] == ["A", "B"]
