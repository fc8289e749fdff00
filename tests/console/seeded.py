"""Every address of the console, on the example data: what budgets hold and benchmarks measure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.urls import URLPattern, reverse
from django.utils.timezone import now

from accounts.invitations import text_of
from accounts.models import Group, Invitation, Membership, Token
from ci.models import PullRequest, WebhookDelivery
from jobsvc.console.urls import urlpatterns
from jobsvc.jobs.revisions import keep_what_was
from jobsvc.notifications.models import Delivery, Dispatch, Mute, Notification, WebhookSubscription
from jobsvc.runs.models import RUNS, Artifact, Run, Worker
from jobsvc.statuses import RunStatus

# What else is asked of a page: filters that find much, and some that find nothing.
ASKED = {
    "runs": ("?status=error", "?q=main", "?q=nothing+like+it", "?branch=main&trigger=schedule"),
    "jobs": ("?q=refresh", "?sort=next"),
    "schedule": ("?days=1",),
    "run_logs": ("?q=model",),
    "run_timing": ("?by=folder&path=1", "?q=orders&type=model&by=type"),
    "run_results": ("?node=model.coffee_shops.fct_orders", "?status=error"),
}


def known(run: Run) -> dict[str, Any]:
    """What stands in addresses for each kind of thing."""

    def first(model: Any, **wanted: Any) -> Any:
        return model.objects.filter(**wanted).latest("pk").pk

    mute = Mute.objects.create(account=run.account, address="owner@example.com", job=run.job)
    dispatch = Dispatch.objects.latest("pk")
    group = Group.objects.create(account=run.account, name="Analysts")
    group.grants.create(permission_set="job_viewer")
    keep_what_was(run.job)
    worker = Worker.objects.create(
        name="runs@here", started_at=now(), seen_at=now(), version="1", bells={RUNS: 0}
    )
    by = run.account.memberships.earliest("pk")
    invited = Invitation.objects.create(
        account=run.account,
        email="eva@example.com",
        permission_set="job_viewer",
        nonce="nobodys",
        invited_by=by.user,
        expires_at=now() + timedelta(days=7),
    )
    return {
        "account_id": run.account_id,
        "project_id": run.project_id,
        "job_id": run.job_id,
        "run_id": run.pk,
        "environment_id": run.environment_id,
        "connection_id": run.project.connection_id,
        "repository_id": run.project.repository_id,
        "artifact_path": "run_results.json",
        "number": PullRequest.objects.latest("number").number,
        "delivery_id": first(WebhookDelivery),
        "message_id": first(Delivery),
        "notification_id": first(Notification),
        "webhook_id": dispatch.subscription_id,
        "dispatch_id": dispatch.pk,
        "subscription_id": WebhookSubscription.objects.latest("created_at").pk,
        "mute_id": mute.pk,
        "revision_number": run.job.revisions.latest("number").number,
        "token_id": first(Token),
        "member_id": first(Membership),
        "invitation_id": invited.pk,
        "invitation_key": text_of(invited),
        "group_id": group.pk,
        "worker_id": worker.pk,
        "key": "nobodys",
        "grant_id": group.grants.get().pk,
        "variable_name": "DBT_REGION",
        "unique_id": "model.coffee_shops.fct_orders",
    }


def addresses() -> Iterator[tuple[str, str]]:
    """The name and the address of each page: of a run of 3,000 nodes, a failed and a running one.

    Nothing has to be told of a new page, unless its address names a new kind of thing.
    """
    large = Artifact.objects.filter(path="manifest.json").latest("pk").step.run
    failed = Run.objects.filter(project=large.project, status=RunStatus.ERROR).latest("pk")
    running = Run.objects.active().latest("pk")
    values = known(large)
    for run, words in ((large, ""), (failed, " of a failed run"), (running, " of a running run")):
        values |= {"run_id": run.pk, "project_id": run.project_id, "job_id": run.job_id}
        for pattern in urlpatterns:
            if not isinstance(pattern, URLPattern) or not pattern.name:
                continue
            names = pattern.pattern.converters
            if words and "run_id" not in names:
                continue
            url = reverse(f"console:{pattern.name}", kwargs={name: values[name] for name in names})
            for query in ("", *ASKED.get(pattern.name, ())):
                yield f"{pattern.name}{query}{words}", url + query
