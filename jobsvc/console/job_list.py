"""The list of a project's jobs: what a row shows, which rows are asked for, and their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.timezone import now

from environments.models import Environment
from jobsvc.console.asked import number
from jobsvc.console.pictures.strip import run_strip
from jobsvc.console.recent import last_runs, spread_of, usual_lengths
from jobsvc.jobs.extensions import Pause
from jobsvc.jobs.models import Job, JobType
from jobsvc.runs.models import Run
from jobsvc.statuses import FINISHED, RunStatus

STRIP = 24  # runs in the picture beside each job
SPREAD = 20  # that say how far apart they are
LONGEST_WORD = 100  # characters that are looked for
KIND_WORDS = {
    JobType.SCHEDULED.value: "Deploy",
    JobType.OTHER.value: "Deploy",
    JobType.CI.value: "Pull requests",
    JobType.MERGE.value: "Merges",
    JobType.ADAPTIVE.value: "Adaptive",
}


@dataclass(frozen=True)
class Row:
    """One job.

    Attributes:
        last: its newest run; None before the first.
        ended: the newest that is over.
        usual: how long its runs take.
        spread: how far from that nine in ten are.
    """

    job: Job
    last: Run | None
    ended: Run | None
    strip: SafeString
    usual: timedelta | None
    spread: timedelta | None

    @property
    def kind(self) -> str:
        return KIND_WORDS[self.job.job_type]

    @property
    def pause(self) -> Pause | None:
        """The rest of its schedule; one that is over is none."""
        pause = self.job.extended.pause
        return None if pause and pause.until and pause.until <= now() else pause

    @property
    def fails(self) -> bool:
        return self.ended is not None and self.ended.status == RunStatus.ERROR

    @property
    def rests(self) -> bool:
        return self.pause is not None or self.job.deactivated


STATUSES: dict[str, tuple[str, Callable[[Row], bool]]] = {
    "failing": ("Failing", lambda row: row.fails),
    "success": ("Successful", lambda row: row.ended is not None and not row.fails),
    "running": ("Running", lambda row: row.last is not None and row.last.status not in FINISHED),
    "paused": ("Paused or switched off", lambda row: row.rests),
    "never": ("Never ran", lambda row: row.last is None),
}
FAR = timedelta(days=36500)


def _next(row: Row) -> tuple[datetime, str]:
    return row.job.starts_next_at or now() + FAR, row.job.name


def _newest_failure_first(row: Row) -> tuple[bool, float, str]:
    ended = row.ended.finished_at if row.fails and row.ended else None
    return not row.fails, -(ended.timestamp() if ended else 0.0), row.job.name.lower()


ORDERS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "failing": ("Failing first", _newest_failure_first),
    "name": ("Name", lambda row: row.job.name.lower()),
    "next": ("Next run", _next),
    "last": ("Last run", lambda row: -(row.last.pk if row.last else 0)),
}


@dataclass(frozen=True)
class Asked:
    """What the address asks for; what it says that means nothing is left out."""

    words: str
    environment: int | None
    kind: str
    status: str
    order: str

    @property
    def filters(self) -> bool:
        return bool(self.words or self.environment or self.kind or self.status)


def asked_for(request: HttpRequest) -> Asked:
    def one_of(name: str, known: Iterable[str]) -> str:
        given = request.GET.get(name, "")
        return given if given in known else ""

    return Asked(
        words=request.GET.get("q", "").replace("\x00", "")[:LONGEST_WORD].strip(),
        environment=number(request, "env"),
        kind=one_of("type", KIND_WORDS.values()),
        status=one_of("status", STATUSES),
        order=one_of("sort", ORDERS) or "failing",
    )


def rows_of(jobs: list[Job], asked: Asked) -> list[Row]:
    """``jobs`` as rows, those that are asked for, in the order that is asked for."""
    runs, usual = last_runs(jobs, STRIP), usual_lengths(jobs)
    rows = []
    for job in jobs:
        of_job = runs.get(job.pk, [])
        over = [run for run in of_job if run.status in FINISHED]
        row = Row(
            job=job,
            last=of_job[-1] if of_job else None,
            ended=over[-1] if over else None,
            strip=run_strip(of_job, room=STRIP),
            usual=usual.get(job.pk),
            spread=spread_of(over[-SPREAD:]),
        )
        if _matches(row, asked):
            rows.append(row)
    return sorted(rows, key=ORDERS[asked.order][1])


def _matches(row: Row, asked: Asked) -> bool:
    job = row.job
    text = " ".join([job.name, job.description, *job.extended.tags]).lower()
    return (
        all(word in text for word in asked.words.lower().split())
        and asked.environment in {None, job.environment_id}
        and asked.kind in {"", row.kind}
        and (not asked.status or STATUSES[asked.status][1](row))
    )


def choices(environments: Iterable[Environment]) -> dict[str, Any]:
    """What the filters offer."""
    return {
        "environments": list(environments),
        "kinds": sorted(set(KIND_WORDS.values())),
        "statuses": [(name, words) for name, (words, _matches) in STATUSES.items()],
        "orders": [(name, words) for name, (words, _key) in ORDERS.items()],
    }
