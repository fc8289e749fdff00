"""The doorbell: the one place that publishes to Celery, always after the commit.

A broker that is down costs time, never work: the failure is logged, the row stays as it is,
and the next sweep rings again.
"""

from __future__ import annotations

import logging
import time

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 5  # after a failure nobody waits for the broker again for this long


class _Bell:
    """Remembers until when the broker is to be left alone."""

    def __init__(self) -> None:
        self.silent_until = 0.0

    def ring(self, task_name: str, *args: int) -> bool:
        if time.monotonic() < self.silent_until:
            return False
        try:
            current_app.send_task(task_name, args, retry=False)
        except (OperationalError, OSError) as error:
            self.silent_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("the broker did not take %s%s: %s", task_name, args, error)
            return False
        return True


_bell = _Bell()


def publish(task_name: str, *args: int) -> bool:
    """Publish a task now; False if the broker did not take it."""
    return _bell.ring(task_name, *args)


def ring(task_name: str, *args: int) -> None:
    """Publish a task once the current transaction commits; never inside it."""

    def after_commit() -> None:
        publish(task_name, *args)

    transaction.on_commit(after_commit, robust=True)
