"""Invitations: somebody is asked by mail to join an account, and may for seven days.

A link's text is signed, not stored: mail can be sent again and again until it arrives, and the
database alone opens nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.utils.timezone import now

from accounts import audit
from accounts.groups import join_default_groups
from accounts.models import Account, Group, Invitation, Membership, User

VALID_FOR = timedelta(days=7)
LONGEST_TEXT = 200  # characters that are looked at; a link's text has about 66


def invite(
    account: Account,
    email: str,
    permission_set: str,
    *,
    groups: Collection[Group] = (),
    by: User | None = None,
) -> Invitation:
    """Ask whoever reads ``email`` to join ``account``; sending the mail is the caller's.

    Args:
        permission_set: their role; empty where only ``groups`` grant anything.

    Raises:
        ValidationError: a value cannot be used, they are a member, or are invited already.
    """
    email = email.strip()
    with _alone(account.pk):
        if Membership.objects.filter(account=account, user__email__iexact=email).exists():
            raise ValidationError({"email": f"{email} is a member already."})
        open_one = Invitation.objects.open().filter(account=account, email__iexact=email)
        if open_one.exists():
            raise ValidationError(
                {"email": f"{email} is invited already. Send that again, or revoke it first."}
            )
        if not permission_set and not groups:
            raise ValidationError(
                {"permission_set": "Choose a role or a group: they could do nothing otherwise."}
            )
        invitation = Invitation(
            account=account, email=email, permission_set=permission_set, invited_by=by
        )
        _renew(invitation)
        invitation.full_clean()
        invitation.save()
        invitation.groups.set(groups)
        audit.record("invitation.created", invitation, account_id=account.pk)
    return invitation


def send_again(invitation: Invitation) -> Invitation:
    """Give it a new link, good for seven days; the one before it opens nothing any more.

    Raises:
        ValidationError: it was accepted or revoked meanwhile.
    """
    with _alone(invitation.account_id):
        _refuse_unless_open(invitation)
        _renew(invitation)
        invitation.save(update_fields=["nonce", "expires_at"])
        audit.record("invitation.sent_again", invitation, account_id=invitation.account_id)
    return invitation


def revoke(invitation: Invitation) -> None:
    """Let the link open nothing any more.

    Raises:
        ValidationError: it was accepted meanwhile.
    """
    with _alone(invitation.account_id):
        _refuse_unless_open(invitation)
        invitation.revoked_at = now()
        invitation.save(update_fields=["revoked_at"])
        audit.record("invitation.revoked", invitation, account_id=invitation.account_id)


def text_of(invitation: Invitation) -> str:
    """What stands in the link. Only for the mail, and for who invites, once."""
    return _signer().sign(invitation.nonce)


def find_invitation(text: str) -> Invitation | None:
    """The invitation whose link has ``text``, used or not; None where no link has it."""
    try:
        nonce = _signer().unsign(text[:LONGEST_TEXT])
    except BadSignature:
        return None
    found = Invitation.objects.filter(nonce=nonce).select_related("account", "invited_by")
    return found.first()


def why_not(invitation: Invitation) -> str:
    """Why it cannot be accepted, and what to do; empty where it can."""
    ask = f"Ask somebody who manages {invitation.account} to invite you again."
    if invitation.accepted_at is not None:
        return "This invitation was accepted already. Sign in to go on."
    if invitation.revoked_at is not None:
        return f"This invitation was taken back. {ask}"
    if invitation.has_expired:
        return f"This invitation has expired: it was good for {VALID_FOR.days} days. {ask}"
    return ""


def accept(invitation: Invitation, user: User) -> Membership:
    """Let ``user``, whose address is the invited one, join; each invitation is accepted once.

    Raises:
        ValidationError: it cannot be accepted any more, or is somebody else's.
    """
    if user.email.lower() != invitation.email.lower():
        raise ValidationError(
            f"This invitation is for {invitation.email}, and you are signed in as {user.email}. "
            "Sign out, and open the link again."
        )
    with _alone(invitation.account_id):
        invitation.refresh_from_db()
        if reason := why_not(invitation):
            raise ValidationError(reason)
        invitation.accepted_at = now()
        invitation.save(update_fields=["accepted_at"])
        membership, is_new = Membership.objects.get_or_create(
            account=invitation.account,
            user=user,
            defaults={"permission_set": invitation.permission_set},
        )
        if is_new:
            join_default_groups(membership)
            for group in invitation.groups.all():
                group.members.add(membership)
        audit.record("invitation.accepted", invitation, account_id=invitation.account_id)
    return membership


def accept_as_new(
    invitation: Invitation, *, password: str, first_name: str, last_name: str
) -> Membership:
    """Make a person out of who was invited, and let them join.

    Raises:
        ValidationError: it cannot be accepted any more, or somebody has the address.
    """
    with _alone(invitation.account_id):
        invitation.refresh_from_db()
        if reason := why_not(invitation):  # of two clicks at once, the second
            raise ValidationError(reason)
        names = {"first_name": first_name, "last_name": last_name}
        user = User.objects.create_user(invitation.email, password, **names)
        return accept(invitation, user)


def _renew(invitation: Invitation) -> None:
    invitation.nonce = secrets.token_urlsafe(16)
    invitation.expires_at = now() + VALID_FOR


def _refuse_unless_open(invitation: Invitation) -> None:
    invitation.refresh_from_db(fields=["accepted_at", "revoked_at"])
    if invitation.accepted_at is not None:
        raise ValidationError(f"{invitation} has accepted it meanwhile.")
    if invitation.revoked_at is not None:
        raise ValidationError(f"The invitation of {invitation} was revoked meanwhile.")


@contextmanager
def _alone(account_id: int) -> Iterator[None]:
    """A transaction in which nobody else changes who is in the account."""
    with transaction.atomic():
        Account.objects.select_for_update(no_key=True).get(pk=account_id)
        yield


def _signer() -> Signer:
    return Signer(salt="accounts.invitations", sep=".")
