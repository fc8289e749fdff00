"""The people of an account: added, given another role, removed. An account keeps an owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.groups import join_default_groups
from accounts.models import Account, Membership, Token, User
from accounts.roles import PermissionSet
from jobsvc.statuses import State


def add_member(account: Account, email: str, permission_set: str) -> Membership:
    """Take somebody who can sign in here already into ``account``.

    Raises:
        ValidationError: nobody signs in with this address, or they are a member already.
    """
    user = User.objects.filter(email__iexact=email.strip(), is_active=True).first()
    if user is None:
        raise ValidationError(
            {
                "email": f"Nobody signs in here as {email.strip()}. Whoever runs this "
                "installation can make such a user."
            }
        )
    with _one_at_a_time(account.pk):
        if Membership.objects.filter(account=account, user=user).exists():
            raise ValidationError({"email": f"{user.email} is a member already."})
        membership = Membership(account=account, user=user, permission_set=permission_set)
        membership.full_clean()
        membership.save()
        join_default_groups(membership)
    return membership


def change_role(membership: Membership, permission_set: str) -> Membership:
    """Let a member do what ``permission_set`` allows, from now on.

    Args:
        permission_set: empty for who is to have only what groups grant.

    Raises:
        ValidationError: there is no such role, or this is the account's last owner.
    """
    with _one_at_a_time(membership.account_id):
        membership.refresh_from_db(fields=["permission_set"])
        if permission_set != PermissionSet.OWNER:
            _refuse_the_last_owner(membership)
        membership.permission_set = permission_set
        membership.full_clean()
        membership.save(update_fields=["permission_set"])
    return membership


def deactivate_member(membership: Membership) -> None:
    """Let a member and their tokens into the account no more, until they are reactivated.

    Raises:
        ValidationError: this is the account's last owner.
    """
    with _one_at_a_time(membership.account_id):
        membership.refresh_from_db(fields=["permission_set", "is_active"])
        _refuse_the_last_owner(membership)
        membership.is_active = False
        membership.save(update_fields=["is_active"])


def reactivate_member(membership: Membership) -> None:
    """Let a member in again, with the role, groups and tokens that they had."""
    membership.is_active = True
    membership.save(update_fields=["is_active"])


def remove_member(membership: Membership) -> None:
    """Take somebody out of an account, and revoke the tokens they have in it.

    Raises:
        ValidationError: this is the account's last owner.
    """
    with _one_at_a_time(membership.account_id):
        membership.refresh_from_db(fields=["permission_set"])
        _refuse_the_last_owner(membership)
        for token in Token.objects.filter(
            account=membership.account_id, user=membership.user_id, state=State.ACTIVE
        ):
            token.revoke()
        membership.delete()


def is_last_owner(membership: Membership) -> bool:
    """Whether nobody else who can enter owns the account by their own role: an owner by a group
    alone is lost with the group, and does not count."""
    if membership.permission_set != PermissionSet.OWNER or not membership.is_active:
        return False
    others = Membership.objects.active().filter(
        account=membership.account_id, permission_set=PermissionSet.OWNER
    )
    return not others.exclude(pk=membership.pk).exists()


def _refuse_the_last_owner(membership: Membership) -> None:
    if is_last_owner(membership):
        raise ValidationError(
            {
                "permission_set": f"{membership.user} is the last owner of {membership.account}. "
                "Make somebody else an owner first; one by a group alone does not count."
            }
        )


@contextmanager
def _one_at_a_time(account_id: int) -> Iterator[None]:
    """A transaction in which nobody else changes who is in the account: of two owners who
    leave at once, the second is the last."""
    with transaction.atomic():
        Account.objects.select_for_update().get(pk=account_id)
        yield
