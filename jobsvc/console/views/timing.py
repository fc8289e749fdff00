"""When each node of a run was at work: a picture a step, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import is_fragment, member_of_account
from jobsvc.console.asked import number
from jobsvc.console.node_part import node_part
from jobsvc.console.pictures.gantt import gantt
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.runs.models import NodeResult, RunStep

# Of thousands of nodes what neither picture nor table shows is not read.
SHOWN = (
    *("run", "step", "unique_id", "name", "resource_type", "status", "thread"),
    *("started_at", "executing_at", "finished_at"),
)
ROWS = 200  # of the table beside a picture; the results page has them all


@dataclass(frozen=True)
class StepTiming:
    """One step's nodes.

    Attributes:
        tiles: (what, how much) for people at a glance.
        slowest: longest first.
    """

    step: RunStep
    picture: SafeString
    tiles: Sequence[tuple[str, str]]
    slowest: Sequence[NodeResult]
    number: int


@require_safe
@member_of_account()
def run_timing(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The picture of each step that ran nodes; it moves while the run does. ``?node=`` shows one
    of them beside it."""
    run = run_of(membership, project_id, run_id)
    by_id = {step.pk: step for step in run.steps.all()}
    nodes = (
        NodeResult.objects.filter(run=run).only(*SHOWN).order_by("step__index", "started_at", "pk")
    )
    moment = now()
    steps = []
    for step_id, of_step in groupby(nodes, key=lambda node: node.step_id):
        begun = list(of_step)
        picture = gantt(begun, moment=moment)
        if picture is not None:
            steps.append(_timing(by_id[step_id], begun, picture))
    context: dict[str, Any] = {"tab": "timing", "steps": steps}
    if is_fragment(request):
        return run_page(request, membership, "console/_timing.html", run, context)
    context["part"] = node_part(run, request.GET.get("node", ""), number(request, "step"))
    return run_page(request, membership, "console/timing.html", run, context)


def _timing(step: RunStep, nodes: Sequence[NodeResult], picture: SafeString) -> StepTiming:
    ended = [node for node in nodes if node.started_at and node.finished_at]
    lengths = {node.pk: node.took for node in ended}
    slowest = sorted(ended, key=lambda node: lengths[node.pk] or timedelta(), reverse=True)
    at_work = sum((length for length in lengths.values() if length), timedelta())
    starts = [node.started_at for node in ended if node.started_at]
    ends = [node.finished_at for node in ended if node.finished_at]
    whole = max(ends) - min(starts) if ended else timedelta()
    tiles = [("nodes", str(len(nodes)))]
    if whole:
        threads = len({node.thread for node in ended})
        busy = f"{at_work / whole:.1f} of {threads}"
        tiles.append(("threads busy on average", busy))
        tiles.append(("at work at once, at most", str(_peak(ended))))
    return StepTiming(step, picture, tiles, slowest[:ROWS], len(slowest))


def _peak(nodes: Sequence[NodeResult]) -> int:
    """How many nodes were at work at once, at most."""
    moves = sorted(
        [(node.started_at, 1) for node in nodes if node.started_at]
        + [(node.finished_at, -1) for node in nodes if node.finished_at]
    )
    now_at_work = most = 0
    for _moment, move in moves:
        now_at_work += move
        most = max(most, now_at_work)
    return most
