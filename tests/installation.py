"""An installation of its own for a test: a database, a data folder, and processes on them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

ROOT = Path(__file__).resolve().parent.parent
POSTGRES_URL = os.environ.get(
    "JOBSVC_TEST_POSTGRES_URL", "postgresql://root@127.0.0.1:5432/postgres"
)


class Actor:
    """A process that does one action of ``tests.actor`` after the other."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def act(self, action: str, *arguments: object) -> Any:
        """Do an action and return its answer."""
        self.begin(action, *arguments)
        return self.answer()

    def begin(self, action: str, *arguments: object) -> None:
        """Start an action without waiting for it."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps([action, *arguments]).encode() + b"\n")
        self._child.stdin.flush()

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self._child.kill()
        self._child.wait()

    def answer(self) -> Any:
        """The answer to the action begun."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, f"the actor ended with {self._child.wait()}"
        return json.loads(line)


@dataclass
class Installation:
    """Environment variables that make a process part of one installation, and ways to start one.

    Attributes:
        started: everything started here, so that a test can leave nothing behind.
    """

    data: Path
    database_url: str
    settings: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        plain = {
            name: value for name, value in os.environ.items() if not name.startswith("JOBSVC_")
        }
        return plain | {
            "DJANGO_SETTINGS_MODULE": "jobsvc.settings",
            "PYTHONPATH": str(ROOT),
            "JOBSVC_DATA_DIR": str(self.data),
            "JOBSVC_DATABASE_URL": self.database_url,
            "JOBSVC_TOOLCHAINS_DIR": str(ROOT / ".toolchains"),
            **self.settings,
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start this Python with ``arguments``."""
        child = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment, **options
        )
        self.started.append(child)
        return child

    def manage(self, *arguments: str) -> str:
        """Run a management command to its end and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def actor(self) -> Actor:
        """A process of its own that does actions of ``tests.actor`` until the test ends."""
        return Actor(self.start("-m", "tests.actor", stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def stop_all(self) -> None:
        for child in self.started:
            if child.poll() is None:
                child.kill()
            child.wait(timeout=20)
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()


class _Templates:
    """Migrated databases, one of each kind, of which every installation's is a copy.

    Made when the first is asked for: migrating takes ten seconds and a copy takes none.
    """

    def __init__(self) -> None:
        self._until_done = ExitStack()
        self._made: dict[str, str] = {}

    def sqlite(self) -> Path:
        """A file to copy."""
        if "sqlite" not in self._made:
            place = tempfile.mkdtemp(prefix="jobsvc-template-")
            self._until_done.callback(shutil.rmtree, place, ignore_errors=True)
            _migrate(Installation(Path(place), f"sqlite:///{place}/db.sqlite3"))
            self._made["sqlite"] = f"{place}/db.sqlite3"
        return Path(self._made["sqlite"])

    def postgresql(self) -> str:
        """The name of a database to copy; nobody may be connected to it."""
        if "postgresql" not in self._made:
            address = self._until_done.enter_context(postgres_database())
            place = tempfile.mkdtemp(prefix="jobsvc-template-")
            self._until_done.callback(shutil.rmtree, place, ignore_errors=True)
            _migrate(Installation(Path(place), address))
            self._made["postgresql"] = urlsplit(address).path[1:]
        return self._made["postgresql"]

    def forget(self) -> None:
        """Remove them."""
        self._made.clear()
        self._until_done.close()


templates = _Templates()


@contextmanager
def postgres_database(template: str = "template1") -> Iterator[str]:
    """The address of a PostgreSQL database, empty or a copy of another; dropped afterwards."""
    name = f"jobsvc_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield urlsplit(POSTGRES_URL)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def installation(kind: str, data: Path, **settings: str) -> Iterator[Installation]:
    """An installation on ``sqlite`` or ``postgresql`` whose database is migrated."""
    if kind == "sqlite":
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(templates.sqlite(), data / "db.sqlite3")
        yield from _using(Installation(data, f"sqlite:///{data}/db.sqlite3", settings))
        return
    with postgres_database(templates.postgresql()) as address:
        yield from _using(Installation(data, address, settings))


def _migrate(made: Installation) -> None:
    made.manage("migrate", "--verbosity=0", "--skip-checks")


def _using(made: Installation) -> Iterator[Installation]:
    try:
        yield made
    finally:
        made.stop_all()
