"""The system page: what the installation stands on, what it is made of, what it keeps.

Who manages the account sees its state and the account's own share. What concerns the whole
installation, its other accounts with it, is for superusers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.timezone import now
from django.views.decorators.http import require_POST, require_safe

from accounts import audit
from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import is_fragment, member_of_account, page
from jobsvc.console.system import health, mail, room, versions
from jobsvc.console.system.bundle import bundle
from jobsvc.runs import toolchains
from jobsvc.runs.models import ToolchainChange
from jobsvc.runs.toolchain_changes import ask_for, ask_to_remove

MOST_CHANGES = 5  # of the dbt versions, newest first
LONGEST_MESSAGE = 1500  # characters: it travels in a cookie

SystemView = Callable[[HttpRequest, Membership], HttpResponse]


def for_superusers(view: SystemView) -> SystemView:
    """Below ``member_of_account``: refuse who does not run the installation."""

    @wraps(view)
    def guarded(request: HttpRequest, membership: Membership) -> HttpResponse:
        if not is_superuser(request):
            raise PermissionDenied(
                "This concerns the whole installation, so it is for its superusers. Ask whoever "
                "runs it; `manage.py createsuperuser` makes one."
            )
        return view(request, membership)

    return guarded


def is_superuser(request: HttpRequest) -> bool:
    """Whether whoever asks runs the installation."""
    return request.user.is_authenticated and request.user.is_superuser


@require_safe
@member_of_account(may=Action.WRITE_ACCOUNT)
def system(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Health, versions, retention, room; ``?count=1`` counts what takes longer."""
    superuser = is_superuser(request)
    changes = list(ToolchainChange.objects.order_by("-pk")[:MOST_CHANGES]) if superuser else []
    context: dict[str, Any] = {
        "changes": changes,
        "live": any(change.is_open for change in changes),
    }
    if superuser and is_fragment(request):
        context["installed"] = versions.installed()
        return page(request, membership, "console/_dbt_versions.html", context)
    counted = "count" in request.GET
    context |= {
        "superuser": superuser,
        "parts": health.parts(),
        "versions": versions.of_service(),
        "installed": versions.installed() if superuser else [],
        "offered": [f"{lock.series}.x" for lock in toolchains.locks()],
        "rules": _rules(counted=counted and superuser),
        "counted": counted,
        "room": room.of_account(membership.account_id) if counted else [],
        "room_of_all": room.of_everything() if counted and superuser else [],
    }
    return page(request, membership, "console/system.html", context)


def _rules(*, counted: bool) -> list[tuple[room.Rule, str]]:
    going = room.to_go() if counted else {}
    return [(rule, going.get(rule.setting, "")) for rule in room.rules()]


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
@for_superusers
def dbt_install(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Let a worker install a dbt version."""
    version = request.POST.get("version", "").strip()[:60]
    adapters = request.POST.get("adapters", "").replace(",", " ").split()[:20]
    try:
        ask_for(version, adapters, by=membership.user.email)
    except ValidationError as refused:
        _refuse(request, refused)
    else:
        messages.success(request, f"A worker installs dbt {version}. It takes a minute or some.")
    return _back(membership)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
@for_superusers
def dbt_remove(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Let a worker remove a dbt version."""
    name = request.POST.get("name", "")[:255]
    try:
        ask_to_remove(name, by=membership.user.email)
    except ValidationError as refused:
        _refuse(request, refused)
    else:
        messages.success(request, f"A worker removes {name}.")
    return _back(membership)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
@for_superusers
def system_test(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Try the mail or the storage now, and say what came of it in full."""
    if request.POST.get("what") == "mail":
        part = mail.send_to(membership.user.email)
    else:
        part = health.write_and_read()
    say = messages.success if part.well else messages.error
    remedy = "" if part.well else f" {part.remedy}"
    say(request, f"{part.name}: {part.says}"[:LONGEST_MESSAGE] + remedy)
    return _back(membership)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
@for_superusers
def support_bundle(
    request: HttpRequest,  # noqa: ARG001 - a view's signature
    membership: Membership,  # noqa: ARG001 - a view's signature
) -> HttpResponse:
    """A zip for whoever supports the installation. It has no secret in it."""
    audit.record("support_bundle.downloaded", account_id=None)
    response = HttpResponse(bundle(), content_type="application/zip")
    name = f"jobsvc-support-{now():%Y%m%d-%H%M%S}.zip"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def _refuse(request: HttpRequest, refused: ValidationError) -> None:
    for sentence in refused.messages:
        messages.error(request, sentence)


def _back(membership: Membership) -> HttpResponse:
    return redirect("console:system", membership.account_id)
