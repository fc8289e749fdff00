"""The people of an account, and what each may do."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe

from accounts.members import add_member, change_role, is_last_owner, remove_member
from accounts.models import Membership
from accounts.roles import ALLOWED, Action, PermissionSet
from jobsvc.console.access import member_of_account, page
from jobsvc.console.forms.people import MemberForm, RoleForm
from jobsvc.console.forms.refusals import tell
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
    context = {
        "members": _members(membership),
        "roles": ROLES,
        "may_change": membership.may(Action.WRITE_ACCOUNT),
    }
    return page(request, membership, "console/members.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def member_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Add somebody who can sign in here already."""
    form = MemberForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            added = add_member(membership.account, typed["email"], typed["permission_set"])
        except ValidationError as refused:
            tell(form, refused)
        else:
            messages.success(request, f"{added.user.full_name} is a member now.")
            return redirect("console:members", membership.account_id)
    return page(request, membership, "console/member_new.html", {"form": form, "roles": ROLES})


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def member_edit(request: HttpRequest, membership: Membership, member_id: int) -> HttpResponse:
    """Give a member another role."""
    member = get_object_or_404(_members(membership), pk=member_id)
    form = RoleForm(request.POST or None, initial={"permission_set": member.permission_set})
    if request.method == "POST" and form.is_valid():
        try:
            change_role(member, form.cleaned_data["permission_set"])
        except ValidationError as refused:
            tell(form, refused)
        else:
            role = member.role
            messages.success(request, f"{member.user.full_name} is {role} now.")
            return redirect("console:members", membership.account_id)
    context = {"member": member, "form": form, "roles": ROLES}
    return page(request, membership, "console/member_edit.html", context)


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
