"""Runs over the wire: triggered, read, cancelled, and what they left behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.utils.timezone import now

from accounts.models import Account
from environments.models import Environment
from jobsvc.engine.plan import StepKind
from jobsvc.jobs.models import Job
from jobsvc.runs.models import LogChunk, Run, RunStep
from jobsvc.statuses import RunStatus
from tests.conftest import JSONClient, client_with
from tests.factories import (
    ArtifactFactory,
    EnvironmentFactory,
    JobFactory,
    MembershipFactory,
    RunFactory,
    RunStepFactory,
    token_of,
)

OVERRIDES: dict[str, Any] = {
    "git_branch": "feature/x",
    "git_sha": "5c1d" * 10,
    "github_pull_request_id": 12,
    "schema_override": "dbt_pr_12",
    "dbt_version_override": "1.10.4",
    "threads_override": 3,
    "target_name_override": "ci",
    "generate_docs_override": True,
    "timeout_seconds_override": 0,
    "steps_override": ["dbt 'parse'", "dbt build  --select 'fqn:*'"],
}


@pytest.fixture
def environment(account: Account) -> Environment:
    return EnvironmentFactory(project__account=account)


@pytest.fixture
def job(environment: Environment) -> Job:
    return JobFactory(environment=environment)


@pytest.fixture
def place(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}"


@pytest.fixture
def trigger(place: str, job: Job) -> str:
    return f"{place}/jobs/{job.pk}/run/"


def message(response: Any) -> str:
    return str(response.json()["status"]["user_message"])


# --- Triggering --------------------------------------------------------------------------


def test_a_trigger_keeps_every_override_as_it_was_sent(api: JSONClient, trigger: str) -> None:
    data = api.post(trigger, OVERRIDES | {"cause": "by hand"}).json()["data"]

    assert {key: data["trigger"][key] for key in OVERRIDES} == OVERRIDES
    assert data["trigger"]["cause_category"] == "api"
    assert (data["git_branch"], data["git_sha"]) == (OVERRIDES["git_branch"], OVERRIDES["git_sha"])


def test_the_worker_is_told_after_the_commit(
    api: JSONClient,
    trigger: str,
    published: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run = api.post(trigger).json()["data"]

    assert ("execute_run", run["id"]) in published


def test_no_field_is_needed_and_each_may_be_null(api: JSONClient, trigger: str) -> None:
    nulls = dict.fromkeys([*OVERRIDES, "cause"])

    data = api.post(trigger, nulls).json()["data"]["trigger"]

    assert data["cause"] == "Triggered via API"
    assert {data[key] for key in OVERRIDES} == {None}


def test_empty_texts_and_lists_are_not_given(api: JSONClient, trigger: str) -> None:
    empty = {key: "" for key in OVERRIDES if isinstance(OVERRIDES[key], str)}

    data = api.post(trigger, empty | {"steps_override": [], "cause": ""}).json()["data"]["trigger"]

    assert {data[key] for key in [*empty, "steps_override"]} == {None}


def test_a_long_cause_is_cut(api: JSONClient, trigger: str) -> None:
    response = api.post(trigger, {"cause": "x" * 1000})

    assert response.json()["data"]["trigger"]["cause"] == "x" * 255


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"git_branch": "--upload-pack=x"}, "git_branch"),
        ({"git_branch": "a..b"}, "git_branch"),
        ({"git_sha": "$(id)"}, "git_sha"),
        ({"schema_override": 'x"; drop'}, "schema_override"),
        ({"target_name_override": "a b"}, "target_name_override"),
        ({"dbt_version_override": "git+https://x"}, "dbt_version_override"),
        ({"threads_override": 0}, "threads_override"),
        ({"threads_override": 10**12}, "threads_override"),
        ({"timeout_seconds_override": -1}, "timeout_seconds_override"),
        ({"steps_override": ["dbt build; rm -rf /"]}, "steps_override"),
        ({"steps_override": "dbt build"}, "steps_override"),
        ({"github_pull_request_id": 0}, "github_pull_request_id"),
        ({"github_pull_request_id": 1, "gitlab_merge_request_id": 2}, "gitlab_merge_request_id"),
    ],
)
def test_an_override_that_cannot_be_is_refused_by_its_name(
    body: dict[str, Any], field: str, api: JSONClient, trigger: str
) -> None:
    response = api.post(trigger, body)

    assert response.status_code == 400
    assert message(response).startswith(field)
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "field",
    [
        "github_pull_request_id",
        "gitlab_merge_request_id",
        "azure_pull_request_id",
        "azure_devops_pull_request_id",
        "non_native_pull_request_id",
    ],
)
def test_a_pull_request_is_built_apart_and_its_older_run_gives_way_whatever_its_host(
    field: str, api: JSONClient, place: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment, ci=True)
    older, newer = (
        api.post(f"{place}/jobs/{job.pk}/run/", {field: 2, "git_sha": commit * 40}).json()["data"]
        for commit in "ab"
    )

    superseded = api.get(f"{place}/runs/{older['id']}/").json()["data"]
    assert superseded["is_cancelled"]
    assert superseded["status_message"] == (
        f"Superseded: run {newer['id']} builds a newer commit of pull request #2."
    )
    waiting = Run.objects.get(pk=newer["id"])
    assert waiting.status == RunStatus.QUEUED
    assert waiting.configuration["schema_override"] == f"dbt_cloud_pr_{job.pk}_2"


def test_a_run_without_commands_is_refused(api: JSONClient, place: str, job: Job) -> None:
    Job.objects.update(execute_steps=[])

    response = api.post(f"{place}/jobs/{job.pk}/run/", {})

    assert response.status_code == 400
    assert "steps_override" in message(response)


def test_who_triggered_it_is_told_where_audit_is_asked_for(
    account: Account, place: str, trigger: str
) -> None:
    ana = MembershipFactory(account=account).user
    client = client_with(token_of(account, user=ana))
    run = client.post(trigger).json()["data"]

    audit = client.get(f"{place}/runs/{run['id']}/?include_related=audit").json()["data"]["audit"]

    assert audit["trigger"]["actor"] == {"id": ana.pk, "type": "user", "name": ana.full_name}
    assert audit["cancellation"] is None


# --- Reading -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traits", "flags"),
    [
        ({}, {"in_progress"}),
        ({"running": True}, {"in_progress", "is_running"}),
        ({"succeeded": True}, {"is_complete", "is_success"}),
        ({"failed": True}, {"is_complete", "is_error"}),
        ({"cancelled": True}, {"is_complete", "is_cancelled"}),
    ],
)
def test_a_runs_flags_say_its_status(
    traits: dict[str, bool], flags: set[str], api: JSONClient, place: str, job: Job
) -> None:
    run = RunFactory(job=job, **traits)

    data = api.get(f"{place}/runs/{run.pk}/").json()["data"]

    assert {key for key, on in data.items() if key[:3] in {"is_", "in_"} and on is True} == flags


def test_a_queued_run_says_which_run_it_waits_for(api: JSONClient, place: str, job: Job) -> None:
    running = RunFactory(job=job, running=True)
    waiting = RunFactory(job=job)
    RunFactory(running=True)

    runs = {one["id"]: one for one in api.get(f"{place}/runs/").json()["data"]}

    assert (runs[waiting.pk]["blocked_by"], runs[running.pk]["blocked_by"]) == ([running.pk], [])


def test_a_run_waits_for_one_of_its_job_that_holds_another_key(
    api: JSONClient, place: str, job: Job
) -> None:
    running = RunFactory(
        job=job, running=True, takes_slot=True, slot=1, concurrency_key="a key named before"
    )
    waiting = RunFactory(job=job)

    assert api.get(f"{place}/runs/{waiting.pk}/").json()["data"]["blocked_by"] == [running.pk]


def test_a_run_that_goes_on_counts_its_time_till_now(api: JSONClient, place: str, job: Job) -> None:
    start = now() - timedelta(hours=30, minutes=1)
    run = RunFactory(job=job, running=True, created_at=start, started_at=start)

    data = api.get(f"{place}/runs/{run.pk}/").json()["data"]

    assert data["run_duration"][:5] == "30:01"
    assert (data["run_duration_humanized"], data["finished_at"]) == ("1 day, 6 hours", None)


def test_a_runs_environment_and_repository_are_shown_where_asked_for(
    api: JSONClient, place: str, job: Job
) -> None:
    run = RunFactory(job=job)

    data = api.get(f"{place}/runs/{run.pk}/?include_related=environment,repository").json()["data"]

    assert data["environment"]["id"] == job.environment_id
    assert data["repository"]["remote_url"] == job.project.repository.remote_url


def test_the_runs_of_a_deleted_project_can_still_be_read(
    api: JSONClient, place: str, job: Job
) -> None:
    run = RunFactory(job=job, succeeded=True)
    api.delete(f"/api/v3/accounts/{job.account_id}/projects/{job.project_id}/")

    assert api.get(f"{place}/runs/{run.pk}/").status_code == 200


# --- Steps -------------------------------------------------------------------------------


def finished_step(run: Run, **fields: Any) -> RunStep:
    step = RunStepFactory(
        run=run, status=RunStatus.SUCCESS, started_at=now(), finished_at=now(), **fields
    )
    for stream, text in {"console": "PASS=3\n", "debug": "line\n" * 1500 + "last\n"}.items():
        name = storages["artifacts"].save(f"{step.pk}/{stream}", ContentFile(text.encode()))
        setattr(step, f"{stream}_log", name)
    step.save()
    return step


def test_the_steps_of_a_run_come_in_order_with_their_logs(
    api: JSONClient, place: str, job: Job
) -> None:
    run = RunFactory(job=job, succeeded=True)
    finished_step(run, index=2)
    finished_step(run, index=1)
    RunStepFactory(run=run, index=3, status=RunStatus.CANCELLED, skipped=True)

    steps = api.get(f"{place}/runs/{run.pk}/?include_related=run_steps").json()["data"]["run_steps"]

    assert [step["index"] for step in steps] == [1, 2, 3]
    assert [step["status_humanized"] for step in steps] == ["Success", "Success", "Skipped"]
    assert [step["logs"] for step in steps] == ["PASS=3\n", "PASS=3\n", None]


def test_the_log_of_a_step_that_runs_is_there_so_far(api: JSONClient, place: str, job: Job) -> None:
    step = RunStepFactory(run__job=job, status=RunStatus.RUNNING, started_at=now())
    LogChunk.objects.create(step=step, stream="console", offset=0, text="Found 3 models")

    assert api.get(f"{place}/steps/{step.pk}/").json()["data"]["logs"] == "Found 3 models"


def test_a_debug_log_is_cut_to_its_end_unless_asked_for(
    api: JSONClient, place: str, job: Job
) -> None:
    step = finished_step(RunFactory(job=job, succeeded=True))
    url = f"{place}/steps/{step.pk}/"

    cut = api.get(url).json()["data"]
    whole = api.get(f"{url}?include_related=debug_logs").json()["data"]

    assert len(cut["debug_logs"].splitlines()) == 1000
    assert cut["debug_logs"].endswith("last\n")
    assert len(whole["debug_logs"].splitlines()) == 1501
    assert whole["truncated_debug_logs"] == cut["debug_logs"]


def test_a_debug_log_can_be_asked_for_with_the_runs_steps(
    api: JSONClient, place: str, job: Job
) -> None:
    run = RunFactory(job=job, succeeded=True)
    finished_step(run)

    data = api.get(f"{place}/runs/{run.pk}/?include_related=run_steps,debug_logs").json()["data"]

    assert len(data["run_steps"][0]["debug_logs"].splitlines()) == 1501


def test_a_list_of_runs_shows_steps_without_their_logs(
    api: JSONClient, place: str, job: Job
) -> None:
    finished_step(RunFactory(job=job, succeeded=True))

    steps = api.get(f"{place}/runs/?include_related=run_steps").json()["data"][0]["run_steps"]

    assert [(step["status"], step["logs"], step["debug_logs"]) for step in steps] == [
        (10, None, None)
    ]


# --- Cancelling --------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"null", b"{}"])
def test_a_queued_run_is_cancelled_at_once(
    body: bytes, api: JSONClient, place: str, job: Job
) -> None:
    run = RunFactory(job=job)

    response = api.generic(
        "POST", f"{place}/runs/{run.pk}/cancel/", body, content_type="application/json"
    )

    data = response.json()["data"]
    assert (response.status_code, data["status"], data["status_humanized"]) == (
        200,
        30,
        "Cancelled",
    )
    assert (data["job"]["id"], data["trigger"]["id"]) == (job.pk, run.trigger.pk)


def test_a_run_that_runs_is_asked_to_stop(account: Account, place: str, job: Job) -> None:
    run = RunFactory(job=job, running=True)
    ana = MembershipFactory(account=account).user

    response = client_with(token_of(account, user=ana)).post(f"{place}/runs/{run.pk}/cancel")

    run.refresh_from_db()
    assert (response.status_code, run.status) == (200, RunStatus.RUNNING)
    assert run.cancel_requested_at is not None
    assert run.cancel_requested_by == ana.email


def test_a_finished_run_is_answered_unchanged(api: JSONClient, place: str, job: Job) -> None:
    run = RunFactory(job=job, succeeded=True)

    response = api.post(f"{place}/runs/{run.pk}/cancel/")

    assert (response.status_code, response.json()["data"]["status"]) == (200, 10)


# --- Artifacts ---------------------------------------------------------------------------


@pytest.fixture
def run(job: Job) -> Run:
    """A run whose build left a manifest, results and a compiled model; docs a catalog."""
    run = RunFactory(job=job, succeeded=True)
    build = RunStepFactory(run=run, index=4, builds=True)
    ArtifactFactory(step=build, path="manifest.json", content=b'{"metadata": {}}')
    ArtifactFactory(step=build, path="run_results.json", content=b'{"of": "build"}')
    ArtifactFactory(step=build, path="compiled/shop/models/a.sql", content=b"select 1")
    docs = RunStepFactory(run=run, index=5, kind=StepKind.DOCS.value, command="dbt docs generate")
    ArtifactFactory(step=docs, path="run_results.json", content=b'{"of": "docs"}')
    ArtifactFactory(step=docs, path="catalog.json")
    return run


def content(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_the_artifacts_of_a_run_are_listed(api: JSONClient, place: str, run: Run) -> None:
    whole = api.get(f"{place}/runs/{run.pk}/artifacts/").json()
    of_docs = api.get(f"{place}/runs/{run.pk}/artifacts?step=5").json()

    assert whole["status"]["code"] == 200
    assert whole["data"] == [
        "catalog.json",
        "compiled/shop/models/a.sql",
        "manifest.json",
        "run_results.json",
    ]
    assert of_docs["data"] == ["catalog.json", "run_results.json"]


@pytest.mark.parametrize(
    ("path", "expected", "kind"),
    [
        ("manifest.json", b'{"metadata": {}}', "application/json"),
        ("run_results.json", b'{"of": "build"}', "application/json"),
        ("run_results.json?step=5", b'{"of": "docs"}', "application/json"),
        ("compiled/shop/models/a.sql", b"select 1", "text/plain; charset=utf-8"),
    ],
)
def test_an_artifact_is_its_bytes_and_nothing_else(
    path: str, expected: bytes, kind: str, api: JSONClient, place: str, run: Run
) -> None:
    response = api.get(f"{place}/runs/{run.pk}/artifacts/{path}", HTTP_ACCEPT="application/json")

    assert (response.status_code, content(response)) == (200, expected)
    assert (response["Content-Type"], response["X-Content-Type-Options"]) == (kind, "nosniff")


@pytest.mark.parametrize(
    "path",
    [
        "nothing.json",
        "manifest.json/",
        "manifest.json?step=1",
        "manifest.json?step=99",
        "manifest.json?step=abc",
        "manifest.json?step=-4",
        "manifest.json?step=99999999999999999999999",
        "../../../etc/passwd",
        "..%2f..%2fmanifest.json",
        "%2e%2e/target/manifest.json",
        "/etc/passwd",
        "%00",
        "compiled",
        "a" * 3000,
    ],
)
def test_what_is_not_there_is_a_404_that_is_not_json(
    path: str, api: JSONClient, place: str, run: Run
) -> None:
    response = api.get(f"{place}/runs/{run.pk}/artifacts/{path}")

    assert (response.status_code, response["Content-Type"]) == (404, "text/plain; charset=utf-8")
    with pytest.raises(ValueError):
        response.json()


def test_the_artifacts_of_a_run_that_is_not_there_are_a_404_in_the_envelope(
    api: JSONClient, place: str
) -> None:
    for url in (f"{place}/runs/9/artifacts/", f"{place}/runs/9/artifacts/manifest.json"):
        assert api.get(url).json()["status"]["code"] == 404


def test_a_jobs_artifact_is_that_of_its_latest_success(
    api: JSONClient, place: str, run: Run, job: Job
) -> None:
    ArtifactFactory(step=RunStepFactory(run=RunFactory(job=job, failed=True)), content=b"broken")

    response = api.get(f"{place}/jobs/{job.pk}/artifacts/manifest.json")
    missing = api.get(f"{place}/jobs/{job.pk}/artifacts/sources.json")

    assert content(response) == b'{"metadata": {}}'
    assert (missing.status_code, missing["Content-Type"]) == (404, "text/plain; charset=utf-8")


def test_artifacts_outlive_their_job(api: JSONClient, place: str, run: Run, job: Job) -> None:
    api.delete(f"{place}/jobs/{job.pk}/")

    assert api.get(f"{place}/runs/{run.pk}/artifacts/manifest.json").status_code == 200
