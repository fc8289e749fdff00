"""``manage.py doctor``: what this machine has for running jobs, what it lacks, what to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError

from jobsvc.engine import sandbox
from jobsvc.runs.toolchains import toolchain

LANDLOCK_PORTS, LANDLOCK_SIGNALS = 4, 6  # versions of Landlock, not of Linux
BROKER_SECONDS = 3  # to wait for a broker that does not answer

SINGLE_TENANT = """\
TRUSTED SINGLE TENANT: a dbt project is code, and on this machine it is not kept away from
everything else that this user owns. Run only repositories whose every author you trust."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    well: bool
    says: str
    remedy: str = ""


class Command(BaseCommand):
    help = (
        "Say what this machine has for running jobs: layers of isolation, dbt, database, broker, "
        "storage. Ends with 1 if something that is needed is missing."
    )

    def handle(self, *_arguments: str, **_options: Any) -> None:
        layers = layers_here()
        missing = missing_layers(layers, settings.ISOLATION_NEED)
        self.stdout.write("Isolation of runs")
        for finding in describe_layers(layers):
            self._show(finding, lacking="·")
        needed = ", ".join(settings.ISOLATION_NEED) or "none"
        self.stdout.write(f"  required by JOBSVC_ISOLATION_NEED: {needed}\n")
        self.stdout.write("\nWhat runs are made of")
        findings = [git(), dbt(), database(), broker(), storage()]
        for finding in findings:
            self._show(finding)
        if not (layers["landlock"] >= LANDLOCK_PORTS and layers["seccomp"]):
            self.stdout.write(f"\n{self.style.WARNING(SINGLE_TENANT)}")
        if missing:
            self.stderr.write(
                f"\nThis machine lacks {', '.join(missing)}, so every run here will be refused.\n"
                "Run the worker where it has them, or take them out of JOBSVC_ISOLATION_NEED."
            )
        if missing or not all(finding.well for finding in findings):
            sys.exit(1)
        self.stdout.write("\nJobs can run here.")

    def _show(self, finding: Finding, *, lacking: str = "✕") -> None:
        mark = self.style.SUCCESS("✓") if finding.well else self.style.ERROR(lacking)
        self.stdout.write(f"  {mark} {finding.name:<13} {finding.says}")
        if finding.remedy and not finding.well:
            self.stdout.write(f"    {'':<13} {finding.remedy}")


def layers_here() -> dict[str, int]:
    """Version or 1 for each layer that a run started by this process would have, else 0."""
    layers = {name: int(has) for name, has in sandbox.available().items()}
    if not settings.RUN_UIDS:
        layers["uid"] = 0
    return layers


def missing_layers(layers: dict[str, int], need: list[str]) -> list[str]:
    """Those of ``need`` (``landlock:4`` asks for that version or a later one) that are not here."""
    missing = []
    for demand in need:
        name, _colon, level = demand.partition(":")
        if layers.get(name, 0) < int(level or 1):
            missing.append(demand)
    return missing


def describe_layers(layers: dict[str, int]) -> list[Finding]:
    """A line for each layer, in words."""
    version = layers["landlock"]
    landlock = f"Landlock {version}: files" if version else "Landlock: no; needs Linux 5.13"
    if version >= LANDLOCK_PORTS:
        landlock += ", ports"
    if version >= LANDLOCK_SIGNALS:
        landlock += ", signals"
    if version and version < LANDLOCK_PORTS:
        landlock += "; no ports, which need Linux 6.7"
    uid = "a user id for each run" if layers["uid"] else "no user id of its own for each run"
    return [
        Finding("0 clean_env", bool(layers["clean_env"]), "an environment made from nothing"),
        Finding("1 rlimits", bool(layers["rlimits"]), "limits on what a process may use"),
        Finding("2 landlock", bool(version), landlock),
        Finding("3 seccomp", bool(layers["seccomp"]), "system calls a build has no use for"),
        Finding(
            "4 uid", bool(layers["uid"]), uid, "Start the worker as root and set JOBSVC_RUN_UIDS."
        ),
    ]


def git() -> Finding:
    program = shutil.which("git")
    return Finding(
        "git", bool(program), program or "not on the PATH", "Install it: apt-get install git"
    )


def dbt() -> Finding:
    found = toolchain().all_installed()
    return Finding(
        "dbt",
        bool(found),
        "; ".join(
            f"{name}: dbt {one.version} with {', '.join(one.adapters)}"
            for name, one in sorted(found.items())
        )
        or f"none below {settings.TOOLCHAINS_DIR}",
        "Install it: make setup",
    )


def database() -> Finding:
    def look() -> str:
        executor = MigrationExecutor(connection)
        ahead = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if ahead:
            raise DatabaseError(f"{len(ahead)} migrations are not applied")
        return f"{connection.display_name}, up to date"

    return tried("database", look, (DatabaseError,), "Run: manage.py migrate")


def broker() -> Finding:
    def look() -> str:
        with current_app.connection_for_write() as link:
            link.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
            return (
                str(link.as_uri()) if link.transport_cls != "filesystem" else "in the data folder"
            )

    return tried(
        "broker",
        look,
        (OperationalError, OSError),
        "Start it, or correct JOBSVC_BROKER_URL. Until then, runs wait.",
    )


def storage() -> Finding:
    def look() -> str:
        kept = storages["artifacts"]
        name = kept.save("doctor.txt", ContentFile(b"written and removed by manage.py doctor"))
        kept.delete(name)
        return f"{getattr(kept, 'location', type(kept).__name__)}, writable"

    return tried("storage", look, (OSError,), "Let this user write there.")


def tried(
    name: str, look: Callable[[], str], failures: tuple[type[Exception], ...], remedy: str
) -> Finding:
    """What ``look`` says, or that it failed and why."""
    try:
        return Finding(name, True, look())
    except failures as error:
        return Finding(name, False, str(error).strip().partition("\n")[0], remedy)
