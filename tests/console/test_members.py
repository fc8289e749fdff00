"""The people of an account, in the settings of the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from accounts.members import change_role, remove_member
from accounts.models import Account, Group, Membership, Token
from accounts.roles import PermissionSet
from jobsvc.statuses import State
from tests.factories import MembershipFactory, UserFactory

VisitorOf = Callable[..., Client]


def url(account: Account, name: str = "members", *more: int) -> str:
    return reverse(f"console:{name}", args=[account.pk, *more])


def test_everybody_sees_who_is_in_the_account(visitor_of: VisitorOf, account: Account) -> None:
    ana = MembershipFactory(account=account, permission_set="job_admin").user

    page = visitor_of(account, "job_viewer").get(url(account)).content.decode()

    assert ana.email in page
    assert "Job admin" in page
    assert "Change the role" not in page
    assert "Invite somebody" not in page


def test_a_list_of_many_members_takes_few_questions(
    visitor_of: VisitorOf, account: Account, django_assert_max_num_queries: Any
) -> None:
    MembershipFactory.create_batch(8, account=account)
    visitor = visitor_of(account)

    with django_assert_max_num_queries(15):
        visitor.get(url(account))


@pytest.mark.parametrize("name", ["member_edit", "member_remove"])
def test_who_may_not_manage_people_cannot_by_address(
    visitor_of: VisitorOf, account: Account, name: str
) -> None:
    member = MembershipFactory(account=account)

    answer = visitor_of(account, "admin").post(url(account, name, member.pk))

    assert answer.status_code == 403
    assert Membership.objects.filter(pk=member.pk).exists()


def test_somebody_who_signs_in_here_is_added_by_address(
    visitor_of: VisitorOf, account: Account
) -> None:
    ben = UserFactory(email="ben@example.com")

    visitor_of(account).post(
        url(account, "member_new"), {"email": " Ben@Example.com", "permission_set": "developer"}
    )

    assert Membership.objects.get(account=account, user=ben).permission_set == "developer"


def test_whom_only_another_account_let_in_is_invited_instead(
    visitor_of: VisitorOf, account: Account
) -> None:
    eve = MembershipFactory(user__email="ben@example.com").user

    page = visitor_of(account).post(
        url(account, "member_new"), {"email": eve.email, "permission_set": "owner"}
    )

    assert "Invite them instead" in page.context["form"].errors["email"][0]
    assert not Membership.objects.filter(account=account, user=eve).exists()


@pytest.mark.parametrize("email", ["nobody@example.com", "gone@example.com"])
def test_nobody_is_added_who_cannot_sign_in(
    visitor_of: VisitorOf, account: Account, email: str
) -> None:
    UserFactory(email="gone@example.com", is_active=False)

    page = visitor_of(account).post(
        url(account, "member_new"), {"email": email, "permission_set": "developer"}
    )

    assert "Nobody signs in here as" in page.context["form"].errors["email"][0]


def test_a_member_is_not_added_twice(visitor_of: VisitorOf, account: Account) -> None:
    there = MembershipFactory(account=account, permission_set="job_viewer")

    page = visitor_of(account).post(
        url(account, "member_new"), {"email": there.user.email, "permission_set": "owner"}
    )

    there.refresh_from_db()
    assert "is a member already" in page.content.decode()
    assert there.permission_set == "job_viewer"


def test_a_member_gets_another_role(visitor_of: VisitorOf, account: Account) -> None:
    member = MembershipFactory(account=account, permission_set="job_viewer")

    visitor_of(account).post(
        url(account, "member_edit", member.pk), {"permission_set": "job_admin"}
    )

    member.refresh_from_db()
    assert member.permission_set == "job_admin"


def test_a_role_that_is_none_is_refused(visitor_of: VisitorOf, account: Account) -> None:
    member = MembershipFactory(account=account)

    page = visitor_of(account).post(
        url(account, "member_edit", member.pk), {"permission_set": "emperor"}
    )

    assert "permission_set" in page.context["form"].errors


def test_a_member_of_another_account_is_not_here(visitor_of: VisitorOf, account: Account) -> None:
    other = MembershipFactory()
    visitor = visitor_of(account)

    for name in ("member_edit", "member_remove"):
        assert visitor.post(url(account, name, other.pk)).status_code == 404
    assert Membership.objects.filter(pk=other.pk).exists()


def test_the_last_owner_can_neither_go_nor_become_less(client: Client, account: Account) -> None:
    owner = MembershipFactory(account=account)
    MembershipFactory(account=account, user__is_active=False)  # an owner who cannot sign in
    client.force_login(owner.user)

    demoted = client.post(
        url(account, "member_edit", owner.pk), {"permission_set": "job_viewer"}
    ).content.decode()
    question = client.get(url(account, "member_remove", owner.pk)).content.decode()
    removed = client.post(url(account, "member_remove", owner.pk), follow=True).content.decode()

    owner.refresh_from_db()
    assert "is the last owner of" in demoted
    assert "is the last owner of" in question
    assert "is the last owner of" in removed
    assert owner.permission_set == PermissionSet.OWNER


def test_of_two_owners_who_read_the_same_the_second_stays(account: Account) -> None:
    """Each verb looks again under its lock, so what a page had read does not count."""
    first, second = MembershipFactory.create_batch(2, account=account)
    stale = Membership.objects.get(pk=second.pk)
    remove_member(first)

    with pytest.raises(ValidationError, match="last owner"):
        change_role(stale, PermissionSet.JOB_VIEWER)


def test_who_is_removed_sees_nothing_and_their_tokens_stop(
    visitor_of: VisitorOf, account: Account
) -> None:
    member = MembershipFactory(account=account)
    elsewhere = MembershipFactory(user=member.user)
    here, _text = Token.issue(account, "here", user=member.user)
    there, _text = Token.issue(elsewhere.account, "there", user=member.user)
    theirs = Client()
    theirs.force_login(member.user)

    visitor_of(account).post(url(account, "member_remove", member.pk))

    here.refresh_from_db()
    there.refresh_from_db()
    assert theirs.get(url(account)).status_code == 404
    assert (here.state, there.state) == (State.DELETED, State.ACTIVE)


def test_who_removes_themselves_is_led_out(client: Client, account: Account) -> None:
    member = MembershipFactory(account=account)
    MembershipFactory(account=account)
    client.force_login(member.user)

    response = client.post(url(account, "member_remove", member.pk))

    assert response["Location"] == "/"


def test_a_deactivated_member_and_their_tokens_do_not_enter(
    visitor_of: VisitorOf, account: Account, client: Client
) -> None:
    member = MembershipFactory(account=account)
    _token, text = Token.issue(account, "laptop", user=member.user)
    client.force_login(member.user)
    owner = visitor_of(account)

    owner.post(url(account, "member_switch", member.pk))

    api = {"headers": {"Authorization": f"Token {text}"}}
    assert client.get(url(account, "runs")).status_code == 404
    assert client.get(f"/api/v2/accounts/{account.pk}/", **api).status_code == 401
    assert "switched off" in owner.get(url(account)).content.decode()
    owner.post(url(account, "member_switch", member.pk))
    assert client.get(url(account, "runs")).status_code == 200
    assert client.get(f"/api/v2/accounts/{account.pk}/", **api).status_code == 200


def test_the_last_owner_is_not_deactivated_even_beside_one_by_a_group(
    visitor_of: VisitorOf, account: Account
) -> None:
    other = MembershipFactory(account=account, permission_set="")
    group = Group.objects.create(account=account, name="Owners")
    group.members.add(other)
    group.grants.create(permission_set="owner")
    visitor = visitor_of(account)
    owner = account.memberships.get(permission_set="owner")

    page = visitor.post(url(account, "member_switch", owner.pk), follow=True)

    owner.refresh_from_db()
    assert owner.is_active
    assert "by a group alone does not count" in page.content.decode()


def test_a_member_is_put_into_groups_and_out_of_them(
    visitor_of: VisitorOf, account: Account
) -> None:
    member = MembershipFactory(account=account, permission_set="job_viewer")
    first, second = (Group.objects.create(account=account, name=name) for name in ("A", "B"))
    first.members.add(member)

    visitor_of(account).post(
        url(account, "member_edit", member.pk), {"permission_set": "", "groups": [second.pk]}
    )

    member.refresh_from_db()
    assert member.permission_set == ""
    assert list(member.groups.all()) == [second]


def test_who_joins_is_in_the_groups_of_everybody(visitor_of: VisitorOf, account: Account) -> None:
    everybody = Group.objects.create(account=account, name="All", assign_by_default=True)
    user = UserFactory()

    visitor_of(account).post(
        url(account, "member_new"), {"email": user.email, "permission_set": "job_viewer"}
    )

    assert list(everybody.members.all()) == [user.memberships.get()]
