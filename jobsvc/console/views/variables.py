"""The variables of a project: all of them by environment, one of them, many at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe

from accounts import audit
from accounts.models import Membership
from accounts.roles import Action
from environments import dotenv, variables
from environments.models import Environment, EnvironmentVariable, Project
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.forms.refusals import tell
from jobsvc.console.forms.variables import ImportForm, VariableForm
from jobsvc.console.views.environments import project_of
from jobsvc.engine.names import LONGEST_NAME, is_secret_name, is_set_here
from jobsvc.jobs.models import Job
from jobsvc.runs.graph import Graph, graph_of, manifest_of_project
from jobsvc.runs.models import Run


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


@dataclass(frozen=True)
class Reader:
    """What of the project's code reads a variable. ``unique_id`` is empty of a macro's."""

    name: str
    kind: str
    unique_id: str = ""


@dataclass(frozen=True)
class Usage:
    """Where the code asks for variables, as far as a manifest tells.

    Attributes:
        run: whose manifest it is.
        users: what reads each variable, by its name.
        unused: variables that nothing reads; what a manifest cannot tell of is not among them.
        undefined: those that are read and have no value: with whether they can be given one.
    """

    run: Run
    users: Mapping[str, Sequence[Reader]]
    unused: frozenset[str]
    undefined: Sequence[tuple[str, Sequence[Reader], bool]]


def _usage(membership: Membership, project: Project, defined: Collection[str]) -> Usage | None:
    """By the newest manifest that this member sees; None where there is none to be read."""
    artifact = manifest_of_project(seen(membership, Run.objects.filter(project=project.pk)))
    graph = graph_of(artifact) if artifact else None
    if graph is None:
        return None
    users = {name: _users(graph, ids) for name, ids in graph.variables.items()}
    missing = sorted(name for name in users if name not in defined and not is_set_here(name))
    return Usage(
        run=graph.run,
        users=users,
        unused=frozenset(
            name
            for name in defined
            # dbt reads secrets in profiles and packages alone, and this service reads that one.
            if name not in users and not is_secret_name(name) and name != variables.TARGET_SCHEMA
        ),
        undefined=[(name, users[name], variables.can_be_named(name)) for name in missing],
    )


def _users(graph: Graph, ids: Sequence[str]) -> list[Reader]:
    found = []
    for one in ids:
        node = graph.nodes.get(one)
        if node is not None:
            found.append(Reader(node.name, node.resource_type.replace("_", " "), one))
        else:
            kind, _dot, name = one.partition(".")
            found.append(Reader(name, kind))
    return found


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
    names = sorted({*values, *of_jobs})
    context = {
        "usage": _usage(membership, project, names),
        "project": project,
        "environments": environments,
        "rows": [
            (
                name,
                is_secret_name(name),
                _cells(places, values.get(name, {})),
                [(job, variables.shown(row)) for job, row in of_jobs.get(name, [])],
            )
            for name in names
        ],
        "may_change": membership.may(Action.WRITE_JOBS, project),
    }
    return page(request, membership, "console/variables.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS, everywhere=True)
def variable_new(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Make a variable, with values at any of its places."""
    project = project_of(membership, project_id)
    form = VariableForm(request.POST or None, project=project)
    form.initial["name"] = request.GET.get("name", "")[:LONGEST_NAME]
    return _edit(request, membership, form)


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
    exported = "environment_variable.exported"
    audit.record(exported, environment or project, account_id=membership.account_id)
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    name = f"project-{project.pk}" + (f"-environment-{environment.pk}" if environment else "")
    response["Content-Disposition"] = f'attachment; filename="{name}.env"'
    response["Cache-Control"] = "no-store"
    return response
