"""The Celery app: the doorbell between processes. What it carries is never more than an id."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from jobsvc.engine.sandbox import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsvc.settings")

app = Celery("jobsvc")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def end_with_the_worker(**_: Any) -> None:
    """A pool process ends with its worker.

    Else ``kill -9`` of a worker would leave a child that goes on with a run while nobody
    looks after it.
    """
    die_with_parent(signal.SIGKILL)
