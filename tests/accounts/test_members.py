"""Who is in an account: added, changed, removed, and never without an owner."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from accounts.members import add_member, change_role, is_last_owner
from accounts.models import Account, Membership
from accounts.roles import PermissionSet
from tests.factories import MembershipFactory, UserFactory


def test_somebody_is_added_however_their_address_is_written(account: Account) -> None:
    ben = UserFactory(email="ben@example.com")

    assert add_member(account, " BEN@example.com ", PermissionSet.DEVELOPER).user == ben


def test_a_role_that_is_none_is_refused(account: Account) -> None:
    MembershipFactory(account=account)
    member = MembershipFactory(account=account)

    with pytest.raises(ValidationError):
        change_role(member, "emperor")

    assert Membership.objects.get(pk=member.pk).permission_set == PermissionSet.OWNER


def test_an_owner_beside_whom_only_admins_are_is_the_last(account: Account) -> None:
    owner = MembershipFactory(account=account)
    admin = MembershipFactory(account=account, permission_set=PermissionSet.ACCOUNT_ADMIN)

    assert is_last_owner(owner)
    assert not is_last_owner(admin)
