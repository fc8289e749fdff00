"""When each node of a run was at work: a picture a step, and the same numbers as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.safestring import SafeString
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import is_fragment, member_of_account
from jobsvc.console.asked import number
from jobsvc.console.node_part import node_part
from jobsvc.console.pictures.gantt import gantt
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.runs.critical import Chains, chains_of, end_of, length_of
from jobsvc.runs.graph import Graph, folders, graph_of, manifest_of_run
from jobsvc.runs.looks import duration
from jobsvc.runs.models import NodeResult, RunStep

# Of thousands of nodes what neither picture nor table shows is not read.
SHOWN = (
    *("run", "step", "unique_id", "name", "resource_type", "status", "thread"),
    *("started_at", "executing_at", "finished_at"),
)
NAMED = 8  # nodes of the critical path, in a line of text
ROWS = 200  # of a table beside a picture; the results page has them all
FOLDERS = 12  # that a picture has at most
LONGEST_SEARCH = 200  # characters
NO_FOLDER = "not in the manifest"
THREAD, TYPE, FOLDER = "thread", "type", "folder"


@dataclass(frozen=True)
class Asked:
    """What the query string asks to see. Empty means all.

    Attributes:
        by: what makes a lane: a thread, or a type or a folder, which have several.
        path: the critical path stands out.
    """

    name: str = ""
    kind: str = ""
    by: str = THREAD
    path: bool = False

    @classmethod
    def of(cls, query: QueryDict) -> Asked:
        by = query.get("by", "")
        return cls(
            name=query.get("q", "").strip()[:LONGEST_SEARCH].replace("\0", ""),
            kind=query.get("type", "")[:40],
            by=by if by in {TYPE, FOLDER} else THREAD,
            path=query.get("path") == "1",
        )

    @property
    def is_set(self) -> bool:
        return bool(self.name or self.kind)

    @property
    def query(self) -> str:
        """As a query string."""
        by = self.by if self.by != THREAD else ""
        given = {"q": self.name, "type": self.kind, "by": by, "path": "1" if self.path else ""}
        return urlencode({name: value for name, value in given.items() if value})

    @property
    def kept(self) -> str:
        """As a query string that ends so that more may follow."""
        return f"{self.query}&" if self.query else ""

    @property
    def ways(self) -> Sequence[tuple[str, str, bool]]:
        """What may make a lane: in words, the query string for it, and whether it does."""
        return [
            (by.capitalize(), replace(self, by=by).query, by == self.by)
            for by in (THREAD, TYPE, FOLDER)
        ]

    @property
    def other_path(self) -> str:
        """The query string with the critical path standing out, or not any more."""
        return replace(self, path=not self.path).query

    @property
    def unfiltered(self) -> str:
        return replace(self, name="", kind="").query

    def wants(self, node: NodeResult) -> bool:
        return (not self.kind or node.resource_type == self.kind) and (
            self.name.casefold() in node.name.casefold()
        )


@dataclass(frozen=True)
class Tile:
    """A number for people at a glance, and the name of the node that it is of, if it is of one."""

    number: str
    words: str
    name: str = ""


@dataclass(frozen=True)
class Row:
    """A node in a table. ``waited`` for a thread is None where no manifest tells."""

    node: NodeResult
    after: timedelta
    took: timedelta
    waited: timedelta | None


@dataclass(frozen=True)
class StepTiming:
    """One step's nodes.

    Attributes:
        picture: None where no node is as asked.
        critical: the critical path in order; empty where it is not known.
        slowest: of those asked for, longest first.
        number: of all of which ``slowest`` has the first.
    """

    step: RunStep
    picture: SafeString | None
    tiles: Sequence[Tile]
    critical: Sequence[Row]
    slowest: Sequence[Row]
    number: int

    @property
    def path(self) -> Sequence[Row]:
        """As many of the critical path as a table has."""
        return self.critical[:ROWS]

    @property
    def ends(self) -> Sequence[Row | None]:
        """The beginning and the end of the critical path; None stands for what lies between."""
        if len(self.critical) <= NAMED:
            return self.critical
        return [*self.critical[: NAMED // 2], None, *self.critical[-NAMED // 2 :]]


@require_safe
@member_of_account()
def run_timing(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The picture of each step that ran nodes; it moves while the run does. ``?node=`` shows one
    of them beside it; ``Asked`` says what else."""
    run = run_of(membership, project_id, run_id)
    asked = Asked.of(request.GET)
    by_id = {step.pk: step for step in run.steps.all()}
    nodes = list(
        NodeResult.objects.filter(run=run).only(*SHOWN).order_by("step__index", "started_at", "pk")
    )
    artifact = manifest_of_run(run) if nodes else None
    graph = graph_of(artifact) if artifact else None
    moment = now()
    steps = []
    for step_id, found in groupby(nodes, key=lambda node: node.step_id):
        of_step = list(found)
        if any(node.started_at for node in of_step):
            steps.append(_timing(by_id[step_id], of_step, asked, graph, moment))
    context: dict[str, Any] = {
        "tab": "timing",
        "steps": steps,
        "asked": asked,
        "source": graph.run if graph else None,
    }
    if is_fragment(request):
        return run_page(request, membership, "console/_timing.html", run, context)
    kinds = Counter(node.resource_type for node in nodes)
    context["kinds"] = [(kind, kind.replace("_", " "), kinds[kind]) for kind in sorted(kinds)]
    context["part"] = node_part(run, request.GET.get("node", ""), number(request, "step"), graph)
    return run_page(request, membership, "console/timing.html", run, context)


def _timing(
    step: RunStep,
    nodes: Sequence[NodeResult],
    asked: Asked,
    graph: Graph | None,
    moment: datetime,
) -> StepTiming:
    chains = chains_of(graph, nodes, moment=moment) if graph else None
    begun = [node for node in nodes if node.started_at]
    start = min(node.started_at for node in begun if node.started_at)
    chosen = [node for node in begun if asked.wants(node)]
    critical = chains.critical if chains else []
    picture = gantt(
        begun,
        moment=moment,
        chosen=chosen,
        groups=_groups(chosen, asked.by, graph),
        marked={node.unique_id for node in critical} if asked.path else (),
        kept=asked.kept,
    )

    def row(node: NodeResult) -> Row:
        after = (node.started_at or start) - start
        waited = chains.waited.get(node.unique_id) if chains else None
        return Row(node, after, length_of(node, moment), waited)

    slowest = sorted(chosen, key=lambda node: length_of(node, moment), reverse=True)
    return StepTiming(
        step,
        picture if chosen else None,
        _tiles(nodes, begun, chains, moment),
        critical=[row(node) for node in critical],
        slowest=[row(node) for node in slowest[:ROWS]],
        number=len(slowest),
    )


def _groups(
    nodes: Sequence[NodeResult], by: str, graph: Graph | None
) -> Mapping[str, Sequence[NodeResult]] | None:
    """``nodes`` by what makes a lane; None where a thread does, or no manifest tells folders."""
    groups: dict[str, list[NodeResult]] = {}
    if by == TYPE:
        for node in sorted(nodes, key=lambda node: node.resource_type):
            groups.setdefault(node.resource_type.replace("_", " "), []).append(node)
        return groups
    if by == FOLDER and graph is not None:
        known = [node.unique_id for node in nodes if node.unique_id in graph.nodes]
        inside = folders(graph, known, most=FOLDERS)
        folder_of = {one: folder for folder, ids in inside.items() for one in ids}
        groups = {folder: [] for folder in inside}
        for node in nodes:
            groups.setdefault(folder_of.get(node.unique_id, NO_FOLDER), []).append(node)
        return groups
    return None


def _tiles(
    nodes: Sequence[NodeResult],
    begun: Sequence[NodeResult],
    chains: Chains | None,
    moment: datetime,
) -> list[Tile]:
    start = min(node.started_at for node in begun if node.started_at)
    whole = max(end_of(node, moment) for node in begun) - start
    at_work = sum((length_of(node, moment) for node in begun), timedelta())
    longest = max(begun, key=lambda node: length_of(node, moment))
    tiles = [Tile(str(len(nodes)), "nodes"), Tile(duration(whole), "wall clock")]
    if chains and chains.critical:
        links = len(chains.critical)
        words = f"critical path of {links} node{'s' if links > 1 else ''}, which ends with"
        tiles.append(Tile(duration(chains.length), words, chains.critical[-1].name))
    tiles.append(Tile(duration(length_of(longest, moment)), "longest node:", longest.name))
    if whole:
        busy = f"{at_work / whole:.1f} of {len({node.thread for node in begun})}"
        tiles.append(Tile(busy, "threads busy on average"))
        tiles.append(Tile(str(_peak(begun, moment)), "at work at once, at most"))
    if chains and chains.waited:
        waited = sum(chains.waited.values(), timedelta())
        tiles.append(Tile(duration(waited), "waited for a thread, all nodes together"))
    return tiles


def _peak(nodes: Sequence[NodeResult], moment: datetime) -> int:
    """How many nodes were at work at once, at most."""
    moves = sorted(
        [(node.started_at or moment, 1) for node in nodes]
        + [(end_of(node, moment), -1) for node in nodes]
    )
    now_at_work = most = 0
    for _moment, move in moves:
        now_at_work += move
        most = max(most, now_at_work)
    return most
