"""The last thing before a child's own program: puts the layers of isolation on, then execs.

Run as ``python -I -S launch.py FD``. FD is one end of a socket pair: one JSON line comes in
(what to run and how it is confined), one goes out (the layers that really hold), and it is
closed before the exec. Nothing secret stands on the command line.

Standard library only, and no import of this package: it is started for every child, and the
less it loads the sooner that one runs.

The order matters: limits, user id (which clears the death signal), capabilities, death
signal, Landlock, seccomp, exec.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

EXIT_UNCONFINED = 98  # a layer that was demanded is not to be had: nothing was started
EXIT_ORPHAN = 97  # whoever started this was gone before the death signal was set

_INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside")  # noqa: PTH100, PTH118, PTH120 -- pathlib would double the start of every child

_PR_SET_PDEATHSIG, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 21, 22, 38
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH, _RULE_PORT = 1, 2
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a directory
_ON_A_FILE = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # the rights a plain file may carry
_DEVICE_NODES = 1 << 6 | 1 << 11  # making them: handled, and granted nowhere
_BIND, _CONNECT = 1 << 0, 1 << 1

_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: Any) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def landlock_abi() -> int:
    """The version of Landlock that this kernel speaks; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1)))


def _landlock(
    read_only: Iterable[str], read_write: Iterable[str], ports: Sequence[int] | None
) -> int:
    """Confine files, TCP ports, signals and abstract sockets; the version, or 0 for not at all."""
    abi = landlock_abi()
    if abi < 1:
        return 0
    files = {1: (1 << 13) - 1, 2: (1 << 14) - 1}.get(abi, (1 << 15) - 1)
    files |= 1 << 15 if abi >= 5 else 0
    network = _BIND | _CONNECT if abi >= 4 and ports is not None else 0
    attributes = struct.pack("=QQQ", files, network, 3 if abi >= 6 else 0)
    attributes = attributes[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    for paths, rights in ((read_only, _READ), (read_write, files & ~_DEVICE_NODES)):
        for path in paths:
            try:
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError as missing:
                if missing.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                    continue  # what is not there, or not for this user, needs no right
                raise
            is_directory = stat.S_ISDIR(os.fstat(handle).st_mode)
            granted = (rights if is_directory else rights & _ON_A_FILE) & files
            _syscall(_LANDLOCK_ADD, ruleset, _RULE_PATH, struct.pack("=Qi", granted, handle), 0)
            os.close(handle)
    for port in ports or () if network else ():
        _syscall(_LANDLOCK_ADD, ruleset, _RULE_PORT, struct.pack("=QQ", _CONNECT, port), 0)
    _syscall(_LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
    return abi


# System calls that a child of a run has no business with: x86-64 number, aarch64 number.
# Tracing, kernel keyrings, namespaces and mounts, io_uring (which would go round this very
# filter), modules and clocks; and what acts on other processes of the same user where
# Landlock has no rule: priorities, pages, watches on directories it may not open, and System V
# and POSIX queues, which would outlive the run.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "iopl": (172, None),
    "ioperm": (173, None),
    "personality": (135, 92),
    "clock_settime": (227, 112),
    "settimeofday": (164, 170),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
}
# Answered with success and not done. Landlock has no rule for them, so a child could lock this
# service out of its own files; but git and shutil give up when they fail, and inside a
# workspace that only one user may enter, modes, owners and times mean nothing.
_PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}
_UNSUPPORTED: dict[str, tuple[int | None, int | None]] = {
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
}
# Allowed on oneself (0) and on no other process: prlimit alone could end this service.
_ON_ONESELF: dict[str, tuple[int, int]] = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
# TCP Fast Open connects without connect(), round Landlock's ports: number, index of the flags.
_SENDING: dict[str, tuple[int, int, int]] = {
    "sendto": (44, 206, 3),
    "sendmsg": (46, 211, 2),
    "sendmmsg": (307, 269, 3),
}
_SOCKET, _CLONE, _CLONE3 = (41, 198), (56, 220), 435
_MSG_FASTOPEN = 0x20000000
_NAMESPACE_FLAGS = 0x7E020000
_AF_INET, _AF_INET6 = 2, 10
# Of the internet families, plain IP, TCP and UDP: MPTCP reaches a TCP port round Landlock.
_PROTOCOLS = (0, 6, 17)

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_X32 = 0x40000000

_Instruction = tuple[int, int, int, int]


def _argument(index: int) -> int:
    """Where the low half of a system call's argument stands in struct seccomp_data."""
    return 16 + 8 * index


def _answer(error: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)


def _program(column: int, architecture: int) -> list[_Instruction]:
    """The filter, in classic BPF: jumps are counts of instructions to leave out."""
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _answer(errno.EPERM),
    ]
    for calls, error in (
        (_DENIED, errno.EPERM),
        (_PRETENDED, 0),
        (_UNSUPPORTED, errno.ENOTSUP),
    ):
        for numbers in calls.values():
            if (number := numbers[column]) is not None:
                program += [(_EQUAL, 0, 1, number), _answer(error)]
    for own in _ON_ONESELF.values():
        program += [
            (_EQUAL, 0, 4, own[column]),
            (_LOAD, 0, 0, _argument(0)),
            (_EQUAL, 1, 0, 0),
            _answer(errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    for sending in _SENDING.values():
        program += [
            (_EQUAL, 0, 4, sending[column]),
            (_LOAD, 0, 0, _argument(sending[2])),
            (_ANY_BIT, 0, 1, _MSG_FASTOPEN),
            _answer(errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    # clone3 hides its flags behind a pointer; without it libc falls back to clone.
    program += [(_EQUAL, 0, 1, _CLONE3), _answer(errno.ENOSYS)]
    program += [
        (_EQUAL, 0, 4, _CLONE[column]),
        (_LOAD, 0, 0, _argument(0)),
        (_ANY_BIT, 0, 1, _NAMESPACE_FLAGS),
        _answer(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    protocols: list[_Instruction] = [(_LOAD, 0, 0, _argument(2))]
    for left, protocol in zip(range(len(_PROTOCOLS), 0, -1), _PROTOCOLS, strict=True):
        protocols.append((_EQUAL, left, 0, protocol))
    protocols += [_answer(errno.EPROTONOSUPPORT), (_RETURN, 0, 0, _ALLOW)]
    program += [
        (_EQUAL, 0, 4 + len(protocols), _SOCKET[column]),
        (_LOAD, 0, 0, _argument(0)),
        (_EQUAL, 2, 0, _AF_INET),
        (_EQUAL, 1, 0, _AF_INET6),
        _answer(errno.EAFNOSUPPORT),
        *protocols,
        (_RETURN, 0, 0, _ALLOW),
    ]
    return program


def seccomp_available() -> bool:
    """Whether this machine has system call filters and this module knows its numbers."""
    return (
        sys.platform == "linux"
        and platform.machine() in _MACHINES
        and _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0
    )


def _seccomp() -> bool:
    if not seccomp_available():
        return False
    program = _program(*_MACHINES[platform.machine()])
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(code))
    return int(_libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0)) == 0


def _drop_capabilities() -> bool:
    """Give up every capability: together with no_new_privs an exec as root gives none back."""
    number = _CAPSET.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    return int(_libc.syscall(number, header, bytes(24))) == 0


def _limit(limits: dict[str, int]) -> bool:
    for name, value in {"RLIMIT_CORE": 0, **limits}.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))
    return True


def _become(uid: int) -> bool:
    """Turn into another user for good; False where this process may not."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except PermissionError:
        return False
    return True


def _missing(need: Iterable[str], got: dict[str, int | bool]) -> str:
    """The first demand that does not hold (``landlock:4`` asks for at least that version)."""
    for demand in need:
        name, _, level = demand.partition(":")
        if int(got.get(name, 0)) < int(level or 1):
            return demand
    return ""


def _ordinary_signals() -> None:
    """Undo what Python, and whoever started us, made of the signals: both outlive an exec."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except OSError:
            continue  # libc keeps two of them for itself
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main(channel: int) -> NoReturn:
    """Read what is wanted from ``channel``, confine this process, answer, become the program."""
    with open(channel, "rb", closefd=False) as incoming:
        wanted = json.loads(incoming.readline())
    os.set_inheritable(channel, False)
    got: dict[str, int | bool] = {"clean_env": True}
    _ordinary_signals()
    os.umask(0o077)
    got["rlimits"] = _limit(wanted["rlimits"])
    got["uid"] = wanted["uid"] is not None and _become(wanted["uid"])
    got["capabilities"] = _drop_capabilities()
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != wanted["parent"]:
        os._exit(EXIT_ORPHAN)
    environment = dict(wanted["env"])
    got["landlock"] = _landlock(
        (*wanted["read_only"], _INSIDE), wanted["read_write"], wanted["ports"]
    )
    if got["landlock"]:
        environment.setdefault("PYTHONPATH", _INSIDE)
    got["seccomp"] = _seccomp()
    missing = _missing(wanted["need"], got)
    os.write(channel, json.dumps({"missing": missing, "layers": got}).encode() + b"\n")
    os.close(channel)
    if missing:
        os._exit(EXIT_UNCONFINED)
    try:
        os.execvpe(wanted["argv"][0], wanted["argv"], environment)  # noqa: S606 -- a list, no shell
    except OSError as error:
        os.write(2, f"{wanted['argv'][0]} cannot be started: {error.strerror}.\n".encode())
        os._exit(127 if error.errno == errno.ENOENT else 126)


if __name__ == "__main__":
    main(int(sys.argv[1]))
