"""One process of an installation under test: ``python -m tests.actor``.

Does what each line of its input says, ``["claim", 7, 1699999999.5]``, and answers with a line of
JSON. It lives on between two requests, since starting one costs seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import django

django.setup()

from django.db import connection  # noqa: E402 - Django must be set up first

from accounts.models import Account  # noqa: E402 - as above
from environments.models import Environment, Project  # noqa: E402 - as above
from jobsvc.jobs.define import define_job  # noqa: E402 - as above
from jobsvc.jobs.models import Job  # noqa: E402 - as above
from jobsvc.runs import queue  # noqa: E402 - as above
from jobsvc.runs.cancel import cancel_run  # noqa: E402 - as above
from jobsvc.runs.models import ImpossibleMove, LostRace, Run  # noqa: E402 - as above
from jobsvc.runs.schedule import start_due_runs  # noqa: E402 - as above
from jobsvc.runs.trigger import Trigger, trigger_run  # noqa: E402 - as above
from jobsvc.runs.watch import watch  # noqa: E402 - as above
from jobsvc.statuses import CauseCategory, RunStatus  # noqa: E402 - as above

NOW = Trigger(cause="test", cause_category=CauseCategory.API)


def wait_for_start(moment: float) -> None:
    """Let all processes of a race begin at once."""
    time.sleep(max(0.0, moment - time.time()))


def make_jobs(number: int, slots: int) -> list[int]:
    account = Account.objects.create(name="race", run_slots=slots)
    project = Project.objects.create(account=account, name="race")
    environment = Environment.objects.create(project=project, name="prod")
    return [
        define_job(
            Job(
                account=account,
                project=project,
                environment=environment,
                name=f"job {place}",
                execute_steps=["dbt build"],
            ),
            completion=None,
        ).pk
        for place in range(number)
    ]


def trigger(job_id: int, number: int = 1) -> list[int]:
    job = Job.objects.get(pk=job_id)
    return [trigger_run(job, NOW).pk for _ in range(number)]


def trigger_once(job_id: int, key: str, moment: float) -> int:
    job = Job.objects.get(pk=job_id)
    wait_for_start(moment)
    return trigger_run(job, replace(NOW, deduplication_key=key)).pk


def claim(run_id: int, moment: float) -> bool:
    wait_for_start(moment)
    return Run.objects.claim(run_id, worker=str(os.getpid())) is not None


def claim_each(run_ids: list[int], moment: float) -> list[int]:
    wait_for_start(moment)
    return [run_id for run_id in run_ids if Run.objects.claim(run_id, worker=str(os.getpid()))]


def cancel(run_id: int, moment: float) -> None:
    run = Run.objects.get(pk=run_id)
    wait_for_start(moment)
    cancel_run(run, by=f"process {os.getpid()}")


def finish(run_id: int, moment: float) -> bool:
    run = Run.objects.get(pk=run_id)
    wait_for_start(moment)
    try:
        run.move_to(RunStatus.ERROR, message=f"ended by {os.getpid()}")
    except (ImpossibleMove, LostRace):
        return False
    return True


def make_due(job_id: int) -> None:
    Job.objects.filter(pk=job_id).update(
        triggers_schedule=True, cron="0 0 1 1 *", next_run_at=django.utils.timezone.now()
    )


def tick(moment: float) -> int:
    wait_for_start(moment)
    return len(start_due_runs(django.utils.timezone.now()))


def reap(moment: float) -> int:
    wait_for_start(moment)
    return len(watch())


def make_history(job_id: int, finished: int, queued: int) -> None:
    """Runs that ended long ago, and some that wait; the database knows how many there are."""
    job = Job.objects.get(pk=job_id)
    moment = django.utils.timezone.now()
    for status, number in ((RunStatus.SUCCESS, finished), (RunStatus.QUEUED, queued)):
        Run.objects.bulk_create(
            Run(
                account_id=job.account_id,
                project_id=job.project_id,
                environment_id=job.environment_id,
                job=job,
                status=status,
                finished_at=moment if status == RunStatus.SUCCESS else None,
                concurrency_key=f"job:{job_id}:{place % 50}",
            )
            for place in range(number)
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def explain(question: str) -> str:
    """How the database answers a question that is asked again and again."""
    questions = {
        "startable": Run.objects.startable(),
        "claim": Run.objects.startable().filter(pk=Run.objects.queued().latest("pk").pk),
        "active": Run.objects.active(),
        "slots": Run.objects.active().filter(account=1),
    }
    return questions[question].explain()


def ring(times: int) -> list[tuple[bool, float]]:
    """Whether the broker took each message, and how many seconds that took."""
    rung = []
    for _time in range(times):
        started = time.monotonic()
        taken = queue.publish("jobsvc.runs.tasks.sweep")
        rung.append((taken, time.monotonic() - started))
    return rung


def expire_leases() -> int:
    return Run.objects.active().update(lease_until=django.utils.timezone.now())


def statuses() -> dict[str, int]:
    return {str(run.pk): run.status for run in Run.objects.all()}


def cancel_is_asked(run_id: int) -> bool:
    return Run.objects.filter(pk=run_id, cancel_requested_at__isnull=False).exists()


def transitions(run_id: int) -> list[int]:
    run = Run.objects.get(pk=run_id)
    return list(run.transitions.order_by("pk").values_list("to_status", flat=True))


ACTIONS: dict[str, Callable[..., Any]] = {
    action.__name__: action
    for action in (
        make_jobs,
        trigger,
        trigger_once,
        claim,
        claim_each,
        cancel,
        cancel_is_asked,
        finish,
        make_due,
        tick,
        reap,
        make_history,
        explain,
        ring,
        expire_leases,
        statuses,
        transitions,
    )
}

if __name__ == "__main__":
    for line in sys.stdin:
        action, *arguments = json.loads(line)
        print(json.dumps(ACTIONS[action](*arguments)), flush=True)  # noqa: T201 - its answer
