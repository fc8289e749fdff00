"""Ring for each queued run that could start now."""

from __future__ import annotations

from jobsvc.runs import queue
from jobsvc.runs.models import Run

MOST = 500  # runs looked at in one go; the next sweep sees the rest


def dispatch_queued_runs() -> list[int]:
    """Ring for the queued runs that nothing holds back, first queued first; return their ids.

    No more are rung for than an account has free run slots, and one a concurrency key, so a
    long queue does not fill the broker with bells that nobody can answer.
    """
    rung: list[int] = []
    keys: set[str] = set()
    free: dict[int, int] = {}
    for run in Run.objects.startable().select_related("account")[:MOST]:
        slots: int = run.slots_taken  # type: ignore[attr-defined] # annotated by startable()
        left = free.setdefault(run.account_id, run.account.run_slots - slots)
        if run.concurrency_key in keys or (run.takes_slot and left < 1):
            continue
        keys.add(run.concurrency_key)
        if run.takes_slot:
            free[run.account_id] -= 1
        queue.execute(run.pk)
        rung.append(run.pk)
    return rung
