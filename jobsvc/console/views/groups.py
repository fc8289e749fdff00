"""Groups and what they are granted, and who may do what by that."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.groups import add_grant, define_group, delete_group
from accounts.models import Grant, Group, Membership
from accounts.policy import Held, Spot
from accounts.roles import Action, PermissionSet
from jobsvc.console.access import member_of_account, page
from jobsvc.console.forms.grants import CanForm, GrantForm, GroupForm, Where
from jobsvc.console.forms.refusals import tell
from jobsvc.console.views.members import ROLES
from jobsvc.statuses import State

ASKED = "who"  # of the query string, where the question is put
MOST_NAMED = 5  # people who could grant something


def _groups(membership: Membership) -> QuerySet[Group]:
    return Group.objects.filter(account=membership.account_id, state=State.ACTIVE)


def _group(membership: Membership, group_id: int) -> Group:
    return get_object_or_404(_groups(membership).select_related("account"), pk=group_id)


@require_safe
@member_of_account(everywhere=True)
def group_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The groups of an account by name; ``?who= action= where=`` asks whether somebody may."""
    where = Where(membership.account)
    given = request.GET if ASKED in request.GET else None
    can = CanForm(given, account=membership.account, where=where)
    grants = Count("grants", distinct=True)
    people = Count("members", filter=Q(members__is_active=True), distinct=True)
    context: dict[str, Any] = {
        "groups": _groups(membership).annotate(people=people, roles=grants).order_by("name", "pk"),
        "can": can,
        "answer": _answer(can) if can.is_bound and can.is_valid() else None,
        "may_change": membership.may(Action.WRITE_ACCOUNT),
    }
    return page(request, membership, "console/groups.html", context)


def _answer(can: CanForm) -> dict[str, Any]:
    """Whether the one asked about may, by which role, and who could change that."""
    asked = can.cleaned_data
    who, action = can.members[asked["who"]], Action(asked["action"])
    spot: Spot = can.places.spot(asked["where"])
    is_out = not (who.is_active and who.user.is_active)
    held = None if is_out else who.access.may(action, spot)
    managers = [
        one.user.full_name
        for one in can.members.values()
        if one.is_active and one.user.is_active and one.may(Action.WRITE_ACCOUNT)
    ]

    place = can.places.environments.get(asked["where"]) or can.places.projects.get(asked["where"])
    return {
        "who": who,
        "action": action.label,
        "place": f"in {place}" if place else "in the whole account",
        "held": held,
        "role": PermissionSet(held.permission_set).label if held else "",
        "held_in": _held_in(can.places, held) if held else "",
        "is_out": is_out,
        "managers": managers[:MOST_NAMED],
        "more": max(0, len(managers) - MOST_NAMED),
    }


def _held_in(where: Where, held: Held) -> str:
    """Where a role is held, in words."""
    if environment := where.environments.get(f"environment:{held.environment_id}"):
        return f"the environment {environment} of {environment.project}"
    if project := where.projects.get(f"project:{held.project_id}"):
        return f"the project {project}"
    return "the whole account"


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def group_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make a group; what it is granted is asked next."""
    form = GroupForm(request.POST or None, group=Group(account=membership.account))
    if request.method == "POST" and form.is_valid() and (group := _save(form)):
        messages.success(request, f"{group} is made. Say now what it is granted.")
        return redirect("console:group", membership.account_id, group.pk)
    return page(request, membership, "console/group_new.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def group_detail(request: HttpRequest, membership: Membership, group_id: int) -> HttpResponse:
    """A group's grants, and its name and members, which POST changes."""
    group = _group(membership, group_id)
    form = GroupForm(request.POST or None, group=group)
    if request.method == "POST" and form.is_valid() and _save(form):
        messages.success(request, f"{group} is saved.")
        return redirect("console:group", membership.account_id, group_id)
    return _shown(request, membership, group, form=form)


def _save(form: GroupForm) -> Group | None:
    """The group as it was typed; None where it was refused, which the form then says."""
    try:
        return define_group(form.fill(), form.chosen)
    except ValidationError as refused:
        tell(form, refused, {"__all__": "name"})
        return None


def _shown(
    request: HttpRequest,
    membership: Membership,
    group: Group,
    *,
    form: GroupForm | None = None,
    grant: GrantForm | None = None,
) -> HttpResponse:
    name = Group.objects.values_list("name", flat=True).get(pk=group.pk)
    context = {
        "group": group,
        "name": name,  # as it is stored, not as it was typed
        "form": form or GroupForm(group=group),
        "grants": group.grants.select_related("project", "environment").order_by("pk"),
        "grant": grant or GrantForm(where=Where(membership.account)),
        "roles": ROLES,
    }
    return page(request, membership, "console/group.html", context)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def grant_add(request: HttpRequest, membership: Membership, group_id: int) -> HttpResponse:
    """Grant a group one more role."""
    group = _group(membership, group_id)
    form = GrantForm(request.POST, where=Where(membership.account))
    if form.is_valid():
        grant = form.grant()
        grant.group = group
        try:
            add_grant(grant)
        except ValidationError as refused:
            tell(form, refused, {"project": "where", "environment": "where"})
        else:
            messages.success(request, f"{group} is granted that, from the next click on.")
            return redirect("console:group", membership.account_id, group_id)
    return _shown(request, membership, group, grant=form)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def grant_remove(
    request: HttpRequest, membership: Membership, group_id: int, grant_id: int
) -> HttpResponse:
    """Take a role away from a group."""
    grants = Grant.objects.filter(group=_group(membership, group_id)).select_related("group")
    get_object_or_404(grants, pk=grant_id).delete()
    messages.success(request, "It is granted no more.")
    return redirect("console:group", membership.account_id, group_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def group_delete(request: HttpRequest, membership: Membership, group_id: int) -> HttpResponse:
    """Ask whether to delete a group, and who loses what by it; do it by POST."""
    group = _group(membership, group_id)
    if request.method == "POST":
        delete_group(group)
        messages.success(request, f"{group} is deleted.")
        return redirect("console:groups", membership.account_id)
    context = {
        "group": group,
        "grants": group.grants.select_related("project", "environment").order_by("pk"),
        "members": group.members.select_related("user").order_by("user__email"),
    }
    return page(request, membership, "console/group_delete.html", context)
