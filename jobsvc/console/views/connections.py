"""Connections: how to reach a warehouse, without saying as whom."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments import adapters
from environments.define import define_connection, delete_connection
from environments.models import Connection, Environment, Project
from environments.reach import try_connection
from jobsvc.console.access import member_of_account, page
from jobsvc.console.forms.projects import ConnectionForm
from jobsvc.console.forms.refusals import tell
from jobsvc.console.forms.warehouses import WarehouseForm, label_of
from jobsvc.statuses import State


def _kinds() -> list[tuple[str, str]]:
    """What may be connected to: the API's word, and the name. The last is anything else."""
    declared = [(one.versions[0], one.title) for one in adapters.ADAPTERS.values() if not one.free]
    free = [
        (version, adapters.profile_type(version, {}).capitalize())
        for version, adapter in adapters.VERSIONS.items()
        if adapter == "custom" and version != "custom_v0"
    ]
    return [*sorted(declared + free, key=lambda one: one[1]), ("custom_v0", "Another adapter")]


def _title(connection: Connection) -> str:
    """The name of the warehouse's kind."""
    if connection.adapter == "custom":
        return adapters.profile_type(connection.adapter_version, connection.config)
    return adapters.ADAPTERS[connection.adapter].title


def _place(connection: Connection) -> str:
    """Where the warehouse is, in its own terms: a host, a file, an account."""
    config = connection.config
    names = ("hostname", "host", "account", "project_id", "path")
    return next((str(config[name]) for name in names if config.get(name)), "")


def _connections(membership: Membership) -> QuerySet[Connection]:
    rows: QuerySet[Connection] = Connection.objects.of_account(membership.account_id).active()
    return rows.select_related("account")


def _users_of(connection: Connection) -> tuple[list[Environment], list[Project]]:
    """What cannot do without it."""
    environments = connection.environments.active().select_related("project").order_by("name")
    projects = connection.account.projects.active().filter(connection=connection)
    return list(environments), list(projects.order_by("name"))


@require_safe
@member_of_account(everywhere=True)
def connection_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The connections of an account by name, with how many environments use each."""
    in_use = Count("environments", filter=Q(environments__state=State.ACTIVE))
    rows = _connections(membership).annotate(environments_here=in_use).order_by("name", "pk")
    context = {
        "rows": [(row, _title(row), _place(row)) for row in rows],
        "may_change": membership.may(Action.WRITE_SETTINGS),
    }
    return page(request, membership, "console/connections.html", context)


@require_safe
@member_of_account(everywhere=True)
def connection_detail(
    request: HttpRequest, membership: Membership, connection_id: int
) -> HttpResponse:
    """How one warehouse is reached, and what uses the connection."""
    connection = get_object_or_404(_connections(membership), pk=connection_id)
    environments, projects = _users_of(connection)
    context = {
        "connection": connection,
        "title": _title(connection),
        "shown": [(label_of(name), value) for name, value in connection.config.items()],
        "secrets": [label_of(name) for name in sorted(connection.secrets)],
        "environments": environments,
        "projects": projects,
        "may_change": membership.may(Action.WRITE_SETTINGS),
    }
    return page(request, membership, "console/connection.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def connection_new(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Choose a kind of warehouse; then (``?adapter=``) say how to reach one."""
    version = request.GET.get("adapter")
    if version is None:
        return page(request, membership, "console/connection_kinds.html", {"kinds": _kinds()})
    if version not in adapters.VERSIONS:
        raise Http404
    connection = Connection(
        account=membership.account, adapter_version=version, adapter=adapters.VERSIONS[version]
    )
    if connection.adapter == "custom":
        connection.config = {"type": adapters.profile_type(version, {})}
    return _edit(request, membership, connection)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def connection_edit(
    request: HttpRequest, membership: Membership, connection_id: int
) -> HttpResponse:
    """Change how a warehouse is reached."""
    connection = get_object_or_404(_connections(membership), pk=connection_id)
    return _edit(request, membership, connection)


def _edit(request: HttpRequest, membership: Membership, connection: Connection) -> HttpResponse:
    is_new, name, title = connection.pk is None, connection.name, _title(connection)
    form = ConnectionForm(request.POST or None, initial={"name": name})
    adapter = adapters.ADAPTERS[connection.adapter]
    how = WarehouseForm(
        request.POST or None,
        adapter=adapter,
        declared=adapter.config,
        judge=adapters.validate_config,
        config=connection.config,
        secrets=connection.secrets,
        prefix="how",
    )
    if request.method == "POST" and all([form.is_valid(), how.is_valid()]):
        connection.name = form.cleaned_data["name"]
        try:
            define_connection(connection, how.given)
        except ValidationError as refused:
            tell(form, refused)
        else:
            messages.success(request, f"{connection} is saved. Test tries whether it answers.")
            return redirect("console:connection", membership.account_id, connection.pk)
    context = {
        "connection": None if is_new else connection,
        "name": name,
        "title": title,
        "form": form,
        "how": how,
    }
    return page(request, membership, "console/connection_edit.html", context)


@require_POST
@member_of_account(may=Action.WRITE_SETTINGS)
def connection_test(
    request: HttpRequest, membership: Membership, connection_id: int
) -> HttpResponse:
    """Check the settings, and knock at the warehouse's port."""
    connection = get_object_or_404(_connections(membership), pk=connection_id)
    reached = try_connection(connection.adapter, {**connection.config, **connection.secrets})
    say = messages.success if reached.success else messages.error
    say(request, reached.message)
    return redirect("console:connection", membership.account_id, connection_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def connection_delete(
    request: HttpRequest, membership: Membership, connection_id: int
) -> HttpResponse:
    """Ask whether to delete a connection, or say what holds it; do it by POST."""
    connection = get_object_or_404(_connections(membership), pk=connection_id)
    if request.method == "POST":
        try:
            delete_connection(connection)
        except ValidationError as refused:
            for sentence in refused.messages:
                messages.error(request, sentence)
            return redirect("console:connection", membership.account_id, connection_id)
        messages.success(request, f"{connection} is deleted.")
        return redirect("console:connections", membership.account_id)
    environments, projects = _users_of(connection)
    context = {"connection": connection, "environments": environments, "projects": projects}
    return page(request, membership, "console/connection_delete.html", context)
