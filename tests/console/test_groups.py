"""Groups, what they are granted, and who may do what by them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account, Grant, Group
from accounts.roles import Action
from jobsvc.statuses import State
from tests.factories import EnvironmentFactory, MembershipFactory, ProjectFactory

VisitorOf = Callable[..., Client]


def url(account: Account, name: str = "groups", *more: int) -> str:
    return reverse(f"console:{name}", args=[account.pk, *more])


def text(response: object) -> str:
    return " ".join(response.content.decode().split())  # type: ignore[attr-defined]  # every response has it


def test_a_group_is_made_with_its_members(visitor_of: VisitorOf, account: Account) -> None:
    ana = MembershipFactory(account=account)

    page = visitor_of(account).post(
        url(account, "group_new"),
        {"name": "Analysts", "assign_by_default": "on", "members": [ana.pk]},
        follow=True,
    )

    group = Group.objects.get()
    assert (group.name, group.assign_by_default, [*group.members.all()]) == (
        "Analysts",
        True,
        [ana],
    )
    assert "Say now what it is granted" in text(page)


def test_a_name_is_taken_once(visitor_of: VisitorOf, account: Account) -> None:
    Group.objects.create(account=account, name="Analysts")

    page = visitor_of(account).post(url(account, "group_new"), {"name": "ANALYSTS"})

    assert "There is a group of this name already" in text(page)
    assert Group.objects.count() == 1


def test_another_accounts_member_cannot_be_put_in(visitor_of: VisitorOf, account: Account) -> None:
    stranger = MembershipFactory()

    visitor_of(account).post(url(account, "group_new"), {"name": "A", "members": [stranger.pk]})

    assert not Group.objects.exists()


@pytest.mark.parametrize("where", ["", "project", "environment"])
def test_a_role_is_granted_where_it_was_chosen(
    visitor_of: VisitorOf, account: Account, where: str
) -> None:
    environment = EnvironmentFactory(project__account=account)
    group = Group.objects.create(account=account, name="Analysts")
    pk = {"project": environment.project_id, "environment": environment.pk}.get(where)

    visitor_of(account).post(
        url(account, "grant_add", group.pk),
        {"permission_set": "job_runner", "where": f"{where}:{pk}" if where else ""},
    )

    grant = Grant.objects.get()
    assert grant.permission_set == "job_runner"
    assert grant.project_id == (environment.project_id if where else None)
    assert grant.environment_id == (environment.pk if where == "environment" else None)


def test_the_same_is_not_granted_twice(visitor_of: VisitorOf, account: Account) -> None:
    group = Group.objects.create(account=account, name="Analysts")
    visitor, role = visitor_of(account), {"permission_set": "job_runner", "where": ""}

    visitor.post(url(account, "grant_add", group.pk), role)
    page = visitor.post(url(account, "grant_add", group.pk), role)

    assert "This is granted already" in text(page)
    assert Grant.objects.count() == 1


def test_another_accounts_project_cannot_be_granted(
    visitor_of: VisitorOf, account: Account
) -> None:
    group = Group.objects.create(account=account, name="Analysts")

    visitor_of(account).post(
        url(account, "grant_add", group.pk),
        {"permission_set": "owner", "where": f"project:{ProjectFactory().pk}"},
    )

    assert not Grant.objects.exists()


def test_what_is_taken_from_a_group_its_members_have_no_more(
    visitor_of: VisitorOf, account: Account
) -> None:
    member = MembershipFactory(account=account, permission_set="")
    group = Group.objects.create(account=account, name="Analysts")
    group.members.add(member)
    grant = Grant.objects.create(group=group, permission_set="job_runner")
    before = type(member).objects.get(pk=member.pk).may(Action.RUN)

    visitor_of(account).post(url(account, "grant_remove", group.pk, grant.pk))

    assert before
    assert not type(member).objects.get(pk=member.pk).may(Action.RUN)


def test_a_deleted_group_grants_nothing(visitor_of: VisitorOf, account: Account) -> None:
    member = MembershipFactory(account=account, permission_set="")
    group = Group.objects.create(account=account, name="Analysts")
    group.members.add(member)
    Grant.objects.create(group=group, permission_set="job_runner")
    visitor = visitor_of(account)

    question = text(visitor.get(url(account, "group_delete", group.pk)))
    visitor.post(url(account, "group_delete", group.pk))

    group.refresh_from_db()
    assert "1 member loses" in question
    assert group.state == State.DELETED
    assert not type(member).objects.get(pk=member.pk).may(Action.RUN)
    assert visitor.get(url(account, "group", group.pk)).status_code == 404


def test_the_question_is_answered_with_the_grant_that_allows_it(
    visitor_of: VisitorOf, account: Account
) -> None:
    environment = EnvironmentFactory(project__account=account, name="Staging")
    member = MembershipFactory(account=account, permission_set="job_viewer")
    group = Group.objects.create(account=account, name="Stagers")
    group.members.add(member)
    Grant.objects.create(
        group=group,
        permission_set="job_runner",
        project=environment.project,
        environment=environment,
    )
    asked = f"?who={member.pk}&action=run&where=environment:{environment.pk}"

    page = text(visitor_of(account).get(url(account) + asked))

    assert "Yes." in page
    assert "the group Stagers" in page
    assert "Job runner in the environment Staging" in page


def test_the_question_says_who_could_change_a_no(visitor_of: VisitorOf, account: Account) -> None:
    member = MembershipFactory(account=account, permission_set="job_viewer")
    owner = MembershipFactory(account=account)

    page = text(visitor_of(account).get(f"{url(account)}?who={member.pk}&action=run&where="))

    assert "No." in page
    assert owner.user.full_name in page.partition("No.")[2]


def test_whoever_is_switched_off_may_nothing(visitor_of: VisitorOf, account: Account) -> None:
    member = MembershipFactory(account=account, is_active=False)

    page = text(visitor_of(account).get(f"{url(account)}?who={member.pk}&action=read&where="))

    assert "is switched off" in page


@pytest.mark.parametrize("asked", ["?who=x", "?who=1%00", f"?who={'9' * 40}&action=run", "?who=1"])
def test_a_question_that_means_nothing_is_no_error(
    visitor_of: VisitorOf, account: Account, asked: str
) -> None:
    assert visitor_of(account).get(url(account) + asked).status_code == 200


@pytest.mark.parametrize("name", ["group", "group_delete", "grant_add"])
def test_who_does_not_manage_the_account_changes_no_group(
    visitor_of: VisitorOf, account: Account, name: str
) -> None:
    group = Group.objects.create(account=account, name="Analysts")

    assert visitor_of(account, "admin").post(url(account, name, group.pk)).status_code == 403
