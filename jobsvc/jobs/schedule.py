"""Cron: when a job runs next, and in words. The only reader of cron expressions.

cronsim matches the fields on a wall clock that knows no zone; what a zone's clock changes make
of that is decided here, because cronsim's own answer is wrong where clocks move by half an hour
(it skips 01:30's second time on Lord Howe) and for a minute step in a fixed hour.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from jobsvc.jobs.models import Job

FIELDS = 5  # minute, hour, day of month, month, day of week
SECOND = timedelta(seconds=1)
ONE_STEPPED = re.compile(r"\b(\w+)-\1/[0-9]+")  # 5-5/2, which cronsim takes for 5/2
LAST_DAY = re.compile(r"(?:^|,)L(?:$|,)")  # the L of the dialect: a day of the month by itself


class BadSchedule(ValueError):
    """A cron expression or a time zone that cannot be used; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The stretch of time in which a schedule names moments; both ends are part of it."""

    start: datetime | None = None
    end: datetime | None = None


ALWAYS = Window()


def check(cron: str, timezone: str = "UTC") -> None:
    """Refuse what would never come true.

    Raises:
        BadSchedule: not five fields, a field out of range, no such date, no such zone.
    """
    if timezone not in _zones():
        raise BadSchedule(
            f"{timezone!r} is not a time zone. Use an IANA name such as Europe/Berlin or UTC."
        )
    next_time(cron, after=datetime.now(UTC), timezone=timezone)


def next_time(cron: str, *, after: datetime, timezone: str = "UTC") -> datetime:
    """The first moment strictly after ``after`` that ``cron`` names, in UTC.

    Five fields, read as crontab(5) and dbt Cloud read them: when both day fields are
    restricted either may match, and ``L`` is the month's last day. Where the hour is fixed, a
    time of day that a clock change skips comes right after the change, and one that it repeats
    comes once, the first time. Where the hour field has ``*`` or a step, every moment counts
    whose wall clock reads so: ``0 * * * *`` comes in both hours of a repeated one, and not in
    one that is skipped.

    Args:
        after: timezone-aware.
        timezone: IANA name; the fields are this zone's wall clock.

    Raises:
        BadSchedule: not five fields, or a field that no date satisfies.

    Source: man 5 crontab (Debian); docs.getdbt.com, "Deploy jobs", Cron schedule.
    """
    _check_dialect(cron)
    try:
        zone = ZoneInfo(timezone)
        found = _next(ONE_STEPPED.sub(r"\1", cron), after.astimezone(UTC), zone)
    except CronSimError as error:
        raise BadSchedule(
            f"{cron!r} is not a cron expression: {error}. Correct the field, for example "
            "'0 6 * * 1-5'."
        ) from error
    except (StopIteration, OverflowError):
        raise BadSchedule(
            f"{cron!r} names a date that never comes. Choose a day that the month has."
        ) from None
    except (ZoneInfoNotFoundError, OSError) as error:
        raise BadSchedule(f"This machine knows no time zone {timezone!r}.") from error
    return found


def times(
    cron: str, *, after: datetime, timezone: str = "UTC", window: Window = ALWAYS
) -> Iterator[datetime]:
    """Every moment that ``cron`` names strictly after ``after`` and inside ``window``, in order.

    Raises:
        BadSchedule: as ``next_time``, when the first is asked for.
    """
    if window.start is not None and after < window.start:
        after = window.start - SECOND / 1000
    while True:
        after = next_time(cron, after=after, timezone=timezone)
        if window.end is not None and after > window.end:
            return
        yield after


def of_job(job: Job, *, after: datetime) -> Iterator[datetime]:
    """Every moment strictly after ``after`` at which ``job`` is due by its schedule, in order.

    Its cron, on the clock of its zone, between its ``active_from`` and ``active_until`` and
    not before the end of its pause; none where it does not run by a schedule.

    Raises:
        BadSchedule: as ``next_time``, when the first is asked for.
    """
    dates, pause = job.extended.schedule, job.extended.pause
    if not (job.cron and job.triggers_schedule) or (pause and pause.until is None):
        return
    starts = [start for start in (dates.active_from, pause and pause.until) if start]
    window = Window(start=max(starts, default=None), end=dates.active_until)
    yield from times(job.cron, after=after, timezone=job.timezone, window=window)


def newest_of_job(job: Job, *, since: datetime, until: datetime, number: int) -> list[datetime]:
    """The newest ``number`` moments of ``of_job`` from ``since`` to ``until``, oldest first.

    A service that was down for a month does not count a month of minutes: it looks back from
    ``until``, further and further, until it has enough.
    """
    span = timedelta(minutes=1)
    while True:
        start = max(since, until - span)
        moments = of_job(job, after=start - SECOND)
        found = deque(takewhile(lambda moment: moment <= until, moments), maxlen=number)
        if len(found) == number or start == since:
            return [moment for moment in found if moment >= since]
        span *= 4


def line(
    *, minute: str = "0", hours: Sequence[int] = (), interval: int = 1, days: Sequence[int] = ()
) -> str:
    """The cron expression of a rhythm: at ``hours``, or every ``interval`` hours, on ``days``.

    Args:
        days: from 0, Sunday, to 6; none are all.
    """
    every = "*" if interval == 1 else f"*/{interval}"
    hour = ",".join(map(str, hours)) or every
    return f"{minute} {hour} * * {','.join(map(str, days)) or '*'}"


def clock_change(timezone: str, *, after: datetime) -> datetime | None:
    """The first moment after ``after``, within a year, at which the zone's clocks are changed."""
    zone = ZoneInfo(timezone)
    for days in range(366):
        low = (after + timedelta(days=days)).astimezone(UTC)
        high = low + timedelta(days=1)
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            return _change(zone, low, high)
    return None


def in_words(cron: str, timezone: str = "UTC") -> str:
    """``cron`` as a sentence for people, with its zone; empty where there is no cron."""
    if not cron:
        return ""
    return f"{CronSim(cron, datetime.now(UTC)).explain()} {timezone}"


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _check_dialect(cron: str) -> None:
    """Refuse what cronsim reads and dbt Cloud does not: six fields, ``5L``, ``LW``, ``L/2``."""
    fields = cron.split()
    if len(fields) != FIELDS:
        raise BadSchedule(
            f"{cron!r} is not a cron expression. It has five fields: minute, hour, day of month, "
            "month, day of week."
        )
    day, weekday = fields[2].upper(), fields[4].upper()
    if ("L" in day and "L" in LAST_DAY.sub("", day)) or "L" in weekday:
        raise BadSchedule(
            f"{cron!r} is not a cron expression: L stands alone, as the day of the month, for the "
            "month's last day. Write for example '0 6 L * *'."
        )


# --- Clock changes -------------------------------------------------------------------------
#
# A wall time is a datetime without a zone: what the clock on the zone's wall reads.


def _next(cron: str, after: datetime, zone: ZoneInfo) -> datetime:
    """The rules of ``next_time``; StopIteration where there is no such moment."""
    local = after.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    hour = cron.split()[1]
    if "*" not in hour and "/" not in hour:
        once = (_once(time, zone) for time in CronSim(cron, wall))
        return next(moment for moment in once if moment > after)

    def first(wall: datetime, after: datetime) -> datetime:
        read = (moment for time in CronSim(cron, wall) for moment in _readings(time, zone))
        return next(moment for moment in read if moment > after)

    found = first(wall, after)
    readings = _readings(wall, zone)
    if len(readings) > 1 and local.fold == 0:
        # The clock will be set back to before ``wall``: what it then reads again may come first.
        change = _change(zone, *readings)
        if found >= change:
            again = change.astimezone(zone).replace(tzinfo=None, fold=0)
            return first(again - SECOND, change - SECOND)
    return found


def _once(wall: datetime, zone: ZoneInfo) -> datetime:
    """The one moment that ``wall`` stands for: its first, or the change that skips it."""
    readings = _readings(wall, zone)
    if readings:
        return readings[0]
    # In a gap, fold 1 counts from the offset after it and fold 0 from the one before: PEP 495.
    return _change(zone, _read(wall, zone, fold=1), _read(wall, zone, fold=0))


def _readings(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """The moments at which the clock reads ``wall``, in order: none, one, or two."""
    moments = {_read(wall, zone, fold=0), _read(wall, zone, fold=1)}
    shown = [moment for moment in moments if moment.astimezone(zone).replace(tzinfo=None) == wall]
    return sorted(shown)


def _read(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first second after ``low`` at which the zone's offset is the one it has at ``high``."""
    offset = high.astimezone(zone).utcoffset()
    while high - low > SECOND:
        middle = low + timedelta(seconds=(high - low) // SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high
