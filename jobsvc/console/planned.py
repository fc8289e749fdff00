"""What the schedules of an account have planned: computed when it is asked for, never stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

from django.core.exceptions import ValidationError
from django.urls import reverse

from accounts.models import Membership
from jobsvc.console.access import seen
from jobsvc.console.pictures.schedule import Line, Mark
from jobsvc.jobs import extensions
from jobsvc.jobs.extensions import Pause
from jobsvc.jobs.models import Job, JobQuerySet
from jobsvc.jobs.schedule import BadSchedule, in_words, of_job
from jobsvc.runs.looks import duration
from jobsvc.statuses import State


@dataclass(frozen=True)
class Planned:
    """One job's moments from now to some end.

    Attributes:
        moments: in order; of a job that is due very often only the first.
        often: there are more of them.
        pause: its schedule rests.
        unreadable: why the schedule names no moments, in words; empty where it can be read.
    """

    job: Job
    moments: Sequence[datetime]
    often: bool
    pause: Pause | None
    usual: timedelta | None
    unreadable: str = ""

    @property
    def words(self) -> str:
        """What its cron says."""
        return "" if self.unreadable else in_words(self.job.cron, self.job.timezone)

    @property
    def address(self) -> str:
        return reverse("console:job", args=[self.job.account_id, self.job.project_id, self.job.pk])

    def line(self, *, with_project: bool = False) -> Line:
        """Its line of the picture, ``with_project`` behind the job's name."""
        name, rests = str(self.job), self._rest()
        if with_project:
            name = f"{name} · {self.job.project}"
        if self.often:
            words = f"{self.words}: too often for marks"
            return Line(name, self.address, always=words, rests=rests)
        marks = [self._mark(moment) for moment in self.moments]
        return Line(name, self.address, marks, rests=rests)

    def _rest(self) -> Mark | None:
        """The pause that is going on, from before whatever is drawn."""
        if self.pause is None:
            return None
        until = self.pause.until
        words = f"until {until.astimezone(UTC):%a %Y-%m-%d %H:%M} UTC" if until else "until resumed"
        end = until or datetime.max.replace(tzinfo=UTC)
        return Mark(datetime.min.replace(tzinfo=UTC), end, f"{self.job}: paused {words}")

    def _mark(self, moment: datetime) -> Mark:
        takes = f", usually {duration(self.usual)}" if self.usual else ""
        words = f"{self.job}: {moment.astimezone(UTC):%a %Y-%m-%d %H:%M} UTC{takes}"
        return Mark(moment, moment + (self.usual or timedelta(0)), words)


def scheduled_jobs(membership: Membership) -> JobQuerySet:
    """The jobs that a member may see and that run by a schedule, also those switched off."""
    return (
        seen(membership, Job.objects.of_account(membership.account_id).active())
        .filter(triggers_schedule=True, project__state=State.ACTIVE)
        .select_related("environment", "project")
        .order_by("name", "pk")
    )


def plan_of(
    job: Job,
    *,
    after: datetime,
    until: datetime,
    most: int,
    usual: Mapping[int, timedelta] | None = None,
) -> Planned:
    """When ``job`` is due after ``after`` and up to ``until``, its first ``most`` times.

    What it has stored may be older than our rules: a schedule that cannot be read is said.
    """
    length = (usual or {}).get(job.pk)
    try:
        pause = extensions.read(job.extensions).pause
        ahead = takewhile(lambda moment: moment <= until, of_job(job, after=after))
        moments = [] if job.deactivated else list(islice(ahead, most + 1))
    except (BadSchedule, ValidationError) as refused:
        said = " ".join(refused.messages) if isinstance(refused, ValidationError) else str(refused)
        return Planned(job, [], often=False, pause=None, usual=length, unreadable=said)
    if pause is not None and pause.until is not None and pause.until <= after:
        pause = None
    return Planned(job, moments[:most], often=len(moments) > most, pause=pause, usual=length)
