"""The words a run's life is told in, by their API numbers, and the table of moves."""

from __future__ import annotations

from django.db.models import IntegerChoices, TextChoices


class State(IntegerChoices):
    """Whether an object is there or deleted. Deleted rows stay: runs refer to them."""

    ACTIVE = 1, "Active"
    DELETED = 2, "Deleted"


class RunStatus(IntegerChoices):
    """The six statuses of a run, and of a step (which starts at Queued, too)."""

    QUEUED = 1, "Queued"
    STARTING = 2, "Starting"
    RUNNING = 3, "Running"
    SUCCESS = 10, "Success"
    ERROR = 20, "Error"
    CANCELLED = 30, "Cancelled"


ACTIVE = (RunStatus.STARTING, RunStatus.RUNNING)
UNFINISHED = (RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING)
FINISHED = (RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.CANCELLED)

NEXT: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.QUEUED: frozenset({RunStatus.STARTING, RunStatus.CANCELLED}),
    RunStatus.STARTING: frozenset({RunStatus.RUNNING, RunStatus.ERROR, RunStatus.CANCELLED}),
    RunStatus.RUNNING: frozenset({RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.CANCELLED}),
    RunStatus.SUCCESS: frozenset(),
    RunStatus.ERROR: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


class CancelReason(TextChoices):
    """Why a run was cancelled. dbt Cloud has the status only."""

    USER = "user", "Cancelled by a person"
    TIMEOUT = "timeout", "Timed out"
    SUPERSEDED = "superseded", "A newer run took its place"
    OVER_SCHEDULED = "over_scheduled", "A newer scheduled run took its place"
    SKIPPED = "skipped", "Another run of its job was not over"
    CLOSED = "closed", "Its pull request was closed"


class CauseCategory(TextChoices):
    """What kind of thing started a run: the API's own words."""

    API = "api"
    CI = "ci"
    SCHEDULED = "scheduled"
    UI = "ui"
    RERUN = "rerun"
    JOB_COMPLETION = "job completion"
    MERGE = "merge"
