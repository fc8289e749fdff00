"""The projects of an account: where each one's code is, and what it still lacks."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.define import clone_from, delete_project
from environments.models import Project
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.forms.projects import ProjectForm
from jobsvc.console.forms.refusals import tell
from jobsvc.statuses import State

FIELDS = {"git_token": "password", "connection_id": "connection", "repository_id": "remote_url"}


def _projects(membership: Membership) -> QuerySet[Project]:
    rows: QuerySet[Project] = Project.objects.of_account(membership.account_id).active()
    rows = seen(membership, rows)
    return rows.select_related("account", "repository", "connection").annotate(
        environments_here=Count(
            "environments", filter=Q(environments__state=State.ACTIVE), distinct=True
        ),
        jobs_here=Count("jobs", filter=Q(jobs__state=State.ACTIVE), distinct=True),
    )


@require_safe
@member_of_account()
def project_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The projects of an account by name, each with what it has and lacks."""
    context = {
        "projects": _projects(membership).order_by("name", "pk"),
        "may_change": membership.access.may_somewhere(Action.WRITE_SETTINGS),
        "may_make": membership.may(Action.WRITE_SETTINGS),
    }
    return page(request, membership, "console/projects.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def project_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make a project."""
    return _edit(request, membership, Project(account=membership.account))


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def project_edit(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Change a project, and see what it still lacks."""
    return _edit(request, membership, get_object_or_404(_projects(membership), pk=project_id))


def _edit(request: HttpRequest, membership: Membership, project: Project) -> HttpResponse:
    is_new, name = project.pk is None, project.name
    form = ProjectForm(request.POST or None, project=project)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            clone_from(form.fill(), typed["remote_url"], password=typed["password"] or None)
        except ValidationError as refused:
            tell(form, refused, FIELDS)
        else:
            messages.success(request, f"{project} is saved.")
            return redirect("console:project_settings", membership.account_id, project.pk)
    context = {"project": None if is_new else project, "name": name, "form": form}
    return page(request, membership, "console/project_edit.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def project_delete(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Ask for the project's name before deleting it with its environments and jobs."""
    project = get_object_or_404(_projects(membership), pk=project_id)
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == project.name.strip():
            delete_project(project)
            messages.success(request, f"{project} is deleted.")
            return redirect("console:projects", membership.account_id)
        wrong = "This is not its name. Type it as it stands above."
    context = {"project": project, "wrong": wrong}
    return page(request, membership, "console/project_delete.html", context)
