"""dbt's log file of JSON lines: what people read of it, and what it tells of nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobsvc.engine import runner
from jobsvc.engine.events import LONGEST_TEXT, DbtEvent, EventLog, read_events
from jobsvc.engine.ports import Ending, NodeEvent


class Sink:
    """Takes a log's bytes and keeps them."""

    def __init__(self) -> None:
        self.said = b""
        self.skipped = 0

    def feed(self, output: bytes) -> None:
        self.said += output

    def skip(self, size: int) -> None:
        self.skipped += size


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def told() -> list[NodeEvent]:
    return []


@pytest.fixture
def records() -> Sink:
    return Sink()


@pytest.fixture
def log(sink: Sink, records: Sink, told: list[NodeEvent]) -> EventLog:
    return EventLog(sink, records, told.append)


def line(name: str = "NodeFinished", **changes: Any) -> bytes:
    node = {
        "unique_id": "model.shop.orders",
        "node_name": "orders",
        "resource_type": "model",
        "materialized": "table",
        "node_status": "success",
        "node_started_at": "2026-11-21T12:00:00.5",
        "node_finished_at": "2026-11-21T12:00:02.5",
    }
    result = {
        "status": "success",
        "message": "INSERT 3",
        "execution_time": 1.5,
        "adapter_response": {"rows_affected": 3.0},
        "timing_info": [{"name": "execute", "started_at": "2026-11-21T12:00:01Z"}],
    }
    info = {
        "name": name,
        "ts": "2026-11-21T12:00:02.600000Z",
        "level": "debug",
        "thread": "Thread-2 (worker)",
        "msg": "Finished running node model.shop.orders",
    }
    data = {"node_info": node, "run_result": result} | changes
    return json.dumps({"info": info, "data": data}).encode() + b"\n"


def test_an_event_reads_as_a_line_of_text(log: EventLog, sink: Sink) -> None:
    log.feed(line())

    assert sink.said == (
        b"12:00:02.600000 [debug] [Thread-2]: Finished running node model.shop.orders\n"
    )


def test_an_event_is_kept_as_a_record(log: EventLog, records: Sink) -> None:
    log.feed(line())

    assert list(read_events(records.said.decode())) == [
        DbtEvent(
            ts="2026-11-21T12:00:02.600000Z",
            level="debug",
            name="NodeFinished",
            thread="Thread-2",
            node="model.shop.orders",
            text="Finished running node model.shop.orders",
        )
    ]


def test_a_record_keeps_the_lines_of_what_an_event_says(log: EventLog, records: Sink) -> None:
    said = "SELECT '☕'\n\tFROM \"orders\""
    log.feed(json.dumps({"info": {"msg": said}}).encode() + b"\n")

    assert [event.text for event in read_events(records.said.decode())] == [said]


def test_a_record_of_a_very_long_event_is_cut(log: EventLog, records: Sink) -> None:
    log.feed(json.dumps({"info": {"msg": "x" * (LONGEST_TEXT + 1)}}).encode() + b"\n")

    [event] = read_events(records.said.decode())
    assert len(event.text) == LONGEST_TEXT


@pytest.mark.parametrize("line", ["", "{", '{"ts": "20', "… 12 bytes cut …", "[1]", "null"])
def test_a_record_that_was_cut_in_the_middle_is_passed_over(line: str) -> None:
    assert list(read_events(f'{line}\n{{"text": "whole", "level": 3}}\n')) == [
        DbtEvent(text="whole")
    ]


def test_half_a_character_is_no_end_of_a_run(
    log: EventLog, records: Sink, told: list[NodeEvent]
) -> None:
    log.feed(line(run_result={"status": "error", "message": "\ud83d!"}))
    log.feed(json.dumps({"info": {"msg": "\ud83d!"}}).encode() + b"\n")

    assert told[0].message == "?!"
    assert [event.text for event in read_events(records.said.decode())][1] == "?!"


def test_which_version_of_its_code_a_node_is_of_is_told(
    log: EventLog, told: list[NodeEvent]
) -> None:
    info = {"unique_id": "model.shop.orders", "node_checksum": "ab12"}
    log.feed(line(node_info=info))
    log.feed(line(node_info={**info, "node_checksum": None}))

    assert [event.checksum for event in told] == ["ab12", ""]


def test_a_node_that_ended_is_told_with_what_came_of_it(
    log: EventLog, told: list[NodeEvent]
) -> None:
    log.feed(line())

    assert told == [
        NodeEvent(
            unique_id="model.shop.orders",
            name="orders",
            resource_type="model",
            materialized="table",
            status="success",
            thread="Thread-2",
            started_at="2026-11-21T12:00:00.5",
            executing_at="2026-11-21T12:00:01Z",
            finished_at="2026-11-21T12:00:02.5",
            message="INSERT 3",
            seconds=1.5,
            rows_affected=3,
        )
    ]


def test_a_node_that_begins_is_running(log: EventLog, told: list[NodeEvent]) -> None:
    log.feed(line("NodeStart", run_result=None))

    assert [(event.status, event.finished_at) for event in told] == [("running", "")]


def test_a_line_that_comes_in_pieces_is_one_event(log: EventLog, told: list[NodeEvent]) -> None:
    for byte in line():
        log.feed(bytes([byte]))

    assert len(told) == 1


@pytest.mark.parametrize(
    "stranger",
    [
        b"no JSON at all\n",
        b"{broken\n",
        b"[1]\n",
        b"{" * 5000 + b"\n",
        b'{"info": "none"}\n',
    ],
)
def test_a_line_of_another_shape_is_handed_on_as_it_is(
    log: EventLog, sink: Sink, told: list[NodeEvent], stranger: bytes
) -> None:
    log.feed(stranger)

    assert (sink.said, told) == (stranger, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"node_info": None},
        {"node_info": {"unique_id": 7}},
        {"node_info": ["model.shop.orders"]},
    ],
)
def test_an_event_without_a_node_tells_of_none(
    log: EventLog, told: list[NodeEvent], changes: dict[str, Any]
) -> None:
    log.feed(line(**changes))

    assert told == []


def test_numbers_that_are_none_are_left_out(log: EventLog, told: list[NodeEvent]) -> None:
    result = {
        "status": "fail",
        "execution_time": "long",
        "num_failures": float("inf"),
        "adapter_response": {"rows_affected": True},
    }
    log.feed(line(run_result=result))

    [event] = told
    assert (event.seconds, event.failures, event.rows_affected) == (None, None, None)


def test_a_last_line_without_an_end_is_not_lost(log: EventLog, sink: Sink) -> None:
    log.feed(line().rstrip(b"\n"))
    log.close()

    assert sink.said.endswith(b"Finished running node model.shop.orders\n")


def test_a_run_tells_of_each_node_as_it_begins_and_ends(shop, plan_of, recording) -> None:
    shop.commit({"models/items.sql": "select no_such_column from {{ ref('orders') }}"})

    runner.run(plan_of(shop, "dbt build"), recording)

    assert [(index, event.name, event.status) for index, event in recording.nodes] == [
        (3, "orders", "running"),
        (3, "orders", "success"),
        (3, "items", "running"),
        (3, "items", "error"),
    ]
    assert "no_such_column" in recording.nodes[-1][1].message
    assert recording.end(3).ending is Ending.ERROR
    assert "[debug] [Thread-1]: Began running node model.shop.orders" in recording.debug(3)


def test_what_a_node_says_of_a_secret_is_masked(shop, plan_of, recording) -> None:
    shop.commit({"models/orders.sql": "select * from no_such_table_correct_horse"})

    runner.run(plan_of(shop, "dbt run", secrets=("no_such_table_correct_horse",)), recording)

    assert "correct_horse" not in recording.nodes[-1][1].message
    assert recording.nodes[-1][1].message


def test_the_records_of_a_run_name_nodes_and_no_secret(shop, plan_of, recording) -> None:
    shop.commit({"models/orders.sql": "select * from no_such_table_correct_horse"})

    runner.run(plan_of(shop, "dbt run", secrets=("no_such_table_correct_horse",)), recording)

    events = list(read_events(recording.records(3)))
    assert "correct_horse" not in recording.records(3)
    assert {"model.shop.orders"} < {event.node for event in events}
    assert {"debug", "info", "error"} <= {event.level for event in events}
