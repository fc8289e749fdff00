"""Starts the service here, builds the example project by a job, and stays up: `make demo`.

    scripts/demo.py [--port N] [--exit-after-run]

Everything is made through the REST API, as any client would: project, repository, connection,
credentials, environment, job, run. What an earlier demo has left is used again, by its name. All
of it lives in the data folder, ``.jobsvc`` or ``JOBSVC_DATA_DIR``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("JOBSVC_DATA_DIR", ROOT / ".jobsvc")).resolve()
EXAMPLE = ROOT / "examples" / "coffee_shop"
JOB = ROOT / "examples" / "jobs" / "nightly_build.json"
LEFT_BY_DBT = shutil.ignore_patterns("target", "dbt_packages", "logs", "*.duckdb*")

START_SECONDS = 90  # for the service to answer, migrations included
RUN_SECONDS = 900
STOP_SECONDS = 90  # `up` itself gives up on a run after less
POLL_SECONDS = 0.5
NAME = "Coffee shop"

SUCCESS, ERROR = 10, 20
GLYPHS = {1: "◷", 2: "◔", 3: "◐", SUCCESS: "✓", ERROR: "✕", 30: "⊘"}
NODE_ORDER = ("error", "fail", "warn", "skipped", "success", "pass", "no-op")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
NODE_DONE = re.compile(r"^[\d:]{8}\s+(\d+) of (\d+) (?!START)", re.MULTILINE)


class DemoFailed(Exception):
    """A piece of it does not work. The text says which, and what to do."""


class Api:
    """The account's part of the REST API."""

    def __init__(self, up: dict[str, Any]) -> None:
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Token {up['token']}"
        self._root, self._account = f"{up['local_url']}/api", up["account_id"]

    def request(self, method: str, path: str, body: Any = None) -> requests.Response:
        version, _slash, rest = path.partition("/")
        url = f"{self._root}/{version}/accounts/{self._account}/{rest}"
        return self._session.request(method, url, json=body, timeout=30)

    def get(self, path: str) -> Any:
        return self._data("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._data("POST", path, body)

    def named(self, path: str, name: str) -> Any:
        """The active object of that name in a list, or None."""
        every = self.get(f"{path}?limit=100")
        return next((one for one in every if one["name"] == name and one["state"] == 1), None)

    def _data(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.request(method, path, body)
        if not answer.ok:
            raise DemoFailed(
                f"The API refused {method} {path} with {answer.status_code}: "
                f"{message_of(answer)}\nIf an older demo is in the way, remove {DATA} "
                "and start again."
            )
        return answer.json()["data"]


def message_of(answer: requests.Response) -> str:
    try:
        return str(answer.json()["status"]["user_message"])
    except (ValueError, KeyError):
        return answer.text[:300]


def start_service(port: int | None) -> subprocess.Popen[bytes]:
    """``manage.py up`` in a session of its own, so that Ctrl-C comes to us alone."""
    DATA.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--with-owner"]
    with log_file().open("wb") as log:
        return subprocess.Popen(
            [*command, "--port", str(port)] if port else command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def log_file() -> Path:
    return DATA / "up.log"


def wait_until_up(service: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What ``up`` says of itself once it answers: addresses, sign-in, token."""
    place = DATA / "up.json"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise DemoFailed(f"The service did not start. It said:\n\n{end_of_log()}")
        if place.exists():
            up: dict[str, Any] = json.loads(place.read_text())
            if up["pid"] == service.pid:
                return up
        time.sleep(0.1)
    raise DemoFailed(
        f"The service has not answered within {START_SECONDS} s. It said:\n\n{end_of_log()}\n\n"
        f"All of it is in {log_file()}."
    )


def end_of_log() -> str:
    lines = log_file().read_text(errors="replace").strip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-12:])


def stop(service: subprocess.Popen[bytes]) -> None:
    """Stop the service with all that it has started; asking twice does not make it faster."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if service.poll() is None:
        print("\nStopping ...", flush=True)
        service.terminate()
        try:
            service.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
            print(f"The service had to be killed; {log_file()} says where it hung.")


def make_repository() -> Path:
    """The example project as a git repository, with a new commit if it has changed."""
    place = DATA / "repositories" / EXAMPLE.name
    place.mkdir(parents=True, exist_ok=True)
    for old in place.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(EXAMPLE, place, ignore=LEFT_BY_DBT, dirs_exist_ok=True)

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=jobsvc demo", "-c", "user.email=demo@example.com"]
        done = subprocess.run(
            ["git", *who, "-c", "commit.gpgsign=false", *arguments],
            cwd=place,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(
                f"git could not make a repository of the example: {done.stderr.strip()}\n"
                f"Remove {place} and start again."
            )
        return done.stdout

    if not (place / ".git").exists():
        git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all")
    if git("status", "--porcelain"):
        git("commit", "--quiet", "--message", "Three coffee shops")
    return place


def make_job(api: Api, repository: Path) -> dict[str, Any]:
    """The example's job and all that it stands on; what is there by its name is kept."""

    def tell(what: str, made: dict[str, Any], there: bool) -> None:
        print(f"  {'found' if there else 'made '}  {what:<12} {made['id']:>3}  {made['name']}")

    found = api.named("v3/projects/", NAME)
    project = found or api.post("v3/projects/", {"name": NAME})
    tell("project", project, bool(found))
    base = f"v3/projects/{project['id']}"

    if not project["repository_id"]:
        body = {"remote_url": repository.as_uri(), "git_clone_strategy": "git_token"}
        made = api.post(f"{base}/repositories/", body)
        api.post(f"{base}/", {"name": NAME, "repository_id": made["id"]})
        tell("repository", made | {"name": made["remote_url"]}, False)

    found = api.named("v3/connections/", "DuckDB")
    connection = found or api.post(
        "v3/connections/",
        {"name": "DuckDB", "adapter_version": "duckdb_v0", "config": {"path": "coffee.duckdb"}},
    )
    tell("connection", connection, bool(found))

    environment = api.named(f"{base}/environments/", "Production")
    if environment:
        tell("environment", environment, True)
    else:
        credentials = api.post(
            f"{base}/credentials/",
            {
                "type": "adapter",
                "adapter_version": "duckdb_v0",
                "credential_details": {"fields": {"schema": {"value": "shops"}}},
                "threads": 4,
            },
        )
        tell("credentials", credentials | {"name": "schema shops"}, False)
        environment = api.post(
            f"{base}/environments/",
            {
                "name": "Production",
                "type": "deployment",
                "deployment_type": "production",
                "connection_id": connection["id"],
                "credentials_id": credentials["id"],
                "dbt_version": "latest",
            },
        )
        tell("environment", environment, False)

    wanted = json.loads(JOB.read_text())
    found = next(
        (
            job
            for job in api.get(f"v2/jobs/?project_id={project['id']}&limit=100")
            if job["name"] == wanted["name"]
        ),
        None,
    )
    job: dict[str, Any] = found or api.post(
        "v2/jobs/", wanted | {"project_id": project["id"], "environment_id": environment["id"]}
    )
    tell("job", job, bool(found))
    return job


def follow(api: Api, run_id: int) -> dict[str, Any]:
    """Show the run's steps as they go, and return the run once it has ended."""
    shown, last = 0, ""
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        run: dict[str, Any] = api.get(f'v2/runs/{run_id}/?include_related=["run_steps"]')
        steps = run["run_steps"] or []
        while shown < len(steps) and steps[shown]["status"] in (SUCCESS, ERROR, 30):
            wipe()
            print(line_of(steps[shown]), flush=True)
            shown, last = shown + 1, ""
        if run["is_complete"]:
            wipe()
            return run
        now = live_line(run, steps[shown:])
        if now != last:
            wipe()
            print(now, end="" if sys.stdout.isatty() else "\n", flush=True)
            last = now
        time.sleep(POLL_SECONDS)
    raise DemoFailed(
        f"The run has not ended within {RUN_SECONDS // 60} minutes.\n"
        f"What the workers say is in {log_file()}."
    )


def wipe() -> None:
    """Take back the live line, where there is one."""
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")


def line_of(step: dict[str, Any]) -> str:
    return f"  {GLYPHS[step['status']]} {step['name']}  {step['duration_humanized']}"


def live_line(run: dict[str, Any], waiting: list[dict[str, Any]]) -> str:
    """What goes on now: the step, and how many of its nodes are done."""
    step = next((one for one in waiting if one["status"] == 3), None)
    if step is None:
        return f"  {GLYPHS[run['status']]} {run['status_humanized']}"
    line = f"  {GLYPHS[3]} {step['name']}"
    done = NODE_DONE.findall(ANSI.sub("", step["logs"] or ""))
    if done:
        line += f"  {len({number for number, _total in done})} of {done[-1][1]} nodes done"
    width = shutil.get_terminal_size().columns - 1
    return line[:width] if sys.stdout.isatty() else line


def print_result(api: Api, run: dict[str, Any]) -> None:
    """The run as a table: its steps, then its nodes by status, then what it warns of."""
    glyph, humanized = GLYPHS[run["status"]], run["status_humanized"]
    print(f"\n{glyph} Run {run['id']}: {humanized} after {run['run_duration']}")
    if run["status_message"]:
        print(f"  {run['status_message']}")
    print()
    rows = [
        (str(step["index"]), step["name"], step["status_humanized"], step["duration"])
        for step in run["run_steps"]
    ]
    print_table(("#", "step", "status", "duration"), rows)

    answer = api.request("GET", f"v2/runs/{run['id']}/artifacts/run_results.json")
    if not answer.ok:
        return
    results = answer.json()["results"]
    statuses = [status for status in NODE_ORDER if any(one["status"] == status for one in results)]
    kinds = Counter((one["unique_id"].partition(".")[0], one["status"]) for one in results)
    rows = [
        (kind, *(str(kinds[kind, status] or "") for status in statuses))
        for kind in sorted({kind for kind, _status in kinds})
    ]
    print()
    print_table(("nodes", *statuses), rows)
    for one in results:
        if one["status"] in ("warn", "error", "fail"):
            print(f"\n  {one['status']}: {one['unique_id'].split('.')[2]}: {one['message']}")


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, tuple("─" * width for width in widths), *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"  {'  '.join(cells)}".rstrip())


def explain_failure(run: dict[str, Any], up: dict[str, Any]) -> DemoFailed:
    """Why the run did not succeed, with the last words of the step that failed."""
    failed = next((step for step in run["run_steps"] if step["status"] == ERROR), None)
    said = ANSI.sub("", (failed or {}).get("logs") or "").strip().splitlines()[-15:]
    words = "\n".join(f"  {line}" for line in said)
    where = f"{up['url']}/runs/{run['id']}/"
    return DemoFailed(
        f"The run did not succeed: {run['status_message'] or run['status_humanized']}\n\n{words}\n"
        f"\n`make up` starts the service again; the run is at {where}"
    )


def demo(port: int | None, exit_after_run: bool) -> None:
    """The whole of it, until the run has ended or somebody says stop."""
    print("Starting the service ...", flush=True)
    began = time.monotonic()
    service = start_service(port)
    try:
        up = wait_until_up(service)
        print(f"Ready after {time.monotonic() - began:.0f} s at {up['url']}\n")
        api = Api(up)
        job = make_job(api, make_repository())
        run = api.post(f"v2/jobs/{job['id']}/run/", {"cause": "make demo"})
        print(f"\nRun {run['id']} of job {job['id']}, {job['name']}", flush=True)
        run = follow(api, run["id"])
        print_result(api, run)
        if run["status"] != SUCCESS:
            raise explain_failure(run, up)
        print(
            f"\n  open      {run['href']}\n"
            f"  sign in   {up['email']}\n  password  {up['password'] or 'the one you chose'}\n"
            f"  account   {up['account_id']}\n  token     {up['token']}\n"
            f"  log       {log_file()}\n"
        )
        if exit_after_run:
            return
        print("The service stays up; Ctrl-C stops everything.", flush=True)
        service.wait()
        raise DemoFailed(f"The service has ended by itself. It said:\n\n{end_of_log()}")
    finally:
        stop(service)


def terminated(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def main() -> None:
    parser = argparse.ArgumentParser(description="Start the service and build the example by it.")
    parser.add_argument(
        "--port", type=int, help="listen on this port (default: the first free one from 8000)"
    )
    parser.add_argument(
        "--exit-after-run", action="store_true", help="stop everything once the run has ended"
    )
    options = parser.parse_args()
    # Said aloud, because a shell that starts us in the background has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminated)
    signal.signal(signal.SIGHUP, terminated)
    try:
        demo(options.port, options.exit_after_run)
    except KeyboardInterrupt:
        return
    except DemoFailed as reason:
        sys.exit(f"\n{reason}")
    except requests.RequestException as error:
        sys.exit(f"\nThe service stopped answering: {error}\nWhat it said last is in {log_file()}.")


if __name__ == "__main__":
    main()
