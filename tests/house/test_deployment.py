"""The shape of a production: what compose starts, as whom, with what, and what tells it is well."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

ROOT = Path(__file__).resolve().parents[2]
OURS = ("beat", "migrate", "web", "worker", "worker-light", "worker-outbound")
CAPABILITIES_OF_THE_WORKER = {"SETUID", "SETGID", "KILL", "CHOWN", "DAC_OVERRIDE"}
LANDLOCK_ALONE = "landlock,seccomp,uid"
SITE = "https://jobs.example.com"


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def filled(values: dict[str, str]) -> str:
    """The file as compose reads it: ``${NAME:-default}`` filled in, ``$$`` made plain."""

    def fill(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match["name"]) or match["default"] or ""

    text = (ROOT / "docker-compose.yml").read_text()
    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}", fill, text)


def test_it_has_the_processes_and_what_they_stand_on() -> None:
    assert set(services()) == {*OURS, "postgres", "redis"}
    assert {services()[name]["image"] for name in OURS} == {"jobsvc:${JOBSVC_VERSION:-latest}"}


def test_one_service_builds_the_image_from_a_file_that_is_there() -> None:
    builds = [service["build"] for service in services().values() if "build" in service]
    assert len(builds) == 1
    assert (ROOT / builds[0]["context"] / builds[0]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", [*OURS, "postgres", "redis"])
def test_a_service_has_no_more_powers_than_it_needs(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    if name == "worker":
        assert service["user"] == "0:10001"
        assert set(service["cap_add"]) == CAPABILITIES_OF_THE_WORKER
        assert service["environment"]["JOBSVC_RUN_UIDS"]
        assert LANDLOCK_ALONE in service["environment"]["JOBSVC_ISOLATION_NEED"]
    else:
        assert service["user"] in {"10001:10001", "postgres", "redis"}
        assert "cap_add" not in service


@pytest.mark.parametrize("name", sorted({*OURS, "postgres", "redis"} - {"migrate"}))
def test_a_service_that_stays_has_a_health_check_and_comes_back(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_nothing_of_ours_starts_before_the_database_is_migrated(name: str) -> None:
    waits = services()[name]["depends_on"]
    assert waits["migrate"]["condition"] == "service_completed_successfully"
    assert waits["redis"]["condition"] == "service_healthy"


def test_the_database_and_the_broker_are_reached_from_inside_alone() -> None:
    assert compose()["networks"]["inside"]["internal"] is True
    for name in ("postgres", "redis"):
        assert services()[name]["networks"] == ["inside"]
        assert "ports" not in services()[name]


def test_runs_and_short_tasks_have_a_worker_each() -> None:
    assert "--queues=runs" in services()["worker"]["command"]
    assert "--queues=default" in services()["worker-light"]["command"]


def test_what_waits_for_strangers_has_a_worker_of_its_own() -> None:
    assert "--queues=outbound" in services()["worker-outbound"]["command"]
    assert "outside" in services()["worker-outbound"]["networks"]


def test_the_image_holds_every_package_of_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{package}" for package in packages} <= set(let_in)


def test_every_setting_it_gives_is_one_we_read() -> None:
    known = set(re.findall(r"JOBSVC_[A-Z_]+", (ROOT / "jobsvc/settings.py").read_text()))
    image = re.findall(
        r"^\s*(?:ENV )?(JOBSVC_[A-Z_]+)=", (ROOT / "docs/deploy/Dockerfile").read_text(), re.M
    )
    given = {
        name
        for service in OURS
        for name in services()[service]["environment"]
        if name.startswith("JOBSVC_")
    }
    assert given | set(image) <= known
    assert {"JOBSVC_MODE", "JOBSVC_DATA_DIR"} <= set(image)


def test_every_volume_and_network_it_uses_is_declared() -> None:
    for service in services().values():
        assert set(service["networks"]) <= set(compose()["networks"])
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose()["volumes"]


def made_env(place: Path) -> dict[str, str]:
    subprocess.run(
        [sys.executable, "scripts/production_env.py", SITE, "--output", place], cwd=ROOT, check=True
    )
    return dict(
        line.split("=", 1) for line in place.read_text().splitlines() if not line.startswith("#")
    )


def test_the_env_file_that_make_writes_is_all_a_deployment_needs(tmp_path: Path) -> None:
    values = made_env(tmp_path / ".env")
    environment = yaml.safe_load(filled(values))["services"]["web"]["environment"]
    assert "" not in environment.values()
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "JOBSVC_MODE": "production",
            "JOBSVC_DATA_DIR": str(tmp_path),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_without_an_env_file_migrate_stops_and_says_what_is_missing(tmp_path: Path) -> None:
    environment = yaml.safe_load(filled({}))["services"]["migrate"]["environment"]
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "JOBSVC_MODE": "production",
            "JOBSVC_DATA_DIR": str(tmp_path),
            **{name: value or "" for name, value in environment.items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode != 0
    assert "JOBSVC_SECRET_KEY is not set" in checked.stderr
    assert "JOBSVC_FIELD_ENCRYPTION_KEYS is not set" in checked.stderr


def test_the_env_file_is_ours_alone_and_never_written_over(tmp_path: Path) -> None:
    place = tmp_path / ".env"
    first = made_env(place)
    assert place.stat().st_mode & 0o077 == 0
    again = subprocess.run(
        [sys.executable, "scripts/production_env.py", SITE, "--output", place],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert first["JOBSVC_SECRET_KEY"] in place.read_text()


@pytest.mark.services
def test_redis_starts_with_its_password_and_not_without_one(tmp_path: Path) -> None:
    """The very command of the compose file, on another port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    script = yaml.safe_load(filled({}))["services"]["redis"]["command"][2]

    def start(password: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", "-c", script.replace("6380", port)],
            env={"PATH": os.environ["PATH"], "REDIS_PASSWORD": password},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    refused = start("").communicate(timeout=20)[0]
    assert "Set REDIS_PASSWORD in .env" in refused
    server = start("a-password")
    try:
        known = redis.Redis(port=int(port), password="a-password", retry=Retry(NoBackoff(), 0))
        deadline = time.monotonic() + 20
        while not answers(known) and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=int(port)).ping()
        known.shutdown(nosave=True)
    finally:
        server.communicate(timeout=20)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
