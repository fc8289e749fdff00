"""Ring for each queued run that could start now."""

from __future__ import annotations

from jobsvc.runs import queue
from jobsvc.runs.models import Run

LOOKED_AT = ("account", "account__run_slots", "concurrency_key", "takes_slot")


def dispatch_queued_runs() -> list[int]:
    """Ring for the queued runs that nothing holds back, first queued first; return their ids.

    No more are rung for than an account has free run slots, so a long queue neither fills the
    broker with bells that nobody can answer nor hides other accounts' runs.
    """
    rung: list[int] = []
    free: dict[int, int] = {}
    for run in Run.objects.startable().select_related("account").only(*LOOKED_AT):
        slots: int = run.slots_taken  # type: ignore[attr-defined] # annotated by startable()
        left = free.setdefault(run.account_id, run.account.run_slots - slots)
        if run.takes_slot:
            if left < 1:
                continue
            free[run.account_id] -= 1
        queue.execute(run.pk)
        rung.append(run.pk)
    return rung
