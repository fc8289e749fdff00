"""dbt versions that somebody asks for on a page: a worker installs or removes them.

It happens on the machine of whichever worker for runs takes it. Where several machines do not
share ``TOOLCHAINS_DIR``, each installs what a run needs by itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.toolchain_build import BUILD_SECONDS
from jobsvc.runs import queue, toolchains
from jobsvc.runs.models import ToolchainChange, ToolchainWork, WorkState

logger = logging.getLogger(__name__)

ADAPTER = re.compile(r"[a-z][a-z0-9_]{0,39}")
LONGEST = timedelta(seconds=3 * BUILD_SECONDS)  # beyond this its worker is gone
LOST = "The worker that did this was lost. Ask for it again."


def ask_for(version: str, adapters: Sequence[str], *, by: str) -> ToolchainChange:
    """Let a worker install dbt ``version``.

    Raises:
        ValidationError: it is no version, an adapter's name is none, or it is being done already.
    """
    for name in adapters:
        if not ADAPTER.fullmatch(name):
            raise ValidationError({"adapters": f"{name!r} is no adapter. Write one like duckdb."})
    try:
        _wanted, adapters = toolchains.check_install(version, adapters)
    except ValueError as refused:
        raise ValidationError({"version": str(refused)}) from refused
    change = ToolchainChange(
        work=ToolchainWork.INSTALL, asked=version, adapters=list(adapters), asked_by=by
    )
    return _ask(change, "dbt_version.added")


def ask_to_remove(name: str, *, by: str) -> ToolchainChange:
    """Let a worker remove the environment in the folder ``name``.

    Raises:
        ValidationError: there is none, or it is being done already.
    """
    if name not in toolchains.installed():
        raise ValidationError(f"There is no dbt in a folder {name!r} any more.")
    change = ToolchainChange(work=ToolchainWork.REMOVE, asked=name, asked_by=by)
    return _ask(change, "dbt_version.removed")


def carry_out(change_id: int) -> None:
    """Do it, if nobody does and nobody has."""
    mine = ToolchainChange.objects.filter(pk=change_id, state=WorkState.WAITING)
    if not mine.update(state=WorkState.RUNNING, started_at=Now()):
        return
    change = ToolchainChange.objects.get(pk=change_id)
    state = WorkState.DONE
    try:
        if change.work == ToolchainWork.INSTALL:
            said = f"It is in {toolchains.install(change.asked, change.adapters)}."
        else:
            said = f"Removed {toolchains.remove(change.asked)}."
    except (ValueError, RunFailure) as failure:
        state, said = WorkState.FAILED, str(failure)
    except Exception as error:
        logger.exception("%s failed", change)
        state, said = WorkState.FAILED, f"This service could not: {error}"
    _end(change_id, state, said)


def sweep() -> None:
    """Ring again for what waits, and end what a lost worker left."""
    for change_id in ToolchainChange.objects.filter(
        state=WorkState.WAITING, created_at__lte=Now() - timedelta(seconds=60)
    ).values_list("pk", flat=True):
        queue.change_toolchain(change_id)
    for change_id in ToolchainChange.objects.filter(
        state=WorkState.RUNNING, started_at__lte=Now() - LONGEST
    ).values_list("pk", flat=True):
        _end(change_id, WorkState.FAILED, LOST)


def _ask(change: ToolchainChange, action: str) -> ToolchainChange:
    change.full_clean()
    with transaction.atomic():
        change.save()
        audit.record(action, change, account_id=None)
        queue.change_toolchain(change.pk)
    return change


def _end(change_id: int, state: WorkState, said: str) -> None:
    going_on = ToolchainChange.objects.filter(pk=change_id, state=WorkState.RUNNING)
    going_on.update(state=state, said=audit.without_nul(said), finished_at=Now())
