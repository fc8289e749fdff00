"""Runs that end, and who asked to be told of it."""

from __future__ import annotations

import json
from typing import Any

from django.utils.timezone import now

from accounts.models import Account
from jobsvc.engine.plan import StepKind
from jobsvc.jobs.models import Job
from jobsvc.notifications import tell
from jobsvc.notifications.deliver import send_delivery
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Event,
    Notification,
    NotificationType,
    Scope,
)
from jobsvc.runs.models import Run, RunTransition
from jobsvc.statuses import RunStatus
from tests.factories import ArtifactFactory, RunFactory, RunStepFactory

ADDRESS = "team@example.org"
WORDS = 'column "amount_usd" does not exist'
FAILED_NODE = {
    "unique_id": "model.shop.fct_payments",
    "status": "error",
    "message": "Database Error in model fct_payments (models/fct_payments.sql)\n"
    f"  {WORDS}\n  LINE 12: sum(amount_usd)\n",
}


def asked(job: Job, *events: Event, address: str = ADDRESS, **rule: Any) -> Notification:
    """An outside address that is to be told of ``events`` of ``job``, or as ``rule`` has it."""
    about = {"scope": Scope.JOB, "scope_id": job.pk} | rule
    return _with_rules(
        Notification.objects.create(
            account=job.account, type=NotificationType.EXTERNAL, external_email=address
        ),
        events,
        about,
    )


def member_asked(user: Any, job: Job, *events: Event) -> Notification:
    notification = Notification.objects.create(account=job.account, user=user)
    return _with_rules(notification, events, {"scope": Scope.JOB, "scope_id": job.pk})


def _with_rules(
    notification: Notification, events: tuple[Event, ...], about: dict[str, Any]
) -> Notification:
    for event in events:
        notification.rules.create(event=event, **about)
    return notification


def ended(job: Job, how: str = "failed", **fields: Any) -> Run:
    """A run of ``job`` that has just ended so: a trait of ``RunFactory``."""
    run = RunFactory(job=job, **{how: True}, **fields)
    RunTransition.objects.create(
        run=run, from_status=RunStatus.RUNNING, to_status=RunStatus(run.status)
    )
    return run


def failed_with_results(job: Job, *nodes: dict[str, str], **fields: Any) -> Run:
    """A failed run whose build left results: of one failed model, unless ``nodes`` are given."""
    run = ended(job, git_sha="0123456789abcdef", git_branch="main", **fields)
    step = RunStepFactory(
        run=run,
        kind=StepKind.COMMAND,
        status=RunStatus.ERROR,
        builds=True,
        exit_code=1,
        started_at=now(),
        finished_at=now(),
    )
    results = {"results": list(nodes or (FAILED_NODE,))}
    ArtifactFactory(step=step, path="run_results.json", content=json.dumps(results).encode())
    return run


def told_of(run: Run) -> list[Delivery]:
    """What was written down of the run's last move."""
    transition = run.transitions.latest("pk")
    return tell.tell_of_run(transition.pk)


def sent_of(run: Run) -> list[Delivery]:
    """The same, and sent."""
    deliveries = told_of(run)
    send_waiting(run.account)
    return deliveries


def send_waiting(account: Account) -> None:
    waiting = Delivery.objects.filter(account=account, status=DeliveryStatus.WAITING)
    for delivery in waiting.order_by("pk"):
        send_delivery(delivery.pk)
