"""``manage.py prune``: remove what has been kept long enough, or say what that would be."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.template.defaultfilters import filesizeformat
from django.utils.timezone import now

from accounts import audit
from accounts.audit import AuditEvent
from jobsvc.runs.prune import doomed, prune

MOST_NAMED = 20  # ids of runs in one line


class Command(BaseCommand):
    help = (
        "Remove runs, logs, artifacts and audit events that are older than JOBSVC_KEEP_RUNS_DAYS, "
        "JOBSVC_KEEP_LOGS_DAYS, JOBSVC_KEEP_ARTIFACTS_DAYS and JOBSVC_AUDIT_DAYS say. State "
        "that a job or an environment is compared with stays."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would go, and remove nothing."
        )

    def handle(self, *_arguments: str, dry_run: bool, **_options: Any) -> None:
        gone = doomed(now()) if dry_run else prune(now())
        verb = "Would remove" if dry_run else "Removed"
        size = filesizeformat(gone.artifact_bytes)
        self.stdout.write(
            f"{verb} whole runs{_after(settings.KEEP_RUNS_DAYS)}: {_named(gone.runs)}\n"
            f"{verb} logs{_after(settings.KEEP_LOGS_DAYS)} of: {_named(gone.logs)}\n"
            f"{verb} artifacts{_after(settings.KEEP_ARTIFACTS_DAYS)} of: {_named(gone.artifacts)}\n"
            f"Artifacts in all of them: {size}"
        )
        events = AuditEvent.objects.past_keeping(now()).count() if dry_run else audit.prune(now())
        self.stdout.write(f"{verb} audit events{_after(settings.AUDIT_DAYS)}: {events}")
        for run, reason in gone.in_use.items():
            self.stdout.write(f"Stays: run {run}. {reason}")


def _after(days: int) -> str:
    return f" after {days} days" if days > 0 else " (kept for ever)"


def _named(runs: list[int]) -> str:
    if not runs:
        return "none"
    more = f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else ""
    return f"{len(runs)} runs: {', '.join(map(str, runs[:MOST_NAMED]))}{more}"
