"""Keys of feeds: each opens one thing, until it is made anew or revoked."""

from __future__ import annotations

import pytest
from django.db import IntegrityError

from accounts.audit import AuditEvent
from accounts.feeds import (
    badge_key,
    calendar_key,
    find_key,
    issue_badge_key,
    issue_calendar_key,
    revoke_key,
    text_of,
)
from accounts.models import Account, FeedKey, FeedKind
from jobsvc.statuses import State
from tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db


def test_a_badges_key_is_found_by_its_text(account: Account) -> None:
    key = issue_badge_key(account, 7)

    assert find_key(FeedKind.BADGE, text_of(key)) == key
    assert badge_key(account, 7) == key


def test_a_calendars_key_is_its_members(account: Account) -> None:
    ana, bo = MembershipFactory(account=account), MembershipFactory(account=account)
    key = issue_calendar_key(ana)

    found = find_key(FeedKind.CALENDAR, text_of(key))
    assert found is not None
    assert found.membership == ana
    assert calendar_key(bo) is None


def test_a_key_opens_nothing_of_another_kind(account: Account) -> None:
    key = issue_badge_key(account, 7)

    assert find_key(FeedKind.CALENDAR, text_of(key)) is None


@pytest.mark.parametrize("text", ["", "x", ".", "a\x00.b", "ü.ü", "a.b" * 10_000])
def test_any_other_text_is_no_key(account: Account, text: str) -> None:
    issue_badge_key(account, 7)

    assert find_key(FeedKind.BADGE, text) is None


def test_what_the_database_holds_of_a_key_opens_nothing(account: Account) -> None:
    key = issue_badge_key(account, 7)

    assert find_key(FeedKind.BADGE, key.nonce) is None


def test_a_new_key_ends_the_one_before_it(account: Account) -> None:
    first, other = issue_badge_key(account, 7), issue_badge_key(account, 8)
    second = issue_badge_key(account, 7)

    assert find_key(FeedKind.BADGE, text_of(first)) is None
    assert find_key(FeedKind.BADGE, text_of(second)) == second
    assert find_key(FeedKind.BADGE, text_of(other)) == other


def test_a_revoked_key_opens_nothing(account: Account) -> None:
    key = issue_badge_key(account, 7)
    revoke_key(key)

    assert find_key(FeedKind.BADGE, text_of(key)) is None
    assert badge_key(account, 7) is None


def test_the_calendar_of_somebody_who_left_opens_no_more(account: Account) -> None:
    member = MembershipFactory(account=account)
    key = issue_calendar_key(member)
    member.user.is_active = False
    member.user.save()

    assert find_key(FeedKind.CALENDAR, text_of(key)) is None


def test_a_key_of_a_closed_account_opens_nothing(account: Account) -> None:
    key = issue_badge_key(account, 7)
    account.state = State.DELETED
    account.save()

    assert find_key(FeedKind.BADGE, text_of(key)) is None


def test_making_and_revoking_keys_is_audited_without_their_text(account: Account) -> None:
    key = issue_badge_key(account, 7)
    revoke_key(key)

    events = AuditEvent.objects.of_account(account.pk).filter(target_kind="feedkey")
    assert [event.action for event in events.order_by("pk")] == [
        "feed_key.created",
        "feed_key.revoked",
    ]
    assert text_of(key) not in str(list(events.values()))


@pytest.mark.django_db(transaction=True)
def test_the_database_refuses_a_key_that_opens_two_things(account: Account) -> None:
    member = MembershipFactory(account=account)

    with pytest.raises(IntegrityError):
        FeedKey.objects.create(
            account=account, kind=FeedKind.BADGE, job_id=7, membership=member, nonce="x"
        )
