"""A model of a run's life: whatever happens in whatever order, on the real rows.

Workers claim, beat, fall asleep, end; people cancel; time passes; the watchdog looks. The
database's clock is moved by moving every lease and every request into the past.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from accounts.models import Account
from jobsvc.engine.ports import Ending, LeaseLost, Outcome
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.execute import finish
from jobsvc.runs.models import LostRace, Run, RunTransition
from jobsvc.runs.record import RunRecorder
from jobsvc.runs.trigger import trigger_run
from jobsvc.runs.watch import watch
from jobsvc.statuses import ACTIVE, FINISHED, NEXT, RunStatus
from tests.factories import AccountFactory, JobFactory
from tests.runs.conftest import BY_API

SLOTS = 2


class Life(RuleBasedStateMachine):
    runs = Bundle("runs")
    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint()
        self.ends: dict[int, RunStatus] = {}
        self.account: Account = AccountFactory(run_slots=SLOTS)
        self.jobs = [JobFactory(environment__project__account=self.account) for _ in range(3)]
        self.jobs.append(JobFactory(environment=self.jobs[0].environment, job_type="ci"))

    def teardown(self) -> None:
        """When all workers are gone, no run stays in between."""
        self.pass_time(3600)
        watch()
        zombies = Run.objects.active().exists()
        transaction.savepoint_rollback(self.savepoint)
        assert not zombies, "a run stayed active without a worker"

    def pass_time(self, seconds: int) -> None:
        gone = timedelta(seconds=seconds)
        Run.objects.filter(lease_until__isnull=False).update(lease_until=F("lease_until") - gone)
        Run.objects.filter(cancel_requested_at__isnull=False).update(
            cancel_requested_at=F("cancel_requested_at") - gone
        )

    @initialize(target=runs)
    def first(self) -> int:
        return self.trigger(0)

    @rule(target=runs, place=st.integers(0, 3))
    def trigger(self, place: int) -> int:
        return trigger_run(self.jobs[place], BY_API).pk

    @rule(target=workers, run=runs)
    def claim(self, run: int) -> object:
        claimed = Run.objects.claim(run, worker="w")
        return RunRecorder(claimed) if claimed else multiple()

    @rule(target=workers)
    def claim_the_next(self) -> object:
        startable = Run.objects.startable().first()
        if startable is None:
            return multiple()
        claimed = Run.objects.claim(startable.pk, worker="w")
        assert claimed is not None, "a run that nothing held back was not claimed"
        return RunRecorder(claimed)

    @rule(worker=workers)
    def beat(self, worker: RunRecorder) -> None:
        self.fenced(worker, worker._fence)

    @rule(worker=workers)
    def begin(self, worker: RunRecorder) -> None:
        self.fenced(worker, lambda: worker.workspace_ready(git_sha="a" * 40, git_branch="main"))

    @rule(worker=consumes(workers), ending=st.sampled_from([Ending.ERROR, Ending.STOPPED]))
    def end(self, worker: RunRecorder, ending: Ending) -> None:
        self.finish(worker, ending)

    @rule(worker=workers)
    def succeed(self, worker: RunRecorder) -> None:
        if worker.run.status == RunStatus.RUNNING:
            self.finish(worker, Ending.SUCCESS)

    def finish(self, worker: RunRecorder, ending: Ending) -> None:
        holds = self.holds(worker)
        try:
            finish(worker.run, Outcome(ending=ending))
        except LostRace:
            assert not holds, "the holder of a run could not end it"
        else:
            assert holds, "a worker ended a run that was no longer its own"

    def fenced(self, worker: RunRecorder, write: object) -> None:
        holds = self.holds(worker)
        try:
            write()  # type: ignore[operator] # a write of the recorder
        except LeaseLost:
            return
        assert holds, "a worker wrote to a run that was no longer its own"

    def holds(self, worker: RunRecorder) -> bool:
        return Run.objects.filter(pk=worker.run.pk, token=worker._token, status__in=ACTIVE).exists()

    @rule(run=runs)
    def cancel(self, run: int) -> None:
        cancel_run(Run.objects.get(pk=run), by="ana@example.com")

    @rule(seconds=st.sampled_from([5, 29, 31, 61]))
    def time_passes(self, seconds: int) -> None:
        self.pass_time(seconds)

    @rule()
    def look(self) -> None:
        watch()

    @rule()
    def all_workers_sleep_over_their_lease_and_the_watchdog_looks(self) -> None:
        self.pass_time(31)
        watch()

    @invariant()
    def an_end_is_final(self) -> None:
        for pk, status in Run.objects.values_list("pk", "status"):
            assert self.ends.get(pk, status) == status, "a run that had ended moved"
            if status in FINISHED:
                self.ends[pk] = RunStatus(status)

    @invariant()
    def no_key_is_held_twice(self) -> None:
        keys = list(Run.objects.active().values_list("concurrency_key", flat=True))
        assert len(keys) == len(set(keys))

    @invariant()
    def no_more_runs_go_on_than_there_are_slots(self) -> None:
        assert Run.objects.active().filter(takes_slot=True).count() <= SLOTS

    @invariant()
    def every_move_is_written_down(self) -> None:
        for run in Run.objects.all():
            moves = list(
                RunTransition.objects.filter(run=run)
                .order_by("pk")
                .values_list("to_status", flat=True)
            )
            assert moves[0] == RunStatus.QUEUED
            assert moves[-1] == run.status
            for before, after in pairwise(moves):
                assert after in NEXT[RunStatus(before)]


@pytest.fixture
def rows(db: None) -> Iterator[None]:
    with transaction.atomic():
        yield


@pytest.mark.usefixtures("rows")
def test_no_order_of_events_loses_doubles_or_revives_a_run() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=80,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
