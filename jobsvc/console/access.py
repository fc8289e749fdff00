"""Who may see a page: people who signed in, in the accounts they are members of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django_htmx.http import HttpResponseClientRedirect

from accounts.models import Membership
from accounts.policy import Spot
from accounts.roles import Action
from environments.models import Environment, Project
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import State

P = ParamSpec("P")
Rows = TypeVar("Rows", bound=QuerySet[Any])
MemberView = Callable[Concatenate[HttpRequest, Membership, P], HttpResponseBase]

LAST_ACCOUNT = "account_id"  # of the session: where "/" leads

# What an address may name that lies in an environment, the nearest first.
IN_AN_ENVIRONMENT: dict[str, tuple[type[Model], str]] = {
    "run_id": (Run, "environment"),
    "job_id": (Job, "environment"),
    "environment_id": (Environment, "pk"),
}
UNSEEN = "(not yours to see)"
ANYWHERE = frozenset({Action.READ, Action.RUN, Action.WRITE_JOBS})


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks, which wants the part of the page that moves, not the whole."""
    return request.headers.get("HX-Request") == "true"


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """To the sign-in page and back again, the whole page even where a fragment was asked for."""
    if is_fragment(request):
        return HttpResponseClientRedirect(reverse("account_login"))
    return redirect_to_login(request.get_full_path())


def member_of_account(
    *, may: Action = Action.READ, everywhere: bool = False
) -> Callable[[MemberView[P]], Callable[..., HttpResponseBase]]:
    """The view gets the visitor's membership of the account that the address names.

    Nobody signed in: to the sign-in page. An account the visitor is no member of, or that is
    gone, and a project, job, run or environment that they may not see: 404, as if it never were.
    A member whom nothing allows ``may`` there: 403. A page of no project is for whoever may read,
    run or write jobs anywhere in the account, and shows what ``seen`` leaves.

    Args:
        everywhere: for a page of no project that only who may do so in all of them sees, and
            for one of a project that only who may do so in all of its environments sees.
            ``WRITE_SETTINGS`` and ``WRITE_ACCOUNT`` are always meant so.
    """

    def decorate(view: MemberView[P]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(
            request: HttpRequest, account_id: int, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return sign_in_first(request)
            membership = (
                Membership.objects.active()
                .filter(user=request.user, account=account_id, account__state=State.ACTIVE)
                .with_groups()
                .select_related("account")
                .first()
            )
            if membership is None:
                raise Http404
            _check(membership, may, kwargs, everywhere=everywhere or may not in ANYWHERE)
            if request.session.get(LAST_ACCOUNT) != membership.account_id:
                request.session[LAST_ACCOUNT] = membership.account_id
            return view(request, membership, *args, **kwargs)

        return guarded

    return decorate


def seen(membership: Membership, rows: Rows, action: Action = Action.READ) -> Rows:
    """Those of ``rows``, which are the account's, that this member may see, or do ``action`` to.

    Every list that crosses projects goes through here; what an address names was checked before.
    """
    return membership.access.rows(rows, action)


def projects_of(membership: Membership) -> list[Project]:
    """The projects in use that this member may see anything of, by name."""
    projects = Project.objects.of_account(membership.account_id).active()
    return list(seen(membership, projects).order_by("name", "pk"))


def veil(membership: Membership, jobs: Iterable[Job]) -> None:
    """Take the names out of what ``jobs`` follow and defer to and this member may not see.

    Only for what is shown: such a row must not be saved.
    """
    for job in jobs:
        elsewhere = [job.deferring_job, job.deferring_environment]
        elsewhere += [one.upstream for one in job.completion_triggers.all()]
        for row in elsewhere:
            if row is not None and not membership.may(Action.READ, row):
                row.name = UNSEEN


def _check(membership: Membership, may: Action, named: Any, *, everywhere: bool) -> None:
    """Refuse what the address names and the member may not see, or may not do this to."""
    access, project_id = membership.access, named.get("project_id")
    if project_id is None:
        allowed = access.may(may) if everywhere else access.may_somewhere(may)
    else:
        spot = _spot(membership, project_id, named)
        if spot is None:  # a page of the project: some environment of it is enough to come in
            if not access.may_somewhere(Action.READ, project_id):
                raise Http404
            whole = access.may(may, Spot(project_id))
            allowed = whole if everywhere else access.may_somewhere(may, project_id)
        else:
            if not access.may(Action.READ, spot):
                raise Http404
            allowed = access.may(may, spot)
    if not allowed:
        raise PermissionDenied(
            f"Your role here, {membership.role}, does not let you {may.label}. "
            f"Ask an owner of {membership.account} for a role that does."
        )


def _spot(membership: Membership, project_id: int, named: Any) -> Spot | None:
    """The environment of what the address names, looked up only where it makes a difference."""
    if not membership.access.is_narrow:
        return Spot(project_id)
    for key, (model, column) in IN_AN_ENVIRONMENT.items():
        if key in named:
            rows = model._default_manager.filter(pk=named[key], project=project_id)
            found = rows.values_list(column, flat=True).first()
            if found is None:
                raise Http404
            return Spot(project_id, found)
    return None


def page(
    request: HttpRequest, membership: Membership, template: str, context: dict[str, Any]
) -> HttpResponse:
    """A page or a fragment of one, with what the shell around it needs."""
    named = request.resolver_match.kwargs if request.resolver_match else {}
    project_id = named.get("project_id")
    shell = {
        "membership": membership,
        "account": membership.account,
        "may_run": membership.access.may_somewhere(Action.RUN, project_id),
        # Asked of the database where it is first needed: rows of several projects say of which.
        "all_projects": SimpleLazyObject(partial(projects_of, membership)),
    }
    response = render(request, template, shell | context)
    # The same address has two faces, and shows what only this person may see.
    response["Vary"] = "HX-Request, Cookie"
    response["Cache-Control"] = "no-store"
    return response
