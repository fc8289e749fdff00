"""Why a queued run waits: one sentence for people, and the runs it waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import prefetch_related_objects

from accounts.models import Account
from jobsvc.runs.models import TURN, Run
from jobsvc.runs.overlap import named_key
from jobsvc.statuses import RunStatus


class WaitsFor(StrEnum):
    JOB = "job"  # a run of the same job, or of the same pull request, is going on
    KEY = "concurrency_key"  # a run of another job holds the key that both jobs name
    QUEUE = "queue"  # a run that holds the same key was queued before it
    SLOT = "run_slot"  # every run slot of the account is taken
    TURN = "turn"  # a slot is free, and runs that are before this one are to have it
    WORKER = "worker"  # nothing holds it back: it starts as soon as a worker is free


@dataclass(frozen=True)
class Waiting:
    """``sentence`` says it whole; ``blocked_by`` are ids of runs, oldest first."""

    reason: WaitsFor
    sentence: str
    blocked_by: tuple[int, ...] = ()


class _Account:
    """What is going on and what waits in one account, in turn."""

    def __init__(self, account: Account) -> None:
        self.slots = account.run_slots
        runs = Run.objects.unfinished().filter(account=account).order_by(*TURN)
        rows = list(runs.only("status", "concurrency_key", "job", "takes_slot", "rank"))
        self.active = [run for run in rows if run.status != RunStatus.QUEUED]
        self.queue: dict[str, list[Run]] = defaultdict(list)
        for run in rows:
            if run.status == RunStatus.QUEUED:
                self.queue[run.concurrency_key].append(run)

    def why(self, run: Run) -> Waiting:
        holder = next((other for other in self.active if _in_the_way(run, other)), None)
        if holder is not None:
            return _held_up(run, holder)
        before = [other for other in self.queue[run.concurrency_key] if _turn(other) < _turn(run)]
        if before:
            how = "was queued earlier" if before[0].pk < run.pk else "is before it in the queue"
            return Waiting(
                WaitsFor.QUEUE,
                f"Waits for run {before[0].pk}, which {how} and must not overlap it.",
                tuple(other.pk for other in before),
            )
        if not run.takes_slot:
            return _nothing()
        return self._why_no_slot(run)

    def _why_no_slot(self, run: Run) -> Waiting:
        holders = [other.pk for other in self.active if other.takes_slot]
        if len(holders) >= self.slots:
            word = (
                "The account's run slot is"
                if self.slots == 1
                else f"All {self.slots} run slots are"
            )
            return Waiting(
                WaitsFor.SLOT,
                f"{word} taken. It starts when a run ends and those queued earlier have started.",
                tuple(holders),
            )
        earlier = [
            queue[0].pk
            for queue in self.queue.values()
            if _turn(queue[0]) < _turn(run)
            and queue[0].takes_slot
            and not any(_in_the_way(queue[0], other) for other in self.active)
        ]
        if len(earlier) >= self.slots - len(holders):
            return Waiting(
                WaitsFor.TURN,
                f"Waits for its turn: {_count(len(earlier))} {_before(earlier, run)}.",
                tuple(sorted(earlier)),
            )
        return _nothing()


def reasons(runs: Sequence[Run]) -> dict[int, Waiting]:
    """Why each of ``runs`` that is queued waits, by id; the others are left out.

    Two queries an account, one where the runs know theirs, however many of them are asked about.
    """
    queued = [run for run in runs if run.status == RunStatus.QUEUED]
    prefetch_related_objects(list(queued), "account")
    accounts = {run.account_id: run.account for run in queued}
    known = {account.pk: _Account(account) for account in accounts.values()}
    return {run.pk: known[run.account_id].why(run) for run in queued}


def _in_the_way(run: Run, active: Run) -> bool:
    """Whether ``active`` must end before ``run`` may start; the same rule as ``startable``."""
    return active.concurrency_key == run.concurrency_key or (
        active.job_id == run.job_id and active.takes_slot and run.takes_slot
    )


def _held_up(run: Run, holder: Run) -> Waiting:
    if holder.job_id == run.job_id:
        sentence = f"Waits for run {holder.pk} of the same job to end."
        return Waiting(WaitsFor.JOB, sentence, (holder.pk,))
    key = named_key(run.concurrency_key)
    return Waiting(
        WaitsFor.KEY,
        f"Waits for run {holder.pk} of another job to end: both jobs share the concurrency key "
        f"{key!r}.",
        (holder.pk,),
    )


def _nothing() -> Waiting:
    return Waiting(WaitsFor.WORKER, "Nothing holds it back: it starts when a worker is free.")


def _turn(run: Run) -> tuple[int, int]:
    return run.rank, run.pk


def _before(ids: Sequence[int], run: Run) -> str:
    return "queued earlier" if max(ids) < run.pk else "put before it"


def _count(number: int) -> str:
    return "one run was" if number == 1 else f"{number} runs were"
