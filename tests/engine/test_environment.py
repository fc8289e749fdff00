"""The dbt child's environment: nothing of this service, and nothing that moves dbt's places."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from jobsvc.engine.environment import child_environment
from jobsvc.engine.workspace import StepDirectories, Workspace


@pytest.fixture
def places(tmp_path: Path) -> tuple[Workspace, StepDirectories]:
    return Workspace(tmp_path), StepDirectories(tmp_path / "target", tmp_path / "logs")


def test_nothing_of_this_process_is_inherited(
    monkeypatch, repository, plan_of, toolchain, places
) -> None:
    monkeypatch.setenv("SECRET_KEY", "django's own")
    monkeypatch.setenv("DBT_FROM_THE_WORKER", "x")

    environment = child_environment(plan_of(repository), *places)

    assert "SECRET_KEY" not in environment
    assert "DBT_FROM_THE_WORKER" not in environment
    assert environment["PATH"] == (
        f"{Path(toolchain.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    )


def test_the_jobs_variables_and_secrets_are_there(repository, plan_of, places) -> None:
    plan = plan_of(
        repository,
        environment={"DBT_COUNTRY": "CH"},
        profile={"secrets": {"DBT_ENV_SECRET_JOBSVC_PASSWORD": "hunter2"}},
    )

    environment = child_environment(plan, *places)

    assert environment["DBT_COUNTRY"] == "CH"
    assert environment["DBT_ENV_SECRET_JOBSVC_PASSWORD"] == "hunter2"


@pytest.mark.parametrize(
    "name", ["DBT_PROFILES_DIR", "DBT_TARGET_PATH", "DBT_LOG_PATH", "DBT_PROFILE", "HOME", "PATH"]
)
def test_a_jobs_variable_moves_nothing_of_the_runs_own(repository, plan_of, places, name) -> None:
    plan = plan_of(repository)
    plain = child_environment(plan, *places)
    given = {name: "/tmp/x", name.replace("DBT_", "DBT_ENGINE_"): "/tmp/x"}

    environment = child_environment(dataclasses.replace(plan, environment=given), *places)

    assert environment == plain
