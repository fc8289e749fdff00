"""What is done to several jobs at once: asked first, by name and number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.timezone import now
from django.views.decorators.http import require_http_methods

from accounts import audit
from accounts.models import Membership
from accounts.roles import Action
from environments.models import Project
from jobsvc.console.access import member_of_account, page
from jobsvc.console.job_selection import selected
from jobsvc.jobs.define import pause_job, resume_job
from jobsvc.jobs.models import Job
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, State


def _rests(job: Job) -> bool:
    pause = job.extended.pause
    return pause is not None and (pause.until is None or pause.until > now())


def _why_not_pause(job: Job) -> str:
    return "is paused already" if _rests(job) else ""


def _why_not_resume(job: Job) -> str:
    return "" if job.extended.pause else "is not paused"


def _why_not_run(job: Job) -> str:
    return "" if job.execute_steps or job.generate_docs else "has no commands"


@dataclass(frozen=True)
class Deed:
    """Something to do to several jobs.

    Attributes:
        words, done: "Pause" before it is done and "paused" after.
        means: what it comes to, as a sentence.
        why_not: why it is not done to a job; empty where it is.
    """

    words: str
    done: str
    means: str
    may: Action
    why_not: Callable[[Job], str]


DEEDS = {
    "pause": Deed(
        "Pause",
        "paused",
        "Their schedules, and the ends of other jobs, start them no more until they are resumed.",
        Action.WRITE_JOBS,
        _why_not_pause,
    ),
    "resume": Deed(
        "Resume",
        "resumed",
        "Their schedules start them again from now on; what was missed is not made up for.",
        Action.WRITE_JOBS,
        _why_not_resume,
    ),
    "run": Deed(
        "Run",
        "queued",
        "Each gets a run of its own, with its own settings; they wait for slots as always.",
        Action.RUN,
        _why_not_run,
    ),
}


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account()
def job_bulk(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Ask whether to do ``?do=`` to the jobs ``?job=1&job=2``, naming them; do it by POST."""
    project = get_object_or_404(
        Project, pk=project_id, account=membership.account_id, state=State.ACTIVE
    )
    sent = request.POST if request.method == "POST" else request.GET
    name = sent.get("do", "")
    if name not in DEEDS:
        return redirect("console:jobs", membership.account_id, project_id)
    deed = DEEDS[name]
    if not membership.access.may_somewhere(deed.may, project_id):
        raise PermissionDenied(
            f"Your role here, {membership.role}, does not let you {deed.may.label}. "
            f"Ask an owner of {membership.account} for a role that does."
        )
    jobs = selected(sent, membership, project_id, action=deed.may)
    wanted = [job for job in jobs if not deed.why_not(job)]
    if request.method == "POST" and wanted:
        _do(request, membership, name, wanted)
        return redirect("console:jobs", membership.account_id, project_id)
    seen_too = selected(sent, membership, project_id)
    allowed = {job.pk for job in jobs}
    context = {
        "project": project,
        "do": name,
        "deed": deed,
        "jobs": wanted,
        "left": [(job, deed.why_not(job)) for job in jobs if deed.why_not(job)]
        + [(job, f"is not yours to {name}") for job in seen_too if job.pk not in allowed],
    }
    return page(request, membership, "console/job_bulk.html", context)


def _do(request: HttpRequest, membership: Membership, name: str, jobs: list[Job]) -> None:
    done = 0
    for job in jobs:
        try:
            _do_one(membership, name, job)
            done += 1
        except ValidationError as refused:
            messages.error(request, f"{job}: {' '.join(refused.messages)}")
    audit.record(
        f"job_definition.several_{DEEDS[name].done}",
        jobs[0].project,
        account_id=membership.account_id,
        differences={"jobs": [None, [job.pk for job in jobs]]},
    )
    if done:
        messages.success(request, f"{done} job{'' if done == 1 else 's'} {DEEDS[name].done}.")


def _do_one(membership: Membership, name: str, job: Job) -> None:
    if name == "pause":
        pause_job(job, reason=f"By {membership.user.full_name}, with others"[:255])
    elif name == "resume":
        resume_job(job)
    else:
        user = membership.user
        cause = f"Started by {user.full_name}"
        trigger_run(job, Trigger(cause=cause, cause_category=CauseCategory.UI, user=user))
