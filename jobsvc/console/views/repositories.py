"""Repositories: how each is read, its webhook, and what its git host delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.timezone import now
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from ci.access import full_name_of, installation_of
from ci.deliveries import about, redeliver
from ci.hooks import EVENTS, address_of, close_hook, set_secret
from ci.models import RepositoryHook
from environments.models import CloneStrategy, Project, Repository
from jobsvc.console import once
from jobsvc.console.access import member_of_account, page
from jobsvc.console.asked import number
from jobsvc.console.templatetags.states import readable
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run

DELIVERIES_SHOWN = 50
PAYLOAD_SHOWN = 200_000  # characters; the API has the whole of it

READ_BY = {
    CloneStrategy.DEPLOY_KEY: "Deploy key, over ssh",
    CloneStrategy.GIT_TOKEN: "Token, over https",
    CloneStrategy.GITHUB_APP: "The GitHub App",
    CloneStrategy.DEPLOY_TOKEN: "Deploy token, over https",
    CloneStrategy.AZURE_APP: "Azure's app, which is not set up here",
}


@dataclass(frozen=True)
class Row:
    """A repository of the list; ``hook`` is how things stand with its webhook, in words."""

    repository: Repository
    read_by: str
    hook: str
    projects: Sequence[Project]
    fetched_at: datetime | None = None


@require_safe
@member_of_account(everywhere=True)
def repository_list(request: HttpRequest, membership: Membership) -> HttpResponse:
    """The repositories of an account by address, with who is cloned from each."""
    repositories = list(
        _repositories(membership).select_related("hook").order_by("remote_url", "pk")
    )
    cloned: dict[int | None, list[Project]] = {}
    projects = Project.objects.of_account(membership.account_id).active()
    for project in projects.filter(repository__in=repositories).order_by("name", "pk"):
        cloned.setdefault(project.repository_id, []).append(project)
    fetched = _last_fetches(repositories)
    rows = [
        Row(
            repository,
            read_by=_read_by(repository),
            hook=_hook_in_words(repository),
            projects=cloned.get(repository.pk, []),
            fetched_at=fetched.get(repository.pk),
        )
        for repository in repositories
    ]
    return page(request, membership, "console/repositories.html", {"rows": rows})


@require_safe
@member_of_account(everywhere=True)
def repository_detail(
    request: HttpRequest, membership: Membership, repository_id: int
) -> HttpResponse:
    """How a repository is read, how its webhook is set up, and what was delivered."""
    repository = _repository(membership, repository_id)
    hook = _hook(repository)
    deliveries = about(repository).defer("body").order_by("-pk")
    if (before := number(request, "before")) is not None:
        deliveries = deliveries.filter(pk__lt=before)
    found = list(deliveries[: DELIVERIES_SHOWN + 1])
    context: dict[str, Any] = {
        "repository": repository,
        "projects": Project.objects.active().filter(repository=repository).order_by("name"),
        "read_by": _read_by(repository),
        "fetched_at": _last_fetches([repository]).get(repository.pk),
        "is_understood": full_name_of(repository.remote_url) is not None,
        "host": settings.GITHUB_URL,
        "installation": installation_of(repository),
        "hook": hook,
        "address": None if hook is None else address_of(hook),
        "is_open": hook is not None and bool(hook.secrets),
        "previous_until": _previous_until(hook),
        "events": EVENTS,
        "deliveries": found[:DELIVERIES_SHOWN],
        "older": found[DELIVERIES_SHOWN - 1].pk if len(found) > DELIVERIES_SHOWN else None,
        "secret": once.take(request, _once(repository)),
        "may_write": _may_write(membership),
    }
    return page(request, membership, "console/repository.html", context)


# --- Its webhook ---------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def repository_secret(
    request: HttpRequest, membership: Membership, repository_id: int
) -> HttpResponse:
    """Say what a new secret of the webhook brings with it; make one by POST, shown once."""
    repository = _repository(membership, repository_id)
    if request.method != "POST":
        context = {"repository": repository, "hook": _hook(repository)}
        return page(request, membership, "console/repository_secret.html", context)
    try:
        _made, secret = set_secret(repository)
    except ValidationError as refused:
        for sentence in refused.messages:
            messages.error(request, sentence)
    else:
        once.keep(request, _once(repository), secret)
    return redirect("console:repository", membership.account_id, repository_id)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_SETTINGS)
def repository_close(
    request: HttpRequest, membership: Membership, repository_id: int
) -> HttpResponse:
    """Ask whether to let nobody in by the webhook any more; do so by POST."""
    repository = _repository(membership, repository_id)
    hook = _hook(repository)
    if request.method != "POST":
        context = {"repository": repository, "hook": hook}
        return page(request, membership, "console/repository_close.html", context)
    if hook is not None:
        close_hook(hook)
    messages.success(request, "The webhook is closed: what it delivers from now on is refused.")
    return redirect("console:repository", membership.account_id, repository_id)


# --- What was delivered --------------------------------------------------------------------


@require_safe
@member_of_account(everywhere=True)
def repository_delivery(
    request: HttpRequest, membership: Membership, repository_id: int, delivery_id: int
) -> HttpResponse:
    """One delivery with what was decided, and its payload as text."""
    repository = _repository(membership, repository_id)
    delivery = get_object_or_404(about(repository), pk=delivery_id)
    body = readable(delivery.body)
    context = {
        "repository": repository,
        "delivery": delivery,
        "again": list(delivery.redeliveries.defer("body").order_by("-pk")[:DELIVERIES_SHOWN]),
        "body": body[:PAYLOAD_SHOWN],
        "hidden": max(0, len(body) - PAYLOAD_SHOWN),
        "may_write": _may_write(membership),
    }
    return page(request, membership, "console/repository_delivery.html", context)


@require_POST
@member_of_account(may=Action.WRITE_SETTINGS)
def repository_redeliver(
    request: HttpRequest, membership: Membership, repository_id: int, delivery_id: int
) -> HttpResponse:
    """Read what was delivered once more, as a delivery of its own, and show that."""
    repository = _repository(membership, repository_id)
    again = redeliver(get_object_or_404(about(repository), pk=delivery_id))
    messages.success(request, "It is read once more. What follows is written here.")
    return redirect("console:repository_delivery", membership.account_id, repository_id, again.pk)


# --- What is looked up ---------------------------------------------------------------------


def _repositories(membership: Membership) -> QuerySet[Repository]:
    return Repository.objects.of_account(membership.account_id).active()


def _repository(membership: Membership, repository_id: int) -> Repository:
    return get_object_or_404(_repositories(membership), pk=repository_id)


def _hook(repository: Repository) -> RepositoryHook | None:
    return RepositoryHook.objects.filter(repository=repository).first()


def _last_fetches(repositories: Sequence[Repository]) -> dict[int, datetime]:
    """When a run last had a commit of each, by the repository's id."""
    of_job = Run.objects.filter(job=OuterRef("pk"), git_sha__isnull=False).order_by("-pk")
    jobs = Job.objects.filter(project__repository__in=repositories)
    rows = jobs.annotate(fetched_at=Subquery(of_job.values("dequeued_at")[:1]))
    found: dict[int, datetime] = {}
    for repository_id, at in rows.values_list("project__repository", "fetched_at"):
        if at is not None:
            found[repository_id] = max(at, found.get(repository_id, at))
    return found


def _read_by(repository: Repository) -> str:
    return READ_BY[CloneStrategy(repository.git_clone_strategy)]


def _hook_in_words(repository: Repository) -> str:
    if full_name_of(repository.remote_url) is None:
        return "None: no webhooks of this host are understood"
    hook = getattr(repository, "hook", None)
    if hook is None:
        return "Not set up"
    return "Set up" if hook.secrets else "Closed"


def _previous_until(hook: RepositoryHook | None) -> datetime | None:
    """Until when the secret before the last is good as well; None where it is not."""
    until = None if hook is None else hook.previous_until
    return until if until is not None and until > now() else None


def _may_write(membership: Membership) -> bool:
    return membership.may(Action.WRITE_SETTINGS)


def _once(repository: Repository) -> str:
    return f"repository {repository.pk}"
