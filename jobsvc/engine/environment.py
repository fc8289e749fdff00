"""What a child of a toolchain finds and may reach: all of it said here, nothing inherited.

Its environment is built from nothing, so nothing of this service is in it.
"""

from __future__ import annotations

from pathlib import Path

from jobsvc.engine.plan import ChildPlan
from jobsvc.engine.profiles import PROFILE_NAME
from jobsvc.engine.sandbox import Confinement
from jobsvc.engine.workspace import StepDirectories, Workspace

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
ENGINE_PREFIX = "DBT_ENGINE_"  # dbt reads each DBT_X of its own also as DBT_ENGINE_X


def child_environment(
    plan: ChildPlan, workspace: Workspace, directories: StepDirectories
) -> dict[str, str]:
    """All that the dbt process of one step finds in its environment.

    What the engine sets wins over what a job sets: a job's variables cannot move dbt's
    directories or choose another profile, whatever let them through before.
    """
    own = {
        "PATH": f"{Path(plan.toolchain.executable).parent}:{SYSTEM_PATH}",
        "HOME": str(workspace.home),
        "TMPDIR": str(workspace.tmp),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        # Output as it happens, and no attempt to write beside a read-only installation.
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "DBT_PROFILES_DIR": str(workspace.profile),
        "DBT_PROFILE": PROFILE_NAME,
        "DBT_TARGET_PATH": str(directories.target),
        "DBT_LOG_PATH": str(directories.logs),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_USE_COLORS": "false",
        "DBT_USE_COLORS_FILE": "false",
        # Read as it grows: lines for people, and which node begins and ends (engine.events).
        "DBT_LOG_FORMAT_FILE": "json",
        "DBT_LOG_LEVEL_FILE": "debug",
        # One debug log that only grows, so that it can be followed; 0 switches rotation off.
        "DBT_LOG_FILE_MAX_BYTES": "0",
        # For `dbt deps`: git packages by the rules of the checkout.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ALLOW_PROTOCOL": "https:ssh",
    }
    taken = {name.replace("DBT_", ENGINE_PREFIX, 1) for name in own if name.startswith("DBT_")}
    given = {**plan.environment, **plan.profile.secrets}
    return {name: value for name, value in given.items() if name not in taken} | own


def child_confinement(
    plan: ChildPlan, workspace: Workspace, directories: StepDirectories
) -> Confinement:
    """What such a process may reach: of the workspace, its toolchain, and what the plan names."""
    asked = plan.sandbox
    read_only = (workspace.profile, workspace.state, workspace.asides)
    read_write = (
        workspace.project,
        workspace.home,
        workspace.tmp,
        directories.target,
        directories.logs,
    )
    return Confinement(
        read_only=(*map(str, read_only), *plan.toolchain.read_only, *asked.read_only),
        read_write=(*map(str, read_write), *asked.read_write),
        ports=asked.ports,
        uid=workspace.uid,
        rlimits=asked.rlimits,
        need=asked.need,
    )
