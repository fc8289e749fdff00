"""One stream of one step's log: masked, capped, and handed on as it comes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from jobsvc.engine.redact import Redactor

TAIL_BYTES = 64 * 1024  # kept from the end of a log that is longer than its limit
RECENT_CHARACTERS = 16 * 1024  # of a log's end, remembered to tell why a step failed
READ_BYTES = 256 * 1024  # at once
PUMP_BYTES = 8 * 1024**2  # from a log file at one look, so that a look stays short


class StepLog:
    """Takes a child's bytes, hands on text; what is too much is counted, not kept.

    Args:
        write: gets the text, piece by piece, in order.
        secrets: masked wherever they stand, also across the borders of pieces.
        limit: bytes of text handed on from the start; of the rest only the last
            ``TAIL_BYTES``, after a line that says how much is missing.
    """

    def __init__(self, write: Callable[[str], None], *, secrets: Iterable[str], limit: int) -> None:
        self.recent = ""
        self._write = write
        self._redactor = Redactor(secrets)
        self._room = limit
        self._tail = bytearray()
        self._cut = 0  # bytes

    def feed(self, output: bytes) -> None:
        """Take what came next."""
        self._keep(self._redactor.feed(output))

    def say(self, line: str) -> None:
        """A line of this service's own."""
        self.feed(f"{line}\n".encode())

    def skip(self, size: int) -> None:
        """Count ``size`` bytes that were not even read. Only once the limit is reached."""
        self._cut += size + len(self._tail)
        self._tail.clear()
        self._room = 0

    def close(self) -> None:
        """Hand on what is still held back, and the end of a log that was too long."""
        self._keep(self._redactor.flush())
        if self._cut:
            self._write(f"\n… {self._cut} bytes cut …\n")
        if self._tail:
            self._write(self._tail.decode(errors="ignore"))

    def _keep(self, text: str) -> None:
        if not text:
            return
        self.recent = (self.recent + text[-RECENT_CHARACTERS:])[-RECENT_CHARACTERS:]
        encoded = text.encode(errors="replace")
        if not self._tail and not self._cut and len(encoded) <= self._room:
            self._room -= len(encoded)
            self._write(text)
            return
        head = encoded[: self._room].decode(errors="ignore")
        if head:
            self._write(head)
        self._room = 0
        self._tail += encoded[len(head.encode()) :]
        if (excess := len(self._tail) - TAIL_BYTES) > 0:
            self._cut += excess
            del self._tail[:excess]


class Sink(Protocol):
    """What takes a log's bytes: ``StepLog``, or one before it."""

    def feed(self, output: bytes) -> None:
        """Take what came next."""

    def skip(self, size: int) -> None:
        """Count bytes that were not even read."""


class FollowedFile:
    """dbt's own log file, read while a child still writes it.

    The directory belongs to the child, so only a plain file with no other name is read, never
    what a link points at.
    """

    def __init__(self, directory: Path, name: str, log: Sink, *, limit: int) -> None:
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._name = name
        self._log = log
        self._limit = limit
        self._file: int | None = None

    def pump(self) -> None:
        """Read what is new, up to ``PUMP_BYTES``."""
        if self._file is None:
            self._file = open_plain_file(self._name, self._directory)
        if self._file is None:
            return
        left = PUMP_BYTES
        while left > 0 and (output := os.read(self._file, min(READ_BYTES, left))):
            self._log.feed(output)
            left -= len(output)

    def close(self) -> None:
        """Read the rest, of a very long one its end alone, and let go of the file."""
        self.pump()
        if self._file is not None:
            place = os.lseek(self._file, 0, os.SEEK_CUR)
            while place < self._limit and (output := os.read(self._file, READ_BYTES)):
                self._log.feed(output)
                place += len(output)
            missing = os.fstat(self._file).st_size - place - TAIL_BYTES
            if missing > 0:
                self._log.skip(missing)
                os.lseek(self._file, missing, os.SEEK_CUR)
            for _ in range(TAIL_BYTES // READ_BYTES + 1):
                self._log.feed(os.read(self._file, READ_BYTES))
            os.close(self._file)
        os.close(self._directory)


def open_plain_file(name: str, directory: int) -> int | None:
    """Open ``name`` in an open directory for reading, if it is a plain file of one name.

    Returns None for anything else a hostile child may have put there: a link, a FIFO, a
    device, a hard link to another file, or nothing.
    """
    try:
        file = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
    except OSError:
        return None
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return file
    os.close(file)
    return None
