"""A run's ``extensions``: what this service can say of a run beyond dbt Cloud.

Shown at ``runs/{id}/extensions/`` and, where ``include_related`` names ``extensions``, in a
run. Each key is made by one function of ``PARTS``, for all the runs of a page at once:

    def _waiting(runs):                       # → {run id: what is shown}; others show null
        return {run.pk: ... for run in runs}

    PARTS = {"waiting": _waiting, "outcome": of_each(lambda run: run.outcome or None), ...}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from environments.variables import masked
from jobsvc.runs.models import Run
from jobsvc.runs.waiting import reasons

Part = Callable[[Sequence[Run]], Mapping[int, Any]]


def of_each(show: Callable[[Run], Any]) -> Part:
    """A part that each run tells by itself, without a query."""

    def part(runs: Sequence[Run]) -> Mapping[int, Any]:
        return {run.pk: show(run) for run in runs}

    return part


def extensions_of(runs: Sequence[Run]) -> dict[int, dict[str, Any]]:
    """The ``extensions`` of each of ``runs``, by id."""
    parts = {name: part(runs) for name, part in PARTS.items()}
    return {run.pk: {name: part.get(run.pk) for name, part in parts.items()} for run in runs}


def _waiting(runs: Sequence[Run]) -> Mapping[int, Any]:
    """Why a queued run waits; null for all others."""
    return {
        run_id: {
            "reason": waiting.reason,
            "sentence": waiting.sentence,
            "blocked_by": list(waiting.blocked_by),
        }
        for run_id, waiting in reasons(runs).items()
    }


PARTS: Mapping[str, Part] = {
    "waiting": _waiting,
    "variables": of_each(lambda run: masked(run.trigger.variables_override)),
    "cancel_reason": of_each(lambda run: run.cancel_reason or None),
}
