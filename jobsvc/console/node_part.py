"""One node beside a page of its run: what became of it, how its time went, what it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.safestring import SafeString

from jobsvc.console.pictures.node_strip import node_strip
from jobsvc.jobs.selection import Node
from jobsvc.runs.artifacts import opened
from jobsvc.runs.graph import Graph, code_of, graph_of, manifest_of_run
from jobsvc.runs.looks import Look, look_of_node
from jobsvc.runs.models import Artifact, NodeResult, Run

HISTORY = 20  # results of a node in the picture
LOOKED_BACK = 60  # runs of the job in which they are looked for
LARGEST_SQL = 128 * 1024  # bytes of compiled SQL that are shown
NEIGHBOURS = 30  # of each side that are listed


@dataclass(frozen=True)
class Neighbour:
    """What a node needs, or what needs it. ``look`` is None where the run did nothing with it."""

    unique_id: str
    name: str
    kind: str
    look: Look | None


@dataclass(frozen=True)
class NodePart:
    """What is shown of one node.

    Attributes:
        node: what the run made of it; None where it did nothing with it.
        about: what the manifest says of it; None where none does.
        timing: (what, how long) in the order in which it happened.
        sql: the lines sent to the warehouse, of at most ``LARGEST_SQL``; empty where none was kept.
        is_cut: there is more of it than is shown.
        source: the lines of its code in the project; empty where none was kept.
        picture: its last results, in this run and earlier ones of the job.
        others: its results in other steps of this run.
        upstream, downstream: at most ``NEIGHBOURS`` each, tests apart.
    """

    unique_id: str
    node: NodeResult | None
    about: Node | None
    timing: Sequence[tuple[str, str]]
    sql: Sequence[str]
    is_cut: bool
    sql_path: str
    source: Sequence[str]
    picture: SafeString
    history: Sequence[NodeResult]
    others: Sequence[NodeResult]
    upstream: Sequence[Neighbour]
    downstream: Sequence[Neighbour]
    owner: str = ""

    @property
    def name(self) -> str:
        if self.node is not None:
            return self.node.name
        return self.about.name if self.about else self.unique_id


def node_part(
    run: Run, unique_id: str, step: int | None = None, graph: Graph | None = None
) -> NodePart | None:
    """The node ``unique_id`` in ``run``: of the step ``step``, else of the last that ran it.

    None where neither the run nor its manifest knows it.

    Args:
        graph: of the run's manifest, where it was read already.
    """
    if not unique_id or "\0" in unique_id:
        return None
    results = NodeResult.objects.filter(run=run, unique_id=unique_id).select_related("step")
    found = list(results.order_by("-step__index"))
    if graph is None and found:
        artifact = manifest_of_run(run, with_code=True)
        graph = graph_of(artifact) if artifact else None
    about = graph.nodes.get(unique_id) if graph else None
    if not found and about is None:
        return None
    node = next((one for one in found if one.step.index == step), found[0] if found else None)
    above = sorted(graph.project.parents[unique_id]) if graph and about else []
    below = sorted(graph.children(unique_id)) if graph and about else []
    beside = _beside(run, [*above, *below])
    history = _history(run, unique_id)
    sql, path, is_cut = _compiled(node) if node else ("", "", False)
    source = code_of(graph, unique_id) if graph and about else ""
    return NodePart(
        unique_id=unique_id,
        node=node,
        about=about,
        timing=_timing(node, [beside[one] for one in above if one in beside]) if node else [],
        sql=sql.splitlines(),
        is_cut=is_cut,
        sql_path=path,
        source=source.splitlines(),
        picture=node_strip(history),
        history=history[::-1],
        others=[one for one in found if one != node],
        upstream=_neighbours(graph, above, beside),
        downstream=_neighbours(graph, below, beside),
        owner=graph.owner(unique_id) if graph and about else "",
    )


def _beside(run: Run, ids: Sequence[str]) -> dict[str, NodeResult]:
    """What the run made of its neighbours last."""
    if not ids:
        return {}
    results = NodeResult.objects.filter(run=run, unique_id__in=ids).defer("message")
    return {one.unique_id: one for one in results.order_by("step__index")}


def _neighbours(
    graph: Graph | None, ids: Iterable[str], beside: dict[str, NodeResult]
) -> list[Neighbour]:
    if graph is None:
        return []
    return [
        Neighbour(
            unique_id=one,
            name=graph.nodes[one].name,
            kind=graph.nodes[one].resource_type.replace("_", " "),
            look=look_of_node(beside[one].status) if one in beside else None,
        )
        for one in [*ids][:NEIGHBOURS]
    ]


def _history(run: Run, unique_id: str) -> list[NodeResult]:
    """Its results up to this run, oldest first; of each run the last."""
    runs = Run.objects.filter(job=run.job_id, pk__lte=run.pk).order_by("-pk")
    results = (
        NodeResult.objects.filter(run__in=runs.values("pk")[:LOOKED_BACK], unique_id=unique_id)
        .defer("message")
        .order_by("-run", "-step__index")
    )
    of_run: dict[int, NodeResult] = {}
    for result in results:
        of_run.setdefault(result.run_id, result)
    return list(of_run.values())[:HISTORY][::-1]


def _timing(node: NodeResult, parents: Sequence[NodeResult]) -> list[tuple[str, str]]:
    parts = []
    if node.started_at and node.step.started_at:
        parts.append(
            ("Began, after its step did", _seconds(node.started_at - node.step.started_at))
        )
    ready = _ready_at(node, parents)
    if node.started_at and ready:
        parts.append(("Waited for a thread", _seconds(node.started_at - ready)))
    if node.started_at and node.executing_at:
        parts.append(("Compiling", _seconds(node.executing_at - node.started_at)))
    if node.executing_at and node.finished_at:
        parts.append(("Executing", _seconds(node.finished_at - node.executing_at)))
    if node.took is not None:
        parts.append(("In all", _seconds(node.took)))
    return parts


def _ready_at(node: NodeResult, parents: Sequence[NodeResult]) -> datetime | None:
    """When the last of what it needs was done in its step; None where nothing was."""
    ends = [one.finished_at for one in parents if one.step_id == node.step_id and one.finished_at]
    return max(ends, default=None)


def _seconds(length: timedelta) -> str:
    seconds = max(length.total_seconds(), 0.0)
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _compiled(node: NodeResult) -> tuple[str, str, bool]:
    """The node's compiled SQL, its path, and whether it was cut; empty where none was kept."""
    package = node.unique_id.split(".")[1] if "." in node.unique_id else ""
    artifact = (
        Artifact.objects.filter(
            step=node.step_id,
            path__startswith=f"compiled/{package}/",
            path__endswith=f"/{node.name}.sql",
        )
        .order_by("path")
        .first()
    )
    if artifact is None:
        return "", "", False
    try:
        with opened(artifact) as file:
            text = file.read(LARGEST_SQL + 1)
    except FileNotFoundError:
        return "", "", False
    return text[:LARGEST_SQL].decode(errors="replace"), artifact.path, len(text) > LARGEST_SQL
