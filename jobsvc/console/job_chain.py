"""What comes before and after a job: the jobs that start it by ending, and those it starts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import UNSEEN
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.statuses import RunStatus, State

FARTHEST = 3  # links away from the job
MOST = 30  # jobs that are shown


@dataclass(frozen=True)
class Member:
    """A job of the chain; ``column`` is how many links it is after the job, less than 0 before.

    Attributes:
        is_open: whether the visitor may look at it.
    """

    job: Job
    column: int
    is_open: bool

    @property
    def name(self) -> str:
        if not self.is_open:
            return UNSEEN
        deleted = self.job.state == State.DELETED
        return f"{self.job.name} (deleted)" if deleted else self.job.name


@dataclass(frozen=True)
class Link:
    """``after`` starts when ``before`` ends in one of ``endings``."""

    before: Member
    after: Member
    endings: str

    @property
    def closes_a_circle(self) -> bool:
        """Whether it leads back: such jobs start each other for ever, and are refused today."""
        return self.before.column >= self.after.column


@dataclass(frozen=True)
class Chain:
    """``cut`` says that there are more jobs than these."""

    members: list[Member]
    links: list[Link]
    cut: bool

    @property
    def has_circle(self) -> bool:
        return any(link.closes_a_circle for link in self.links)


def chain_of(job: Job, membership: Membership) -> Chain | None:
    """The chain around ``job``; None if it stands alone. One query."""
    shown = ("account", "project", "environment", "name", "state")
    columns_of = [f"{side}__{name}" for side in ("job", "upstream") for name in shown]
    triggers = (
        CompletionTrigger.objects.filter(job__account=job.account_id, job__state=State.ACTIVE)
        .select_related("job", "upstream")
        .only("statuses", "job_id", "upstream_id", *columns_of)
        .order_by("pk")
    )
    before, after = defaultdict(list), defaultdict(list)
    jobs = {job.pk: job}
    for one in triggers:
        before[one.job_id].append(one.upstream_id)
        after[one.upstream_id].append(one.job_id)
        jobs |= {one.job_id: one.job, one.upstream_id: one.upstream}
    columns, cut = {job.pk: 0}, False
    for ways, step in ((before, -1), (after, 1)):
        cut |= _walk(job.pk, ways, step, columns)
    if len(columns) == 1:
        return None
    members = {
        pk: Member(jobs[pk], column, membership.may(Action.READ, jobs[pk]))
        for pk, column in columns.items()
    }
    links = [
        Link(members[one.upstream_id], members[one.job_id], _in_words(one.statuses))
        for one in triggers
        if one.upstream_id in members and one.job_id in members
    ]
    return Chain(sorted(members.values(), key=lambda one: (one.column, one.name)), links, cut)


def _walk(start: int, ways: Mapping[int, list[int]], step: int, columns: dict[int, int]) -> bool:
    """Number the jobs that ``ways`` lead to; whether some were left out."""
    here = [start]
    for distance in range(1, FARTHEST + 1):
        there = [pk for at in here for pk in dict.fromkeys(ways.get(at, ())) if pk not in columns]
        there = list(dict.fromkeys(there))
        room = max(0, MOST - len(columns))
        columns.update((pk, step * distance) for pk in there[:room])
        if len(there) > room:
            return True
        here = there
    return any(pk not in columns for at in here for pk in ways.get(at, ()))


def _in_words(statuses: Iterable[int]) -> str:
    return " or ".join(RunStatus(status).label.lower() for status in statuses)
