"""A worker for the canary: ``python -m tests.canary.worker confined|naive``.

Reads what to run as JSON on stdin and writes what came of it as JSON on stdout. ``confined`` is
the engine as it is; ``naive`` is what one would write without thinking: dbt as a plain child.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobsvc.engine.plan import (
    CheckoutPlan,
    ProfilePlan,
    RunPlan,
    SandboxPlan,
    StepKind,
    StepPlan,
)
from jobsvc.engine.ports import NodeEvent, StepEnd, Stream
from jobsvc.engine.sandbox import harden_this_process
from jobsvc.engine.supervise import supervise
from jobsvc.engine.toolchain import ExecutableToolchain

WAREHOUSE = {"type": "duckdb", "path": "canary.duckdb", "threads": 1}
IN_MEMORY = ctypes.create_string_buffer(b"PLANTED in the worker's memory")


class Listener:
    """A recorder that keeps the console log of the dbt step and its results."""

    def __init__(self) -> None:
        self.said = ""
        self.results = ""
        self.layers: dict[str, int | bool] = {}

    def workspace_ready(self, *, git_sha: str, git_branch: str) -> None:
        """Nothing to note."""

    def isolated(self, layers: Mapping[str, int | bool]) -> None:
        self.layers = dict(layers)

    def will_build(self, schemas: Sequence[tuple[str, str]]) -> None:
        """Nothing to note."""

    def node(self, index: int, event: NodeEvent) -> None:
        """Nothing to note."""

    def step_started(self, index: int) -> None:
        """Nothing to note."""

    def output(self, index: int, stream: Stream, text: str) -> None:
        if stream is Stream.CONSOLE:
            self.said += text

    def step_ended(self, end: StepEnd) -> None:
        for kept in end.artifacts:
            if kept.path == "run_results.json":
                self.results = kept.file.read_text()

    def should_stop(self) -> bool:
        return False


def confined(task: dict[str, Any]) -> dict[str, Any]:
    harden_this_process()
    listener = Listener()
    plan = RunPlan(
        run_id=1,
        attempt=1,
        workspaces=task["workspaces"],
        checkout=CheckoutPlan(url=task["repository"], local_roots=(task["repositories"],)),
        profile=ProfilePlan(connection_name="Nest", target_name="default", output=WAREHOUSE),
        toolchain=ExecutableToolchain({"here": task["dbt"]}).resolve("here", ["duckdb"]),
        sandbox=SandboxPlan(need=("landlock:6", "seccomp")),
        steps=(
            StepPlan(index=1, name="Clone git repository", kind=StepKind.CLONE),
            StepPlan(index=2, name="Create profile", kind=StepKind.PROFILE),
            StepPlan(index=3, name="dbt run", kind=StepKind.COMMAND, command="dbt run"),
        ),
        environment={"DBT_CANARY": json.dumps(task["facts"])},
    )
    outcome = supervise(plan, listener)
    return {
        "said": listener.said,
        "results": listener.results,
        "layers": listener.layers,
        "message": outcome.message,
    }


def naive(task: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=task["workspaces"]) as place:
        project = Path(place, "project")
        shutil.copytree(task["source"], project)
        profile = {"canary": {"target": "default", "outputs": {"default": WAREHOUSE}}}
        (project / "profiles.yml").write_text(json.dumps(profile))
        done = subprocess.run(
            [task["dbt"], "run"],
            cwd=project,
            env={
                **os.environ,
                "DBT_PROFILES_DIR": str(project),
                "DBT_SEND_ANONYMOUS_USAGE_STATS": "0",
                "DBT_CANARY": json.dumps(task["facts"]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        results = (project / "target" / "run_results.json").read_text()
    return {"said": done.stdout, "results": results, "layers": {}, "message": ""}


def main() -> None:
    task = json.load(sys.stdin)
    task["facts"] |= {"worker": os.getpid(), "address": ctypes.addressof(IN_MEMORY)}
    signals: list[int] = []
    for number in (signal.SIGURG, signal.SIGWINCH):
        signal.signal(number, lambda arrived, _: signals.append(arrived))
    result = {"confined": confined, "naive": naive}[sys.argv[1]](task)
    json.dump({**result, "signals": signals}, sys.stdout)


if __name__ == "__main__":
    main()
