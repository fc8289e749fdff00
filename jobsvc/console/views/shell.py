"""Where "/" and the short addresses lead, and the look of the pages."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Membership
from jobsvc.console.access import LAST_ACCOUNT, sign_in_first
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import State

THEMES = ("light", "dark")  # without either, the system's own
THEME_COOKIE = "theme"
THEME_KEPT = timedelta(days=365)


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """To the account last used, or the first; to the sign-in page for who is not signed in."""
    if not request.user.is_authenticated:
        return sign_in_first(request)
    ids = list(
        Membership.objects.filter(user=request.user, account__state=State.ACTIVE)
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
    run = get_object_or_404(Run, pk=run_id, account__memberships__user=request.user)
    return redirect("console:run", run.account_id, run.project_id, run.pk)


@require_safe
def short_job(request: HttpRequest, job_id: int) -> HttpResponseBase:
    """``/j/7``: the page of job 7, in whichever of the visitor's accounts it is."""
    if not request.user.is_authenticated:
        return sign_in_first(request)
    job = get_object_or_404(Job, pk=job_id, account__memberships__user=request.user)
    return redirect("console:job", job.account_id, job.project_id, job.pk)


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
