"""A run in a process of its own: what the worker hears of it, and what is left when one dies."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobsvc.engine import runner
from jobsvc.engine import supervise as supervise_module
from jobsvc.engine.plan import RunPlan, ToolchainPlan
from jobsvc.engine.ports import Ending, LeaseLost, NodeEvent, Outcome, StepEnd, Stream
from jobsvc.engine.sandbox import available
from jobsvc.engine.supervise import supervise

ROOT = Path(__file__).resolve().parents[2]
STEP = 3  # the first step that is dbt's

LONG_QUERY = """
{{ config(materialized='table') }}
select count(*) as n from range(400000) a, range(400000) b where (a.range + b.range) % 7 = 1
"""

# A dbt whose every process can be found by the environment it got, and that says so.
DETACHING = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                 start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(600)
print("detached", flush=True)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("running", flush=True)
time.sleep(600)
"""


@dataclass
class Ear:
    """A recorder that remembers what it was told, and keeps the artifacts' contents."""

    stop_when: Callable[[Ear], bool] = lambda _: False
    on_output: Callable[[str], None] = lambda _: None
    heard: list[str] = field(default_factory=list)
    ends: dict[int, StepEnd] = field(default_factory=dict)
    layers: Mapping[str, int | bool] = field(default_factory=dict)
    git: tuple[str, str] = ("", "")
    said: str = ""
    files: dict[tuple[int, str], bytes] = field(default_factory=dict)
    asked_at: list[float] = field(default_factory=list)
    nodes: list[NodeEvent] = field(default_factory=list)

    def workspace_ready(self, *, git_sha: str, git_branch: str) -> None:
        self.heard.append("ready")
        self.git = (git_sha, git_branch)

    def isolated(self, layers: Mapping[str, int | bool]) -> None:
        self.heard.append("isolated")
        self.layers = layers

    def step_started(self, index: int) -> None:
        self.heard.append(f"{index} started")

    def will_build(self, schemas: Sequence[tuple[str, str]]) -> None:
        self.heard.append(f"builds {schemas}")

    def node(self, index: int, event: NodeEvent) -> None:
        self.nodes.append(event)

    def output(self, index: int, stream: Stream, text: str) -> None:
        self.on_output(text)
        if stream is Stream.CONSOLE and index >= STEP:
            self.said += text

    def step_ended(self, end: StepEnd) -> None:
        self.heard.append(f"{end.index} {end.ending}")
        self.ends[end.index] = end
        for kept in end.artifacts:
            self.files[end.index, kept.path] = kept.file.read_bytes()

    def should_stop(self) -> bool:
        self.asked_at.append(time.monotonic())
        return self.stop_when(self)


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def supervisors_of(parent: int) -> list[int]:
    return [
        pid
        for pid in pids()
        if b"jobsvc.engine.supervisor" in read(pid, "cmdline")
        and f"PPid:\t{parent}\n".encode() in read(pid, "status")
    ]


@dataclass
class Marked:
    """A plan whose processes can be told from all others."""

    plan: RunPlan
    mark: str

    def survivors(self) -> list[int]:
        return [pid for pid in pids() if self.mark.encode() in read(pid, "environ")]

    @property
    def workspace(self) -> Path:
        return Path(self.plan.workspaces) / f"run-{self.plan.run_id}-{self.plan.attempt}"


@pytest.fixture
def marked(shop: Any, plan_of: Callable[..., RunPlan], tmp_path: Path) -> Callable[[str], Marked]:
    """Make a plan of one ``dbt run`` that executes Python text in dbt's place."""

    def make(text: str, **changes: Any) -> Marked:
        dbt = tmp_path / "bin" / "dbt"
        dbt.parent.mkdir()
        dbt.write_text(f"#!{sys.executable}\n{text}")
        dbt.chmod(0o755)
        python = {str(dbt.parent), sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)}
        mark = f"mark-{uuid.uuid4().hex}"
        plan = dataclasses.replace(
            plan_of(shop, "dbt run", **changes),
            toolchain=ToolchainPlan(
                version="0", executable=str(dbt), read_only=tuple(sorted(python))
            ),
            environment={"DBT_MARK": mark},
            stop_grace_seconds=1,
        )
        return Marked(plan, mark)

    return make


@pytest.fixture
def worker() -> Iterator[Callable[[RunPlan], subprocess.Popen[bytes]]]:
    """Start a stand-in worker: a process that supervises a plan and prints what it hears."""
    started = []

    def start(plan: RunPlan) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.stand_in_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(plan.to_json().encode())
        process.stdin.close()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for_line(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the worker ended without saying {text!r}")


def wait_until(true: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# What the worker hears


def test_the_worker_hears_just_what_it_would_of_a_run_in_its_own_process(shop, plan_of):
    here, there = Ear(), Ear()
    plan = plan_of(shop, "dbt run")
    expected = runner.run(plan, here)

    outcome = supervise(dataclasses.replace(plan, attempt=2), there)

    assert outcome == expected == Outcome(ending=Ending.SUCCESS)
    assert there.heard == here.heard
    assert there.git == here.git == (shop.git("rev-parse", "HEAD"), "main")
    assert there.layers == here.layers == {**available(), "uid": False}
    assert there.files.keys() == here.files.keys()
    assert "Completed successfully" in there.said


def test_the_files_of_a_step_can_be_read_when_it_ends_and_are_gone_after_the_run(shop, plan_of):
    ear, plan = Ear(), plan_of(shop, "dbt run")

    supervise(plan, ear)

    results = json.loads(ear.files[STEP, "run_results.json"])["results"]
    assert [result["unique_id"] for result in results] == ["model.shop.orders"]
    assert list(Path(plan.workspaces).iterdir()) == []


def test_a_layer_that_is_demanded_and_missing_ends_the_run_with_a_sentence(shop, plan_of):
    ear = Ear()

    outcome = supervise(plan_of(shop, "dbt run", sandbox={"need": ("landlock:99",)}), ear)

    assert outcome.ending is Ending.ERROR
    assert "This server demands landlock:99 to confine a run" in outcome.message
    assert "isolated" not in ear.heard


def test_a_bug_ends_the_run_with_a_sentence_and_its_story_hides_secrets(shop, plan_of, capfd):
    secret = f"hunter{uuid.uuid4().hex}"
    plan = plan_of(shop, "dbt run", secrets=(secret,))
    plan = dataclasses.replace(plan, workspaces=f"/nowhere/{secret}")

    outcome = supervise(plan, Ear())

    assert outcome.message.startswith("The run stopped because of a problem in this service.")
    story = capfd.readouterr().err
    assert "FileNotFoundError" in story
    assert secret not in story


def test_whether_to_stop_is_asked_every_second_though_the_recorder_is_slow(marked):
    run = marked("for n in range(60): print('x' * 60000, flush=True)")
    ear = Ear(on_output=lambda _: time.sleep(0.05))

    assert supervise(run.plan, ear).ending is Ending.SUCCESS

    gaps = [later - earlier for earlier, later in pairwise(ear.asked_at)]
    assert max(gaps) < 2  # seconds, one of them for a busy machine
    assert ear.said.count("x") == 60 * 60000


def test_a_recorder_that_is_slow_does_not_slow_down_dbt(marked):
    """What it wrote waits in the supervisor, not in dbt's pipe."""
    run = marked(
        """
import time
began = time.monotonic()
for n in range(100): print("x" * 65536, flush=True)
print("took", time.monotonic() - began)
"""
    )
    ear = Ear(on_output=lambda _: time.sleep(0.05))

    supervise(run.plan, ear)

    assert float(ear.said.rpartition("took")[2]) < 2.5


def test_a_plan_may_be_larger_than_a_pipe(marked):
    run = marked(
        "import os; print(sum(len(v) for n, v in os.environ.items() if n[:6] == 'DBT_X_'))"
    )
    values = {f"DBT_X_{number}": "x" * 60_000 for number in range(8)}

    ear = Ear()
    supervise(dataclasses.replace(run.plan, environment=values), ear)

    assert ear.said.strip() == str(8 * 60_000)


# How it is stopped


def test_a_run_cancelled_in_the_middle_of_a_query_keeps_the_results_it_has(
    repository, plan_of, toolchain
):
    repository.commit(
        {
            "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: x\n",
            "models/quick.sql": "select 1 as id",
            "models/slow.sql": "-- depends_on: {{ ref('quick') }}\n" + LONG_QUERY,
        }
    )
    asked: list[float] = []

    def cancel(ear: Ear) -> bool:
        if "START sql table model main.slow" in ear.said:
            asked.append(time.monotonic())
        return bool(asked)

    ear = Ear(stop_when=cancel)
    outcome = supervise(plan_of(repository, "dbt run"), ear)

    assert outcome.ending is Ending.STOPPED
    assert time.monotonic() - asked[0] < 15
    results = json.loads(ear.files[STEP, "run_results.json"])["results"]
    assert {r["unique_id"]: r["status"] for r in results}["model.shop.quick"] == "success"


def test_a_cancelled_run_leaves_no_process(marked):
    run = marked(DETACHING + STUBBORN)

    outcome = supervise(run.plan, Ear(stop_when=lambda ear: "running" in ear.said))

    assert outcome.ending is Ending.STOPPED
    assert run.survivors() == []
    assert not run.workspace.exists()


def test_a_run_whose_lease_is_lost_stops_and_says_nothing_more(marked):
    run = marked(DETACHING + STUBBORN)

    def lose(ear: Ear) -> bool:
        if "running" in ear.said:
            ear.heard.append("lost")
            raise LeaseLost
        return False

    ear = Ear(stop_when=lose)
    with pytest.raises(LeaseLost):
        supervise(run.plan, ear)

    assert ear.heard[-1] == "lost"
    assert ear.heard.count("lost") == 1
    assert run.survivors() == []
    assert not run.workspace.exists()


def test_a_recorder_that_fails_stops_the_run_and_its_error_goes_on(marked):
    run = marked(DETACHING + STUBBORN)

    def fail(text: str) -> None:
        if "running" in text:
            raise ConnectionError("the database is gone")

    with pytest.raises(ConnectionError):
        supervise(run.plan, Ear(on_output=fail))

    assert run.survivors() == []
    assert not run.workspace.exists()


# What is left when one dies


def test_a_worker_that_is_killed_takes_all_of_its_run_with_it(marked, worker):
    run = marked(DETACHING + STUBBORN)
    process = worker(run.plan)
    wait_for_line(process, b"running")
    supervisors = supervisors_of(process.pid)
    assert wait_until(lambda: len(run.survivors()) == 3)

    process.kill()

    assert wait_until(lambda: run.survivors() == [])
    assert wait_until(lambda: not run.workspace.exists())
    assert wait_until(lambda: not any(read(pid, "cmdline") for pid in supervisors))


def test_a_supervisor_that_is_killed_leaves_nothing_and_the_run_is_told_lost(marked):
    run = marked(DETACHING + STUBBORN)

    def kill(ear: Ear) -> bool:
        if "running" in ear.said:
            for pid in supervisors_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
        return False

    outcome = supervise(run.plan, Ear(stop_when=kill))

    assert outcome.ending is Ending.ERROR
    assert outcome.message.startswith(
        "The process that carried the run out ended unexpectedly (status -9)."
    )
    assert run.survivors() == []
    assert not run.workspace.exists()


def test_a_supervisor_that_misses_its_runs_limit_is_ended_with_all_of_the_run(marked, monkeypatch):
    monkeypatch.setattr(supervise_module, "STOP_LIMIT", 1)
    run = marked(STUBBORN, timeout_seconds=1)

    def put_to_sleep(ear: Ear) -> bool:
        if "running" in ear.said:
            for pid in supervisors_of(os.getpid()):
                os.kill(pid, signal.SIGSTOP)
        return False

    outcome = supervise(run.plan, Ear(stop_when=put_to_sleep))

    assert outcome.ending is Ending.ERROR
    assert run.survivors() == []
    assert not run.workspace.exists()


def test_other_children_of_the_worker_outlive_a_lost_supervisor(marked):
    run = marked(DETACHING + STUBBORN)
    others: list[subprocess.Popen[bytes]] = [subprocess.Popen(["sleep", "60"])]

    def kill(ear: Ear) -> bool:
        if "running" in ear.said and len(others) == 1:
            others.append(subprocess.Popen(["sleep", "60"]))
            for pid in supervisors_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
        return False

    supervise(run.plan, Ear(stop_when=kill))
    alive = [other.poll() is None for other in others]
    for other in others:
        other.kill()
        other.wait()

    assert alive == [True, True]


def test_a_supervisor_that_slept_through_its_workers_end_still_cleans_up(marked, worker):
    run = marked(DETACHING + STUBBORN)
    process = worker(run.plan)
    wait_for_line(process, b"running")
    (supervisor,) = supervisors_of(process.pid)

    os.kill(supervisor, signal.SIGSTOP)
    process.kill()
    process.wait()
    os.kill(supervisor, signal.SIGCONT)

    assert wait_until(lambda: run.survivors() == [])
    assert wait_until(lambda: not run.workspace.exists())


def test_a_supervisor_that_hears_nothing_any_more_is_ended_by_a_clock(marked):
    run = marked(STUBBORN)
    stuck = f"""
import os, subprocess, time
from jobsvc.engine import supervisor
def run(plan, recorder):
    supervisor.runner.workspace_of(plan).mkdir()
    subprocess.Popen(["sleep", "600"], env={{"MARK": "{run.mark}"}}, start_new_session=True)
    os.write(2, b"stuck")
    time.sleep(600)
supervisor.runner.run = run
supervisor.FORCE_AFTER = supervisor.TERM_GRACE = supervisor.KILL_GRACE = 0
supervisor.main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", stuck], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        process.stdin.write(run.plan.to_json().encode() + b"\n")
        process.stdin.flush()
        assert process.stderr.read(5) == b"stuck"
        assert wait_until(lambda: len(run.survivors()) == 1)

        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 1
    assert run.survivors() == []
    assert not run.workspace.exists()


# What others may see of it


def test_the_supervisor_knows_nothing_of_the_workers_environment(marked, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_KEY", "of the service")
    python, seen = tmp_path / "python", tmp_path / "seen"
    python.write_text(f'#!/bin/sh\nenv > {seen}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    supervise(marked("").plan, Ear(), python=str(python))

    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "PYTHONPATH",
    }


def test_a_secret_of_the_plan_is_in_no_command_line(marked):
    secret = f"hunter{uuid.uuid4().hex}"
    run = marked(STUBBORN)
    plan = dataclasses.replace(
        run.plan,
        secrets=(secret,),
        environment={**run.plan.environment, "DBT_ENV_SECRET_X": secret},
    )
    seen: list[bytes] = []

    def look(ear: Ear) -> bool:
        seen.extend(read(pid, "cmdline") for pid in pids())
        return "running" in ear.said

    supervise(plan, Ear(stop_when=look))

    everything = b"".join(seen)
    assert b"jobsvc.engine.supervisor" in everything
    assert secret.encode() not in everything


def test_the_supervisor_is_closed_to_other_processes_of_its_own_user(marked):
    run = marked(STUBBORN)
    open_to_us: dict[str, bool] = {}

    def look(ear: Ear) -> bool:
        if "running" in ear.said and not open_to_us:
            (supervisor,) = supervisors_of(os.getpid())
            open_to_us["supervisor"] = is_open_without_privileges(supervisor)
            open_to_us["another process"] = is_open_without_privileges(run.survivors()[0])
        return "running" in ear.said

    supervise(run.plan, Ear(stop_when=look))

    assert open_to_us == {"supervisor": False, "another process": True}


def is_open_without_privileges(pid: int) -> bool:
    """Whether a process of the same user, without root's powers, may read its environment."""
    look = f"""
import sys
sys.path.insert(0, {str(ROOT / "jobsvc" / "engine")!r})
import launch
launch._drop_capabilities()
open("/proc/{pid}/environ").read()
"""
    done = subprocess.run([sys.executable, "-c", look], check=False, stderr=subprocess.DEVNULL)
    return done.returncode == 0
