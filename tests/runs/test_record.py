"""What a run says of itself goes into rows and storage, for as long as it is this worker's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db import OperationalError, connection
from django.utils.timezone import now

from jobsvc.engine.ports import CollectedFile, Ending, LeaseLost, StepEnd, Stream
from jobsvc.runs import logs, record
from jobsvc.runs.models import Artifact, LogChunk, Run, RunStep
from jobsvc.runs.record import RunRecorder
from jobsvc.statuses import RunStatus
from tests.runs.conftest import let_lapse

pytestmark = pytest.mark.django_db

BUILD = 4  # the index of the job's first command


@pytest.fixture
def stale(recorder: RunRecorder) -> RunRecorder:
    """The recorder of a worker that was asleep while its run was taken from it."""
    Run.objects.filter(pk=recorder.run.pk).update(token=recorder.run.token + 1)
    return recorder


def step_of(recorder: RunRecorder, index: int = BUILD) -> RunStep:
    return RunStep.objects.get(run=recorder.run, index=index)


def row_of(recorder: RunRecorder) -> Run:
    return Run.objects.get(pk=recorder.run.pk)


def collected(
    directory: Path, path: str = "manifest.json", content: bytes = b"{}"
) -> CollectedFile:
    file = directory / path.replace("/", "_")
    file.write_bytes(content)
    return CollectedFile(path=path, file=file, size=len(content))


# --- What is written ------------------------------------------------------------------------


def test_a_run_whose_workspace_stands_is_running(recorder: RunRecorder) -> None:
    recorder.workspace_ready(git_sha="a" * 40, git_branch="main")

    run = row_of(recorder)
    assert run.status == RunStatus.RUNNING
    assert (run.git_sha, run.git_branch) == ("a" * 40, "main")
    assert run.started_at is not None


def test_the_layers_of_isolation_stay_with_the_run(recorder: RunRecorder) -> None:
    recorder.isolated({"landlock": 7, "seccomp": True})

    assert row_of(recorder).isolation == {"landlock": 7, "seccomp": True}


def test_a_started_step_is_running(recorder: RunRecorder) -> None:
    recorder.step_started(BUILD)

    step = step_of(recorder)
    assert step.status == RunStatus.RUNNING
    assert step.started_at is not None


@pytest.mark.parametrize(
    ("ending", "status", "skipped"),
    [
        (Ending.SUCCESS, RunStatus.SUCCESS, False),
        (Ending.ERROR, RunStatus.ERROR, False),
        (Ending.STOPPED, RunStatus.CANCELLED, False),
        (Ending.TIMED_OUT, RunStatus.CANCELLED, False),
        (Ending.SKIPPED, RunStatus.CANCELLED, True),
    ],
)
def test_a_step_ends_as_the_engine_says(
    recorder: RunRecorder, ending: Ending, status: RunStatus, skipped: bool
) -> None:
    recorder.step_ended(StepEnd(index=BUILD, ending=ending, exit_code=1, message="So it was."))

    step = step_of(recorder)
    assert (step.status, step.skipped) == (status, skipped)
    assert (step.exit_code, step.message) == (1, "So it was.")
    assert step.finished_at is not None


def test_a_steps_log_can_be_read_while_it_runs(recorder: RunRecorder) -> None:
    recorder.output(BUILD, Stream.CONSOLE, "1 of 2 OK\n")
    recorder.output(BUILD, Stream.DEBUG, "Acquiring connection\n")
    recorder.flush()

    assert logs.console_log(step_of(recorder)) == "1 of 2 OK\n"
    assert logs.debug_log(step_of(recorder)) == "Acquiring connection\n"


def test_much_output_is_written_at_once(recorder: RunRecorder) -> None:
    recorder.output(BUILD, Stream.CONSOLE, "x" * record.FLUSH_CHARACTERS)

    assert len(logs.console_log(step_of(recorder))) == record.FLUSH_CHARACTERS


def test_little_output_is_written_within_a_second_or_so(
    recorder: RunRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "FLUSH_SECONDS", 0.0)
    recorder.output(BUILD, Stream.CONSOLE, "1 of 2 OK\n")

    recorder.should_stop()

    assert logs.console_log(step_of(recorder)) == "1 of 2 OK\n"


def test_the_log_of_an_ended_step_lies_in_storage_and_not_in_rows(recorder: RunRecorder) -> None:
    recorder.output(BUILD, Stream.CONSOLE, "Grüße, ")
    recorder.flush()
    recorder.output(BUILD, Stream.CONSOLE, "done.\n")

    recorder.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS))

    assert logs.console_log(step_of(recorder)) == "Grüße, done.\n"
    assert not LogChunk.objects.exists()


def test_what_a_step_left_can_be_fetched(recorder: RunRecorder, tmp_path: Path) -> None:
    file = collected(tmp_path, "compiled/shop/orders.sql", b"select 1")

    recorder.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS, artifacts=[file]))

    artifact = Artifact.objects.get(step=step_of(recorder))
    assert (artifact.path, artifact.size) == ("compiled/shop/orders.sql", 8)
    with storages["artifacts"].open(artifact.storage_name) as stored:
        assert stored.read() == b"select 1"


@pytest.mark.parametrize(
    ("path", "index", "saved", "docs", "sources"),
    [
        ("manifest.json", BUILD, True, False, False),
        ("catalog.json", BUILD, True, True, False),
        ("sources.json", BUILD, True, False, True),
    ],
)
def test_what_a_step_left_is_seen_on_the_run(
    recorder: RunRecorder,
    tmp_path: Path,
    path: str,
    index: int,
    saved: bool,
    docs: bool,
    sources: bool,
) -> None:
    recorder.step_ended(
        StepEnd(index=index, ending=Ending.SUCCESS, artifacts=[collected(tmp_path, path)])
    )

    run = row_of(recorder)
    assert (run.artifacts_saved, run.has_docs_generated, run.has_sources_generated) == (
        saved,
        docs,
        sources,
    )


def test_a_step_that_leaves_nothing_does_not_unsay_what_another_left(
    recorder: RunRecorder, tmp_path: Path
) -> None:
    recorder.step_ended(StepEnd(index=3, ending=Ending.SUCCESS, artifacts=[collected(tmp_path)]))
    recorder.step_ended(StepEnd(index=BUILD, ending=Ending.ERROR))

    assert row_of(recorder).artifacts_saved


# --- Heartbeat and cancel -------------------------------------------------------------------


def test_a_heartbeat_renews_the_lease_by_the_databases_clock(
    recorder: RunRecorder, settings: Any
) -> None:
    Run.objects.filter(pk=recorder.run.pk).update(lease_until=now() + timedelta(seconds=1))
    settings.HEARTBEAT_SECONDS = 0

    recorder.should_stop()

    lease = row_of(recorder).lease_until
    assert lease is not None
    assert lease - now() > timedelta(seconds=25)


def test_between_two_heartbeats_nothing_is_written(
    recorder: RunRecorder, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert recorder.should_stop() is False


def test_every_write_renews_the_lease(recorder: RunRecorder) -> None:
    Run.objects.filter(pk=recorder.run.pk).update(lease_until=now() + timedelta(seconds=1))

    recorder.step_started(BUILD)

    lease = row_of(recorder).lease_until
    assert lease is not None
    assert lease - now() > timedelta(seconds=25)


def test_the_lease_holds_while_many_files_are_stored(
    recorder: RunRecorder, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.HEARTBEAT_SECONDS = 0
    beats = []
    renew = recorder._fence
    monkeypatch.setattr(recorder, "_fence", lambda **seen: (beats.append(1), renew(**seen)))

    recorder.step_ended(
        StepEnd(
            index=BUILD,
            ending=Ending.SUCCESS,
            artifacts=[collected(tmp_path, f"{place}.json") for place in range(5)],
        )
    )

    assert len(beats) >= 5


def test_a_run_that_is_asked_to_stop_hears_of_it(
    recorder: RunRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "CANCEL_LOOK_SECONDS", 0.0)
    assert recorder.should_stop() is False

    Run.objects.filter(pk=recorder.run.pk).update(cancel_requested_at=now())

    assert recorder.should_stop() is True
    assert recorder.should_stop() is True


# --- Whose run was taken writes nothing ------------------------------------------------------


def test_a_stale_worker_cannot_say_that_its_workspace_stands(stale: RunRecorder) -> None:
    with pytest.raises(LeaseLost):
        stale.workspace_ready(git_sha="a" * 40, git_branch="main")

    assert row_of(stale).status == RunStatus.STARTING
    assert row_of(stale).git_sha is None


def test_a_stale_worker_starts_no_step(stale: RunRecorder) -> None:
    with pytest.raises(LeaseLost):
        stale.step_started(BUILD)

    assert step_of(stale).status == RunStatus.QUEUED


def test_a_stale_worker_adds_nothing_to_a_log(stale: RunRecorder) -> None:
    stale.output(BUILD, Stream.CONSOLE, "still here\n")

    with pytest.raises(LeaseLost):
        stale.flush()

    assert not LogChunk.objects.exists()


def test_a_stale_worker_ends_no_step(stale: RunRecorder) -> None:
    with pytest.raises(LeaseLost):
        stale.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS))

    assert step_of(stale).status == RunStatus.QUEUED


def test_a_stale_worker_puts_nothing_into_storage(stale: RunRecorder, tmp_path: Path) -> None:
    file = collected(tmp_path)

    with pytest.raises(LeaseLost):
        stale.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS, artifacts=[file]))

    assert not Artifact.objects.exists()
    assert not storages["artifacts"].exists("runs")


def test_a_stale_worker_says_nothing_of_isolation(stale: RunRecorder) -> None:
    with pytest.raises(LeaseLost):
        stale.isolated({"seccomp": True})

    assert row_of(stale).isolation == {}


def test_a_stale_heartbeat_says_that_the_run_is_gone(stale: RunRecorder, settings: Any) -> None:
    settings.HEARTBEAT_SECONDS = 0

    with pytest.raises(LeaseLost):
        stale.should_stop()


def test_a_worker_that_slept_over_its_lease_has_lost_it_though_nobody_took_the_run(
    recorder: RunRecorder,
) -> None:
    let_lapse(recorder.run)

    with pytest.raises(LeaseLost):
        recorder.step_started(BUILD)


def test_a_worker_whose_run_was_ended_writes_nothing_more(recorder: RunRecorder) -> None:
    row_of(recorder).move_to(RunStatus.ERROR, message="Ended by somebody else.")

    with pytest.raises(LeaseLost):
        recorder.step_started(BUILD)


def test_the_token_is_the_claimed_one_even_if_the_run_is_read_again(recorder: RunRecorder) -> None:
    Run.objects.filter(pk=recorder.run.pk).update(token=recorder.run.token + 1)
    recorder.run.refresh_from_db()

    with pytest.raises(LeaseLost):
        recorder.step_started(BUILD)


# --- A database that goes away ---------------------------------------------------------------


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the database takes no time, and giving up its connection loses no test data."""
    monkeypatch.setattr(record.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(connection, "close", lambda: None)


@pytest.mark.usefixtures("restarts")
def test_a_write_is_repeated_until_the_database_is_back(recorder: RunRecorder) -> None:
    refusals = iter([OperationalError("the server is restarting")] * 3)

    def write() -> str:
        for refusal in refusals:
            raise refusal
        return "written"

    assert recorder._persist(write) == "written"


@pytest.mark.usefixtures("restarts")
def test_a_worker_gives_its_run_up_when_the_database_is_away_for_longer_than_the_lease(
    recorder: RunRecorder, settings: Any
) -> None:
    settings.LEASE_SECONDS = 0

    def write() -> None:
        raise OperationalError("the server is restarting")

    with pytest.raises(LeaseLost, match="the database is away"):
        recorder._persist(write)


def test_the_workspace_may_be_told_twice(recorder: RunRecorder) -> None:
    for _attempt in range(2):  # the first was committed, and the answer was lost
        recorder.workspace_ready(git_sha="a" * 40, git_branch="main")

    assert list(recorder.run.transitions.order_by("pk").values_list("to_status", flat=True)) == [
        RunStatus.QUEUED,
        RunStatus.STARTING,
        RunStatus.RUNNING,
    ]


@pytest.mark.usefixtures("restarts")
def test_a_chunk_that_is_written_twice_is_there_once(
    recorder: RunRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.output(BUILD, Stream.CONSOLE, "once\n")
    persist = recorder._persist

    def twice(write: Any) -> Any:
        persist(write)
        return persist(write)

    monkeypatch.setattr(recorder, "_persist", twice)
    recorder.flush()

    assert logs.console_log(step_of(recorder)) == "once\n"
