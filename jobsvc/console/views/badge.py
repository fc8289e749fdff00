"""The status badge of a job: its picture, which needs no sign-in, and the page that gives its
address."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_safe

from accounts.feeds import badge_key, find_key, issue_badge_key, revoke_key, text_of
from accounts.models import FeedKind, Membership
from accounts.roles import Action
from jobsvc.console.access import member_of_account, page
from jobsvc.console.pictures.badge import badge
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import FINISHED, State

KEPT = 60  # seconds that a badge may be shown without asking again


@require_safe
def job_badge(request: HttpRequest, account_id: int, project_id: int, job_id: int) -> HttpResponse:
    """How the last run of a job went, as SVG, for whoever has ``?token=``. All else is 404."""
    key = find_key(FeedKind.BADGE, request.GET.get("token", ""))
    if key is None or (key.account_id, key.job_id) != (account_id, job_id):
        raise Http404
    job = get_object_or_404(
        Job.objects.of_account(account_id).active(),
        pk=job_id,
        project=project_id,
        project__state=State.ACTIVE,
    )
    last = Run.objects.filter(job=job, status__in=FINISHED).order_by("-pk").first()
    response = HttpResponse(badge(job.name, last), content_type="image/svg+xml; charset=utf-8")
    response["Cache-Control"] = f"public, max-age={KEPT}"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def job_badge_page(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """The badge of a job and how to show it; by POST its address is made, made anew or closed."""
    job = get_object_or_404(
        Job.objects.of_account(membership.account_id).active().select_related("project"),
        pk=job_id,
        project=project_id,
    )
    key = badge_key(membership.account, job.pk)
    if request.method == "POST":
        if request.POST.get("then") == "close":
            if key is not None:
                revoke_key(key)
            messages.success(request, "The badge is closed: its address shows nothing any more.")
        else:
            issue_badge_key(membership.account, job.pk)
            told = "The old one shows nothing any more." if key else "Anybody who has it sees it."
            messages.success(request, f"The badge has a new address. {told}")
        return redirect("console:job_badge_page", membership.account_id, project_id, job_id)
    context: dict[str, Any] = {"project": job.project, "job": job, "key": key}
    if key is not None:
        place = [membership.account_id, project_id, job_id]
        query = urlencode({"token": text_of(key)})
        picture = f"{reverse('console:job_badge', args=place)}?{query}"
        address = request.build_absolute_uri(picture)
        leads_to = request.build_absolute_uri(reverse("console:job", args=place))
        context |= {
            "picture": picture,
            "address": address,
            "markdown": f"[![{_plain(job.name)}]({address})]({leads_to})",
        }
    return page(request, membership, "console/job_badge.html", context)


def _plain(name: str) -> str:
    """A name as markdown shows it in brackets: what has a meaning there is put aside."""
    return "".join(" " if one in "[]()<>\\`!\n\r" else one for one in name).strip() or "job"
