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

from ci.models import Report
from ci.report import reports_of
from environments.variables import masked
from jobsvc.api.fields import moment
from jobsvc.runs.compare import changes_of
from jobsvc.runs.models import Run, RunStep, UpstreamEnd
from jobsvc.runs.retry import can_be_forced
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


def _steps(runs: Sequence[Run]) -> Mapping[int, Any]:
    """Of each step, what dbt Cloud's shape has no place for: its policy and its attempts."""
    shown: dict[int, list[dict[str, Any]]] = {run.pk: [] for run in runs}
    for step in RunStep.objects.filter(run__in=runs).order_by("run", "index"):
        shown[step.run_id].append(
            {
                "index": step.index,
                "name": step.label,
                "on_failure": step.on_failure,
                "effective_command": step.effective_command or step.command,
                "exit_code": step.exit_code,
                "message": step.message,
                "attempts": step.attempts,
            }
        )
    return shown


def _retry(run: Run) -> dict[str, Any]:
    """How it stands in a chain of automatic retries, and whether one can be asked for."""
    return {
        "can_be_forced": can_be_forced(run),
        "attempt_number": run.attempt_number,
        "will_retry_at": moment(run.will_retry_at),
    }


def _state(run: Run) -> dict[str, Any] | None:
    """What a run was compared with and deferred to, and why; null where it did neither."""
    return {"run_id": run.deferring_run_id, **run.state_used} if run.state_used else None


def _downstream(runs: Sequence[Run]) -> Mapping[int, Any]:
    """The jobs that watch for a run's end: what that started of each, or why nothing.

    One with neither waits for the other jobs that it is to start after.
    """
    shown: dict[int, list[dict[str, Any]]] = {run.pk: [] for run in runs}
    for end in UpstreamEnd.objects.filter(run__in=runs).order_by("pk"):
        told = {"job_id": end.job_id, "run_id": end.started_id, "note": end.note or None}
        shown[end.run_id].append(told)
    return shown


def told(report: Report) -> dict[str, Any]:
    """One thing that a git host is told, and why it was not, where it was not."""
    return {
        "kind": report.kind,
        "sha": report.sha or None,
        "pull_request_id": report.number,
        "posted_at": moment(report.posted_at),
        "due_at": moment(report.due_at),
        "error": report.error or None,
    }


def _reports(runs: Sequence[Run]) -> Mapping[int, Any]:
    """What a git host is told of a run; nothing of most."""
    found = reports_of(runs)
    return {run.pk: [told(report) for report in found.get(run.pk, ())] for run in runs}


PARTS: Mapping[str, Part] = {
    "state": of_each(_state),
    "waiting": _waiting,
    "variables": of_each(lambda run: masked(run.trigger.variables_override)),
    "cancel_reason": of_each(lambda run: run.cancel_reason or None),
    "outcome": of_each(lambda run: run.outcome or None),
    "has_warnings": of_each(lambda run: run.has_warnings),
    "failure_class": of_each(lambda run: run.failure_class or None),
    "retry": of_each(_retry),
    "caused_by_run_id": of_each(lambda run: run.trigger.caused_by_run_id),
    "downstream": _downstream,
    "steps": _steps,
    "compare_changes": changes_of,
    "reports": _reports,
}
