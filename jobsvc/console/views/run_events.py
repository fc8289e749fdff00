"""What dbt logged in a step, as a table of events that can be filtered by node and level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest

from jobsvc.console.asked import number
from jobsvc.console.log_lines import LEVELS
from jobsvc.console.views.run_steps import speaking_step
from jobsvc.engine.events import DbtEvent
from jobsvc.runs.logs import events
from jobsvc.runs.models import Run, RunStep

PAGE_SIZE = 200  # events
LONGEST_FILTER = 500  # characters
MOST_NODES = 1000  # offered to choose from


@dataclass(frozen=True)
class Row:
    """One event; ``number`` is its place among all of the step, from 1."""

    number: int
    event: DbtEvent
    node: str


def events_of(request: HttpRequest, run: Run, steps: Sequence[RunStep]) -> dict[str, Any]:
    """What ``run_events.html`` shows of the step ``?step=``, else of the one that speaks.

    ``?node=`` and ``?level=`` (of it and of worse ones) and ``?q=`` filter; ``?after=`` is the
    place of the last event that was shown.
    """
    index, level = number(request, "step"), request.GET.get("level", "")
    step = next((s for s in steps if s.index == index), None) or speaking_step(run, steps)
    given = {
        "step": str(step.index) if step and index is not None else "",
        "node": request.GET.get("node", "")[:LONGEST_FILTER],
        "level": level if level in LEVELS else "",
        "q": request.GET.get("q", "").strip()[:LONGEST_FILTER],
    }
    told = list(events(step)) if step else []
    after = number(request, "after") or 0
    found = [
        Row(place, event, _short(event.node))
        for place, event in enumerate(told, start=1)
        if _is_wanted(event, given)
    ]
    left = [row for row in found if row.number > after]
    shown = left[:PAGE_SIZE]
    filled = {name: text for name, text in given.items() if text}
    query = urlencode({"stream": "events"} | filled)
    return {
        "step": step,
        "given": given,
        "is_filtered": bool(filled.keys() - {"step"}),
        "rows": shown,
        "number": len(told),
        "found_number": len(found),
        "nodes": _nodes(told),
        "more": f"?{query}&after={shown[-1].number}" if len(left) > PAGE_SIZE else "",
        "first": f"?{query}" if after else "",
    }


def _is_wanted(event: DbtEvent, given: dict[str, str]) -> bool:
    if given["node"] and event.node != given["node"]:
        return False
    if given["level"] and _rank(event.level) < _rank(given["level"]):
        return False
    return given["q"].lower() in f"{event.name} {event.code} {event.text}".lower()


def _rank(level: str) -> int:
    """How much an event of ``level`` matters; a word that is new to us counts like ``info``."""
    return LEVELS.index(level) if level in LEVELS else LEVELS.index("info")


def _nodes(told: Sequence[DbtEvent]) -> list[tuple[str, str]]:
    """Each node that an event is about: its id and its name, by name."""
    ids = dict.fromkeys(event.node for event in told if event.node)
    return sorted(((one, _short(one)) for one in ids), key=lambda pair: pair[1])[:MOST_NODES]


def _short(unique_id: str) -> str:
    """``model.shop.orders`` without the package: ``model orders``."""
    kind, _dot, rest = unique_id.partition(".")
    return f"{kind} {rest.partition('.')[2] or rest}".strip()
