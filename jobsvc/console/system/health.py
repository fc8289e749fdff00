"""Whether what the service stands on is well: each part asked for a second at most, in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import DatabaseError, connection
from django.utils.timezone import now
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError

from jobsvc.pending import pending_migrations
from jobsvc.runs.models import Worker

# Beat writes the moments of its ticks down every three minutes only.
BEAT_SILENCE = timedelta(minutes=6)
TICK = "start due runs"
NEEDED = {
    "runs": "Nothing runs dbt: runs wait.",
    "default": "Nothing reacts: schedules, retries and cleaning up wait.",
    "outbound": "Nothing is told: mails, webhooks and pull requests wait.",
}
OUR_PROCESSES = "Start it as docs/operations.md says; manage.py up starts all of them."


@dataclass(frozen=True)
class Part:
    """One thing the service stands on.

    Attributes:
        well: None where it is only not known.
        says: what it is, or what is wrong with it.
    """

    name: str
    well: bool | None
    says: str
    remedy: str = ""

    @property
    def look(self) -> tuple[str, str, str]:
        """Tone, glyph and word of its pill."""
        if self.well is None:
            return "warn", "!", "Not known"
        return ("ok", "✓", "Well") if self.well else ("err", "✕", "Not well")


def parts() -> list[Part]:
    """Each part with how it is now."""
    return [database(), schema(), broker(), storage(), *queues(), beat()]


def database() -> Part:
    begun = time.monotonic()

    def look() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        took = round((time.monotonic() - begun) * 1000)
        return f"{connection.display_name} answers in {took} ms"

    return _tried("Database", look, "See whether it is up, and JOBSVC_DATABASE_URL.")


def schema() -> Part:
    def look() -> str:
        if ahead := pending_migrations():
            raise DatabaseError(f"{len(ahead)} migrations are not applied yet")
        return "up to date"

    return _tried("Tables", look, "Run: manage.py migrate")


def broker() -> Part:
    def look() -> str:
        seconds = settings.CELERY_BROKER_CONNECTION_TIMEOUT
        with current_app.connection_for_write() as link:
            link.ensure_connection(max_retries=1, interval_start=0, timeout=seconds)
            return f"{link.transport.driver_name or link.transport_cls} answers"

    return _tried("Broker", look, "Start it, or correct JOBSVC_BROKER_URL. Until then runs wait.")


def storage() -> Part:
    """Only whether it can be looked at; ``write_and_read`` tries all of it."""

    def look() -> str:
        kept = storages["artifacts"]
        kept.exists("jobsvc")
        return f"{getattr(kept, 'location', type(kept).__name__)}"

    return _tried("Storage", look, "Let this process read and write there.")


def write_and_read() -> Part:
    """Write a file where artifacts are kept, read it, and remove it."""

    def look() -> str:
        kept, said = storages["artifacts"], b"written and removed by the system page"
        begun = time.monotonic()
        name = kept.save("system-test.txt", ContentFile(said))
        try:
            with kept.open(name) as file:
                if file.read() != said:
                    raise OSError("what was read is not what was written")
        finally:
            kept.delete(name)
        took = round((time.monotonic() - begun) * 1000)
        return f"Written, read and removed in {took} ms: {getattr(kept, 'location', kept)}"

    return _tried("Storage", look, "Let this process read and write there.")


def queues() -> Iterator[Part]:
    """For each queue whether some worker listens to it."""
    workers = list(Worker.objects.with_silence().order_by("name"))
    for queue, without in NEEDED.items():
        here = [one for one in workers if queue in one.bells]
        up = [one for one in here if not getattr(one, "is_silent", True)]
        name = f"Workers of {queue}"
        if up:
            waiting = max((one.bells[queue] or 0 for one in up), default=0)
            names = ", ".join(one.name for one in up)
            yield Part(name, True, f"{names}; {waiting} messages wait")
        elif here:
            names = ", ".join(f"{one.name} since {one.seen_at:%Y-%m-%d %H:%M} UTC" for one in here)
            yield Part(name, False, f"Silent: {names}. {without}", OUR_PROCESSES)
        else:
            yield Part(name, False, f"None. {without}", OUR_PROCESSES)


def beat() -> Part:
    last = PeriodicTask.objects.filter(name=TICK).values_list("last_run_at", flat=True).first()
    if last is None:
        return Part("Clock (beat)", False, "It has never ticked.", OUR_PROCESSES)
    says = f"last noted tick {last:%Y-%m-%d %H:%M:%S} UTC; noted every three minutes"
    return Part("Clock (beat)", now() - last < BEAT_SILENCE, says, OUR_PROCESSES)


def _tried(name: str, look: Callable[[], str], remedy: str) -> Part:
    """What ``look`` says, or that it failed and how."""
    try:
        return Part(name, True, look())
    except (DatabaseError, OperationalError, OSError) as error:
        return Part(name, False, str(error).strip() or type(error).__name__, remedy)
