"""Celery's way in. A task takes an id, asks the database what is true, and delegates."""

from __future__ import annotations

from celery import shared_task
from django.utils.timezone import now

from accounts import audit
from ci import deliveries, report, schemas
from jobsvc.runs.models import Run


@shared_task
def read_delivery(delivery_id: int) -> None:
    """A git host told us something: see what follows."""
    with audit.acting(audit.Actor(kind="git host", source="webhook")):
        deliveries.read(delivery_id, now())


@shared_task
def report_run(transition_id: int) -> None:
    """A run moved: its pull request is told."""
    for run in Run.objects.filter(transitions=transition_id):
        report.touch_run(run)


@shared_task
def post_report(report_id: int) -> None:
    """Something that a git host is to be told is due."""
    report.post(report_id)


@shared_task
def note_schemas(transition_id: int) -> None:
    """A run moved: the schemas that it has to itself are written down."""
    for run in Run.objects.filter(transitions=transition_id).select_related("job", "trigger"):
        schemas.note_run(run)


@shared_task
def drop_schemas(row_id: int) -> None:
    """Schemas of a pull request are of no more use."""
    schemas.drop(row_id, now())


@shared_task
def sweep() -> None:
    """Whatever is to be read, posted or dropped, and was not."""
    deliveries.ring_for_due(now())
    deliveries.prune(now())
    report.sweep()
    report.prune(now())
    schemas.sweep(now())
