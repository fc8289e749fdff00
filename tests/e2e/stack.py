"""The whole service for a test: web, workers and beat as processes, spoken to over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import psycopg
import requests

from tests.installation import POSTGRES_URL, ROOT, Installation, installation, postgres_database

T = TypeVar("T")

EXAMPLE = ROOT / "examples" / "coffee_shop"
START_SECONDS = 60  # for a process to be ready
RUN_SECONDS = 180  # for a run of the example to end


def wait_until(what: str, look: Callable[[], T | None], seconds: float = START_SECONDS) -> T:
    """What ``look`` returns once it is something; asked every 0.2 s."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A Redis of the test's own, which it may stop and start."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
        )
        wait_until("Redis answers", self._answers)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Stack:
    """An installation with its processes up, an account, and a token to its API."""

    def __init__(self, service: Installation, broker: Broker) -> None:
        self.service = service
        self.broker = broker
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        made = json.loads(
            service.manage("bootstrap", "--account", "E2E", "--email", "e2e@example.com", "--json")
        )
        self.account: int = made["account_id"]
        self.token: str = made["token"]
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Token {self.token}"
        self.worker: subprocess.Popen[bytes] | None = None
        self.sender: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_web()
        self.start_worker()
        self._celery("worker", "-Q", "default", "-c", "1", "-n", "light@%h")
        self.start_sender()
        self._celery("beat", "--schedule", str(self.service.data / "beat"))

    def start_web(self) -> None:
        with (self.service.data / "web.log").open("ab") as log:
            self.service.start(
                *("-m", "gunicorn", "jobsvc.wsgi", "--bind", f"127.0.0.1:{self.port}"),
                *("--worker-class", "gthread", "--threads", "4"),
                stdout=log,
                stderr=log,
            )
        wait_until("web answers", self._answers)

    def start_worker(self) -> None:
        self.worker = self._celery("worker", "-Q", "runs", "-c", "2", "-n", "runs@%h")

    def start_sender(self) -> None:
        self.sender = self._celery(
            "worker", "-Q", "outbound", "--pool", "threads", "-c", "8", "-n", "outbound@%h"
        )

    def _celery(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.service.data / "celery.log").open("ab") as log:
            return self.service.start(
                "-m", "celery", "-A", "jobsvc", *arguments, stdout=log, stderr=log
            )

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/livez", timeout=2).ok
        except requests.RequestException:
            return False

    # --- The API -------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, expect: int | None = None) -> Any:
        """Call ``/api/<path below the account>`` and return ``data``."""
        version, _, rest = path.partition("/")
        answer = self.http.request(
            method, f"{self.url}/api/{version}/accounts/{self.account}/{rest}", json=body
        )
        if expect is None:
            assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        else:
            assert answer.status_code == expect, answer.text
        return answer.json()["data"]

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, expect: int | None = None) -> Any:
        return self.call("POST", path, body, expect)

    def artifact(self, run: int, path: str, step: int | None = None) -> requests.Response:
        query = f"?step={step}" if step else ""
        return self.http.get(
            f"{self.url}/api/v2/accounts/{self.account}/runs/{run}/artifacts/{path}{query}"
        )

    def place(
        self,
        repository: Path | str,
        warehouse: Warehouse,
        name: str = "Coffee",
        **remote_fields: Any,
    ) -> Place:
        """A project with a production environment, made by the API alone.

        Args:
            repository: a folder, or an address with what else the API is told of it.
        """
        project = self.post("v3/projects/", {"name": name, "account_id": self.account})["id"]
        url = f"file://{repository}" if isinstance(repository, Path) else repository
        remote = self.post(
            f"v3/projects/{project}/repositories/",
            {"remote_url": url, "git_clone_strategy": "git_token", **remote_fields},
        )
        self.post(
            f"v3/projects/{project}/",
            {"name": name, "account_id": self.account, "repository_id": remote["id"]},
        )
        connection = self.post(
            "v3/connections/",
            {
                "name": f"{name} {warehouse.adapter}",
                "adapter_version": f"{warehouse.adapter}_v0",
                "config": warehouse.config,
            },
        )
        credentials = self.post(
            f"v3/projects/{project}/credentials/",
            {"account_id": self.account, "project_id": project, **warehouse.credentials},
        )
        environment = self.post(
            f"v3/projects/{project}/environments/",
            {
                "name": "Production",
                "type": "deployment",
                "deployment_type": "production",
                "connection_id": connection["id"],
                "credentials_id": credentials["id"],
            },
        )
        return Place(project, environment["id"], remote["id"])

    def job(self, place: Place, steps: list[str], **fields: Any) -> int:
        body = {
            "project_id": place.project,
            "environment_id": place.environment,
            "name": "a job",
            "execute_steps": steps,
        }
        made: int = self.post("v2/jobs/", body | fields, expect=201)["id"]
        return made

    def trigger(self, job: int, **fields: Any) -> int:
        made: int = self.post(f"v2/jobs/{job}/run/", {"cause": "e2e"} | fields, expect=200)["id"]
        return made

    def run(self, run: int) -> dict[str, Any]:
        answer: dict[str, Any] = self.get(
            f"v2/runs/{run}/?include_related=run_steps,trigger,job,debug_logs"
        )
        return answer

    def ended(self, run: int, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """The run once it is complete."""

        def look() -> dict[str, Any] | None:
            return self.run(run) if self.get(f"v2/runs/{run}/")["is_complete"] else None

        return wait_until(f"run {run} ends", look, seconds)

    def step_running(self, run: int, name: str) -> dict[str, Any]:
        """The run once its step whose name holds ``name`` is running."""

        def look() -> dict[str, Any] | None:
            seen = self.run(run)
            assert not seen["is_complete"], seen["status_message"]
            found = any(step["status"] == 3 and name in step["name"] for step in seen["run_steps"])
            return seen if found else None

        return wait_until(f"{name} of run {run} runs", look, RUN_SECONDS)

    def processes_of_runs(self) -> list[psutil.Process]:
        """Every live process that works in this installation's workspaces or supervises a run."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd", "status"]):
            about = " ".join(process.info["cmdline"] or []) + (process.info["cwd"] or "")
            ours = str(self.service.data / "workspaces") in about
            if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def kill_worker(self) -> None:
        """``kill -9`` of the worker, and of nothing else."""
        assert self.worker is not None
        os.kill(self.worker.pid, signal.SIGKILL)
        self.worker.wait()


class Place:
    """Where jobs of a test run: ids of a project, its production environment and repository."""

    def __init__(self, project: int, environment: int, repository: int) -> None:
        self.project = project
        self.environment = environment
        self.repository = repository


class Warehouse:
    """A warehouse for a test, in the API's words."""

    def __init__(self, adapter: str, config: dict[str, Any], credentials: dict[str, Any]) -> None:
        self.adapter = adapter
        self.config = config
        self.credentials = credentials


def duckdb_warehouse() -> Warehouse:
    return Warehouse(
        "duckdb",
        {"path": "coffee.duckdb"},
        {
            "type": "adapter",
            "adapter_version": "duckdb_v0",
            "credential_details": {"fields": {"schema": {"value": "main"}}},
        },
    )


@contextmanager
def postgres_warehouse() -> Iterator[tuple[Warehouse, str]]:
    """A PostgreSQL database to build in, and its address."""
    with postgres_database() as address:
        parts = urlsplit(address)
        yield (
            Warehouse(
                "postgres",
                {
                    "hostname": parts.hostname,
                    "port": parts.port or 5432,
                    "dbname": parts.path.lstrip("/"),
                },
                {
                    "type": "postgres",
                    "username": parts.username,
                    "password": parts.password or "trusted-anyway",
                    "default_schema": "analytics",
                    "threads": 4,
                },
            ),
            address,
        )


def make_repository(place: Path, source: Path = EXAMPLE, **files: str) -> Path:
    """A git repository at ``place`` that holds ``source`` and ``files`` (path to text)."""
    shutil.copytree(source, place)
    commit(place, "first", **files)
    return place


def commit(repository: Path, message: str, **files: str) -> str:
    """Write ``files``, commit everything, and return the commit's sha."""
    for name, text in files.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments],
            cwd=repository,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    if not (repository / ".git").exists():
        git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-q", "--allow-empty", "-m", message)
    return git("rev-parse", "HEAD")


@contextmanager
def stack(database: str, data: Path, **settings: str) -> Iterator[Stack]:
    """The service on ``database`` with a broker of its own; ``data/repositories`` may be cloned."""
    (data / "repositories").mkdir(parents=True)
    broker = Broker(data)
    broker.start()
    try:
        with installation(
            database,
            data,
            JOBSVC_BROKER_URL=broker.url,
            JOBSVC_GIT_LOCAL_ROOTS=str(data / "repositories"),
            JOBSVC_ALLOW_OWN_DATABASE_SERVER="true",
            JOBSVC_SWEEP_SECONDS="2",
            C_FORCE_ROOT="1",
            **settings,
        ) as service:
            made = Stack(service, broker)
            made.start()
            yield made
    finally:
        broker.stop()


def queries_running(address: str) -> list[str]:
    """What is being executed in a PostgreSQL database now, our own look apart."""
    with psycopg.connect(POSTGRES_URL) as server:
        rows = server.execute(
            "SELECT query FROM pg_stat_activity WHERE datname = %s AND state = 'active'",
            [urlsplit(address).path.lstrip("/")],
        )
        return [row[0] for row in rows]
