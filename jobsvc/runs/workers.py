"""Workers: each says that it is up, is told whether it is to take runs, and says goodbye."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now
from kombu.exceptions import OperationalError as BrokerAway

from accounts import audit
from jobsvc.runs import dispatch, toolchains
from jobsvc.runs.models import RUNS, Worker

logger = logging.getLogger(__name__)

FORGOTTEN_AFTER = timedelta(days=1)  # of silence; until then people are told that it is gone


def announce(
    name: str, *, processes: int, bells: Mapping[str, int | None], dbt_versions: Sequence[str]
) -> Worker:
    """Write down that the worker ``name`` has come up. What was said of its last life is over.

    Args:
        bells: each queue that it listens to, and how many messages wait there, if known.
    """
    facts = {
        "version": settings.VERSION,
        "processes": processes,
        "bells": dict(bells),
        "dbt_versions": list(dbt_versions),
    }
    anew = {"started_at": Now(), "seen_at": Now(), "drained_at": None, "drained_by": ""}
    worker, _made = Worker.objects.update_or_create(name=name, defaults=facts | anew)
    return worker


def beat(name: str, *, bells: Mapping[str, int | None], dbt_versions: Sequence[str]) -> bool | None:
    """Write down that ``name`` is still up; return whether it is being drained, None if unknown."""
    known = Worker.objects.filter(name=name)
    known.update(seen_at=Now(), bells=dict(bells), dbt_versions=list(dbt_versions))
    row = known.values_list("drained_at").first()
    return None if row is None else row[0] is not None


def say_goodbye(name: str) -> None:
    """It ends in good order: nobody is to miss it."""
    Worker.objects.filter(name=name).delete()


def forget_the_gone() -> None:
    """Remove the workers that have been silent for a day."""
    Worker.objects.filter(seen_at__lte=Now() - FORGOTTEN_AFTER).delete()


def drain(worker: Worker, *, by: str, account_id: int) -> None:
    """Let ``worker`` take no new run; what it has, it brings to its end.

    A bell that it is sent meanwhile is rung again by the next sweep, for another worker.
    """
    with transaction.atomic():
        undrained = Worker.objects.filter(pk=worker.pk, drained_at=None)
        if undrained.update(drained_at=Now(), drained_by=by[:255]):
            audit.record("worker.drain", worker, account_id=account_id)


def resume(worker: Worker, *, account_id: int) -> None:
    """Let ``worker`` take runs again, those that wait at once."""
    with transaction.atomic():
        drained = Worker.objects.filter(pk=worker.pk, drained_at__isnull=False)
        if drained.update(drained_at=None, drained_by=""):
            audit.record("worker.resume", worker, account_id=account_id)
            dispatch.dispatch_queued_runs()


# --- In the worker's own process ---------------------------------------------------------


@dataclass
class Heartbeat:
    """Lives in the main process of a Celery worker, in a thread of its own.

    Attributes:
        consumer: Celery's, which listens to the broker.
    """

    consumer: Any

    def __post_init__(self) -> None:
        self.name: str = self.consumer.hostname
        self._queues = sorted(self.consumer.app.amqp.queues.consume_from)
        self._over = threading.Event()
        self._listens = True

    def begin(self) -> None:
        threading.Thread(target=self._go_on, name="heartbeat", daemon=True).start()

    def end(self) -> None:
        self._over.set()
        self._safely(lambda: say_goodbye(self.name))

    def announce(self) -> None:
        """Say that it is up."""
        announce(
            self.name,
            processes=self.consumer.pool.num_processes,
            bells=self._bells(),
            dbt_versions=self._dbt_versions(),
        )

    def beat(self) -> None:
        """Say that it is still up, and listen for runs or not, as its row says."""
        drained = beat(self.name, bells=self._bells(), dbt_versions=self._dbt_versions())
        if drained is None:
            self.announce()  # it was forgotten: its machine slept, or the database was restored
        if RUNS in self._queues and self._listens is bool(drained):
            self._listens = not drained
            change = self.consumer.cancel_task_queue if drained else self.consumer.add_task_queue
            self.consumer.call_soon(change, RUNS)

    def _go_on(self) -> None:
        self._safely(self.announce)
        while not self._over.wait(settings.HEARTBEAT_SECONDS):
            self._safely(self.beat)

    def _safely(self, do: Callable[[], None]) -> None:
        try:
            do()
        except (OperationalError, InterfaceError) as error:
            logger.warning("the database did not take the heartbeat of %s: %s", self.name, error)
        finally:
            # A child that is forked now shall not have a share in this one.
            connection.close()

    def _bells(self) -> dict[str, int | None]:
        """How many messages wait in each queue; None where the broker does not say."""
        try:
            with self.consumer.app.connection_for_read() as broker:
                return {queue: _length(broker, queue) for queue in self._queues}
        except (BrokerAway, OSError):
            return dict.fromkeys(self._queues)

    def _dbt_versions(self) -> list[str]:
        if RUNS not in self._queues:
            return []
        return sorted({one.version for one in toolchains.toolchain().all_installed().values()})


def _length(broker: Any, queue: str) -> int:
    try:
        found: int = broker.default_channel.queue_declare(queue, passive=True).message_count
    except broker.channel_errors:
        return 0  # Redis knows no queue that is empty
    return found
