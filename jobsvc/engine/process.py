"""One child process: confined, read as it speaks, stopped when asked, and nothing of it left.

Every child starts in a session of its own through ``jobsvc.engine.launch``. Signals go to its
whole group; what escaped from that (``setsid``, a double fork) is adopted by the caller, which
``run_process`` makes a child subreaper, and killed at the end, however the end came about.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobsvc.engine import launch, leftovers, sandbox
from jobsvc.engine.errors import IsolationMissing
from jobsvc.engine.ports import Ending
from jobsvc.engine.sandbox import Confinement

TICK = 0.2  # seconds between looks at the clock, at should_stop and at the child
TERM_GRACE = 5.0  # seconds from SIGTERM to SIGKILL
KILL_GRACE = 2.0  # seconds for the kernel to end what was killed
LAST_WORDS = 1.0  # seconds to read what was already written when the child ended
LAUNCH_LIMIT = 30.0  # seconds for the launcher to answer
PIECE = 65536  # bytes read at once


@dataclass(frozen=True)
class ProcessEnd:
    """How a child ended. ``exit_code`` is negative where a signal ended it (-9 for SIGKILL)."""

    ending: Ending
    exit_code: int


def run_process(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    confinement: Confinement,
    on_output: Callable[[bytes], None],
    should_stop: Callable[[], bool],
    timeout: float = 0,
    grace: float = 10,
    stdin: bytes = b"",
    on_isolated: Callable[[Mapping[str, int | bool]], None] | None = None,
) -> ProcessEnd:
    """Run ``argv`` to its end, and return only when no process of it is left.

    SIGINT comes first: dbt answers it by cancelling its open queries, writing
    run_results.json and exiting with 2, the status it also gives a usage error, which is why
    the ending is told apart here and not by the status. SIGTERM ends dbt at once, with no
    chance to cancel anything.

    Call it from the process's main thread: the child dies with the thread that started it.
    The caller becomes a child subreaper; children it already had are left alone.

    Args:
        env: the child's whole environment; where Landlock holds, ``PYTHONPATH`` is added
            unless given (see ``jobsvc.engine.inside``).
        on_output: gets stdout and stderr, mixed, in pieces of up to 64 KiB. It is read for
            as long as the child lives, so keeping less than all of it is the callee's matter.
        should_stop: called every 0.2 seconds; keep it cheap.
        timeout: seconds; 0 means no limit.
        grace: seconds from SIGINT to SIGTERM.
        on_isolated: told which layers the child really has, before its program starts.

    Raises:
        IsolationMissing: a layer that ``confinement.need`` names is not to be had here.
    """
    sandbox.adopt_orphans()
    bystanders = leftovers.children_of(os.getpid())
    child, layers = _launch(argv, cwd, env, confinement, with_stdin=bool(stdin))
    stop = _Stop(child.pid, should_stop=should_stop, timeout=timeout, grace=grace)
    try:
        if on_isolated is not None:
            on_isolated(layers)
        _attend(child, stop, on_output, stdin)
    finally:
        # The leader is not reaped yet, so its group's number cannot be anyone else's.
        _signal_group(child.pid, signal.SIGKILL)
        exit_code = _reap(child)
        leftovers.sweep(bystanders, uid=confinement.uid if layers["uid"] else None)
        _close_stdin(child)
        last_words = _rest_of(child)
    for piece in last_words:
        on_output(piece)
    by_itself = Ending.SUCCESS if exit_code == 0 else Ending.ERROR
    return ProcessEnd(stop.ending or by_itself, exit_code)


def _launch(
    argv: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    confinement: Confinement,
    *,
    with_stdin: bool,
) -> tuple[subprocess.Popen[bytes], Mapping[str, int | bool]]:
    """Start the launcher, and hand on what it says of the layers it could put on."""
    config = {
        **confinement.as_config(),
        "argv": [os.fspath(part) for part in argv],
        "env": dict(env),
        "parent": os.getpid(),
    }
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", launch.__file__, str(theirs.fileno())],
                cwd=cwd,
                env={},
                stdin=subprocess.PIPE if with_stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.settimeout(LAUNCH_LIMIT)
        answer = b""
        with suppress(OSError), ours.makefile("rwb") as channel:
            channel.write(json.dumps(config).encode() + b"\n")
            channel.flush()
            answer = channel.readline()
    report: dict[str, Any] = json.loads(answer) if answer else {}
    if report.get("missing", True):
        child.kill()
        said = b"".join(_rest_of(child)).decode(errors="replace")
        child.wait()
        _close_stdin(child)
        if report:
            raise IsolationMissing(layer=report["missing"], got=_in_words(report["layers"]))
        raise RuntimeError(f"the launcher ended without an answer: {said}")
    layers: dict[str, int | bool] = report["layers"]
    return child, layers


def _in_words(layers: Mapping[str, int | bool]) -> str:
    return ", ".join(f"{name} {_level(value)}" for name, value in layers.items())


def _level(value: int | bool) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


class _Stop:
    """Decides when a child is to stop, and climbs the ladder of signals until it has."""

    def __init__(
        self, group: int, *, should_stop: Callable[[], bool], timeout: float, grace: float
    ) -> None:
        self.ending: Ending | None = None
        self._group = group
        self._should_stop = should_stop
        self._deadline = time.monotonic() + timeout if timeout else None
        self._next_look = 0.0
        self._next_rung = 0.0
        self._ladder: Iterator[tuple[signal.Signals, float]] = iter(
            ((signal.SIGINT, grace), (signal.SIGTERM, TERM_GRACE), (signal.SIGKILL, KILL_GRACE))
        )

    def look(self) -> bool:
        """Do what is due now. False once the last rung was in vain."""
        now = time.monotonic()
        if self.ending is None and now >= self._next_look:
            self._next_look = now + TICK
            if self._should_stop():
                self.ending = Ending.STOPPED
            elif self._deadline is not None and now > self._deadline:
                self.ending = Ending.TIMED_OUT
        if self.ending is not None and now >= self._next_rung:
            rung = next(self._ladder, None)
            if rung is None:
                return False
            _signal_group(self._group, rung[0])
            self._next_rung = now + rung[1]
        return True


def _attend(
    child: subprocess.Popen[bytes],
    stop: _Stop,
    on_output: Callable[[bytes], None],
    stdin: bytes,
) -> None:
    """Read, feed and watch the child until it has ended or could not be ended; do not reap it."""
    assert child.stdout is not None  # noqa: S101 -- always a pipe here; tells the type checker
    unsent = memoryview(stdin)
    with selectors.DefaultSelector() as selector, _end_of(child.pid) as at_its_end:
        selector.register(child.stdout, selectors.EVENT_READ)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        if at_its_end is not None:
            selector.register(at_its_end, selectors.EVENT_READ)
        while stop.look() and not _has_ended(child):
            for key, _ in selector.select(TICK):
                if key.fd == at_its_end:
                    continue
                if key.fileobj is child.stdout:
                    if piece := os.read(key.fd, PIECE):
                        on_output(piece)
                    else:
                        selector.unregister(key.fileobj)
                else:
                    unsent = _feed(key.fd, unsent)
                    if not unsent:
                        selector.unregister(key.fileobj)
                        _close_stdin(child)


@contextmanager
def _end_of(pid: int) -> Iterator[int | None]:
    """A file descriptor that becomes readable when a child ends, where the system has such."""
    if sys.platform != "linux":
        yield None
        return
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def _feed(handle: int, data: memoryview) -> memoryview:
    """What of ``data`` is still to be written; nothing, once the reader is gone."""
    try:
        return data[os.write(handle, data[:PIECE]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _close_stdin(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with suppress(BrokenPipeError):
            child.stdin.close()


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether a child has ended; it stays unreaped, so its number stays its own."""
    if sys.platform == "darwin":  # has no such call before Python 3.13
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(group: int, number: signal.Signals) -> None:
    # Permission is refused where all that is left of the group runs as another user.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _reap(child: subprocess.Popen[bytes]) -> int:
    try:
        return child.wait(KILL_GRACE)
    except subprocess.TimeoutExpired:  # stuck in the kernel, where nothing can end it
        return -signal.SIGKILL


def _rest_of(child: subprocess.Popen[bytes]) -> list[bytes]:
    """What the child wrote before it ended; does not wait for whoever else holds its pipe."""
    assert child.stdout is not None  # noqa: S101 -- always a pipe here; tells the type checker
    pieces = []
    deadline = time.monotonic() + LAST_WORDS
    with child.stdout as pipe:
        os.set_blocking(pipe.fileno(), False)
        with suppress(BlockingIOError):
            while time.monotonic() < deadline and (piece := os.read(pipe.fileno(), PIECE)):
                pieces.append(piece)
    return pieces
