"""When the account's jobs are due next, what was missed, and letting a schedule rest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.timezone import now
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.models import Environment
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.forms.refusals import tell
from jobsvc.console.pictures.schedule import Band, over_capacity, timeline
from jobsvc.console.planned import Planned, plan_of, scheduled_jobs
from jobsvc.console.recent import usual_lengths
from jobsvc.jobs.define import pause_job, resume_job
from jobsvc.jobs.models import Job
from jobsvc.jobs.schedule import clock_change

SPANS = {1: "Day", 7: "Week"}  # days, and what they are called
MOST_MARKS = {1: 48, 7: 56}  # of one job; one that is due more often is drawn as one bar
MOST_DRAWN = 60  # jobs in the picture
MOST_LISTED = 200
NEXT_TIMES = 3
MISSED_LATELY = timedelta(days=1)


@require_safe
@member_of_account()
def schedule(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The next seven days, or one (``?days=1``), of all jobs or of an environment (``?env=``)."""
    moment = now()
    days = 1 if request.GET.get("days") == "1" else 7
    of_account = Environment.objects.of_account(membership.account_id).active()
    environments = seen(membership, of_account)
    jobs = scheduled_jobs(membership)
    environment = None
    if (env := number(request, "env")) is not None:
        environment = get_object_or_404(environments, pk=env)
        jobs = jobs.filter(environment=environment)
    listed = list(jobs[: MOST_LISTED + 1])
    until = moment + timedelta(days=days)
    usual = usual_lengths(listed)
    plans = [
        plan_of(job, after=moment, until=until, most=MOST_MARKS[days], usual=usual)
        for job in listed[:MOST_LISTED]
    ]
    lines = [plan.line() for plan in plans if plan.moments][:MOST_DRAWN]
    over = over_capacity(lines, slots=membership.account.run_slots)
    changes = _clock_changes(plans, moment, until)
    number_of_marks = sum(len(line.marks) for line in lines)
    context: dict[str, Any] = {
        "plans": [(plan, _state(plan, moment), plan.moments[:NEXT_TIMES]) for plan in plans],
        "left_out": len(listed) > MOST_LISTED,
        "picture": timeline(
            lines,
            start=moment,
            end=until,
            words=f"{number_of_marks} runs of {len(lines)} jobs in the next "
            f"{'day' if days == 1 else '7 days'}",
            bands=[*over, *changes],
        )
        if lines
        else None,
        "over": over[:10],
        "changes": changes,
        "days": days,
        "spans": SPANS.items(),
        "environment": environment,
        "environments": environments.select_related("project").order_by("project__name", "name"),
        "may_write_jobs": membership.access.may_somewhere(Action.WRITE_JOBS),
    }
    return page(request, membership, "console/schedule.html", context)


def _state(plan: Planned, moment: datetime) -> dict[str, Any]:
    """What is odd about a job's schedule, for its row."""
    job = plan.job
    missed = job.missed_at if job.missed_at and job.missed_at >= moment - MISSED_LATELY else None
    return {"overdue": job.is_overdue(moment), "missed": missed}


def _clock_changes(plans: Sequence[Planned], moment: datetime, until: datetime) -> list[Band]:
    """The moments up to ``until`` at which the clocks of a job's zone are changed."""
    found = []
    for zone in sorted({plan.job.timezone for plan in plans if not plan.unreadable}):
        change = clock_change(zone, after=moment)
        if change is not None and change <= until:
            words = f"The clocks of {zone} are changed at {change:%a %Y-%m-%d %H:%M} UTC"
            found.append(Band(change, change, words, "clocks"))
    return found


# --- Pausing -----------------------------------------------------------------------------


class PauseForm(forms.Form):
    """For how long a schedule rests, and why. Times are UTC."""

    reason = forms.CharField(
        label="Why it rests", max_length=255, required=False, widget=forms.TextInput
    )
    until = forms.DateTimeField(
        label="Until (UTC); left empty it rests until somebody resumes it",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"],
    )


def _job(membership: Membership, project_id: int, job_id: int) -> Job:
    jobs = Job.objects.of_account(membership.account_id).active().select_related("project")
    return get_object_or_404(jobs, pk=job_id, project=project_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def job_pause(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """Ask for how long the schedule of a job is to rest; let it rest by POST."""
    job = _job(membership, project_id, job_id)
    form = PauseForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            pause_job(job, reason=form.cleaned_data["reason"], until=form.cleaned_data["until"])
        except ValidationError as refused:
            tell(form, refused)
        else:
            messages.success(request, f"The schedule of {job} rests.")
            return redirect("console:schedule", membership.account_id)
    context = {"job": job, "form": form}
    return page(request, membership, "console/job_pause.html", context)


@require_POST
@member_of_account(may=Action.WRITE_JOBS)
def job_resume(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """End the rest of a job's schedule."""
    job = resume_job(_job(membership, project_id, job_id))
    messages.success(request, f"{job} runs by its schedule again.")
    return redirect("console:schedule", membership.account_id)
