"""The run's profiles.yml: one profile with one output, every secret by ``env_var`` only."""

from __future__ import annotations

from pathlib import Path

import yaml

from jobsvc.engine.plan import ProfilePlan
from jobsvc.engine.workspace import write_private

PROFILE_NAME = "jobsvc"
FILE_NAME = "profiles.yml"


def write_profile(plan: ProfilePlan, directory: Path) -> Path:
    """Write the profile that dbt finds by DBT_PROFILES_DIR and DBT_PROFILE; return its path.

    The output's key is the job's target name, so ``target.name`` is what the job says.
    ``plan.secrets`` is not written: dbt reads those values from its environment.
    """
    text = yaml.safe_dump(
        {
            PROFILE_NAME: {
                "target": plan.target_name,
                "outputs": {plan.target_name: dict(plan.output)},
            }
        },
        sort_keys=False,
        allow_unicode=True,
    )
    path = directory / FILE_NAME
    write_private(path, text, mode=0o400)
    return path
