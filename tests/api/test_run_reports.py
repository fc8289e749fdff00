"""What a git host is told of a run, as the API shows it and has it posted once more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from accounts.models import Account
from ci.models import Report, ReportKind
from jobsvc.runs.models import Run
from tests.conftest import JSONClient
from tests.factories import RunFactory

SHA = "1027c4d1027c4d1027c4d1027c4d1027c4d1027c"


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No test here needs a broker."""


@pytest.fixture
def run(account: Account) -> Run:
    """Of pull request 7, whose status was refused."""
    run = RunFactory(job__environment__project__account=account, job__ci=True, git_sha=SHA)
    run.trigger.github_pull_request_id = 7
    run.trigger.save()
    Report.objects.create(
        repository=run.project.repository,
        kind=ReportKind.STATUS,
        job=run.job,
        sha=SHA,
        error="GitHub answered 401.",
        posted="digest",
        posted_at=now() - timedelta(hours=1),
    )
    return run


def test_a_run_shows_why_its_status_could_not_be_posted(
    api: JSONClient, account: Account, run: Run
) -> None:
    shown = api.get(f"/api/v2/accounts/{account.pk}/runs/{run.pk}/extensions/").json()["data"]

    [report] = shown["reports"]
    assert report["kind"] == "status"
    assert report["sha"] == SHA
    assert report["error"] == "GitHub answered 401."
    assert report["posted_at"] is not None


def test_a_person_has_a_run_reported_once_more(
    api: JSONClient, account: Account, run: Run, published: list[tuple[Any, ...]]
) -> None:
    answer = api.post(f"/api/v2/accounts/{account.pk}/runs/{run.pk}/report/")

    assert answer.status_code == 200
    kinds = {report["kind"]: report for report in answer.json()["data"]}
    assert set(kinds) == {"status", "comment"}
    assert kinds["status"]["error"] is None
    assert all(report["due_at"] is not None for report in kinds.values())


def test_a_run_of_no_pull_request_has_nothing_to_be_reported(
    api: JSONClient, account: Account
) -> None:
    run = RunFactory(job__environment__project__account=account)
    address = f"/api/v2/accounts/{account.pk}/runs/{run.pk}/report/"

    assert api.get(address).json()["data"] == []
    refused = api.post(address)
    assert refused.status_code == 409
    assert "no git host" in refused.json()["status"]["user_message"]


def test_one_run_does_not_show_what_was_told_of_another(
    api: JSONClient, account: Account, run: Run
) -> None:
    other = RunFactory(job=run.job, git_sha="9" * 40)
    other.trigger.github_pull_request_id = 8
    other.trigger.save()

    assert api.get(f"/api/v2/accounts/{account.pk}/runs/{other.pk}/report/").json()["data"] == []
