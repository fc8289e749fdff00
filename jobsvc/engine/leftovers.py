"""What a run may leave behind, its processes and its directory, and how both are made to go."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

SWEEP_LIMIT = 30.0  # seconds of killing before giving up on what cannot die


def children_of(parent: int) -> frozenset[int]:
    """The direct children of a process, those that have ended but are not reaped included.

    Empty where there is no /proc: such a host has no subreaper either.
    """
    with suppress(FileNotFoundError):
        every = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        # Newest first: what forks and exits all the time is then the least likely to be gone.
        return frozenset(pid for pid in sorted(every, reverse=True) if _stat(pid, 1) == parent)
    return frozenset()


def _stat(pid: int, index: int) -> int:
    """A number from /proc/PID/stat, counted from the state (1 parent, 3 session); 0 if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(text.rpartition(b")")[2].split()[index])  # the name before it may hold anything


def sweep(
    bystanders: frozenset[int], *, uid: int | None = None, spare_session: int | None = None
) -> None:
    """Kill and reap every child of this process but ``bystanders``, until none comes up any more.

    Killing a child brings up its own children, which a subreaper then adopts, so this
    reaches all that ever descended from them.

    Args:
        uid: all processes of this user go too, whoever's children they are.
        spare_session: members of this session stay. A process cannot join a session, so
            nothing that came of a child with a session of its own is ever spared.
    """
    deadline = time.monotonic() + SWEEP_LIMIT
    while time.monotonic() < deadline:
        if uid is not None:
            _kill_all_of(uid)
        left = children_of(os.getpid()) - bystanders
        if spare_session is not None:
            left = frozenset(pid for pid in left if _stat(pid, 3) != spare_session)
        if not left:
            return
        for pid in sorted(left, reverse=True):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reaped = [pid for pid in left if _reaped(pid)]
        if not reaped:
            time.sleep(0.001)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _kill_all_of(uid: int) -> None:
    """Kill all processes of a user at once, as that user: no fork of theirs slips through."""
    if uid in (0, os.getuid()):
        return
    helper = os.fork()
    if helper == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(helper, 0)


def remove_tree(root: Path) -> bool:
    """Remove a directory whatever was done to its modes; whether it is gone."""
    _open_up(root)
    shutil.rmtree(root, ignore_errors=True)
    return not root.exists()


def _open_up(directory: Path) -> None:
    """Make ``directory`` and the directories below it removable, links not followed."""
    with suppress(OSError):
        if directory.is_symlink():
            return
        # Refused where it is another user's; then this process may pass without.
        with suppress(PermissionError):
            directory.chmod(0o700)
        with os.scandir(directory) as entries:
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in below:
            _open_up(directory / name)
