"""How the children of a run are confined, and which layers of that this host has.

A dbt project is code: whoever may push to its repository runs Python and SQL in the worker.
What a child may reach is therefore said here and enforced by the kernel, in layers:

====== ================ ===================================================================
layer  name             what it takes away
====== ================ ===================================================================
0      ``clean_env``    the service's environment, file descriptors, session and umask
1      ``rlimits``      core dumps, and what the operator limits
2      ``landlock``     files, TCP ports (version 4), signals to others (version 6)
3      ``seccomp``      tracing, namespaces, keyrings, Unix sockets, ways round Landlock
4      ``uid``          everything that the worker's user owns; needs root or CAP_SETUID
any    ``capabilities`` root's powers, where the worker is root
====== ================ ===================================================================

Landlock cannot filter by address nor limit UDP, and lets a child ask whether a file exists:
against a service on an allowed port only a network of its own helps.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobsvc.engine import launch

# What Python, dbt and git need of a system to start, to find hosts and to trust certificates.
# Of /proc only the child's own entry: the rest would show every other process's environment.
SYSTEM_READ_ONLY = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssh/ssh_config",
    "/etc/ssh/ssh_config.d",
    "/etc/ssh/ssh_known_hosts",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",  # DuckDB 2.0 dies where it sees limits and may not read them
)
SYSTEM_READ_WRITE = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_CAP_CHOWN, _CAP_KILL, _CAP_SETGID, _CAP_SETUID = 0, 5, 6, 7


@dataclass(frozen=True)
class Confinement:
    """What one child may reach, besides what every program of this system needs.

    Attributes:
        read_only, read_write: paths, a directory with all that is below it. What does not
            exist is passed over. The system's own (``SYSTEM_READ_ONLY``) need not be named.
        ports: TCP ports it may connect to; None leaves them all open.
        uid: the user it runs as, or None for the caller's; ignored where the caller may not
            change users, unless ``need`` names ``uid``.
        rlimits: ``RLIMIT_…`` name to value; never raised above what the caller has.
        need: layers that must hold (``landlock:4``, ``seccomp``, ``uid``), or nothing starts.
    """

    read_only: tuple[str, ...] = ()
    read_write: tuple[str, ...] = ()
    ports: tuple[int, ...] | None = ()
    uid: int | None = None
    rlimits: Mapping[str, int] = field(default_factory=dict)
    need: tuple[str, ...] = ()

    def as_config(self) -> dict[str, Any]:
        """What ``jobsvc.engine.launch`` reads, the system's own paths included."""
        return {
            "read_only": [*SYSTEM_READ_ONLY, *self.read_only],
            "read_write": [*SYSTEM_READ_WRITE, *self.read_write],
            "ports": None if self.ports is None else list(self.ports),
            "uid": self.uid,
            "rlimits": dict(self.rlimits),
            "need": list(self.need),
        }


def available() -> dict[str, int | bool]:
    """The layers that this process could put on a child: a version for Landlock, else yes or no."""
    return {
        "clean_env": True,
        "rlimits": True,
        "landlock": launch.landlock_abi(),
        "seccomp": launch.seccomp_available(),
        "uid": _may(_CAP_SETUID, _CAP_SETGID, _CAP_KILL, _CAP_CHOWN),
        "capabilities": sys.platform == "linux",
    }


def _may(*capabilities: int) -> bool:
    """Whether this process has all of the given Linux capabilities in effect."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                effective = int(line.split()[1], 16)
                return all(effective >> capability & 1 for capability in capabilities)
    return False


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def harden_this_process() -> None:
    """Close this process's memory, environment and open files to others of its own user.

    Does not survive an exec: every process of the service says it for itself.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, however it detached."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """``adopt_orphans`` for a while; before and after, it is as it was."""
    before = ctypes.c_int(0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    adopt_orphans()
    try:
        yield
    finally:
        _prctl(_PR_SET_CHILD_SUBREAPER, before.value)


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process ``signal_number`` once its parent's thread is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)
