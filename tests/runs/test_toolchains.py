"""Which dbt a run gets: who is asked first, what is installed, and what is refused in words.

Nothing is downloaded here: the index that uv is told to ask is an empty folder.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from environments.models import Environment
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.plan import ToolchainPlan
from jobsvc.engine.toolchain_build import Stopped
from jobsvc.runs import toolchains
from jobsvc.runs.execute import execute
from jobsvc.runs.models import Run
from jobsvc.runs.plan import connection_of
from jobsvc.runs.record import RunRecorder
from jobsvc.runs.steps import steps_of, write_steps
from jobsvc.runs.trigger import trigger_run
from jobsvc.statuses import RunStatus
from tests.factories import EnvironmentFactory, JobFactory
from tests.runs.conftest import BY_API

pytestmark = pytest.mark.django_db

Install = Callable[..., Path]


@pytest.fixture
def empty(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No dbt at all, and an index that has no package."""
    settings.TOOLCHAINS_DIR = tmp_path / "toolchains"
    settings.WORKSPACES_DIR = tmp_path / "workspaces"
    settings.WAREHOUSES_DIR = tmp_path / "warehouses"
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"file://{tmp_path}/index")
    monkeypatch.setenv("UV_OFFLINE", "1")
    return Path(settings.TOOLCHAINS_DIR)


@pytest.fixture
def install(empty: Path) -> Install:
    """``install("1.11.16", ["duckdb"])`` makes what looks like an environment with it."""

    def make(version: str, adapters: Sequence[str], name: str = "") -> Path:
        root = empty / (name or f"dbt-{version}-{'-'.join(adapters)}")
        for package in ("core", *adapters):
            site = root / "lib" / "python3.11" / "site-packages"
            (site / f"dbt_{package}-{version}.dist-info").mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "bin" / "dbt").write_text("#!/bin/sh\n")
        return root

    return make


@pytest.fixture
def environment() -> Environment:
    return EnvironmentFactory()  # a DuckDB


def run_in(environment: Environment, job: dict[str, Any] | None = None, **overrides: Any) -> Run:
    made = JobFactory(environment=environment, **job or {})
    return trigger_run(made, replace(BY_API, **overrides))


def ready(run: Run) -> ToolchainPlan:
    return toolchains.ready(run, connection_of(run), should_stop=lambda: False)


# --- Who is asked first ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "job", "environment", "account", "wins"),
    [
        ("1.9.x", "1.10.x", "1.11.x", "1.8.x", "1.9.x"),
        (None, "1.10.x", "1.11.x", "1.8.x", "1.10.x"),
        (None, None, "1.11.x", "1.8.x", "1.11.x"),
        (None, None, "", "1.8.x", "1.8.x"),
        (None, None, "", "latest", "latest"),
    ],
)
def test_the_run_is_asked_first_then_its_job_its_environment_its_account(
    run: str | None, job: str | None, environment: str, account: str, wins: str
) -> None:
    place = EnvironmentFactory(
        dbt_version=environment, project__account__default_dbt_version=account
    )

    asked = run_in(place, job={"dbt_version": job}, dbt_version_override=run)

    assert toolchains.wanted_version(asked) == wins


# --- What is installed is used ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("1.11.9", "1.11.9"),
        ("1.11.x", "1.11.16"),
        ("~=1.10", "1.10.2"),
        ("latest", "1.11.16"),
        ("versionless", "1.11.16"),
        ("compatible", "1.11.16"),
        ("extended", "1.11.16"),
        ("ours", "1.12.0"),
    ],
)
def test_what_is_installed_is_used_without_a_word_to_the_index(
    environment: Environment, install: Install, version: str, found: str
) -> None:
    install("1.10.2", ["duckdb"])
    install("1.11.9", ["duckdb"])
    install("1.11.16", ["duckdb", "postgres"])
    install("1.12.0", ["duckdb"], name="ours")
    environment.dbt_version = version

    plan = ready(run_in(environment))

    # A track is the newest there is, an administrator's own choice included.
    assert plan.version == ("1.12.0" if found == "1.11.16" and version != "1.11.x" else found)
    assert plan.note == ""


def test_of_two_environments_the_one_with_nothing_else_in_it_is_used(
    environment: Environment, install: Install
) -> None:
    install("1.11.16", ["duckdb", "postgres", "snowflake"])
    slim = install("1.11.16", ["duckdb"])

    assert ready(run_in(environment)).executable == str(slim / "bin" / "dbt")


def test_an_environment_that_is_being_made_is_not_seen(
    environment: Environment, install: Install
) -> None:
    install("1.11.16", ["duckdb"], name=".making-1.11.16-duckdb")

    assert toolchains.installed() == {}


# --- What cannot be had is said ----------------------------------------------------------------


def sentence(run: Run) -> str:
    with pytest.raises(RunFailure) as failure:
        ready(run)
    return str(failure.value)


def test_without_an_index_the_run_fails_with_the_installers_own_words(
    environment: Environment, install: Install
) -> None:
    install("1.11.16", ["duckdb"])

    said = sentence(run_in(environment, dbt_version_override="1.10.23"))

    assert said.startswith("dbt 1.10.23 with duckdb could not be installed: ")
    assert "agate" in said or "dbt-core" in said  # what uv missed
    assert "(installed: 1.11.16 with duckdb)" in said
    assert "file://" not in said


def test_nothing_half_made_is_left_of_it(environment: Environment, empty: Path) -> None:
    sentence(run_in(environment, dbt_version_override="1.10.23"))

    assert [path.name for path in empty.iterdir() if path.name.startswith((".making", "dbt"))] == []


@pytest.mark.parametrize("version", ["1.12.0", "1.12.x", "2.0.0", "2.1.x"])
def test_versions_that_are_not_offered_are_refused_with_the_reason(
    environment: Environment, empty: Path, version: str
) -> None:
    said = sentence(run_in(environment, dbt_version_override=version))

    assert f"dbt {version} is not to be had here: dbt 1.12 needs a package" in said
    assert "Choose one of: latest, versionless, compatible, extended, 1.11.x, 1.10.x" in said


def test_a_track_falls_back_on_what_is_installed_and_says_so(
    environment: Environment, install: Install
) -> None:
    install("1.10.2", ["duckdb"])

    plan = ready(run_in(environment, dbt_version_override="latest"))

    assert plan.version == "1.10.2"
    assert plan.note.startswith("A newer one could not be had. dbt 1.11.")


def test_a_series_never_falls_back_on_another(environment: Environment, install: Install) -> None:
    install("1.10.2", ["duckdb"])

    assert "could not be installed" in sentence(run_in(environment, dbt_version_override="1.11.x"))


def test_no_run_has_a_package_installed_that_somebody_only_named(
    environment: Environment, install: Install
) -> None:
    install("1.11.16", ["duckdb"])
    connection = environment.connection
    assert connection is not None
    connection.adapter, connection.adapter_version = "custom", "custom_v0"
    connection.config = {"type": "evil"}

    said = sentence(run_in(environment))

    assert said.startswith("dbt latest with evil is not installed on this server.")


# --- Waiting -----------------------------------------------------------------------------------


def test_a_run_that_waits_for_anothers_installing_can_be_stopped(
    environment: Environment, empty: Path
) -> None:
    (empty / ".locks").mkdir(parents=True)
    run = run_in(environment, dbt_version_override="1.10.23")
    looks = iter([False, False, True])

    with (empty / ".locks" / "1.10.23-duckdb").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Stopped):
            toolchains.ready(run, connection_of(run), should_stop=lambda: next(looks))


def test_a_run_that_waits_keeps_its_lease(
    environment: Environment, empty: Path, settings: Any
) -> None:
    settings.HEARTBEAT_SECONDS = 0
    (empty / ".locks").mkdir(parents=True)
    run = Run.objects.claim(run_in(environment, dbt_version_override="1.10.23").pk, worker="w1")
    assert run is not None
    write_steps(run, steps_of(run, "Warehouse"))
    leases = [run.lease_until]

    def look(recorder: RunRecorder) -> bool:
        recorder.should_stop()
        leases.append(Run.objects.get(pk=run.pk).lease_until)
        return len(leases) > 3

    with (empty / ".locks" / "1.10.23-duckdb").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Stopped):
            toolchains.ready(run, connection_of(run), should_stop=partial(look, RunRecorder(run)))

    assert leases == sorted(set(leases))


def test_a_run_cancelled_before_its_dbt_is_there_ends_as_cancelled(
    environment: Environment, empty: Path
) -> None:
    (empty / ".locks").mkdir(parents=True)
    run = Run.objects.claim(run_in(environment, dbt_version_override="1.10.23").pk, worker="w1")
    assert run is not None
    Run.objects.filter(pk=run.pk).update(
        cancel_requested_at=run.dequeued_at, cancel_requested_by="ana@example.com"
    )

    with (empty / ".locks" / "1.10.23-duckdb").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        execute(run)

    run.refresh_from_db()
    assert (run.status, run.status_message) == (
        RunStatus.CANCELLED,
        "Cancelled by ana@example.com.",
    )


def test_a_run_whose_dbt_cannot_be_had_fails_before_anything_else(
    environment: Environment, empty: Path
) -> None:
    run = Run.objects.claim(run_in(environment, dbt_version_override="1.10.23").pk, worker="w1")
    assert run is not None

    execute(run)

    run.refresh_from_db()
    assert run.status == RunStatus.ERROR
    assert run.status_message.startswith("dbt 1.10.23 with duckdb could not be installed: ")
    assert run.dbt_version is None
