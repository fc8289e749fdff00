"""Cancel a run: at once while it waits, by asking its worker once it is active."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from jobsvc.runs import queue
from jobsvc.runs.models import LostRace, Run, RunTransition
from jobsvc.statuses import ACTIVE, CancelReason, RunStatus


def cancel_run(run: Run, *, by: str, reason: CancelReason = CancelReason.USER) -> Run:
    """Cancel ``run``, or ask its worker to; a finished run is returned as it is.

    Of a run that is over and waits to be retried by itself, the retry is cancelled.

    Args:
        by: who or what cancels, in words: "ana@example.com", "token CI"; of what supersedes the
            run also what it does: "run 12, which builds a newer commit".
    """
    run.refresh_from_db()
    if run.status == RunStatus.QUEUED:
        try:
            run.move_to(RunStatus.CANCELLED, message=in_words(by, reason), cancel_reason=reason)
        except LostRace:
            run.refresh_from_db()  # a worker claimed it meanwhile: ask that worker
        else:
            _tell(run, reason)
            return run
    if run.status in ACTIVE:
        asked = Run.objects.filter(pk=run.pk, status__in=ACTIVE, cancel_requested_at=None).update(
            cancel_requested_at=Now(), cancel_requested_by=by[:255], cancel_reason=reason
        )
        if asked:
            _tell(run, reason)
        run.refresh_from_db()
    if run.is_finished and cancel_retry(run.pk, f"Its retry was cancelled by {by}."):
        _tell(run, reason, "run.retry_cancelled")
        run.refresh_from_db()
    return run


def _tell(run: Run, reason: CancelReason, action: str = "run.cancelled") -> None:
    """Write down that somebody cancelled ``run``; of what the service does, its page tells."""
    if audit.actor().is_somebody:
        why = {"reason": [None, reason.label]}
        audit.record(action, run, account_id=run.account_id, differences=why)


def in_words(by: str, reason: str) -> str:
    """What became of a run that ``by`` cancelled, as ``cancel_run`` was told, for ``reason``."""
    who, which, does = by.partition(", which ")
    if reason == CancelReason.SUPERSEDED and which:
        return f"Superseded: {who} {does}."
    return f"Cancelled by {by}."


def cancel_retry(run_id: int, why: str) -> bool:
    """Let no new run take up run ``run_id`` by itself; False if none was going to.

    With that the run is the last of its attempts after all, so its end is told once more, to
    whoever had passed it over.

    Args:
        why: a sentence for people.
    """
    with transaction.atomic():
        run = Run.objects.select_for_update(no_key=True).get(pk=run_id)
        if run.will_retry_at is None or run.retries.exists():
            return False
        Run.objects.filter(pk=run_id).update(
            will_retry_at=None,
            status_message=f"{run.status_message} {why}".strip(),
            updated_at=Now(),
        )
        RunTransition.objects.filter(run=run_id, to_status=run.status).update(reacted_at=None)
        queue.react()
    return True
