"""Where "/" and the short addresses lead, and the look of the pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from accounts.setup import is_open
from jobsvc.console.access import LAST_ACCOUNT, member_of_account, seen, sign_in_first
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import State

M = TypeVar("M", bound=Model)

THEMES = ("light", "dark")  # without either, the system's own
THEME_COOKIE = "theme"
THEME_KEPT = timedelta(days=365)


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """To the account last used, or the first; to the sign-in page for who is not signed in, and
    to the setup where nobody could be."""
    if not request.user.is_authenticated:
        return redirect("console:first_owner") if is_open() else sign_in_first(request)
    ids = list(
        Membership.objects.active()
        .filter(user=request.user, account__state=State.ACTIVE)
        .order_by("account_id")
        .values_list("account_id", flat=True)
    )
    if not ids:
        return render(request, "console/no_account.html")
    last = request.session.get(LAST_ACCOUNT)
    return redirect("console:account", last if last in ids else ids[0])


@require_safe
def short_run(request: HttpRequest, run_id: int) -> HttpResponseBase:
    """``/r/7``: the page of run 7, in whichever of the visitor's accounts it is."""
    if not request.user.is_authenticated:
        return sign_in_first(request)
    run = _in_sight(request, Run.objects.filter(pk=run_id))
    return redirect("console:run", run.account_id, run.project_id, run.pk)


@require_safe
def short_job(request: HttpRequest, job_id: int) -> HttpResponseBase:
    """``/j/7``: the page of job 7, in whichever of the visitor's accounts it is."""
    if not request.user.is_authenticated:
        return sign_in_first(request)
    job = _in_sight(request, Job.objects.filter(pk=job_id))
    return redirect("console:job", job.account_id, job.project_id, job.pk)


@require_safe
@member_of_account()
def run_older(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """To the run of the same job before this one; where there is none, back and say so."""
    return _beside(request, membership, project_id, run_id, older=True)


@require_safe
@member_of_account()
def run_newer(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """To the run of the same job after this one; where there is none, back and say so."""
    return _beside(request, membership, project_id, run_id, older=False)


def _beside(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int, *, older: bool
) -> HttpResponse:
    rows = Run.objects.of_account(membership.account_id).filter(project=project_id)
    run = get_object_or_404(rows.only("job_id"), pk=run_id)
    others = seen(membership, rows.filter(job=run.job_id))
    found = (
        others.filter(pk__lt=run_id).order_by("-pk")
        if older
        else others.filter(pk__gt=run_id).order_by("pk")
    )
    other = found.values_list("pk", flat=True).first()
    if other is None:
        messages.info(request, f"This is the {'oldest' if older else 'newest'} run of the job.")
    return redirect("console:run", membership.account_id, project_id, other or run_id)


def _in_sight(request: HttpRequest, rows: QuerySet[M]) -> M:
    """The one of ``rows``, if the visitor is a member of its account who may see it; else 404."""
    row: Any = get_object_or_404(rows.filter(account__state=State.ACTIVE))
    memberships = Membership.objects.active().with_groups()
    membership = memberships.filter(user=request.user, account=row.account_id).first()  # type: ignore[misc]  # somebody who signed in
    if membership is None or not membership.may(Action.READ, row):
        raise Http404
    found: M = row
    return found


@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Keep light or dark in a cookie, so that the page is right before it is first painted."""
    asked = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(asked, {request.get_host()}, request.is_secure())
    response = redirect(asked if safe else "/")
    if (theme := request.POST.get("theme")) in THEMES:
        response.set_cookie(
            THEME_COOKIE,
            theme,
            max_age=THEME_KEPT,
            samesite="Lax",
            secure=request.is_secure(),
            httponly=True,
        )
    else:
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    return response
