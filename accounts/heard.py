"""Writes into the audit log what others only tell by signals: sign-ins, keys, who is in a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
)
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import m2m_changed
from django.dispatch import receiver

from accounts import audit
from accounts.models import Group, Membership, User


def tell_of(user: User | None, action: str, differences: Mapping[str, Any] | None = None) -> None:
    """Record what ``user`` did, or somebody as them, in the logs of all their accounts."""
    for account_id in user.audit_accounts() if user is not None else [None]:
        audit.record(action, user, account_id=account_id, differences=differences)


@receiver(user_logged_in)
def signed_in(user: User, **_: Any) -> None:
    tell_of(user, "login.succeeded")


@receiver(user_logged_out)
def signed_out(user: User | None, **_: Any) -> None:
    if user is not None:
        tell_of(user, "login.ended")


@receiver(user_login_failed)
def did_not_sign_in(credentials: Mapping[str, Any], **_: Any) -> None:
    """Nothing of what was typed is kept: somebody's password may be in the wrong field."""
    typed = str(credentials.get("email") or credentials.get("username") or "")
    known = User.objects.filter(email__iexact=audit.without_nul(typed)[:255]).first()
    tell_of(known, "login.failed")


@receiver(authenticator_added)
def factor_added(user: User, authenticator: Any, **_: Any) -> None:
    tell_of(user, "mfa.added", {"kind": [None, _kind_of(authenticator)]})


@receiver(authenticator_removed)
def factor_removed(user: User, authenticator: Any, **_: Any) -> None:
    tell_of(user, "mfa.removed", {"kind": [_kind_of(authenticator), None]})


@receiver(authenticator_reset)
def factor_reset(user: User, authenticator: Any, **_: Any) -> None:
    tell_of(user, "mfa.changed", {_kind_of(authenticator): ["set", "changed"]})


@receiver(authentication_failed)
def factor_failed(user: User, **_: Any) -> None:
    tell_of(user, "mfa.failed")


def _kind_of(authenticator: Any) -> str:
    return str(authenticator.get_type_display())


@receiver(m2m_changed, sender=Group.members.through)
def members_changed(
    instance: Any, action: str, reverse: bool, pk_set: Iterable[int] | None, **_: Any
) -> None:
    """People came into groups or left them; ``reverse`` where a member's groups were set."""
    if action not in {"post_add", "post_remove", "pre_clear"}:
        return
    if reverse:
        members = [instance]
        wanted = instance.groups.all() if pk_set is None else Group.objects.filter(pk__in=pk_set)
        groups = list(wanted)
    else:
        groups = [instance]
        wanted = instance.members.all() if pk_set is None else _members(pk_set)
        members = list(wanted.select_related("user"))
    came = action == "post_add"
    for group in groups if members else ():
        differences = {
            f"member {member.user}": [None, "in it"] if came else ["in it", None]
            for member in members
        }
        audit.record("group.changed", group, account_id=group.account_id, differences=differences)


def _members(pks: Iterable[int]) -> Any:
    return Membership.objects.filter(pk__in=pks)
