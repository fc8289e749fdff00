"""Celery's way in. A task takes an id, asks the database what is true, and delegates."""

from __future__ import annotations

import os
import socket
from typing import Any

from celery import Task, shared_task
from celery.signals import worker_ready, worker_shutdown
from django.utils.timezone import now

from accounts import audit
from jobsvc.runs import (
    chain,
    deactivate,
    dispatch,
    react,
    retry,
    schedule,
    toolchain_changes,
    workers,
)
from jobsvc.runs import prune as pruning
from jobsvc.runs import watch as watchdog
from jobsvc.runs.execute import execute
from jobsvc.runs.models import Run, RunQuerySet, RunTransition
from jobsvc.statuses import FINISHED

_heartbeats: list[workers.Heartbeat] = []  # of this process: one, or none if it is no worker


@worker_ready.connect
def announce_worker(sender: Any, **_: Any) -> None:
    """Celery's consumer listens: from now on it says that it is up."""
    heartbeat = workers.Heartbeat(sender)
    _heartbeats.append(heartbeat)
    heartbeat.begin()


@worker_shutdown.connect
def say_goodbye(**_: Any) -> None:
    """The worker ends in good order."""
    while _heartbeats:
        _heartbeats.pop().end()


@shared_task(bind=True)
def execute_run(self: Task[..., None], run_id: int) -> None:
    """Run it if it is still ours to run. Safe to deliver twice, late, or never."""
    node = self.request.hostname or socket.gethostname()
    if run := dispatch.answer_bell(run_id, worker=f"{node}:{os.getpid()}"):
        execute(run)


@shared_task
def change_toolchain(change_id: int) -> None:
    """Somebody asked for a dbt version to be installed or removed."""
    toolchain_changes.carry_out(change_id)


@shared_task
def react_to_transitions() -> None:
    """Hand on every transition that nobody has reacted to."""
    react.react_to_transitions()


@shared_task
def dispatch_queued_runs(transition_id: int) -> None:
    """A run moved: if it ended, its slot and its key are free for others."""
    if RunTransition.objects.filter(pk=transition_id, to_status__in=FINISHED).exists():
        dispatch.dispatch_queued_runs()


@shared_task
def start_downstream_runs(transition_id: int) -> None:
    """A run ended: start the jobs that wait for that."""
    for run in _ended_by(transition_id):
        chain.start_downstream_runs(run)


@shared_task
def deactivate_failing_job(transition_id: int) -> None:
    """A run ended: its job may have failed too often."""
    for run in _ended_by(transition_id):
        deactivate.deactivate_failing_job(run)


@shared_task
def start_due_runs() -> None:
    """The clock's tick."""
    schedule.start_due_runs(now())


@shared_task
def sweep() -> None:
    """Ring again for whatever a lost message left waiting."""
    dispatch.dispatch_queued_runs()
    react.react_to_transitions()
    chain.tell_the_untold()
    retry.start_due_retries(now())
    toolchain_changes.sweep()


@shared_task
def watch() -> None:
    """See to whatever has been in between for too long."""
    watchdog.watch()
    workers.forget_the_gone()


@shared_task
def prune() -> None:
    """Remove what has been kept long enough."""
    pruning.prune(now())
    audit.prune(now())


def _ended_by(transition_id: int) -> RunQuerySet:
    """The run that this move ended, if it was its last."""
    return Run.objects.filter(transitions=transition_id, transitions__to_status__in=FINISHED)
