"""What of an account needs somebody: failing jobs, runs that wait long, what could not be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, IntegerField, Min, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from accounts.models import Membership, Token
from accounts.roles import Action
from ci.models import Report
from jobsvc.console.access import seen
from jobsvc.console.templatetags.console import plain
from jobsvc.jobs.models import Job
from jobsvc.notifications.models import WebhookSubscription
from jobsvc.runs.models import Run, Worker
from jobsvc.runs.waiting import Waiting, reasons
from jobsvc.statuses import RunStatus, State

WAITS_LONG = timedelta(minutes=10)
EXPIRES_SOON = timedelta(days=7)
MISSED_LATELY = timedelta(days=1)
REFUSED_LATELY = timedelta(days=7)
MOST = 20  # of each kind
LONGEST_LINE = 240  # characters


@dataclass(frozen=True)
class Failing:
    """A job whose last run failed.

    Attributes:
        line: the first line of the error.
        number: how many of its runs failed in a row.
        since: when the first of these ended.
    """

    run: Run
    line: str
    number: int
    since: datetime


@dataclass(frozen=True)
class Late:
    """A job that was due at ``moment`` and was not started; ``overdue``: nothing has looked."""

    job: Job
    moment: datetime
    overdue: bool


@dataclass(frozen=True)
class Attention:
    """All of it; each part has at most ``MOST``.

    Attributes:
        workers: those that were not heard for longer than they may be silent.
    """

    failing: Sequence[Failing]
    waiting: Sequence[tuple[Run, Waiting]]
    late: Sequence[Late]
    workers: Sequence[Worker]
    webhooks: Sequence[WebhookSubscription]
    reports: Sequence[tuple[Report, str]]
    tokens: Sequence[Token]

    def __bool__(self) -> bool:
        parts = (self.failing, self.waiting, self.late, self.workers)
        return any((*parts, self.webhooks, self.reports, self.tokens))

    @property
    def overdue(self) -> list[Late]:
        """Jobs whose time is over without anything having looked: one cause for all of them."""
        return [one for one in self.late if one.overdue]

    @property
    def missed(self) -> list[Late]:
        return [one for one in self.late if not one.overdue]

    @property
    def switched_off(self) -> list[WebhookSubscription]:
        """Webhooks that nothing is posted to any more because too many posts failed."""
        return [one for one in self.webhooks if not one.active]


def attention(
    membership: Membership, *, queued: Sequence[Run], scheduled: Sequence[Job], moment: datetime
) -> Attention:
    """What needs somebody at ``moment``.

    Args:
        queued: runs that wait and that the member may see, oldest first.
        scheduled: jobs that run by a schedule and that the member may see.
    """
    return Attention(
        failing=_failing(membership),
        waiting=_waiting(queued, moment),
        late=_late(scheduled, moment),
        workers=list(Worker.objects.gone().order_by("seen_at", "pk")[:MOST]),
        webhooks=_webhooks(membership),
        reports=_reports(membership, moment),
        tokens=_tokens(membership, moment),
    )


def first_line(message: str) -> str:
    """The first line of a message that says something."""
    lines = (line.strip() for line in plain(message).splitlines())
    line = next((line for line in lines if line), "")
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def _failing(membership: Membership) -> list[Failing]:
    """By whose last run that ended well or ill: cancelled ones say nothing of the job."""
    ended = Run.objects.filter(job=OuterRef("pk")).filter(
        Q(status=RunStatus.SUCCESS) | Q(status=RunStatus.ERROR, will_retry_at=None)
    )
    last = ended.order_by("-pk").values("pk")[:1]
    visible = seen(membership, Job.objects.of_account(membership.account_id).active())
    jobs = visible.annotate(last=Subquery(last))
    success = Run.objects.filter(job=OuterRef("job"), status=RunStatus.SUCCESS)
    row = (
        Run.objects.filter(job=OuterRef("job"), status=RunStatus.ERROR, will_retry_at=None)
        .filter(pk__gt=Coalesce(Subquery(success.order_by("-pk").values("pk")[:1]), 0))
        .order_by()
        .values("job")
    )
    runs: Any = (  # with what is annotated, which the type does not know
        Run.objects.filter(pk__in=jobs.values("last"), status=RunStatus.ERROR)
        .annotate(
            in_a_row=Subquery(
                row.annotate(number=Count("pk")).values("number"), output_field=IntegerField()
            ),
            since=Subquery(row.annotate(since=Min("finished_at")).values("since")),
        )
        .select_related("project", "job", "environment")
        .defer("configuration", "isolation", "state_used", "built_schemas")
        .order_by("-pk")[:MOST]
    )
    return [Failing(run, first_line(run.status_message), run.in_a_row, run.since) for run in runs]


def _waiting(queued: Sequence[Run], moment: datetime) -> list[tuple[Run, Waiting]]:
    long = [run for run in queued if run.created_at <= moment - WAITS_LONG][:MOST]
    why = reasons(long) if long else {}
    return [(run, why[run.pk]) for run in long if run.pk in why]


def _late(scheduled: Sequence[Job], moment: datetime) -> list[Late]:
    late = []
    for job in scheduled:
        if job.is_overdue(moment) and job.next_run_at is not None:
            late.append(Late(job, job.next_run_at, overdue=True))
        elif job.missed_at is not None and job.missed_at >= moment - MISSED_LATELY:
            late.append(Late(job, job.missed_at, overdue=False))
    return late[:MOST]


def _webhooks(membership: Membership) -> list[WebhookSubscription]:
    """Those whose posts fail, and those that were switched off because they did."""
    broken = Q(active=True, failures__gt=0) | Q(active=False, deactivate_reason__gt="")
    found = WebhookSubscription.objects.of_account(membership.account_id)
    found = found.filter(broken, state=State.ACTIVE)
    return list(seen(membership, found).order_by("name", "pk")[:MOST])


def _reports(membership: Membership, moment: datetime) -> list[tuple[Report, str]]:
    """What a git host did not take of late, newest first."""
    found = (
        Report.objects.filter(
            repository__account=membership.account_id, updated_at__gte=moment - REFUSED_LATELY
        )
        .exclude(error="")
        .select_related("repository", "job")
        .order_by("-updated_at")
    )
    return [(report, first_line(report.error)) for report in seen(membership, found)[:MOST]]


def _tokens(membership: Membership, moment: datetime) -> list[Token]:
    """Tokens that end soon: one's own, and for who manages them those of the account."""
    whose = Q(user=membership.user_id)
    if membership.may(Action.WRITE_ACCOUNT):
        whose |= Q(user=None)
    found = Token.objects.usable().filter(
        whose, account=membership.account_id, expires_at__lte=moment + EXPIRES_SOON
    )
    return list(found.order_by(F("expires_at"))[:MOST])
