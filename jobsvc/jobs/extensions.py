"""What a job may ask for beyond dbt Cloud's own settings: one object, read strictly.

The object is kept as it was given (``Job.extensions``); everything that acts on it reads it
through ``of(job)``, which fills in the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast, get_type_hints

from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_datetime

from jobsvc.engine.plan import OnFailure, RetryPlan

T = TypeVar("T")

MOST_RETRIES = 10
LONGEST_DELAY = 24 * 3600  # seconds
LONGEST_TEXT = 255  # characters
LONGEST_COMMAND = 4000
HIGHEST_PRIORITY = 100
YEARS = range(1970, 9000)  # of a moment: no zone carries these beyond what a datetime can hold


class Misfire(StrEnum):
    """What becomes of ticks that were missed while the service was down."""

    LATEST = "latest"
    SKIP = "skip"
    ALL = "all"


class OnOverlap(StrEnum):
    """What becomes of a run of a job that already has one waiting or going on."""

    QUEUE = "queue"
    SKIP = "skip"
    CANCEL_QUEUED = "cancel_queued"
    CANCEL_RUNNING = "cancel_running"


class Mode(StrEnum):
    """Whether one upstream job's end is enough to start this one, or every one's is needed."""

    ANY = "any"
    ALL = "all"


class WhenNoState(StrEnum):
    """What a run does that has nothing to compare with or to defer to."""

    FAIL = "fail"
    BUILD_ALL = "build_all"
    SKIP = "skip"


class FreshnessPolicy(StrEnum):
    """What a stale source means for the run whose freshness step found it."""

    CONTINUE = "continue"
    SKIP_RUN = "skip_run"
    FAIL = "fail"


class StepPolicy(StrEnum):
    """What a failed step means for the run, of the engine's ``OnFailure`` what a job may choose."""

    STOP = OnFailure.STOP.value
    CONTINUE = OnFailure.CONTINUE.value
    WARN = OnFailure.WARN.value


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Times are aware; outside them the schedule names no moment."""

    active_from: datetime | None = None
    active_until: datetime | None = None
    misfire: Misfire = Misfire.LATEST


@dataclass(frozen=True, kw_only=True)
class Pause:
    """The schedule rests, for a reason that people read, until a date or until resumed."""

    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Queue:
    """How runs of the job wait.

    Attributes:
        on_overlap: None is dbt Cloud's rule: a scheduled run replaces an older waiting one.
        priority: of the account's runs that wait, those of a higher one have their turn first.
    """

    on_overlap: OnOverlap | None = None
    concurrency_key: str = ""
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class UpstreamJob:
    job_id: int
    statuses: tuple[int, ...] = (10,)


@dataclass(frozen=True, kw_only=True)
class Upstream:
    mode: Mode = Mode.ANY
    jobs: tuple[UpstreamJob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Deferral:
    """``favor_state`` None is on for CI jobs and off for others; ``when_no_state`` None likewise
    follows the kind of job."""

    favor_state: bool | None = None
    when_no_state: WhenNoState | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is said of one execute step, by its place in the list; ``retry`` None is the job's."""

    name: str = ""
    on_failure: StepPolicy = StepPolicy.STOP
    timeout_seconds: int = 0
    retry: RetryPlan | None = None


@dataclass(frozen=True, kw_only=True)
class StepOff:
    """A command that is switched off: it stands in the editor at ``place``, and no run has it."""

    command: str
    place: int = 0
    rules: Step = field(default_factory=Step)


@dataclass(frozen=True, kw_only=True)
class Freshness:
    on_error: FreshnessPolicy = FreshnessPolicy.CONTINUE


class PullRequestAction(StrEnum):
    """What happens to a pull request that may start a run: the git host's own words."""

    OPENED = "opened"
    SYNCHRONIZE = "synchronize"
    REOPENED = "reopened"
    READY_FOR_REVIEW = "ready_for_review"
    EDITED = "edited"  # its base branch was changed
    LABELED = "labeled"


class Forks(StrEnum):
    """Whether a pull request from a fork is built: a stranger's code, with our credentials."""

    NEVER = "never"
    WITH_APPROVAL = "with_approval"


class SchemaGuard(StrEnum):
    """What becomes of a run that would build outside the pull request's own schema."""

    STOP = "stop"
    OFF = "off"


class MergeOn(StrEnum):
    """What starts a merge job: any push to the branch, or only a merged pull request's."""

    PUSH = "push"
    MERGED_PR = "merged_pr"


@dataclass(frozen=True, kw_only=True)
class CI:
    """Which pull requests a CI job builds, and what it tells them.

    Attributes:
        actions: dbt Cloud's behaviour is the default.
        paths: globs, from the repository's root; a pull request that changes none of them is
            told that nothing relevant changed. None given: the project's subdirectory.
        head_branches: globs of branches; none given: all.
        labels_any: the pull request has one of these; none given: it needs none.
        labels_none: it has none of these.
        comment: one comment of the pull request tells the results, and is kept up to date.
    """

    actions: tuple[PullRequestAction, ...] = (
        PullRequestAction.OPENED,
        PullRequestAction.SYNCHRONIZE,
        PullRequestAction.REOPENED,
        PullRequestAction.READY_FOR_REVIEW,
        PullRequestAction.EDITED,
    )
    paths: tuple[str, ...] = ()
    paths_ignore: tuple[str, ...] = ()
    head_branches: tuple[str, ...] = ()
    labels_any: tuple[str, ...] = ()
    labels_none: tuple[str, ...] = ()
    forks: Forks = Forks.NEVER
    schema_guard: SchemaGuard = SchemaGuard.STOP
    comment: bool = True


@dataclass(frozen=True, kw_only=True)
class Merge:
    on: MergeOn = MergeOn.PUSH


@dataclass(frozen=True, kw_only=True)
class Compare:
    """``keep_rows``: also values of some rows that differ; without it only counts are kept."""

    keep_rows: bool = False


@dataclass(frozen=True, kw_only=True)
class Extensions:
    """All of it. ``steps[n]`` speaks of ``execute_steps[n]``; a shorter list leaves the rest.

    Attributes:
        tags: words of the team's own, by which notifications can be asked for.
        owners: e-mail addresses of those who are told when the job fails.
    """

    schedule: Schedule = field(default_factory=Schedule)
    pause: Pause | None = None
    queue: Queue = field(default_factory=Queue)
    upstream: Upstream = field(default_factory=Upstream)
    deferral: Deferral = field(default_factory=Deferral)
    retry: RetryPlan = field(default_factory=RetryPlan)
    steps: tuple[Step, ...] = ()
    steps_off: tuple[StepOff, ...] = ()
    freshness: Freshness = field(default_factory=Freshness)
    deactivate_after: int = 100
    ci: CI = field(default_factory=CI)
    merge: Merge = field(default_factory=Merge)
    compare: Compare = field(default_factory=Compare)
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()

    def step(self, place: int) -> Step:
        """What is said of the execute step at ``place``, from 0."""
        return self.steps[place] if place < len(self.steps) else Step()


class Refused(ValueError):
    """A part of the object cannot be read; the text names it and says what it must be."""


def read(value: object) -> Extensions:
    """The object that ``value`` (from JSON) stands for.

    Raises:
        ValidationError: for the field ``extensions``, naming the key.
    """
    try:
        made: Extensions = _read(Extensions, value, "extensions")
    except Refused as refused:
        raise ValidationError({"extensions": str(refused)}) from refused
    return made


# --- Reading -------------------------------------------------------------------------------

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "job_id": (1, 2**63 - 1),
    "max_retries": (0, MOST_RETRIES),
    "delay_seconds": (0, LONGEST_DELAY),
    "max_delay_seconds": (0, LONGEST_DELAY),
    "timeout_seconds": (0, LONGEST_DELAY),
    "deactivate_after": (1, 10_000),
    "place": (0, 10_000),
    "priority": (-HIGHEST_PRIORITY, HIGHEST_PRIORITY),
}


@cache
def _hints_of(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)  # nine tenths of the time that reading takes


def _read(kind: type[T], value: object, path: str) -> T:
    if not isinstance(value, dict):
        raise Refused(f"{path} must be an object.")
    hints = _hints_of(cast("Any", kind))
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type] # only dataclasses come here
    if unknown := sorted(set(value) - set(known)):
        raise Refused(f"{path} has no {unknown[0]!r}. It may hold: {', '.join(sorted(known))}.")
    given: dict[str, Any] = {}
    for name, entry in known.items():
        if value.get(name) is not None:
            given[name] = _read_value(hints[name], value[name], f"{path}.{name}", name)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise Refused(f"{path} needs {name!r}.")
    return kind(**given)


def _read_value(hint: Any, value: object, path: str, name: str) -> Any:
    options = [option for option in getattr(hint, "__args__", ()) if option is not type(None)]
    if getattr(hint, "__origin__", None) is tuple:
        return tuple(_read_list(options[0], value, path, name))
    kind = options[0] if options else hint
    if kind in _READERS:
        return _READERS[kind](value, path, name)
    if issubclass(kind, StrEnum):
        return _one_of(kind, value, path)
    return _read(kind, value, path)


def _read_list(kind: Any, value: object, path: str, name: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise Refused(f"{path} must be a list.")
    return [_read_value(kind, item, f"{path}[{place}]", name) for place, item in enumerate(value)]


def _one_of(kind: type[StrEnum], value: object, path: str) -> StrEnum:
    try:
        return kind(value)  # type: ignore[arg-type] # anything but a member's text raises
    except ValueError as error:
        raise Refused(f"{path} must be one of: {', '.join(kind)}.") from error


def _text(value: object, path: str, name: str) -> str:
    longest = LONGEST_COMMAND if name == "command" else LONGEST_TEXT
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise Refused(f"{path} must be a text of at most {longest} characters, on one line.")
    return value


def _number(value: object, path: str, name: str) -> int:
    least, most = _BOUNDS.get(name, (0, 2**31 - 1))
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refused(f"{path} must be a whole number from {least} to {most}.")
    return value


def _switch(value: object, path: str, _name: str) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{path} must be true or false.")
    return value


def _moment(value: object, path: str, _name: str) -> datetime:
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year not in YEARS:
        raise Refused(f"{path} must be a time with its offset, such as 2026-12-24T18:00:00+01:00.")
    return moment


_READERS: Mapping[Any, Callable[[object, str, str], Any]] = {
    str: _text,
    int: _number,
    bool: _switch,
    datetime: _moment,
}
