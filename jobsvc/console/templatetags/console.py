"""Statuses, durations, moments and logs, said the same way on every page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import now

from accounts.models import Membership
from accounts.roles import Action
from environments.models import DeploymentType, Environment, Project
from jobsvc.console.access import projects_of
from jobsvc.console.places import GROUPS
from jobsvc.jobs.extensions import Mode
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.jobs.schedule import in_words
from jobsvc.runs.looks import duration, look, look_of_node, node_look
from jobsvc.runs.models import NodeResult, Run, RunStep
from jobsvc.statuses import RunStatus, State

register = template.Library()
register.filter(duration)

PRODUCTION = SafeString(
    ' <span class="pill warn prod" title="A production environment">prod</span>'
)

LAST_PROJECT = "project_id"  # of the session: whose pages the side bar leads to


register.filter("look", look)
register.filter("node_look", node_look)
register.filter("status_look", look_of_node)


@register.filter
def pill(thing: Run | RunStep) -> SafeString:
    """A status as glyph, word and colour."""
    shown = look(thing)
    return format_html(
        '<span class="pill {}"><span class="glyph" aria-hidden="true">{}</span> {}</span>',
        shown.tone,
        shown.glyph,
        shown.word,
    )


@register.filter
def of_name(values: Mapping[str, Any], name: str) -> Any:
    """What ``values`` has by a name; None where it has nothing."""
    return values.get(name)


@register.filter
def place(environment: Environment) -> SafeString:
    """An environment's name, with a mark where it is a production one."""
    mark = PRODUCTION if environment.deployment_type == DeploymentType.PRODUCTION else ""
    return format_html("<bdi>{}</bdi>{}", environment, mark)


@register.filter
def queued_for(run: Run) -> timedelta:
    """How long a run waited for its turn, until now while it still waits."""
    return (run.dequeued_at or run.finished_at or now()) - run.created_at


@register.filter
def ran_for(thing: Run | RunStep | NodeResult) -> timedelta | None:
    """How long a run, a step or a node worked, until now while it does; None if it never began.

    A run works from the moment a worker takes it, so that its waiting and its work add up.
    """
    begun = thing.dequeued_at if isinstance(thing, Run) else thing.started_at
    return None if begun is None else (thing.finished_at or now()) - begun


@register.filter
def when(moment: datetime | None) -> SafeString:
    """``14 min ago`` or ``in 5 h`` within a day, else a date; the exact moment as its title.

    A date is in UTC; console.js turns it into the viewer's own zone.
    """
    if moment is None:
        return SafeString("—")
    exact = moment.astimezone(UTC)
    apart = moment - now()
    if abs(apart) < timedelta(days=1):
        short, kind = _nearby(apart), "near"
    else:
        short, kind = f"{exact:%Y-%m-%d %H:%M} UTC", "far"
    return format_html(
        '<time datetime="{}" title="{}" data-time="{}">{}</time>',
        f"{exact:%Y-%m-%dT%H:%M:%SZ}",
        f"{exact:%Y-%m-%d %H:%M:%S} UTC",
        kind,
        short,
    )


def _nearby(apart: timedelta) -> str:
    seconds = abs(int(apart.total_seconds()))
    if seconds < 45:
        return "just now" if apart <= timedelta(0) else "in a moment"
    if seconds < 90 * 60:
        size = f"{max(1, round(seconds / 60))} min"
    else:
        size = f"{round(seconds / 3600)} h"
    return f"{size} ago" if apart < timedelta(0) else f"in {size}"


@register.filter
def revision(run: Run) -> str:
    """``main@1027c4d``: what was asked for until it is checked out, then what was."""
    asked = getattr(run, "trigger", None)
    branch = run.git_branch or (asked.git_branch if asked else None) or ""
    sha = run.git_sha or (asked.git_sha if asked else None) or ""
    return f"{branch}@{sha[:7]}" if sha else branch


_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # a title or a link, with what it says
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor moves
    r"|\x1b[@-_]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@register.filter
def plain(text: str) -> str:
    """A log as text alone: no terminal codes, nothing that hides or turns characters."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", text)


@register.filter
def triggers(job: Job) -> list[str]:
    """What starts a job, in words."""
    words = []
    if job.triggers_schedule:
        words.append(in_words(job.cron, job.timezone))
    if job.triggers_github_webhook or job.triggers_git_provider_webhook:
        words.append("On pull requests")
    if job.triggers_on_merge:
        words.append("When a pull request is merged")
    ends = [_end(completion) for completion in job.completion_triggers.all()]
    if job.extended.upstream.mode == Mode.ALL:
        ends = [" and ".join(ends)] if ends else []
    words += [f"After {end}" for end in ends]
    return words or ["By hand or through the API"]


def _end(completion: CompletionTrigger) -> str:
    """What a job waits for, in words; a job that was deleted will never end again."""
    if completion.upstream.state == State.DELETED:
        return f"{completion.upstream} (deleted: this starts nothing any more)"
    endings = " or ".join(RunStatus(status).label.lower() for status in completion.statuses)
    return f"{completion.upstream} ends in {endings}"


@register.filter
def may_read(membership: Membership, row: Model) -> bool:
    """Whether this member may see ``row``: what it is mentioned with may be another project's."""
    return membership.may(Action.READ, row)


@register.filter
def may_run(membership: Membership, row: Model) -> bool:
    """Whether this member may start and cancel ``row``, a job or a run."""
    return membership.may(Action.RUN, row)


@register.filter
def may_edit(membership: Membership, row: Model) -> bool:
    """Whether this member may change ``row``, a job."""
    return membership.may(Action.WRITE_JOBS, row)


@register.filter
def may_change(membership: Membership, row: Model) -> bool:
    """Whether this member may change the settings of ``row``, a project or an environment."""
    return membership.may(Action.WRITE_SETTINGS, row)


@dataclass(frozen=True)
class Link:
    """One entry of the side bar; ``current`` is its aria-current, empty where one is not."""

    words: str
    name: str
    url: str
    current: str


@register.inclusion_tag("console/_side.html", takes_context=True)
def side(context: dict[str, Any], membership: Membership) -> dict[str, Any]:
    """The bar beside every page: where one is, where one can go, who one is."""
    request = context["request"]
    account = membership.account
    projects = context.get("all_projects") or projects_of(membership)
    project = _project(request, projects)
    groups = []
    for group in GROUPS:
        urls = [(place, place.url(account.pk, project)) for place in group.places]
        links = [
            Link(place.words, place.name, url, _current(request.path, url, alone=place.alone))
            for place, url in urls
            if url
        ]
        groups.append((group.words, links))
    return {
        "request": request,
        "csrf_token": context.get("csrf_token"),
        "user": request.user,
        "membership": membership,
        "account": account,
        "project": project,
        "others": Membership.objects.active()
        .filter(user=request.user, account__state=State.ACTIVE)
        .exclude(pk=membership.pk)
        .select_related("account")
        .order_by("account__name"),
        "projects": [one for one in projects if one != project],
        "groups": groups,
        "theme": request.COOKIES.get("theme", ""),
    }


def _project(request: HttpRequest, projects: list[Project]) -> Project | None:
    """The project of this page; on a page of the account's, the one that was last looked at."""
    match = request.resolver_match
    named = match.kwargs.get("project_id") if match else None
    last = request.session.get(LAST_PROJECT)
    found = next((one for one in projects if one.pk == named), None)
    if found is not None and found.pk != last:
        request.session[LAST_PROJECT] = found.pk
    remembered = next((one for one in projects if one.pk == last), None)
    return found or remembered or next(iter(projects), None)


def _current(path: str, url: str, *, alone: bool) -> str:
    if path.rstrip("/") == url.rstrip("/"):
        return "page"
    return "true" if path.startswith(url) and not alone else ""
