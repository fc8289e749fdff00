"""One run as it goes on, its log, and cancelling it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import reswap, retarget

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import is_fragment, member_of_account, page
from jobsvc.console.asked import number
from jobsvc.console.views.run_header import may_retry, retry_plan, run_of, run_page
from jobsvc.console.views.run_logs import more_lines
from jobsvc.console.views.run_pull_request import pull_request_of
from jobsvc.console.views.run_steps import speaking_step
from jobsvc.console.views.run_summary import (
    place_in_line,
    progress_of,
    related_runs,
    summary_of,
    unexplained,
)
from jobsvc.engine.plan import StepKind
from jobsvc.engine.ports import WORKER_LOST, Stream
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.logs import TAIL_LIMIT, console_log, debug_log, tail
from jobsvc.runs.models import Run, RunStep
from jobsvc.runs.waiting import reasons
from jobsvc.statuses import FINISHED, CancelReason, RunStatus

LOG_SHOWN = 200_000  # characters of a log's end; the whole is one link away
HEAD = "run-head"  # the element that other parts of a run's page refresh
RUN_NAMED = re.compile(r"\brun ([0-9]{1,18})\b")


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


# --- One run -----------------------------------------------------------------------------


@require_safe
@member_of_account()
def run_detail(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """What a run came to. While it goes on, htmx asks again for all of it but the log.

    ``?step=`` chooses whose log is shown; without it the page follows the run.
    """
    run = run_of(membership, project_id, run_id)
    if is_fragment(request) and request.headers.get("HX-Target") == HEAD:
        return run_page(request, membership, "console/_run_head.html", run, {})
    prefetch_related_objects([run], "steps")
    steps = list(run.steps.all())
    chosen = number(request, "step")
    step = next((s for s in steps if s.index == chosen), None) or speaking_step(run, steps)
    follow = step is None or step.index != chosen
    summary = summary_of(run)
    waiting = reasons([run]).get(run.pk)
    context: dict[str, Any] = {
        "tab": "summary",
        "with_summary": True,
        "steps": steps,
        "step": step,
        "follow": follow,
        "summary": summary,
        "progress": None if run.is_finished else progress_of(run, summary),
        "unexplained": unexplained(steps, summary),
        "says_why": bool(run.status_message) and (not summary.failures or _is_lost(run)),
        "instead": _instead(run),
        "fell_back": next((one.message for one in steps if _fell_back(one)), ""),
        "waiting": waiting,
        "place": place_in_line(run) if waiting else None,
        "related": related_runs(run, membership) if run.is_finished else [],
        "pull_request": pull_request_of(run),
    }
    if is_fragment(request):
        return run_page(request, membership, "console/_run_live.html", run, context)
    context["log"] = _log(run, step, follow=follow)
    if may_retry(run, membership):
        context["retry"] = retry_plan(run, summary.again)
    return run_page(request, membership, "console/run.html", run, context)


def _fell_back(step: RunStep) -> bool:
    """Whether ``step`` tells that another dbt was taken than the one that was wanted."""
    went_well = step.status == RunStatus.SUCCESS
    return step.kind == StepKind.PROFILE and went_well and bool(step.message)


def _is_lost(run: Run) -> bool:
    return run.outcome == WORKER_LOST


def _instead(run: Run) -> list[str]:
    """The runs that took the place of ``run``, as the sentence on its end names them."""
    gave_way = {CancelReason.SUPERSEDED, CancelReason.OVER_SCHEDULED, CancelReason.SKIPPED}
    if run.cancel_reason not in gave_way:
        return []
    return list(dict.fromkeys(RUN_NAMED.findall(run.status_message)))


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

    ``?stream=debug`` is dbt's own log, as plain text only.
    With ``?follow=1`` the piece is the next step's whole panel once that step has begun; with
    ``?line=``, how many lines came before, it is whole numbered lines.
    """
    run = run_of(membership, project_id, run_id)
    steps = list(run.steps.all())
    step = next((s for s in steps if s.index == number(request, "step")), None)
    follow = request.GET.get("follow") == "1"
    if step is None and not follow:
        raise Http404
    after = number(request, "after") or 0
    if step and is_fragment(request) and "line" in request.GET:
        return more_lines(request, membership, run, step)
    if not is_fragment(request):
        log = debug_log if request.GET.get("stream") == Stream.DEBUG else console_log
        text = log(step)[after:] if step else ""
        return HttpResponse(text, content_type="text/plain; charset=utf-8")
    text, reached = tail(step, Stream.CONSOLE, after) if step else ("", 0)
    speaking = speaking_step(run, steps)
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
