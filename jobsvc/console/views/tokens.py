"""Tokens: one's own, and those of the account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.timezone import now
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import Grant, Membership, Token, TokenKind
from accounts.roles import Action
from jobsvc.console import once
from jobsvc.console.access import member_of_account, page
from jobsvc.console.forms.people import TokenForm
from jobsvc.statuses import State

IDLE = timedelta(days=90)  # without a use, after which a token may be one that nobody needs


def _tokens(membership: Membership) -> QuerySet[Token]:
    return Token.objects.filter(account=membership.account_id, state=State.ACTIVE)


def _own(membership: Membership) -> QuerySet[Token]:
    return _tokens(membership).filter(user=membership.user)


def _service(membership: Membership) -> QuerySet[Token]:
    return _tokens(membership).filter(kind=TokenKind.SERVICE)


def _may_serve(membership: Membership) -> bool:
    """Whether this member may see, make and revoke the account's tokens."""
    return membership.may(Action.WRITE_ACCOUNT)


@require_safe
@member_of_account()
def token_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """One's own tokens, and the account's for who may manage them; ``?idle`` for those that
    nobody used for long. A new one is shown once."""
    may_serve = _may_serve(membership)
    grants = Prefetch("grants", Grant.objects.select_related("project", "environment"))
    own = _own(membership).order_by("-pk")
    service = _service(membership).select_related("created_by").prefetch_related(grants)
    service = service.order_by("-pk")
    if only_idle := "idle" in request.GET:
        idle = Q(last_used_at__lt=now() - IDLE) | Q(last_used_at=None, created_at__lt=now() - IDLE)
        own, service = own.filter(idle), service.filter(idle)
    context: dict[str, Any] = {
        "own": own,
        "service": service if may_serve else None,
        "only_idle": only_idle,
        "now": now(),
        "may_serve": may_serve,
        "text": once.take(request, _once(membership)),
    }
    return page(request, membership, "console/tokens.html", context)


def _once(membership: Membership) -> str:
    return f"token of account {membership.account_id}"


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account()
def token_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make a token of one's own."""
    return _make(request, membership, TokenKind.PERSONAL)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_ACCOUNT)
def service_token_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make a token that belongs to nobody."""
    return _make(request, membership, TokenKind.SERVICE)


def _make(request: HttpRequest, membership: Membership, kind: TokenKind) -> HttpResponse:
    form = TokenForm(request.POST or None, kind=kind, account=membership.account)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        holder: dict[str, Any] = {"user": membership.user}
        if kind == TokenKind.SERVICE:
            holder = form.holder()
        token, text = Token.issue(
            membership.account,
            typed["name"],
            expires_at=form.expires_at(),
            created_by=membership.user,
            **holder,
        )
        once.keep(request, _once(membership), text)
        messages.success(request, f"{token.name} is made.")
        return redirect("console:tokens", membership.account_id)
    context = {"form": form, "is_service": kind == TokenKind.SERVICE}
    return page(request, membership, "console/token_new.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account()
def token_revoke(request: HttpRequest, membership: Membership, token_id: int) -> HttpResponse:
    """Ask whether to revoke a token; do it by POST. It stops working at once."""
    token = _one(membership, token_id)
    if request.method == "POST":
        token.revoke()
        messages.success(request, f"{token.name} is revoked.")
        return redirect("console:tokens", membership.account_id)
    return page(request, membership, "console/token_revoke.html", {"token": token})


def _one(membership: Membership, token_id: int) -> Token:
    """One's own token, or the account's for who may manage those; 404 for other people's."""
    token = get_object_or_404(_own(membership) | _service(membership), pk=token_id)
    if token.user_id is None and not _may_serve(membership):
        raise PermissionDenied(
            f"Service tokens are for who may {Action.WRITE_ACCOUNT.label}. Ask an owner of "
            f"{membership.account} to revoke it."
        )
    return token
