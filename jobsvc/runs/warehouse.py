"""An environment's warehouse, asked outside of any run: with its dbt, its profile, its walls."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from environments.models import Connection, Environment
from jobsvc.engine.leftovers import remove_tree
from jobsvc.engine.toolchain_build import BUILD_SECONDS, Stopped
from jobsvc.engine.warehouse import BrokenOff, ask
from jobsvc.runs import toolchains
from jobsvc.runs.execute import user_id
from jobsvc.runs.plan import WAREHOUSE_SECONDS, plan_warehouse

PURPOSE = "warehouse"

# Beyond this nobody is asking any more: dbt was made, the question put, and all of it stopped.
LONGEST_SECONDS = BUILD_SECONDS + WAREHOUSE_SECONDS + 300


def ask_warehouse(
    environment: Environment,
    connection: Connection,
    script: str,
    request: Mapping[str, Any],
    *,
    schema: str,
    job_id: int,
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """The answer of ``script`` to ``request``; see ``jobsvc.engine.warehouse.ask``.

    Args:
        connection: need not be the environment's own any more.
        schema: the profile's.
        job_id: the job whose variables the profile may name.
        should_stop: called several times a second; keep it cheap.

    Raises:
        RunFailure: why there is no answer, in words.
    """
    _sweep()
    try:
        dbt = toolchains.ready_as(
            environment.effective_dbt_version, connection, should_stop=should_stop
        )
    except Stopped as stopped:
        raise BrokenOff(connection=connection.name) from stopped
    with user_id() as uid:
        plan = plan_warehouse(
            environment,
            connection,
            name=f"{PURPOSE}-{uuid.uuid4().hex}",
            schema=schema,
            job_id=job_id,
            toolchain=dbt,
            uid=uid,
        )
        return ask(plan, script, request, should_stop=should_stop)


def _sweep() -> None:
    """Remove what workers left that were killed while they asked."""
    for place in Path(settings.WORKSPACES_DIR).glob(f"{PURPOSE}-*"):
        if place.stat().st_mtime < time.time() - LONGEST_SECONDS:
            remove_tree(place)
