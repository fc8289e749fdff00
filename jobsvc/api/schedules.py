"""A job's ``schedule``: three dialects in, dbt Cloud's own out, and the cron line they mean.

``date`` and ``time`` win over a posted ``cron`` that disagrees: a client that updates a job
posts the old cron beside the new time. The cron line itself is judged by ``jobs.schedule``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import ValidationError

from jobsvc.api.fields import whole_number
from jobsvc.jobs.schedule import line

DATE_TYPES = ("every_day", "days_of_week", "custom_cron", "interval_cron")
CRON_TYPES = ("custom_cron", "interval_cron")  # these carry the cron line themselves
TIME_TYPES = ("every_hour", "at_exact_hours")
ALIASES = {"at_exact_time": "at_exact_hours"}
EVERY_HOUR = {"type": "every_hour", "interval": 1}
MINUTE = re.compile(r"[0-9*/,-]+")

# Shown where a job of a kind that always has a schedule was never given one.
DEFAULT: dict[str, Any] = {
    "cron": "0 * * * *",
    "date": {"type": "every_day"},
    "time": EVERY_HOUR,
}


@dataclass(frozen=True)
class Schedule:
    """A schedule as it is shown back, and what it means.

    Attributes:
        shown: the ``schedule`` of an answer; None where the job has none.
        cron: five fields; empty where the job has none.
        timezone: an IANA name; the cron's fields are its wall clock.
    """

    shown: dict[str, Any] | None
    cron: str
    timezone: str = "UTC"


NONE = Schedule(None, "")


def read_schedule(posted: Any, *, stored_cron: str = "") -> Schedule:
    """What ``posted`` asks for. Null, ``{}`` and an object of nulls ask for nothing.

    Args:
        stored_cron: of the job before this change; its minute is kept where none is posted.

    Raises:
        ValidationError: keyed by the part that is wrong.
    """
    if posted is None:
        return NONE
    if not isinstance(posted, Mapping):
        raise _wrong("", "Give an object with cron, date and time, or null.")
    cron = _cron(posted.get("cron"), "cron")
    date, time = _part(posted, "date"), _part(posted, "time")
    if not (cron or date or time):
        return NONE
    zone = posted.get("timezone") or "UTC"
    if not isinstance(zone, str):
        raise _wrong("timezone", "Give the name of a zone, such as Europe/Berlin.")
    if not (date or time):
        date = {"type": "custom_cron"}
    date_type = str(date.get("type") or "every_day")
    if date_type not in DATE_TYPES:
        raise _wrong("date.type", f"Choose one of {', '.join(DATE_TYPES)}.")

    if date_type in CRON_TYPES:
        meant = _cron(date.get("cron"), "date.cron") or cron
        if not meant:
            raise _wrong("date.cron", "Give a cron line of five fields, such as 0 6 * * 1-5.")
        shown_date: dict[str, Any] = {"type": date_type, "cron": meant}
        shown_time = _unused_time(time)
    else:
        shown_date = _date(date_type, date, cron)
        shown_time = _time(time, cron)
        meant = _line(shown_date, shown_time, cron, stored_cron)
    shown = {"cron": meant, "date": shown_date, "time": shown_time}
    if zone != "UTC":
        shown["timezone"] = zone
    return Schedule(shown, meant, zone)


def _part(posted: Mapping[str, Any], name: str) -> dict[str, Any]:
    """``date`` or ``time``: an object, or (as an older dialect has it) its bare type."""
    part = posted.get(name) or {}
    if isinstance(part, str):
        # What the older dialect does not say of days and hours is in its cron line.
        return {"type": part, "from_cron": True}
    if not isinstance(part, Mapping):
        raise _wrong(name, 'Give an object with a type, such as {"type": "every_day"}.')
    return {key: value for key, value in part.items() if value is not None}


def _date(date_type: str, date: Mapping[str, Any], cron: str) -> dict[str, Any]:
    if date_type == "every_day":
        return {"type": date_type}
    given = _fields(cron)[4].split(",") if date.get("from_cron") and cron else date.get("days")
    days = _numbers(given, lowest=0, highest=6)
    if not days:
        raise _wrong("date.days", "List one or more days, from 0 (Sunday) to 6 (Saturday).")
    return {"type": date_type, "days": days}


def _time(time: Mapping[str, Any], cron: str) -> dict[str, Any]:
    if cron and (not time or time.get("from_cron")):
        return _time_of(_fields(cron)[1])
    time_type = str(time.get("type") or "every_hour")
    time_type = ALIASES.get(time_type, time_type)
    if time_type not in TIME_TYPES:
        raise _wrong("time.type", f"Choose one of {', '.join(TIME_TYPES)}.")
    shown: dict[str, Any] = {"type": time_type, "interval": 1}
    if time_type == "every_hour":
        shown["interval"] = _number(time.get("interval", 1), "time.interval", 1, 23)
    else:
        shown["interval"] = whole_number(time.get("interval", 1)) or 1
        hours = _numbers(time.get("hours"), lowest=0, highest=23)
        if not hours:
            raise _wrong("time.hours", "List one or more hours, from 0 to 23.")
        shown["hours"] = hours
    if "minutes" in time:
        shown["minutes"] = _number(time["minutes"], "time.minutes", 0, 59)
    return shown


def _time_of(hour_field: str) -> dict[str, Any]:
    """The time that the hour field of a cron line says."""
    interval = re.fullmatch(r"\*(?:/([0-9]+))?", hour_field)
    if interval:
        return {
            "type": "every_hour",
            "interval": _number(interval[1] or 1, "time.interval", 1, 23),
        }
    hours = _numbers(hour_field.split(","), lowest=0, highest=23)
    if not hours:
        raise _wrong(
            "time", "The hours of this cron line fit no time. Give date.type custom_cron with it."
        )
    return {"type": "at_exact_hours", "interval": 1, "hours": hours}


def _unused_time(time: Mapping[str, Any]) -> dict[str, Any]:
    """The time beside a cron line, which means nothing: what cannot be read is the default."""
    try:
        return _time({key: part for key, part in time.items() if key != "from_cron"}, "")
    except ValidationError:
        return dict(EVERY_HOUR)


def _line(
    date: Mapping[str, Any], time: Mapping[str, Any], posted_cron: str, stored_cron: str
) -> str:
    minute = time.get("minutes")
    if minute is None:
        minute = next(
            (
                field
                for field in (_fields(posted_cron)[0], _fields(stored_cron)[0])
                if MINUTE.fullmatch(field)
            ),
            "0",
        )
    return line(
        minute=str(minute),
        hours=time["hours"] if time["type"] == "at_exact_hours" else (),
        interval=time["interval"],
        days=date.get("days", ()),
    )


def _fields(cron: str) -> list[str]:
    """The five fields of a cron line; empty ones where it has not five."""
    fields = cron.split()
    return fields if len(fields) == 5 else [""] * 5


def _cron(value: Any, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(place, "Give a cron line as a text, such as 0 6 * * 1-5.")
    return value if value.strip() else ""


def _numbers(value: Any, *, lowest: int, highest: int) -> list[int]:
    """A list of numbers, or one bare; empty where any of them is out of range."""
    items = value if isinstance(value, list) else [value]
    numbers = [None if isinstance(item, bool) else whole_number(item) for item in items]
    good = [number for number in numbers if number is not None and lowest <= number <= highest]
    return good if len(good) == len(items) else []


def _number(value: Any, place: str, lowest: int, highest: int) -> int:
    numbers = _numbers(value, lowest=lowest, highest=highest)
    if len(numbers) != 1:
        raise _wrong(place, f"Give a number from {lowest} to {highest}.")
    return numbers[0]


def _wrong(place: str, message: str) -> ValidationError:
    return ValidationError({".".join(filter(None, ["schedule", place])): message})
