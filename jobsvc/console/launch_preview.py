"""What a run would build and how long that may take, told before it is started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.errors import CommandRejected
from jobsvc.jobs.models import Job
from jobsvc.jobs.selection import worked_on
from jobsvc.runs.graph import Graph, graph_of, manifest_of_environment
from jobsvc.runs.models import NodeResult, Run
from jobsvc.statuses import RunStatus

MOST_NAMED = 200  # nodes of one command
LOOKED_AT = 5  # successful runs of the environment that say how long nodes take


@dataclass(frozen=True)
class StepPreview:
    """One command and what it would work on.

    Attributes:
        kinds: how many nodes of each type, the most first.
        names: the first of them, by name.
        is_known: whether its selection could be read; else dbt reads it when the run starts.
    """

    step: str
    kinds: Sequence[tuple[str, int]] = ()
    names: Sequence[str] = ()
    number: int = 0
    is_known: bool = False

    @property
    def left_out(self) -> int:
        return self.number - len(self.names)


@dataclass(frozen=True)
class Preview:
    """All commands.

    Attributes:
        run: whose manifest was looked at.
        estimate: None where nothing is known of how long any of the nodes takes.
        unknown: nodes of which that is not known.
    """

    run: Run
    steps: Sequence[StepPreview]
    estimate: timedelta | None
    unknown: int


def preview(job: Job, steps: Sequence[str], *, threads: int) -> Preview | None:
    """What ``steps`` would work on, by the environment's last manifest; None where it has none."""
    artifact = manifest_of_environment(job.environment)
    graph = graph_of(artifact) if artifact else None
    if graph is None:
        return None
    seen = [(step, _nodes_of(graph, step, place)) for place, step in enumerate(steps, start=1)]
    wanted = {one for _step, names in seen for one in names or ()}
    took = _seconds(job, wanted)
    known = [took[one] for _step, names in seen for one in names or () if one in took]
    return Preview(
        run=graph.run,
        steps=[_told(graph, step, names) for step, names in seen],
        estimate=_estimate(known, threads) if known else None,
        unknown=sum(1 for one in wanted if one not in took),
    )


def _nodes_of(graph: Graph, step: str, index: int) -> frozenset[str] | None:
    try:
        return worked_on(graph.project, DbtCommand.parse(step, index=index))
    except CommandRejected:
        return None


def _told(graph: Graph, step: str, nodes: Iterable[str] | None) -> StepPreview:
    if nodes is None:
        return StepPreview(step)
    found = [graph.nodes[one] for one in nodes]
    kinds = Counter(node.resource_type.replace("_", " ") for node in found)
    return StepPreview(
        step,
        kinds=kinds.most_common(),
        names=sorted(node.name for node in found)[:MOST_NAMED],
        number=len(found),
        is_known=True,
    )


def _seconds(job: Job, wanted: Iterable[str]) -> Mapping[str, float]:
    """How long each node took the last time, in the environment's last successful runs."""
    runs = Run.objects.filter(
        account=job.account_id, environment=job.environment_id, status=RunStatus.SUCCESS
    )
    newest = list(runs.order_by("-pk").values_list("pk", flat=True)[:LOOKED_AT])
    rows = NodeResult.objects.filter(run__in=newest, seconds__isnull=False).order_by("run")
    told = rows.values_list("unique_id", "seconds")
    wanted = set(wanted)
    return {one: seconds for one, seconds in told if one in wanted and seconds is not None}


def _estimate(seconds: Sequence[float], threads: int) -> timedelta:
    """As if no thread ever waited, and none was free while the longest went on."""
    return timedelta(seconds=max(sum(seconds) / threads, *seconds))
