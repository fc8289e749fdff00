"""A child of a run: how it ends, how it is stopped, and that nothing of it is left."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from jobsvc.engine.errors import IsolationMissing
from jobsvc.engine.ports import Ending
from jobsvc.engine.process import ProcessEnd, run_process
from jobsvc.engine.sandbox import Confinement, available

PYTHON = (sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix))


@dataclass
class Child:
    """Runs Python text as a confined child, and remembers what it said."""

    workspace: Path
    mark: str = field(default_factory=lambda: f"mark-{uuid.uuid4().hex}")
    output: bytearray = field(default_factory=bytearray)
    layers: dict[str, int | bool] = field(default_factory=dict)
    seconds: float = 0.0

    def run(
        self,
        text: str,
        *,
        env: dict[str, str] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_output: Callable[[bytes], None] | None = None,
        confinement: Confinement | None = None,
        timeout: float = 0,
        grace: float = 10,
        stdin: bytes = b"",
    ) -> ProcessEnd:
        return self.start(
            [sys.executable, "-c", text, self.mark],
            env=env,
            should_stop=should_stop,
            on_output=on_output,
            confinement=confinement,
            timeout=timeout,
            grace=grace,
            stdin=stdin,
        )

    def start(
        self,
        argv: list[str],
        *,
        env: dict[str, str] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_output: Callable[[bytes], None] | None = None,
        confinement: Confinement | None = None,
        timeout: float = 0,
        grace: float = 10,
        stdin: bytes = b"",
    ) -> ProcessEnd:
        started = time.monotonic()
        try:
            return run_process(
                argv,
                cwd=self.workspace,
                env={"PATH": "/usr/bin:/bin", "MARK": self.mark, **(env or {})},
                confinement=confinement or self.confinement(),
                on_output=on_output or self.output.extend,
                should_stop=should_stop,
                timeout=timeout,
                grace=grace,
                stdin=stdin,
                on_isolated=self.layers.update,
            )
        finally:
            self.seconds = time.monotonic() - started

    def confinement(self, **changes: object) -> Confinement:
        values = {"read_only": PYTHON, "read_write": (str(self.workspace),), **changes}
        return Confinement(**values)  # type: ignore[arg-type]  # given by name in each test

    @property
    def text(self) -> str:
        return self.output.decode()

    def survivors(self) -> list[int]:
        """Processes that carry this child's mark in their environment or command line."""
        return [pid for pid in pids() if self.mark.encode() in traces(pid)]


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def traces(pid: int) -> bytes:
    place = Path(f"/proc/{pid}")
    try:
        return (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path)


def after(seconds: float) -> Callable[[], bool]:
    """A should_stop that says yes once ``seconds`` have passed."""
    due = time.monotonic() + seconds
    return lambda: time.monotonic() > due


# How a child ends


def test_a_child_that_exits_with_zero_is_a_success(child):
    assert child.run("print('hello')") == ProcessEnd(Ending.SUCCESS, 0)


def test_a_child_that_exits_with_another_status_is_an_error_with_that_status(child):
    assert child.run("raise SystemExit(7)") == ProcessEnd(Ending.ERROR, 7)


def test_a_child_that_a_signal_ended_has_the_negative_number_of_it(child):
    end = child.run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    assert end == ProcessEnd(Ending.ERROR, -signal.SIGKILL)


def test_a_program_that_is_not_there_is_an_error_in_words(child):
    end = child.start(["/nowhere/dbt", "build"])

    assert end == ProcessEnd(Ending.ERROR, 127)
    assert child.text == "/nowhere/dbt cannot be started: No such file or directory.\n"


def test_output_and_errors_come_in_the_order_they_were_written(child):
    child.run("import os; [os.write(1 + n % 2, b'%d ' % n) for n in range(6)]")

    assert child.text == "0 1 2 3 4 5 "


def test_output_comes_while_the_child_is_still_running(child):
    seen_at: list[float] = []
    child.run(
        "import time; print('now', flush=True); time.sleep(1)",
        on_output=lambda _: seen_at.append(time.monotonic()),
    )

    assert time.monotonic() - seen_at[0] > 0.8


def test_what_is_given_to_stdin_is_read_by_the_child(child):
    size = 3_000_000
    child.run("import sys; print(len(sys.stdin.buffer.read()))", stdin=b"x" * size)

    assert child.text.strip() == str(size)


def test_a_child_that_does_not_read_its_stdin_still_ends(child):
    assert child.run("pass", stdin=b"x" * 3_000_000).ending is Ending.SUCCESS


# How it is stopped


def test_a_child_is_stopped_by_an_interrupt_and_may_end_in_its_own_way(child):
    end = child.run(
        """
import time
try:
    print("up", flush=True); time.sleep(60)
except KeyboardInterrupt:
    print("cancelled my queries"); raise SystemExit(2)
""",
        should_stop=lambda: b"up" in child.output,
    )

    assert end == ProcessEnd(Ending.STOPPED, 2)
    assert "cancelled my queries" in child.text
    assert child.seconds < 5


def test_a_stopped_child_that_still_exits_with_zero_was_stopped(child):
    end = child.run(
        """
import time
try:
    print("up", flush=True); time.sleep(60)
except KeyboardInterrupt:
    pass
""",
        should_stop=lambda: b"up" in child.output,
    )

    assert end == ProcessEnd(Ending.STOPPED, 0)


def test_an_interrupt_arrives_though_the_caller_ignores_interrupts(child):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        end = child.run("import time; time.sleep(60)", should_stop=after(0.5))
    finally:
        signal.signal(signal.SIGINT, before)

    assert end.ending is Ending.STOPPED
    assert child.seconds < 5


def test_a_child_that_ignores_interrupts_is_terminated_after_the_grace(child):
    end = child.run(
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)",
        should_stop=after(0.3),
        grace=1,
    )

    assert end == ProcessEnd(Ending.STOPPED, -signal.SIGTERM)


def test_a_child_that_ignores_everything_is_killed(child, monkeypatch):
    monkeypatch.setattr("jobsvc.engine.process.TERM_GRACE", 0.5)

    end = child.run(
        """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
""",
        should_stop=after(0.3),
        grace=0.5,
    )

    assert end == ProcessEnd(Ending.STOPPED, -signal.SIGKILL)


def test_a_child_that_takes_too_long_has_timed_out(child):
    end = child.run("import time; time.sleep(60)", timeout=0.5)

    assert end.ending is Ending.TIMED_OUT
    assert child.seconds < 5


def test_whether_to_stop_is_asked_at_least_every_second(child):
    asked: list[float] = []

    def should_stop() -> bool:
        asked.append(time.monotonic())
        return False

    child.run("import time; time.sleep(2)", should_stop=should_stop)

    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert len(asked) >= 3
    assert max(gaps) < 1  # seconds


def test_whether_to_stop_is_asked_while_output_pours_in(child):
    end = child.run(
        "import os\nwhile True: os.write(1, b'x' * 65536)",
        should_stop=after(0.5),
        on_output=lambda _: None,
    )

    assert end.ending is Ending.STOPPED
    assert child.seconds < 5


def test_an_exception_from_the_caller_ends_the_child_and_goes_on(child):
    def refuse(_: bytes) -> None:
        raise LookupError("the database is gone")

    with pytest.raises(LookupError):
        child.run("import time; print('x', flush=True); time.sleep(60)", on_output=refuse)

    assert child.survivors() == []


# What is left


DETACH = """
import os, sys, time
def sleeper():
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(600)
"""


@pytest.mark.parametrize("status", [0, 3])
def test_a_grandchild_in_a_session_of_its_own_does_not_outlive_the_child(child, status):
    child.run(
        f"""
import subprocess, sys
subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)", "{child.mark}"],
    start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
raise SystemExit({status})
"""
    )

    assert child.survivors() == []


def test_a_daemon_that_forked_twice_does_not_outlive_the_child(child):
    child.run(DETACH + "if os.fork() == 0: sleeper()\ntime.sleep(0.5)")

    assert child.survivors() == []


def test_a_daemon_that_ignores_signals_does_not_outlive_a_stopped_child(child):
    child.run(
        "import signal\n[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]\n"
        + DETACH
        + "if os.fork() == 0: sleeper()\nprint('up', flush=True)\ntime.sleep(600)",
        should_stop=lambda: b"up" in child.output,
        grace=0.5,
    )

    assert child.survivors() == []


def test_a_process_that_forks_and_exits_all_the_time_is_caught(child):
    child.run(
        """
import os, time
end = time.monotonic() + 20
if os.fork() == 0:
    while time.monotonic() < end:
        os.setsid()
        open("beat", "w").close()
        if os.fork():
            os._exit(0)
time.sleep(0.5)
"""
    )

    beat = child.workspace / "beat"
    last = beat.stat().st_mtime_ns
    time.sleep(0.3)
    assert beat.stat().st_mtime_ns == last


def test_a_family_that_multiplies_is_caught(child):
    child.run(
        """
import os, time
for _ in range(6):
    os.fork()
    os.setsid() if os.getpid() != os.getsid(0) else None
time.sleep(600)
""",
        timeout=1,
        grace=0.2,
    )

    assert child.survivors() == []


def test_a_pipe_that_a_grandchild_holds_open_does_not_hold_up_the_end(child):
    end = child.run(DETACH + "if os.fork() == 0: sleeper()\ntime.sleep(0.3)\nprint('last words')")

    assert end == ProcessEnd(Ending.SUCCESS, 0)
    assert child.text == "last words\n"
    assert child.seconds < 5


def test_other_children_of_the_caller_are_left_alone(child):
    with subprocess.Popen(["sleep", "60"]) as other:
        child.run(DETACH + "if os.fork() == 0: sleeper()\ntime.sleep(0.2)")
        alive = other.poll() is None
        other.kill()

    assert alive


def test_nothing_of_what_the_child_wrote_last_is_lost(child):
    child.run("import os; os.write(1, b'x' * 60000); os.kill(os.getpid(), 9)")

    assert len(child.output) == 60000


def test_a_hundred_megabytes_of_output_do_not_grow_the_reader(child):
    size = 0

    def count(piece: bytes) -> None:
        nonlocal size
        size += len(piece)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child.run("import os\nfor _ in range(1600): os.write(1, b'x' * 65536)", on_output=count)

    assert size == 1600 * 65536
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


# What the child is given


def test_the_child_has_the_environment_it_is_given_and_nothing_of_the_callers(child, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "of the service")

    child.start(["env"], env={"LANG": "C", "DBT_X": "1"})

    names = {line.partition("=")[0] for line in child.text.splitlines()}
    assert names - {"PYTHONPATH"} == {"PATH", "MARK", "LANG", "DBT_X"}


def test_a_secret_of_the_environment_is_in_no_command_line(child):
    secret = f"hunter-{uuid.uuid4().hex}"
    seen: list[bytes] = []

    def look() -> bool:
        seen.append(b"".join(commands()))
        return False

    child.run("import time; time.sleep(0.5)", env={"DBT_ENV_SECRET_X": secret}, should_stop=look)

    assert child.mark.encode() in b"".join(seen)
    assert secret.encode() not in b"".join(seen)


def commands() -> list[bytes]:
    found = []
    for pid in pids():
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            continue
    return found


def test_the_child_inherits_no_file_and_no_socket(child):
    with Path(os.devnull).open() as open_file:
        os.set_inheritable(open_file.fileno(), True)
        child.run("import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))")

    assert child.text.strip() in ("[0, 1, 2, 3]", "[0, 1, 2]")  # 3 is the listing itself


def test_the_child_leads_a_session_of_its_own(child):
    child.run("import os; print(os.getsid(0) == os.getpid())")

    assert child.text.strip() == "True"


def test_what_the_child_makes_is_for_its_user_only(child):
    child.run("open('made', 'w'); import os; os.mkdir('below')")

    assert (child.workspace / "made").stat().st_mode & 0o777 == 0o600
    assert (child.workspace / "below").stat().st_mode & 0o777 == 0o700


def test_the_child_dies_with_the_process_that_started_it(child):
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
from pathlib import Path
from jobsvc.engine.process import run_process
from jobsvc.engine.sandbox import Confinement
run_process(["sleep", "600"], cwd=Path("/"), env={{"MARK": "{child.mark}"}},
    confinement=Confinement(), on_output=print, should_stop=lambda: False,
    on_isolated=lambda _: print("up", flush=True))
""",
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert starter.stdout is not None
    starter.stdout.readline()
    starter.kill()
    starter.wait()
    starter.stdout.close()

    deadline = time.monotonic() + 5
    while child.survivors() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.survivors() == []


def test_a_layer_that_is_demanded_and_missing_starts_nothing(child):
    with pytest.raises(IsolationMissing) as refused:
        child.run(
            "open('started', 'w')", confinement=child.confinement(need=("seccomp", "landlock:99"))
        )

    assert refused.value.summary.startswith("This server demands landlock:99 ")
    assert not (child.workspace / "started").exists()


def test_the_layers_that_hold_are_told_before_the_program_starts(child):
    child.run("pass")

    assert child.layers == {**available(), "uid": False}


def test_a_child_runs_as_the_user_it_is_given_or_not_at_all(child):
    uid = 20_000 + os.getpid() % 10_000
    confinement = child.confinement(uid=uid, need=("uid",))
    child.workspace.chmod(0o755)
    for above in child.workspace.parents:
        if above.name.startswith("pytest-"):
            above.chmod(0o755)

    if available()["uid"]:
        child.start(["/bin/sh", "-c", "id -u; setsid sleep 600 &"], confinement=confinement)
        assert child.text.strip() == str(uid)
        assert [pid for pid in pids() if owner(pid) == uid] == []
    else:
        with pytest.raises(IsolationMissing):
            child.start(["id", "-u"], confinement=confinement)


def owner(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return -1
