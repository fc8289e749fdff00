"""The demo as a person meets it: `make demo`, the real thing, in a data folder of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobsvc.engine import leftovers, sandbox

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240  # for one demo, on a busy machine with two cores
CTRL_C = b"\x03"

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("demo")]


@dataclass(frozen=True)
class Ended:
    """How a command came out, and the processes it left behind."""

    code: int
    output: str
    left: list[str]


def environment(data: Path, **more: str) -> dict[str, str]:
    """A new user's: nothing of the suite's own."""
    home = data.with_name(f"{data.name}-home")
    home.mkdir(exist_ok=True)
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "HOME": str(home), "JOBSVC_DATA_DIR": str(data), **more}


@contextmanager
def watching_what_is_left() -> Iterator[list[str]]:
    """Whatever descends from this block and outlives it: each with its command line."""
    left: list[str] = []
    with sandbox.adopting_orphans():
        before = leftovers.children_of(os.getpid())
        yield left
        for pid in leftovers.children_of(os.getpid()) - before:
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    left.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())
        leftovers.sweep(before)


def demo(data: Path, *arguments: str, **more: str) -> Ended:
    """Run the demo to its end, without a terminal."""
    with watching_what_is_left() as left:
        done = subprocess.run(
            [sys.executable, "scripts/demo.py", "--exit-after-run", *arguments],
            cwd=ROOT,
            env=environment(data, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    return Ended(done.returncode, done.stdout, left)


def demo_in_a_terminal(data: Path, until: str) -> Ended:
    """``make demo`` in a terminal of its own, and Ctrl-C there once ``until`` is shown."""
    ours, theirs = pty.openpty()
    with watching_what_is_left() as left:
        command = subprocess.Popen(
            ["setsid", "--ctty", "make", "demo"],
            cwd=ROOT,
            env=environment(data, TERM="xterm", COLUMNS="120"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        output, asked = "", False
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                output += os.read(ours, 65536).decode(errors="replace")
            except OSError:  # the last one who had the terminal open has gone
                break
            if until in output and not asked:
                asked = True
                os.write(ours, CTRL_C)
        os.close(ours)
        with suppress(subprocess.TimeoutExpired):
            command.wait(10)
        if command.returncode is None:
            os.killpg(command.pid, signal.SIGKILL)
            command.wait()
    assert asked, f"{until!r} was never shown:\n{output}"
    return Ended(command.returncode, output, left)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(data: Path) -> Ended:
    return demo(data)


def test_the_demo_builds_the_example_through_the_api(first: Ended) -> None:
    assert first.code == 0, first.output
    for made in ("project", "repository", "connection", "credentials", "environment", "job"):
        assert re.search(rf"^  made +{made} ", first.output, re.MULTILINE), made
    assert re.search(r"`dbt build [^`]*`  \d+ of \d+ nodes done", first.output)
    assert re.search(r"^✓ Run 1: Success", first.output, re.MULTILINE)
    assert re.search(r"^  6  Invoke dbt with `dbt build .*Success", first.output, re.MULTILINE)
    assert re.search(r"^  model .* 9", first.output, re.MULTILINE)
    assert "warn: orders_outside_opening_hours" in first.output


def test_it_is_ready_within_a_minute(first: Ended) -> None:
    ready = re.search(r"Ready after (\d+) s", first.output)
    assert ready is not None, first.output
    assert int(ready[1]) < 60


def test_it_leaves_no_process(first: Ended) -> None:
    assert first.left == []


def test_a_second_demo_uses_what_the_first_left_and_ctrl_c_ends_all_of_it(
    first: Ended, data: Path
) -> None:
    token = json.loads((data / "sign-in.json").read_text())["token"]
    second = demo_in_a_terminal(data, until="Ctrl-C stops everything.")
    for found in ("project", "connection", "environment", "job"):
        assert re.search(rf"found +{found} ", second.output), second.output
    assert "made" not in second.output
    assert "Run 2: Success" in second.output
    assert token in second.output
    assert "Stopping" in second.output
    assert second.left == []


def test_ctrl_c_in_the_middle_of_a_run_leaves_nothing_either(first: Ended, data: Path) -> None:
    third = demo_in_a_terminal(data, until="nodes done")
    assert "Success after" not in third.output
    assert third.left == []
    assert list((data / "workspaces").glob("*/project")) == []


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = demo(tmp_path / "data", "--port", str(port))
    assert refused.code == 1
    assert f"Port {port} is taken by another program." in refused.output
    assert "Traceback" not in refused.output
    assert refused.left == []


def test_a_run_that_fails_is_said_in_a_sentence(tmp_path: Path) -> None:
    nothing = tmp_path / "toolchains"
    nothing.write_text("no folder, so that no dbt can be put there either")
    failed = demo(tmp_path / "data", JOBSVC_TOOLCHAINS_DIR=str(nothing))
    assert failed.code == 1
    assert "The run did not succeed: " in failed.output
    assert "make up" in failed.output
    assert "Traceback" not in failed.output
    assert failed.left == []


@pytest.fixture
def up(first: Ended, data: Path) -> Iterator[dict[str, Any]]:
    """``manage.py up`` on what the demo left, and what it says of itself."""
    with watching_what_is_left() as left:
        service = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=environment(data),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said: dict[str, Any] = {}
        while said.get("pid") != service.pid and service.poll() is None:
            time.sleep(0.2)
            said = json.loads((data / "up.json").read_text())
        yield said
        service.terminate()
        output, _nothing = service.communicate(timeout=SECONDS)
    assert service.returncode == 0, output
    assert "Everything is stopped." in output
    assert left == []


def test_the_first_job_of_the_readme_runs(up: dict[str, Any], tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().partition("## Your first job")[2]
    block = section.partition("```bash\n")[2].partition("```")[0]
    commands = [line for line in block.splitlines() if not line.startswith("export ")]
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input="\n".join(commands),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "SITE": up["local_url"], "TOKEN": up["token"]},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Success" in done.stdout.splitlines()
    results = json.loads((tmp_path / "run_results.json").read_text())["results"]
    assert {one["status"] for one in results} <= {"success", "pass", "warn"}


def test_a_second_service_on_the_same_folder_is_refused(up: dict[str, Any], data: Path) -> None:
    second = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=environment(data),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert second.returncode == 1
    assert "The service is already up on" in second.stderr


def doctor(data: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env=environment(data, **more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_doctor_finds_what_the_demo_ran_on_well(first: Ended, data: Path) -> None:
    found = doctor(data)
    assert found.returncode == 0, found.stdout
    assert "Landlock" in found.stdout
    assert re.search(r"dbt 1\.11\.\d+ with duckdb, postgres", found.stdout)
    assert "Jobs can run here." in found.stdout


def test_the_doctor_ends_with_1_where_a_needed_layer_is_missing(first: Ended, data: Path) -> None:
    found = doctor(data, JOBSVC_ISOLATION_NEED="seccomp,landlock:99")
    assert found.returncode == 1
    assert "This machine lacks landlock:99" in found.stderr


def test_the_doctor_names_each_piece_that_is_not_well(tmp_path: Path) -> None:
    found = doctor(
        tmp_path / "data",
        JOBSVC_TOOLCHAINS_DIR=str(tmp_path / "none"),
        JOBSVC_BROKER_URL="redis://127.0.0.1:1/0",
    )
    assert found.returncode == 1
    for piece in ("dbt", "database", "broker"):
        assert re.search(rf"✕ {piece} ", found.stdout), found.stdout
