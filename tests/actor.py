"""One process of an installation under test: ``python -m tests.actor ACTION ARGUMENTS``.

Prints its answer as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import django

django.setup()

from accounts.models import Account  # noqa: E402 - Django must be set up first
from environments.models import Environment, Project  # noqa: E402 - as above
from jobsvc.jobs.define import define_job  # noqa: E402 - as above
from jobsvc.jobs.models import Job  # noqa: E402 - as above
from jobsvc.runs.models import ImpossibleMove, LostRace, Run  # noqa: E402 - as above
from jobsvc.runs.schedule import start_due_runs  # noqa: E402 - as above
from jobsvc.runs.trigger import Trigger, trigger_run  # noqa: E402 - as above
from jobsvc.runs.watch import watch  # noqa: E402 - as above
from jobsvc.statuses import CauseCategory, RunStatus  # noqa: E402 - as above

NOW = Trigger(cause="test", cause_category=CauseCategory.API)


def wait_for_start(moment: str) -> None:
    """Let all processes of a race begin at once."""
    time.sleep(max(0.0, float(moment) - time.time()))


def make_jobs(number: str, slots: str) -> list[int]:
    account = Account.objects.create(name="race", run_slots=int(slots))
    project = Project.objects.create(account=account, name="race")
    environment = Environment.objects.create(project=project, name="prod")
    return [
        define_job(
            Job(
                account=account,
                project=project,
                environment=environment,
                name=f"job {number}",
                execute_steps=["dbt build"],
            ),
            completion=None,
        ).pk
        for number in range(int(number))
    ]


def trigger(job_id: str, number: str = "1") -> list[int]:
    job = Job.objects.get(pk=job_id)
    return [trigger_run(job, NOW).pk for _ in range(int(number))]


def claim(run_id: str, moment: str) -> bool:
    wait_for_start(moment)
    return Run.objects.claim(int(run_id), worker=str(os.getpid())) is not None


def claim_each(run_ids: str, moment: str) -> list[int]:
    wait_for_start(moment)
    ids = [int(run_id) for run_id in run_ids.split(",")]
    return [run_id for run_id in ids if Run.objects.claim(run_id, worker=str(os.getpid()))]


def finish(run_id: str, moment: str) -> bool:
    run = Run.objects.get(pk=run_id)
    wait_for_start(moment)
    try:
        run.move_to(RunStatus.ERROR, message=f"ended by {os.getpid()}")
    except (ImpossibleMove, LostRace):
        return False
    return True


def make_due(job_id: str) -> None:
    Job.objects.filter(pk=job_id).update(
        triggers_schedule=True, cron="0 0 1 1 *", next_run_at=django.utils.timezone.now()
    )


def tick(moment: str) -> int:
    wait_for_start(moment)
    return len(start_due_runs(django.utils.timezone.now()))


def reap(moment: str) -> int:
    wait_for_start(moment)
    return len(watch())


def expire_leases() -> int:
    return Run.objects.active().update(lease_until=django.utils.timezone.now())


def statuses() -> dict[str, int]:
    return {str(run.pk): run.status for run in Run.objects.all()}


def transitions(run_id: str) -> list[int]:
    run = Run.objects.get(pk=run_id)
    return list(run.transitions.order_by("pk").values_list("to_status", flat=True))


ACTIONS: dict[str, Callable[..., Any]] = {
    action.__name__: action
    for action in (
        make_jobs,
        trigger,
        claim,
        claim_each,
        finish,
        make_due,
        tick,
        reap,
        expire_leases,
        statuses,
        transitions,
    )
}

if __name__ == "__main__":
    print(json.dumps(ACTIONS[sys.argv[1]](*sys.argv[2:])))  # noqa: T201 - its answer
