"""Real things to run: a git repository, a dbt project on DuckDB, and a plan for both."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobsvc.engine import runner
from jobsvc.engine.plan import (
    CheckoutPlan,
    ProfilePlan,
    RunPlan,
    SandboxPlan,
    StatePlan,
    StepKind,
    StepPlan,
    ToolchainPlan,
)
from jobsvc.engine.ports import Ending, NodeEvent, StepEnd, Stream
from jobsvc.engine.state import FILES
from jobsvc.engine.toolchain import ExecutableToolchain

ROOT = Path(__file__).resolve().parents[2]
DBT = Path(os.environ.get("JOBSVC_TEST_DBT", ROOT / ".toolchains" / "dbt-1.11" / "bin" / "dbt"))

PROJECT = """\
name: shop
version: "1.0"
profile: whatever
models: {+materialized: table}
"""

KINDS = {
    "Clone git repository": StepKind.CLONE,
    "Create profile from connection Warehouse": StepKind.PROFILE,
}


class Repository:
    """A bare repository and the work tree that feeds it."""

    def __init__(self, place: Path) -> None:
        self.bare = place / "shop.git"
        self._tree = place / "tree"
        _git(place, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        _git(place, "init", "--quiet", "--initial-branch=main", str(self._tree))
        _git(self._tree, "remote", "add", "origin", str(self.bare))

    @property
    def url(self) -> str:
        return self.bare.as_uri()

    def commit(self, files: Mapping[str, str], *, branch: str = "main") -> str:
        """Write files, commit, push; the commit's id."""
        _git(self._tree, "checkout", "--quiet", "-B", branch)
        for path, text in files.items():
            file = self._tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        _git(self._tree, "add", "--all")
        _git(self._tree, "commit", "--quiet", "--allow-empty", "--message", "Change the shop")
        self.git("push", "--quiet", "--force", "origin", branch)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Any git command in the work tree."""
        return _git(self._tree, *arguments)

    def in_bare(self, *arguments: str) -> str:
        """Any git command in the bare repository."""
        return _git(self.bare, *arguments)


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments],
        cwd=directory,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    place = tmp_path / "git"
    place.mkdir()
    return Repository(place)


@pytest.fixture
def shop(repository: Repository) -> Repository:
    """A repository with a dbt project of one model."""
    repository.commit({"dbt_project.yml": PROJECT, "models/orders.sql": "select 1 as id"})
    return repository


@dataclass
class Recording:
    """A Recorder that remembers; ``events`` has what it was told, without the logs, in order."""

    events: list[Any] = field(default_factory=list)
    ends: list[StepEnd] = field(default_factory=list)
    layers: Mapping[str, int | bool] = field(default_factory=dict)
    git_sha: str = ""
    git_branch: str = ""
    schemas: list[tuple[str, str]] = field(default_factory=list)
    nodes: list[tuple[int, NodeEvent]] = field(default_factory=list)
    stop_when: Callable[[Recording], bool] = lambda _: False
    _texts: dict[tuple[int, Stream], list[str]] = field(default_factory=dict)

    def workspace_ready(self, *, git_sha: str, git_branch: str) -> None:
        self.git_sha, self.git_branch = git_sha, git_branch
        self.events.append("ready")

    def isolated(self, layers: Mapping[str, int | bool]) -> None:
        self.layers = layers
        self.events.append("isolated")

    def will_build(self, schemas: Sequence[tuple[str, str]]) -> None:
        self.schemas += schemas

    def step_started(self, index: int) -> None:
        self.events.append(("started", index))

    def output(self, index: int, stream: Stream, text: str) -> None:
        self._texts.setdefault((index, stream), []).append(text)

    def node(self, index: int, event: NodeEvent) -> None:
        self.nodes.append((index, event))

    def step_ended(self, end: StepEnd) -> None:
        self.events.append((end.ending, end.index))
        self.ends.append(end)

    def should_stop(self) -> bool:
        return self.stop_when(self)

    def console(self, index: int) -> str:
        return "".join(self._texts.get((index, Stream.CONSOLE), []))

    def debug(self, index: int) -> str:
        return "".join(self._texts.get((index, Stream.DEBUG), []))

    def records(self, index: int) -> str:
        return "".join(self._texts.get((index, Stream.EVENTS), []))

    def everything_said(self) -> str:
        texts = ["".join(pieces) for pieces in self._texts.values()]
        return "\n".join([*texts, *(end.message for end in self.ends)])

    def end(self, index: int) -> StepEnd:
        return next(end for end in self.ends if end.index == index)

    def endings(self) -> list[Ending]:
        return [end.ending for end in self.ends]

    def artifact(self, index: int, path: str) -> bytes:
        found = {collected.path: collected for collected in self.end(index).artifacts}
        return found[path].file.read_bytes()

    def artifacts(self, index: int) -> list[str]:
        return [collected.path for collected in self.end(index).artifacts]


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture(scope="session")
def toolchain() -> ToolchainPlan:
    return ExecutableToolchain({"here": str(DBT)}).resolve("here", ["duckdb", "postgres"])


@pytest.fixture
def plan_of(tmp_path: Path, toolchain: ToolchainPlan) -> Callable[..., RunPlan]:
    """Make a plan for a repository: clone, profile, and the given dbt commands as steps 3 …"""
    return plans_below(tmp_path, toolchain)


def plans_below(place: Path, toolchain: ToolchainPlan) -> Callable[..., RunPlan]:
    """What makes plans of runs whose workspaces and warehouse are below ``place``."""
    workspaces = place / "workspaces"
    warehouse = place / "warehouse"
    workspaces.mkdir()
    warehouse.mkdir()

    def make(repository: Repository, *commands: str | StepPlan, **changes: Any) -> RunPlan:
        named = [
            StepPlan(index=index, name=name, kind=kind)
            for index, (name, kind) in enumerate(KINDS.items(), start=1)
        ]
        for index, command in enumerate(commands, start=3):
            if isinstance(command, StepPlan):
                named.append(dataclasses.replace(command, index=index))
            else:
                named.append(
                    StepPlan(
                        index=index,
                        name=f"Invoke dbt with `{command}`",
                        kind=StepKind.COMMAND,
                        command=command,
                    )
                )
        checkout = changes.pop("checkout", {})
        sandbox = changes.pop("sandbox", {})
        profile = changes.pop("profile", {})
        return RunPlan(
            **{
                "run_id": 7,
                "attempt": 1,
                "workspaces": str(workspaces),
                "checkout": CheckoutPlan(
                    **{
                        "url": repository.url,
                        "local_roots": (str(repository.bare.parent),),
                        **checkout,
                    }
                ),
                "profile": ProfilePlan(
                    **{
                        "connection_name": "Warehouse",
                        "target_name": "default",
                        "output": {
                            "type": "duckdb",
                            "path": str(warehouse / "shop.duckdb"),
                            "threads": 2,
                        },
                        **profile,
                    }
                ),
                "toolchain": toolchain,
                "sandbox": SandboxPlan(
                    **{"need": ("landlock:1",), "read_write": (str(warehouse),), **sandbox}
                ),
                "steps": tuple(named),
                **changes,
            }
        )

    return make


@pytest.fixture
def production(
    shop: Repository, plan_of: Callable[..., RunPlan], tmp_path: Path
) -> Callable[..., StatePlan]:
    """Builds the project as it is now in the schema ``main``, and makes its state a plan's."""
    runs = iter(range(100, 200))

    def build(*commands: str, favor_state: bool = False) -> StatePlan:
        recording = Recording()
        number = next(runs)
        outcome = runner.run(plan_of(shop, *(commands or ("dbt build",)), run_id=number), recording)
        assert outcome.ending is Ending.SUCCESS, outcome.message
        place = tmp_path / f"state-{number}"
        return state_of(recording, place, number, favor_state=favor_state)

    return build


def state_of(
    recording: Recording, place: Path, number: int, *, favor_state: bool = False
) -> StatePlan:
    """What a run left, put where a plan has its state."""
    place.mkdir()
    for end in recording.ends:
        for collected in end.artifacts:
            if collected.path in FILES:
                shutil.copy(collected.file, place / collected.path)
    return StatePlan(
        directory=str(place), sentence=f"Deferring to run {number}.", favor_state=favor_state
    )


@pytest.fixture
def pull_request(
    plan_of: Callable[..., RunPlan], shop: Repository, tmp_path: Path
) -> Callable[..., RunPlan]:
    """The plan of a run in the schema ``pr`` of the same warehouse."""
    output = {"type": "duckdb", "path": str(tmp_path / "warehouse" / "shop.duckdb"), "schema": "pr"}

    def make(state: StatePlan | None, *steps: str | StepPlan, **changes: object) -> RunPlan:
        return plan_of(shop, *steps, profile={"output": output}, state=state, **changes)

    return make
