"""Artifacts as bytes: the one answer without the envelope, missing ones included.

Two clients tell "this step left no such file" by an answer that is not JSON.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import IO

from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase

TYPES = {
    ".json": "application/json",
    ".sql": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
LONGEST_PATH = 1000  # characters, of the column


def is_path(path: str) -> bool:
    """Whether an artifact could be called so; what is stored is looked up by its exact name."""
    return len(path) <= LONGEST_PATH and "\0" not in path


def sent(file: IO[bytes] | None, path: str) -> HttpResponseBase:
    """The file, which is closed once it is sent; a plain 404 where there is none."""
    if file is None:
        return HttpResponse(
            "There is no such artifact. List the artifacts to see which there are.\n",
            status=404,
            content_type="text/plain; charset=utf-8",
        )
    kind = TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")
    return FileResponse(file, content_type=kind)
