"""The launchpad: one run with other settings, of which nothing is kept with the job."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.forms.launch import LaunchForm, query_of, values_of_run
from jobsvc.console.launch_preview import preview
from jobsvc.console.recent import usual_lengths
from jobsvc.jobs.models import Job
from jobsvc.runs import toolchains
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, refused_variables, trigger_run
from jobsvc.statuses import CauseCategory

RUNS_LOOKED_AT = 200  # for the names of branches


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.RUN)
def launch(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """A job's values and a run's own beside them; ``?from=`` fills in those of an earlier run.

    By POST the run is queued. With ``do=curl`` the call that would do the same is shown instead,
    with ``do=preview`` what it would build, and ``do=job`` opens the editor with a job like it.
    """
    jobs = Job.objects.of_account(membership.account_id).active()
    job = get_object_or_404(
        jobs.select_related("environment__project", "project", "account"),
        pk=job_id,
        project=project_id,
    )
    initial: dict[str, Any] = {"cause": f"Started by {membership.user.full_name}"}
    earlier: Run | None = None
    hidden: list[str] = []
    if (run_id := number(request, "from")) is not None:
        runs = seen(membership, Run.objects.filter(job=job)).select_related("trigger", "job")
        earlier = get_object_or_404(runs, pk=run_id)
        values, hidden = values_of_run(earlier)
        initial |= values
    why_not = refused_variables(job, membership.access)
    form = LaunchForm(
        request.POST if request.method == "POST" else None,
        job=job,
        initial=initial,
        refused={"variables_override": why_not} if why_not else {},
    )
    curl, shown, do = "", None, request.POST.get("do")
    if request.method == "POST" and form.is_valid():
        if do == "curl":
            path = f"/api/v2/accounts/{job.account_id}/jobs/{job.pk}/run/"
            curl = form.curl(request.build_absolute_uri(path))
        elif do == "preview":
            threads = form.cleaned_data.get("threads_override") or job.threads
            shown = preview(job, form.steps, threads=threads)
        elif do == "job" and membership.may(Action.WRITE_JOBS, job):
            query = urlencode([("like", str(job.pk)), *query_of(form.overrides())])
            editor = reverse("console:job_new", args=[membership.account_id, project_id])
            return redirect(f"{editor}?{query}")
        elif run := _start(form, membership):
            return redirect("console:run", membership.account_id, project_id, run.pk)
    context = {
        "job": job,
        "form": form,
        "rows": form.rows(),
        "said": form.said(),
        "problems": form.problems(),
        "curl": curl,
        "previewed": do == "preview" and form.is_valid(),
        "preview": shown,
        "may_write_job": membership.may(Action.WRITE_JOBS, job),
        "branches": _branches(job, membership),
        "earlier": earlier,
        "hidden": hidden,
        "usual": usual_lengths([job]).get(job.pk),
        "in_the_way": Run.objects.unfinished().filter(job=job).order_by("pk").first(),
        "versions": toolchains.choices(),
    }
    return page(request, membership, "console/launch.html", context)


def _branches(job: Job, membership: Membership) -> list[str]:
    """Branches that runs of the project were of lately, to choose from."""
    runs = seen(membership, Run.objects.filter(account=job.account_id, project=job.project_id))
    lately = runs.order_by("-pk").values_list("git_branch", flat=True)[:RUNS_LOOKED_AT]
    return sorted({branch for branch in lately if branch})


def _start(form: LaunchForm, membership: Membership) -> Run | None:
    """The run, queued; None where it was refused, which the form then says."""
    trigger = Trigger(
        cause=form.cleaned_data["cause"],
        cause_category=CauseCategory.UI,
        user=membership.user,
        **form.overrides(),
    )
    try:
        return trigger_run(form.job, trigger)
    except ValidationError as refused:
        form.refuse(refused)
        return None
