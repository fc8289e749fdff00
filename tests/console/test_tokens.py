"""Tokens, in the settings of the console."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from accounts.models import Account, Membership, Token
from jobsvc.statuses import State
from tests.factories import MembershipFactory, ProjectFactory

VisitorOf = Callable[..., Client]


def url(account: Account, name: str = "tokens", *more: int) -> str:
    return reverse(f"console:{name}", args=[account.pk, *more])


def signed_in(member: Membership) -> Client:
    client = Client()
    client.force_login(member.user)
    return client


def test_a_token_of_ones_own_works_and_is_shown_once(client: Client, db: None) -> None:
    member = MembershipFactory(permission_set="job_viewer")
    visitor = signed_in(member)

    made = visitor.post(
        url(member.account, "token_new"), {"name": "laptop", "days": "90"}, follow=True
    )
    text = made.context["text"]
    again = visitor.get(url(member.account)).content.decode()

    token = Token.objects.get()
    assert f"Authorization: Token {text}" in made.content.decode()
    assert text not in again
    assert f"{token.prefix}…" in again
    assert token.user == member.user
    assert token.expires_at is not None
    assert timedelta(days=89) < token.expires_at - now() <= timedelta(days=90)
    answer = client.get(
        f"/api/v2/accounts/{member.account_id}/jobs/", headers={"Authorization": f"Token {text}"}
    )
    assert answer.status_code == 200


def test_a_service_token_holds_the_permission_set_that_was_chosen(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor_of(account).post(
        url(account, "service_token_new"),
        {"name": "CI", "permission_set": "job_runner", "where": "all", "days": ""},
    )

    token = Token.objects.get()
    assert (token.kind, token.permission_set) == ("service", "job_runner")
    assert token.expires_at is None


def test_a_service_token_may_be_for_chosen_projects_alone(
    visitor_of: VisitorOf, account: Account
) -> None:
    mine, _other = (ProjectFactory(account=account) for _ in range(2))

    page = visitor_of(account).post(
        url(account, "service_token_new"),
        {
            "name": "CI",
            "permission_set": "job_runner",
            "where": "chosen",
            "projects": [mine.pk],
            "days": "90",
        },
        follow=True,
    )

    token = Token.objects.get()
    assert token.permission_set == ""
    assert [(one.permission_set, one.project) for one in token.grants.all()] == [
        ("job_runner", mine)
    ]
    assert f"Job runner in <bdi>{mine}</bdi>" in page.content.decode().replace("\n", "")
    assert token.created_by is not None


@pytest.mark.parametrize("project", [None, "another account's"])
def test_a_service_token_for_no_project_is_not_made(
    visitor_of: VisitorOf, account: Account, project: str | None
) -> None:
    chosen = [ProjectFactory().pk] if project else []

    page = visitor_of(account).post(
        url(account, "service_token_new"),
        {"name": "CI", "permission_set": "owner", "where": "chosen", "projects": chosen},
    )

    assert "projects" in page.context["form"].errors
    assert not Token.objects.exists()


def test_a_token_says_from_where_it_was_last_used(visitor_of: VisitorOf, account: Account) -> None:
    token, _text = Token.issue(account, "CI", permission_set="owner")
    token.note_use("192.0.2.7")

    assert "from 192.0.2.7" in visitor_of(account).get(url(account)).content.decode()


def test_a_token_without_a_name_is_not_made(visitor_of: VisitorOf, account: Account) -> None:
    page = visitor_of(account).post(url(account, "token_new"), {"name": " ", "days": "90"})

    assert "name" in page.context["form"].errors
    assert not Token.objects.exists()


def test_a_revoked_token_opens_nothing_any_more(visitor_of: VisitorOf, account: Account) -> None:
    token, text = Token.issue(account, "CI", permission_set="owner")
    visitor = visitor_of(account)
    address = url(account, "token_revoke", token.pk)

    visitor.get(address)
    before = Token.objects.find(text)
    visitor.post(address)

    assert before == token
    assert Token.objects.find(text) is None
    assert "CI" not in visitor.get(url(account)).context["service"].values_list("name", flat=True)


def test_an_expired_token_says_so(visitor_of: VisitorOf, account: Account) -> None:
    Token.issue(account, "CI", permission_set="owner", expires_at=now() - timedelta(days=1))

    assert "expired" in visitor_of(account).get(url(account)).content.decode()


def test_tokens_that_nobody_used_for_long_are_found(
    visitor_of: VisitorOf, account: Account
) -> None:
    long_ago = now() - timedelta(days=91)
    for name, used, made in [
        ("in use", now(), long_ago),
        ("idle", long_ago, long_ago),
        ("never used", None, long_ago),
        ("new", None, now()),
    ]:
        token, _text = Token.issue(account, name, permission_set="owner")
        Token.objects.filter(pk=token.pk).update(last_used_at=used, created_at=made)

    found = visitor_of(account).get(f"{url(account)}?idle=1").context["service"]

    assert {token.name for token in found} == {"idle", "never used"}


@pytest.mark.parametrize("role", ["job_viewer", "admin"])
def test_who_may_not_manage_tokens_sees_only_their_own(db: None, role: str) -> None:
    member = MembershipFactory(permission_set=role)
    account = member.account
    service, _text = Token.issue(account, "service one", permission_set="owner")
    Token.issue(account, "my own", user=member.user)
    visitor = signed_in(member)

    page = visitor.get(url(account)).content.decode()

    assert "my own" in page
    assert "service one" not in page
    assert "New service token" not in page
    assert visitor.get(url(account, "service_token_new")).status_code == 403
    assert visitor.post(url(account, "token_revoke", service.pk)).status_code == 403
    assert Token.objects.get(pk=service.pk).state == State.ACTIVE


def test_another_members_token_is_no_matter_even_of_an_owner(
    visitor_of: VisitorOf, account: Account
) -> None:
    token, _text = Token.issue(account, "theirs", user=MembershipFactory(account=account).user)
    owner = visitor_of(account)

    assert "theirs" not in owner.get(url(account)).content.decode()
    assert owner.post(url(account, "token_revoke", token.pk)).status_code == 404


def test_ones_own_token_of_another_account_is_not_here(db: None) -> None:
    member = MembershipFactory()
    elsewhere = MembershipFactory(user=member.user)
    token, _text = Token.issue(elsewhere.account, "elsewhere", user=member.user)

    visitor = signed_in(member)

    assert "elsewhere" not in visitor.get(url(member.account)).content.decode()
    assert visitor.post(url(member.account, "token_revoke", token.pk)).status_code == 404
