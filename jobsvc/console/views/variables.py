"""The variables of a project: all of them by environment, one of them, many at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments import dotenv, variables
from environments.models import Environment, EnvironmentVariable, Project
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.forms.refusals import tell
from jobsvc.console.forms.variables import ImportForm, VariableForm
from jobsvc.console.views.environments import project_of
from jobsvc.engine.names import is_secret_name
from jobsvc.jobs.models import Job


@dataclass(frozen=True)
class Cell:
    """One place of a variable in the matrix.

    Attributes:
        value: as anybody may see it; None where there is none.
        inherited: it is the project's.
    """

    place: str
    value: str | None
    inherited: bool = False


def _cells(places: list[str], rows: dict[str, EnvironmentVariable]) -> list[Cell]:
    default = rows.get("project")
    cells = []
    for place in places:
        row = rows.get(place)
        shown = row or default
        value = variables.shown(shown) if shown else None
        cells.append(Cell(place, value, inherited=row is None and shown is not None))
    return cells


@require_safe
@member_of_account()
def variable_list(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Every variable of a project: its default, and what each environment makes of it."""
    project = project_of(membership, project_id)
    environments = list(seen(membership, project.environments.active()).order_by("name"))
    values = variables.by_environment(project)
    of_jobs: dict[str, list[tuple[Job, EnvironmentVariable]]] = {}
    its_jobs = seen(membership, Job.objects.active().filter(project=project))
    jobs: dict[int | None, Job] = {**its_jobs.in_bulk()}
    for row in variables.of_jobs(project):
        if row.job_definition_id not in jobs:
            continue
        of_jobs.setdefault(row.name, []).append((jobs[row.job_definition_id], row))
    places = ["project", *(environment.name for environment in environments)]
    context = {
        "project": project,
        "environments": environments,
        "rows": [
            (
                name,
                is_secret_name(name),
                _cells(places, values.get(name, {})),
                [(job, variables.shown(row)) for job, row in of_jobs.get(name, [])],
            )
            for name in sorted({*values, *of_jobs})
        ],
        "may_change": membership.may(Action.WRITE_JOBS, project),
    }
    return page(request, membership, "console/variables.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS, everywhere=True)
def variable_new(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Make a variable, with values at any of its places."""
    project = project_of(membership, project_id)
    return _edit(request, membership, VariableForm(request.POST or None, project=project))


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS, everywhere=True)
def variable_edit(
    request: HttpRequest, membership: Membership, project_id: int, variable_name: str
) -> HttpResponse:
    """Change the values of a variable, or its name."""
    project = _project_with(membership, project_id, variable_name)
    form = VariableForm(request.POST or None, project=project, name=variable_name)
    return _edit(request, membership, form)


def _project_with(membership: Membership, project_id: int, name: str) -> Project:
    """The active project, if it has a variable of this name; else 404."""
    project = project_of(membership, project_id)
    if not EnvironmentVariable.objects.filter(project=project, name=name).exists():
        raise Http404
    return project


def _edit(request: HttpRequest, membership: Membership, form: VariableForm) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        try:
            _save(form)
        except ValidationError as refused:
            tell(form, refused, form.fields_of_places())
        else:
            messages.success(request, f"{form.cleaned_data['name']} is saved.")
            return redirect("console:variables", membership.account_id, form.project.pk)
    context = {"project": form.project, "name": form.called, "form": form}
    return page(request, membership, "console/variable_edit.html", context)


def _save(form: VariableForm) -> None:
    """Set what was changed, all or nothing."""
    project, typed = form.project, form.cleaned_data
    with transaction.atomic():
        variables.set_values(
            project, form.called or typed["name"], form.changes(), new_name=typed["name"]
        )
        if typed.get("job") and typed.get("job_value"):
            variables.set_value(
                project, typed["name"], typed["job_value"], job_definition_id=int(typed["job"])
            )


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS, everywhere=True)
def variable_delete(
    request: HttpRequest, membership: Membership, project_id: int, variable_name: str
) -> HttpResponse:
    """Ask whether to delete a variable with all of its values; do it by POST."""
    project = _project_with(membership, project_id, variable_name)
    if request.method == "POST":
        variables.delete_variable(project, variable_name)
        messages.success(request, f"{variable_name} is deleted.")
        return redirect("console:variables", membership.account_id, project_id)
    rows = EnvironmentVariable.objects.filter(project=project, name=variable_name)
    scopes = Counter(rows.values_list("scope", flat=True))
    context = {"project": project, "name": variable_name, "scopes": scopes}
    return page(request, membership, "console/variable_delete.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS, everywhere=True)
def variable_import(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Set many values at once from the text of a ``.env`` file, all or none."""
    project = project_of(membership, project_id)
    form = ImportForm(request.POST or None, project=project)
    if request.method == "POST" and form.is_valid():
        environment: Environment | None = form.cleaned_data["place"]
        try:
            count = variables.import_values(project, form.values, environment=environment)
        except ValidationError as refused:
            for name, sentences in refused.message_dict.items():
                form.add_error("text", f"{name}: {' '.join(sentences)}")
        else:
            where = environment or "the project"
            messages.success(request, f"{count} {_values(count)} set for {where}.")
            return redirect("console:variables", membership.account_id, project_id)
    context = {"project": project, "form": form}
    return page(request, membership, "console/variable_import.html", context)


def _values(count: int) -> str:
    return "value is" if count == 1 else "values are"


@require_safe
@member_of_account()
def variable_export(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """The project's defaults as a ``.env`` file, or what an environment (``?environment=``)
    makes of them. Secrets are left out."""
    project = project_of(membership, project_id)
    asked = request.GET.get("environment", "")
    environment = None
    if asked:
        pk = int(asked) if asked.isdecimal() and len(asked) < 19 else 0
        places = seen(membership, project.environments.active())
        environment = get_object_or_404(places, pk=pk)
    text = dotenv.written(variables.of_environment(project, environment))
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    name = f"project-{project.pk}" + (f"-environment-{environment.pk}" if environment else "")
    response["Content-Disposition"] = f'attachment; filename="{name}.env"'
    response["Cache-Control"] = "no-store"
    return response
