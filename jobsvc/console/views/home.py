"""Home: is it fine, what runs, what comes next, and how the last days went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Case, CharField, Count, F, OuterRef, Q, Subquery, Sum, When
from django.db.models.functions import Cast, Coalesce, Substr
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import is_fragment, member_of_account, page, seen
from jobsvc.console.attention import attention
from jobsvc.console.lengths import Seconds
from jobsvc.console.pictures.days import Day, days_strip
from jobsvc.console.pictures.schedule import timeline
from jobsvc.console.pictures.slots import slots_gauge
from jobsvc.console.planned import plan_of, scheduled_jobs
from jobsvc.console.recent import usual_lengths
from jobsvc.console.templatetags.console import ran_for
from jobsvc.jobs.models import Job
from jobsvc.runs.models import NodeResult, Run, RunStep
from jobsvc.statuses import ACTIVE, FINISHED, RunStatus

DAYS = 14
AHEAD = timedelta(hours=12)
MOST_MARKS = 24  # of one job in that time
MOST_LISTED = 12  # jobs that are due
MOST_RUNNING = 20
MOST_UNFINISHED = 300  # that are looked at, those at work first


@dataclass(frozen=True)
class GoingOn:
    """A run at work.

    Attributes:
        step: the index of the step that is on, and ``steps`` how many there are; 0 before them.
        nodes: how many nodes of the project it is done with, and ``expected`` how many the job's
            last good run had; 0 where there is none.
        usual: how long the job's runs take; None where none has succeeded.
        percent: of that time, at most 100.
    """

    run: Run
    step: int
    steps: int
    nodes: int
    expected: int
    usual: timedelta | None
    percent: int


@require_safe
@member_of_account()
def home(request: HttpRequest, membership: Membership) -> HttpResponse:
    """What somebody wants to know first. While something waits or runs it asks for itself again."""
    account, moment = membership.account, now()
    unfinished = list(_unfinished(membership)[:MOST_UNFINISHED])
    active = [run for run in unfinished if run.status in ACTIVE]
    queued = [run for run in unfinished if run.status == RunStatus.QUEUED]
    taken = sum(1 for run in active if run.takes_slot)
    scheduled = list(scheduled_jobs(membership))
    days = _days(membership, moment)
    context: dict[str, Any] = {
        "attention": attention(membership, queued=queued, scheduled=scheduled, moment=moment),
        "going_on": _going_on(active[:MOST_RUNNING]),
        "unlisted": max(0, len(active) - MOST_RUNNING),
        "queued": len(queued),
        "more_queued": len(unfinished) == MOST_UNFINISHED,
        "slots": slots_gauge(taken=taken, allowed=account.run_slots, waiting=len(queued)),
        "slots_taken": taken,
        "ahead": _ahead(scheduled, moment),
        "has_schedules": bool(scheduled),
        "days": days[::-1],
        "has_days": any(day.judged or day.cancelled for day in days),
        "is_new": _is_new(membership, days),
        "strip": days_strip(days, address=reverse("console:runs", args=[account.pk])),
        "live": bool(active or queued),
    }
    template = "console/_home.html" if is_fragment(request) else "console/home.html"
    return page(request, membership, template, context)


def _is_new(membership: Membership, days: Sequence[Day]) -> bool:
    """Whether the list of what is to be set up still has something to say to this member."""
    if any(day.succeeded for day in days) or not membership.may(Action.WRITE_SETTINGS):
        return False
    runs = Run.objects.of_account(membership.account_id)
    return not runs.filter(status=RunStatus.SUCCESS).exists()


def _unfinished(membership: Membership) -> Any:
    """Runs at work and then those that wait, each with where its steps and nodes are."""
    steps = RunStep.objects.filter(run=OuterRef("pk")).order_by().values("run")
    nodes = NodeResult.objects.filter(run=OuterRef("pk"), finished_at__isnull=False)
    return (
        seen(membership, Run.objects.of_account(membership.account_id).unfinished())
        .select_related("account", "project", "job", "environment")
        .defer("configuration", "isolation")
        .annotate(
            steps_all=Coalesce(Subquery(steps.annotate(n=Count("pk")).values("n")), 0),
            steps_over=Coalesce(
                Subquery(steps.filter(status__in=FINISHED).annotate(n=Count("pk")).values("n")), 0
            ),
            nodes_done=Coalesce(
                Subquery(nodes.order_by().values("run").annotate(n=Count("pk")).values("n")), 0
            ),
            nodes_expected=Case(
                When(status__in=ACTIVE, then=Coalesce(Subquery(_of_the_last_good_run()), 0)),
                default=0,
            ),
        )
        .order_by("-status", "pk")
    )


def _going_on(active: Sequence[Any]) -> list[GoingOn]:
    if not active:
        return []
    usual = usual_lengths([run.job for run in active])
    found = []
    for run in active:
        length, so_far = usual.get(run.job_id), ran_for(run)
        percent = min(100, int(100 * (so_far / length))) if length and so_far else 0
        step = min(run.steps_over + 1, run.steps_all)
        nodes = (run.nodes_done, run.nodes_expected)
        found.append(GoingOn(run, step, run.steps_all, *nodes, length, percent))
    return found


def _of_the_last_good_run() -> Any:
    """How many nodes the last good run of a run's job had."""
    good = Run.objects.filter(job=OuterRef(OuterRef("job")), status=RunStatus.SUCCESS)
    rows = NodeResult.objects.filter(run=Subquery(good.order_by("-pk").values("pk")[:1]))
    return rows.order_by().values("run").annotate(n=Count("pk")).values("n")


def _ahead(scheduled: Sequence[Job], moment: datetime) -> dict[str, Any]:
    """The next hours: a line of marks, and the jobs by when each is due first."""
    until = moment + AHEAD
    plans = [plan_of(job, after=moment, until=until, most=MOST_MARKS) for job in scheduled]
    lines = [plan.line() for plan in plans if not plan.often]
    listed = sorted(
        (plan for plan in plans if plan.moments), key=lambda plan: (plan.moments[0], plan.job.pk)
    )
    marks = sum(len(line.marks) for line in lines)
    words = f"{marks} run{pluralize(marks)} planned for the next 12 hours"
    picture = timeline(lines, start=moment, end=until, words=words, in_one=True)
    return {
        "picture": picture if marks else None,
        "listed": listed[:MOST_LISTED],
        "left_out": max(0, len(listed) - MOST_LISTED),
    }


def _days(membership: Membership, moment: datetime) -> list[Day]:
    """The last days by UTC, today's the last."""
    today = moment.astimezone(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    rows = (
        seen(membership, Run.objects.of_account(membership.account_id))
        .filter(finished_at__gte=datetime(first.year, first.month, first.day, tzinfo=UTC))
        # Moments are stored, or told, in UTC: their text begins with the day.
        .annotate(day=Substr(Cast("finished_at", CharField()), 1, len("2026-11-21")))
        .order_by()
        .values("day")
        .annotate(
            succeeded=Count("pk", filter=Q(status=RunStatus.SUCCESS)),
            failed=Count("pk", filter=Q(status=RunStatus.ERROR, will_retry_at=None)),
            cancelled=Count("pk", filter=Q(status=RunStatus.CANCELLED)),
            worked=Sum(Seconds(F("finished_at"), F("dequeued_at"))),
        )
    )
    known = {
        row["day"]: Day(
            date.fromisoformat(row["day"]),
            row["succeeded"],
            row["failed"],
            row["cancelled"],
            timedelta(seconds=row["worked"] or 0),
        )
        for row in rows
    }
    dates = [first + timedelta(days=after) for after in range(DAYS)]
    return [known.get(one.isoformat()) or Day(one) for one in dates]
