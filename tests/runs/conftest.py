"""Runs as they are in life: queued by the door, claimed by a worker, told of by its recorder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.runs.record import RunRecorder
from jobsvc.runs.steps import steps_of, write_steps
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory
from tests.factories import JobFactory

BY_API = Trigger(cause="test", cause_category=CauseCategory.API)


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No test here needs a broker, unless it says so."""


@pytest.fixture
def queued(db: None) -> Callable[..., Run]:
    """``queued()`` is a queued run of a new job, ``queued(job)`` one of ``job``."""

    def make(job: Job | None = None) -> Run:
        return trigger_run(job or JobFactory(), BY_API)

    return make


@pytest.fixture
def claimed(queued: Callable[..., Run]) -> Callable[..., Run]:
    """A run as the worker holds it that has just claimed it."""

    def make(job: Job | None = None) -> Run:
        run = Run.objects.claim(queued(job).pk, worker="w1")
        assert run is not None
        return run

    return make


@pytest.fixture
def recorder(claimed: Callable[..., Run]) -> RunRecorder:
    """The recorder of a claimed run whose steps are written down: 1 to 3, and 4 for dbt build."""
    run = claimed()
    write_steps(run, steps_of(run, "Warehouse"))
    return RunRecorder(run)


def let_lapse(run: Run) -> None:
    """Let the run's lease be over, as if its worker had not been heard of for a while."""
    Run.objects.filter(pk=run.pk).update(lease_until=now() - timedelta(seconds=1))
