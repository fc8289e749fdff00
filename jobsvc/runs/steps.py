"""The steps of a run, in the order and with the names that dbt Cloud's clients read."""

from __future__ import annotations

from django.db.models.functions import Now

from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.plan import StepKind, StepPlan
from jobsvc.runs.models import Run, RunStep
from jobsvc.statuses import UNFINISHED, RunStatus

FRESHNESS = "dbt source freshness"
DOCS = "dbt docs generate"


def steps_of(run: Run, connection_name: str) -> list[StepPlan]:
    """What ``run`` will do, by its configuration.

    Clients count these steps, skip the first three, and read the command between the
    back-ticks: the names are part of the API.

    Source: docs.getdbt.com, "Job commands"; payloads recorded by several clients.
    """
    configuration = run.configuration
    profile = f"Create profile from connection {connection_name}"
    if schema := configuration.get("schema_override"):
        profile += f" (override schema to '{schema}')"
    named: list[tuple[str, StepKind, str, bool]] = [
        ("Clone git repository", StepKind.CLONE, "", True),
        (profile, StepKind.PROFILE, "", True),
        (_invoke("dbt deps"), StepKind.DEPS, "dbt deps", True),
    ]
    if configuration["run_generate_sources"]:
        named.append((_invoke(FRESHNESS), StepKind.FRESHNESS, FRESHNESS, False))
    named += [
        (_invoke(command), StepKind.COMMAND, command, True)
        for command in configuration["execute_steps"]
    ]
    if configuration["generate_docs"]:
        named.append((_invoke(DOCS), StepKind.DOCS, DOCS, False))
    return [
        StepPlan(index=index, name=name, kind=kind, command=command, blocking=blocking)
        for index, (name, kind, command, blocking) in enumerate(named, start=1)
    ]


def write_steps(run: Run, steps: list[StepPlan]) -> None:
    """Make the rows of ``steps``, so that what is still to come can be shown."""
    RunStep.objects.bulk_create(
        RunStep(
            run=run,
            index=step.index,
            name=step.name,
            kind=step.kind,
            command=step.command,
            blocking=step.blocking,
            builds=bool(step.command) and DbtCommand.parse(step.command, index=step.index).builds,
        )
        for step in steps
    )


def close_steps(run: Run) -> None:
    """Leave no step of a finished run open: what was cut off ended with it, the rest never ran."""
    left = RunStep.objects.filter(run=run, status__in=UNFINISHED)
    left.filter(started_at__isnull=False).update(
        status=run.status, finished_at=Now(), updated_at=Now()
    )
    left.filter(started_at=None).update(status=RunStatus.CANCELLED, skipped=True, updated_at=Now())


def _invoke(command: str) -> str:
    return f"Invoke dbt with `{command}`"
