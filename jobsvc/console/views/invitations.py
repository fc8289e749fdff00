"""Invitations: sent, sent again, revoked; and the page that their link opens."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts.invitations import (
    accept,
    accept_as_new,
    find_invitation,
    invite,
    revoke,
    send_again,
    text_of,
    why_not,
)
from accounts.models import Invitation, Membership, User
from accounts.roles import Action
from jobsvc.console import once
from jobsvc.console.access import member_of_account, page
from jobsvc.console.forms.people import InviteForm, JoinForm
from jobsvc.console.forms.refusals import tell
from jobsvc.console.views.members import ROLES, kept_link_of
from jobsvc.notifications.tell import tell_of_invitation

BY_PASSWORD = "django.contrib.auth.backends.ModelBackend"  # noqa: S105 - a path, not a secret


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def member_invite(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Ask somebody by mail to join; the link is shown once here, too, should no mail arrive."""
    form = InviteForm(request.POST or None, account=membership.account)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            with transaction.atomic():
                invitation = invite(
                    membership.account,
                    typed["email"],
                    typed["permission_set"],
                    groups=form.chosen,
                    by=membership.user,
                )
                tell_of_invitation(invitation)
        except ValidationError as refused:
            tell(form, refused)
        else:
            _keep_link(request, invitation)
            messages.success(request, f"{invitation} is invited, for seven days.")
            return redirect("console:members", membership.account_id)
    context = {"form": form, "roles": ROLES}
    return page(request, membership, "console/member_invite.html", context)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def invitation_again(
    request: HttpRequest, membership: Membership, invitation_id: int
) -> HttpResponse:
    """Send another link, good for seven days more."""
    invitation = _invitation(membership, invitation_id)
    try:
        with transaction.atomic():
            tell_of_invitation(send_again(invitation))
    except ValidationError as refused:
        messages.error(request, " ".join(refused.messages))
    else:
        _keep_link(request, invitation)
        messages.success(request, f"{invitation} is invited again. The earlier link ends here.")
    return redirect("console:members", membership.account_id)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def invitation_revoke(
    request: HttpRequest, membership: Membership, invitation_id: int
) -> HttpResponse:
    """Let a link open nothing any more."""
    invitation = _invitation(membership, invitation_id)
    try:
        revoke(invitation)
    except ValidationError as refused:
        messages.error(request, " ".join(refused.messages))
    else:
        messages.success(request, f"The invitation of {invitation} is taken back.")
    return redirect("console:members", membership.account_id)


def _invitation(membership: Membership, invitation_id: int) -> Invitation:
    rows = Invitation.objects.open().filter(account=membership.account_id)
    return get_object_or_404(rows.select_related("account", "invited_by"), pk=invitation_id)


def _keep_link(request: HttpRequest, invitation: Invitation) -> None:
    address = reverse("console:invitation_accept", args=[text_of(invitation)])
    once.keep(request, kept_link_of(invitation.account_id), f"{settings.SITE_URL}{address}")


# --- The link ------------------------------------------------------------------------------


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation_accept(request: HttpRequest, invitation_key: str) -> HttpResponse:
    """Join: by a name and a password who is new here, by signing in who is not."""
    invitation = find_invitation(invitation_key)
    reason = why_not(invitation) if invitation else UNKNOWN
    if invitation is None or reason:
        return _answer(request, {"invitation": invitation, "reason": reason}, 404)
    known = User.objects.filter(email__iexact=invitation.email).first()
    user = request.user if isinstance(request.user, User) else None
    form = JoinForm(request.POST or None, email=invitation.email) if known is None else None
    context: dict[str, Any] = {
        "invitation": invitation,
        "form": form,
        "known": known,
        "is_other": user is not None and user != known,
        "here": request.path,
    }
    if request.method != "POST" or context["is_other"]:
        return _answer(request, context)
    try:
        if known is None and form is not None:
            if not form.is_valid():
                return _answer(request, context)
            membership = accept_as_new(invitation, **form.person())
            login(request, membership.user, backend=BY_PASSWORD)
        elif user is None:
            return redirect(f"{reverse('account_login')}?next={request.path}")
        else:
            membership = accept(invitation, user)
    except ValidationError as refused:
        return _answer(request, context | {"reason": " ".join(refused.messages)}, 409)
    messages.success(request, f"Welcome to {invitation.account}.")
    return redirect("console:account", membership.account_id)


UNKNOWN = (
    "This link opens nothing: a newer one was sent, or it was cut off. "
    "Look for the newest mail, or ask who invited you."
)


def _answer(request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    response = render(request, "console/invitation.html", context, status=status)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"  # the address opens something
    return response
