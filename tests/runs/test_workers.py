"""Workers that are up, gone or drained, and what a drained one is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.utils.timezone import now

from jobsvc.runs import workers
from jobsvc.runs.dispatch import answer_bell, dispatch_queued_runs
from jobsvc.runs.models import Run, Worker
from jobsvc.statuses import RunStatus

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


@pytest.fixture
def worker() -> Worker:
    return workers.announce("runs@box", processes=2, bells={"runs": 0}, dbt_versions=["1.11.16"])


def silent_for(worker: Worker, length: timedelta) -> None:
    Worker.objects.filter(pk=worker.pk).update(seen_at=now() - length)


def test_a_worker_is_heard_until_it_is_silent_for_too_long(worker: Worker) -> None:
    assert list(Worker.objects.heard()) == [worker]

    silent_for(worker, timedelta(seconds=31))

    assert list(Worker.objects.heard()) == []
    assert list(Worker.objects.gone()) == [worker]


def test_a_beat_brings_a_silent_worker_back(worker: Worker) -> None:
    silent_for(worker, timedelta(minutes=5))

    assert workers.beat("runs@box", bells={"runs": 7}, dbt_versions=["1.11.16"]) is False

    worker.refresh_from_db()
    assert worker.bells == {"runs": 7}
    assert list(Worker.objects.heard()) == [worker]


def test_the_beat_of_a_worker_that_was_forgotten_says_so() -> None:
    assert workers.beat("runs@box", bells={}, dbt_versions=[]) is None


def test_a_worker_that_says_goodbye_is_not_missed(worker: Worker) -> None:
    workers.say_goodbye(worker.name)

    assert not Worker.objects.exists()


def test_a_worker_that_is_gone_for_a_day_is_forgotten(worker: Worker) -> None:
    silent_for(worker, timedelta(hours=23))
    workers.forget_the_gone()
    assert Worker.objects.exists()

    silent_for(worker, timedelta(hours=25))
    workers.forget_the_gone()
    assert not Worker.objects.exists()


def test_a_drained_worker_gets_no_run_and_another_does(worker: Worker, queued: MakeRun) -> None:
    run = queued()
    workers.drain(worker, by="ana@example.com", account_id=run.account_id)

    assert answer_bell(run.pk, worker="runs@box:1") is None
    assert dispatch_queued_runs() == [run.pk]
    assert answer_bell(run.pk, worker="runs@other:1") is not None


def test_what_a_drained_worker_has_goes_on(worker: Worker, queued: MakeRun) -> None:
    run = answer_bell(queued().pk, worker="runs@box:1")
    assert run is not None

    workers.drain(worker, by="ana@example.com", account_id=run.account_id)
    run.move_to(RunStatus.RUNNING)
    run.move_to(RunStatus.SUCCESS)


def test_a_resumed_worker_is_rung_for_what_waits(
    worker: Worker,
    queued: MakeRun,
    published: list[tuple[object, ...]],
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    run = queued()
    workers.drain(worker, by="ana@example.com", account_id=run.account_id)

    with django_capture_on_commit_callbacks(execute=True):
        workers.resume(worker, account_id=run.account_id)

    assert ("execute_run", run.pk) in published
    assert answer_bell(run.pk, worker="runs@box:1") is not None


def test_a_worker_that_is_started_anew_is_not_drained(worker: Worker, queued: MakeRun) -> None:
    run = queued()
    workers.drain(worker, by="ana@example.com", account_id=run.account_id)

    workers.announce("runs@box", processes=2, bells={"runs": 0}, dbt_versions=[])

    assert answer_bell(run.pk, worker="runs@box:1") is not None


class Consumer:
    """As much of Celery's consumer as a heartbeat touches."""

    hostname = "runs@box"
    app = current_app
    pool = SimpleNamespace(num_processes=2)

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def call_soon(self, what: Callable[[str], None], queue: str) -> None:
        what(queue)

    def cancel_task_queue(self, queue: str) -> None:
        self.done.append(("cancel", queue))

    def add_task_queue(self, queue: str) -> None:
        self.done.append(("add", queue))


@pytest.fixture
def listens_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    queues: Any = current_app.amqp.queues
    monkeypatch.setattr(queues, "_consume_from", {"runs": queues["runs"]})


@pytest.mark.usefixtures("listens_for_runs")
def test_a_heart_hears_that_it_is_drained_and_listens_no_more(queued: MakeRun) -> None:
    consumer = Consumer()
    heart = workers.Heartbeat(consumer)
    heart.announce()
    worker = Worker.objects.get()

    workers.drain(worker, by="ana@example.com", account_id=queued().account_id)
    heart.beat()
    heart.beat()
    assert consumer.done == [("cancel", "runs")]

    workers.resume(worker, account_id=queued().account_id)
    heart.beat()
    assert consumer.done == [("cancel", "runs"), ("add", "runs")]


@pytest.mark.usefixtures("listens_for_runs")
def test_a_heart_that_was_forgotten_announces_itself() -> None:
    workers.Heartbeat(Consumer()).beat()

    assert Worker.objects.get().runs_dbt
