"""The top of each page of a run: how it stands, how long it takes, what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from statistics import median
from typing import Any

from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import page
from jobsvc.engine.results import FAILED
from jobsvc.runs.models import NodeResult, Run, RunStep
from jobsvc.runs.retry import SENTENCES, failed_step, goes_on_amid, refusal_of, with_retry_facts
from jobsvc.runs.steps import OWN_KINDS
from jobsvc.statuses import RunStatus, State

LIKE_IT = 20  # earlier runs that say what is usual
RETRIED = FAILED | {"skipped"}  # what `dbt retry` runs again, by dbt's own words

OVERRIDES = {
    "schema_override": "schema",
    "dbt_version_override": "dbt version",
    "threads_override": "threads",
    "target_name_override": "target name",
    "generate_docs_override": "documentation",
    "timeout_seconds_override": "time limit",
    "steps_override": "commands",
    "variables_override": "variables",
}


class Verb(StrEnum):
    """The one thing that a run's state suggests to do."""

    NONE = ""
    CANCEL = "cancel"
    RETRY = "retry"
    AGAIN = "again"


@dataclass(frozen=True)
class RetryPlan:
    """What a retry would do.

    Attributes:
        first: the step that it goes on with; None where the run begins anew.
        nodes: how many nodes of that step it repeats; None where it repeats the whole step.
        then: the steps after it.
    """

    own: Sequence[RunStep]
    first: RunStep | None
    nodes: int | None
    then: Sequence[RunStep]


def run_of(membership: Membership, project_id: int, run_id: int) -> Run:
    """The run of the address, with what its header shows; 404 without one."""
    runs = Run.objects.of_account(membership.account_id).select_related(
        "job", "project__repository", "environment", "trigger", "account"
    )
    return get_object_or_404(with_retry_facts(runs), pk=run_id, project=project_id)


def run_page(
    request: HttpRequest,
    membership: Membership,
    template: str,
    run: Run,
    context: dict[str, Any],
) -> HttpResponse:
    """A part of a run's page, or a fragment of one, with what the header above it needs."""
    return page(request, membership, template, header_of(run, membership) | context)


def header_of(run: Run, membership: Membership) -> dict[str, Any]:
    """What ``_run_head.html`` shows of ``run``, which ``run_of`` found."""
    live = not run.is_finished
    may_start = _may_start(run, membership)
    verb = Verb.CANCEL if live else Verb.NONE
    if may_start and not live:
        verb = Verb.RETRY if run.status == RunStatus.ERROR else Verb.AGAIN
    return {
        "run": run,
        "live": live,
        "verb": verb.value,
        "may_run": membership.may(Action.RUN, run),
        "may_start": may_start,
        "why_no_retry": why_no_retry(run),
        "usual": usual_length(run),
        "overrides": [words for name, words in OVERRIDES.items() if _is_given(run, name)],
    }


def _may_start(run: Run, membership: Membership) -> bool:
    return run.job.state == State.ACTIVE and membership.may(Action.RUN, run.job)


def may_retry(run: Run, membership: Membership) -> bool:
    """Whether the visitor is to be offered a retry of ``run``."""
    return _may_start(run, membership) and not why_no_retry(run)


def _is_given(run: Run, name: str) -> bool:
    value = getattr(run.trigger, name)
    return value is not None and value != {}


def why_no_retry(run: Run) -> str:
    """A sentence for people on why ``run`` cannot be retried; empty where it can."""
    if run.status != RunStatus.ERROR:
        return "Only a run that ended in an error can be retried."
    refusal = refusal_of(run)
    if refusal is None:
        return ""
    # What follows in the API's sentence is for who speaks to the API.
    return f"{SENTENCES[refusal].partition('. ')[0]}. Run the job from its start instead."


def usual_length(run: Run) -> timedelta | None:
    """How long the job's last successful runs before ``run`` worked: their median."""
    before = (
        Run.objects.filter(
            job=run.job_id,
            status=RunStatus.SUCCESS,
            pk__lt=run.pk,
            dequeued_at__isnull=False,
            finished_at__isnull=False,
        )
        .order_by("-pk")
        .values_list("dequeued_at", "finished_at")[:LIKE_IT]
    )
    lengths = [(ended - begun).total_seconds() for begun, ended in before if begun and ended]
    return timedelta(seconds=median(lengths)) if lengths else None


def retry_plan(run: Run, again: Mapping[int, int] | None = None) -> RetryPlan:
    """What a retry of ``run`` would do.

    Args:
        again: how many nodes it would repeat, by the id of their step, where that is known.
    """
    prefetch_related_objects([run], "steps")
    steps = list(run.steps.all())
    own = [step for step in steps if step.kind in OWN_KINDS]
    failed = failed_step(run)
    if failed is None or failed.kind in OWN_KINDS:
        after = [step for step in steps if step.kind not in OWN_KINDS]
        return RetryPlan(own, first=None, nodes=None, then=after)
    nodes = None
    if goes_on_amid(failed) and again is not None:
        nodes = again.get(failed.pk, 0)
    elif goes_on_amid(failed):
        nodes = NodeResult.objects.filter(step=failed, status__in=RETRIED).count()
    after = [step for step in steps if step.index > failed.index]
    return RetryPlan(own, failed, nodes, after)
