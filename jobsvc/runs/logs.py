"""What a step says: chunks in the database while it runs, one file in storage once it is over.

Positions are counted in characters from the log's start, so a reader that remembers where it
stopped gets every character once, however many processes write and read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.core.files.base import ContentFile
from django.core.files.storage import storages

from jobsvc.engine.events import DbtEvent, read_events
from jobsvc.engine.ports import Stream
from jobsvc.runs.models import LogChunk, RunStep
from jobsvc.statuses import RunStatus

TAIL_LIMIT = 256 * 1024  # characters of one answer of ``tail``


def console_log(step: RunStep) -> str:
    """The whole console log so far; empty until the step starts."""
    return _whole(step, Stream.CONSOLE)


def debug_log(step: RunStep) -> str:
    """The whole debug log (dbt's own dbt.log) so far."""
    return _whole(step, Stream.DEBUG)


def beginning(step: RunStep, most: int) -> str:
    """The first ``most`` bytes of the console log, as text, without reading the rest."""
    if not step.console_log:
        return tail(step, Stream.CONSOLE, 0)[0][:most]
    with storages["artifacts"].open(step.console_log, "rb") as file:
        return bytes(file.read(most)).decode(errors="replace")


def events(step: RunStep) -> Iterator[DbtEvent]:
    """What dbt logged so far, event by event; none of a step that is no dbt command."""
    return read_events(_whole(step, Stream.EVENTS))


def tail(step: RunStep, stream: Stream, after: int) -> tuple[str, int]:
    """What the log says from character ``after`` on, and where to go on reading next time.

    At most ``TAIL_LIMIT`` characters; ask again with the position that came back.
    """
    if _stored_name(step, stream):
        text = _whole(step, stream)[after : after + TAIL_LIMIT]
        return text, after + len(text)
    chunks = LogChunk.objects.filter(step=step, stream=stream)
    spoken = step.status != RunStatus.RUNNING or chunks.exists()
    if not spoken and _was_stored_meanwhile(step, stream):
        return tail(step, stream, after)
    first = chunks.filter(offset__lte=after).order_by("-offset").first()
    text, position = "", after
    for chunk in chunks.filter(
        offset__gte=first.offset if first else 0, offset__lt=after + TAIL_LIMIT
    ).order_by("offset"):
        text += chunk.text[max(0, position - chunk.offset) :]
        position = max(position, chunk.offset + len(chunk.text))
    return text[:TAIL_LIMIT], after + min(len(text), TAIL_LIMIT)


def texts(step: RunStep) -> dict[Stream, str]:
    """All logs of a step that runs, as far as they are written."""
    return {stream: _whole(step, stream) for stream in Stream}


def store(step: RunStep, texts: Mapping[Stream, str]) -> dict[str, str]:
    """Put the logs of a finished step into storage. Needs no database.

    Returns:
        Columns of the step to set; the chunks may be dropped in the same transaction.
    """
    return {
        f"{stream}_log": storages["artifacts"].save(
            f"runs/{step.run_id}/steps/{step.index}/{stream}.log", ContentFile(text.encode())
        )
        for stream, text in texts.items()
        if text
    }


def _stored_name(step: RunStep, stream: Stream) -> str:
    stored: str = getattr(step, f"{stream}_log")
    return stored


def _was_stored_meanwhile(step: RunStep, stream: Stream) -> bool:
    """Whether ``step``, which has no chunks, was read while it ran and has ended since."""
    if step.status != RunStatus.RUNNING:
        return False
    step.refresh_from_db()
    return bool(_stored_name(step, stream))


def _whole(step: RunStep, stream: Stream) -> str:
    if name := _stored_name(step, stream):
        with storages["artifacts"].open(name, "rb") as file:
            return bytes(file.read()).decode(errors="replace")
    chunks = LogChunk.objects.filter(step=step, stream=stream).order_by("offset")
    text = "".join(chunks.values_list("text", flat=True))
    if not text and _was_stored_meanwhile(step, stream):
        return _whole(step, stream)
    return text
