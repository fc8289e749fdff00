"""Runs the whole suite: `make test`. Words after it go to pytest: `scripts/test.py -k cancel`.

The suite needs a PostgreSQL, a Redis and a RabbitMQ. One that listens on this machine is used
where it lets us in; otherwise a private one is started from the installed programs, in a folder
of its own, on a free port, and is gone when the suite is done. Addresses may also be given:
``JOBSVC_TEST_POSTGRES_URL`` (a role that may create databases), ``JOBSVC_TEST_REDIS_URL``,
``JOBSVC_TEST_RABBITMQ_URL``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psycopg
import redis
from kombu import Connection

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60  # for a private service to answer; RabbitMQ needs ten on a busy machine
STOP_SECONDS = 15
POSTGRES_PROGRAMS = "/usr/lib/postgresql/*/bin"  # where Debian keeps them, off the PATH
RABBITMQ_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class CannotTest(Exception):
    """Something the suite needs is not there. The text says what to do."""


def answers_postgres(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            return row is not None and bool(row[0])
    except psycopg.Error:
        return False


def answers_redis(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url, socket_connect_timeout=2).ping())
    except redis.RedisError:
        return False


def answers_rabbitmq(url: str) -> bool:
    try:
        with Connection(url, connect_timeout=2) as connection:
            connection.connect()
            return bool(connection.connected)
    except OSError:
        return False
    except Connection(url).connection_errors:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(
    arguments: Sequence[str | Path],
    folder: Path,
    environment: dict[str, str],
    user: str | None = None,
) -> subprocess.Popen[bytes]:
    """A private service, its words in ``folder``; in a session of its own, away from Ctrl-C."""
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
        )


def stop(process: subprocess.Popen[bytes], by: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(by)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def private_postgres(folder: Path) -> Iterator[str]:
    programs = shutil.which("postgres")
    places = [Path(programs).parent] if programs else sorted(Path("/").glob(POSTGRES_PROGRAMS[1:]))
    if not places:
        raise CannotTest("PostgreSQL is not installed.\nInstall it: apt-get install postgresql")
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        shutil.chown(folder, user)
    data, port = folder / "data", free_port()
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    made = start(
        [places[-1] / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"],
        folder,
        environment,
        user,
    )
    if made.wait() != 0:
        raise CannotTest(
            f"PostgreSQL could not make its files:\n{(folder / 'output.txt').read_text()}"
        )
    options = [f"-cunix_socket_directories={folder}", "-cfsync=off", "-cmax_connections=300"]
    server = start(
        [places[-1] / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), *options],
        folder,
        environment,
        user,
    )
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        stop(server, signal.SIGINT)  # ends the sessions that tests have left open


@contextmanager
def private_redis(folder: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise CannotTest("Redis is not installed.\nInstall it: apt-get install redis-server")
    port = free_port()
    server = start(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
        folder,
        {"PATH": os.defpath},
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        stop(server)


@contextmanager
def private_rabbitmq(folder: Path) -> Iterator[str]:
    if not RABBITMQ_PROGRAM.exists():
        raise CannotTest("RabbitMQ is not installed.\nInstall it: apt-get install rabbitmq-server")
    port, port_mapper = free_port(), str(free_port())
    environment = {
        "PATH": f"{os.defpath}:/usr/sbin:/sbin",
        "HOME": str(folder),  # Erlang keeps its cookie there
        "ERL_EPMD_PORT": port_mapper,
        "RABBITMQ_NODENAME": "jobsvc-test@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
    }
    server = start([RABBITMQ_PROGRAM], folder, environment)
    try:
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        stop(server)
        # Erlang's port mapper is a daemon and would stay.
        subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, check=False)


@dataclass(frozen=True)
class Service:
    """Something the suite talks to."""

    name: str
    variable: str
    usual: tuple[str, ...]  # addresses where one may be listening already
    answers: Callable[[str], bool]
    private: Callable[[Path], AbstractContextManager[str]]


SERVICES = (
    Service(
        "PostgreSQL",
        "JOBSVC_TEST_POSTGRES_URL",
        (
            f"postgresql://{pwd.getpwuid(os.geteuid()).pw_name}@127.0.0.1:5432/postgres",
            "postgresql://postgres@127.0.0.1:5432/postgres",
        ),
        answers_postgres,
        private_postgres,
    ),
    Service(
        "Redis",
        "JOBSVC_TEST_REDIS_URL",
        ("redis://127.0.0.1:6379/0",),
        answers_redis,
        private_redis,
    ),
    Service(
        "RabbitMQ",
        "JOBSVC_TEST_RABBITMQ_URL",
        ("amqp://guest:guest@127.0.0.1:5672//",),
        answers_rabbitmq,
        private_rabbitmq,
    ),
)


def address_of(service: Service, folder: Path, until_done: ExitStack) -> str:
    """Where the service is: as given, as found, or as started for now."""
    given = os.environ.get(service.variable)
    if given:
        if not service.answers(given):
            raise CannotTest(
                f"{service.name} does not answer at {service.variable}={given}.\n"
                "Correct it, or unset it to have a private one started."
            )
        return given
    for url in service.usual:
        if service.answers(url):
            print(f"{service.name}: the one at {url}")
            return url
    place = folder / service.name.lower()
    place.mkdir(mode=0o755)
    url = until_done.enter_context(service.private(place))
    deadline = time.monotonic() + START_SECONDS
    while not service.answers(url):
        if time.monotonic() > deadline:
            raise CannotTest(
                f"{service.name} was started and did not answer within {START_SECONDS} s. It said:"
                f"\n{(place / 'output.txt').read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.2)
    print(f"{service.name}: a private one at {url}")
    return url


def pytest_arguments(given: Sequence[str]) -> list[str]:
    """One process a core, at least two, so that what is shared is found; groups stay together."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 2
    spread = ["-n", str(max(2, cores)), "--dist", "loadgroup"]
    return [sys.executable, "-m", "pytest", *spread, *given]


def terminated(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def main() -> int:
    signal.signal(signal.SIGTERM, terminated)
    if not shutil.which("chromium"):
        raise CannotTest(
            "Chromium is not installed; the tests of pages open them in it.\n"
            "Install it: apt-get install chromium"
        )
    with (
        tempfile.TemporaryDirectory(prefix="jobsvc-test-", ignore_cleanup_errors=True) as temporary,
        ExitStack() as until_done,
    ):
        folder = Path(temporary)
        folder.chmod(0o755)  # PostgreSQL runs as another user and must reach its own folder
        addresses = {
            service.variable: address_of(service, folder, until_done) for service in SERVICES
        }
        # The suite never sees what this machine's own installation has in its environment.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("JOBSVC_") or name.startswith("JOBSVC_TEST_")
        }
        own = {"JOBSVC_DATA_DIR": str(folder / "jobsvc")}
        suite = subprocess.Popen(
            pytest_arguments(sys.argv[1:]), cwd=ROOT, env=kept | addresses | own
        )
        try:
            return suite.wait()
        except KeyboardInterrupt:
            return suite.wait()  # Ctrl-C has reached pytest, too; its summary is worth waiting for
        finally:
            if suite.poll() is None:
                stop(suite, signal.SIGINT)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotTest as reason:
        sys.exit(f"\nThe suite cannot run. {reason}")
