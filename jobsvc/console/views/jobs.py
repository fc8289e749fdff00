"""The jobs of a project, one job, and the button that runs it."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.models import Project
from jobsvc.console.access import member_of_account, page
from jobsvc.console.pictures.strip import run_strip
from jobsvc.console.recent import last_runs
from jobsvc.jobs.models import Job, JobQuerySet
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, State

STRIP = 24  # runs in the picture beside each job
RUNS_SHOWN = 20  # on a job's page; the rest are one link away


def _jobs(membership: Membership, project_id: int) -> JobQuerySet:
    return (
        Job.objects.of_account(membership.account_id)
        .filter(project=project_id)
        .select_related("environment", "project")
        .prefetch_related("completion_triggers__upstream")
    )


@require_safe
@member_of_account()
def job_list(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """The jobs of a project by name, each with its last run."""
    project = get_object_or_404(
        Project, pk=project_id, account=membership.account_id, state=State.ACTIVE
    )
    jobs = list(_jobs(membership, project_id).active().order_by("name", "pk"))
    runs = last_runs(jobs, STRIP)
    return page(
        request,
        membership,
        "console/jobs.html",
        {
            "project": project,
            "rows": [
                (job, of_job[-1] if of_job else None, run_strip(of_job, room=STRIP))
                for job in jobs
                for of_job in [runs.get(job.pk, [])]
            ],
        },
    )


@require_safe
@member_of_account()
def job_detail(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """What a job does, what starts it, and its last runs."""
    job = get_object_or_404(_jobs(membership, project_id), pk=job_id)
    runs = (
        Run.objects.filter(job=job)
        .select_related("job", "environment", "trigger")
        .defer("configuration", "isolation")
        .order_by("-pk")[:RUNS_SHOWN]
    )
    return page(
        request,
        membership,
        "console/job.html",
        {"project": job.project, "job": job, "runs": runs, "is_active": job.state == State.ACTIVE},
    )


@require_POST
@member_of_account(may=Action.RUN)
def run_now(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """Queue a run of a job and show it."""
    job = get_object_or_404(_jobs(membership, project_id), pk=job_id)
    user = membership.user
    try:
        run = trigger_run(
            job,
            Trigger(
                cause=f"Started by {user.full_name}",
                cause_category=CauseCategory.UI,
                user=user,
            ),
        )
    except ValidationError as refused:
        for sentence in refused.messages:
            messages.error(request, sentence)
        return redirect("console:job", membership.account_id, project_id, job_id)
    return redirect("console:run", membership.account_id, project_id, run.pk)
