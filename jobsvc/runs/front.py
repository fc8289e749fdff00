"""Let a run that waits have its turn before all others of its account."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Min

from accounts import audit
from jobsvc.runs import queue
from jobsvc.runs.models import LostRace, Run


def move_to_front(run: Run) -> None:
    """Put ``run`` before all that wait in its account, and ring for it.

    What must not overlap a run that goes on still waits for that.

    Raises:
        LostRace: it does not wait any more.
    """
    with transaction.atomic():
        waiting = Run.objects.queued().filter(account=run.account_id)
        lowest = waiting.order_by().aggregate(lowest=Min("rank"))["lowest"]
        if lowest is None or not waiting.filter(pk=run.pk).update(rank=min(lowest, 0) - 1):
            raise LostRace(f"run {run.pk} no longer waits")
        audit.record("run.move_to_front", run, account_id=run.account_id)
        queue.execute(run.pk)
        run.refresh_from_db(fields=["rank"])
