"""The calls that pages show: each reading one is made, and answers."""

from __future__ import annotations

import html
import re
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from accounts.models import Account
from jobsvc.console.calls import CALLS, TOKEN
from jobsvc.console.urls import urlpatterns
from jobsvc.management.example_data.seed import seed
from jobsvc.runs.models import Artifact
from tests.conftest import client_with
from tests.console.seeded import known
from tests.factories import JobFactory, RunFactory, token_of

VisitorOf = Callable[..., Client]

PATTERNS = {pattern.name: pattern for pattern in urlpatterns if getattr(pattern, "name", None)}


def calls_on(page: str) -> list[list[str]]:
    """The calls that a page shows, each as the shell would read its words."""
    found = re.findall(r'<pre id="call-\d+"[^>]*>(.*?)</pre>', page, re.DOTALL)
    return [shlex.split(html.unescape(one).replace("\\\n", " ")) for one in found]


def method_of(call: list[str]) -> str:
    return call[call.index("--request") + 1] if "--request" in call else "GET"


@pytest.mark.django_db
def test_every_call_that_reads_answers() -> None:
    made = seed(now(), runs=400)
    run = Artifact.objects.filter(path="manifest.json").latest("pk").step.run
    values = known(run)
    visitor, api = Client(), client_with(token_of(made.account, "owner"))
    visitor.force_login(made.owner)
    answered, wrong = 0, []
    for name in CALLS:
        converters = PATTERNS[name].pattern.converters
        url = reverse(f"console:{name}", kwargs={key: values[key] for key in converters})
        page = visitor.get(url, follow=True)
        calls = calls_on(page.content.decode())
        if page.status_code != 200 or not calls:
            wrong.append((url, page.status_code, "no call"))
        for call in calls:
            assert f"Authorization: Token {TOKEN}" in call
            if method_of(call) == "GET":
                answer: Any = api.get(call[-1].removeprefix("http://testserver"))
                answered += 1
                if answer.status_code != 200:
                    wrong.append((call[-1], answer.status_code, answer.content[:200]))

    assert wrong == []
    assert answered > 30


def test_the_filters_of_the_runs_page_are_in_its_call(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    url = reverse("console:runs", args=[run.account_id])
    page = visitor_of(run.account).get(url, {"status": "error", "job": run.job_id})

    [call] = calls_on(page.content.decode())
    assert f"job_definition_id={run.job_id}" in call[-1]
    assert "status__in=20" in call[-1]


def test_a_call_runs_a_job(visitor_of: VisitorOf, published: list[Any]) -> None:
    job = JobFactory()
    page = visitor_of(job.account).get(
        reverse("console:job", args=[job.account_id, job.project_id, job.pk])
    )
    [_read, run] = calls_on(page.content.decode())

    answer: Any = client_with(token_of(job.account, "owner")).generic(
        method_of(run),
        run[-1].removeprefix("http://testserver"),
        run[run.index("--data") + 1],
        content_type="application/json",
    )

    assert answer.status_code == 200
    assert job.runs.count() == 1


def test_a_shell_reads_a_call_as_it_is_meant(visitor_of: VisitorOf, account: Account) -> None:
    page = visitor_of(account).get(reverse("console:project_new", args=[account.pk]))
    text = re.findall(r'<pre id="call-1"[^>]*>(.*?)</pre>', page.content.decode(), re.DOTALL)[0]
    script = html.unescape(text).replace("curl ", "printf '%s|' ", 1)

    said = subprocess.run(
        ["sh", "-c", script],
        check=True,
        env={"JOBSVC_TOKEN": "jsu_1"},
        capture_output=True,
        text=True,
    ).stdout

    assert "|Authorization: Token jsu_1|" in said
    assert '|{"name": "Shop"}|' in said


def test_who_may_only_look_is_shown_no_call_that_changes_anything(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    page = visitor_of(job.account, "job_viewer").get(
        reverse("console:job", args=[job.account_id, job.project_id, job.pk])
    )

    assert [method_of(call) for call in calls_on(page.content.decode())] == ["GET"]
