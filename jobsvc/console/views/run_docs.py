"""The documentation that a run made: in a frame that reaches nothing of ours."""

from __future__ import annotations

from typing import IO

from csp.constants import SELF
from csp.decorators import csp_update
from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import member_of_account
from jobsvc.console.asked import number
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.jobs.docs import switch_docs_on
from jobsvc.jobs.models import Job
from jobsvc.runs.artifacts import of_run, open_artifact
from jobsvc.runs.docs import PAGE
from jobsvc.statuses import State

# Whoever may push to the repository writes what it says, so it gets an origin of its own, which
# has no cookies and reads nothing of this site. Its framework needs eval and inline scripts.
POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; connect-src data:; frame-ancestors 'self'"
)


@require_safe
@csp_update({"frame-src": [SELF]})
@member_of_account()
def run_docs(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The documentation in a frame, or how one comes to have some."""
    run = run_of(membership, project_id, run_id)
    context = {
        "tab": "docs",
        "has_docs": PAGE in of_run(run),
        "may_switch_on": run.job.state == State.ACTIVE
        and not run.job.generate_docs
        and membership.may(Action.WRITE_JOBS, run.job),
    }
    return run_page(request, membership, "console/run_docs.html", run, context)


@require_safe
@xframe_options_sameorigin
@member_of_account()
def run_docs_page(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponseBase:
    """The page itself, without anything of ours around it; of one step with ``?step=``."""
    run = run_of(membership, project_id, run_id)
    try:
        file = open_artifact(run, PAGE, number(request, "step"))
    except FileNotFoundError as gone:
        raise Http404 from gone
    if file is None:
        raise Http404
    return as_docs(file)


def as_docs(file: IO[bytes]) -> FileResponse:
    """A documentation page as an answer that reaches nothing of this site. It closes ``file``."""
    response = FileResponse(file, content_type="text/html; charset=utf-8")
    response["Content-Security-Policy"] = POLICY
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "private, no-store"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


@require_POST
@member_of_account(may=Action.WRITE_JOBS)
def job_docs_on(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """Let the runs of a job make documentation from now on."""
    jobs = Job.objects.of_account(membership.account_id).active()
    job = switch_docs_on(get_object_or_404(jobs, pk=job_id, project=project_id))
    messages.success(request, "From its next run on, this job makes documentation.")
    return redirect("console:job", membership.account_id, project_id, job.pk)
