"""profiles.yml: one profile, one output, no secret."""

from __future__ import annotations

from pathlib import Path

import yaml

from jobsvc.engine.plan import ProfilePlan
from jobsvc.engine.profiles import write_profile

PLAN = ProfilePlan(
    connection_name="Warehouse",
    target_name="prod: {{ x }}",
    output={
        "type": "postgres",
        "host": "db.example.com",
        "port": 5432,
        "password": "{{ env_var('DBT_ENV_SECRET_JOBSVC_PASSWORD') }}",
        "threads": 4,
    },
    secrets={"DBT_ENV_SECRET_JOBSVC_PASSWORD": "hunter2-hunter2"},
)


def test_the_profile_has_one_output_named_by_the_jobs_target(tmp_path: Path) -> None:
    found = yaml.safe_load(write_profile(PLAN, tmp_path).read_text())

    assert found == {
        "jobsvc": {"target": "prod: {{ x }}", "outputs": {"prod: {{ x }}": dict(PLAN.output)}}
    }


def test_no_secret_is_written(tmp_path: Path) -> None:
    path = write_profile(PLAN, tmp_path)

    assert "hunter2" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o400
