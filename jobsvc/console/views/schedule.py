"""When the account's jobs are due next, what was missed, and letting a schedule rest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.timezone import now
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.feeds import calendar_key, find_key, issue_calendar_key, revoke_key, text_of
from accounts.models import FeedKind, Membership
from accounts.roles import Action
from environments.models import Environment
from jobsvc.console.access import member_of_account, page, projects_of, seen
from jobsvc.console.asked import number
from jobsvc.console.calendar import calendar
from jobsvc.console.forms.refusals import tell
from jobsvc.console.forms.schedule import initial_schedule, shifted
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
AHEAD = timedelta(days=7)  # that a calendar tells of
MOST_EVENTS = 168  # of one job in a calendar: one an hour
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
    drawn = [plan for plan in plans if plan.moments or plan.pause]
    several = len(projects_of(membership)) > 1
    lines = [plan.line(with_project=several) for plan in drawn][:MOST_DRAWN]
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
            words=f"{number_of_marks} run{pluralize(number_of_marks)} of {len(lines)} "
            f"job{pluralize(len(lines))} in the next "
            f"{'day' if days == 1 else '7 days'}",
            bands=[*over, *changes],
        )
        if lines
        else None,
        "over": over[:10],
        "changes": changes,
        "calendar": _calendar_address(request, membership),
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
    hours = initial_schedule(job)
    shifts = [
        (words, by)
        for words, by in (("earlier", -1), ("later", 1))
        if not plan.unreadable and shifted(hours, by) is not None
    ]
    return {"overdue": job.is_overdue(moment), "missed": missed, "shifts": shifts}


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
            return _back(request, membership)
    context = {"job": job, "form": form, "back": _origin(request, membership)}
    return page(request, membership, "console/job_pause.html", context)


@require_POST
@member_of_account(may=Action.WRITE_JOBS)
def job_resume(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """End the rest of a job's schedule."""
    job = resume_job(_job(membership, project_id, job_id))
    messages.success(request, f"{job} runs by its schedule again.")
    return _back(request, membership)


def _back(request: HttpRequest, membership: Membership) -> HttpResponseRedirect:
    return HttpResponseRedirect(_origin(request, membership))


def _origin(request: HttpRequest, membership: Membership) -> str:
    """Where the visitor came from, by ``next`` or the browser's word; else the schedule."""
    came = request.POST.get("next") or request.GET.get("next") or request.headers.get("Referer")
    host, secure = request.get_host(), request.is_secure()
    here = request.build_absolute_uri(request.path)
    is_ours = came and url_has_allowed_host_and_scheme(came, {host}, require_https=secure)
    if came and is_ours and request.build_absolute_uri(came).partition("?")[0] != here:
        return came
    return reverse("console:schedule", args=[membership.account_id])


# --- The calendar ------------------------------------------------------------------------


@require_safe
def calendar_feed(
    request: HttpRequest,  # noqa: ARG001 - every view is given it
    key: str,
) -> HttpResponse:
    """What is planned for the next seven days, for whoever has a member's key. All else is 404."""
    found = find_key(FeedKind.CALENDAR, key)
    if found is None or found.membership is None:
        raise Http404
    membership, moment = found.membership, now()
    listed = list(scheduled_jobs(membership)[:MOST_LISTED])
    usual = usual_lengths(listed)
    until = moment + AHEAD
    plans = [
        plan_of(job, after=moment, until=until, most=MOST_EVENTS, usual=usual) for job in listed
    ]
    text = calendar(plans, name=f"Jobs of {membership.account}", moment=moment)
    response = HttpResponse(text, content_type="text/calendar; charset=utf-8")
    response["Cache-Control"] = "private, no-store"
    response["Content-Disposition"] = 'inline; filename="schedule.ics"'
    return response


@require_POST
@member_of_account()
def calendar_switch(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make the visitor's calendar an address, or a new one; with ``then=close`` close it."""
    key = calendar_key(membership)
    if request.POST.get("then") == "close":
        if key is not None:
            revoke_key(key)
        messages.success(request, "The calendar is closed: its address shows nothing any more.")
    else:
        issue_calendar_key(membership)
        told = "The old one shows nothing any more." if key else "Keep it to yourself."
        messages.success(request, f"Your calendar has a new address. {told}")
    return redirect(f"{reverse('console:schedule', args=[membership.account_id])}#calendar")


def _calendar_address(request: HttpRequest, membership: Membership) -> str | None:
    """Where the visitor's calendar is read; None where it has no address."""
    key = calendar_key(membership)
    if key is None:
        return None
    return request.build_absolute_uri(reverse("console:calendar_feed", args=[text_of(key)]))
