"""Planned runs as a calendar that other programs read: iCalendar, RFC 5545."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from django.conf import settings

from jobsvc.console.planned import Planned

LONGEST_LINE = 75  # octets, without the line's end
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
REFRESH = "PT15M"  # how often a program is asked to look again


def calendar(plans: Sequence[Planned], *, name: str, moment: datetime) -> str:
    """``plans`` as one calendar, an event for each planned run, all times in UTC.

    Args:
        name: of the calendar, for people.
        moment: when it was made.
    """
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//jobsvc//schedule//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        f"X-WR-CALNAME:{_text(name)}",
        f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}",
    ]
    for plan in plans:
        for at in plan.moments:
            lines += _event(plan, at, moment)
    lines.append("END:VCALENDAR")
    return "".join(f"{part}\r\n" for line in lines for part in _folded(line))


def _event(plan: Planned, at: datetime, moment: datetime) -> list[str]:
    host = urlsplit(settings.SITE_URL).hostname or "localhost"
    said = [f"Environment: {plan.job.environment}", plan.words]
    if plan.often:
        said.append("It is due more often than is listed here.")
    lines = [
        "BEGIN:VEVENT",
        # The same run has the same name each time the calendar is read.
        f"UID:job-{plan.job.pk}-{_time(at)}@{host}",
        f"DTSTAMP:{_time(moment)}",
        f"DTSTART:{_time(at)}",
    ]
    if plan.usual:
        lines.append(f"DTEND:{_time(at + plan.usual)}")
    return [
        *lines,
        f"SUMMARY:{_text(str(plan.job))}",
        f"DESCRIPTION:{_text(chr(10).join(said))}",
        f"URL:{settings.SITE_URL}{plan.address}",
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
    ]


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(words: str) -> str:
    """``words`` as a value: what would end it or part it is escaped, RFC 5545 3.3.11."""
    plain = CONTROL.sub(" ", words.replace("\r\n", "\n"))
    for letter in ("\\", ";", ","):
        plain = plain.replace(letter, f"\\{letter}")
    return plain.replace("\n", "\\n")


def _folded(line: str) -> Iterator[str]:
    """``line`` in pieces of 75 octets, the later ones after a space; no letter is cut in two."""
    piece, length = "", 0
    for letter in line:
        octets = len(letter.encode(errors="replace"))
        if length + octets > LONGEST_LINE:
            yield piece
            piece, length = " ", 1
        piece, length = piece + letter, length + octets
    yield piece
