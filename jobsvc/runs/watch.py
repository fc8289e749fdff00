"""The watchdog: no run stays in between for ever.

Any number of these may run at once; each step is a guarded UPDATE.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from jobsvc.runs.models import LostRace, Run
from jobsvc.runs.steps import close_steps
from jobsvc.statuses import RunStatus

logger = logging.getLogger(__name__)

WORKER_LOST = (
    "The worker that ran this was lost. Nothing resumes by itself: retry the run when you "
    "have seen what it had built."
)
CANCEL_DEADLINE = timedelta(seconds=60)  # a worker asked to stop a run has this long


def watch() -> list[Run]:
    """End the runs whose worker has gone, or does not obey; return them."""
    lapsed = Q(lease_until__lte=Now()) | Q(lease_until=None)
    deaf = Q(cancel_requested_at__lte=Now() - CANCEL_DEADLINE)
    ended = []
    for run in Run.objects.active().filter(lapsed | deaf).order_by("pk"):
        if _take_away(run, lapsed | deaf):
            ended.append(run)
    return ended


def _take_away(run: Run, still: Q) -> bool:
    """End ``run`` in its worker's stead; the new token fences off its late words."""
    status, message, reason = RunStatus.ERROR, WORKER_LOST, ""
    if run.cancel_requested_at is not None:
        status, message = RunStatus.CANCELLED, f"Cancelled by {run.cancel_requested_by}."
        reason = run.cancel_reason
    try:
        with transaction.atomic():
            run.move_to(
                status, message=message, guard=still, token=run.token + 1, cancel_reason=reason
            )
            close_steps(run)
    except LostRace:
        return False
    logger.warning("run %s was taken from %s: %s", run.pk, run.worker, message)
    return True
