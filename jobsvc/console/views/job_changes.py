"""A job's changes: each save as a difference, who saved it, and the way back to it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.models import Environment
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.job_changes import ENVIRONMENT_IDS, JOB_IDS, changes_of, in_words
from jobsvc.jobs.document import document_of, flat
from jobsvc.jobs.models import Job, JobQuerySet, JobRevision
from jobsvc.jobs.restore import refusal_of_restoring, restore_job, what_restoring_changes
from jobsvc.statuses import State

SHOWN = 20  # saves on a page


def _jobs(membership: Membership, project_id: int) -> JobQuerySet:
    return (
        Job.objects.of_account(membership.account_id)
        .filter(project=project_id)
        .select_related("project", "environment", "account")
        .prefetch_related("completion_triggers__upstream")
    )


@require_safe
@member_of_account()
def job_changes(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """What each save changed, newest first; ``?before=`` is the number of one for older ones."""
    job = get_object_or_404(_jobs(membership, project_id), pk=job_id)
    revisions = job.revisions.order_by("-number")
    before = number(request, "before")
    if before is not None:
        revisions = revisions.filter(number__lt=before)
    found = list(revisions[: SHOWN + 1])  # one more, for the last that is shown to differ from
    changes = changes_of(membership, found)[:SHOWN]
    context = {
        "project": job.project,
        "job": job,
        "tab": "changes",
        "changes": changes,
        "newest": None if before is not None else next(iter(found), None),
        "older": changes[-1].revision.number if len(found) > len(changes) else None,
        "may_edit": job.state == State.ACTIVE and membership.may(Action.WRITE_JOBS, job),
    }
    return page(request, membership, "console/job_changes.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def job_restore(
    request: HttpRequest,
    membership: Membership,
    project_id: int,
    job_id: int,
    revision_number: int,
) -> HttpResponse:
    """Ask whether to bring a job back to a save, and what that changes; do it by POST."""
    job = get_object_or_404(_jobs(membership, project_id).active(), pk=job_id)
    revision = get_object_or_404(JobRevision, job=job, number=min(revision_number, 2**31 - 1))
    refusals = _refused_by_role(membership, job, revision)
    if request.method == "POST" and not refusals:
        try:
            restored = restore_job(job, revision)
        except ValidationError as refused:
            refusals = refused.messages
        else:
            messages.success(request, f"{restored} is as change {revision.number} left it.")
            return redirect("console:job", membership.account_id, restored.project_id, job_id)
    settings = in_words(membership, what_restoring_changes(job, revision))
    context = {
        "project": job.project,
        "job": job,
        "revision": revision,
        "settings": settings,
        "refusals": refusals or (refusal_of_restoring(job, revision) if settings else []),
    }
    return page(request, membership, "console/job_restore.html", context)


def _refused_by_role(membership: Membership, job: Job, revision: JobRevision) -> list[str]:
    """Why a visitor who may change the job may not put it where it was, or after what it was."""
    there = Job(
        account_id=membership.account_id,
        project_id=revision.document["project_id"],
        environment_id=revision.document["environment_id"],
    )
    if not membership.may(Action.WRITE_JOBS, there):
        return [
            "This change has the job in an environment where you may not change jobs. "
            "Ask an owner of the account for a role that may."
        ]
    now, then = dict(flat(document_of(job))), dict(flat(revision.document))
    models: list[tuple[tuple[str, ...], type[Model]]]
    models = [(ENVIRONMENT_IDS, Environment), (JOB_IDS, Job)]
    for places, model in models:
        named = {then.get(place) for place in places if then.get(place) != now.get(place)} - {None}
        rows: QuerySet[Any] = model._default_manager.filter(pk__in=named)
        if seen(membership, rows).count() < rows.count():
            return [
                "This change has the job follow, or defer to, what you may not see. "
                "Ask an owner of the account for a role that may."
            ]
    return []
