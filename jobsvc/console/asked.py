"""What the query string of a page asks for, read without trust."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.timezone import now

TODAY = "today"
LONGEST_DATE = len("2026-11-21")
LARGEST_NUMBER = 10**18  # what a 64-bit column holds, and more than there will ever be


def number(request: HttpRequest, name: str) -> int | None:
    """A number of the query string; None where it is absent or no number we could have."""
    text = request.GET.get(name, "")
    if not (text.isascii() and text.isdigit()):
        return None
    found = int(text[:20])
    return found if found < LARGEST_NUMBER else None


def moment(text: str, *, end: bool = False) -> datetime | None:
    """``today``, a date or a moment, in UTC; of a date its begin, or the begin of the next day."""
    if text == TODAY:
        text = f"{now().astimezone(UTC):%Y-%m-%d}"
    try:
        if len(text) <= LONGEST_DATE:  # which Django would read as a moment, too
            day = datetime.combine(date.fromisoformat(text), time(), UTC)
            return day + timedelta(days=1) if end else day
        found = parse_datetime(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC) if found else None
    except (ValueError, OverflowError):
        return None
