"""A project's documentation at an address that stays: for its people, and for the public."""

from __future__ import annotations

from typing import Any

from csp.constants import SELF
from csp.decorators import csp_update
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.docs_links import close_link, make_link, project_of, text_of
from environments.models import DocsLink, Project
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.views.run_docs import as_docs
from jobsvc.jobs.models import Job
from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.docs import PAGE, documentation_of

OLDER = 20  # runs in the menu


@require_safe
@csp_update({"frame-src": [SELF]})
@member_of_account()
def docs(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """The newest documentation of a project in a frame; ``?run=`` shows an older one."""
    projects = Project.objects.of_account(membership.account_id).active()
    project = get_object_or_404(projects, pk=project_id)
    runs = seen(membership, documentation_of(project)).select_related("job", "environment")
    newest = list(runs[:OLDER])
    shown = newest[0] if newest else None
    if (asked := number(request, "run")) is not None:
        shown = (
            next((run for run in newest if run.pk == asked), None) or runs.filter(pk=asked).first()
        )
        if shown is None:
            raise Http404
    context: dict[str, Any] = {
        "project": project,
        "newest": newest,
        "shown": shown,
        "jobs": _jobs(membership, project) if not newest else [],
        "may_publish": membership.may(Action.WRITE_SETTINGS, project),
    }
    if context["may_publish"]:
        link = DocsLink.objects.filter(project=project).first()
        context["link"] = link
        if link is not None:
            place = reverse("console:docs_public", args=[membership.account_id, project_id])
            query = urlencode({"token": text_of(link)})
            context["address"] = request.build_absolute_uri(f"{place}?{query}")
    return page(request, membership, "console/docs.html", context)


def _jobs(membership: Membership, project: Project) -> list[Job]:
    """The jobs whose next success is shown here; those that could, where none makes any."""
    jobs = Job.objects.of_account(membership.account_id).active().filter(project=project)
    if project.docs_job_id is not None:
        jobs = jobs.filter(pk=project.docs_job_id)
    else:
        jobs = jobs.filter(environment__deployment_type="production")
    jobs = seen(membership, jobs).select_related("environment").order_by("name", "pk")
    return list(jobs.filter(generate_docs=True)[:OLDER]) or list(jobs[:OLDER])


@require_POST
@member_of_account(may=Action.WRITE_SETTINGS)
def docs_link(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Make the public address of a project's documentation, make it anew, or close it."""
    projects = Project.objects.of_account(membership.account_id).active()
    project = get_object_or_404(projects, pk=project_id)
    if not membership.may(Action.WRITE_SETTINGS, project):
        raise PermissionDenied(
            "A public address opens the documentation of the whole project. "
            "Ask somebody who may change all of it."
        )
    if request.POST.get("then") == "close":
        close_link(project)
        messages.success(request, "The documentation is public no more: its address shows nothing.")
    else:
        make_link(project)
        messages.success(
            request, "The documentation has a new public address; an older one shows nothing."
        )
    return redirect("console:docs", membership.account_id, project_id)


@require_safe
def docs_public(request: HttpRequest, account_id: int, project_id: int) -> HttpResponseBase:
    """The newest documentation alone, for whoever has ``?token=``. All else is 404."""
    project = project_of(request.GET.get("token", ""))
    if project is None or (project.account_id, project.pk) != (account_id, project_id):
        raise Http404
    run = documentation_of(project).first()
    try:
        file = open_artifact(run, PAGE) if run else None
    except FileNotFoundError as gone:
        raise Http404 from gone
    if file is None:
        raise Http404
    return as_docs(file)
