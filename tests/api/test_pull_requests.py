"""Pull requests on the wire: what was decided, approvals, and building once more."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Account
from ci.models import Check, PullRequest
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from tests.ci.payloads import REMOTE, Hooked, pull_request, sha
from tests.conftest import JSONClient
from tests.factories import CheckFactory, JobFactory, PullRequestFactory

pytestmark = pytest.mark.django_db

FORK = {"fork": "mallory/Hello-World"}
WITH_APPROVAL = {"ci": {"forks": "with_approval"}}


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No broker is needed."""


@pytest.fixture
def job(account: Account) -> Job:
    return JobFactory(
        ci=True,
        extensions=WITH_APPROVAL,
        environment__project__account=account,
        environment__project__repository__remote_url=REMOTE,
    )


@pytest.fixture
def place(account: Account, job: Job) -> str:
    return f"/api/v3/accounts/{account.pk}/projects/{job.project_id}/pull-requests/"


def told(job: Job, *payloads: dict[str, Any]) -> None:
    door = Hooked.up(job.project.repository)
    for payload in payloads:
        door.tell("pull_request", payload)


def test_a_pull_request_is_shown_with_what_was_decided(
    api: JSONClient, place: str, job: Job
) -> None:
    told(job, pull_request("opened", title="Add a model", labels=["bug"]))

    shown = api.get(f"{place}2/").json()["data"]

    run = Run.objects.get()
    assert (shown["number"], shown["title"], shown["author"]) == (2, "Add a model", "Codertocat")
    assert (shown["state"], shown["is_draft"], shown["is_fork"]) == ("open", False, False)
    assert (shown["head_ref"], shown["head_sha"], shown["base_ref"]) == (
        "feature",
        sha("a"),
        "master",
    )
    assert shown["labels"] == ["bug"]
    (check,) = shown["checks"]
    assert (check["job_id"], check["run_id"], check["decision"]) == (job.pk, run.pk, "started")


def test_why_nothing_was_started_is_shown(api: JSONClient, place: str, job: Job) -> None:
    told(job, pull_request("opened", draft=True))

    (check,) = api.get(f"{place}2/").json()["data"]["checks"]

    assert check["why"] == "It is a draft; the job does not build drafts."
    assert check["run_id"] is None


def test_pull_requests_are_listed_the_newest_first(api: JSONClient, place: str, job: Job) -> None:
    repository = job.project.repository
    for number in (2, 23, 7):
        PullRequestFactory(repository=repository, number=number)
    PullRequestFactory(number=99)

    answer = api.get(place).json()

    assert [one["number"] for one in answer["data"]] == [23, 7, 2]
    assert answer["extra"]["pagination"]["total_count"] == 3


def test_the_checks_of_another_projects_job_are_not_shown(
    api: JSONClient, place: str, job: Job
) -> None:
    row = PullRequestFactory(repository=job.project.repository, number=2)
    CheckFactory(pull_request=row)
    mine = CheckFactory(pull_request=row, job=job)

    (check,) = api.get(f"{place}2/").json()["data"]["checks"]

    assert check["job_id"] == mine.job_id


def test_an_unknown_number_is_a_404(api: JSONClient, place: str) -> None:
    answer = api.get(f"{place}99/")

    assert answer.status_code == 404
    assert "#99" in answer.json()["status"]["user_message"]


# --- Approval --------------------------------------------------------------------------------


def test_an_approved_commit_of_a_fork_is_built(api: JSONClient, place: str, job: Job) -> None:
    told(job, pull_request("opened", **FORK))

    answer = api.post(f"{place}2/approve/", {"sha": sha("a")})

    run = Run.objects.get()
    shown = answer.json()["data"]
    assert answer.status_code == 200
    assert shown["approved_sha"] == sha("a")
    assert shown["said"] == [f"Job {job.name}: started run {run.pk}."]
    assert shown["checks"][0]["run_id"] == run.pk


def test_another_commit_than_the_newest_is_not_approved(
    api: JSONClient, place: str, job: Job
) -> None:
    told(job, pull_request("opened", sha=sha("b"), **FORK))

    answer = api.post(f"{place}2/approve/", {"sha": sha("a")})

    assert answer.status_code == 409
    assert sha("b") in answer.json()["status"]["user_message"]
    assert not Run.objects.exists()


def test_what_comes_from_no_fork_needs_no_approval(api: JSONClient, place: str, job: Job) -> None:
    told(job, pull_request("opened"))

    assert api.post(f"{place}2/approve/", {"sha": sha("a")}).status_code == 409


@pytest.mark.parametrize("body", [{}, {"sha": None}, {"sha": ""}, {"sha": ["a"]}, []])
def test_an_approval_names_the_commit(api: JSONClient, place: str, job: Job, body: object) -> None:
    told(job, pull_request("opened", **FORK))

    assert api.post(f"{place}2/approve/", body).status_code == 400
    assert not Run.objects.exists()


@pytest.mark.parametrize("permission_set", ["job_runner", "job_viewer", "git_admin"])
def test_who_may_not_change_jobs_approves_nothing(
    client_of: Any, account: Account, place: str, job: Job, permission_set: str
) -> None:
    told(job, pull_request("opened", **FORK))

    answer = client_of(account, permission_set).post(f"{place}2/approve/", {"sha": sha("a")})

    assert answer.status_code == 403
    assert PullRequest.objects.get().approved_sha == ""


# --- Once more -------------------------------------------------------------------------------


def test_a_pull_request_is_built_once_more_on_request(
    api: JSONClient, place: str, job: Job
) -> None:
    told(job, pull_request("opened", draft=True))

    shown = api.post(f"{place}2/rerun/").json()["data"]

    run = Run.objects.select_related("trigger__api_token").get()
    assert shown["checks"][0]["run_id"] == run.pk
    assert run.trigger.api_token is not None


def test_one_job_alone_can_be_asked_to_build_it(api: JSONClient, place: str, job: Job) -> None:
    second = JobFactory(ci=True, environment=job.environment)
    told(job, pull_request("opened", draft=True))

    api.post(f"{place}2/rerun/", {"job_id": second.pk})

    assert [run.job for run in Run.objects.all()] == [second]
    assert Check.objects.count() == 2


def test_another_accounts_job_cannot_be_asked(api: JSONClient, place: str, job: Job) -> None:
    told(job, pull_request("opened", draft=True))

    answer = api.post(f"{place}2/rerun/", {"job_id": JobFactory(ci=True).pk})

    assert answer.status_code == 404


def test_a_closed_pull_request_is_not_built(api: JSONClient, place: str, job: Job) -> None:
    told(job, pull_request("closed"))

    answer = api.post(f"{place}2/rerun/")

    assert answer.status_code == 409
    assert "closed" in answer.json()["status"]["user_message"]


def test_a_fork_is_not_built_by_asking_once_more(
    client_of: Any, account: Account, place: str, job: Job
) -> None:
    told(job, pull_request("opened", **FORK))

    client_of(account, "job_runner").post(f"{place}2/rerun/")

    assert not Run.objects.exists()
