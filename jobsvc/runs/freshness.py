"""How fresh a run found its sources: read from what dbt wrote of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.models import Run

FILE = "sources.json"
LARGEST = 16 * 1024**2  # bytes of it that are read
MOST = 1000  # sources
ORDER = {"runtime error": 0, "error": 1, "warn": 2}  # what a reader looks for comes first


@dataclass(frozen=True)
class SourceFreshness:
    """One source as a run found it.

    Attributes:
        status: dbt's: pass, warn, error, or ``runtime error`` where it could not be asked.
        loaded_at: of its newest row; None where that is not known.
        age: of that row when it was looked at.
        limits: in words, as ``warn after 12 hours, error after 1 day``.
        message: why it could not be asked; empty where it could.
    """

    unique_id: str
    status: str
    loaded_at: datetime | None
    age: timedelta | None
    limits: str
    message: str

    @property
    def name(self) -> str:
        """``shop.orders``, without the type and the package."""
        parts = self.unique_id.split(".")
        return ".".join(parts[2:]) or self.unique_id


def freshness_of(run: Run) -> list[SourceFreshness]:
    """The sources that ``run`` looked at, stale ones first; none where it looked at none."""
    if not run.has_sources_generated:
        return []
    try:
        file = open_artifact(run, FILE)
        if file is None:
            return []
        with file:
            found = json.loads(file.read(LARGEST))
    except (FileNotFoundError, ValueError, RecursionError):
        return []
    entries = found.get("results") if isinstance(found, dict) else None
    sources = list(_sources(entries)) if isinstance(entries, list) else []
    return sorted(sources, key=lambda one: (ORDER.get(one.status, 9), one.unique_id))


def _sources(entries: list[Any]) -> Iterator[SourceFreshness]:
    for entry in entries[:MOST]:
        if isinstance(entry, dict):
            yield SourceFreshness(
                unique_id=_text(entry.get("unique_id")),
                status=_text(entry.get("status")),
                loaded_at=_moment(entry.get("max_loaded_at")),
                age=_age(entry.get("max_loaded_at_time_ago_in_s")),
                limits=_limits(entry.get("criteria")),
                message=_text(entry.get("error") or ""),
            )


def _limits(criteria: object) -> str:
    """``warn after 12 hours, error after 1 day``; empty where dbt was told of none."""
    said = []
    for name, words in (("warn_after", "warn after"), ("error_after", "error after")):
        limit = criteria.get(name) if isinstance(criteria, dict) else None
        if isinstance(limit, dict) and limit.get("count"):
            count, period = _text(limit["count"]), _text(limit.get("period"))
            said.append(f"{words} {count} {period}{'' if count == '1' else 's'}")
    return ", ".join(said)


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _age(seconds: object) -> timedelta | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return timedelta(seconds=seconds) if math.isfinite(seconds) else None
    except OverflowError:
        return None


def _text(found: object) -> str:
    """As any page takes it: a project may leave half a character."""
    return str(found or "").encode(errors="replace").decode()
