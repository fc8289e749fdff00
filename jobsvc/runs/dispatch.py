"""Ring for each queued run that could start now, and answer a bell."""

from __future__ import annotations

from jobsvc.runs import queue
from jobsvc.runs.models import Run

LOOKED_AT = ("account", "account__run_slots", "concurrency_key", "rank", "takes_slot")


def dispatch_queued_runs() -> list[int]:
    """Ring for the queued runs that nothing holds back, in turn; return their ids.

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


def answer_bell(run_id: int, *, worker: str) -> Run | None:
    """Claim what a bell for ``run_id`` stands for; None if there is nothing to do for it.

    Bells wait in the broker in the order they were rung. Where a run was moved before this one
    since, that one is taken, and this one is rung for once more.
    """
    for ahead in _moved_ahead_of(run_id):
        if run := Run.objects.claim(ahead, worker=worker):
            queue.execute(run_id)
            return run
    return Run.objects.claim(run_id, worker=worker)


def _moved_ahead_of(run_id: int) -> list[int]:
    """The first of the account's runs that could start and have a lower rank than ``run_id``."""
    asked = Run.objects.queued().filter(pk=run_id).values_list("account", "rank").first()
    if asked is None:
        return []
    account_id, rank = asked
    ahead = Run.objects.startable().filter(account=account_id, rank__lt=rank)
    return list(ahead.values_list("pk", flat=True)[:1])
