"""The launchpad: one run with other settings, of which nothing is kept with the job."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import member_of_account, page
from jobsvc.console.asked import number
from jobsvc.console.forms.launch import LaunchForm, values_of_run
from jobsvc.console.recent import usual_lengths
from jobsvc.jobs.models import Job
from jobsvc.runs import toolchains
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.RUN)
def launch(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """A job's values and a run's own beside them; ``?from=`` fills in those of an earlier run.

    By POST the run is queued, or, with ``do=curl``, the call that would do the same is shown.
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
        runs = Run.objects.filter(job=job).select_related("trigger", "job")
        earlier = get_object_or_404(runs, pk=run_id)
        values, hidden = values_of_run(earlier)
        initial |= values
    form = LaunchForm(request.POST if request.method == "POST" else None, job=job, initial=initial)
    curl = ""
    if request.method == "POST" and form.is_valid():
        if request.POST.get("do") == "curl":
            path = f"/api/v2/accounts/{job.account_id}/jobs/{job.pk}/run/"
            curl = form.curl(request.build_absolute_uri(path))
        elif run := _start(form, membership):
            return redirect("console:run", membership.account_id, project_id, run.pk)
    context = {
        "job": job,
        "form": form,
        "rows": form.rows(),
        "said": form.said(),
        "problems": form.problems(),
        "curl": curl,
        "earlier": earlier,
        "hidden": hidden,
        "usual": usual_lengths([job]).get(job.pk),
        "in_the_way": Run.objects.unfinished().filter(job=job).order_by("pk").first(),
        "versions": toolchains.choices(),
    }
    return page(request, membership, "console/launch.html", context)


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
