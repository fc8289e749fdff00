"""Cancel: at once while a run waits, by asking its worker once it is active, never twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import Run
from jobsvc.statuses import CancelReason, RunStatus
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


def test_a_queued_run_is_cancelled_at_once(queued: MakeRun) -> None:
    run = cancel_run(queued(), by="ana@example.com")

    assert run.status == RunStatus.CANCELLED
    assert run.status_message == "Cancelled by ana@example.com."
    assert run.cancel_reason == CancelReason.USER
    assert run.finished_at is not None


@pytest.mark.parametrize("status", [RunStatus.STARTING, RunStatus.RUNNING])
def test_an_active_run_is_asked_to_stop(status: RunStatus) -> None:
    run = cancel_run(RunFactory(status=status, takes_slot=False), by="ana@example.com")

    assert run.status == status
    assert run.cancel_requested_at is not None
    assert run.cancel_requested_by == "ana@example.com"


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_a_finished_run_is_returned_as_it_is(end: str) -> None:
    run = RunFactory(**{end: True})
    before = Run.objects.filter(pk=run.pk).values().get()

    cancel_run(run, by="ana@example.com")

    assert Run.objects.filter(pk=run.pk).values().get() == before


def test_the_first_to_ask_is_the_one_who_cancelled() -> None:
    run = RunFactory(running=True)
    cancel_run(run, by="ana@example.com")
    asked = run.cancel_requested_at

    cancel_run(run, by="a newer commit", reason=CancelReason.SUPERSEDED)

    assert (run.cancel_requested_at, run.cancel_requested_by) == (asked, "ana@example.com")
    assert run.cancel_reason == CancelReason.USER


def test_the_reason_is_kept(queued: MakeRun) -> None:
    run = cancel_run(queued(), by="a newer commit", reason=CancelReason.SUPERSEDED)

    assert run.cancel_reason == CancelReason.SUPERSEDED


def test_a_run_claimed_since_it_was_read_is_asked_to_stop(queued: MakeRun) -> None:
    run = queued()
    Run.objects.claim(run.pk, worker="w1")

    cancel_run(run, by="ana@example.com")

    assert run.status == RunStatus.STARTING
    assert run.cancel_requested_at is not None


def test_a_run_claimed_in_the_middle_of_the_cancel_is_asked_to_stop(
    queued: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queued()
    move_to = Run.move_to

    def late(self: Run, status: RunStatus, **changes: Any) -> None:
        if status == RunStatus.CANCELLED:
            Run.objects.claim(self.pk, worker="w1")
        move_to(self, status, **changes)

    monkeypatch.setattr(Run, "move_to", late)

    cancel_run(run, by="ana@example.com")

    assert run.status == RunStatus.STARTING
    assert run.cancel_requested_at is not None


def test_a_long_name_is_cut_rather_than_refused() -> None:
    run = cancel_run(RunFactory(running=True), by="x" * 300)

    assert len(run.cancel_requested_by) == 255


def test_cancelling_a_queued_run_twice_moves_it_once(queued: MakeRun) -> None:
    run = queued()
    for _time in range(2):
        cancel_run(run, by="ana@example.com")

    assert run.transitions.count() == 2
