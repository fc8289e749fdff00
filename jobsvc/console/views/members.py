"""The people of an account, and what each may do."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.groups import set_groups
from accounts.members import (
    add_member,
    change_role,
    deactivate_member,
    is_last_owner,
    reactivate_member,
    remove_member,
)
from accounts.models import Group, Invitation, Membership
from accounts.roles import ALLOWED, Action, PermissionSet
from jobsvc.console import once
from jobsvc.console.access import member_of_account, page
from jobsvc.console.forms.people import MemberForm, RoleForm
from jobsvc.console.forms.refusals import tell
from jobsvc.notifications.models import Delivery, Event
from jobsvc.statuses import State

# What each role allows, in words, for who has to choose one.
ROLES = [
    (role.label, ", ".join(action.label for action in Action if action in ALLOWED[role]))
    for role in PermissionSet
]


def _members(membership: Membership) -> QuerySet[Membership]:
    return (
        Membership.objects.filter(account=membership.account_id)
        .select_related("user", "account")
        .order_by("user__email")
    )


@require_safe
@member_of_account(everywhere=True)
def member_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Who is in the account, as what, and when they last signed in."""
    may_change = membership.may(Action.WRITE_ACCOUNT)
    mfa = Authenticator.objects.filter(user=OuterRef("user"))
    mfa = mfa.exclude(type=Authenticator.Type.RECOVERY_CODES)
    sessions = UserSession.objects.filter(user=OuterRef("user")).order_by("-last_seen_at")
    active = Group.objects.filter(state=State.ACTIVE).order_by("name")
    members = _members(membership).annotate(
        has_mfa=Exists(mfa), seen_at=Subquery(sessions.values("last_seen_at")[:1])
    )
    context = {
        "members": members.prefetch_related(Prefetch("groups", active)),
        "roles": ROLES,
        "may_change": may_change,
        "invitations": _invitations(membership) if may_change else [],
        "link": once.take(request, kept_link_of(membership.account_id)) if may_change else None,
    }
    return page(request, membership, "console/members.html", context)


def _invitations(membership: Membership) -> list[tuple[Invitation, Delivery | None]]:
    """Those that are open, newest first, each with its last mail."""
    invitations = Invitation.objects.open().filter(account=membership.account_id)
    invitations = invitations.select_related("invited_by").prefetch_related("groups")
    mails: dict[int, Delivery] = {
        mail.details["invitation"]: mail
        for mail in Delivery.objects.filter(
            account=membership.account_id, event=Event.INVITATION
        ).order_by("pk")
    }
    return [(one, mails.get(one.pk)) for one in invitations.order_by("-pk")]


def kept_link_of(account_id: int) -> str:
    """What ``once`` keeps the link of a new invitation under."""
    return f"invitation of account {account_id}"


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def member_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Add somebody who can sign in here already."""
    form = MemberForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            _refuse_a_stranger(membership, typed["email"])
            added = add_member(membership.account, typed["email"], typed["permission_set"])
        except ValidationError as refused:
            tell(form, refused)
        else:
            messages.success(request, f"{added.user.full_name} is a member now.")
            return redirect("console:members", membership.account_id)
    return page(request, membership, "console/member_new.html", {"form": form, "roles": ROLES})


def _refuse_a_stranger(membership: Membership, email: str) -> None:
    """Refuse to add a person whom only another account has let in.

    That they have the address they sign in with is what that account says, and no more. An
    invitation is answered by who reads the mail.

    Raises:
        ValidationError
    """
    others = Membership.objects.filter(user__email__iexact=email.strip())
    if membership.user.is_superuser or not others.exclude(account=membership.account_id).exists():
        return
    if not others.filter(account=membership.account_id).exists():
        raise ValidationError(
            {"email": f"{email.strip()} belongs to another account here. Invite them instead."}
        )


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def member_edit(request: HttpRequest, membership: Membership, member_id: int) -> HttpResponse:
    """Give a member another role and other groups."""
    member = get_object_or_404(_members(membership), pk=member_id)
    form = RoleForm(request.POST or None, member=member)
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                change_role(member, form.cleaned_data["permission_set"])
                set_groups(member, form.chosen)
        except ValidationError as refused:
            tell(form, refused)
        else:
            messages.success(request, f"{member.user.full_name}: {member.role}, from now on.")
            return redirect("console:members", membership.account_id)
    member.refresh_from_db(fields=["permission_set"])
    context = {
        "member": member,
        "form": form,
        "roles": ROLES,
        "is_last_owner": is_last_owner(member),
    }
    return page(request, membership, "console/member_edit.html", context)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def member_switch(request: HttpRequest, membership: Membership, member_id: int) -> HttpResponse:
    """Let a member in no more, or again."""
    member = get_object_or_404(_members(membership), pk=member_id)
    try:
        if member.is_active:
            deactivate_member(member)
        else:
            reactivate_member(member)
    except ValidationError as refused:
        messages.error(request, " ".join(refused.messages))
    else:
        words = "may enter again" if member.is_active else "may not enter any more"
        messages.success(request, f"{member.user.full_name} {words}, and so their tokens.")
        if not member.is_active and member.pk == membership.pk:
            return redirect("console:start")
    return redirect("console:members", membership.account_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def member_remove(request: HttpRequest, membership: Membership, member_id: int) -> HttpResponse:
    """Ask whether to remove somebody; do it by POST."""
    member = get_object_or_404(_members(membership), pk=member_id)
    if request.method == "POST":
        try:
            remove_member(member)
        except ValidationError as refused:
            for sentence in refused.messages:
                messages.error(request, sentence)
        else:
            messages.success(request, f"{member.user.full_name} is no member any more.")
            if member.user_id == membership.user_id:
                return redirect("console:start")
        return redirect("console:members", membership.account_id)
    context = {
        "member": member,
        "is_last_owner": is_last_owner(member),
        "tokens": member.user.tokens.filter(account=member.account, state=State.ACTIVE).count(),
    }
    return page(request, membership, "console/member_remove.html", context)
