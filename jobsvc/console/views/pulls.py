"""Pull requests: what was decided of each push, what ran, what was told back, what is to go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from ci.models import (
    Check,
    CISchema,
    CISchemaState,
    PullRequest,
    PullRequestState,
    Report,
    RunSummary,
)
from ci.providers.base import ProviderUnavailable
from ci.pull_requests import NotBuilt, approve, jobs_of, rerun
from ci.report import NothingToReport, report_again
from ci.schemas import ask_to_drop, may_go, whys
from ci.summary import Selected, Summary
from ci.truth import comment_of, is_to_be_summed_up
from environments.models import Project
from jobsvc.console.access import is_fragment, member_of_account, page, seen
from jobsvc.console.asked import number as number_asked
from jobsvc.jobs.models import Job, JobQuerySet
from jobsvc.runs.models import Run

PAGE_SIZE = 50
CHECKS_SHOWN = 300  # the newest of a pull request; each is a job's of a push
SCHEMAS_SHOWN = 100
MOST_COLUMNS = 20  # pushes of the ladder, the newest

# What ``?state=`` takes, and the states that each shows.
SHOWN = {
    "open": (PullRequestState.OPEN,),
    "closed": (PullRequestState.CLOSED, PullRequestState.MERGED),
    "all": tuple(PullRequestState),
}


@dataclass(frozen=True)
class Row:
    """A pull request of the list, with the newest check of its newest push."""

    pull: PullRequest
    check: Check | None
    schemas: Sequence[CISchema]


@dataclass(frozen=True)
class Checked:
    """What became of one push, for one job, and what its git host was told of that.

    ``selected`` is what its run built against what it read from elsewhere, of the newest push.
    """

    check: Check
    reports: Sequence[Report]
    selected: Selected | None = None

    @property
    def is_unsaid(self) -> bool:
        """Whether something could not be told that can be told again."""
        return self.check.run is not None and any(report.error for report in self.reports)


@dataclass(frozen=True)
class Push:
    """A head that the pull request had; ``at`` is when the first job was decided of it."""

    sha: str
    at: datetime
    is_newest: bool
    checks: Sequence[Checked]


@dataclass(frozen=True)
class Rung:
    """One job's checks, a cell for each push of the ladder; None where nothing was decided."""

    job: Job
    cells: Sequence[Check | None]


# --- The list ------------------------------------------------------------------------------


@require_safe
@member_of_account()
def pull_list(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """The pull requests that were told of, newest first; ``?state=`` says which of them."""
    project = _project(membership, project_id)
    state = request.GET.get("state", "open")
    state = state if state in SHOWN else "open"
    pulls = _pulls(project)
    shown = pulls.filter(state__in=SHOWN[state])
    if (before := number_asked(request, "before")) is not None:
        shown = shown.filter(number__lt=before)
    found = list(shown.order_by("-number")[: PAGE_SIZE + 1])
    context: dict[str, Any] = {
        "project": project,
        "state": state,
        "states": list(SHOWN),
        "rows": _rows(membership, project, found[:PAGE_SIZE]),
        "older": found[PAGE_SIZE - 1].number if len(found) > PAGE_SIZE else None,
        "has_any": bool(found) or pulls.exists(),
        "builds": not found and project.repository is not None and _jobs(project).exists(),
    }
    return page(request, membership, "console/pulls.html", context)


def _rows(membership: Membership, project: Project, pulls: Sequence[PullRequest]) -> list[Row]:
    mine = _checks(membership, project)
    newest = mine.filter(pull_request=OuterRef("pk"), head_sha=OuterRef("head_sha"))
    ids = PullRequest.objects.filter(pk__in=[pull.pk for pull in pulls]).values_list(
        "pk", Subquery(newest.order_by("-updated_at", "-pk").values("pk")[:1])
    )
    check_of = dict(ids)
    checks = _checks(membership, project).in_bulk([pk for pk in check_of.values() if pk])
    schemas: dict[int, list[CISchema]] = {}
    numbers = [pull.number for pull in pulls]
    kept = _schemas(membership, project).filter(pull_request_number__in=numbers)
    for schema in kept.exclude(state=CISchemaState.DROPPED):
        schemas.setdefault(schema.pull_request_number, []).append(schema)
    return [
        Row(pull, checks.get(check_of[pull.pk] or 0), schemas.get(pull.number, []))
        for pull in pulls
    ]


# --- One of them ---------------------------------------------------------------------------


@require_safe
@member_of_account()
def pull_detail(
    request: HttpRequest, membership: Membership, project_id: int, number: int
) -> HttpResponse:
    """Each push of a pull request with what became of it; moves while one of its runs does."""
    project = _project(membership, project_id)
    pull = _pull(project, number)
    pushes = _pushes(membership, project, pull)
    schemas = list(_schemas(membership, project).filter(pull_request_number=number)[:SCHEMAS_SHOWN])
    why = whys(schemas)
    runs = [one.check.run for push in pushes for one in push.checks]
    is_open = pull.state == PullRequestState.OPEN
    context: dict[str, Any] = {
        "project": project,
        "pull": pull,
        "pushes": pushes,
        "rungs": _rungs(pushes),
        "columns": _columns(pushes),
        "comment": Report.objects.filter(repository=pull.repository_id, number=number).first(),
        "schemas": [(schema, why[schema.pk]) for schema in schemas],
        "live": any(run is not None and not run.is_finished for run in runs),
        "is_cut": sum(len(push.checks) for push in pushes) >= CHECKS_SHOWN,
        "may_approve": _may_approve(membership, project, pull),
        "may_rerun": is_open and membership.access.may_somewhere(Action.RUN, project_id),
        "may_drop": membership.access.may_somewhere(Action.WRITE_JOBS, project_id)
        and any(schema.state != CISchemaState.DROPPED for schema in schemas),
    }
    template = "console/_pushes.html" if is_fragment(request) else "console/pull.html"
    return page(request, membership, template, context)


def _pushes(membership: Membership, project: Project, pull: PullRequest) -> list[Push]:
    rows = _checks(membership, project).filter(pull_request=pull)
    checks = list(rows.order_by("-pk")[:CHECKS_SHOWN])
    told: dict[tuple[int | None, str], list[Report]] = {}
    for report in Report.objects.filter(
        repository=pull.repository_id,
        job__in={check.job_id for check in checks},
        sha__in={check.head_sha for check in checks},
    ).order_by("pk"):
        told.setdefault((report.job_id, report.sha), []).append(report)
    selected = _selected([check for check in checks if check.head_sha == pull.head_sha])
    of_sha: dict[str, list[Check]] = {}
    checks.sort(key=lambda check: check.head_sha != pull.head_sha)  # its newest push first
    for check in checks:
        of_sha.setdefault(check.head_sha, []).append(check)
    return [
        Push(
            sha=sha,
            at=min(check.created_at for check in its),
            is_newest=sha == pull.head_sha,
            checks=[
                Checked(check, told.get((check.job_id, sha), []), selected.get(check.run_id or 0))
                for check in sorted(its, key=lambda check: (check.job.name, check.pk))
            ],
        )
        for sha, its in of_sha.items()
    ]


def _columns(pushes: Sequence[Push]) -> list[Push]:
    """The pushes of the ladder, oldest first as people read."""
    return list(reversed(pushes[:MOST_COLUMNS]))


def _rungs(pushes: Sequence[Push]) -> list[Rung]:
    """The newest pushes as columns, a row for each job."""
    columns = _columns(pushes)
    jobs = {one.check.job_id: one.check.job for push in columns for one in push.checks}
    found = [{one.check.job_id: one.check for one in push.checks} for push in columns]
    return [
        Rung(job, [of_push.get(job.pk) for of_push in found])
        for job in sorted(jobs.values(), key=lambda job: (job.name, job.pk))
    ]


def _selected(checks: Sequence[Check]) -> dict[int, Selected]:
    """What the runs of ``checks`` built and what they deferred, by run, as far as it is known."""
    ids = [check.run_id for check in checks if check.run_id]
    kept = RunSummary.objects.filter(run__in=ids, content__isnull=False)
    found = {}
    for row in kept:
        summary = Summary.kept(row.content) if row.content else Summary()
        if summary.selected is not None:
            found[row.run_id] = summary.selected
    return found


@require_safe
@member_of_account()
def pull_comment(
    request: HttpRequest, membership: Membership, project_id: int, number: int
) -> HttpResponse:
    """The very text that is, or would be, the comment of a pull request."""
    project = _project(membership, project_id)
    pull = _pull(project, number)
    is_ready = not is_to_be_summed_up(pull.repository, number)
    text = comment_of(pull.repository, number, is_there=True) if is_ready else None
    context = {
        "project": project,
        "pull": pull,
        "is_ready": is_ready,
        # The first line is the mark by which it is found again.
        "text": text.partition("\n")[2].strip() if text else "",
        "posted": Report.objects.filter(repository=pull.repository_id, number=number).first(),
    }
    return page(request, membership, "console/pull_comment.html", context)


# --- What people decide of it --------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS, everywhere=True)
def pull_approve(
    request: HttpRequest, membership: Membership, project_id: int, number: int
) -> HttpResponse:
    """Ask whether a fork's commit may be built; let it be by POST, if it is still the newest."""
    project = _project(membership, project_id)
    pull = _pull(project, number)
    if request.method != "POST":
        may = _may_approve(membership, project, pull)
        context = {"project": project, "pull": pull, "may": may}
        return page(request, membership, "console/pull_approve.html", context)
    sha, user = request.POST.get("sha", ""), membership.user
    _act(request, lambda: approve(pull, sha, by=user.email, user=user))
    return redirect("console:pull", membership.account_id, project_id, number)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.RUN)
def pull_rerun(
    request: HttpRequest, membership: Membership, project_id: int, number: int
) -> HttpResponse:
    """Say which jobs would build the newest commit once more; have them do so by POST."""
    project = _project(membership, project_id)
    pull = _pull(project, number)
    jobs = seen(membership, _jobs(project), Action.RUN)
    if request.method != "POST":
        context = {"project": project, "pull": pull, "jobs": jobs}
        return page(request, membership, "console/pull_rerun.html", context)
    _act(request, lambda: rerun(pull, jobs, user=membership.user))
    return redirect("console:pull", membership.account_id, project_id, number)


@require_POST
@member_of_account(may=Action.RUN)
def pull_report(
    request: HttpRequest, membership: Membership, project_id: int, number: int, run_id: int
) -> HttpResponse:
    """Tell the git host once more what is true of a run of this pull request."""
    pull = _pull(_project(membership, project_id), number)
    started = Run.objects.filter(project=project_id, pull_request_checks__pull_request=pull)
    run = get_object_or_404(started.select_related("job", "trigger").distinct(), pk=run_id)
    try:
        due = report_again(run)
    except NothingToReport as nothing:
        messages.error(request, str(nothing))
    else:
        messages.success(request, f"{len(due)} of run #{run.pk} will be posted again now.")
    return redirect("console:pull", membership.account_id, project_id, number)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def pull_schemas_drop(
    request: HttpRequest, membership: Membership, project_id: int, number: int
) -> HttpResponse:
    """Name the schemas that would be dropped, and why others stay; drop those by POST."""
    project = _project(membership, project_id)
    pull = _pull(project, number)
    rows_here = seen(membership, _schemas(membership, project), Action.WRITE_JOBS)
    left = rows_here.filter(pull_request_number=number).exclude(state=CISchemaState.DROPPED)
    if request.method != "POST":
        rows = list(left[:SCHEMAS_SHOWN])
        going = may_go(rows)
        names = {row.pk for row in going}
        why = whys(rows)
        staying = [(row, why[row.pk]) for row in rows if row.pk not in names]
        context = {"project": project, "pull": pull, "going": going, "staying": staying}
        return page(request, membership, "console/pull_schemas.html", context)
    named = [text for text in request.POST.getlist("schema") if text.isdecimal() and len(text) < 19]
    gone = ask_to_drop(left.filter(pk__in=named))
    if gone:
        messages.success(request, f"To be dropped now: {', '.join(row.schema for row in gone)}.")
    else:
        messages.info(request, "Nothing is dropped: none of them may go any more.")
    return redirect("console:pull", membership.account_id, project_id, number)


def _act(request: HttpRequest, act: Callable[[], list[str]]) -> None:
    """Do it, and say what followed, or why it did not."""
    try:
        said = act()
    except NotBuilt as refused:
        messages.error(request, str(refused))
    except ProviderUnavailable as error:
        messages.error(request, f"{error} Try again in a moment.")
    else:
        for sentence in said or ["No job of this project builds pull requests."]:
            messages.success(request, sentence)


# --- What is looked up ---------------------------------------------------------------------


def _project(membership: Membership, project_id: int) -> Project:
    projects = Project.objects.of_account(membership.account_id).active()
    found: Project = get_object_or_404(projects.select_related("repository"), pk=project_id)
    return found


def _pulls(project: Project) -> QuerySet[PullRequest]:
    return PullRequest.objects.filter(
        repository=project.repository_id or 0, repository__account=project.account_id
    )


def _pull(project: Project, number: int) -> PullRequest:
    return get_object_or_404(_pulls(project).select_related("repository"), number=number)


def _checks(membership: Membership, project: Project) -> QuerySet[Check]:
    rows = seen(membership, Check.objects.filter(job__project=project))
    rows = rows.select_related("job", "run")
    return rows.defer("run__configuration", "run__isolation", "run__state_used")


def _jobs(project: Project) -> JobQuerySet:
    """Those that are told of the project's pull requests."""
    if project.repository is None:
        return Job.objects.none()
    return jobs_of(project.repository).filter(project=project)


def _schemas(membership: Membership, project: Project) -> QuerySet[CISchema]:
    rows = CISchema.objects.filter(account=project.account_id, job__project=project)
    return seen(membership, rows).select_related("job__project").order_by("state", "schema", "pk")


def _may_approve(membership: Membership, project: Project, pull: PullRequest) -> bool:
    waits = (
        pull.is_fork and pull.state == PullRequestState.OPEN and pull.approved_sha != pull.head_sha
    )
    return waits and membership.may(Action.WRITE_JOBS, project)
