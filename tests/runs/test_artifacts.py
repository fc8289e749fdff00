"""The files of a run: of each step, and as the run as a whole shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsvc.engine.plan import StepKind
from jobsvc.engine.ports import CollectedFile
from jobsvc.runs import artifacts
from jobsvc.runs.models import Run, RunStep
from tests.factories import ArtifactFactory, JobFactory, RunFactory, RunStepFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    return RunFactory(succeeded=True)


def step(
    run: Run, index: int, *, kind: StepKind = StepKind.COMMAND, builds: bool = False
) -> RunStep:
    return RunStepFactory(run=run, index=index, kind=kind, builds=builds)


def left(step: RunStep, path: str, content: bytes = b"{}") -> None:
    ArtifactFactory(step=step, path=path, content=content)


def read(run: Run, path: str, index: int | None = None) -> bytes | None:
    file = artifacts.open_artifact(run, path, index)
    if file is None:
        return None
    with file:
        return file.read()


def test_a_file_that_a_step_left_comes_back_as_it_was(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_bytes(b'{"nodes": {}}')

    artifacts.put(step(run, 4), CollectedFile(path="manifest.json", file=file, size=13)).save()

    assert read(run, "manifest.json") == b'{"nodes": {}}'


def test_a_file_that_nobody_left_is_none(run: Run) -> None:
    left(step(run, 4), "manifest.json")

    assert read(run, "catalog.json") is None


def test_docs_do_not_speak_for_the_build(run: Run) -> None:
    left(step(run, 4, builds=True), "run_results.json", b"build")
    left(step(run, 5, kind=StepKind.DOCS), "run_results.json", b"docs")

    assert read(run, "run_results.json") == b"build"


def test_docs_that_are_a_step_of_the_job_do_not_either(run: Run) -> None:
    left(step(run, 4, builds=True), "run_results.json", b"build")
    left(step(run, 5), "run_results.json", b"docs")

    assert read(run, "run_results.json") == b"build"


def test_a_build_after_the_docs_speaks_for_the_run(run: Run) -> None:
    left(step(run, 4), "run_results.json", b"docs")
    left(step(run, 5, builds=True), "run_results.json", b"build")

    assert read(run, "run_results.json") == b"build"


def test_the_last_of_several_builds_speaks_for_the_run(run: Run) -> None:
    for index, content in ((4, b"seed"), (5, b"run"), (6, b"test")):
        left(step(run, index, builds=True), "run_results.json", content)

    assert read(run, "run_results.json") == b"test"


def test_where_nothing_was_built_the_last_other_command_speaks(run: Run) -> None:
    left(step(run, 4), "manifest.json", b"parse")
    left(step(run, 5), "manifest.json", b"compile")
    left(step(run, 6, kind=StepKind.DOCS), "manifest.json", b"docs")

    assert read(run, "manifest.json") == b"compile"


def test_what_only_the_docs_left_is_there(run: Run) -> None:
    left(step(run, 4, builds=True), "manifest.json")
    left(step(run, 5, kind=StepKind.DOCS), "catalog.json", b"catalog")

    assert read(run, "catalog.json") == b"catalog"


def test_each_steps_own_file_can_be_asked_for(run: Run) -> None:
    left(step(run, 4, builds=True), "run_results.json", b"build")
    left(step(run, 5, kind=StepKind.DOCS), "run_results.json", b"docs")

    assert read(run, "run_results.json", 4) == b"build"
    assert read(run, "run_results.json", 5) == b"docs"
    assert read(run, "run_results.json", 6) is None


def test_a_runs_files_are_listed_once_in_order(run: Run) -> None:
    for index in (4, 5):
        here = step(run, index)
        left(here, "run_results.json")
        left(here, "manifest.json")
    left(step(run, 6), "compiled/shop/orders.sql")

    assert artifacts.of_run(run) == [
        "compiled/shop/orders.sql",
        "manifest.json",
        "run_results.json",
    ]


def test_one_steps_files_can_be_listed(run: Run) -> None:
    left(step(run, 4), "manifest.json")
    left(step(run, 5), "catalog.json")

    assert artifacts.of_run(run, 5) == ["catalog.json"]
    assert artifacts.of_run(run, 6) == []


def test_another_runs_files_are_not_ours(run: Run) -> None:
    left(step(RunFactory(job=run.job, succeeded=True), 4), "manifest.json")

    assert artifacts.of_run(run) == []
    assert read(run, "manifest.json") is None


def test_a_jobs_latest_file_is_that_of_its_newest_successful_run() -> None:
    job = JobFactory()
    for trait, content in (("succeeded", b"old"), ("succeeded", b"new"), ("failed", b"failed")):
        left(step(RunFactory(job=job, **{trait: True}), 4, builds=True), "manifest.json", content)

    file = artifacts.latest_of_job(job, "manifest.json")

    assert file is not None
    assert file.read() == b"new"


def test_a_newer_run_without_the_file_does_not_hide_an_older_one_with_it() -> None:
    job = JobFactory()
    left(step(RunFactory(job=job, succeeded=True), 4), "catalog.json", b"old")
    left(step(RunFactory(job=job, succeeded=True), 4), "manifest.json", b"new")

    file = artifacts.latest_of_job(job, "catalog.json")

    assert file is not None
    assert file.read() == b"old"


def test_a_job_that_never_succeeded_has_no_latest_file() -> None:
    job = JobFactory()
    left(step(RunFactory(job=job, failed=True), 4), "manifest.json")

    assert artifacts.latest_of_job(job, "manifest.json") is None


def test_a_second_file_of_the_same_name_overwrites_none(run: Run, tmp_path: Path) -> None:
    """A worker that lost its run cannot reach what its successor stored."""
    here, file = step(run, 4), tmp_path / "manifest.json"
    file.write_bytes(b"first")
    first = artifacts.put(here, CollectedFile(path="manifest.json", file=file, size=5))
    file.write_bytes(b"other")
    artifacts.put(here, CollectedFile(path="manifest.json", file=file, size=5))
    first.save()

    assert read(run, "manifest.json") == b"first"
