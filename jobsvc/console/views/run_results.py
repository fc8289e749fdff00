"""What became of each node of a run: the table, one node beside it, and the file of it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Case, Count, IntegerField, Q, QuerySet, Value, When
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import is_fragment, member_of_account
from jobsvc.console.asked import LARGEST_NUMBER, number
from jobsvc.console.export import Cell, csv_response
from jobsvc.console.node_part import node_part
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.engine.events import RUNNING
from jobsvc.engine.results import FAILED
from jobsvc.runs.freshness import freshness_of
from jobsvc.runs.looks import look_of_node
from jobsvc.runs.models import NodeResult, Run

PAGE_SIZE = 50  # nodes
LONGEST_SEARCH = 200  # characters

# What a reader looks for comes first.
RANK = Case(
    When(status__in=FAILED, then=Value(0)),
    When(status="warn", then=Value(1)),
    When(status=RUNNING, then=Value(2)),
    When(status__in=["skipped", "cancelled"], then=Value(3)),
    default=Value(4),
    output_field=IntegerField(),
)

HEADING = (
    "step",
    "step_attempts",
    "unique_id",
    "name",
    "resource_type",
    "materialized",
    "status",
    "message",
    "rows_affected",
    "failures",
    "thread",
    "started_at",
    "executing_at",
    "finished_at",
    "seconds",
)


@dataclass(frozen=True)
class Asked:
    """What the query string asks to see. Empty means all."""

    status: str
    kind: str
    name: str

    @property
    def is_set(self) -> bool:
        return bool(self.status or self.kind or self.name)

    @property
    def query(self) -> str:
        """As a query string that ends so that more may follow."""
        given = {"status": self.status, "type": self.kind, "q": self.name}
        text = urlencode({name: value for name, value in given.items() if value})
        return f"{text}&" if text else ""


@dataclass(frozen=True)
class Choice:
    """One value that a filter may have."""

    value: str
    words: str
    number: int


@require_safe
@member_of_account()
def run_results(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponseBase:
    """The nodes of a run, failed first. ``?node=`` shows one beside them, ``?format=csv`` all.

    ``?status=``, ``?type=`` and ``?q=`` (of the name) filter; ``?after=`` is the cursor.
    """
    run = run_of(membership, project_id, run_id)
    asked = Asked(
        status=request.GET.get("status", "")[:40],
        kind=request.GET.get("type", "")[:40],
        name=request.GET.get("q", "").strip()[:LONGEST_SEARCH].replace("\0", ""),
    )
    nodes = _filtered(NodeResult.objects.filter(run=run), asked)
    if request.GET.get("format") == "csv":
        return _file(run, nodes)
    after = _cursor(request.GET.get("after", ""))
    shown = list((nodes.filter(after) if after else nodes)[: PAGE_SIZE + 1])
    statuses, kinds, total = _choices(run)
    context: dict[str, Any] = {
        "tab": "results",
        "asked": asked,
        "statuses": statuses,
        "kinds": kinds,
        "total": total,
        "nodes": shown[:PAGE_SIZE],
        "more": _after(shown[PAGE_SIZE - 1]) if len(shown) > PAGE_SIZE else "",
        "is_first": after is None,
        "part": node_part(run, request.GET.get("node", ""), number(request, "step")),
        "kept": asked.query,
        "sources": freshness_of(run) if not is_fragment(request) else [],
    }
    template = "console/run_results.html"
    if is_fragment(request):
        more = request.headers.get("HX-Target") == "more"
        template = "console/_result_rows.html" if more else "console/_results.html"
    return run_page(request, membership, template, run, context)


# --- The table ----------------------------------------------------------------------------


def _filtered(nodes: QuerySet[NodeResult], asked: Asked) -> QuerySet[NodeResult]:
    if asked.status:
        nodes = nodes.filter(status=asked.status)
    if asked.kind:
        nodes = nodes.filter(resource_type=asked.kind)
    if asked.name:
        nodes = nodes.filter(name__icontains=asked.name)
    return nodes.select_related("step").annotate(rank=RANK).order_by("rank", "pk")


def _after(node: NodeResult) -> str:
    rank: int = node.rank  # type: ignore[attr-defined] # annotated by _filtered()
    return f"{rank}-{node.pk}"


def _cursor(text: str) -> Q | None:
    """What comes after the place that ``_after`` wrote; None for the table's beginning."""
    rank, dash, pk = text.partition("-")
    if not (dash and text.isascii() and rank.isdigit() and pk.isdigit()):
        return None
    place = int(pk[:20])
    if len(rank) > 1 or place >= LARGEST_NUMBER:
        return None
    return Q(rank__gt=int(rank)) | Q(rank=int(rank), pk__gt=place)


def _choices(run: Run) -> tuple[list[Choice], list[Choice], int]:
    """The statuses and the types of the run's nodes, with how many of each, and of all."""
    by_status, by_kind = Counter[str](), Counter[str]()
    for status, kind, count in (
        NodeResult.objects.filter(run=run)
        .values("status", "resource_type")
        .annotate(number=Count("pk"))
        .values_list("status", "resource_type", "number")
    ):
        by_status[status] += count
        by_kind[kind] += count
    statuses = [Choice(key, look_of_node(key).word, by_status[key]) for key in sorted(by_status)]
    kinds = [Choice(key, key.replace("_", " "), by_kind[key]) for key in sorted(by_kind)]
    return statuses, kinds, by_status.total()


def _file(run: Run, nodes: QuerySet[NodeResult]) -> StreamingHttpResponse:
    return csv_response(f"run-{run.pk}-results.csv", HEADING, _rows(nodes))


def _rows(nodes: QuerySet[NodeResult]) -> Iterator[Sequence[Cell]]:
    for node in nodes.iterator():
        yield (
            node.step.index,
            max(1, len(node.step.attempts)),
            node.unique_id,
            node.name,
            node.resource_type,
            node.materialized,
            node.status,
            node.message,
            node.rows_affected,
            node.failures,
            node.thread,
            _iso(node.started_at),
            _iso(node.executing_at),
            _iso(node.finished_at),
            node.seconds,
        )


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
