"""What steps made of the project's nodes: rows written as dbt tells of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime

from jobsvc.engine.events import RUNNING
from jobsvc.engine.ports import NodeEvent
from jobsvc.runs.models import NodeResult, RunStep

CUT_OFF = "cancelled"  # the step ended, and dbt never said how the node did
MOMENTS = ("started_at", "executing_at", "finished_at")
BATCH = 500  # rows of one statement


def store(step: RunStep, events: Iterable[NodeEvent]) -> None:
    """Write down where the nodes of ``events`` stand now; what was known of them goes."""
    rows = [_row(step, event) for event in events]
    columns = [field.name for field in fields(NodeEvent) if field.name != "unique_id"]
    NodeResult.objects.bulk_create(
        rows,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["step", "unique_id"],
        update_fields=columns,
    )


def close(step: RunStep) -> None:
    """Leave no node of a step that is over running."""
    NodeResult.objects.filter(step=step, status=RUNNING).update(status=CUT_OFF)


def _row(step: RunStep, event: NodeEvent) -> NodeResult:
    values = {name: value for name, value in asdict(event).items() if name not in MOMENTS}
    # PostgreSQL keeps no NUL in a text.
    plain = {
        name: value.replace("\0", "") if isinstance(value, str) else value
        for name, value in values.items()
    }
    moments = {name: _moment(getattr(event, name)) for name in MOMENTS}
    return NodeResult(run_id=step.run_id, step=step, **plain, **moments)


def _moment(text: str) -> datetime | None:
    """dbt's times are UTC, whether they say so or not."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
