"""What runs ring for: a worker for a queued run, somebody for a move nobody has reacted to."""

from __future__ import annotations

from jobsvc import bell


def execute(run_id: int) -> None:
    """Tell a worker to look at a queued run."""
    bell.ring("jobsvc.runs.tasks.execute_run", run_id)


def change_toolchain(change_id: int) -> None:
    """Tell a worker to install or remove a dbt version."""
    bell.ring("jobsvc.runs.tasks.change_toolchain", change_id)


def react() -> None:
    """Tell somebody to look at the transitions nobody has reacted to."""
    bell.ring("jobsvc.runs.tasks.react_to_transitions")
