"""The environments of a project: where its jobs run, with what, and as whom."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments import adapters
from environments.define import (
    DEFAULT_TARGET,
    DEFAULT_THREADS,
    define_environment,
    delete_environment,
    give_credentials,
    give_extended_attributes,
    rotate_credentials,
)
from environments.models import Connection, Credentials, Environment, Project
from environments.reach import try_environment
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.forms.environments import EnvironmentForm, WhereToWriteForm, kind_of
from jobsvc.console.forms.refusals import tell
from jobsvc.console.forms.warehouses import RotateForm, WarehouseForm, label_of
from jobsvc.jobs.models import Job
from jobsvc.runs.graph import graph_of, manifest_of_environment
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus, State

FIELDS = {"type": "kind", "deployment_type": "kind", "custom_branch": "branch"}  # verb to form


def project_of(membership: Membership, project_id: int) -> Project:
    """The active project, or 404."""
    project: Project = get_object_or_404(
        Project.objects.of_account(membership.account_id).active(), pk=project_id
    )
    return project


def _environments(membership: Membership, project_id: int) -> QuerySet[Environment]:
    return (
        seen(membership, Environment.objects.of_account(membership.account_id).active())
        .filter(project=project_id, project__state=State.ACTIVE)
        .select_related("project__account", "project__connection", "connection", "credentials")
        .select_related("extended_attributes")
    )


def _jobs_of(membership: Membership, environment: Environment) -> QuerySet[Job]:
    """What cannot do without it: the jobs that run in it, and those that defer to it."""
    return (
        seen(membership, Job.objects.active())
        .filter(
            Q(environment=environment) | Q(deferring_environment=environment),
            project__account=environment.project.account_id,
        )
        .select_related("project", "environment")
        .order_by("name", "pk")
    )


def _last_success(environment: Any) -> QuerySet[Run]:
    successes = Run.objects.filter(environment=environment, status=RunStatus.SUCCESS)
    return successes.defer("configuration", "isolation", "state_used").order_by("-pk")


@require_safe
@member_of_account()
def environment_list(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """The environments of a project by name, each with when it last worked."""
    project = project_of(membership, project_id)
    rows = list(
        _environments(membership, project_id)
        .annotate(
            jobs_here=Count("jobs", filter=Q(jobs__state=State.ACTIVE), distinct=True),
            variables_here=Count("variables", distinct=True),
            success_id=Subquery(_last_success(OuterRef("pk")).values("pk")[:1]),
        )
        .order_by("name", "pk")
    )
    successes = Run.objects.in_bulk([row.success_id for row in rows if row.success_id])
    context = {
        "project": project,
        "rows": [(row, kind_of(row), successes.get(row.success_id)) for row in rows],
        "may_change": membership.may(Action.WRITE_SETTINGS, project),
    }
    return page(request, membership, "console/environments.html", context)


@require_safe
@member_of_account()
def environment_detail(
    request: HttpRequest, membership: Membership, project_id: int, environment_id: int
) -> HttpResponse:
    """What an environment is made of, who signs in, and what uses it."""
    environment = get_object_or_404(_environments(membership, project_id), pk=environment_id)
    credentials: Credentials | None = environment.credentials
    context = {
        "project": environment.project,
        "environment": environment,
        "kind": kind_of(environment),
        "connection": environment.effective_connection,
        "credentials": credentials,
        "shown": _shown(credentials),
        "others": _others(membership, environment),
        "jobs": list(_jobs_of(membership, environment)),
        "last_success": _last_success(environment).first(),
        "variables": environment.variables.count(),
        "may_change": membership.may(Action.WRITE_SETTINGS, environment),
        **_manifest(environment),
    }
    return page(request, membership, "console/environment.html", context)


def _manifest(environment: Environment) -> dict[str, Any]:
    """The newest manifest, its run, and how many nodes of each type it has."""
    artifact = manifest_of_environment(environment)
    graph = graph_of(artifact) if artifact else None
    return {"manifest": artifact, "graph": graph, "kinds": graph.kinds() if graph else ()}


def _shown(credentials: Credentials | None) -> list[tuple[str, str | None]]:
    """The fields of credentials: label and value, None for a secret's."""
    if credentials is None:
        return []
    plain = [(label_of(name), str(value)) for name, value in sorted(credentials.config.items())]
    return plain + [(label_of(name), None) for name in sorted(credentials.secrets)]


def _others(membership: Membership, environment: Environment) -> QuerySet[Environment] | None:
    """Other environments that sign in with the same credentials."""
    if environment.credentials is None:
        return None
    sharing = seen(membership, environment.credentials.environments.active())
    return sharing.exclude(pk=environment.pk).order_by("name")


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS, everywhere=True)
def environment_new(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Make an environment; who signs in is asked for next."""
    project = project_of(membership, project_id)
    return _edit(request, membership, Environment(project=project))


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def environment_edit(
    request: HttpRequest, membership: Membership, project_id: int, environment_id: int
) -> HttpResponse:
    """Change an environment's settings."""
    environment = get_object_or_404(_environments(membership, project_id), pk=environment_id)
    return _edit(request, membership, environment)


def _edit(request: HttpRequest, membership: Membership, environment: Environment) -> HttpResponse:
    is_new, name = environment.pk is None, environment.name
    form = EnvironmentForm(request.POST or None, environment=environment)
    if request.method == "POST" and form.is_valid():
        try:
            parted = _save(form)
        except ValidationError as refused:
            tell(form, refused, FIELDS)
        else:
            messages.success(request, f"{environment} is saved.")
            if parted:
                messages.warning(
                    request, "Its credentials were for another warehouse. Give those for this one."
                )
            go_on = "environment_credentials" if is_new or parted else "environment"
            if environment.effective_connection is None:
                go_on = "environment"
            ids = (membership.account_id, environment.project_id, environment.pk)
            return redirect(f"console:{go_on}", *ids)
    context = {
        "project": environment.project,
        "environment": None if is_new else environment,
        "name": name,
        "form": form,
    }
    return page(request, membership, "console/environment_edit.html", context)


def _save(form: EnvironmentForm) -> bool:
    """Save what was typed. Returns whether its credentials no longer fit, and are let go."""
    environment = form.fill()
    connection, credentials = environment.effective_connection, environment.credentials
    parted = bool(credentials and connection and credentials.adapter != connection.adapter)
    if parted:
        environment.credentials = None
    with transaction.atomic():
        give_extended_attributes(environment, form.cleaned_data["extended_attributes"])
        define_environment(environment)
    return parted


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def environment_credentials(
    request: HttpRequest, membership: Membership, project_id: int, environment_id: int
) -> HttpResponse:
    """Say who signs in, and where models are built. Secrets go in and never come out."""
    environment = get_object_or_404(_environments(membership, project_id), pk=environment_id)
    ids = (membership.account_id, project_id, environment_id)
    connection = environment.effective_connection
    if connection is None:
        messages.warning(request, "Choose a connection first: it says what signing in takes.")
        return redirect("console:environment_edit", *ids)
    row = _credentials_of(environment, connection)
    if row.pk is not None:
        _refuse_where_others_share(membership, row)
    where, who = _credential_forms(request, row)
    if request.method == "POST" and all([where.is_valid(), who.is_valid()]):
        row.default_schema = where.cleaned_data["schema"]
        row.threads = where.cleaned_data["threads"]
        row.target_name = where.cleaned_data["target_name"]
        try:
            give_credentials(environment, row, who.given)
        except ValidationError as refused:
            tell(where, refused, {"default_schema": "schema"})
        else:
            messages.success(request, f"The credentials of {environment} are saved.")
            return redirect("console:environment", *ids)
    context = {
        "project": environment.project,
        "environment": environment,
        "connection": connection,
        "adapter": adapters.ADAPTERS[connection.adapter],
        "others": _others(membership, environment),
        "where": where,
        "who": who,
    }
    return page(request, membership, "console/environment_credentials.html", context)


def _refuse_where_others_share(membership: Membership, row: Credentials) -> None:
    """Whoever changes credentials changes them for each environment that signs in with them."""
    sharing = row.environments.active()
    if seen(membership, sharing, Action.WRITE_SETTINGS).count() < sharing.count():
        raise PermissionDenied(
            "Other environments sign in with these credentials, and you may not change all of "
            f"those. Ask somebody who may {Action.WRITE_SETTINGS.label} in the whole project."
        )


def _credentials_of(environment: Environment, connection: Connection) -> Credentials:
    """Those that the environment has, else new ones that fit its connection."""
    here: Credentials | None = environment.credentials
    if here is not None and here.adapter == connection.adapter:
        return here
    project = environment.project
    return Credentials(
        account=project.account,
        project=project,
        type=adapters.connection_type(connection.adapter),
        adapter=connection.adapter,
        adapter_version=connection.adapter_version,
        target_name=DEFAULT_TARGET,
        threads=DEFAULT_THREADS,
    )


def _credential_forms(
    request: HttpRequest, row: Credentials
) -> tuple[WhereToWriteForm, WarehouseForm]:
    adapter = adapters.ADAPTERS[row.adapter]
    where = WhereToWriteForm(
        request.POST or None,
        initial={
            "schema": row.default_schema,
            "threads": row.threads,
            "target_name": row.target_name or DEFAULT_TARGET,
        },
    )
    who = WarehouseForm(
        request.POST or None,
        adapter=adapter,
        declared=adapter.credentials,
        judge=adapters.validate_credentials,
        config=row.config,
        secrets=row.secrets,
        prefix="who",
    )
    return where, who


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def environment_rotate(
    request: HttpRequest, membership: Membership, project_id: int, environment_id: int
) -> HttpResponse:
    """Replace the secrets that an environment signs in with, and nothing else."""
    environment = get_object_or_404(_environments(membership, project_id), pk=environment_id)
    ids = (membership.account_id, project_id, environment_id)
    credentials: Credentials | None = environment.credentials
    if credentials is None or not credentials.secrets:
        messages.warning(
            request, f"{environment} signs in without a secret. There is none to rotate."
        )
        return redirect("console:environment", *ids)
    _refuse_where_others_share(membership, credentials)
    form = RotateForm(request.POST or None, names=credentials.secrets)
    if request.method == "POST" and form.is_valid():
        try:
            rotate_credentials(credentials, form.given)
        except ValidationError as refused:
            tell(form, refused)
        else:
            named = " and ".join(label_of(name).lower() for name in form.given)
            messages.success(
                request, f"Runs that start from now on sign in to {environment} by the new {named}."
            )
            return redirect("console:environment", *ids)
    context = {
        "project": environment.project,
        "environment": environment,
        "kind": kind_of(environment),
        "credentials": credentials,
        "user_name": credentials.config.get("username") or credentials.config.get("user") or "",
        "others": _others(membership, environment),
        "form": form,
    }
    return page(request, membership, "console/environment_rotate.html", context)


@require_POST
@member_of_account(may=Action.WRITE_SETTINGS)
def environment_test(
    request: HttpRequest, membership: Membership, project_id: int, environment_id: int
) -> HttpResponse:
    """Check the settings, and knock at the warehouse's port."""
    environment = get_object_or_404(_environments(membership, project_id), pk=environment_id)
    reached = try_environment(environment)
    say = messages.success if reached.success else messages.error
    say(request, reached.message)
    return redirect("console:environment", membership.account_id, project_id, environment_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def environment_delete(
    request: HttpRequest, membership: Membership, project_id: int, environment_id: int
) -> HttpResponse:
    """Ask whether to delete an environment, or say which jobs hold it; do it by POST."""
    environment = get_object_or_404(_environments(membership, project_id), pk=environment_id)
    ids = (membership.account_id, project_id)
    if request.method == "POST":
        try:
            delete_environment(environment)
        except ValidationError as refused:
            for sentence in refused.messages:
                messages.error(request, sentence)
            return redirect("console:environment", *ids, environment_id)
        messages.success(request, f"{environment} is deleted.")
        return redirect("console:environments", *ids)
    context = {
        "project": environment.project,
        "environment": environment,
        "jobs": list(_jobs_of(membership, environment)),
        "variables": environment.variables.count(),
    }
    return page(request, membership, "console/environment_delete.html", context)
