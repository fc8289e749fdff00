"""Bring a claimed run to its end, whatever happens on the way."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils.timezone import now

from jobsvc.engine.errors import CommandRejected, NoSpaceLeft, RunFailure
from jobsvc.engine.ports import SKIPPED, WORKER_LOST, Ending, LeaseLost, Outcome
from jobsvc.engine.supervise import supervise
from jobsvc.engine.toolchain_build import Stopped
from jobsvc.runs import toolchains
from jobsvc.runs.cancel import in_words
from jobsvc.runs.defer import Skip, state_for
from jobsvc.runs.models import LostRace, Run
from jobsvc.runs.plan import connection_of, plan_run
from jobsvc.runs.record import RunRecorder, persist
from jobsvc.runs.retry import after_loss, results_for, resumed
from jobsvc.runs.steps import close_steps, steps_of, write_steps
from jobsvc.statuses import CancelReason, RunStatus

logger = logging.getLogger(__name__)

FINAL = {
    Ending.SUCCESS: RunStatus.SUCCESS,
    Ending.ERROR: RunStatus.ERROR,
    Ending.STOPPED: RunStatus.CANCELLED,
    Ending.TIMED_OUT: RunStatus.CANCELLED,  # dbt Cloud cancels a run that takes too long
}


class NoUserIdFree(RunFailure):
    template = "Every user id of JOBSVC_RUN_UIDS is taken by another run of this worker."
    remedy = "Retry the run, or ask your administrator to widen the range."


class WorkerStopped(RunFailure):
    template = "The worker that ran this was shut down."
    remedy = "Retry the run."


def execute(run: Run) -> None:
    """Carry out a run that this worker has claimed, and write down how it ended."""
    try:
        outcome = _carry_out(run)
    except LeaseLost as lost:
        logger.warning("%s; it is left to the watchdog", lost)
        return
    except (RunFailure, CommandRejected) as failure:
        outcome = Outcome(ending=Ending.ERROR, message=str(failure))
    except Exception as error:
        logger.exception("run %s stopped on a bug, or on this machine", run.pk)
        is_full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
        sentence = str(NoSpaceLeft() if is_full else RunFailure())
        outcome = Outcome(ending=Ending.ERROR, message=sentence)
    try:
        persist(run, lambda: finish(run, outcome), since=time.monotonic())
    except (LostRace, LeaseLost) as lost:
        logger.warning("%s; it is left as it is", lost)


def finish(run: Run, outcome: Outcome) -> None:
    """Move ``run`` to the final status that ``outcome`` stands for.

    Raises:
        LostRace: somebody else ended it.
    """
    run.refresh_from_db(
        fields=["status", "cancel_requested_at", "cancel_requested_by", "cancel_reason"]
    )
    if run.is_finished:
        raise LostRace(f"run {run.pk} has already been ended")
    if outcome.ending == Ending.STOPPED and run.cancel_requested_at is None:
        outcome = Outcome(ending=Ending.ERROR, message=str(WorkerStopped()), detail=WORKER_LOST)
    message, reason = outcome.message, run.cancel_reason
    said: dict[str, Any] = {
        "has_warnings": outcome.has_warnings,
        "outcome": outcome.detail,
        "failure_class": outcome.failure_class or "",
    }
    if outcome.detail == WORKER_LOST:
        message, columns = after_loss(run, message, now())
        said |= columns
    if outcome.ending == Ending.STOPPED:
        message = in_words(run.cancel_requested_by, run.cancel_reason)
    if outcome.ending == Ending.TIMED_OUT:
        reason = CancelReason.TIMEOUT
    if outcome.ending in {Ending.SUCCESS, Ending.ERROR}:
        reason = ""
    with transaction.atomic():
        if outcome.ending == Ending.SUCCESS and run.status == RunStatus.STARTING:
            run.move_to(RunStatus.RUNNING, started_at=Now())  # it had nothing to do
        run.move_to(FINAL[outcome.ending], message=message, cancel_reason=reason, **said)
        close_steps(run)


def _carry_out(run: Run) -> Outcome:
    steps = steps_of(run, connection_of(run).name)
    write_steps(run, steps)
    recorder = RunRecorder(run)
    try:
        dbt = toolchains.ready(run, connection_of(run), should_stop=recorder.should_stop)
    except Stopped:
        return Outcome(ending=Ending.STOPPED)
    Run.objects.filter(pk=run.pk, token=run.token).update(dbt_version=dbt.version)
    with user_id() as uid:
        plan = plan_run(run, steps, toolchain=dbt, uid=uid)
        Path(settings.WORKSPACES_DIR).mkdir(parents=True, exist_ok=True, mode=0o711)
        try:
            with state_for(run, dbt.version) as state, results_for(run) as results:
                plan = replace(plan, state=state, steps=resumed(plan.steps, results))
                outcome = supervise(plan, recorder)
                recorder.flush()  # what a supervisor that was lost had still said
                return outcome
        except Skip as skip:
            return Outcome(ending=Ending.SUCCESS, message=str(skip), detail=SKIPPED)


@contextmanager
def user_id() -> Iterator[int | None]:
    """A user id that no other run on this machine has now; None where none are given out."""
    if not settings.RUN_UIDS or os.geteuid() != 0:
        yield None
        return
    first, last = (int(number) for number in settings.RUN_UIDS.split("-"))
    locks = Path(settings.WORKSPACES_DIR) / "uids"
    locks.mkdir(parents=True, exist_ok=True, mode=0o700)
    for uid in range(first, last + 1):
        lock = os.open(locks / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            yield uid
        finally:
            os.close(lock)
        return
    raise NoUserIdFree
