"""Models by runs: those that ever failed, and the slowest, over a job's last runs.

A table is the picture here: each cell is a glyph, a colour and a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Max

from jobsvc.runs.looks import NODE_LOOKS, Look, node_look
from jobsvc.runs.models import NodeResult, Run

SLOWEST = 10
MOST_FAILED = 30
WENT_WRONG = [word for word, shown in NODE_LOOKS.items() if shown.tone == "err"]


@dataclass(frozen=True)
class Cell:
    """What one run made of a node; ``look`` None where it did not touch it."""

    run: Run
    look: Look | None
    took: timedelta | None


@dataclass(frozen=True)
class GridRow:
    name: str
    unique_id: str
    failures: int
    longest: timedelta | None
    cells: list[Cell]


def grid(runs: Sequence[Run]) -> list[GridRow]:
    """The rows for ``runs``, oldest first: those that failed most, then the slowest."""
    ids = [run.pk for run in runs]
    of_runs = NodeResult.objects.filter(run__in=ids)
    failed = of_runs.filter(status__in=WENT_WRONG).values_list("unique_id", flat=True)
    length = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
    slow = (
        of_runs.filter(finished_at__isnull=False, started_at__isnull=False)
        .exclude(resource_type__in=["test", "unit_test"])
        .values("unique_id")
        .annotate(longest=Max(length))
        .order_by("-longest")
        .values_list("unique_id", flat=True)
    )
    wanted = {*failed.distinct().order_by("unique_id")[:MOST_FAILED], *slow[:SLOWEST]}
    found: dict[str, dict[int, NodeResult]] = {}
    for node in of_runs.filter(unique_id__in=wanted).defer("message").order_by("pk"):
        found.setdefault(node.unique_id, {})[node.run_id] = node
    rows = [_row(unique_id, by_run, runs) for unique_id, by_run in found.items()]
    zero = timedelta()
    return sorted(rows, key=lambda row: (-row.failures, -(row.longest or zero), row.name))


def _row(unique_id: str, by_run: dict[int, NodeResult], runs: Sequence[Run]) -> GridRow:
    nodes = list(by_run.values())
    cells = []
    for run in runs:
        node = by_run.get(run.pk)
        cells.append(Cell(run, node_look(node) if node else None, node.took if node else None))
    return GridRow(
        name=nodes[0].name,
        unique_id=unique_id,
        failures=sum(1 for node in nodes if node.status in WENT_WRONG),
        longest=max((node.took for node in nodes if node.took), default=None),
        cells=cells,
    )
