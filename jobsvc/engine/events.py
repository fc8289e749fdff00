"""dbt's log file, which it writes as JSON: a line of text for people, and what it says of nodes.

Every line is a stranger's: one of another shape is handed on as it is and tells of no node.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jobsvc.engine.ports import NodeEvent
from jobsvc.engine.results import FAILED
from jobsvc.engine.steplog import Sink

LONGEST_LINE = 4 * 1024**2  # bytes of a line that is read as JSON; longer ones are text
LONGEST_MESSAGE = 10_000  # characters kept of what a node came to
LONGEST_NAME = 500
LONGEST_TEXT = 4_000  # characters kept of what an event says; the debug log has it whole
STARTED, FINISHED = "NodeStart", "NodeFinished"
RUNNING = "running"
LARGEST_COUNT = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class DbtEvent:
    """One thing that dbt logged, as it is kept.

    Attributes:
        ts: ISO 8601 in UTC, as dbt wrote it.
        level: ``debug``, ``info``, ``warn`` or ``error``.
        name: dbt's, ``LogModelResult``; ``code`` is its number, ``Q012``.
        node: the unique id of the node it is about; empty where it is about none.
        text: at most ``LONGEST_TEXT`` characters.
    """

    ts: str = ""
    level: str = ""
    code: str = ""
    name: str = ""
    thread: str = ""
    node: str = ""
    text: str = ""


KEPT = tuple(field.name for field in fields(DbtEvent))


class EventLog:
    """Between dbt's log file and the logs that are kept of it.

    Args:
        log: gets each event as the line that dbt would have written as text.
        records: gets each event as a line that ``read_events`` reads.
        on_node: is told of each node that begins and that ends.
    """

    def __init__(self, log: Sink, records: Sink, on_node: Callable[[NodeEvent], None]) -> None:
        self._log = log
        self._records = records
        self._on_node = on_node
        self._rest = b""

    def feed(self, output: bytes) -> None:
        """Take what came next; a line counts once it has ended."""
        *lines, self._rest = (self._rest + output).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line)

    def skip(self, size: int) -> None:
        """Count ``size`` bytes that were not even read."""
        self._rest = b""
        self._log.skip(size)
        self._records.skip(size)

    def close(self) -> None:
        """Hand on a last line that never ended."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> None:
        event = _event(line)
        if event is None:
            self._log.feed(line + b"\n")
            return
        self._log.feed(f"{_text(event)}\n".encode(errors="replace"))
        self._records.feed(f"{_record(event)}\n".encode(errors="replace"))
        node = node_event(event)
        if node is not None:
            self._on_node(node)


def read_events(text: str) -> Iterator[DbtEvent]:
    """The events of a step's log of them, in order. What was cut in the middle is passed over."""
    for line in text.split("\n"):
        try:
            found = json.loads(line) if line.startswith("{") else None
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield DbtEvent(**{name: _words(found.get(name), LONGEST_TEXT) for name in KEPT})


def node_event(event: Mapping[str, Any]) -> NodeEvent | None:
    """What an event says of a node; None if it tells of no beginning and no end of one."""
    info, data = event["info"], event.get("data")
    if info.get("name") not in (STARTED, FINISHED) or not isinstance(data, dict):
        return None
    node = _mapping(data.get("node_info"))
    unique_id = _words(node.get("unique_id"), LONGEST_NAME)
    if not unique_id:
        return None
    result = _mapping(data.get("run_result"))
    ended = info["name"] == FINISHED
    status = _words(result.get("status") or node.get("node_status"), 40)
    return NodeEvent(
        unique_id=unique_id,
        name=_words(node.get("node_name"), LONGEST_NAME),
        resource_type=_words(node.get("resource_type"), 40),
        materialized=_words(node.get("materialized"), 60),
        status=status if ended else RUNNING,
        thread=_words(info.get("thread"), 60).removesuffix(" (worker)"),
        started_at=_words(node.get("node_started_at"), 40),
        finished_at=_words(node.get("node_finished_at"), 40) if ended else "",
        message=_words(result.get("message"), LONGEST_MESSAGE),
        seconds=_seconds(result.get("execution_time")),
        executing_at=_executing_at(result),
        rows_affected=_count(_mapping(result.get("adapter_response")).get("rows_affected")),
        failures=_count(result.get("num_failures")) if status in {*FAILED, "warn"} else None,
        checksum=_words(node.get("node_checksum"), 64),
    )


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{") or len(line) > LONGEST_LINE:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_event = isinstance(found, dict) and isinstance(found.get("info"), dict)
    return found if is_event else None


def _text(event: Mapping[str, Any]) -> str:
    """The event as dbt writes it where its log is text."""
    info = event["info"]
    time = _words(info.get("ts"), 40)[11:26].rstrip("Z")
    level = _words(info.get("level"), 10)
    thread = _words(info.get("thread"), 60).removesuffix(" (worker)")
    return f"{time} [{level:<5}] [{thread}]: {info.get('msg', '')}"


def _record(event: Mapping[str, Any]) -> str:
    """The event as ``read_events`` reads it; what is empty is left out."""
    info, data = event["info"], _mapping(event.get("data"))
    kept = DbtEvent(
        ts=_words(info.get("ts"), 40),
        level=_words(info.get("level"), 10),
        code=_words(info.get("code"), 20),
        name=_words(info.get("name"), 100),
        thread=_words(info.get("thread"), 60).removesuffix(" (worker)"),
        node=_words(_mapping(data.get("node_info")).get("unique_id"), LONGEST_NAME),
        text=_words(info.get("msg"), LONGEST_TEXT),
    )
    filled = {name: value for name, value in asdict(kept).items() if value}
    return json.dumps(filled, ensure_ascii=False)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object, most: int) -> str:
    """At most ``most`` characters of a text; halves of characters, which JSON can name, go."""
    return value[:most].encode(errors="replace").decode() if isinstance(value, str) else ""


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _executing_at(result: Mapping[str, Any]) -> str:
    """When compiling was over and the warehouse was asked; empty where dbt does not say."""
    timings = result.get("timing_info")
    parts = [_mapping(part) for part in timings] if isinstance(timings, list) else []
    found = [part for part in parts if part.get("name") == "execute"]
    return _words(found[0].get("started_at"), 40) if found else ""


def _count(value: object) -> int | None:
    number = _seconds(value)
    return int(number) if number is not None and 0 <= number <= LARGEST_COUNT else None
