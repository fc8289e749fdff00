"""Attacks on whoever runs this project. Each returns what it got, or fails.

Facts of the place come in DBT_CANARY, as they would be known to anyone who has seen the service
from inside. Nothing here does lasting harm: what is written bears a mark and is removed by the
harness, processes end by themselves, signals are ones that are ignored by default.
"""

# An attacker calls the system as plainly as can be, and prints.
# ruff: noqa: PTH101, PTH104, PTH108, PTH116, PTH123, PTH208, PTH211, T201

import ctypes
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
from pathlib import Path

FACTS = json.loads(os.environ["DBT_CANARY"])
MARK = FACTS["mark"]
WORKER = FACTS["worker"]
SUPERVISOR = os.getppid()
OTHER = Path(FACTS["other_run"])
LIBC = ctypes.CDLL(None, use_errno=True)
ATTACKS = {}
NUMBERS = {  # of system calls that libc has no name for: x86-64, aarch64
    "add_key": (248, 217),
    "bpf": (321, 280),
    "clone": (56, 220),
    "io_uring_setup": (425, 425),
    "mq_open": (240, 180),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
}


def attack(function):
    ATTACKS[function.__name__] = function
    return function


def planted(data):
    """What was read, if it is what it was meant to be."""
    data = data if isinstance(data, bytes) else data.encode()
    return b"PLANTED" in data


def done(result):
    """The result of a call into libc, or its error."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


def kernel(name, *arguments):
    """A system call by name."""
    return LIBC.syscall(NUMBERS[name][platform.machine() == "aarch64"], *arguments)


def in_a_child(function):
    """Do something that would change this process in a forked one."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if function() else 1)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


# Other runs


@attack
def read_another_runs_file():
    return planted(Path(FACTS["other_file"]).read_bytes())


@attack
def read_another_runs_profile():
    return planted(Path(FACTS["other_profile"]).read_bytes())


@attack
def list_another_run():
    return os.listdir(OTHER)


@attack
def list_all_runs():
    return os.listdir(OTHER.parent)


@attack
def read_another_run_through_a_link():
    os.symlink(FACTS["other_file"], "link-to-other")
    return planted(Path("link-to-other").read_bytes())


@attack
def take_a_second_name_of_another_runs_file():
    os.link(FACTS["other_file"], "second-name")
    return planted(Path("second-name").read_bytes())


@attack
def reach_another_run_through_proc():
    return planted(Path(f"/proc/self/root{FACTS['other_file']}").read_bytes())


@attack
def change_another_runs_file():
    with open(OTHER / "to-change", "a") as file:
        return file.write("changed")


@attack
def empty_another_runs_file():
    os.truncate(OTHER / "to-empty", 0)
    return os.stat(OTHER / "to-empty").st_size == 0


@attack
def remove_another_runs_file():
    os.unlink(OTHER / "to-remove")
    return True


@attack
def move_another_runs_file():
    os.rename(OTHER / "to-move", OTHER / "moved")
    return True


@attack
def take_away_another_runs_rights():
    os.chmod(OTHER / "to-lock", 0)
    return os.stat(OTHER / "to-lock").st_mode & 0o777 == 0


@attack
def make_another_runs_file_look_old():
    os.utime(OTHER / "to-age", (0, 0))
    return os.stat(OTHER / "to-age").st_mtime == 0


@attack
def mark_another_runs_file():
    os.setxattr(OTHER / "to-mark", "user.mark", b"1")
    return True


@attack
def watch_another_run():
    return done(LIBC.inotify_add_watch(LIBC.inotify_init(), os.fsencode(OTHER), 0x100))


# The service


@attack
def read_the_service_database():
    with sqlite3.connect(f"file:{FACTS['database']}?mode=ro", uri=True) as database:
        return database.execute("select digest from token").fetchall()


@attack
def change_the_service_database():
    with sqlite3.connect(FACTS["database"]) as database:
        database.execute("insert into token values ('mine')")
    return True


@attack
def read_the_services_code():
    return Path(FACTS["code"], "engine", "process.py").read_bytes()


@attack
def change_the_services_code():
    Path(FACTS["code"], f"{MARK}.txt").write_text("x")
    return True


@attack
def change_what_every_python_loads():
    Path(FACTS["code"], "engine", "inside", f"{MARK}.txt").write_text("x")
    return True


@attack
def change_the_toolchain():
    Path(FACTS["site_packages"], f"{MARK}.pth").write_text("")
    return True


@attack
def read_the_operators_key():
    return planted(Path(FACTS["home"], ".ssh", "id_ed25519").read_bytes())


@attack
def find_the_services_settings_in_the_environment():
    return [name for name in ("SECRET_KEY", "DATABASE_URL", "BROKER_URL") if name in os.environ]


@attack
def read_the_workers_environment():
    return b"SECRET_KEY=" in Path(f"/proc/{WORKER}/environ").read_bytes()


@attack
def read_the_supervisors_environment():
    return Path(f"/proc/{SUPERVISOR}/environ").read_bytes()


@attack
def read_the_workers_command_line():
    return Path(f"/proc/{WORKER}/cmdline").read_bytes()


@attack
def list_all_processes():
    return [name for name in os.listdir("/proc") if name.isdigit()]


@attack
def look_into_the_workers_open_files():
    return os.listdir(f"/proc/{WORKER}/fd")


@attack
def enter_the_workers_root():
    return os.listdir(f"/proc/{WORKER}/root")


# Other processes


@attack
def open_the_workers_memory():
    return open(f"/proc/{WORKER}/mem", "rb")


@attack
def read_the_workers_memory():
    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    buffer = ctypes.create_string_buffer(8)
    here = Part(ctypes.addressof(buffer), 8)
    there = Part(FACTS["address"], 8)
    read = LIBC.process_vm_readv(WORKER, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return done(read)


def trace(pid):
    seize, interrupt_free_detach = 0x4206, 17
    done(LIBC.ptrace(seize, pid, None, None))
    LIBC.ptrace(interrupt_free_detach, pid, None, None)
    return True


@attack
def trace_the_worker():
    return in_a_child(lambda: trace(WORKER))


@attack
def trace_the_supervisor():
    return in_a_child(lambda: trace(SUPERVISOR))


@attack
def take_a_file_of_the_worker():
    return done(kernel("pidfd_getfd", os.pidfd_open(WORKER), 0, 0))


@attack
def signal_the_worker():
    os.kill(WORKER, signal.SIGURG)
    return True


@attack
def signal_the_supervisor():
    os.kill(SUPERVISOR, signal.SIGURG)
    return True


@attack
def signal_the_worker_by_descriptor():
    signal.pidfd_send_signal(os.pidfd_open(WORKER), signal.SIGURG)
    return True


@attack
def signal_the_workers_group():
    os.killpg(os.getpgid(WORKER), signal.SIGURG)
    return True


@attack
def signal_the_worker_by_a_pipe():
    set_signal = 10
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, WORKER)
    fcntl.fcntl(reading, set_signal, signal.SIGWINCH)
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writing, b"x")


@attack
def limit_the_worker():
    limits = resource.prlimit(WORKER, resource.RLIMIT_MSGQUEUE)
    resource.prlimit(WORKER, resource.RLIMIT_MSGQUEUE, limits)
    return True


@attack
def slow_down_the_worker():
    os.setpriority(os.PRIO_PROCESS, WORKER, os.getpriority(os.PRIO_PROCESS, WORKER))
    return True


@attack
def move_the_worker_to_another_processor():
    os.sched_setaffinity(WORKER, os.sched_getaffinity(WORKER))
    return True


# The network


def reaches(port, protocol=0):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as connection:
        connection.settimeout(5)
        try:
            connection.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            return "nobody is there, but nothing stood in the way"
    return True


@attack
def connect_to_the_broker():
    return reaches(FACTS["broker"])


@attack
def connect_to_redis():
    return reaches(6379)


@attack
def connect_to_rabbitmq():
    return reaches(5672)


@attack
def connect_to_postgresql():
    return reaches(5432)


@attack
def connect_to_the_broker_by_ipv6():
    with socket.socket(socket.AF_INET6) as connection:
        connection.connect(("::ffff:127.0.0.1", FACTS["broker"]))
    return True


@attack
def connect_to_the_broker_by_multipath_tcp():
    return reaches(FACTS["broker"], 262)


@attack
def connect_to_the_broker_by_fast_open():
    with socket.socket() as connection:
        return connection.sendto(b"PING\r\n", 0x20000000, ("127.0.0.1", FACTS["broker"]))


@attack
def listen_for_the_service():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()


@attack
def connect_to_a_socket_of_the_service():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(FACTS["socket"])
    return True


@attack
def connect_to_an_abstract_socket():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"\0{MARK}")
    return True


@attack
def listen_to_all_packets():
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


# The kernel


@attack
def get_a_user_namespace():
    return in_a_child(lambda: done(LIBC.unshare(0x10000000)))


@attack
def get_a_mount_namespace():
    return in_a_child(lambda: done(LIBC.unshare(0x00020000)))


@attack
def get_a_namespace_by_clone():
    child = kernel("clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return done(child)


@attack
def change_the_root():
    return in_a_child(lambda: os.chroot(".") is None)


@attack
def become_another_user():
    return in_a_child(lambda: os.setresuid(1, 1, 1) is None) if os.getuid() == 0 else None


@attack
def make_a_device():
    os.mknod("nothing", stat.S_IFCHR | 0o600, os.makedev(1, 3))  # a second /dev/null
    return True


@attack
def use_io_uring():
    return done(kernel("io_uring_setup", 4, ctypes.create_string_buffer(120)))


@attack
def use_the_kernels_keyring():
    return done(kernel("add_key", b"user", MARK.encode(), b"x", 1, -2))  # its own


@attack
def load_a_program_into_the_kernel():
    attributes = ctypes.create_string_buffer(struct.pack("=IIII", 2, 4, 8, 1), 128)
    return done(kernel("bpf", 0, attributes, len(attributes)))


@attack
def watch_the_kernels_events():
    attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 1, 112, 0), 112)
    return done(kernel("perf_event_open", attributes, 0, -1, -1, 0))


# What stays behind


@attack
def leave_a_process_in_another_session():
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)", f"{MARK}-session"],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@attack
def leave_a_daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        [signal.signal(number, signal.SIG_IGN) for number in (1, 2, 15)]
        for handle in range(3):
            fcntl.fcntl(handle, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        program = [sys.executable, "-c", "import time; time.sleep(120)", f"{MARK}-daemon"]
        os.execv(sys.executable, program)
    os.wait()


@attack
def leave_a_file_in_tmp():
    Path("/tmp", f"{MARK}.txt").write_text("x")
    return True


@attack
def leave_a_file_in_var_tmp():
    Path("/var/tmp", f"{MARK}.txt").write_text("x")
    return True


@attack
def leave_a_file_in_shared_memory():
    Path("/dev/shm", f"{MARK}.txt").write_text("x")
    return True


@attack
def list_the_hosts_tmp():
    return os.listdir("/tmp")


@attack
def leave_a_shared_memory_segment():
    return done(LIBC.shmget(FACTS["ipc_key"], 4096, 0o1600))


@attack
def leave_a_message_queue():
    return done(kernel("mq_open", MARK.encode(), os.O_CREAT | os.O_RDWR, 0o600, None))


@attack
def leave_a_file_in_the_operators_home():
    Path(FACTS["home"], f"{MARK}.txt").write_text("x")
    return True


# The run itself


@attack
def change_its_own_profile():
    profile = Path(os.environ["DBT_PROFILES_DIR"], "profiles.yml")
    profile.write_text(profile.read_text() + "\n")
    return True


@attack
def forge_files_that_were_collected():
    kept = Path.cwd().parent / "artifacts"
    kept.mkdir(exist_ok=True)
    (kept / f"{MARK}.json").write_text("{}")
    return True


@attack
def read_the_key_of_the_checkout():
    place = Path.cwd().parent / "git"
    return os.listdir(place)


@attack
def find_credentials_in_the_git_configuration():
    return planted(Path(".git", "config").read_bytes())


@attack
def leave_a_core_dump():
    return resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


def model(dbt, session):
    dbt.config(materialized="table")
    for name, function in ATTACKS.items():
        try:
            got = function()
        except BaseException as error:
            verdict = {"attack": name, "got": "", "met": f"{type(error).__name__}: {error}"}
        else:
            verdict = {"attack": name, "got": str(got)[:60] if got else "", "met": ""}
        print("CANARY " + json.dumps(verdict), flush=True)
    return session.sql("select 1 as finished")
