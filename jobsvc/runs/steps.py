"""The steps of a run, in the order and with the names that dbt Cloud's clients read."""

from __future__ import annotations

from django.db.models.functions import Now

from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.plan import OnFailure, StepKind, StepPlan
from jobsvc.jobs import extensions
from jobsvc.jobs.extensions import FreshnessPolicy, Step
from jobsvc.runs.models import Run, RunStep
from jobsvc.statuses import UNFINISHED, RunStatus

FRESHNESS = "dbt source freshness"
LINT = "Lint the changed files with SQLFluff"
COMPARE = "Compare changes"
DOCS = "dbt docs generate"

# The service's own steps: every run begins with them, a retry, too.
OWN_KINDS = (StepKind.CLONE, StepKind.PROFILE, StepKind.DEPS)

# dbt Cloud's switch never fails a run; the other two are asked for.
FRESHNESS_POLICIES = {
    FreshnessPolicy.CONTINUE: OnFailure.WARN,
    FreshnessPolicy.SKIP_RUN: OnFailure.SKIP_RUN,
    FreshnessPolicy.FAIL: OnFailure.STOP,
}


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
    asked = extensions.read(configuration.get("extensions", {}))
    own = Step(retry=asked.retry)  # what is said of the steps that the service itself adds
    ticks = FRESHNESS_POLICIES[asked.freshness.on_error]
    named: list[tuple[str, StepKind, str, OnFailure, Step]] = [
        ("Clone git repository", StepKind.CLONE, "", OnFailure.STOP, own),
        (profile, StepKind.PROFILE, "", OnFailure.STOP, own),
        (_invoke("dbt deps"), StepKind.DEPS, "dbt deps", OnFailure.STOP, own),
    ]
    if configuration["run_generate_sources"]:
        named.append((_invoke(FRESHNESS), StepKind.FRESHNESS, FRESHNESS, ticks, own))
    if configuration.get("run_lint"):
        stops = configuration["errors_on_lint_failure"]
        policy = OnFailure.STOP if stops else OnFailure.WARN
        named.append((LINT, StepKind.LINT, "", policy, own))
    for place, command in enumerate(configuration["execute_steps"]):
        said = asked.step(place)
        policy = OnFailure(said.on_failure)
        named.append((_invoke(command), StepKind.COMMAND, command, policy, said))
    if configuration.get("run_compare_changes"):
        named.append((COMPARE, StepKind.COMPARE, "", OnFailure.WARN, own))
    if configuration["generate_docs"]:
        named.append((_invoke(DOCS), StepKind.DOCS, DOCS, OnFailure.WARN, own))
    # Of a retry: what had gone well before the step that failed.
    left_out = range(len(OWN_KINDS), len(OWN_KINDS) + configuration.get("left_out", 0))
    named = [step for place, step in enumerate(named) if place not in left_out]
    return [
        StepPlan(
            index=index,
            name=name,
            kind=kind,
            command=command,
            label=said.name,
            on_failure=policy,
            timeout_seconds=said.timeout_seconds,
            retry=said.retry or asked.retry,
        )
        for index, (name, kind, command, policy, said) in enumerate(named, start=1)
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
            on_failure=step.on_failure,
            label=step.label,
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
