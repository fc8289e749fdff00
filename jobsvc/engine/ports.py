"""What the engine asks of its host, and what it tells it: two small protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from jobsvc.engine.plan import FailureClass, ToolchainPlan

SKIPPED = "skipped"  # a run's detail: a success that built nothing, on purpose
WORKER_LOST = "worker_lost"  # a run's detail: what carried it out went away under it


class Stream(StrEnum):
    """Which of a step's logs a piece of text belongs to."""

    CONSOLE = "console"
    DEBUG = "debug"  # dbt's own log, as text for people
    EVENTS = "events"  # the same as records, a line each: ``engine.events.read_events``


class Ending(StrEnum):
    """How a step, or a whole run, ended."""

    SUCCESS = "success"
    ERROR = "error"
    STOPPED = "stopped"  # because the host asked for it
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"  # steps only: an earlier one ended the run


@dataclass(frozen=True, kw_only=True)
class CollectedFile:
    """A file that a step left, already scrubbed and out of the reach of the run's children.

    Attributes:
        path: relative to the step's target directory, ``/``-separated (``manifest.json``).
        file: where the engine put its copy; gone once the run has ended.
        size: in bytes.
    """

    path: str
    file: Path
    size: int


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """A node of the project has begun, or ended, in dbt's own words.

    Attributes:
        unique_id: ``model.shop.orders``.
        status: ``running``, then dbt's: success, error, fail, warn, pass, skipped, no-op …
        thread: ``Thread-1``.
        started_at, executing_at, finished_at: ISO 8601 in UTC; empty where dbt did not say.
        message: what the warehouse, or dbt, said of it.
        seconds: its execution took.
        failures: rows that a test found, where it failed or warned.
        checksum: of its code; empty where dbt tells none.
    """

    unique_id: str
    name: str
    resource_type: str
    materialized: str = ""
    status: str
    thread: str = ""
    started_at: str = ""
    executing_at: str = ""
    finished_at: str = ""
    message: str = ""
    seconds: float | None = None
    rows_affected: int | None = None
    failures: int | None = None
    checksum: str = ""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try of a step.

    Attributes:
        number: from 1.
        started_at, finished_at: ISO 8601, in UTC.
        delay_seconds: waited before it.
        resumed: it went on, by ``dbt retry``, from where an earlier one had failed.
        failure_class: None where it succeeded, or where trying again could not help.
    """

    number: int
    started_at: str
    finished_at: str
    delay_seconds: float = 0
    resumed: bool = False
    exit_code: int | None = None
    message: str = ""
    failure_class: FailureClass | None = None


@dataclass(frozen=True, kw_only=True)
class StepEnd:
    """What one step came to: how its last attempt ended, and what that left.

    Attributes:
        exit_code: of its process; None where none was started.
        message: a sentence for people; names the failed nodes where dbt named them.
        resumed: it went on, by ``dbt retry``, from where an earlier attempt had failed.
        effective_command: what dbt was given, where it is not what was typed.
        has_warnings: dbt warned of a test or a source.
        attempts: each time it was tried, in order; empty for a step that was never reached.
    """

    index: int
    ending: Ending
    exit_code: int | None = None
    message: str = ""
    artifacts: Sequence[CollectedFile] = ()
    failure_class: FailureClass | None = None
    effective_command: str = ""
    resumed: bool = False
    has_warnings: bool = False
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the whole run came to.

    Attributes:
        message: shown to people as it is; empty on an ordinary success.
        detail: what the ending leaves open, in one word: ``skipped``, ``worker_lost``.
        failure_class: why it failed, as far as it matters for trying again.
        has_warnings: something warned, or a step failed that was only to warn.
    """

    ending: Ending
    message: str = ""
    detail: str = ""
    failure_class: FailureClass | None = None
    has_warnings: bool = False


class Recorder(Protocol):
    """What a run says of itself while it goes on. Called in one thread, in order."""

    def workspace_ready(self, *, git_sha: str, git_branch: str) -> None:
        """The commit is checked out and the profile written: the steps proper begin."""

    def isolated(self, layers: Mapping[str, int | bool]) -> None:
        """Which layers of isolation the children of this run really have."""

    def will_build(self, schemas: Sequence[tuple[str, str]]) -> None:
        """What follows may write to these, each (database, schema), as dbt names them.

        Said before anything is built, so that what a run leaves can be removed however it ends.
        """

    def step_started(self, index: int) -> None:
        """Step ``index`` has begun."""

    def output(self, index: int, stream: Stream, text: str) -> None:
        """More of a step's log, already redacted; pieces come in order and are never repeated."""

    def node(self, index: int, event: NodeEvent) -> None:
        """A node of step ``index`` has begun or ended; already masked."""

    def step_ended(self, end: StepEnd) -> None:
        """A step is over and its files are collected."""

    def should_stop(self) -> bool:
        """Asked at least every second. True once the run is to be stopped.

        Also the host's heartbeat: it may write that the run is alive.

        Raises:
            LeaseLost: the run is no longer this worker's; stop it and say nothing more.
        """


class LeaseLost(Exception):
    """Another owner, or the watchdog, has this run now."""


class Toolchain(Protocol):
    """How dbt versions become something that can be started."""

    def resolve(self, version: str, adapters: Sequence[str]) -> ToolchainPlan:
        """The installed dbt that ``version`` names (``1.11.16``, ``1.11.x``, ``latest``).

        Raises:
            VersionUnavailable: none is installed, or it lacks an adapter.
        """
