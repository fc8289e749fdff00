"""The engine's Recorder: what a run says of itself goes into rows and storage.

Every write is fenced: it happens in one transaction with an UPDATE of the run's row that
names this worker's token. A worker that was only asleep, and whose run was taken from it,
writes nothing more. A write may be repeated, since a database that goes away while it commits
leaves open whether it did.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now

from jobsvc.engine.plan import StepKind
from jobsvc.engine.ports import Ending, LeaseLost, NodeEvent, StepEnd, Stream
from jobsvc.runs import artifacts, logs, nodes
from jobsvc.runs.models import Artifact, LogChunk, Run, RunStep, lease_end
from jobsvc.statuses import ACTIVE, RunStatus

logger = logging.getLogger(__name__)
T = TypeVar("T")

FLUSH_SECONDS = 1.0  # a log line is seen by readers no later than this after it was said
FLUSH_CHARACTERS = 16 * 1024
CANCEL_LOOK_SECONDS = 2.0  # between two looks at whether somebody asked for the run to stop

STEP_STATUS = {
    Ending.SUCCESS: RunStatus.SUCCESS,
    Ending.ERROR: RunStatus.ERROR,
    Ending.STOPPED: RunStatus.CANCELLED,
    Ending.TIMED_OUT: RunStatus.CANCELLED,
    Ending.SKIPPED: RunStatus.CANCELLED,
}


def persist(run: Run, write: Callable[[], T], *, since: float) -> T:
    """Do ``write`` in a transaction; go on trying while the database is away.

    The run outlives a restart of its database, as long as that is shorter than the lease.

    Args:
        since: when the lease was last renewed, by ``time.monotonic()``.

    Raises:
        LeaseLost: the lease ran out before the database answered.
    """
    while True:
        try:
            with transaction.atomic():
                return write()
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() - since > settings.LEASE_SECONDS:
                raise LeaseLost(f"run {run.pk}: the database is away") from error
            logger.warning("run %s: the database did not answer: %s", run.pk, error)
            connection.close()
            time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads workers, hides nothing


class RunRecorder:
    """Writes down one claimed run. Lives in the worker, in one thread."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._token = run.token  # as claimed; never read again
        self._steps = {step.index: step for step in run.steps.all()}
        self._pending: dict[tuple[int, Stream], list[str]] = {}
        self._written: dict[tuple[int, Stream], int] = {}
        self._nodes: dict[tuple[int, str], NodeEvent] = {}
        self._flushed_at = self._beat_at = self._looked_at = time.monotonic()
        self._stop = False

    def workspace_ready(self, *, git_sha: str, git_branch: str) -> None:
        def write() -> None:
            self._fence(git_sha=git_sha, git_branch=git_branch)
            self.run.refresh_from_db()
            if self.run.status == RunStatus.STARTING:
                self.run.move_to(RunStatus.RUNNING, started_at=Now())

        self._persist(write)

    def isolated(self, layers: Mapping[str, int | bool]) -> None:
        self._persist(lambda: self._fence(isolation=dict(layers)))

    def will_build(self, schemas: Sequence[tuple[str, str]]) -> None:
        known = {(database, schema) for database, schema in self.run.built_schemas}
        self.run.built_schemas = [list(pair) for pair in sorted(known | set(schemas))]
        self._persist(lambda: self._fence(built_schemas=self.run.built_schemas))

    def step_started(self, index: int) -> None:
        step = self._steps[index]

        def write() -> None:
            self._fence()
            RunStep.objects.filter(pk=step.pk).update(
                status=RunStatus.RUNNING, started_at=Now(), updated_at=Now()
            )

        self._persist(write)

    def output(self, index: int, stream: Stream, text: str) -> None:
        if not text:
            return  # a chunk of nothing would stand where the next one is to stand
        pieces = self._pending.setdefault((index, stream), [])
        pieces.append(text)
        if sum(map(len, pieces)) >= FLUSH_CHARACTERS:
            self.flush()

    def node(self, index: int, event: NodeEvent) -> None:
        self._nodes[index, event.unique_id] = event

    def step_ended(self, end: StepEnd) -> None:
        self.flush()
        self._persist(self._fence)  # whose run was taken puts nothing into storage
        step = self._steps[end.index]
        files = []
        for collected in end.artifacts:
            files.append(artifacts.put(step, collected))
            self._beat()
        columns = logs.store(step, self._persist(lambda: logs.texts(step)))

        def write() -> None:
            self._fence(**_seen_in(step, files))
            Artifact.objects.bulk_create(files, ignore_conflicts=True)
            RunStep.objects.filter(pk=step.pk).update(
                status=STEP_STATUS[end.ending],
                skipped=end.ending == Ending.SKIPPED,
                exit_code=end.exit_code,
                message=end.message,
                effective_command=end.effective_command,
                attempts=[asdict(attempt) for attempt in end.attempts],
                finished_at=Now(),
                updated_at=Now(),
                **columns,
            )
            LogChunk.objects.filter(step=step).delete()
            nodes.close(step)

        self._persist(write)

    def should_stop(self) -> bool:
        moment = time.monotonic()
        if moment - self._flushed_at >= FLUSH_SECONDS:
            self.flush()
        self._beat()
        if not self._stop and moment - self._looked_at >= CANCEL_LOOK_SECONDS:
            self._looked_at = moment
            self._stop = self._persist(
                Run.objects.filter(pk=self.run.pk, cancel_requested_at__isnull=False).exists
            )
        return self._stop

    def flush(self) -> None:
        """Write what was said since the last time, one chunk a stream."""
        self._flushed_at = time.monotonic()
        pending, self._pending = self._pending, {}
        told, self._nodes = self._nodes, {}
        if not pending and not told:
            return
        chunks = []
        for (index, stream), pieces in pending.items():
            text = "".join(pieces)
            offset = self._written.get((index, stream), 0)
            self._written[index, stream] = offset + len(text)
            chunks.append(
                LogChunk(step=self._steps[index], stream=stream, offset=offset, text=text)
            )

        def write() -> None:
            self._fence()
            LogChunk.objects.bulk_create(chunks, ignore_conflicts=True)
            for index in {index for index, _unique_id in told}:
                of_step = [event for (place, _id), event in told.items() if place == index]
                nodes.store(self._steps[index], of_step)

        self._persist(write)

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at >= settings.HEARTBEAT_SECONDS:
            self._persist(self._fence)

    def _fence(self, **columns: object) -> None:
        """Renew the lease, or learn that it is gone. To be called inside the transaction."""
        held = Run.objects.filter(
            pk=self.run.pk, token=self._token, status__in=ACTIVE, lease_until__gt=Now()
        ).update(lease_until=lease_end(), last_heartbeat_at=Now(), updated_at=Now(), **columns)
        if not held:
            raise LeaseLost(f"run {self.run.pk} is no longer this worker's")
        self._beat_at = time.monotonic()

    def _persist(self, write: Callable[[], T]) -> T:
        return persist(self.run, write, since=self._beat_at)


def _seen_in(step: RunStep, files: Sequence[Artifact]) -> dict[str, bool]:
    """What a step's files say about the run as a whole."""
    paths = {file.path for file in files}
    seen = {"artifacts_saved": bool(paths)}
    seen["has_docs_generated"] = "catalog.json" in paths
    seen["has_sources_generated"] = step.kind == StepKind.FRESHNESS or "sources.json" in paths
    return {name: True for name, yes in seen.items() if yes}
