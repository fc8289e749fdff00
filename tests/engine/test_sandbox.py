"""What a confined child may still do, and what it may not; the attacks are in tests/canary."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobsvc.engine import launch, sandbox
from jobsvc.engine.process import run_process
from jobsvc.engine.sandbox import Confinement

PYTHON = (sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix))
ALLOWED = "allowed"


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., str]:
    """Do something in a confined child; ``allowed`` or the name of the error it met."""
    inside = tmp_path / "inside"
    inside.mkdir()

    def ask(text: str, **changes: object) -> str:
        said = bytearray()
        run_process(
            [sys.executable, "-c", WRAP, text],
            cwd=inside,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            confinement=Confinement(
                **{"read_only": PYTHON, "read_write": (str(inside),), **changes}  # type: ignore[arg-type]  # given by name in each test
            ),
            on_output=said.extend,
            should_stop=lambda: False,
            timeout=30,
        )
        return str(json.loads(said.decode().splitlines()[-1]))

    return ask


WRAP = """
import errno, json, sys
try:
    exec(sys.argv[1], {})
    print(json.dumps("allowed"))
except OSError as error:
    print(json.dumps(errno.errorcode[error.errno]))
"""


@pytest.fixture
def port() -> Iterator[int]:
    """A TCP port of the loopback interface that someone listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


# Files


def test_a_child_reads_and_writes_what_it_was_given(ask):
    assert ask("open('x', 'w').write('y'); assert open('x').read() == 'y'") == ALLOWED


def test_a_child_moves_files_between_directories_it_was_given(ask):
    assert ask("import os; os.mkdir('a'); open('b', 'w'); os.rename('b', 'a/b')") == ALLOWED


def test_a_child_cannot_read_its_neighbours_files(ask, tmp_path):
    (tmp_path / "other").write_text("of another run")

    assert ask("open('../other')") == "EACCES"


def test_a_child_cannot_write_what_it_may_only_read(ask, tmp_path):
    shown = tmp_path / "shown"
    shown.write_text("read me")

    assert ask(f"open({str(shown)!r})", read_only=(*PYTHON, str(shown))) == ALLOWED
    assert ask(f"open({str(shown)!r}, 'w')", read_only=(*PYTHON, str(shown))) == "EACCES"


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm"])
def test_a_child_cannot_use_places_that_all_programs_share(ask, place):
    assert ask(f"open('{place}/left-over', 'w')") == "EACCES"
    assert ask(f"import os; os.listdir('{place}')") == "EACCES"


def test_a_child_sees_its_own_entry_of_proc_and_no_other(ask):
    assert ask("open('/proc/self/status').read()") == ALLOWED
    assert ask("import os; os.listdir('/proc')") == "EACCES"
    assert ask("import os; open(f'/proc/{os.getppid()}/environ')") == "EACCES"


@pytest.mark.parametrize(
    "change",
    [
        "os.chmod({file!r}, 0)",
        "os.fchmod(os.open({file!r}, os.O_RDONLY), 0)",
        "os.chown({file!r}, os.getuid(), os.getgid())",
        "os.utime({file!r}, (0, 0))",
    ],
)
def test_a_change_of_mode_owner_or_time_is_answered_and_not_made(ask, tmp_path, change):
    file = tmp_path / "of-the-toolchain"
    file.touch(0o640)
    before = file.stat().st_ctime_ns

    assert (
        ask("import os; " + change.format(file=str(file)), read_only=(*PYTHON, str(file)))
        == ALLOWED
    )
    assert file.stat().st_ctime_ns == before


def test_the_devices_that_every_program_expects_are_there(ask):
    assert ask("open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(9)") == ALLOWED


# The network


def test_a_child_reaches_the_ports_it_was_given_and_no_other(ask, port):
    connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"

    assert ask(connect, ports=(port,)) == ALLOWED
    assert ask(connect, ports=(443,)) == "EACCES"
    assert ask(connect, ports=None) == ALLOWED


def test_no_other_protocol_leads_to_a_tcp_port(ask, port):
    way = f"import socket; socket.socket(2, 1, %d).connect(('127.0.0.1', {port}))"

    assert ask(way % 262) == "EPROTONOSUPPORT"  # MPTCP, which Landlock does not see
    assert ask(way % 0) == "EACCES"


def test_no_connection_is_opened_by_its_first_data(ask, port):
    send = f"import socket; socket.socket().%s, 0x20000000, ('127.0.0.1', {port}))"

    assert ask(send % "sendto(b'x'") == "EPERM"
    assert ask(send % "sendmsg([b'x'], []") == "EPERM"


def test_a_child_cannot_listen(ask):
    assert ask("import socket; socket.create_server(('127.0.0.1', 0))") == "EACCES"


def test_unix_sockets_are_only_for_pairs_of_its_own(ask):
    assert ask("import socket; socket.socket(socket.AF_UNIX)") == "EAFNOSUPPORT"
    assert ask("import socket; socket.socketpair()") == ALLOWED


def test_a_child_can_still_look_up_a_host(ask):
    assert ask("import socket; assert socket.getaddrinfo('localhost', 80)") == ALLOWED


# Other processes


@pytest.fixture
def neighbour() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize(
    "deed",
    [
        "import os; os.kill({pid}, 0)",
        "import signal, os; signal.pidfd_send_signal(os.pidfd_open({pid}), 0)",
        "import resource; resource.prlimit({pid}, resource.RLIMIT_CPU, (0, 0))",
        "import os; os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
        # Of a user that does not exist: unconfined, this would find no process.
        "import os; os.setpriority(os.PRIO_USER, 2_000_000_000, 19)",
        "import os; os.sched_setaffinity({pid}, [0])",
        "import os; os.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))",
    ],
)
def test_a_child_cannot_touch_another_process_of_its_user(ask, neighbour, deed):
    assert ask(deed.format(pid=neighbour)) == "EPERM"


def test_a_child_can_start_and_stop_processes_of_its_own(ask):
    assert (
        ask("import subprocess; p = subprocess.Popen(['sleep', '9']); p.terminate(); p.wait()")
        == ALLOWED
    )


def test_a_child_has_no_powers_of_root(ask):
    assert (
        ask(
            "line = [x for x in open('/proc/self/status') if x.startswith('CapEff')][0]\n"
            "assert int(line.split()[1], 16) == 0"
        )
        == ALLOWED
    )


def test_a_limit_of_the_plan_holds_and_no_core_is_ever_dumped(ask):
    assert (
        ask(
            "import resource as r\n"
            "assert r.getrlimit(r.RLIMIT_NOFILE) == (99, 99)\n"
            "assert r.getrlimit(r.RLIMIT_CORE) == (0, 0)",
            rlimits={"RLIMIT_NOFILE": 99},
        )
        == ALLOWED
    )


def test_locks_of_multiprocessing_work_between_threads(ask):
    assert (
        ask(
            """
import multiprocessing, threading
context = multiprocessing.get_context("spawn")
lock, plain, gate = context.RLock(), context.Lock(), context.Semaphore(2)
total = 0
def add():
    global total
    for _ in range(2000):
        with lock, lock:
            total += 1
threads = [threading.Thread(target=add) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert total == 8000
assert plain.acquire() and not plain.acquire(timeout=0.1)
plain.release()
assert plain.acquire(block=False)
assert gate.acquire() and gate.acquire() and not gate.acquire(block=False)
event = context.Event()
threading.Timer(0.1, event.set).start()
assert event.wait(5)
"""
        )
        == ALLOWED
    )


# What is told of it


def test_the_layers_of_this_host_are_told(ask):
    assert sandbox.available() == {
        "clean_env": True,
        "rlimits": True,
        "landlock": launch.landlock_abi(),
        "seccomp": platform.machine() in ("x86_64", "aarch64"),
        "uid": os.geteuid() == 0,
        "capabilities": True,
    }


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_has_no_jump_beyond_its_end(machine):
    program = launch._program(*launch._MACHINES[machine])

    for index, (code, when_true, when_false, _) in enumerate(program):
        if code != launch._RETURN:
            assert index + 1 + max(when_true, when_false) < len(program)
    assert program[-1] == (launch._RETURN, 0, 0, launch._ALLOW)


def test_a_hardened_process_is_not_dumpable():
    text = """
import ctypes, sys
from jobsvc.engine import sandbox
sandbox.harden_this_process()
sys.exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""

    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0


def test_adopting_orphans_ends_where_it_began():
    before = is_subreaper()
    with sandbox.adopting_orphans():
        assert is_subreaper()
    assert is_subreaper() == before


def is_subreaper() -> bool:
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(37, ctypes.byref(value), 0, 0, 0)
    return bool(value.value)
