"""What a step left in its target directory, copied out of its reach and freed of secrets.

The directory was a stranger's to write, so it is read as such: only plain files with one
name, opened from directory to directory without following links, within limits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobsvc.engine.ports import CollectedFile
from jobsvc.engine.redact import Redactor
from jobsvc.engine.steplog import open_plain_file

LARGEST_FILE = 256 * 1024**2  # bytes; the manifest of 100,000 nodes has 180 MiB
LARGEST_TOTAL = 2 * 1024**3  # bytes of one step
MOST_FILES = 50_000  # of one step
DEEPEST = 20  # directories below the target
LONGEST_PATH = 500  # characters

# Kept of a target directory: result files and pages at its top, and these folders. Never
# graph.gpickle or partial_parse.msgpack: nobody should load a stranger's pickle.
TOP_SUFFIXES = (".json", ".html")
FOLDERS = ("compiled", "run", "assets")


@dataclass
class Collection:
    """What was collected of one step.

    Attributes:
        passed_over: how many files were not kept for their size, number or kind.
    """

    files: list[CollectedFile]
    passed_over: int = 0


def collect(target: Path, into: Path, *, secrets: Iterable[str]) -> Collection:
    """Copy dbt's files from ``target`` to ``into``, secrets masked.

    Call it only once every process of the step is dead. ``into`` is made if there is
    anything to put there. No file is ever collected in part.

    Raises:
        OSError: this machine has no space left, or ``into`` cannot be written.
    """
    redactor = Redactor(secrets)
    collection = Collection(files=[])
    total = 0
    for path, file in _plain_files(target, collection):
        with os.fdopen(file, "rb") as source:
            size = os.fstat(file).st_size
            if (
                size > LARGEST_FILE
                or total + size > LARGEST_TOTAL
                or len(collection.files) >= MOST_FILES
            ):
                collection.passed_over += 1
                continue
            copy = into / path
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(
                os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            ) as kept:
                redactor.scrub_file(source, kept)
        total += size
        kept_size = copy.stat().st_size
        collection.files.append(CollectedFile(path=path, file=copy, size=kept_size))
    return collection


def keep(files: Mapping[str, str], into: Path, *, secrets: Iterable[str]) -> list[CollectedFile]:
    """Write texts of the service's own, by name, as files to be kept, secrets masked.

    Raises:
        OSError: this machine has no space left, or ``into`` cannot be written.
    """
    kept: list[CollectedFile] = []
    for name, text in files.items():
        redactor = Redactor(secrets)
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy = into / name
        copy.write_text(redactor.feed(text.encode()) + redactor.flush())
        kept.append(CollectedFile(path=name, file=copy, size=copy.stat().st_size))
    return kept


def _plain_files(target: Path, collection: Collection) -> Iterator[tuple[str, int]]:
    """Relative path and open file of each file worth keeping, in order of path.

    The consumer closes the file.
    """
    try:
        top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    yield from _walk(top, "", collection)


def _walk(directory: int, prefix: str, collection: Collection) -> Iterator[tuple[str, int]]:
    """Everything kept below an open directory, which is closed at the end."""
    try:
        with os.scandir(directory) as listed:
            names = sorted(entry.name for entry in listed)
        for name in names:
            path = f"{prefix}{name}"
            if not _has_a_good_name(path):
                collection.passed_over += 1
                continue
            below = _open_directory(name, directory)
            if below is not None:
                if (prefix or name in FOLDERS) and path.count("/") < DEEPEST:
                    yield from _walk(below, f"{path}/", collection)
                else:
                    os.close(below)
            elif prefix or name.endswith(TOP_SUFFIXES):
                file = open_plain_file(name, directory)
                if file is None:
                    collection.passed_over += 1
                else:
                    yield path, file
    finally:
        os.close(directory)


def _has_a_good_name(path: str) -> bool:
    """Whether a client could ask for it: text that prints, not too long, no backslash."""
    return path.isprintable() and "\\" not in path and len(path) <= LONGEST_PATH


def _open_directory(name: str, parent: int) -> int | None:
    try:
        return os.open(
            name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent
        )
    except OSError:
        return None
