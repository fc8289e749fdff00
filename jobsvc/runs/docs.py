"""Which runs' documentation is a project's own: what people share, and what must stay."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from environments.models import DeploymentType, Project
from jobsvc.runs.models import Artifact, Run, RunQuerySet
from jobsvc.statuses import RunStatus, State

PAGE = "static_index.html"  # one file, scripts and data in it


def documentation_of(project: Project) -> RunQuerySet:
    """Successful runs of ``project`` that left documentation which is still kept, newest first.

    Those of the job that the project names for it, else those of its production environment.

    Source: docs.getdbt.com, "Build and view your docs": one job's newest successful docs count.
    """
    place = Q(
        environment__deployment_type=DeploymentType.PRODUCTION, environment__state=State.ACTIVE
    )
    if project.docs_job_id is not None:
        place = Q(job=project.docs_job_id)
    pages = Artifact.objects.filter(step__run=OuterRef("pk"), path=PAGE)
    return (
        Run.objects.filter(place, project=project, status=RunStatus.SUCCESS)
        .filter(Exists(pages))
        .order_by("-pk")
    )
