"""How each status is shown, the same everywhere: a glyph, a word and a colour; and durations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from jobsvc.runs.models import NodeResult, Run, RunStep
from jobsvc.statuses import RunStatus


@dataclass(frozen=True)
class Look:
    """How a status is shown: never by its colour alone."""

    glyph: str
    word: str
    tone: str  # a class of console.css; a mail has a colour for each


LOOKS = {
    RunStatus.QUEUED: Look("◷", "Queued", "mut"),
    RunStatus.STARTING: Look("◔", "Starting", "run"),
    RunStatus.RUNNING: Look("◐", "Running", "run"),
    RunStatus.SUCCESS: Look("✓", "Success", "ok"),
    RunStatus.ERROR: Look("✕", "Error", "err"),
    RunStatus.CANCELLED: Look("⊘", "Cancelled", "mut"),
}
WARNED = Look("!", "Success with warnings", "warn")
SKIPPED = Look("—", "Skipped", "mut")
WAITING = Look("○", "Waiting", "mut")  # a step before its turn; only a run is in a queue

# By dbt's own words for what became of a node.
NODE_LOOKS = {
    "running": Look("◐", "Running", "run"),
    "success": Look("✓", "Success", "ok"),
    "pass": Look("✓", "Pass", "ok"),
    "warn": Look("!", "Warn", "warn"),
    "error": Look("✕", "Error", "err"),
    "runtime error": Look("✕", "Error", "err"),
    "fail": Look("✕", "Fail", "err"),
    "partial success": Look("✕", "Partial success", "err"),
    "skipped": SKIPPED,
    "no-op": Look("·", "No-op", "mut"),
    "reused": Look("↺", "Reused", "mut"),
    "cancelled": Look("⊘", "Cancelled", "mut"),
}


def look(thing: Run | RunStep) -> Look:
    """The look of a run or of a step."""
    if isinstance(thing, RunStep) and thing.skipped:
        return SKIPPED
    if isinstance(thing, RunStep) and thing.status == RunStatus.QUEUED:
        return WAITING
    if isinstance(thing, Run) and thing.status == RunStatus.SUCCESS and thing.has_warnings:
        return WARNED
    return LOOKS[RunStatus(thing.status)]


def node_look(node: NodeResult) -> Look:
    """The look of what a step made of a node."""
    return look_of_node(node.status)


def look_of_node(status: str) -> Look:
    """The look of dbt's word for a node; a word that is new to us is shown as it is."""
    return NODE_LOOKS.get(status) or Look("?", status.capitalize(), "mut")


def duration(length: timedelta | None) -> str:
    """``1 m 44 s``, the two largest units; a dash where there is none."""
    if length is None:
        return "—"
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} m {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} m"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
