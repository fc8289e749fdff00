"""The queue: which slots are taken, what waits and why, and who works."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.timezone import now
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Account, Membership
from accounts.roles import Action
from jobsvc.console.access import is_fragment, member_of_account, page, seen
from jobsvc.console.pictures.load import Stretch, every, load, load_area
from jobsvc.console.pictures.slots import slots_gauge
from jobsvc.runs import workers
from jobsvc.runs.front import move_to_front
from jobsvc.runs.models import TURN, LostRace, Run, Worker
from jobsvc.runs.waiting import reasons
from jobsvc.statuses import ACTIVE, State

MOST_LISTED = 200  # of the runs that wait
MOST_COUNTED = 5000  # runs of the last hour, for the picture
HOUR = timedelta(hours=1)
STRETCH = ("created_at", "dequeued_at", "finished_at", "takes_slot")


@dataclass(frozen=True)
class Row:
    """A worker of the list.

    Attributes:
        runs: what it has of this account.
        others: how many it has of other accounts.
    """

    worker: Worker
    is_gone: bool
    runs: Sequence[Run]
    others: int
    bells: Sequence[tuple[str, int | None]]


@require_safe
@member_of_account()
def queue(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Runs at work with who works on them, those that wait in turn, and the workers."""
    account = membership.account
    unfinished = (
        Run.objects.of_account(account.pk)
        .select_related("job", "project", "environment", "trigger")
        .defer("configuration", "isolation", "state_used")
    )
    active = list(seen(membership, unfinished.active().order_by("pk")))
    queued = seen(membership, unfinished.queued().order_by(*TURN))
    waiting = list(queued[: MOST_LISTED + 1])
    number = len(waiting) if len(waiting) <= MOST_LISTED else queued.count()
    waiting = waiting[:MOST_LISTED]
    why = reasons(waiting)
    moment = now()
    # Slots are the account's: those that runs have which this member may not see count as well.
    now_on = _now_on(account)
    mine = [run for run in now_on if run.account_id == account.pk]
    taken = sum(1 for run in mine if run.status in ACTIVE and run.takes_slot)
    lately = load([*_over(account, moment), *map(_stretch, mine)], until=moment)
    places: dict[str, Counter[str]] = defaultdict(Counter)
    for run in [*active, *waiting]:
        places[str(run.environment)]["active" if run.status in ACTIVE else "waiting"] += 1
    context = {
        "active": [(run, _is_silent(run, moment)) for run in active],
        # One that started meanwhile waits for nothing any more.
        "waiting": [(run, why[run.pk]) for run in waiting if run.pk in why],
        "number": number,
        "left_out": number - len(waiting),
        "slots": slots_gauge(taken=taken, allowed=account.run_slots, waiting=number),
        "places": [(name, one["active"], one["waiting"]) for name, one in sorted(places.items())],
        "taken": taken,
        "load": load_area(lately, slots=account.run_slots),
        "five_minutes": every(lately, 5),
        "workers": _workers(active, now_on),
        "may_drain": _may_drain(membership),
        "live": bool(active or waiting),
    }
    template = "console/_queue.html" if is_fragment(request) else "console/queue.html"
    return page(request, membership, template, context)


def _is_silent(run: Run, moment: datetime) -> bool:
    """Whether its worker has not been heard for as long as it may be."""
    return run.lease_until is not None and run.lease_until < moment


def _now_on(account: Account) -> list[Run]:
    """What is at work in the installation, and what waits in the account, a few columns of it."""
    runs = Run.objects.unfinished().filter(Q(account=account) | Q(status__in=ACTIVE))
    return list(
        runs.only(*STRETCH, "account", "status", "worker").order_by("-status", "pk")[:MOST_COUNTED]
    )


def _over(account: Account, moment: datetime) -> list[Stretch]:
    """The account's runs that ended in the last hour, the newest of them."""
    runs = Run.objects.of_account(account.pk).filter(finished_at__gte=moment - HOUR)
    rows = runs.only(*STRETCH).order_by("-finished_at")[:MOST_COUNTED]
    return [_stretch(run) for run in rows]


def _stretch(run: Run) -> Stretch:
    return Stretch(run.created_at, run.dequeued_at, run.finished_at, run.takes_slot)


# --- Workers -----------------------------------------------------------------------------


def _workers(shown: Sequence[Run], now_on: Sequence[Run]) -> list[Row]:
    """All of the installation, with what each has of ``shown``, and how much else it has."""
    mine: dict[str, list[Run]] = defaultdict(list)
    for run in shown:
        mine[_node(run.worker)].append(run)
    ids = {run.pk for run in shown}
    others = Counter(
        _node(run.worker) for run in now_on if run.status in ACTIVE and run.pk not in ids
    )
    rows = Worker.objects.with_silence().order_by("name")
    return [
        Row(
            worker,
            is_gone=worker.is_silent,  # type: ignore[attr-defined] # see with_silence()
            runs=mine.get(worker.name, []),
            others=others[worker.name],
            bells=sorted(worker.bells.items()),
        )
        for worker in rows
    ]


def _node(worker: str) -> str:
    """The name of the worker whose process ``worker`` is."""
    return worker.rpartition(":")[0]


def _may_drain(membership: Membership) -> bool:
    """Workers are the installation's: who is its operator, or owns the only account of it."""
    if membership.user.is_superuser:
        return True
    others = Account.objects.filter(~Q(pk=membership.account_id), state=State.ACTIVE)
    return membership.may(Action.WRITE_ACCOUNT) and not others.exists()


def _worker(membership: Membership, worker_id: int) -> Worker:
    if not _may_drain(membership):
        raise PermissionDenied(
            "Workers serve every account of this installation. Its operator drains and resumes "
            "them; in an installation with one account, so does who may manage that."
        )
    return get_object_or_404(Worker, pk=worker_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account()
def worker_drain(request: HttpRequest, membership: Membership, worker_id: int) -> HttpResponse:
    """Say what draining a worker brings with it; do it by POST."""
    worker = _worker(membership, worker_id)
    if request.method != "POST":
        others = Worker.objects.heard().filter(drained_at=None).exclude(pk=worker.pk)
        context = {
            "worker": worker,
            "busy": Run.objects.active().filter(worker__startswith=f"{worker.name}:").count(),
            "is_last": not any(other.runs_dbt for other in others),
        }
        return page(request, membership, "console/worker_drain.html", context)
    if not worker.runs_dbt:
        messages.error(request, f"{worker} takes no runs, so there is nothing to drain it of.")
    else:
        workers.drain(worker, by=membership.user.email, account_id=membership.account_id)
        messages.success(request, f"{worker} takes no new run.")
    return redirect("console:queue", membership.account_id)


@require_POST
@member_of_account()
def worker_resume(request: HttpRequest, membership: Membership, worker_id: int) -> HttpResponse:
    """Let a drained worker take runs again."""
    worker = _worker(membership, worker_id)
    workers.resume(worker, account_id=membership.account_id)
    messages.success(request, f"{worker} takes runs again.")
    return redirect("console:queue", membership.account_id)


# --- Turns -------------------------------------------------------------------------------


@require_POST
@member_of_account(may=Action.RUN)
def run_front(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """Let a run that waits have its turn before all others of the account."""
    runs = Run.objects.of_account(membership.account_id)
    run = get_object_or_404(runs, pk=run_id, project=project_id)
    try:
        move_to_front(run)
    except LostRace:
        messages.info(request, f"Run #{run.pk} does not wait any more.")
    else:
        messages.success(request, f"Run #{run.pk} is the next to have its turn.")
    return redirect("console:queue", membership.account_id)
