"""The queue: which slots are taken, what waits and why, and who works."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import is_fragment, member_of_account, page
from jobsvc.console.pictures.slots import slots_gauge
from jobsvc.runs.models import Run
from jobsvc.runs.waiting import reasons

MOST_LISTED = 200  # of the runs that wait


@require_safe
@member_of_account()
def queue(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Runs at work with who works on them, and those that wait, first queued first."""
    account = membership.account
    unfinished = (
        Run.objects.of_account(account.pk)
        .select_related("job", "environment", "trigger")
        .defer("configuration", "isolation")
        .order_by("pk")
    )
    active = list(unfinished.active())
    queued = unfinished.queued()
    waiting = list(queued[: MOST_LISTED + 1])
    number = len(waiting) if len(waiting) <= MOST_LISTED else queued.count()
    waiting = waiting[:MOST_LISTED]
    why = reasons(waiting)
    taken = sum(1 for run in active if run.takes_slot)
    moment = now()
    context = {
        "active": [(run, _is_silent(run, moment)) for run in active],
        # One that started meanwhile waits for nothing any more.
        "waiting": [(run, why[run.pk]) for run in waiting if run.pk in why],
        "number": number,
        "left_out": number - len(waiting),
        "slots": slots_gauge(taken=taken, allowed=account.run_slots, waiting=number),
        "taken": taken,
        "live": bool(active or waiting),
    }
    template = "console/_queue.html" if is_fragment(request) else "console/queue.html"
    return page(request, membership, template, context)


def _is_silent(run: Run, moment: datetime) -> bool:
    """Whether its worker has not been heard for as long as it may be."""
    return run.lease_until is not None and run.lease_until < moment
