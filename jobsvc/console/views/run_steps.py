"""Which step of a run a reader wants to see first."""

from __future__ import annotations

from collections.abc import Sequence

from jobsvc.runs.models import Run, RunStep
from jobsvc.statuses import RunStatus


def speaking_step(run: Run, steps: Sequence[RunStep]) -> RunStep | None:
    """The last step that began; of an ended run the one that failed or built.

    The documentation that a run may write at its end is not what it was for.
    """
    begun = [step for step in steps if step.started_at is not None]
    wanted = begun[-1:]
    if run.is_finished:
        failed = [step for step in steps if step.status == RunStatus.ERROR]
        wanted = failed or [step for step in begun if step.builds][-1:] or wanted
    return next(iter(wanted or steps), None)
