"""What a schedule comes to, before it is saved: its words, its next times, and what is odd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from environments.models import Environment
from jobsvc.jobs import schedule
from jobsvc.jobs.advice import Facts, Finding, advise
from jobsvc.jobs.models import Job

TIMES = 5
AROUND = timedelta(hours=3)  # of a clock change, whose runs are told
MOST_AROUND = 4
ABOUT_THE_SCHEDULE = {"schedule_shorter_than_run", "unreadable_cron", "either_day"}


@dataclass(frozen=True)
class Time:
    """One moment of a schedule; ``odd`` says what the clocks do there, empty where nothing."""

    moment: datetime
    local: str
    odd: str


@dataclass(frozen=True)
class Preview:
    """What is shown of a schedule that can be read."""

    words: str
    cron: str
    timezone: str
    times: list[Time]
    change: str
    findings: list[Finding]


def preview(cron: str, timezone: str, *, moment: datetime, usual_seconds: int | None) -> Preview:
    """``cron`` on the clock of ``timezone`` as it goes from ``moment`` on.

    Args:
        usual_seconds: nine in ten of the job's runs take no longer; None where that is unknown.
    """
    job = Job(environment=Environment(), triggers_schedule=True, cron=cron, timezone=timezone)
    facts = Facts(now=moment, usual_seconds=usual_seconds)
    return Preview(
        words=schedule.in_words(cron, timezone),
        cron=cron,
        timezone=timezone,
        times=list(_times(cron, timezone, moment)),
        change=_change(cron, timezone, moment),
        findings=[one for one in advise(job, facts) if one.code in ABOUT_THE_SCHEDULE],
    )


def _times(cron: str, timezone: str, moment: datetime) -> Iterator[Time]:
    zone = ZoneInfo(timezone)
    offset = moment.astimezone(zone).utcoffset()
    for time in islice(schedule.times(cron, after=moment, timezone=timezone), TIMES):
        local = time.astimezone(zone)
        moved = local.utcoffset() != offset
        offset = local.utcoffset()
        yield Time(time, f"{local:%a %Y-%m-%d %H:%M}", "clocks were changed" if moved else "")


def _change(cron: str, timezone: str, moment: datetime) -> str:
    """What the next change of the zone's clocks does to the schedule; empty where nothing."""
    change = schedule.clock_change(timezone, after=moment)
    if change is None:
        return ""
    zone = ZoneInfo(timezone)
    before = (change - timedelta(seconds=1)).astimezone(zone).utcoffset()
    after = change.astimezone(zone).utcoffset()
    way = "forward" if (after or timedelta()) > (before or timedelta()) else "back"
    times = schedule.times(cron, after=change - AROUND, timezone=timezone)
    near = list(takewhile(lambda time: time <= change + AROUND, islice(times, MOST_AROUND + 1)))
    if not near:
        return ""
    said = ", ".join(f"{time.astimezone(zone):%H:%M %Z}" for time in near[:MOST_AROUND])
    more = " …" if len(near) > MOST_AROUND else ""
    day = f"{change.astimezone(zone):%Y-%m-%d}"
    return f"On {day} the clocks there go {way}. Around that hour it runs at {said}{more}."
