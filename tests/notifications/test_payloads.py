"""What is posted to webhooks, key by key, and how a receiver knows who posts."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest

from jobsvc.notifications.models import WebhookSubscription
from jobsvc.notifications.payloads import (
    WebhookEvent,
    events_of,
    new_event_id,
    of_job,
    of_nothing,
    of_run,
    signatures,
)
from jobsvc.runs.models import Run, RunTransition
from jobsvc.statuses import CancelReason, RunStatus
from tests.factories import JobFactory, RunFactory, WebhookFactory

pytestmark = pytest.mark.django_db

BEGAN = datetime(2026, 1, 31, 19, 28, 7, 900, tzinfo=UTC)
ENDED = datetime(2026, 1, 31, 19, 29, 32, tzinfo=UTC)
TOLD = datetime(2026, 1, 31, 19, 29, 35, 789265, tzinfo=UTC)
# printf '{"eventId":"wev_1"}' | openssl dgst -sha256 -hmac s3cret
VECTOR = "728992e178da86d8c54f68d42e857f0284ae36031a5f84171b24d0acc147944e"
# printf '1767225600.{"eventId":"wev_1"}' | openssl dgst -sha256 -hmac s3cret
VECTOR_WITH_TIME = "25dfb725a06bee89f7a80a71dbe52db52bc132f21e2607dddf0accce842f6988"


def move(run: Run, status: RunStatus, message: str = "") -> RunTransition:
    return RunTransition.objects.create(run=run, to_status=status, message=message, created_at=TOLD)


def ended_run(**fields: Any) -> Run:
    times = {"started_at": BEGAN, "finished_at": ENDED, "dbt_version": "1.11.2"}
    return RunFactory(**{"succeeded": True} | times | fields)


def webhook_of(run: Run, version: int = 1) -> WebhookSubscription:
    return WebhookFactory(account=run.account, schema_version=version)


def test_a_completed_run_is_told_in_dbt_clouds_words() -> None:
    run = ended_run()
    webhook = webhook_of(run)

    told = of_run(webhook, WebhookEvent.COMPLETED, "wev_1", move(run, RunStatus.SUCCESS))

    assert told == {
        "accountId": run.account_id,
        "webhookId": webhook.pk,
        "eventId": "wev_1",
        "timestamp": "2026-01-31T19:29:35.789265000Z",
        "eventType": "job.run.completed",
        "webhookName": "Pager",
        "data": {
            "jobId": str(run.job_id),
            "jobName": run.job.name,
            "runId": str(run.pk),
            "environmentId": str(run.environment_id),
            "environmentName": run.environment.name,
            "dbtVersion": "1.11.2",
            "projectName": run.project.name,
            "projectId": str(run.project_id),
            "runStatus": "Success",
            "runStatusCode": 10,
            "runStatusMessage": "None",
            "runReason": "Triggered via API",
            "runStartedAt": "2026-01-31T19:28:07Z",
            "runFinishedAt": "2026-01-31T19:29:32Z",
        },
    }


def test_a_started_run_is_told_as_running_however_late_it_is_written_down() -> None:
    run = ended_run()

    told = of_run(webhook_of(run), WebhookEvent.STARTED, "wev_1", move(run, RunStatus.RUNNING))

    data = told["data"]
    assert (data["runStatus"], data["runStatusCode"]) == ("Running", 3)
    assert "runFinishedAt" not in data


def test_an_errored_run_says_when_and_why() -> None:
    run = ended_run(succeeded=False, failed=True)
    end = move(run, RunStatus.ERROR, "Step 4 failed.")

    data = of_run(webhook_of(run), WebhookEvent.ERRORED, "wev_1", end)["data"]

    assert (data["runStatus"], data["runStatusCode"]) == ("Errored", 20)
    assert data["runStatusMessage"] == "Step 4 failed."
    assert data["runErroredAt"] == "2026-01-31T19:29:32Z"
    assert "runFinishedAt" not in data


def test_a_run_that_was_cancelled_in_the_queue_never_started() -> None:
    run = ended_run(succeeded=False, cancelled=True, started_at=None)

    told = of_run(webhook_of(run), WebhookEvent.COMPLETED, "wev_1", move(run, RunStatus.CANCELLED))

    data = told["data"]
    assert (data["runStatus"], data["runStatusCode"]) == ("Cancelled", 30)
    assert data["runStartedAt"] is None


def test_the_second_schema_says_more_and_takes_nothing_away() -> None:
    run = ended_run(
        succeeded=False,
        cancelled=True,
        cancel_reason=CancelReason.SUPERSEDED,
        git_sha="abc123",
        trigger__github_pull_request_id=7,
    )
    end = move(run, RunStatus.CANCELLED)
    first = of_run(webhook_of(run), WebhookEvent.COMPLETED, "wev_1", end)

    second = of_run(webhook_of(run, 2), WebhookEvent.COMPLETED, "wev_1", end)

    assert second["schemaVersion"] == 2
    assert (second["orderingKey"], second["sequence"]) == (f"run:{run.pk}", end.pk)
    assert first["data"].items() <= second["data"].items()
    more = second["data"]
    assert (more["cancelReason"], more["gitSha"], more["pullRequestId"]) == (
        "superseded",
        "abc123",
        7,
    )
    assert more["runUrl"].endswith(f"/projects/{run.project_id}/runs/{run.pk}/")


@pytest.mark.parametrize(
    ("status", "events"),
    [
        (RunStatus.QUEUED, ["job.run.queued"]),
        (RunStatus.STARTING, []),
        (RunStatus.RUNNING, ["job.run.started"]),
        (RunStatus.SUCCESS, ["job.run.completed"]),
        (RunStatus.ERROR, ["job.run.errored", "job.run.completed"]),
        (RunStatus.CANCELLED, ["job.run.completed", "job.run.cancelled"]),
    ],
)
def test_a_move_is_these_events(status: RunStatus, events: list[str]) -> None:
    assert events_of(move(RunFactory(), status)) == events


def test_a_success_with_warnings_is_a_warning_too() -> None:
    run = ended_run(has_warnings=True)

    assert events_of(move(run, RunStatus.SUCCESS)) == ["job.run.completed", "job.run.warned"]


def test_a_job_that_was_switched_off_is_told_with_the_reason() -> None:
    job = JobFactory(deactivated=True, deactivation_reason="The last 100 runs failed.")
    webhook = WebhookFactory(account=job.account, schema_version=2)

    told = of_job(webhook, WebhookEvent.DEACTIVATED, "wev_1", job, TOLD)

    assert told["eventType"] == "job.deactivated"
    assert told["orderingKey"] == f"job:{job.pk}"
    assert told["data"]["deactivationReason"] == "The last 100 runs failed."


def test_a_test_event_has_every_key_of_a_real_one() -> None:
    run = ended_run()
    webhook = webhook_of(run)
    real = of_run(webhook, WebhookEvent.COMPLETED, "wev_1", move(run, RunStatus.SUCCESS))

    test = of_nothing(webhook, "wev_2", TOLD)

    assert test.keys() == real.keys()
    assert test["data"].keys() == real["data"].keys()


def test_event_ids_have_dbts_form_and_differ() -> None:
    first, second = new_event_id(), new_event_id()

    assert first.startswith("wev_")
    assert first.removeprefix("wev_").isalnum()
    assert first != second


def test_the_signature_of_a_known_body_is_known() -> None:
    headers = signatures("s3cret", b'{"eventId":"wev_1"}', datetime(2026, 1, 1, tzinfo=UTC))

    assert headers["Authorization"] == VECTOR
    assert headers["X-Jobsvc-Signature"] == f"t=1767225600,v1={VECTOR_WITH_TIME}"


def test_a_receiver_recomputes_the_signature_over_the_raw_body() -> None:
    body = '{"name": "Ünïcode"}'.encode()

    sent = signatures("s3cret", body, TOLD)["Authorization"]

    assert sent == hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
