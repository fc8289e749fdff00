"""One model or test across runs: how long it takes, when it failed, when its code changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from urllib.parse import quote

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.timezone import now
from django.views.decorators.http import require_safe

from accounts.models import Membership
from environments.models import Project
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.pictures.node_trend import node_trend
from jobsvc.console.views.environments import project_of
from jobsvc.engine.results import FAILED
from jobsvc.jobs.models import Job
from jobsvc.jobs.selection import Node
from jobsvc.runs.docs import documentation_of
from jobsvc.runs.graph import Graph, graph_of, manifest_of_project, manifest_of_run
from jobsvc.runs.looks import duration
from jobsvc.runs.models import NodeResult, Run

LATEST = 300  # results that tell which jobs work on it
SHOWN = 50  # results of a job in the picture and the table
LOOKED_BACK = 200  # results of a job in which failures and changes are looked for
FAILURES = 20
CHANGES = 10
LIKE_IT = 20  # results that say what is usual
FEWEST = 3  # fewer say nothing of what is usual
MONTH = timedelta(days=30)
NOTICED = 0.1  # a smaller part is no difference
WENT_WELL = ("success", "pass", "warn", "no-op")
NEIGHBOURS = 30


@dataclass(frozen=True)
class Change:
    """The first result known of a new version of the node's code."""

    result: NodeResult
    before: NodeResult


@dataclass(frozen=True)
class Neighbour:
    unique_id: str
    name: str
    kind: str


@require_safe
@member_of_account()
def node_detail(
    request: HttpRequest, membership: Membership, project_id: int, unique_id: str
) -> HttpResponse:
    """A node of a project, as the runs of one job (``?job=``, else the one that ran it most) and
    the newest manifest tell of it."""
    project = project_of(membership, project_id)
    if "\0" in unique_id:
        raise Http404
    results = seen(
        membership, NodeResult.objects.filter(unique_id=unique_id, run__project=project.pk)
    )
    jobs = _jobs(results)
    asked = number(request, "job")
    job = next((one for one, _number in jobs if one.pk == asked), jobs[0][0] if jobs else None)
    rows = _of_job(results, job) if job else []
    graph = _graph(membership, project, rows)
    about = graph.nodes.get(unique_id) if graph else None
    if about is None and not rows:
        raise Http404
    changes = _changes(rows)
    context = {
        "project": project,
        "unique_id": unique_id,
        "name": about.name if about else rows[0].name,
        "kind": (about.resource_type if about else rows[0].resource_type).replace("_", " "),
        "materialized": rows[0].materialized if rows else "",
        "job": job,
        "jobs": jobs,
        "latest": rows[0] if rows else None,
        "rows": rows[:SHOWN],
        "picture": _picture(rows[:SHOWN], changes),
        "changed": {one.result.pk for one in changes},
        "changes": changes[:CHANGES],
        "knows_code": any(row.checksum for row in rows),
        "failures": [row for row in rows if row.status in FAILED][:FAILURES],
        "looked_back": len(rows),
        "speed": _speed(results, job, rows, now()) if job else "",
        "about": about,
        **_surroundings(graph, unique_id),
        "docs": _docs(membership, project, unique_id),
    }
    return page(request, membership, "console/node.html", context)


def _jobs(results: QuerySet[NodeResult]) -> list[tuple[Job, int]]:
    """The jobs that worked on it of late, and how often, the most first."""
    latest = results.order_by("-run").values_list("run__job", flat=True)[:LATEST]
    often = Counter(latest)
    found = Job.objects.select_related("environment").in_bulk(list(often))
    return [(found[pk], count) for pk, count in often.most_common()]


def _of_job(results: QuerySet[NodeResult], job: Job) -> list[NodeResult]:
    """Its results in ``job``, newest first; of each run the last."""
    rows = (
        results.filter(run__job=job.pk)
        .select_related("run")
        .defer("run__configuration", "run__isolation", "run__state_used", "run__built_schemas")
        .order_by("-run", "-step")[:LOOKED_BACK]
    )
    of_run: dict[int, NodeResult] = {}
    for row in rows:
        of_run.setdefault(row.run_id, row)
    return list(of_run.values())


def _picture(rows: Sequence[NodeResult], changes: Sequence[Change]) -> SafeString | None:
    ended = [row for row in rows if row.took is not None]
    if not ended:
        return None
    return node_trend(ended[::-1], changed={one.result.pk for one in changes})


def _changes(rows: Sequence[NodeResult]) -> list[Change]:
    """Where its code differs from the result before, newest first, as far as dbt told."""
    known = [row for row in rows if row.checksum]
    return [
        Change(later, earlier)
        for later, earlier in pairwise(known)
        if later.checksum != earlier.checksum
    ]


def _speed(
    results: QuerySet[NodeResult], job: Job, rows: Sequence[NodeResult], moment: datetime
) -> str:
    """Whether it is slower than a month ago, in a sentence; empty where nothing can be said."""
    old = (
        Run.objects.filter(account=job.account_id, created_at__lte=moment - MONTH)
        .order_by("-created_at")
        .values_list("pk", flat=True)
        .first()
    )
    lately = _usual([row for row in rows if old is None or row.run_id > old])
    if lately is None:
        return ""
    sentence = f"It takes {_length(lately)} at the median of its last successes"
    before = None
    if old is not None:
        then = results.filter(run__job=job.pk, run__lte=old, status__in=WENT_WELL)
        before = _usual(list(then.defer("message").order_by("-run")[:LIKE_IT]))
    if before is None:
        return f"{sentence}; there are too few of a month ago to compare it with."
    if abs(lately - before) < max(NOTICED * before, 0.1):
        return f"{sentence}, about as long as a month ago ({_length(before)})."
    if before and lately >= 2 * before:
        by = f"{lately / before:.1f} times as long as"
    else:
        word = "slower" if lately > before else "faster"
        by = f"{abs(lately - before) / before:.0%} {word} than" if before else f"{word} than"
    return f"{sentence}, {by} a month ago ({_length(before)})."


def _usual(rows: Sequence[NodeResult]) -> float | None:
    """The median of the newest that went well, in seconds; None where there are few."""
    well = [row.took for row in rows if row.status in WENT_WELL]
    lengths = [took.total_seconds() for took in well if took is not None]
    return median(lengths[:LIKE_IT]) if len(lengths) >= FEWEST else None


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(timedelta(seconds=seconds))


def _graph(membership: Membership, project: Project, rows: Sequence[NodeResult]) -> Graph | None:
    """By its newest result here, else by the newest success of the project that is seen."""
    artifact = manifest_of_run(rows[0].run) if rows else None
    if artifact is None:
        artifact = manifest_of_project(seen(membership, Run.objects.filter(project=project.pk)))
    return graph_of(artifact) if artifact else None


def _surroundings(graph: Graph | None, unique_id: str) -> dict[str, object]:
    """What the manifest says of who answers for it, and of what it needs and serves."""
    if graph is None or unique_id not in graph.nodes:
        return {}
    run = graph.run
    tests = graph.tests.get(unique_id, ())
    return {
        "source": run,
        "owner": graph.owner(unique_id),
        "variables": graph.variables_of(unique_id),
        "upstream": _neighbours(graph, graph.project.parents[unique_id]),
        "downstream": _neighbours(graph, graph.children(unique_id)),
        "tests": _neighbours(graph, tests),
        "lineage": reverse("console:run_lineage", args=[run.account_id, run.project_id, run.pk]),
    }


def _neighbours(graph: Graph, ids: Sequence[str] | frozenset[str]) -> list[Neighbour]:
    nodes: list[tuple[str, Node]] = [(one, graph.nodes[one]) for one in sorted(ids)[:NEIGHBOURS]]
    return [Neighbour(one, node.name, node.resource_type.replace("_", " ")) for one, node in nodes]


def _docs(membership: Membership, project: Project, unique_id: str) -> str:
    """Where the newest documentation that this member sees speaks of it; empty without any."""
    documented = documentation_of(project)
    run = seen(membership, documented).values_list("pk", flat=True).first()
    if run is None:
        return ""
    address = reverse("console:run_docs_page", args=[project.account_id, project.pk, run])
    return f"{address}#!/{quote(unique_id.partition('.')[0])}/{quote(unique_id)}"
