"""Retry a run: the page that mails of failures lead to."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import member_of_account, page
from jobsvc.console.views.run_header import retry_plan, run_of, why_no_retry
from jobsvc.runs.retry import RetryRefused, retry_run


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.RUN)
def run_retry(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """Say what a retry would do, or why there is none; do it by POST."""
    run = run_of(membership, project_id, run_id)
    if request.method != "POST":
        context = {"run": run, "why_not": why_no_retry(run), "retry": retry_plan(run)}
        return page(request, membership, "console/run_retry.html", context)
    if not membership.may(Action.RUN, run.job):
        raise PermissionDenied(
            "The job is in another environment now, where your role does not let you start runs. "
            "Ask an owner of the account for one that does."
        )
    try:
        new = retry_run(run, user=membership.user)
    except RetryRefused as refused:
        messages.error(request, str(refused))
    except ValidationError as refused:
        for sentence in refused.messages:
            messages.error(request, sentence)
    else:
        messages.success(request, f"Run #{new.pk} goes on where run #{run.pk} failed.")
        run_id = new.pk
    return redirect("console:run", membership.account_id, project_id, run_id)
