"""The Celery app: the doorbell between processes. What it carries is never more than an id."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.signals import worker_process_init
from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

from jobsvc.engine.sandbox import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsvc.settings")


class WholeMessages(filesystem.Channel):
    """A folder as a broker, in which a message appears when all of it is written.

    Kombu's own makes the file first: a worker that reads it while it is empty ends by that.
    """

    def _put(  # type: ignore[override]  # kombu's two bases name it differently
        self, queue: str, payload: dict[str, Any], **_: Any
    ) -> None:
        name = f"{round(monotonic() * 1000)}_{uuid4()}.{queue}.msg"
        place = Path(self.data_folder_out, name)
        part = place.with_name(f"{name}.part")
        try:
            part.write_text(dumps(payload))
            part.rename(place)
        except OSError as error:
            raise ChannelError(f"No message can be left in {place.parent}: {error}") from error


class FolderBroker(filesystem.Transport):
    """Kombu's folder, with whole messages."""

    Channel = WholeMessages


TRANSPORT_ALIASES["filesystem"] = f"{__name__}:{FolderBroker.__name__}"

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
