"""What is posted to a webhook: the events, their bodies, and how these are signed.

Source: docs.getdbt.com, "Webhooks for your jobs", for schema version 1: its keys, ids as texts,
status words that differ from the API's, and "None" as a text. Version 2 adds keys and events of
our own and takes none away.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from typing import Any

from django.db.models import TextChoices

from jobsvc.jobs.models import Job
from jobsvc.notifications.models import WebhookSubscription
from jobsvc.runs.models import Run, RunTransition
from jobsvc.runs.pages import page_of_job, page_of_run
from jobsvc.statuses import RunStatus


class WebhookEvent(TextChoices):
    """What can be listened for. The first three are dbt Cloud's."""

    STARTED = "job.run.started"
    COMPLETED = "job.run.completed"
    ERRORED = "job.run.errored"
    WARNED = "job.run.warned"
    CANCELLED = "job.run.cancelled"
    QUEUED = "job.run.queued"
    DEACTIVATED = "job.deactivated"
    MISSED = "job.missed"


TEST = "webhook.test"  # nobody listens for it: it is sent when somebody asks for it
DBTS = frozenset({WebhookEvent.STARTED, WebhookEvent.COMPLETED, WebhookEvent.ERRORED})
EVENTS: dict[int, frozenset[WebhookEvent]] = {1: DBTS, 2: frozenset(WebhookEvent)}

# What a move to a status is, in the order it is posted.
EVENTS_OF_MOVES = {
    RunStatus.QUEUED: [WebhookEvent.QUEUED],
    RunStatus.RUNNING: [WebhookEvent.STARTED],
    RunStatus.SUCCESS: [WebhookEvent.COMPLETED],
    RunStatus.ERROR: [WebhookEvent.ERRORED, WebhookEvent.COMPLETED],
    RunStatus.CANCELLED: [WebhookEvent.COMPLETED, WebhookEvent.CANCELLED],
}

STATUS_WORDS = {
    RunStatus.QUEUED: "Queued",
    RunStatus.STARTING: "Starting",
    RunStatus.RUNNING: "Running",
    RunStatus.SUCCESS: "Success",
    RunStatus.ERROR: "Errored",  # the API says Error
    RunStatus.CANCELLED: "Cancelled",
}


def new_event_id() -> str:
    """dbt's form: ``wev_`` and letters and digits."""
    return f"wev_{secrets.token_hex(14)}"


def events_of(transition: RunTransition) -> list[WebhookEvent]:
    """What a run's move is to those who listen; nothing for a move to Starting.

    A failure is two events, as in dbt Cloud: who listens for both is posted to twice.
    """
    status = RunStatus(transition.to_status)
    if status == RunStatus.SUCCESS and transition.run.has_warnings:
        return [WebhookEvent.COMPLETED, WebhookEvent.WARNED]
    return EVENTS_OF_MOVES.get(status, [])


def of_run(
    subscription: WebhookSubscription,
    event: WebhookEvent,
    event_id: str,
    transition: RunTransition,
) -> dict[str, Any]:
    """What a run's move is told as: where the move left the run, however late this is written."""
    run = transition.run
    status = RunStatus(transition.to_status)
    data = _place(run.job) | {
        "runId": str(run.pk),
        "dbtVersion": run.dbt_version or "",
        "runStatus": STATUS_WORDS[status],
        "runStatusCode": int(status),
        "runStatusMessage": transition.message or "None",
        "runReason": run.trigger.cause,
        "runStartedAt": _seconds(run.started_at),
    }
    if event == WebhookEvent.ERRORED:
        data["runErroredAt"] = _seconds(run.finished_at)
    elif run.finished_at and event not in {WebhookEvent.STARTED, WebhookEvent.QUEUED}:
        data["runFinishedAt"] = _seconds(run.finished_at)
    told = _told(subscription, event, event_id, transition.created_at, data)
    if subscription.schema_version == 1:
        return told
    data |= _more_of(run)
    return told | {"orderingKey": f"run:{run.pk}", "sequence": transition.pk}


def of_job(
    subscription: WebhookSubscription,
    event: WebhookEvent,
    event_id: str,
    job: Job,
    moment: datetime,
) -> dict[str, Any]:
    """What happened to a job outside its runs."""
    data = _place(job) | {
        "deactivated": job.deactivated,
        "deactivationReason": job.deactivation_reason,
        "missedAt": _seconds(job.missed_at),
        "nextRunAt": _seconds(job.starts_next_at),
        "jobUrl": page_of_job(job),
    }
    told = _told(subscription, event, event_id, moment, data)
    return told | {"orderingKey": f"job:{job.pk}"}


def of_nothing(
    subscription: WebhookSubscription, event_id: str, moment: datetime
) -> dict[str, Any]:
    """A test: every key of a run's event, and no run behind it."""
    data = {
        "jobId": "0",
        "jobName": "Test of a webhook",
        "environmentId": "0",
        "environmentName": "Test",
        "projectId": "0",
        "projectName": "Test",
        "runId": "0",
        "dbtVersion": "",
        "runStatus": STATUS_WORDS[RunStatus.SUCCESS],
        "runStatusCode": int(RunStatus.SUCCESS),
        "runStatusMessage": "None",
        "runReason": "Somebody asked for a test event",
        "runStartedAt": _seconds(moment),
        "runFinishedAt": _seconds(moment),
    }
    return _told(subscription, TEST, event_id, moment, data)


def signatures(secret: str, body: bytes, moment: datetime) -> dict[str, str]:
    """The headers that prove who posts ``body``.

    ``Authorization`` is dbt Cloud's: the hex HMAC-SHA256 of the raw body, without a scheme. The
    other covers the time of this try, too, so that a receiver may refuse what was recorded and
    is played again.
    """
    seconds = int(moment.timestamp())
    timed = _hmac(secret, f"{seconds}.".encode() + body)
    return {
        "Authorization": _hmac(secret, body),
        "X-Jobsvc-Signature": f"t={seconds},v1={timed}",
    }


def _hmac(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _told(
    subscription: WebhookSubscription,
    event: str,
    event_id: str,
    moment: datetime,
    data: dict[str, Any],
) -> dict[str, Any]:
    told = {
        "accountId": subscription.account_id,
        "webhookId": subscription.pk,
        "eventId": event_id,
        "timestamp": f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z",  # in nanoseconds
        "eventType": str(event),
        "webhookName": subscription.name,
        "data": data,
    }
    if subscription.schema_version > 1:
        told["schemaVersion"] = subscription.schema_version
    return told


def _place(job: Job) -> dict[str, Any]:
    return {
        "jobId": str(job.pk),
        "jobName": job.name,
        "environmentId": str(job.environment_id),
        "environmentName": job.environment.name,
        "projectId": str(job.project_id),
        "projectName": job.project.name,
    }


def _more_of(run: Run) -> dict[str, Any]:
    return {
        "runUrl": page_of_run(run),
        "runQueuedAt": _seconds(run.created_at),
        "cancelReason": run.cancel_reason or None,
        "failureClass": run.failure_class or None,
        "outcome": run.outcome or None,
        "hasWarnings": run.has_warnings,
        "gitBranch": run.git_branch or run.trigger.git_branch,
        "gitSha": run.git_sha or run.trigger.git_sha,
        "pullRequestId": run.trigger.pull_request_id,
        "attempt": run.attempt_number,
        "willRetryAt": _seconds(run.will_retry_at),
    }


def _seconds(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else None
