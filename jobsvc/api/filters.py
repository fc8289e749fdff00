"""Query parameters that narrow a list. A table of them stands beside each list.

A parameter is unknown: ignored. Empty: not given. Malformed: nothing matches it, since no GET
may answer 400 (clients take that for "not found"). Lookups are written here by us; a client
never names a column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import QueryDict
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware

from jobsvc.api.fields import whole_number
from jobsvc.statuses import State

M = TypeVar("M", bound=Model)
LONGEST_LIST = 1000  # values of one ``__in``

STATES = {
    "1": State.ACTIVE,
    "active": State.ACTIVE,
    "2": State.DELETED,
    "deleted": State.DELETED,
    "all": None,
}


class _Malformed(ValueError):
    """The text of a filter says nothing."""


@dataclass(frozen=True)
class Filter:
    """Reads a parameter's text and says which lookup it is for."""

    lookup: str
    read: Callable[[str], Any]


def _number(text: Any) -> int:
    value = whole_number(text)
    if value is None:
        raise _Malformed
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _Malformed
    return value


def _truth(text: str) -> bool:
    match text.lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise _Malformed


def _items(text: str) -> list[Any]:
    try:
        value = json.loads(text if text.startswith("[") else f"[{text}]")
    except (ValueError, RecursionError):
        # Lists of bare words, or in Python's quotes.
        value = [part.strip(" '\"") for part in text.strip("[]").split(",") if part.strip()]
    if not isinstance(value, list) or len(value) > LONGEST_LIST:
        raise _Malformed
    return value


def _moment(text: Any) -> datetime:
    """A moment or a date; in UTC unless it says otherwise."""
    try:
        # A plus that was not URL-encoded arrives as a blank.
        found = parse_datetime(_text(text).strip().replace(" 00:00", "+00:00"))
        if found is None:
            raise _Malformed
        return make_aware(found) if is_naive(found) else found
    except (ValueError, OverflowError) as error:
        raise _Malformed from error


def _span(text: str) -> tuple[datetime, datetime]:
    ends = [_moment(part) for part in _items(text)]
    if len(ends) != 2:
        raise _Malformed
    return ends[0], ends[1]


def number(lookup: str) -> Filter:
    return Filter(lookup, _number)


def numbers(lookup: str) -> Filter:
    """``[1,2]``, ``[1, 2]``, ``1,2``."""
    return Filter(f"{lookup}__in", lambda text: [_number(part) for part in _items(text)])


def text(lookup: str) -> Filter:
    return Filter(lookup, _text)


def texts(lookup: str) -> Filter:
    """A JSON list of texts."""
    return Filter(f"{lookup}__in", lambda value: [_text(part) for part in _items(value)])


def truth(lookup: str) -> Filter:
    return Filter(lookup, _truth)


def moment(lookup: str) -> Filter:
    return Filter(lookup, _moment)


def moments(lookup: str) -> Filter:
    """``["from", "to"]``, both ends included; rows without the time are left out."""
    return Filter(f"{lookup}__range", _span)


def narrow(
    rows: QuerySet[M], parameters: QueryDict, table: Mapping[str, Filter]
) -> tuple[QuerySet[M], dict[str, Any]]:
    """``rows`` that fit all parameters, and the parameters that were understood, to be echoed."""
    echoed: dict[str, Any] = {}
    for name, filter_ in (EVERYWHERE | dict(table)).items():
        given = (parameters.get(name) or "").strip()
        if not given:
            continue
        try:
            value = filter_.read(given)
        except _Malformed:
            echoed[name] = given
            rows = rows.none()
            continue
        echoed[name] = given if filter_.lookup.endswith("__range") else value
        rows = rows.filter(**{filter_.lookup: value})
    return rows, echoed


def wanted_state(parameters: QueryDict) -> State | None:
    """The state that ``?state=`` asks for; None is all of them. Default: active."""
    given = (parameters.get("state") or "").strip().lower()
    return STATES.get(given, State.ACTIVE)


# What every list understands.
EVERYWHERE: dict[str, Filter] = {
    "pk": number("pk"),
    "pk__in": numbers("pk"),
    "pk__gt": number("pk__gt"),
    "id__gt": number("pk__gt"),
}
