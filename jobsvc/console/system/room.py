"""How much room things take, and what retention would free now. Counting may take seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat
from django.utils.timezone import now

from accounts.audit import AuditEvent
from ci.models import CISchema, WebhookDelivery
from jobsvc.runs.models import Artifact, Run
from jobsvc.runs.prune import doomed


@dataclass(frozen=True)
class Rule:
    """How long something is kept, and by which setting; 0 days are for ever."""

    what: str
    days: int
    setting: str


def rules() -> list[Rule]:
    return [
        Rule("Runs, with all they left", settings.KEEP_RUNS_DAYS, "JOBSVC_KEEP_RUNS_DAYS"),
        Rule("Logs", settings.KEEP_LOGS_DAYS, "JOBSVC_KEEP_LOGS_DAYS"),
        Rule("Artifacts", settings.KEEP_ARTIFACTS_DAYS, "JOBSVC_KEEP_ARTIFACTS_DAYS"),
        Rule("Deliveries", settings.KEEP_DELIVERIES_DAYS, "JOBSVC_KEEP_DELIVERIES_DAYS"),
        Rule("Audit events", settings.AUDIT_DAYS, "JOBSVC_AUDIT_DAYS"),
        Rule("Schemas of pull requests", settings.CI_SCHEMA_TTL_DAYS, "JOBSVC_CI_SCHEMA_TTL_DAYS"),
    ]


def to_go() -> dict[str, str]:
    """What the daily cleaning would remove now, by the setting that says so."""
    moment = now()
    going = doomed(moment)
    days = settings.KEEP_DELIVERIES_DAYS
    old = WebhookDelivery.objects.filter(received_at__lt=moment - timedelta(days=days), due_at=None)
    deliveries = old.count() if days > 0 else 0
    schemas = CISchema.objects.filter(due_at__lte=moment).count()
    freed = filesizeformat(going.artifact_bytes)
    return {
        "JOBSVC_KEEP_RUNS_DAYS": f"{len(going.runs)} runs",
        "JOBSVC_KEEP_LOGS_DAYS": f"logs of {len(going.logs)} other runs",
        "JOBSVC_KEEP_ARTIFACTS_DAYS": f"artifacts of {len(going.artifacts)} other runs; "
        f"{freed} in all; {len(going.in_use)} runs stay because something needs them",
        "JOBSVC_KEEP_DELIVERIES_DAYS": f"{deliveries} of git hosts",
        "JOBSVC_AUDIT_DAYS": f"{AuditEvent.objects.past_keeping(moment).count()} events",
        "JOBSVC_CI_SCHEMA_TTL_DAYS": f"{schemas} are due to be dropped",
    }


def of_account(account_id: int) -> list[tuple[str, str]]:
    """What one account has, by kind."""
    runs = Run.objects.of_account(account_id)
    size = Artifact.objects.filter(step__run__account=account_id).aggregate(sum=Sum("size"))["sum"]
    return [
        ("Runs", str(runs.count())),
        ("Artifacts", filesizeformat(size or 0)),
        ("Audit events", str(AuditEvent.objects.of_account(account_id).count())),
    ]


def of_everything() -> list[tuple[str, str]]:
    """What the installation has, by kind; folders as they are on this machine."""
    size = Artifact.objects.aggregate(sum=Sum("size"))["sum"]
    disk = shutil.disk_usage(settings.DATA_DIR)
    found = [
        ("Runs", str(Run.objects.count())),
        ("Artifacts, in storage", filesizeformat(size or 0)),
        ("Deliveries of git hosts", str(WebhookDelivery.objects.count())),
        ("Database", filesizeformat(_database_bytes())),
    ]
    folders = {
        "Workspaces of runs": settings.WORKSPACES_DIR,
        "DuckDB files": settings.WAREHOUSES_DIR,
        "dbt versions": settings.TOOLCHAINS_DIR,
    }
    found += [(name, filesizeformat(_bytes_of(Path(folder)))) for name, folder in folders.items()]
    free, total = filesizeformat(disk.free), filesizeformat(disk.total)
    return [*found, (f"Disk of {settings.DATA_DIR}", f"{free} free of {total}")]


def _database_bytes() -> int:
    if connection.vendor == "sqlite":
        path = Path(str(settings.DATABASES["default"]["NAME"]))
        return path.stat().st_size if path.is_file() else 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def _bytes_of(folder: Path) -> int:
    return sum(_sizes(str(folder)))


def _sizes(folder: str) -> Iterator[int]:
    """Of each file below; what goes away meanwhile counts nothing, and no link is followed."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(entry.path)
            else:
                yield entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
