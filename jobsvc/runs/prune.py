"""Remove what runs left once it has been kept long enough, never the state that is in use.

Rows go first, and with them, in the same transaction, the names of their files are written
down; the files follow after the commit. A crash in between leaves files for the next time,
never a row whose file is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import PurePosixPath

from django.conf import settings
from django.core.files.storage import FileSystemStorage, storages
from django.db import transaction
from django.db.models import OuterRef, Q, Subquery, Sum

from environments.models import Environment, Project
from jobsvc.runs.defer import runs_in_use, state_of_environment
from jobsvc.runs.docs import documentation_of
from jobsvc.runs.models import (
    Artifact,
    DoomedFile,
    LogChunk,
    NodeResult,
    Run,
    RunQuerySet,
    RunStep,
)

logger = logging.getLogger(__name__)

BATCH = 200  # runs of one transaction


@dataclass(frozen=True)
class Doomed:
    """What is to go, as ids of runs, oldest first.

    Attributes:
        runs: the whole run, with its logs and artifacts.
        logs: only what its steps said.
        artifacts: only the files its steps left.
        artifact_bytes: of all artifacts that go, those of whole runs with them.
        in_use: runs that are old enough and stay, each with the reason in words.
    """

    runs: list[int]
    logs: list[int]
    artifacts: list[int]
    artifact_bytes: int
    in_use: dict[int, str]


def doomed(moment: datetime) -> Doomed:
    """What has been kept long enough at ``moment``, by the days that the settings give."""
    in_use = _in_use()
    runs = _kept_for(settings.KEEP_RUNS_DAYS, moment)
    logs = _kept_for(settings.KEEP_LOGS_DAYS, moment).filter(_has_logs())
    artifacts = _kept_for(settings.KEEP_ARTIFACTS_DAYS, moment).filter(
        pk__in=Artifact.objects.values("step__run")
    )
    whole = _ids(runs.exclude(pk__in=in_use))
    files = _ids(artifacts.exclude(pk__in=in_use))
    staying = {*_ids(runs.filter(pk__in=in_use)), *_ids(artifacts.filter(pk__in=in_use))}
    return Doomed(
        runs=whole,
        logs=sorted(set(_ids(logs)) - set(whole)),
        artifacts=sorted(set(files) - set(whole)),
        artifact_bytes=_bytes({*whole, *files}),
        in_use={number: in_use[number] for number in sorted(staying)},
    )


def prune(moment: datetime) -> Doomed:
    """Remove what has been kept long enough at ``moment``; return what that was.

    Safe to stop at any time, and to run twice at once.
    """
    going = doomed(moment)
    for batch in _batches(going.artifacts):
        _remove_artifacts(batch)
    for batch in _batches(going.logs):
        _remove_logs(batch)
    for batch in _batches(going.runs):
        with transaction.atomic():
            _doom_files(batch, artifacts=True, logs=True)
            Run.objects.filter(pk__in=batch).delete()
    remove_doomed_files()
    logger.info(
        "removed %s runs, the logs of %s and the artifacts of %s others",
        *map(len, (going.runs, going.logs, going.artifacts)),
    )
    return going


def remove_doomed_files() -> None:
    """Remove the files that no row speaks of any more; one that resists stays for next time."""
    storage = storages["artifacts"]
    for file in DoomedFile.objects.order_by("pk").iterator():
        try:
            storage.delete(file.storage_name)
        except OSError:
            logger.exception("%s could not be removed from storage", file.storage_name)
            continue
        file.delete()
        if isinstance(storage, FileSystemStorage):
            _remove_empty_folders(storage, file.storage_name)


def _in_use() -> dict[int, str]:
    """Runs that others build on, by id, each with the reason in words."""
    in_use: dict[int, str] = {}
    newest = Subquery(state_of_environment(OuterRef("pk")).values("pk")[:1])
    places = Environment.objects.active().annotate(newest=newest).exclude(newest=None)
    for name, run in places.values_list("name", "newest"):
        in_use[run] = f"It is the newest state of the environment {name}."
    for project in Project.objects.active():
        for run in documentation_of(project).values_list("pk", flat=True)[:1]:
            in_use[run] = f"It is the newest documentation of the project {project}."
    for run in runs_in_use().values_list("pk", flat=True):
        in_use[run] = "A job's next run is to be compared with it."
    users = Run.objects.unfinished().values_list("pk", "retrying_run", "deferring_run")
    for run, *used in users:
        in_use |= {one: f"Run {run}, which is not over, needs it." for one in used if one}
    return in_use


def _kept_for(days: int, moment: datetime) -> RunQuerySet:
    """Finished runs that ended more than ``days`` before ``moment``; none where days is 0."""
    if days <= 0:
        return Run.objects.none()
    end = moment - timedelta(days=days)
    # A run that is still to be retried by itself hands its results to the next attempt.
    over = Q(will_retry_at=None) | Q(will_retry_at__lt=end)
    return Run.objects.finished().filter(over, finished_at__lt=end)


def _has_logs() -> Q:
    steps = RunStep.objects.exclude(console_log="", debug_log="", events_log="")
    return (
        Q(pk__in=steps.values("run"))
        | Q(pk__in=LogChunk.objects.values("step__run"))
        | Q(pk__in=NodeResult.objects.values("run"))
    )


def _ids(runs: RunQuerySet) -> list[int]:
    return list(runs.order_by("pk").values_list("pk", flat=True))


def _bytes(runs: Collection[int]) -> int:
    total = 0
    for batch in _batches(sorted(runs)):
        files = Artifact.objects.filter(step__run__in=batch)
        total += files.aggregate(total=Sum("size"))["total"] or 0
    return total


def _batches(ids: list[int]) -> Iterator[list[int]]:
    left = iter(ids)
    while batch := list(islice(left, BATCH)):
        yield batch


@transaction.atomic
def _remove_artifacts(runs: Collection[int]) -> None:
    _doom_files(runs, artifacts=True)
    Artifact.objects.filter(step__run__in=runs).delete()


@transaction.atomic
def _remove_logs(runs: Collection[int]) -> None:
    _doom_files(runs, logs=True)
    RunStep.objects.filter(run__in=runs).update(console_log="", debug_log="", events_log="")
    LogChunk.objects.filter(step__run__in=runs).delete()
    NodeResult.objects.filter(run__in=runs).delete()


def _doom_files(runs: Collection[int], *, artifacts: bool = False, logs: bool = False) -> None:
    names: list[str] = []
    if artifacts:
        rows = Artifact.objects.filter(step__run__in=runs)
        names += rows.values_list("storage_name", flat=True)
    if logs:
        steps = RunStep.objects.filter(run__in=runs)
        for stored in steps.values_list("console_log", "debug_log", "events_log"):
            names += filter(None, stored)
    DoomedFile.objects.bulk_create((DoomedFile(storage_name=name) for name in names), 1000)


def _remove_empty_folders(storage: FileSystemStorage, name: str) -> None:
    for folder in PurePosixPath(name).parents[:-1]:
        try:
            storage.delete(str(folder))
        except OSError:
            return  # something is still in it
