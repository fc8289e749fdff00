"""Runs of all projects: found by filters, counted, and those that wait cancelled in bulk."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.models import Project
from jobsvc.console.access import is_fragment, member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.pictures.strip import run_strip
from jobsvc.console.run_filters import LOOKED_THROUGH, PRESETS, RunFilters, choices, read
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import Run
from jobsvc.statuses import FINISHED, RunStatus

PAGE_SIZE = 50  # runs
MOST_NEWER = 100  # newer runs that are counted
MOST_CANCELLED = 200  # by one click
MOST_NAMED = 10  # of the runs that would be cancelled


@require_safe
@member_of_account()
def run_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Runs of all projects, newest first; ``?before=`` is the cursor, the rest are filters."""
    filters = read(request, membership)
    before = number(request, "before")
    of_account = _runs_of(membership)
    looked_to = filters.further(of_account, before=before)
    runs = filters.of(of_account, before=before, down_to=looked_to)
    shown = list(
        runs.select_related(
            "job", "project", "environment", "trigger", "trigger__user", "trigger__api_token"
        ).defer("configuration", "isolation", "state_used", "built_schemas")[: PAGE_SIZE + 1]
    )
    older = shown[PAGE_SIZE - 1].pk if len(shown) > PAGE_SIZE else None
    further = None if older else looked_to
    shown = shown[:PAGE_SIZE]
    newer = _newer(filters, membership, before, shown)
    context: dict[str, Any] = {
        "runs": shown,
        "filters": filters,
        "strip": run_strip(shown[::-1], room=len(shown), which="These") if shown else None,
        "live": any(run.status not in FINISHED for run in shown),
        # The same rows again, whatever was queued meanwhile: nothing moves under the pointer.
        "here": filters.query(before=shown[0].pk + 1) if shown else "",
        "older": filters.query(before=older) if older else "",
        "further": filters.query(before=further) if further else "",
        "looked_through": LOOKED_THROUGH,
        "newer": min(newer, MOST_NEWER),
        "more_newer": newer > MOST_NEWER,
        "queued": sum(1 for run in shown if run.status == RunStatus.QUEUED),
    }
    if is_fragment(request):
        return page(request, membership, "console/_run_rows.html", context)
    projects = seen(membership, Project.objects.of_account(membership.account_id).active())
    context |= {
        "choices": choices(membership),
        "presets": [(one, one.is_of(filters)) for one in PRESETS],
        "emptied_by": filters.emptied_by(of_account) if not shown else [],
        "project": projects.order_by("pk").first() if not shown else None,
    }
    return page(request, membership, "console/runs.html", context)


def _runs_of(membership: Membership, action: Action = Action.READ) -> QuerySet[Run]:
    return seen(membership, Run.objects.of_account(membership.account_id), action)


def _newer(
    filters: RunFilters, membership: Membership, before: int | None, shown: list[Run]
) -> int:
    """How many runs were queued since those on show, counted up to ``MOST_NEWER``."""
    if not (before and shown):
        return 0
    since = _runs_of(membership).filter(pk__gt=shown[0].pk)
    return len(filters.of(since).values_list("pk")[: MOST_NEWER + 1])


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.RUN)
def cancel_queued(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Ask whether to cancel every queued run that the filters find; do it by POST.

    What was queued after the question was asked is left alone, and so is what has started.
    """
    filters = read(request, membership)
    runs = filters.of(_runs_of(membership, Action.RUN).filter(status=RunStatus.QUEUED))
    back = f"{reverse('console:runs', args=[membership.account_id])}{filters.query()}"
    if request.method != "POST":
        found = list(runs.select_related("job")[: MOST_CANCELLED + 1])
        context = {
            "filters": filters,
            "back": back,
            "number": min(len(found), MOST_CANCELLED),
            "more": len(found) > MOST_CANCELLED,
            "named": found[:MOST_NAMED],
            "unnamed": max(0, min(len(found), MOST_CANCELLED) - MOST_NAMED),
            "newest": found[0].pk if found else 0,
        }
        return page(request, membership, "console/runs_cancel.html", context)
    newest = request.POST.get("newest", "")
    asked_of = int(newest) if newest.isascii() and newest.isdigit() and len(newest) < 19 else 0
    wanted = list(runs.filter(pk__lte=asked_of)[:MOST_CANCELLED])
    ended = [cancel_run(run, by=membership.user.email).is_finished for run in wanted]
    if not wanted:
        messages.info(request, "None of these runs waits any more: nothing was cancelled.")
    elif all(ended):
        messages.success(request, f"{_runs(len(ended))} cancelled.")
    else:
        messages.success(
            request,
            f"{_runs(sum(ended))} cancelled; {ended.count(False)} had just started and "
            "are being stopped.",
        )
    return redirect(back)


def _runs(number: int) -> str:
    return "One queued run is" if number == 1 else f"{number} queued runs are"
