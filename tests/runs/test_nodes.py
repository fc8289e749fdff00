"""What steps made of the project's nodes, as rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobsvc.engine.ports import Ending, NodeEvent, StepEnd
from jobsvc.runs.models import NodeResult, Run, RunStep
from jobsvc.runs.record import RunRecorder

BEGUN = NodeEvent(
    unique_id="model.shop.orders",
    name="orders",
    resource_type="model",
    status="running",
    thread="Thread-1",
    started_at="2026-11-21T12:00:00.5",
)
DONE = replace(
    BEGUN,
    status="success",
    finished_at="2026-11-21T12:00:02.5",
    message="INSERT 3",
    seconds=1.5,
    rows_affected=3,
    checksum="ab12",
)


@pytest.fixture
def recorder(claimed: Callable[..., Run]) -> RunRecorder:
    run = claimed()
    RunStep.objects.create(run=run, index=1, name="Invoke dbt with `dbt build`", kind="command")
    return RunRecorder(run)


def test_a_node_is_seen_from_its_beginning_on(recorder: RunRecorder) -> None:
    recorder.node(1, BEGUN)
    recorder.flush()

    found = NodeResult.objects.get()
    assert (found.status, found.run, found.finished_at) == ("running", recorder.run, None)
    assert found.started_at == datetime(2026, 11, 21, 12, 0, 0, 500_000, tzinfo=UTC)


def test_what_came_of_a_node_takes_the_place_of_its_beginning(recorder: RunRecorder) -> None:
    recorder.node(1, BEGUN)
    recorder.flush()
    recorder.node(1, DONE)
    recorder.flush()

    found = NodeResult.objects.get()
    assert (found.status, found.message, found.rows_affected) == ("success", "INSERT 3", 3)
    assert found.checksum == "ab12"


def test_a_node_that_its_step_never_finished_is_cancelled(recorder: RunRecorder) -> None:
    recorder.node(1, BEGUN)
    recorder.step_ended(StepEnd(index=1, ending=Ending.STOPPED))

    assert NodeResult.objects.get().status == "cancelled"


def test_a_node_that_its_step_finished_stays_as_it_is(recorder: RunRecorder) -> None:
    recorder.node(1, BEGUN)
    recorder.node(1, DONE)
    recorder.step_ended(StepEnd(index=1, ending=Ending.SUCCESS))

    assert NodeResult.objects.get().status == "success"


def test_odd_words_of_a_node_are_kept_as_far_as_they_can_be(recorder: RunRecorder) -> None:
    recorder.node(1, replace(DONE, message="a\0b", started_at="yesterday"))
    recorder.flush()

    found = NodeResult.objects.get()
    assert (found.message, found.started_at) == ("ab", None)
