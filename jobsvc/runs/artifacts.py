"""What runs left behind: files kept per step, and the view of them that a whole run shows."""

from __future__ import annotations

from typing import IO

from django.core.files import File
from django.core.files.storage import storages
from django.db.models import Case, IntegerField, QuerySet, Value, When

from jobsvc.engine.plan import StepKind
from jobsvc.engine.ports import CollectedFile
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Artifact, Run, RunStep
from jobsvc.statuses import RunStatus

# A docs step writes a run_results.json that calls every node a success, and a listing writes
# one of its own; what the last build left speaks for the run, wherever it stands.
RANK = Case(
    When(step__builds=True, then=Value(2)),
    When(step__kind=StepKind.DOCS, then=Value(0)),
    default=Value(1),
    output_field=IntegerField(),
)


def put(step: RunStep, collected: CollectedFile) -> Artifact:
    """Copy a file of a step to storage; the row that says so is returned unsaved."""
    name = f"runs/{step.run_id}/steps/{step.index}/target/{collected.path}"
    with collected.file.open("rb") as file:
        stored = storages["artifacts"].save(name, File(file))
    return Artifact(step=step, path=collected.path, storage_name=stored, size=collected.size)


def of_run(run: Run, step_index: int | None = None) -> list[str]:
    """Paths of the files of one step, or of the run as a whole, sorted."""
    return sorted(set(_best_first(run, step_index).values_list("path", flat=True)))


def files_of(run: Run, step_index: int | None = None) -> list[tuple[str, int]]:
    """Paths and sizes, in bytes, of the files that ``of_run`` names, sorted."""
    found: dict[str, int] = {}
    for path, size in _best_first(run, step_index).values_list("path", "size"):
        found.setdefault(path, size)
    return sorted(found.items())


def open_artifact(run: Run, path: str, step_index: int | None = None) -> IO[bytes] | None:
    """A file of a step, or of the run as a whole; None if there is none. The caller closes it."""
    artifact = rows_of(run, path, step_index).first()
    return opened(artifact) if artifact else None


def rows_of(run: Run, path: str, step_index: int | None = None) -> QuerySet[Artifact]:
    """The files at ``path`` of one step, or of the run: the first speaks for it as a whole."""
    return _best_first(run, step_index).filter(path=path)


def opened(artifact: Artifact) -> IO[bytes]:
    """The file of ``artifact``. The caller closes it.

    Raises:
        FileNotFoundError: storage has lost it.
    """
    return storages["artifacts"].open(artifact.storage_name, "rb")


def latest_of_job(job: Job, path: str) -> IO[bytes] | None:
    """The file of the job's newest successful run that has it."""
    run = (
        Run.objects.filter(job=job, status=RunStatus.SUCCESS, steps__artifacts__path=path)
        .order_by("-pk")
        .first()
    )
    return open_artifact(run, path) if run else None


def _best_first(run: Run, step_index: int | None) -> QuerySet[Artifact]:
    """The run's files, those that speak for it first."""
    artifacts = Artifact.objects.filter(step__run=run)
    if step_index is not None:
        artifacts = artifacts.filter(step__index=step_index)
    return artifacts.annotate(rank=RANK).order_by("-rank", "-step__index")
