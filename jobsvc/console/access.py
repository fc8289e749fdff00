"""Who may see a page: people who signed in, in the accounts they are members of."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from accounts.models import Membership
from accounts.roles import Action, allows
from jobsvc.statuses import State

P = ParamSpec("P")
MemberView = Callable[Concatenate[HttpRequest, Membership, P], HttpResponseBase]

LAST_ACCOUNT = "account_id"  # of the session: where "/" leads


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks, which wants the part of the page that moves, not the whole."""
    return request.headers.get("HX-Request") == "true"


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """To the sign-in page and back again, the whole page even where a fragment was asked for."""
    if is_fragment(request):
        return HttpResponseClientRedirect(reverse("account_login"))
    return redirect_to_login(request.get_full_path())


def member_of_account(
    *, may: Action = Action.READ
) -> Callable[[MemberView[P]], Callable[..., HttpResponseBase]]:
    """The view gets the visitor's membership of the account that the address names.

    Nobody signed in: to the sign-in page. An account the visitor is no member of, or that is
    gone: 404, as if it never were. A member whose role does not allow ``may``: 403.
    """

    def decorate(view: MemberView[P]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(
            request: HttpRequest, account_id: int, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return sign_in_first(request)
            membership = (
                Membership.objects.filter(
                    user=request.user, account=account_id, account__state=State.ACTIVE
                )
                .select_related("account")
                .first()
            )
            if membership is None:
                raise Http404
            if not allows(membership.permission_set, may):
                raise PermissionDenied(
                    f"Your role here, {membership.get_permission_set_display()}, does not let "
                    f"you {may.label}. Ask an owner of {membership.account} for a role that does."
                )
            if request.session.get(LAST_ACCOUNT) != membership.account_id:
                request.session[LAST_ACCOUNT] = membership.account_id
            return view(request, membership, *args, **kwargs)

        return guarded

    return decorate


def page(
    request: HttpRequest, membership: Membership, template: str, context: dict[str, Any]
) -> HttpResponse:
    """A page or a fragment of one, with what the shell around it needs."""
    shell = {
        "membership": membership,
        "account": membership.account,
        "may_run": allows(membership.permission_set, Action.RUN),
    }
    response = render(request, template, shell | context)
    # The same address has two faces, and shows what only this person may see.
    response["Vary"] = "HX-Request, Cookie"
    response["Cache-Control"] = "no-store"
    return response
