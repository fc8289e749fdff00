"""The watchdog ends what nobody looks after, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import Run
from jobsvc.runs.record import RunRecorder
from jobsvc.runs.watch import CANCEL_DEADLINE, watch
from jobsvc.statuses import CancelReason, RunStatus
from tests.factories import JobFactory
from tests.runs.conftest import let_lapse

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


def test_a_run_whose_worker_is_lost_ends_in_error(claimed: MakeRun) -> None:
    run = claimed()
    let_lapse(run)

    assert watch() == [run]

    run.refresh_from_db()
    assert run.status == RunStatus.ERROR
    assert run.status_message.startswith("The worker that ran this was lost.")
    assert "retry the run" in run.status_message


def test_an_active_run_without_a_lease_is_lost_too(claimed: MakeRun) -> None:
    run = claimed()
    Run.objects.filter(pk=run.pk).update(lease_until=None)

    assert watch() == [run]


def test_a_run_whose_worker_is_heard_of_goes_on(claimed: MakeRun) -> None:
    run = claimed()

    assert watch() == []

    run.refresh_from_db()
    assert run.status == RunStatus.STARTING


def test_a_queued_run_is_left_alone(queued: MakeRun) -> None:
    queued()

    assert watch() == []


def test_a_run_is_taken_away_once(claimed: MakeRun) -> None:
    let_lapse(claimed())

    assert len(watch()) == 1
    assert watch() == []


def test_what_was_taken_away_is_fenced_off(recorder: RunRecorder) -> None:
    run, token = recorder.run, recorder.run.token
    let_lapse(run)
    watch()

    run.refresh_from_db()
    assert run.token == token + 1


def test_the_slot_and_the_key_are_free_again(claimed: MakeRun, queued: MakeRun) -> None:
    job = JobFactory(environment__project__account__run_slots=1)
    let_lapse(claimed(job))
    waiting = queued(job)
    watch()

    assert Run.objects.claim(waiting.pk, worker="w2") is not None


def test_no_step_of_it_stays_open(recorder: RunRecorder) -> None:
    recorder.step_started(1)
    let_lapse(recorder.run)
    watch()

    assert list(recorder.run.steps.values_list("index", "status", "skipped")) == [
        (1, RunStatus.ERROR, False),
        (2, RunStatus.CANCELLED, True),
        (3, RunStatus.CANCELLED, True),
        (4, RunStatus.CANCELLED, True),
    ]


def test_a_lost_run_that_was_to_be_cancelled_is_cancelled(claimed: MakeRun) -> None:
    run = claimed()
    cancel_run(run, by="ana@example.com")
    let_lapse(run)
    watch()

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert run.status_message == "Cancelled by ana@example.com."
    assert run.cancel_reason == CancelReason.USER


def test_a_worker_that_does_not_stop_loses_its_run(recorder: RunRecorder) -> None:
    run = recorder.run
    cancel_run(run, by="ana@example.com")
    long_ago = now() - CANCEL_DEADLINE - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(cancel_requested_at=long_ago)

    assert watch() == [run]

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED


def test_a_worker_that_was_just_asked_to_stop_has_time(claimed: MakeRun) -> None:
    run = claimed()
    cancel_run(run, by="ana@example.com")

    assert watch() == []


def test_a_heartbeat_between_the_look_and_the_move_saves_the_run(
    claimed: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claimed()
    let_lapse(run)
    move_to = Run.move_to

    def late(self: Run, *arguments: Any, **changes: Any) -> None:
        Run.objects.filter(pk=self.pk).update(lease_until=now() + timedelta(seconds=30))
        move_to(self, *arguments, **changes)

    monkeypatch.setattr(Run, "move_to", late)

    assert watch() == []

    run.refresh_from_db()
    assert run.status == RunStatus.STARTING


def test_the_loss_is_written_down(claimed: MakeRun) -> None:
    run = claimed()
    let_lapse(run)
    watch()

    last = run.transitions.order_by("pk").last()
    assert last is not None
    assert (last.from_status, last.to_status) == (RunStatus.STARTING, RunStatus.ERROR)
