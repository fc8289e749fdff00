"""What depends on what: around what failed in a run, or in an environment as it stands."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.models import Membership
from environments.models import Environment
from jobsvc.console.access import is_fragment, member_of_account, page
from jobsvc.console.asked import number
from jobsvc.console.forms.environments import kind_of
from jobsvc.console.lineage import Asked, lineage, standing_of
from jobsvc.console.node_part import node_part
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.runs.graph import graph_of, manifest_of_environment, manifest_of_run
from jobsvc.runs.models import Artifact, Run

NOT_YET = "dbt has written no manifest yet; one is there once a step of this job has ended."
NEVER = "No manifest was kept: the run ended before dbt wrote one, or its files are gone by policy."
NO_SUCCESS = "No successful run here has a manifest. It is there once a job has built in it."
UNREADABLE = "The manifest of run {run} cannot be read, or is too large."


@require_safe
@member_of_account()
def run_lineage(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The nodes around what failed, else those the run worked on. ``Asked`` says what else."""
    run = run_of(membership, project_id, run_id)
    own_url = reverse("console:run_lineage", args=[run.account_id, run.project_id, run.pk])
    context = _shown(request, manifest_of_run(run), run)
    context |= {"tab": "lineage", "own_url": own_url, "of_run": True}
    context.setdefault("why_not", NEVER if run.is_finished else NOT_YET)
    has_list = is_fragment(request) and "graph" in context
    template = "console/_lineage.html" if has_list else "console/run_lineage.html"
    return run_page(request, membership, template, run, context)


@require_safe
@member_of_account()
def environment_lineage(
    request: HttpRequest, membership: Membership, project_id: int, environment_id: int
) -> HttpResponse:
    """The project by the newest manifest of an environment, and what its run made of it."""
    environment = get_object_or_404(
        Environment.objects.of_account(membership.account_id).active().select_related("project"),
        pk=environment_id,
        project=project_id,
    )
    artifact = manifest_of_environment(environment)
    context = {
        "project": environment.project,
        "environment": environment,
        "kind": kind_of(environment),
        "live": False,
        "why_not": NO_SUCCESS,
        **_shown(request, artifact, artifact.step.run if artifact else None),
    }
    return page(request, membership, "console/environment_lineage.html", context)


def _shown(request: HttpRequest, artifact: Artifact | None, run: Run | None) -> dict[str, Any]:
    """What of the manifest ``artifact`` is shown, as ``run`` left it; little where it cannot be."""
    if artifact is None or run is None:
        return {}
    graph = graph_of(artifact)
    if graph is None:
        return {"why_not": UNREADABLE.format(run=artifact.step.run_id)}
    asked, standing = Asked.of(request.GET), standing_of(run)
    return {
        "run": run,
        "graph": graph,
        "source": graph.run,
        "asked": asked,
        "seen": lineage(graph, standing, asked),
        "has_worked": bool(standing.statuses),
        "has_failed": any(standing.look(one).tone == "err" for one in standing.statuses),
        "part": node_part(run, asked.node, number(request, "step"), graph),
    }
