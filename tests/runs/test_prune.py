"""Retention: what has been kept long enough goes whole, and what is in use stays."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, storages
from django.core.management import call_command
from django.db import transaction
from django.utils.timezone import now

from jobsvc.jobs.models import Job
from jobsvc.runs import prune as pruning
from jobsvc.runs import tasks
from jobsvc.runs.models import Artifact, DoomedFile, LogChunk, Run, RunStep
from jobsvc.runs.prune import doomed, prune, remove_doomed_files
from tests.factories import (
    ArtifactFactory,
    EnvironmentFactory,
    JobFactory,
    RunFactory,
    RunStepFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def days(settings: Any) -> None:
    settings.KEEP_RUNS_DAYS, settings.KEEP_LOGS_DAYS, settings.KEEP_ARTIFACTS_DAYS = 100, 20, 50


def run_of(age: int, *, path: str = "run_results.json", **columns: Any) -> Run:
    """A run that succeeded ``age`` days ago, with a log and a file."""
    ended = now() - timedelta(days=age)
    run = RunFactory(succeeded=True, **{"finished_at": ended} | columns)
    step = RunStepFactory(
        run=run,
        console_log=storages["artifacts"].save(
            f"runs/{run.pk}/steps/4/console.log", ContentFile(b"1 of 1 OK")
        ),
    )
    LogChunk.objects.create(step=step, stream="debug", offset=0, text="x")
    ArtifactFactory(step=step, path=path)
    return run


def files() -> list[str]:
    """Everything in storage, folders with it."""
    storage = storages["artifacts"]
    assert isinstance(storage, FileSystemStorage)
    place = Path(storage.location)
    return sorted(file.relative_to(place).as_posix() for file in place.rglob("*"))


def has(run: Run) -> tuple[bool, bool, bool]:
    """Whether the run is still there, its log, and its artifacts."""
    logs = RunStep.objects.filter(run=run).exclude(console_log="").exists()
    return (
        Run.objects.filter(pk=run.pk).exists(),
        logs and LogChunk.objects.filter(step__run=run).exists(),
        Artifact.objects.filter(step__run=run).exists(),
    )


@pytest.mark.parametrize(
    ("age", "left"),
    [
        (19, (True, True, True)),
        (21, (True, False, True)),
        (51, (True, False, False)),
        (101, (False, False, False)),
    ],
)
def test_each_kind_goes_after_its_days(age: int, left: tuple[bool, bool, bool]) -> None:
    run = run_of(age)

    prune(now())

    assert has(run) == left


def test_the_files_of_a_run_go_with_it_and_so_do_its_folders() -> None:
    kept = run_of(1)
    run_of(101)

    prune(now())

    assert files()
    assert all(file == "runs" or file.startswith(f"runs/{kept.pk}") for file in files())
    assert not DoomedFile.objects.exists()


def test_the_log_of_a_step_goes_without_its_artifacts() -> None:
    run = run_of(21)

    prune(now())

    assert [Path(file).name for file in files() if "." in file] == ["run_results.json"]
    step = RunStep.objects.get(run=run)
    assert (step.console_log, step.debug_log, step.events_log) == ("", "", "")


@pytest.mark.parametrize("kind", ["RUNS", "LOGS", "ARTIFACTS"])
def test_nought_days_keep_for_ever(kind: str, settings: Any) -> None:
    for other in ("RUNS", "LOGS", "ARTIFACTS"):
        setattr(settings, f"KEEP_{other}_DAYS", 0 if other == kind else 36500)
    run = run_of(5000)

    prune(now())

    assert has(run) == (True, True, True)


def test_a_run_that_is_not_over_stays_however_old() -> None:
    run = RunFactory(running=True, created_at=now() - timedelta(days=900))

    prune(now())

    assert Run.objects.filter(pk=run.pk).exists()


def test_a_dry_run_says_the_same_and_removes_nothing() -> None:
    old, older, oldest = run_of(21), run_of(51), run_of(101)
    before = files()

    said = doomed(now())

    assert (said.runs, said.artifacts, said.logs) == ([oldest.pk], [older.pk], [old.pk, older.pk])
    assert said.artifact_bytes == 4
    assert files() == before
    assert prune(now()) == said


def test_the_command_names_what_would_go_and_what_stays() -> None:
    run, state = run_of(101), run_of(101, path="manifest.json")
    told = io.StringIO()

    call_command("prune", "--dry-run", stdout=told)

    assert f"Would remove whole runs after 100 days: 1 runs: {run.pk}\n" in told.getvalue()
    assert f"Stays: run {state.pk}. It is the newest state of the environment" in told.getvalue()
    assert Run.objects.filter(pk=run.pk).exists()


def test_the_command_removes_without_being_asked_twice() -> None:
    run = run_of(101)
    told = io.StringIO()

    call_command("prune", stdout=told)

    assert "Removed whole runs" in told.getvalue()
    assert not Run.objects.filter(pk=run.pk).exists()


def test_the_daily_tick_removes_what_is_old() -> None:
    run = run_of(101)

    tasks.prune()

    assert not Run.objects.filter(pk=run.pk).exists()


# --- State in use ------------------------------------------------------------------------


def test_the_state_of_an_environment_stays_and_older_ones_go() -> None:
    job = JobFactory()
    older = run_of(102, job=job, path="manifest.json")
    newest = run_of(101, job=job, path="manifest.json")

    prune(now())

    assert (has(older)[0], has(newest)[0], has(newest)[2]) == (False, True, True)


def test_a_newer_run_that_failed_takes_no_state_away() -> None:
    job = JobFactory()
    state = run_of(101, job=job, path="manifest.json")
    RunFactory(job=job, failed=True)

    prune(now())

    assert has(state)[2]


def test_the_state_of_the_job_that_another_defers_to_stays() -> None:
    job, other = JobFactory.create_batch(2, environment=EnvironmentFactory())
    JobFactory(environment=job.environment, deferring_job=job)
    state = run_of(101, job=job, path="manifest.json")
    run_of(1, job=other, path="manifest.json")

    prune(now())

    assert has(state)[2]


def test_state_that_no_job_defers_to_any_more_goes() -> None:
    job, other = JobFactory.create_batch(2, environment=EnvironmentFactory())
    follower = JobFactory(environment=job.environment, deferring_job=job)
    state = run_of(101, job=job, path="manifest.json")
    run_of(1, job=other, path="manifest.json")
    Job.objects.filter(pk=follower.pk).update(state=2)

    prune(now())

    assert not has(state)[0]


def test_what_a_waiting_retry_resumes_from_stays() -> None:
    failed = RunFactory(failed=True, finished_at=now() - timedelta(days=101))
    ArtifactFactory(step=RunStepFactory(run=failed), path="run_results.json")
    retry = RunFactory(job=failed.job, retrying_run=failed)

    assert doomed(now()).in_use == {failed.pk: f"Run {retry.pk}, which is not over, needs it."}


# --- Nothing is left half done -----------------------------------------------------------


def test_a_crash_before_the_commit_leaves_rows_and_files() -> None:
    run = run_of(101)
    before = files()

    with pytest.raises(RuntimeError), transaction.atomic():
        pruning._remove_artifacts([run.pk])
        raise RuntimeError("killed")

    assert has(run) == (True, True, True)
    assert files() == before
    assert not DoomedFile.objects.exists()


def test_files_that_a_crash_left_go_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run_of(101)
    with monkeypatch.context() as killed:
        killed.setattr(pruning, "remove_doomed_files", lambda: None)
        prune(now())
    assert files()

    prune(now())

    assert files() == []


def test_a_file_that_resists_is_tried_again_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_of(101)
    delete = FileSystemStorage.delete

    def refuse_logs(storage: FileSystemStorage, name: str) -> None:
        if name.endswith(".log"):
            raise PermissionError(name)
        delete(storage, name)

    with monkeypatch.context() as stubborn:
        stubborn.setattr(FileSystemStorage, "delete", refuse_logs)
        prune(now())
    assert [Path(file).name for file in files() if "." in file] == ["console.log"]

    remove_doomed_files()

    assert files() == []


def test_the_newest_documentation_of_a_project_stays() -> None:
    job = JobFactory(environment__deployment_type="production")
    older = run_of(101, job=job, path="static_index.html")
    documented = run_of(101, job=job, path="static_index.html")
    run_of(1, job=job)

    going = prune(now())

    assert not Run.objects.filter(pk=older.pk).exists()
    assert has(documented)[2]
    assert "newest documentation" in going.in_use[documented.pk]
