"""Values on the wire: ids, times, durations, text that may be missing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.timezone import now
from rest_framework import serializers

from jobsvc.api.routes import LARGEST_ID

LARGEST_INTEGER = 2**31 - 1  # of a column of whole numbers


def whole_number(text: Any) -> int | None:
    """The whole number that ``text`` writes in digits, if it is one that a column can hold."""
    if not re.fullmatch(r"\s*-?[0-9]{1,19}\s*", str(text), re.ASCII):
        return None
    number = int(text)
    return number if abs(number) <= LARGEST_ID else None


def moment(value: datetime | None) -> str | None:
    """The one form of all times: UTC, microseconds and offset always, as dbt Cloud writes it.

    ``2026-01-02 02:00:31.000000+00:00``: comparing the texts compares the times.
    """
    return value.astimezone(UTC).isoformat(sep=" ", timespec="microseconds") if value else None


def clock(span: timedelta) -> str:
    """A duration as ``HH:MM:SS``; hours may go beyond 24. Nothing is negative."""
    minutes, seconds = divmod(max(0, int(span.total_seconds())), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def in_words(span: timedelta) -> str:
    """A duration for people, by its two largest units: "2 minutes, 5 seconds"."""
    left = max(0, int(span.total_seconds()))
    said: list[str] = []
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count and len(said) < 2:
            said.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return ", ".join(said) or "0 seconds"


def seen_from_now(value: datetime | None) -> str:
    """A moment for people: "5 minutes ago", "in 2 hours"; empty where there is none."""
    if value is None:
        return ""
    away = value - now()
    words = in_words(abs(away)).split(",", maxsplit=1)[0]
    return f"in {words}" if away > timedelta(0) else f"{words} ago"


class MomentField(serializers.DateTimeField):
    """A time, always in the one form of :func:`moment`."""

    def to_representation(self, value: Any) -> str:
        return moment(value) or ""  # a serializer passes over what is null itself


class IdField(serializers.IntegerField):
    """A number or its digits, from 1 to what a column of ids can hold."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=LARGEST_ID, **options)


class CountField(serializers.IntegerField):
    """A number or its digits, from ``min_value`` (0) to what a column can hold."""

    def __init__(self, *, min_value: int = 0, **options: Any) -> None:
        super().__init__(min_value=min_value, max_value=LARGEST_INTEGER, **options)


class OptionalText(serializers.CharField):
    """Text whose empty form means "not given": versions, branches, selectors."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "allow_null": True, "allow_blank": True} | options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        return value or None


class Nothing(serializers.Field):  # type: ignore[type-arg]  # generic in the stubs alone
    """A key of dbt Cloud's that must be there, and for which this service has no value."""

    def __init__(self, value: Any = None) -> None:
        super().__init__(read_only=True, source="*")
        self.value = value

    def to_representation(self, value: Any) -> Any:
        return self.value
