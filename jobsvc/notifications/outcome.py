"""What of a run failed or warned, node by node: read from the result files its steps left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jobsvc.engine.plan import StepKind
from jobsvc.engine.results import LARGEST, RUN_RESULTS, NodeResult, results_in
from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.models import Run, RunStep

FILES = {StepKind.FRESHNESS: "sources.json"}  # of a step; of all others, run_results.json


@dataclass(frozen=True, kw_only=True)
class NodeOutcome:
    """A node that did not go well.

    Attributes:
        failed: it failed; else it only warned.
        lines: what dbt says of it, without empty lines and margins at both ends.
    """

    unique_id: str
    status: str
    failed: bool
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it: ``fct_orders`` of ``model.shop.fct_orders``."""
        parts = self.unique_id.split(".")
        return ".".join(parts[2:]) if parts[0] == "source" else parts[min(2, len(parts) - 1)]

    @property
    def gist(self) -> str:
        """The warehouse's own words where dbt quotes them, else dbt's."""
        if not self.lines:
            return self.status
        quoted = len(self.lines) > 1 and " Error in " in self.lines[0]
        return (self.lines[1] if quoted else self.lines[0]).strip()


def outcomes_of(run: Run) -> list[NodeOutcome]:
    """The nodes of ``run`` that failed, then those that warned. A later step speaks for a node."""
    last: dict[str, NodeOutcome] = {}
    for step in run.steps.exclude(kind=StepKind.DOCS).order_by("index"):
        for result in _results_of(run, step):
            last[result.unique_id] = _outcome(result)
    bad = [one for one in last.values() if one.failed or one.status == "warn"]
    return sorted(bad, key=lambda one: not one.failed)


def _outcome(result: NodeResult) -> NodeOutcome:
    lines = tuple(line.rstrip() for line in result.message.splitlines() if line.strip())
    return NodeOutcome(
        unique_id=result.unique_id, status=result.status, failed=result.failed, lines=lines
    )


def _results_of(run: Run, step: RunStep) -> list[NodeResult]:
    name = FILES.get(StepKind(step.kind), RUN_RESULTS)
    try:
        file = open_artifact(run, name, step.index)
        if file is None:
            return []
        with file:
            text = file.read(LARGEST + 1)
        found: Any = json.loads(text) if len(text) <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        return []  # pruned, or a stranger's project left something else there
    return results_in(found) if isinstance(found, dict) else []
