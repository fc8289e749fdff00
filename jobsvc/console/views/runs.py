"""Runs: the list, one run as it goes on, its log, its files, and cancelling it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import reswap, retarget

from accounts.models import Membership
from accounts.roles import Action
from environments.models import Project
from jobsvc.console.access import is_fragment, member_of_account, page
from jobsvc.engine.ports import Stream
from jobsvc.jobs.models import Job
from jobsvc.runs.artifacts import of_run, open_artifact
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.logs import TAIL_LIMIT, console_log, tail
from jobsvc.runs.models import Run, RunStep
from jobsvc.runs.waiting import reasons
from jobsvc.statuses import FINISHED, RunStatus

PAGE_SIZE = 50  # runs
LOG_SHOWN = 200_000  # characters of a log's end; the whole is one link away
FILES_SHOWN = 1000
LARGEST_NUMBER = 10**18  # what a 64-bit column holds, and more than there will ever be


@dataclass(frozen=True)
class LogView:
    """The end of one step's log, and where its next words will come from.

    Attributes:
        after: position in the whole log, in characters, up to which ``text`` goes.
        hidden: characters before ``text`` that the page leaves out.
        follow: the panel goes on to the next step by itself.
        goes_on: there is more to come.
    """

    step: RunStep
    text: str
    after: int
    hidden: int
    follow: bool
    goes_on: bool


def _number(request: HttpRequest, name: str) -> int | None:
    """A number of the query string; None where it is absent or no number we could have."""
    text = request.GET.get(name, "")
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text[:20])
    return number if number < LARGEST_NUMBER else None


def run_of(membership: Membership, project_id: int, run_id: int) -> Run:
    """The run of the address, with what its header shows; 404 without one."""
    return get_object_or_404(
        Run.objects.of_account(membership.account_id).select_related(
            "job", "project", "environment", "trigger", "account"
        ),
        pk=run_id,
        project=project_id,
    )


# --- The list ----------------------------------------------------------------------------


@require_safe
@member_of_account()
def run_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Runs of all projects, newest first; ``?before=`` is the cursor, ``?job=`` one job's."""
    runs = Run.objects.of_account(membership.account_id)
    job = None
    if (job_id := _number(request, "job")) is not None:
        job = get_object_or_404(Job.objects.of_account(membership.account_id), pk=job_id)
        runs = runs.filter(job=job)
    before = _number(request, "before")
    shown = list(
        (runs.filter(pk__lt=before) if before else runs)
        .select_related("job", "environment", "trigger")
        .defer("configuration", "isolation")
        .order_by("-pk")[: PAGE_SIZE + 1]
    )
    older = len(shown) > PAGE_SIZE
    shown = shown[:PAGE_SIZE]
    projects = Project.objects.of_account(membership.account_id).active()
    context: dict[str, Any] = {
        "runs": shown,
        "job": job,
        "live": any(run.status not in FINISHED for run in shown),
        # The same rows again, whatever was queued meanwhile: nothing moves under the pointer.
        "here": shown[0].pk + 1 if shown else None,
        "older": shown[-1].pk if older else None,
        "newer": runs.filter(pk__gt=shown[0].pk).count() if before and shown else 0,
        "project": projects.order_by("pk").first() if not shown else None,
    }
    template = "console/_run_rows.html" if is_fragment(request) else "console/runs.html"
    return page(request, membership, template, context)


# --- One run -----------------------------------------------------------------------------


@require_safe
@member_of_account()
def run_detail(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """One run's page. While the run goes on, htmx asks again for all of it but the log.

    ``?step=`` chooses whose log is shown; without it the page follows the run.
    """
    run = run_of(membership, project_id, run_id)
    steps = list(run.steps.all())
    chosen = _number(request, "step")
    step = next((s for s in steps if s.index == chosen), None) or _speaking(run, steps)
    follow = step is None or step.index != chosen
    files = [path for path in of_run(run) if "/" not in path]
    context: dict[str, Any] = {
        "run": run,
        "tab": "summary",
        "steps": steps,
        "step": step,
        "follow": follow,
        "live": run.status not in FINISHED,
        "failures": [s for s in steps if s.status == RunStatus.ERROR and s.message],
        "waiting": reasons([run]).get(run.pk),
        "files": files,
    }
    if is_fragment(request):
        return page(request, membership, "console/_run_live.html", context)
    context["log"] = _log(run, step, follow=follow)
    return page(request, membership, "console/run.html", context)


def _speaking(run: Run, steps: list[RunStep]) -> RunStep | None:
    """The step a reader wants: the last that began; of an ended run the one that failed or built.

    The documentation that a run may write at its end is not what it was for.
    """
    begun = [step for step in steps if step.started_at is not None]
    wanted = begun[-1:]
    if run.is_finished:
        failed = [step for step in steps if step.status == RunStatus.ERROR]
        wanted = failed or [step for step in begun if step.builds][-1:] or wanted
    return next(iter(wanted or steps), None)


def _log(run: Run, step: RunStep | None, *, follow: bool) -> LogView | None:
    """The panel of a step's log; None while the run has no steps."""
    if step is None:
        return None
    whole = console_log(step)
    hidden = max(0, len(whole) - LOG_SHOWN)
    return LogView(
        step=step,
        text=whole[hidden:],
        after=len(whole),
        hidden=hidden,
        follow=follow,
        goes_on=_goes_on(run, step, follow=follow),
    )


def _goes_on(run: Run, step: RunStep, *, follow: bool) -> bool:
    return not run.is_finished and (follow or step.status not in FINISHED)


@require_safe
@member_of_account()
def log_tail(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """What a step has said since ``?after=``: for htmx a piece of the page, else plain text.

    With ``?follow=1`` the piece is the next step's whole panel once that step has begun.
    """
    run = run_of(membership, project_id, run_id)
    steps = list(run.steps.all())
    step = next((s for s in steps if s.index == _number(request, "step")), None)
    follow = request.GET.get("follow") == "1"
    if step is None and not follow:
        raise Http404
    after = _number(request, "after") or 0
    if not is_fragment(request):
        text = console_log(step)[after:] if step else ""
        return HttpResponse(text, content_type="text/plain; charset=utf-8")
    text, reached = tail(step, Stream.CONSOLE, after) if step else ("", 0)
    speaking = _speaking(run, steps)
    if step is None or (follow and not text and speaking != step):
        context = {"run": run, "log": _log(run, speaking, follow=True)}
        panel = page(request, membership, "console/_log.html", context)
        return reswap(retarget(panel, "#log-panel"), "outerHTML")
    view = LogView(
        step=step,
        text=text,
        after=reached,
        hidden=0,
        follow=follow,
        goes_on=len(text) >= TAIL_LIMIT or _goes_on(run, step, follow=follow),
    )
    return page(request, membership, "console/_log_tail.html", {"run": run, "log": view})


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.RUN)
def run_cancel(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """Ask whether to cancel a run; do it by POST."""
    run = run_of(membership, project_id, run_id)
    if request.method != "POST":
        return page(request, membership, "console/run_cancel.html", {"run": run})
    before = run.is_finished
    run = cancel_run(run, by=membership.user.email)
    if before:
        messages.info(request, f"Run #{run.pk} had already ended.")
    elif run.is_finished:
        messages.success(request, f"Run #{run.pk} is cancelled.")
    else:
        messages.success(request, f"Run #{run.pk} is being stopped. It takes a few seconds.")
    return redirect("console:run", membership.account_id, project_id, run_id)


# --- Files -------------------------------------------------------------------------------


def _top_first(path: str) -> tuple[bool, str]:
    """dbt's own documents come before the many files of compiled SQL."""
    return "/" in path, path


@require_safe
@member_of_account()
def artifact_list(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The files that a run left, or one of its steps (``?step=``), to download."""
    run = run_of(membership, project_id, run_id)
    index = _number(request, "step")
    paths = of_run(run, index)
    paths.sort(key=_top_first)
    after = request.GET.get("after")
    left = [path for path in paths if after is None or _top_first(path) > _top_first(after)]
    shown = left[:FILES_SHOWN]
    context = {
        "run": run,
        "tab": "artifacts",
        "index": index,
        "steps": run.steps.filter(artifacts__isnull=False).distinct(),
        "paths": shown,
        "count": len(paths),
        "more_after": quote(shown[-1]) if len(left) > FILES_SHOWN else None,
    }
    return page(request, membership, "console/artifacts.html", context)


@require_safe
@member_of_account()
def artifact(
    request: HttpRequest,
    membership: Membership,
    project_id: int,
    run_id: int,
    artifact_path: str,
) -> HttpResponseBase:
    """One file, as a download only: a run may have written HTML that means harm."""
    run = run_of(membership, project_id, run_id)
    file = open_artifact(run, artifact_path, _number(request, "step"))
    if file is None:
        raise Http404
    response = FileResponse(
        file,
        as_attachment=True,
        filename=f"run-{run.pk}-{artifact_path.replace('/', '-')}",
        content_type="application/octet-stream",
    )
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response
