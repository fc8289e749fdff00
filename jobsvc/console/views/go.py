"""Go to anything by a few words: pages, jobs, runs by their number, models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import OuterRef, Q, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.models import Membership
from environments.models import Project
from jobsvc.console.access import is_fragment, member_of_account, page, seen
from jobsvc.console.asked import LARGEST_NUMBER
from jobsvc.console.places import GROUPS
from jobsvc.console.settings_places import SETTINGS
from jobsvc.console.templatetags.console import LAST_PROJECT
from jobsvc.jobs.models import Job
from jobsvc.runs.looks import look
from jobsvc.runs.models import NodeResult, Run
from jobsvc.statuses import RunStatus

MOST = 8  # of each kind
LONGEST = 100  # characters of what is looked for
FEWEST = 2  # characters from which on models are looked through
MODELS = ("model", "seed", "snapshot", "source")


@dataclass(frozen=True)
class Found:
    """Somewhere to go.

    Attributes:
        kind: "page", "job", "run" or the kind of a node.
        about: what tells it from others of its name.
    """

    kind: str
    words: str
    url: str
    about: str = ""


@require_safe
@member_of_account()
def go(request: HttpRequest, membership: Membership) -> HttpResponse:
    """What ``?q=`` finds, of what this member may see; without it the pages there are."""
    words = request.GET.get("q", "").replace("\0", "").strip()[:LONGEST]
    found: list[Found] = []
    if words:
        found = [*_runs(membership, words), *_jobs(membership, words)]
    found += _pages(membership, words, request.session.get(LAST_PROJECT))
    if len(words) >= FEWEST:
        found += _models(membership, words)
    template = "console/_found.html" if is_fragment(request) else "console/go.html"
    return page(request, membership, template, {"words": words, "found": found})


def _pages(membership: Membership, words: str, last_project: object) -> Sequence[Found]:
    """Pages of the account, of the project last looked at, and of the settings."""
    return [one for one in _places(membership, last_project) if _has(one.words, words)]


def _places(membership: Membership, last_project: object) -> Iterator[Found]:
    account_id = membership.account_id
    projects = list(
        seen(membership, Project.objects.of_account(account_id).active()).order_by("name", "pk")
    )
    project = next((one for one in projects if one.pk == last_project), None)
    project = project or next(iter(projects), None)
    for group in GROUPS:
        for place in group.places:
            if url := place.url(account_id, project):
                about = str(project) if place.of_project and len(projects) > 1 else ""
                yield Found("page", place.words, url, about)
    yield Found("page", "Queue", reverse("console:queue", args=[account_id]))
    for setting in SETTINGS:
        if setting.may is None or membership.may(setting.may):
            url = reverse(f"console:{setting.name}", args=[account_id])
            yield Found("page", setting.words, url, "Settings")
    yield Found("page", "Your profile", reverse("console:profile"))
    yield Found("page", "API", "/api/docs/")
    for other in projects:
        url = reverse("console:project", args=[account_id, other.pk])
        yield Found("project", str(other), url)


def _jobs(membership: Membership, words: str) -> list[Found]:
    rows = Job.objects.of_account(membership.account_id).active()
    for word in words.split():
        rows = rows.filter(Q(name__icontains=word) | Q(project__name__icontains=word))
    rows = seen(membership, rows).select_related("project", "environment")
    return [
        Found(
            "job",
            str(job),
            reverse("console:job", args=[job.account_id, job.project_id, job.pk]),
            f"{job.project}, {job.environment}",
        )
        for job in rows.order_by("name", "pk")[:MOST]
    ]


def _runs(membership: Membership, words: str) -> list[Found]:
    """The run of that number, with ``#`` or without."""
    text = words.removeprefix("#").strip()
    if not (text.isascii() and text.isdigit()) or int(text) >= LARGEST_NUMBER:
        return []
    rows = seen(membership, Run.objects.of_account(membership.account_id).filter(pk=int(text)))
    return [
        Found(
            "run",
            f"#{run.pk} {run.job}",
            reverse("console:run", args=[run.account_id, run.project_id, run.pk]),
            look(run).word,
        )
        for run in rows.select_related("job").defer("configuration", "isolation")
    ]


def _models(membership: Membership, words: str) -> list[Found]:
    """Models, seeds, snapshots and sources that the last good run of any job knew."""
    good = Run.objects.filter(job=OuterRef("pk"), status=RunStatus.SUCCESS).order_by("-pk")
    jobs = seen(membership, Job.objects.of_account(membership.account_id).active())
    last = jobs.annotate(last=Subquery(good.values("pk")[:1])).values("last")
    rows = NodeResult.objects.filter(run__in=last, resource_type__in=MODELS)
    for word in words.split():
        rows = rows.filter(name__icontains=word)
    named = rows.order_by("name").values_list(
        "run__project", "unique_id", "name", "resource_type", "run__project__name"
    )
    return [
        Found(
            kind,
            name,
            reverse("console:node", args=[membership.account_id, project_id, unique_id]),
            project,
        )
        for project_id, unique_id, name, kind, project in named.distinct()[:MOST]
    ]


def _has(text: str, words: str) -> bool:
    return all(word in text.lower() for word in words.lower().split())
