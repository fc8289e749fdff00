"""Keys of feeds: addresses that badges and calendars are read at by programs that cannot sign in.

A key's text is signed, not stored: it can be shown again to who may have it, and the database
alone opens nothing.
"""

from __future__ import annotations

import secrets

from django.core.signing import BadSignature, Signer
from django.db import transaction

from accounts import audit
from accounts.models import Account, FeedKey, FeedKind, Membership
from jobsvc.statuses import State

LONGEST_TEXT = 200  # characters that are looked at; a key has about 66


def badge_key(account: Account, job_id: int) -> FeedKey | None:
    """The key of a job's badge, if it has one."""
    return account.feed_keys.usable().filter(kind=FeedKind.BADGE, job_id=job_id).first()


def calendar_key(membership: Membership) -> FeedKey | None:
    """The key of a member's calendar, if they have one."""
    return FeedKey.objects.usable().filter(kind=FeedKind.CALENDAR, membership=membership).first()


def issue_badge_key(account: Account, job_id: int) -> FeedKey:
    """A new key of a job's badge; the one before it, if any, opens nothing any more."""
    return _issue(FeedKey(account=account, kind=FeedKind.BADGE, job_id=job_id))


def issue_calendar_key(membership: Membership) -> FeedKey:
    """A new key of a member's calendar; the one before it, if any, opens nothing any more."""
    return _issue(
        FeedKey(account=membership.account, kind=FeedKind.CALENDAR, membership=membership)
    )


def revoke_key(key: FeedKey) -> None:
    """Let ``key`` open nothing any more, from the next request on."""
    if FeedKey.objects.filter(pk=key.pk, state=State.ACTIVE).update(state=State.DELETED):
        audit.record("feed_key.revoked", key, account_id=key.account_id)


def text_of(key: FeedKey) -> str:
    """What stands in the address, safe in a query string. Only for who may have the key."""
    return _signer().sign(key.nonce)


def find_key(kind: FeedKind, text: str) -> FeedKey | None:
    """The usable key of ``kind`` whose text is ``text``; None for any other text."""
    try:
        nonce = _signer().unsign(text[:LONGEST_TEXT])
    except BadSignature:
        return None
    return (
        FeedKey.objects.usable()
        .filter(kind=kind, nonce=nonce)
        .select_related("account", "membership__user", "membership__account")
        .first()
    )


def _issue(key: FeedKey) -> FeedKey:
    key.nonce = secrets.token_urlsafe(16)
    with transaction.atomic():
        # The lock keeps two that ask at once from making two keys, which the database refuses.
        Account.objects.select_for_update(no_key=True).get(pk=key.account_id)
        for before in FeedKey.objects.filter(
            kind=key.kind, job_id=key.job_id, membership=key.membership, state=State.ACTIVE
        ):
            revoke_key(before)
        key.save()
        audit.record("feed_key.created", key, account_id=key.account_id)
    return key


def _signer() -> Signer:
    return Signer(salt="accounts.feeds", sep=".")
