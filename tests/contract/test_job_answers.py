"""The brief's own body, and the key sets that dbt Cloud's clients were read to need."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine

from accounts.models import Account
from environments.models import Environment
from jobsvc.jobs.models import Job
from tests.conftest import JSONClient
from tests.factories import EnvironmentFactory, JobFactory, RunFactory, RunStepFactory

# Text after creation at 21:00 with the brief's body; ids are put in by the test.
NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "description": "",
    "dbt_version": None,
    "raw_dbt_version": None,
    "execute_steps": ["dbt build"],
    "execution": {"timeout_seconds": 0},
    "settings": {"threads": 8, "target_name": "prod"},
    "generate_docs": False,
    "run_generate_sources": False,
    "generate_sources": False,
    "run_lint": False,
    "errors_on_lint_failure": True,
    "run_compare_changes": False,
    "compare_changes_flags": "--select state:modified",
    "cost_optimization_features": [],
    "deferring_job_definition_id": None,
    "deferring_environment_id": None,
    "job_type": "scheduled",
    "triggers_on_draft_pr": False,
    "triggers": {
        "github_webhook": False,
        "git_provider_webhook": False,
        "schedule": True,
        "on_merge": False,
        "custom_branch_only": False,
    },
    "schedule": {
        "cron": "0 2 * * *",
        "date": {"type": "every_day"},
        "time": {"type": "at_exact_hours", "interval": 1, "hours": [2], "minutes": 0},
    },
    "job_completion_trigger_condition": None,
    "lifecycle_webhooks": False,
    "lifecycle_webhooks_url": None,
    "state": 1,
    "is_deferrable": False,
    "is_system": False,
    "deactivated": False,
    "deactivation_reason": None,
    "run_failure_count": 0,
    "cron_humanized": "At 02:00 every day UTC",
    "next_run": "2026-01-02 02:00:00.000000+00:00",
    "next_run_humanized": "in 5 hours",
    "created_at": "2026-01-01 21:00:00.000000+00:00",
    "updated_at": "2026-01-01 21:00:00.000000+00:00",
    "account": None,
    "project": None,
    "environment": None,
    "most_recent_run": None,
    "most_recent_completed_run": None,
}

TRIGGER_KEYS = {
    "id",
    "cause",
    "cause_category",
    "cause_humanized",
    "job_definition_id",
    "created_at",
    "git_branch",
    "git_sha",
    "azure_pull_request_id",
    "github_pull_request_id",
    "gitlab_merge_request_id",
    "non_native_pull_request_id",
    "schema_override",
    "dbt_version_override",
    "threads_override",
    "target_name_override",
    "generate_docs_override",
    "timeout_seconds_override",
    "steps_override",
}

STEP_KEYS = {
    "id",
    "run_id",
    "account_id",
    "index",
    "name",
    "status",
    "status_humanized",
    "status_color",
    "logs",
    "debug_logs",
    "truncated_debug_logs",
    "log_path",
    "debug_log_path",
    "started_at",
    "finished_at",
    "created_at",
    "updated_at",
    "duration",
    "duration_humanized",
    "run_step_command",
    "run_step_invocation",
}


def briefs_body(environment: Environment) -> dict[str, Any]:
    """The body of the brief's sample client: an id that is null, an account that is a text."""
    return {
        "id": None,
        "account_id": str(environment.account.pk),
        "project_id": environment.project_id,
        "environment_id": environment.pk,
        "name": "nightly",
        "dbt_version": None,
        "execute_steps": ["dbt build"],
        "settings": {"threads": 8, "target_name": "prod"},
        "schedule": {
            "cron": "0 2 * * *",
            "date": {"type": "every_day"},
            "time": {"type": "at_exact_time", "interval": 1, "hours": 2, "minutes": 0},
        },
        "triggers": {"github_webhook": False, "schedule": True},
    }


@pytest.fixture
def environment(account: Account) -> Environment:
    return EnvironmentFactory(project__account=account)


@pytest.fixture
def place(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}"


def test_the_briefs_body_makes_exactly_this_job(
    api: JSONClient, place: str, environment: Environment
) -> None:
    with time_machine.travel(datetime(2026, 1, 1, 21, tzinfo=UTC), tick=False):
        response = api.post(f"{place}/jobs/", briefs_body(environment))

    job = Job.objects.get()
    assert response.json() == {
        "status": {
            "code": 201,
            "is_success": True,
            "user_message": "Success!",
            "developer_message": "",
        },
        "data": {
            "id": job.pk,
            "account_id": job.account_id,
            "project_id": environment.project_id,
            "environment_id": environment.pk,
            **NIGHTLY,
        },
    }
    assert response.status_code == 201


def test_the_briefs_trigger_answers_200_with_a_queued_run_of_the_job(
    api: JSONClient, place: str, environment: Environment
) -> None:
    job = api.post(f"{place}/jobs/", briefs_body(environment)).json()["data"]

    response = api.post(f"{place}/jobs/{job['id']}/run/", {"cause": "API trigger"})

    run = response.json()["data"]
    assert (response.status_code, run["status"], run["trigger"]["cause"]) == (200, 1, "API trigger")
    assert run["job"]["id"] == job["id"]


def test_a_finished_run_is_told_exactly_like_this(
    api: JSONClient, place: str, environment: Environment, settings: Any
) -> None:
    settings.SITE_URL = "https://jobs.example.com"
    job = JobFactory(environment=environment)
    run = RunFactory(
        job=job,
        failed=True,
        status_message="Step 4 failed: Invoke dbt with `dbt build`",
        dbt_version="1.11.16",
        git_branch="main",
        git_sha="5c1d" * 10,
        created_at=datetime(2026, 1, 2, 2, 0, 0, 100000, tzinfo=UTC),
        dequeued_at=datetime(2026, 1, 2, 2, 0, 1, tzinfo=UTC),
        started_at=datetime(2026, 1, 2, 2, 0, 2, tzinfo=UTC),
        finished_at=datetime(2026, 1, 2, 2, 0, 31, tzinfo=UTC),
        last_heartbeat_at=datetime(2026, 1, 2, 2, 0, 30, tzinfo=UTC),
        artifacts_saved=True,
    )
    type(run).objects.update(updated_at=datetime(2026, 1, 2, 2, 0, 31, tzinfo=UTC))

    with time_machine.travel(datetime(2026, 1, 2, 2, 1, 1, tzinfo=UTC), tick=False):
        data = api.get(f"{place}/runs/{run.pk}/").json()["data"]

    assert data == {
        "id": run.pk,
        "trigger_id": run.trigger.pk,
        "account_id": run.account_id,
        "project_id": run.project_id,
        "environment_id": run.environment_id,
        "job_definition_id": job.pk,
        "job_id": job.pk,
        "status": 20,
        "status_humanized": "Error",
        "status_message": "Step 4 failed: Invoke dbt with `dbt build`",
        "is_complete": True,
        "is_success": False,
        "is_error": True,
        "is_cancelled": False,
        "in_progress": False,
        "is_running": False,
        "dbt_version": "1.11.16",
        "git_branch": "main",
        "git_sha": "5c1d" * 10,
        "href": f"https://jobs.example.com/deploy/{run.account_id}"
        f"/projects/{run.project_id}/runs/{run.pk}/",
        "created_at": "2026-01-02 02:00:00.100000+00:00",
        "updated_at": "2026-01-02 02:00:31.000000+00:00",
        "dequeued_at": "2026-01-02 02:00:01.000000+00:00",
        "started_at": "2026-01-02 02:00:02.000000+00:00",
        "finished_at": "2026-01-02 02:00:31.000000+00:00",
        "should_start_at": None,
        "last_checked_at": None,
        "last_heartbeat_at": "2026-01-02 02:00:30.000000+00:00",
        "duration": "00:00:30",
        "queued_duration": "00:00:01",
        "run_duration": "00:00:29",
        "duration_humanized": "30 seconds",
        "queued_duration_humanized": "1 second",
        "run_duration_humanized": "29 seconds",
        "created_at_humanized": "1 minute ago",
        "finished_at_humanized": "30 seconds ago",
        "blocked_by": [],
        "artifacts_saved": True,
        "artifact_s3_path": None,
        "has_docs_generated": False,
        "has_sources_generated": False,
        "notifications_sent": False,
        "owner_thread_id": None,
        "executed_by_thread_id": None,
        "deferring_run_id": None,
        "retrying_run_id": None,
        "can_retry": False,
        "retry_not_supported_reason": "RETRY_NO_RUN_RESULTS",
        "job": None,
        "environment": None,
        "repository": None,
        "audit": None,
        "deprecation": None,
        "used_repo_cache": None,
        "repo_cache_restore": None,
        "trigger": None,
        "run_steps": [],
    }


def test_a_trigger_shows_every_override_null_where_there_is_none(
    api: JSONClient, place: str, environment: Environment
) -> None:
    run = RunFactory(job__environment=environment)

    trigger = api.get(f"{place}/runs/{run.pk}/?include_related=trigger").json()["data"]["trigger"]

    assert set(trigger) == TRIGGER_KEYS
    assert {trigger[key] for key in TRIGGER_KEYS if key.endswith("_override")} == {None}


def test_a_step_has_every_key_that_clients_know(
    api: JSONClient, place: str, environment: Environment
) -> None:
    step = RunStepFactory(run__job__environment=environment)

    steps = api.get(f"{place}/runs/{step.run_id}/?include_related=run_steps").json()["data"]

    assert [set(one) for one in steps["run_steps"]] == [STEP_KEYS]


def test_a_run_has_no_key_at_its_top_that_a_typed_client_reads_otherwise(
    api: JSONClient, place: str, environment: Environment
) -> None:
    run = RunFactory(job__environment=environment)

    data = api.get(f"{place}/runs/{run.pk}/").json()["data"]

    assert not {"cause", "schema_override", "github_pull_request_id"} & set(data)
