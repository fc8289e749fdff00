"""How a worker and a run's supervisor talk: JSON lines over two pipes.

The worker sends the plan, then ``stop`` or ``done``; the supervisor sends what happens. Neither
side ever blocks on the other: what the other is too slow to take waits in memory, of which a
run's log limits are the bound.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobsvc.engine.plan import FailureClass
from jobsvc.engine.ports import (
    Attempt,
    CollectedFile,
    Ending,
    NodeEvent,
    Outcome,
    Recorder,
    StepEnd,
    Stream,
)

PIECE = 1024**2  # bytes taken at once


class Order(StrEnum):
    """What a worker tells a supervisor, after the plan."""

    STOP = "stop"
    DONE = "done"  # everything of the run is safe: its workspace may go


class Link:
    """Lines in both directions, without ever blocking on the other end.

    Attributes:
        closed: the other end is gone; nothing more will come.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.closed = False
        self._incoming, self._outgoing = incoming, outgoing
        self._unsent = bytearray()
        self._received = bytearray()
        os.set_blocking(incoming, False)
        os.set_blocking(outgoing, False)

    def close(self) -> None:
        """Let go of both pipes; the other end finds out."""
        self.closed = True
        os.close(self._incoming)
        os.close(self._outgoing)

    def send(self, line: str) -> None:
        """Send ``line`` now, or as soon as the other end takes it."""
        self._unsent += line.encode() + b"\n"
        self._flush()

    def receive(self, seconds: float = 0) -> list[str]:
        """The lines that have come, waiting up to ``seconds`` for the first of them."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            self._wait(left)
            self._flush()
            if lines := self._take():
                return lines
            if self.closed or time.monotonic() >= deadline:
                return []

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._incoming, select.POLLIN)
        if self._unsent:
            poll.register(self._outgoing, select.POLLOUT)
        poll.poll(seconds * 1000)

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = os.write(self._outgoing, self._unsent[:PIECE])
                del self._unsent[:sent]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unsent.clear()

    def _take(self) -> list[str]:
        try:
            piece = os.read(self._incoming, PIECE)
        except BlockingIOError:
            return []
        if not piece:
            self.closed = True
            return []
        *lines, rest = piece.split(b"\n")
        if not lines:
            self._received += rest
            return []
        lines[0] = bytes(self._received) + lines[0]
        self._received = bytearray(rest)
        return [line.decode() for line in lines]


class EventSender(Recorder):
    """The supervisor's recorder: every call becomes a line for the worker."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stop_asked = False

    def stop(self) -> None:
        """Answer ``should_stop`` with yes from now on."""
        self._stop_asked = True

    def workspace_ready(self, *, git_sha: str, git_branch: str) -> None:
        self._send("workspace_ready", git_sha=git_sha, git_branch=git_branch)

    def isolated(self, layers: Mapping[str, int | bool]) -> None:
        self._send("isolated", layers=dict(layers))

    def will_build(self, schemas: Sequence[tuple[str, str]]) -> None:
        self._send("will_build", schemas=list(schemas))

    def step_started(self, index: int) -> None:
        self._send("step_started", index=index)

    def output(self, index: int, stream: Stream, text: str) -> None:
        self._send("output", index=index, stream=stream, text=text)

    def node(self, index: int, event: NodeEvent) -> None:
        self._send("node", index=index, **asdict(event))

    def step_ended(self, end: StepEnd) -> None:
        artifacts = [{**asdict(kept), "file": str(kept.file)} for kept in end.artifacts]
        self._send("step_ended", **{**asdict(end), "artifacts": artifacts})

    def should_stop(self) -> bool:
        """Whether the worker said so, or is gone."""
        for line in self._link.receive():
            if line == Order.STOP:
                self._stop_asked = True
        return self._stop_asked or self._link.closed

    def ended(self, outcome: Outcome) -> None:
        """The run is over; the worker may still fetch its files."""
        self._send("ended", **asdict(outcome))

    def wait_until_done(self) -> None:
        """Return once the worker has all it wants, or is gone."""
        while not self._link.closed:
            if Order.DONE in self._link.receive(seconds=1):
                return

    def _send(self, event: str, **values: Any) -> None:
        self._link.send(json.dumps({"event": event, **values}))


def deliver(line: str, recorder: Recorder) -> Outcome | None:
    """Call ``recorder`` as the line says; the run's outcome, if the line is its end."""
    values: dict[str, Any] = json.loads(line)
    match values.pop("event"):
        case "workspace_ready":
            recorder.workspace_ready(**values)
        case "isolated":
            recorder.isolated(values["layers"])
        case "will_build":
            recorder.will_build([(database, schema) for database, schema in values["schemas"]])
        case "step_started":
            recorder.step_started(values["index"])
        case "node":
            recorder.node(values.pop("index"), NodeEvent(**values))
        case "output":
            recorder.output(values["index"], Stream(values["stream"]), values["text"])
        case "step_ended":
            recorder.step_ended(_step_end(values))
        case "ended":
            return Outcome(**{**values, **_endings(values)})
    return None


def is_the_end(line: str) -> bool:
    """Whether ``line`` says that the run is over."""
    return bool(json.loads(line)["event"] == "ended")


def _step_end(values: dict[str, Any]) -> StepEnd:
    artifacts = tuple(
        CollectedFile(**{**kept, "file": Path(kept["file"])}) for kept in values["artifacts"]
    )
    attempts = tuple(
        Attempt(**{**attempt, "failure_class": _failure_class(attempt)})
        for attempt in values["attempts"]
    )
    return StepEnd(**{**values, **_endings(values), "artifacts": artifacts, "attempts": attempts})


def _endings(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"ending": Ending(values["ending"]), "failure_class": _failure_class(values)}


def _failure_class(values: Mapping[str, Any]) -> FailureClass | None:
    return FailureClass(values["failure_class"]) if values["failure_class"] else None
