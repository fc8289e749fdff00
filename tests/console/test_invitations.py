"""People are invited by mail, and join by its link."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from accounts.invitations import invite, text_of
from accounts.models import Account, Group, Invitation, Membership, User
from jobsvc.notifications.deliver import send_delivery
from jobsvc.notifications.models import Delivery, DeliveryStatus
from tests.factories import MembershipFactory, UserFactory

VisitorOf = Callable[..., Client]

PASSWORD = "a long and quiet river"


def url(account: Account, name: str, *more: int) -> str:
    return reverse(f"console:{name}", args=[account.pk, *more])


def link_of(invitation: Invitation) -> str:
    return reverse("console:invitation_accept", args=[text_of(invitation)])


def text(response: object) -> str:
    return " ".join(response.content.decode().split())  # type: ignore[attr-defined]  # every response has it


@pytest.fixture
def invitation(account: Account) -> Invitation:
    return invite(account, "bo@example.com", "job_runner")


def test_the_mail_that_is_sent_leads_to_the_account(
    visitor_of: VisitorOf, account: Account, client: Client
) -> None:
    group = Group.objects.create(account=account, name="Analysts")
    everybody = Group.objects.create(account=account, name="All", assign_by_default=True)
    visitor_of(account).post(
        url(account, "member_invite"),
        {"email": "bo@example.com", "permission_set": "job_runner", "groups": [group.pk]},
    )
    for delivery in Delivery.objects.all():
        send_delivery(delivery.pk)

    found = re.search(r"Join: \S+?(/join/\S+)", str(mail.outbox[0].body))
    assert found
    assert mail.outbox[0].to == ["bo@example.com"]
    form = client.get(found[1])
    joined = client.post(
        found[1], {"first_name": "Bo", "last_name": "Li", "password": PASSWORD}, follow=True
    )

    member = Membership.objects.get(account=account, user__email="bo@example.com")
    assert "Join" in text(form)
    assert joined.redirect_chain[-1][0] == reverse("console:account", args=[account.pk])
    assert member.permission_set == "job_runner"
    assert set(member.groups.all()) == {group, everybody}
    assert member.user.check_password(PASSWORD)


def test_an_invitation_waits_for_a_mail_server_that_is_down(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor_of(account).post(
        url(account, "member_invite"), {"email": "bo@example.com", "permission_set": "member"}
    )

    assert Delivery.objects.get().status == DeliveryStatus.WAITING
    page = text(visitor_of(account).get(url(account, "members")))
    assert "bo@example.com" in page
    assert "to be sent" in page


def test_the_link_is_shown_once_to_who_invites(visitor_of: VisitorOf, account: Account) -> None:
    visitor = visitor_of(account)

    page = visitor.post(
        url(account, "member_invite"),
        {"email": "bo@example.com", "permission_set": "member"},
        follow=True,
    )
    again = text(visitor.get(url(account, "members")))

    link = link_of(Invitation.objects.get())
    assert link in text(page)
    assert link not in again


def test_nothing_that_is_stored_opens_the_link(client: Client, invitation: Invitation) -> None:
    address = reverse("console:invitation_accept", args=[invitation.nonce])

    assert client.get(address).status_code == 404


def test_who_is_here_already_signs_in_and_joins(invitation: Invitation, client: Client) -> None:
    user = UserFactory(email="Bo@example.com")
    sent = client.post(link_of(invitation))
    client.force_login(user)

    client.post(link_of(invitation))

    assert sent["Location"] == f"{reverse('account_login')}?next={link_of(invitation)}"
    assert user.memberships.get().permission_set == "job_runner"


def test_somebody_else_who_is_signed_in_does_not_join(
    invitation: Invitation, client: Client
) -> None:
    client.force_login(UserFactory(email="ana@example.com"))

    page = client.post(link_of(invitation))

    assert "Sign out first" in text(page)
    assert not Membership.objects.filter(account=invitation.account).exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"expires_at": now() - timedelta(days=1)}, "has expired"),
        ({"revoked_at": now()}, "was taken back"),
        ({"accepted_at": now()}, "was accepted already"),
    ],
)
def test_a_link_that_is_no_good_any_more_says_so(
    invitation: Invitation, client: Client, changed: dict[str, object], said: str
) -> None:
    Invitation.objects.filter(pk=invitation.pk).update(**changed)

    page = client.post(
        link_of(invitation), {"first_name": "Bo", "last_name": "", "password": PASSWORD}
    )

    assert page.status_code == 404
    assert said in text(page)
    assert not User.objects.filter(email="bo@example.com").exists()


def test_a_weak_password_is_refused_at_its_field(invitation: Invitation, client: Client) -> None:
    page = client.post(link_of(invitation), {"first_name": "Bo", "password": "password"})

    assert "password" in page.context["form"].errors
    assert not User.objects.filter(email="bo@example.com").exists()


def test_sent_again_the_earlier_link_ends(
    visitor_of: VisitorOf, account: Account, invitation: Invitation, client: Client
) -> None:
    earlier = link_of(invitation)

    visitor_of(account).post(url(account, "invitation_again", invitation.pk))

    invitation.refresh_from_db()
    assert client.get(earlier).status_code == 404
    assert client.get(link_of(invitation)).status_code == 200


def test_a_revoked_invitation_is_not_sent(
    visitor_of: VisitorOf, account: Account, invitation: Invitation
) -> None:
    visitor = visitor_of(account)
    visitor.post(url(account, "invitation_again", invitation.pk))

    visitor.post(url(account, "invitation_revoke", invitation.pk))

    assert not send_delivery(Delivery.objects.get().pk)
    assert mail.outbox == []
    assert visitor.post(url(account, "invitation_again", invitation.pk)).status_code == 404


@pytest.mark.parametrize("email", ["bo@example.com", "BO@example.com", "owner@example.com"])
def test_nobody_is_invited_twice(
    visitor_of: VisitorOf, account: Account, invitation: Invitation, email: str
) -> None:
    MembershipFactory(account=account, user__email="owner@example.com")

    page = visitor_of(account).post(
        url(account, "member_invite"), {"email": email, "permission_set": "member"}
    )

    assert "email" in page.context["form"].errors
    assert Invitation.objects.count() == 1


def test_an_invitation_to_nothing_is_refused(visitor_of: VisitorOf, account: Account) -> None:
    page = visitor_of(account).post(
        url(account, "member_invite"), {"email": "bo@example.com", "permission_set": ""}
    )

    assert "permission_set" in page.context["form"].errors


def test_another_accounts_invitation_is_no_matter_here(
    visitor_of: VisitorOf, account: Account, invitation: Invitation
) -> None:
    other = visitor_of(MembershipFactory().account)

    for name in ("invitation_again", "invitation_revoke"):
        assert other.post(url(account, name, invitation.pk)).status_code == 404
