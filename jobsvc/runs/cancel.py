"""Cancel a run: at once while it waits, by asking its worker once it is active."""

from __future__ import annotations

from django.db.models.functions import Now

from jobsvc.runs.models import LostRace, Run
from jobsvc.statuses import ACTIVE, CancelReason, RunStatus


def cancel_run(run: Run, *, by: str, reason: CancelReason = CancelReason.USER) -> Run:
    """Cancel ``run``, or ask its worker to; a finished run is returned as it is.

    Args:
        by: who or what cancels, in words: "ana@example.com", "token CI", "a newer commit".
    """
    run.refresh_from_db()
    if run.status == RunStatus.QUEUED:
        try:
            run.move_to(RunStatus.CANCELLED, message=f"Cancelled by {by}.", cancel_reason=reason)
        except LostRace:
            run.refresh_from_db()  # a worker claimed it meanwhile: ask that worker
        else:
            return run
    if run.status in ACTIVE:
        Run.objects.filter(pk=run.pk, status__in=ACTIVE, cancel_requested_at=None).update(
            cancel_requested_at=Now(), cancel_requested_by=by[:255], cancel_reason=reason
        )
        run.refresh_from_db()
    return run
