"""``manage.py up``: the whole service on this machine, in one command and until Ctrl-C.

What is missing is made first: database and pages' files. Then web, the workers and beat run side
by side. When one of them ends, or somebody says stop, all of them end, and what a run has left
behind with them. Where nobody has set it up yet, it prints where to, or with ``--with-owner`` makes
an account, an owner and a token by itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from honcho.compat import ProcessManager
from honcho.manager import Manager

from accounts import setup
from accounts.models import Token, User
from jobsvc.engine import leftovers, sandbox

FIRST_PORT, LAST_PORT = 8000, 8099
BACKLOG = 512  # requests that may wait while web starts or is busy
READY_SECONDS = 60  # from starting the processes to the first answer
RUN_STOP_SECONDS = 30  # beyond the stop grace, for a run that has lost its worker to end
ACCOUNT_NAME = "My account"
OWNER = "owner@example.com"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Command(BaseCommand):
    help = (
        "Start the whole service on this machine: web, workers and beat. "
        "Makes the database where it is missing, and says where the first owner is made."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            help=f"Listen on this port; without it, on the first free one from {FIRST_PORT} on.",
        )
        parser.add_argument(
            "--with-owner",
            action="store_true",
            help="Make an account, an owner and a token, and print them.",
        )

    def handle(self, *_arguments: str, **options: Any) -> None:
        if not settings.EMBEDDED:
            raise CommandError(
                "`up` is for one machine, and JOBSVC_MODE is production.\n"
                "Start each process by itself, as docker-compose.yml does."
            )
        with only_one(settings.DATA_DIR), listen_on(options["port"]) as listener:
            port: int = listener.getsockname()[1]
            self._say("Preparing the database and the pages ...")
            call_command("migrate", verbosity=0, interactive=False)
            call_command("collectstatic", verbosity=0, interactive=False)
            place = settings.DATA_DIR / "sign-in.json"
            wanted = options["with_owner"] or place.exists()
            sign_in = sign_in_of(place) if wanted else None
            repositories = settings.DATA_DIR / "repositories"
            repositories.mkdir(exist_ok=True)
            os.environ.setdefault("JOBSVC_GIT_LOCAL_ROOTS", str(repositories))
            os.environ.setdefault("JOBSVC_SITE_URL", f"http://127.0.0.1:{port}")
            self._say("Starting web, workers and beat ...")
            code = self._run(listener, sign_in)
        if code:
            sys.exit(code)

    def _run(self, listener: socket.socket, sign_in: dict[str, Any] | None) -> int:
        """Keep the processes up until one ends or somebody says stop; 0 if it was the latter."""
        sandbox.adopt_orphans()  # a run whose worker is killed becomes ours to wait for
        manager = Processes()
        for name, command in commands(listener).items():
            # `exec`, so that the signal to stop reaches the process and not a shell above it.
            manager.add_process(name, f"exec {shlex.join(command)}", cwd=str(settings.BASE_DIR))
        manager.hand_over("web", listener)
        port: int = listener.getsockname()[1]
        threading.Thread(target=self._announce, args=(port, sign_in), daemon=True).start()
        stop_when_the_terminal_closes()
        manager.loop()
        if leftovers.children_of(os.getpid()):
            self._say("Waiting for what runs have left to end ...")
            see_off_the_runs()
        if manager.asked_by_signal:
            self._say("Everything is stopped.")
            return 0
        self.stderr.write(
            "One of the processes ended by itself, so the others were stopped; its last words "
            "are above.\nStart again once their reason is gone."
        )
        return 1

    def _announce(self, port: int, sign_in: dict[str, Any] | None) -> None:
        """Say where the service is once it answers: to people, and in ``up.json``."""
        local = f"http://127.0.0.1:{port}"
        if not answers(f"{local}/livez"):
            self._say(f"{local} has not answered for {READY_SECONDS} s; the reason is above.")
            return
        url = os.environ["JOBSVC_SITE_URL"]
        up = {"pid": os.getpid(), "url": url, "local_url": local, **(sign_in or {})}
        write_private(settings.DATA_DIR / "up.json", up)
        said = words_of(sign_in) if sign_in else f"  sign in   {url}\n"
        if sign_in is None and setup.is_open():
            key = "" if is_loopback(url) else f"?key={setup.setup_key()}"
            said = f"  set up    {url}/setup/{key}\n"
        connection.close()  # of this thread, which asks nothing more
        self._say(f"\n  jobsvc is up at {url}\n\n{said}\n  Ctrl-C stops everything.\n")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


class Stopper(ProcessManager):  # type: ignore[misc]  # honcho publishes no types
    """Asks the process itself to stop, not its children: a worker tells those by itself."""

    def terminate(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


class Processes(Manager):  # type: ignore[misc]  # honcho publishes no types
    """honcho's manager, which may be told to stop at any moment.

    honcho's own fails where a process has not reported its start yet, and kills those that do
    not stop only once another one has.
    """

    def __init__(self) -> None:
        super().__init__()
        self._procmgr = Stopper()
        self.asked_to_stop = False

    @property
    def asked_by_signal(self) -> bool:
        return self.returncode in {130, 143}  # what honcho makes of SIGINT and SIGTERM

    def hand_over(self, name: str, listener: socket.socket) -> None:
        """Let the process ``name`` have ``listener`` under the number it has here."""
        process = self._processes[name]["obj"]
        process._child_ctor = partial(process._child_ctor, pass_fds=(listener.fileno(),))

    def terminate(self) -> None:
        self.asked_to_stop = True
        if self._all_started():
            super().terminate()

    def _any_stopped(self) -> bool:
        return self.asked_to_stop or bool(super()._any_stopped())


def commands(listener: socket.socket) -> dict[str, list[str]]:
    """What each process of the service is started with."""
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "jobsvc"]
    quiet = ["--loglevel", os.environ.get("JOBSVC_LOG_LEVEL", "WARNING")]
    worker = [*celery, "worker", *quiet, "--without-gossip", "--without-mingle"]
    inherited = f"fd://{listener.fileno()}"
    return {
        "web": [
            *(sys.executable, "-m", "gunicorn", "jobsvc.wsgi", "--bind", inherited),
            *("--worker-class", "gthread", "--workers", "2", "--threads", "8"),
            *("--graceful-timeout", "3", "--no-control-socket", "--log-level", "warning"),
        ],
        "worker": [*worker, "--queues", "runs", "--concurrency", "2", "--hostname", "runs@%h"],
        "light": [*worker, "--queues", "default", "--concurrency", "1", "--hostname", "light@%h"],
        "outbound": [
            *(*worker, "--queues", "outbound", "--pool", "threads", "--concurrency", "8"),
            *("--hostname", "outbound@%h"),
        ],
        "beat": [*celery, "beat", *quiet],
    }


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for as long as the block lasts.

    Raises:
        CommandError: another ``up`` has it.
    """
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(
                f"The service is already up on {data_dir}.\n"
                "Use that one, or stop it with Ctrl-C where it was started, or set "
                "JOBSVC_DATA_DIR to another folder for a second one."
            ) from error
        yield


def listen_on(wanted: int | None) -> socket.socket:
    """A socket that listens on ``wanted``, or on the first free port where none is wanted.

    Web inherits it. So the port is ours from now on, and what answers there is our own.

    Raises:
        CommandError: it is taken, or all are.
    """
    for port in [wanted] if wanted else range(FIRST_PORT, LAST_PORT + 1):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    if wanted:
        raise CommandError(
            f"Port {wanted} is taken by another program.\n"
            "Stop that program, give another number, or leave --port out to have one chosen."
        )
    raise CommandError(
        f"Every port from {FIRST_PORT} to {LAST_PORT} is taken.\nGive a free one with --port."
    )


def is_loopback(url: str) -> bool:
    """Whether only this machine can reach ``url``, as far as its host says."""
    return (urlsplit(url).hostname or "") in LOOPBACK


def words_of(sign_in: dict[str, Any]) -> str:
    """A sign-in that was made here, in lines."""
    return (
        f"  sign in   {sign_in['email']}\n"
        f"  password  {sign_in['password'] or 'the one you chose'}\n"
        f"  account   {sign_in['account_id']}\n"
        f"  token     {sign_in['token']}\n"
    )


def sign_in_of(place: Path) -> dict[str, Any]:
    """The first account, its owner and a token that works; kept in ``place`` for the next time.

    Returns:
        What ``bootstrap`` prints: ``account_id``, ``account_name``, ``email``, ``password``
        (None where the owner has chosen another since) and ``token``.
    """
    known = json.loads(place.read_text()) if place.exists() else {}
    if Token.objects.find(known.get("token", "")) is None:
        made = StringIO()
        call_command(
            "bootstrap", "--account", ACCOUNT_NAME, "--email", OWNER, "--json", stdout=made
        )
        known |= {name: value for name, value in json.loads(made.getvalue()).items() if value}
    owner = User.objects.get(email=known["email"])
    password = known.get("password")
    known["password"] = password if password and owner.check_password(password) else None
    write_private(place, known)
    return known


def answers(url: str) -> bool:
    """Whether ``url`` gives an answer within ``READY_SECONDS``."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=2, allow_redirects=False).ok:
                return True
        time.sleep(0.1)
    return False


def write_private(place: Path, content: dict[str, Any]) -> None:
    """Put ``content`` as JSON into a file that only its owner reads, all of it at once."""
    beside = place.with_suffix(".new")
    beside.touch(mode=0o600)
    beside.write_text(json.dumps(content, indent=1))
    beside.rename(place)


def stop_when_the_terminal_closes() -> None:
    """A closed window means the same as Ctrl-C, save under nohup."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)


def see_off_the_runs() -> None:
    """Wait for the runs whose worker has just been stopped; in the end, by force."""
    deadline = time.monotonic() + settings.STOP_GRACE_SECONDS + RUN_STOP_SECONDS
    while leftovers.children_of(os.getpid()) and time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.05)
    leftovers.sweep(frozenset())
