"""A claimed run is brought to its end, whatever happens on the way; git and processes are real."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import OperationalError, connection

from jobsvc.engine.ports import Ending, Outcome
from jobsvc.jobs.models import Job
from jobsvc.runs import artifacts, execute, logs, record
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import LostRace, Run
from jobsvc.runs.steps import steps_of, write_steps
from jobsvc.runs.tasks import execute_run
from jobsvc.statuses import CancelReason, RunStatus
from tests.factories import EnvironmentFactory, JobFactory
from tests.runs.conftest import let_lapse

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]

# Acts as dbt does for a worker: says something, leaves results, ends with a status.
DBT = """\
#!/bin/sh
echo "Running with dbt=1.11.16: $*"
for word in "$@"; do
  case "$word" in
    run) echo '{"results": []}' > "$DBT_TARGET_PATH/run_results.json";;
    test) exit 2;;
    seed) sleep 60;;
  esac
done
"""


@pytest.fixture(autouse=True)
def machine(settings: Any, tmp_path: Path) -> Path:
    """A stand-in for dbt as the only toolchain, and folders of the test's own."""
    root = tmp_path / "toolchains" / "dbt-1.11.16"
    for package in ("dbt_core", "dbt_duckdb"):
        (root / f"lib/python3.11/site-packages/{package}-1.11.16.dist-info").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin" / "dbt").write_text(DBT)
    (root / "bin" / "dbt").chmod(0o755)
    settings.TOOLCHAINS_DIR = tmp_path / "toolchains"
    settings.WORKSPACES_DIR = tmp_path / "workspaces"
    settings.WAREHOUSES_DIR = tmp_path / "warehouses"
    settings.GIT_LOCAL_ROOTS = [str(tmp_path)]
    settings.STOP_GRACE_SECONDS = 1
    return tmp_path


@pytest.fixture
def job_of(machine: Path) -> Callable[..., Job]:
    """A job with these steps, whose repository holds a dbt project of nothing."""
    tree = machine / "coffee"
    tree.mkdir()
    (tree / "dbt_project.yml").write_text('name: coffee\nversion: "1"\nprofile: any\n')
    for arguments in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "Go"],
    ):
        subprocess.run(
            ["git", *arguments],
            cwd=tree,
            check=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
        )

    def make(*steps: str, **settings: Any) -> Job:
        environment = EnvironmentFactory(
            project__repository__remote_url=(tree / ".git").as_uri(), name="Production"
        )
        return JobFactory(environment=environment, execute_steps=list(steps), **settings)

    return make


def carried_out(run: Run) -> Run:
    execute.execute(run)
    return Run.objects.get(pk=run.pk)


def test_a_run_goes_all_the_way(claimed: MakeRun, job_of: Callable[..., Job]) -> None:
    run = carried_out(claimed(job_of("dbt run")))

    assert (run.status, run.status_message) == (RunStatus.SUCCESS, "")
    assert run.dbt_version == "1.11.16"
    assert run.git_sha is not None
    assert [step.status for step in run.steps.all()] == [RunStatus.SUCCESS] * 4
    assert "dbt=1.11.16: run" in logs.console_log(run.steps.get(index=4))
    assert artifacts.of_run(run) == ["run_results.json"]


def test_a_failed_step_fails_the_run_and_skips_the_rest(
    claimed: MakeRun, job_of: Callable[..., Job]
) -> None:
    run = carried_out(claimed(job_of("dbt test", "dbt run")))

    assert run.status == RunStatus.ERROR
    assert run.status_message.startswith("Step 4 failed: Invoke dbt with `dbt test`.")
    assert [step.status_humanized for step in run.steps.all()] == [
        "Success",
        "Success",
        "Success",
        "Error",
        "Skipped",
    ]


def test_a_run_past_its_time_is_cancelled_with_that_reason(
    claimed: MakeRun, job_of: Callable[..., Job]
) -> None:
    run = carried_out(claimed(job_of("dbt seed", timeout_seconds=2)))

    assert run.status == RunStatus.CANCELLED
    assert run.cancel_reason == CancelReason.TIMEOUT
    assert "longer than its limit of 2 seconds" in run.status_message


def test_a_run_that_is_cancelled_meanwhile_stops(
    claimed: MakeRun, job_of: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = record.RunRecorder.step_started

    def cancelled_in_step_4(recorder: record.RunRecorder, index: int) -> None:
        started(recorder, index)
        if index == 4:
            cancel_run(Run.objects.get(pk=recorder.run.pk), by="ana@example.com")

    monkeypatch.setattr(record.RunRecorder, "step_started", cancelled_in_step_4)

    run = carried_out(claimed(job_of("dbt seed", "dbt run")))

    assert run.status == RunStatus.CANCELLED
    assert run.status_message == "Cancelled by ana@example.com."
    assert run.cancel_reason == CancelReason.USER
    assert [step.status_humanized for step in run.steps.all()][3:] == ["Cancelled", "Skipped"]


def test_what_is_missing_ends_the_run_with_its_sentence(claimed: MakeRun) -> None:
    environment = EnvironmentFactory(name="Production", connection=None, project__connection=None)
    run = carried_out(claimed(JobFactory(environment=environment)))

    assert run.status == RunStatus.ERROR
    assert run.status_message.startswith("The environment Production has no connection.")


def test_a_step_that_is_no_longer_allowed_ends_the_run_with_its_sentence(
    claimed: MakeRun,
) -> None:
    run = claimed()
    run.configuration["execute_steps"] = ["dbt run --profiles-dir /etc"]

    done = carried_out(run)

    assert done.status == RunStatus.ERROR
    assert "--profiles-dir" in done.status_message


def test_a_bug_ends_the_run_without_showing_its_words(
    claimed: MakeRun, settings: Any, job_of: Callable[..., Job]
) -> None:
    run = claimed(job_of("dbt run"))
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]  # nothing can be decrypted

    done = carried_out(run)

    assert done.status == RunStatus.ERROR
    assert done.status_message.startswith("The run stopped because of a problem in this service.")
    assert "FIELD_ENCRYPTION_KEYS" not in done.status_message


def test_a_full_disk_under_the_stored_files_is_said_in_words(
    claimed: MakeRun, job_of: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifacts, "put", full)

    done = carried_out(claimed(job_of("dbt run")))

    assert done.status == RunStatus.ERROR
    assert done.status_message.startswith("The worker has no disk space left.")


def test_a_recorder_that_fails_stops_the_steps_and_ends_the_run(
    claimed: MakeRun, job_of: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, machine: Path
) -> None:
    def full(*arguments: object) -> None:
        raise RuntimeError("the store of artifacts is broken")

    monkeypatch.setattr(artifacts, "put", full)

    done = carried_out(claimed(job_of("dbt run", "dbt run")))

    assert done.status == RunStatus.ERROR
    assert "broken" not in done.status_message
    assert [step.status_humanized for step in done.steps.all()][3:] == ["Error", "Skipped"]
    assert list((machine / "workspaces").glob("run-*")) == []


def test_a_run_that_was_taken_away_is_left_to_the_watchdog(
    claimed: MakeRun, job_of: Callable[..., Job]
) -> None:
    run = claimed(job_of("dbt run"))
    let_lapse(run)

    done = carried_out(run)

    assert done.status == RunStatus.STARTING
    assert done.transitions.count() == 2


def test_a_run_that_nobody_may_have_is_not_executed(queued: MakeRun) -> None:
    run = cancel_run(queued(), by="ana@example.com")

    execute_run(run.pk)

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert not run.steps.exists()


# --- How it ends -----------------------------------------------------------------------------


def test_a_run_that_finished_while_it_was_being_cancelled_is_finished(claimed: MakeRun) -> None:
    run = claimed()
    run.move_to(RunStatus.RUNNING)
    cancel_run(Run.objects.get(pk=run.pk), by="ana@example.com")

    execute.finish(run, Outcome(ending=Ending.SUCCESS))

    run.refresh_from_db()
    assert (run.status, run.status_message, run.cancel_reason) == (RunStatus.SUCCESS, "", "")


def test_a_run_that_was_ended_by_another_is_not_ended_again(claimed: MakeRun) -> None:
    run = claimed()
    Run.objects.get(pk=run.pk).move_to(RunStatus.ERROR, message="The watchdog was here.")

    with pytest.raises(LostRace):
        execute.finish(run, Outcome(ending=Ending.ERROR, message="Late."))

    run.refresh_from_db()
    assert run.status_message == "The watchdog was here."


def test_a_holder_of_an_old_token_ends_nothing(claimed: MakeRun) -> None:
    run = claimed()
    Run.objects.filter(pk=run.pk).update(token=run.token + 1)

    with pytest.raises(LostRace):
        execute.finish(run, Outcome(ending=Ending.ERROR))

    assert Run.objects.get(pk=run.pk).status == RunStatus.STARTING


def test_an_end_is_written_although_the_database_was_away_for_a_moment(
    claimed: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claimed()
    monkeypatch.setattr(record.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(connection, "close", lambda: None)
    refusals = iter([OperationalError("the server is restarting")] * 2)
    finish = execute.finish

    def unlucky(run: Run, outcome: Outcome) -> None:
        finish(run, outcome)  # is rolled back, as if the commit had failed
        for refusal in refusals:
            raise refusal

    monkeypatch.setattr(execute, "finish", unlucky)
    environment = EnvironmentFactory(connection=None, project__connection=None)
    run.environment = environment

    execute.execute(run)

    assert Run.objects.get(pk=run.pk).status == RunStatus.ERROR


def test_the_end_and_its_steps_are_one_write(
    claimed: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = claimed()
    write_steps(run, steps_of(run, "Warehouse"))

    def fail(run: Run) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr(execute, "close_steps", fail)
    with pytest.raises(RuntimeError):
        execute.finish(run, Outcome(ending=Ending.ERROR))

    assert Run.objects.get(pk=run.pk).status == RunStatus.STARTING


# --- User ids --------------------------------------------------------------------------------


@pytest.fixture
def root(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that may give out two user ids."""
    settings.RUN_UIDS = "20001-20002"
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("root")
def test_two_runs_of_a_machine_have_two_user_ids() -> None:
    with execute.user_id() as one, execute.user_id() as other:
        assert {one, other} == {20001, 20002}


@pytest.mark.usefixtures("root")
def test_a_user_id_is_free_once_its_run_has_ended() -> None:
    for _time in range(3):
        with execute.user_id() as uid:
            assert uid == 20001


@pytest.mark.usefixtures("root")
def test_a_run_without_a_user_id_of_its_own_is_refused() -> None:
    with (
        execute.user_id(),
        execute.user_id(),
        pytest.raises(execute.NoUserIdFree, match="widen the range"),
        execute.user_id(),
    ):
        raise AssertionError("a third run has got a user id")


@pytest.mark.parametrize(("uids", "worker"), [("", 0), ("20001-20002", 1000)])
def test_without_a_range_or_root_runs_keep_the_workers_user_id(
    settings: Any, monkeypatch: pytest.MonkeyPatch, uids: str, worker: int
) -> None:
    settings.RUN_UIDS = uids
    monkeypatch.setattr(os, "geteuid", lambda: worker)

    with execute.user_id() as uid:
        assert uid is None
