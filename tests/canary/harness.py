"""Builds a service worth attacking, lets the canary loose in it, and collects the verdicts."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DBT = Path(os.environ.get("JOBSVC_TEST_DBT", ROOT / ".toolchains" / "dbt-1.11" / "bin" / "dbt"))

PLANTED = "PLANTED, and not for you"
SETTINGS = {
    "SECRET_KEY": PLANTED,
    "DATABASE_URL": "postgres://service:PLANTED@127.0.0.1/service",
    "BROKER_URL": "redis://:PLANTED@127.0.0.1:6379/0",
}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Verdict:
    """What one attack got.

    Attributes:
        got: what it had in hand, or what it left; empty if the attack was held.
        met: the error that stopped it, for the curious.
    """

    attack: str
    got: str
    met: str = ""

    @property
    def held(self) -> bool:
        return not self.got


@dataclass(frozen=True)
class Report:
    """The verdicts of one run of the canary, by attack."""

    verdicts: dict[str, Verdict]
    layers: dict[str, int | bool]

    def through(self) -> list[str]:
        """The attacks that got something."""
        return sorted(verdict.attack for verdict in self.verdicts.values() if not verdict.held)


def attack(how: str, place: Path) -> Report:
    """Run the canary under ``place``, an empty directory. ``how`` is ``confined`` or ``naive``."""
    with _service(place) as task:
        done = subprocess.run(
            [sys.executable, "-m", "tests.canary.worker", how],
            input=json.dumps(task),
            cwd=ROOT,
            env={**os.environ, **SETTINGS},
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode:
            raise RuntimeError(f"the canary's worker failed:\n{done.stderr}")
        result = json.loads(done.stdout)
        verdicts = [*_spoken(result), *_from_models(result), *_evidence(task, result)]
    by_attack: dict[str, Verdict] = {}
    for verdict in verdicts:
        if verdict.attack not in by_attack or not verdict.held:
            by_attack[verdict.attack] = verdict
    return Report(by_attack, result["layers"])


def _spoken(result: dict[str, Any]) -> Iterator[Verdict]:
    """What the Python model said of its attacks."""
    count = 0
    for line in _COLOURS.sub("", result["said"]).splitlines():
        _, found, verdict = line.partition("CANARY ")
        if found:
            count += 1
            yield Verdict(**json.loads(verdict))
    if not count:
        raise RuntimeError(f"the canary did not sing: {result['message']}\n{result['said']}")


def _from_models(result: dict[str, Any]) -> Iterator[Verdict]:
    """Each SQL model is an attack of its own: it is built only if it got what it was after."""
    for model in json.loads(result["results"])["results"]:
        name = model["unique_id"].rpartition(".")[2]
        if name.startswith("sql_"):
            built = model["status"] == "success"
            yield Verdict(name, "built" if built else "", " ".join(model["message"].split()))


def _evidence(task: dict[str, Any], result: dict[str, Any]) -> Iterator[Verdict]:
    """What can be seen after the run, whatever the attacks said of themselves."""
    facts = task["facts"]
    mark, other, home = facts["mark"], Path(facts["other_run"]), Path(facts["home"])
    for name, place in {
        "leave_a_file_in_tmp": Path("/tmp"),
        "leave_a_file_in_var_tmp": Path("/var/tmp"),
        "leave_a_file_in_shared_memory": Path("/dev/shm"),
        "leave_a_file_in_the_operators_home": home,
        "change_the_services_code": Path(facts["code"]),
        "change_what_every_python_loads": Path(facts["code"], "engine", "inside"),
        "change_the_toolchain": Path(facts["site_packages"]),
    }.items():
        left = [str(path) for path in place.glob(f"*{mark}*")]
        yield Verdict(name, f"left {', '.join(left)}" if left else "")
    for name, intact in {
        "change_another_runs_file": (other / "to-change").read_text() == PLANTED,
        "empty_another_runs_file": (other / "to-empty").read_text() == PLANTED,
        "remove_another_runs_file": (other / "to-remove").exists(),
        "move_another_runs_file": (other / "to-move").exists(),
        "take_away_another_runs_rights": (other / "to-lock").stat().st_mode & 0o777 == 0o644,
        "make_another_runs_file_look_old": (other / "to-age").stat().st_mtime > 0,
        "sql_copies_into_another_run": not (other / "from-sql.csv").exists(),
        "change_the_service_database": _tokens(facts["database"]) == [(PLANTED,)],
    }.items():
        yield Verdict(name, "" if intact else "the harm is done")
    for name, number in {
        "signal_the_worker": signal.SIGURG,
        "signal_the_worker_by_a_pipe": signal.SIGWINCH,
    }.items():
        yield Verdict(name, "it arrived" if number in result["signals"] else "")
    for name, argument in {
        "leave_a_process_in_another_session": f"{mark}-session",
        "leave_a_daemon": f"{mark}-daemon",
    }.items():
        alive = processes_with(argument)
        yield Verdict(name, f"alive: {alive}" if alive else "")


def _tokens(database: str) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute("select digest from token").fetchall()


def processes_with(argument: str) -> list[int]:
    """The processes that have ``argument`` on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and argument.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def _service(place: Path) -> Iterator[dict[str, Any]]:
    """A service with another tenant's run in it, listening; afterwards no trace is left."""
    mark = f"canary-{uuid.uuid4().hex}"
    workspaces, home = place / "workspaces", place / "home"
    other = workspaces / "run-99-1"
    (other / "profile").mkdir(parents=True)
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text(PLANTED)
    for name in (
        "secret",
        "to-change",
        "to-empty",
        "to-remove",
        "to-move",
        "to-lock",
        "to-age",
        "to-mark",
    ):
        (other / name).write_text(PLANTED)
        (other / name).chmod(0o644)
    (other / "profile" / "profiles.yml").write_text(f"password: {PLANTED}")
    database = place / "service.sqlite3"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("create table token (digest text)")
        connection.execute("insert into token values (?)", (PLANTED,))
    site_packages = next(DBT.resolve().parents[1].glob("lib/python3*/site-packages"))
    _make_warehouse(other / "warehouse.duckdb")
    ipc_key = uuid.uuid4().int & 0x7FFFFFFF
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        path_socket, abstract_socket = str(place / "s"), f"\0{mark}"
        for address in (path_socket, abstract_socket):
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(address)
            listening.listen()
        facts = {
            "mark": mark,
            "other_run": str(other),
            "other_file": str(other / "secret"),
            "other_profile": str(other / "profile" / "profiles.yml"),
            "other_warehouse": str(other / "warehouse.duckdb"),
            "database": str(database),
            "code": str(ROOT / "jobsvc"),
            "site_packages": str(site_packages),
            "home": str(home),
            "broker": broker.getsockname()[1],
            "socket": path_socket,
            "ipc_key": ipc_key,
        }
        try:
            yield {
                "workspaces": str(workspaces),
                "source": str(HERE / "project"),
                "repository": _repository(place / "repositories").as_uri(),
                "repositories": str(place / "repositories"),
                "dbt": str(DBT),
                "facts": facts,
            }
        finally:
            _tidy(facts)


def _make_warehouse(path: Path) -> None:
    text = f"""
import duckdb
with duckdb.connect({str(path)!r}) as c:
    c.execute("create table customers as select 'PLANTED' as planted")
"""
    subprocess.run([DBT.parent / "python", "-c", text], check=True)


def _repository(place: Path) -> Path:
    """The canary's project as a bare repository."""
    tree, bare = place / "tree", place / "canary.git"
    shutil.copytree(HERE / "project", tree)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    author = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    for command in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        (*author, "commit", "--quiet", "--message", "Sing"),
        ("clone", "--quiet", "--bare", str(tree), str(bare)),
    ):
        subprocess.run(["git", *command], cwd=tree, env=environment, check=True)
    return bare


def _tidy(facts: dict[str, Any]) -> None:
    """Remove what an attack that got through has left on this machine."""
    mark = facts["mark"]
    for pid in processes_with(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    inside = f"{facts['code']}/engine/inside"
    for place in ("/tmp", "/var/tmp", "/dev/shm", facts["code"], inside, facts["site_packages"]):
        for path in Path(place).glob(f"*{mark}*"):
            path.unlink()
    libc = ctypes.CDLL(None)
    segment = libc.shmget(facts["ipc_key"], 0, 0)
    if segment != -1:
        libc.shmctl(segment, 0, None)
    # The C library insists on a slash before the name; the system call had none.
    libc.mq_unlink(f"/{mark}".encode())


def table(naive: Report, confined: Report) -> str:
    """Both runs side by side, an attack a line."""
    names = sorted({*naive.verdicts, *confined.verdicts})
    width = max(map(len, names))
    lines = [f"{'attack':<{width}}  {'plain child':<11}  confined"]
    for name in names:
        cells = [
            "not tried" if name not in report.verdicts else _word(report.verdicts[name])
            for report in (naive, confined)
        ]
        got = confined.verdicts[name].got if name in confined.verdicts else ""
        lines.append(f"{name:<{width}}  {cells[0]:<11}  {cells[1]}{f' ({got})' if got else ''}")
    for words, report in (("as a plain child", naive), ("confined", confined)):
        held = len(report.verdicts) - len(report.through())
        lines.append(f"{words}: {held} of {len(report.verdicts)} held")
    lines.append(f"layers: {json.dumps(confined.layers)}")
    return "\n".join(lines)


def _word(verdict: Verdict) -> str:
    return "held" if verdict.held else "THROUGH"
