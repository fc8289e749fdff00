"""The jobs of a project, one job, and what can be done with it."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.models import EnvironmentType, Project
from jobsvc.console.access import is_fragment, member_of_account, page, seen, veil
from jobsvc.console.asked import number
from jobsvc.console.flaky import flaky_tests
from jobsvc.console.job_chain import chain_of
from jobsvc.console.job_changes import marks_of
from jobsvc.console.job_list import KIND_WORDS, asked_for, choices, rows_of
from jobsvc.console.pictures.chain import chain_picture
from jobsvc.console.pictures.grid import grid
from jobsvc.console.pictures.trend import trend
from jobsvc.console.recent import usual_of
from jobsvc.console.views.job_editor import TEMPLATES
from jobsvc.jobs.define import delete_job, reactivate_job
from jobsvc.jobs.models import CompletionTrigger, Job, JobQuerySet
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import FINISHED, CauseCategory, State

TREND, LONG_TREND = 50, 200  # runs in the picture of how long they took
BY_TENS = "log"  # of ?scale=
GRID = 20  # runs in the table of models
RUNS_SHOWN = 20  # in the table of runs; the rest are one link away


def _jobs(membership: Membership, project_id: int) -> JobQuerySet:
    return (
        Job.objects.of_account(membership.account_id)
        .filter(project=project_id)
        .select_related(
            "project", "environment__project__account", "deferring_job", "deferring_environment"
        )
        .prefetch_related(
            Prefetch("completion_triggers", CompletionTrigger.objects.select_related("upstream"))
        )
    )


@require_safe
@member_of_account()
def job_list(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """The jobs of a project: ``?q= env= type= status= sort=``; failing ones come first."""
    project = get_object_or_404(
        Project, pk=project_id, account=membership.account_id, state=State.ACTIVE
    )
    jobs = list(seen(membership, _jobs(membership, project_id).active()))
    veil(membership, jobs)
    asked = asked_for(request)
    rows = rows_of(jobs, asked)
    places = seen(membership, project.environments.active())
    places = places.filter(type=EnvironmentType.DEPLOYMENT)
    context = {
        "project": project,
        "rows": rows,
        "asked": asked,
        "choices": choices(places.order_by("name", "pk")),
        "number": len(jobs),
        "templates": TEMPLATES,
        "may_edit": membership.access.may_somewhere(Action.WRITE_JOBS, project_id),
        "live": any(row.last and row.last.status not in FINISHED for row in rows),
    }
    template = "console/_job_rows.html" if is_fragment(request) else "console/jobs.html"
    return page(request, membership, template, context)


@require_safe
@member_of_account()
def job_detail(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """What a job does, what starts it, how long it takes, and its last runs.

    ``?scale=log`` draws how long by tens, ``?runs=200`` draws more runs.
    """
    job = get_object_or_404(_jobs(membership, project_id), pk=job_id)
    veil(membership, [job])
    wanted = LONG_TREND if number(request, "runs") == LONG_TREND else TREND
    by_tens = request.GET.get("scale") == BY_TENS
    newest = list(
        seen(membership, Run.objects.filter(job=job))
        .select_related("job", "environment", "trigger", "trigger__user")
        .defer("configuration", "isolation")
        .order_by("-pk")[:wanted]
    )
    over = [run for run in newest if run.status in FINISHED]
    marks = marks_of(job, over[::-1])
    chain = chain_of(job, membership)
    context = {
        "project": job.project,
        "job": job,
        "kind": KIND_WORDS[job.job_type],
        "is_active": job.state == State.ACTIVE,
        "last": newest[0] if newest else None,
        "usual": usual_of(over),
        "chain": chain,
        "chain_picture": chain_picture(chain, job.pk) if chain else None,
        "trend": trend(over[::-1], marks, by_tens=by_tens),
        "by_tens": by_tens,
        "wanted": wanted,
        "long_trend": LONG_TREND,
        "changed": [(run, marks.get(run.pk, [])) for run in over],
        "flaky": flaky_tests(over[:GRID][::-1]),
        "over": over,
        "grid": grid(over[:GRID][::-1]),
        "grid_runs": over[:GRID][::-1],
        "runs": newest[:RUNS_SHOWN],
        "may_run": membership.may(Action.RUN, job),
        "may_edit": membership.may(Action.WRITE_JOBS, job),
    }
    return page(request, membership, "console/job.html", context)


@require_safe
@member_of_account()
def job_runs(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """The runs of a job: those of the list of runs, whose filters may stand beside it."""
    job = get_object_or_404(_jobs(membership, project_id), pk=job_id)
    query = request.GET.copy()
    query["job"] = str(job.pk)
    address = reverse("console:runs", args=[membership.account_id])
    return redirect(f"{address}?{query.urlencode()}")


# --- What can be done with it ------------------------------------------------------------


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


@require_POST
@member_of_account(may=Action.WRITE_JOBS)
def job_reactivate(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """Let a job start again by itself that was switched off because its runs failed."""
    job = get_object_or_404(_jobs(membership, project_id).active(), pk=job_id)
    reactivate_job(job)
    messages.success(request, f"{job} is started by itself again.")
    return redirect("console:job", membership.account_id, project_id, job_id)


class DeleteForm(forms.Form):
    """The job's name, typed: what is deleted starts nothing more."""

    name = forms.CharField(strip=False, label="Type the job's name")

    def __init__(self, data: object = None, *, job: Job) -> None:
        super().__init__(data)  # type: ignore[arg-type] # a request's POST, or None
        self.job = job

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name.strip() != self.job.name.strip():
            raise ValidationError("This is not its name. Type it as it stands above.")
        return name


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def job_delete(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """Ask whether to delete a job, and what stays of it; do it by POST, with its name typed."""
    job = get_object_or_404(_jobs(membership, project_id).active(), pk=job_id)
    form = DeleteForm(request.POST if request.method == "POST" else None, job=job)
    if form.is_valid():
        delete_job(job)
        messages.success(request, f"{job} is deleted. Its runs stay readable.")
        return redirect("console:jobs", membership.account_id, project_id)
    context = {
        "project": job.project,
        "job": job,
        "form": form,
        "runs": Run.objects.filter(job=job).count(),
        "unfinished": Run.objects.filter(job=job).exclude(status__in=FINISHED).count(),
        "followers": CompletionTrigger.objects.filter(
            upstream=job, job__state=State.ACTIVE
        ).count(),
        "deferring": Job.objects.active().filter(deferring_job=job).exclude(pk=job.pk).count(),
    }
    return page(request, membership, "console/job_delete.html", context)
