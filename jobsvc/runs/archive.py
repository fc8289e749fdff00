"""All that a run left, as one zip file that is made while it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.core.files.storage import storages

from jobsvc.runs.models import Artifact, Run, RunStep

PIECE = 256 * 1024  # bytes read, and about as many held, at once


class _Pipe:
    """What the zip file is written to; hands on what came since the last time."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes, /) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """There is nothing behind it to flush."""

    def close(self) -> None:
        """There is nothing behind it to close."""

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken


def zip_of(run: Run) -> Iterator[bytes]:
    """The files of every step of ``run``, and what the steps said, piece by piece.

    A file that storage has lost is left out.
    """
    pipe = _Pipe()
    with ZipFile(pipe, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for name, stored in _files(run):
            try:
                file = storages["artifacts"].open(stored, "rb")
            except FileNotFoundError:
                continue
            with file:
                yield from _add(archive, name, file, pipe)
    yield pipe.take()


def _files(run: Run) -> Iterator[tuple[str, str]]:
    """Name in the zip file and in storage of each file."""
    steps = RunStep.objects.filter(run=run).order_by("index")
    logs = steps.values_list("index", "console_log", "debug_log", "events_log")
    for index, *stored in logs:
        for kind, name in zip(("console", "debug", "events"), stored, strict=True):
            if name:
                yield f"run-{run.pk}/step-{index}/{kind}.log", name
    files = Artifact.objects.filter(step__run=run).order_by("step__index", "path")
    for index, path, name in files.values_list("step__index", "path", "storage_name").iterator():
        yield f"run-{run.pk}/step-{index}/target/{path}", name


def _add(archive: ZipFile, name: str, file: IO[bytes], pipe: _Pipe) -> Iterator[bytes]:
    entry = ZipInfo(name)
    entry.compress_type = ZIP_DEFLATED
    with archive.open(entry, "w", force_zip64=True) as target:
        while piece := file.read(PIECE):
            target.write(piece)
            yield pipe.take()
