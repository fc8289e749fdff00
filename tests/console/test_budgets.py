"""What pages may cost: questions to the database, and bytes over the wire.

Every address of the console is walked, on the example data.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, reverse
from django.utils.timezone import now

from accounts.models import Group, Membership, Token
from ci.models import PullRequest, WebhookDelivery
from jobsvc.console.urls import urlpatterns
from jobsvc.jobs.revisions import keep_what_was
from jobsvc.management.example_data.seed import seed
from jobsvc.notifications.models import Delivery, Dispatch, Mute, Notification, WebhookSubscription
from jobsvc.runs.models import Artifact, Run
from jobsvc.statuses import RunStatus

pytestmark = pytest.mark.django_db

RUNS = 1000
MOST_QUERIES = 15
MOST_CSS = 45 * 1024  # bytes of a page, as sent
MOST_JS = 35 * 1024
MOST_JS_OF_LINEAGE = MOST_JS + 17 * 1024
# These show one thing each that the example data has not.
NOT_THERE = {"docs_public", "run_docs_page", "log_tail", "job_badge"}


@dataclass(frozen=True)
class Walked:
    """A page, what it asked the database, and what it said."""

    name: str
    queries: list[str]
    text: str

    @property
    def is_part(self) -> bool:
        """Whether it is put into a page that is there already."""
        return "<html" not in self.text


def known(run: Run) -> dict[str, Any]:
    """What stands in addresses for each kind of thing."""

    def first(model: Any, **wanted: Any) -> Any:
        return model.objects.filter(**wanted).latest("pk").pk

    mute = Mute.objects.create(account=run.account, address="owner@example.com", job=run.job)
    dispatch = Dispatch.objects.latest("pk")
    group = Group.objects.create(account=run.account, name="Analysts")
    group.grants.create(permission_set="job_viewer")
    keep_what_was(run.job)
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
        "group_id": group.pk,
        "grant_id": group.grants.get().pk,
        "variable_name": "DBT_REGION",
        "unique_id": "model.coffee_shops.fct_orders",
    }


def walk() -> Iterator[Walked]:
    """Every page that can be looked at, for an owner."""
    made = seed(now(), runs=RUNS)
    large = Artifact.objects.filter(path="manifest.json").latest("pk").step.run
    failed = Run.objects.filter(project=large.project, status=RunStatus.ERROR).latest("pk")
    running = Run.objects.active().latest("pk")
    client = Client()
    client.force_login(made.owner)
    client.get(reverse("console:account", args=[made.account.pk]))  # the session knows it now
    of_large = known(large)
    for run in (large, failed, running):
        values = of_large | run_of(run)
        for pattern in urlpatterns:
            if not isinstance(pattern, URLPattern) or not pattern.name:
                continue
            names = pattern.pattern.converters
            if run != large and "run_id" not in names:
                continue
            url = reverse(f"console:{pattern.name}", kwargs={name: values[name] for name in names})
            with CaptureQueriesContext(
                connection,
            ) as asked:
                answer = client.get(url)
            if answer.status_code == 200 and "text/html" in answer.get("Content-Type", ""):
                yield Walked(pattern.name, [one["sql"] for one in asked], answer.content.decode())
            elif run == large and answer.status_code == 404:
                assert pattern.name in NOT_THERE, url


def run_of(run: Run) -> dict[str, Any]:
    return {"run_id": run.pk, "project_id": run.project_id, "job_id": run.job_id}


@cache
def weight_of(path: str) -> int:
    """Bytes of a static file as it is sent."""
    found = finders.find(path)
    assert found, path
    return len(gzip.compress(Path(str(found)).read_bytes()))


def test_no_page_asks_the_database_more_than_fifteen_times() -> None:
    pages = list(walk())
    over = {page.name: len(page.queries) for page in pages if len(page.queries) > MOST_QUERIES}

    assert len(pages) > 30
    assert over == {}


def test_no_page_sends_more_style_and_script_than_it_may() -> None:
    over = []
    for page in walk():
        css = re.findall(r'<link rel="stylesheet" href="/static/([^"]+)"', page.text)
        scripts = re.findall(r'<script src="/static/([^"]+)"', page.text)
        most = MOST_JS_OF_LINEAGE if "lineage" in page.name else MOST_JS
        weights = [sum(map(weight_of, css)), sum(map(weight_of, scripts))]
        assert page.is_part or (weights[0] and weights[1]), page.name
        if weights[0] > MOST_CSS or weights[1] > most:
            over.append((page.name, *weights))

    assert over == []
