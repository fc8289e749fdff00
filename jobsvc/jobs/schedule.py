"""Cron: when a job runs next, and in words. The only reader of cron expressions."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

FIELDS = 5  # minute, hour, day of month, month, day of week


class BadSchedule(ValueError):
    """A cron expression or a time zone that cannot be used; the text says why."""


def check(cron: str, timezone: str = "UTC") -> None:
    """Refuse what would never come true.

    Raises:
        BadSchedule: not five fields, a field out of range, no such date, no such zone.
    """
    if timezone not in available_timezones():
        raise BadSchedule(
            f"{timezone!r} is not a time zone. Use an IANA name such as Europe/Berlin or UTC."
        )
    next_time(cron, after=datetime.now(UTC), timezone=timezone)


def next_time(cron: str, *, after: datetime, timezone: str = "UTC") -> datetime:
    """The first moment strictly after ``after`` that ``cron`` names, in UTC.

    Five fields, read as crontab(5) and dbt Cloud read them: when both day fields are
    restricted either may match, and ``L`` is the month's last day. A time of day that a
    clock change skips comes right after the change; one that it repeats comes once;
    ``0 * * * *`` comes every real hour.

    Args:
        after: timezone-aware.
        timezone: IANA name; the fields are this zone's wall clock.

    Raises:
        BadSchedule: not five fields, or a field that no date satisfies.

    Source: man 5 crontab (Debian); docs.getdbt.com, "Deploy jobs", Cron schedule.
    """
    if len(cron.split()) != FIELDS:
        raise BadSchedule(
            f"{cron!r} is not a cron expression. It has five fields: minute, hour, day of month, "
            "month, day of week."
        )
    try:
        return next(CronSim(cron, after.astimezone(ZoneInfo(timezone)))).astimezone(UTC)
    except CronSimError as error:
        raise BadSchedule(
            f"{cron!r} is not a cron expression: {error}. Correct the field, for example "
            "'0 6 * * 1-5'."
        ) from error
    except StopIteration:
        raise BadSchedule(
            f"{cron!r} names a date that never comes. Choose a day that the month has."
        ) from None


def in_words(cron: str, timezone: str = "UTC") -> str:
    """``cron`` as a sentence for people, with its zone; empty where there is no cron."""
    if not cron:
        return ""
    return f"{CronSim(cron, datetime.now(UTC)).explain()} {timezone}"
