"""The files that a run left: a tree to walk, one file to read, and all of them as a zip file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import member_of_account
from jobsvc.console.asked import number
from jobsvc.console.json_tree import tree_of
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.runs.archive import zip_of
from jobsvc.runs.artifacts import files_of, open_artifact
from jobsvc.runs.models import Run, RunStep

ENTRIES_SHOWN = 500  # of one folder
LARGEST_SHOWN = 16 * 1024**2  # bytes of a document that is read to be shown

TYPES = {
    ".json": "JSON",
    ".html": "Web page",
    ".sql": "SQL",
    ".csv": "CSV",
    ".yml": "YAML",
    ".md": "Markdown",
}


@dataclass(frozen=True)
class Entry:
    """A folder, or a file where ``files`` is None.

    Attributes:
        path: from the target directory.
        size: in bytes; of a folder of all that is in it.
        files: how many are in a folder.
        address: of a folder's page; of a document to be read the query string that shows it.
    """

    name: str
    path: str
    size: int
    kind: str
    address: str = ""
    files: int | None = None


@require_safe
@member_of_account()
def artifact_list(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The files of a run, or of one of its steps (``?step=``), folder by folder (``?in=``)."""
    run = run_of(membership, project_id, run_id)
    index = number(request, "step")
    folder = request.GET.get("in", "").strip("/")
    files = files_of(run, index)
    entries = _entries(files, folder, index)
    after = request.GET.get("after", "")
    left = [entry for entry in entries if not after or _place(entry) > (after[:1], after[1:])]
    shown = left[:ENTRIES_SHOWN]
    steps = list(run.steps.all())
    with_files = set(run.steps.filter(artifacts__isnull=False).values_list("index", flat=True))
    context: dict[str, Any] = {
        "tab": "artifacts",
        "index": index,
        "steps": [step for step in steps if step.index in with_files],
        "folder": folder,
        "above": _above(folder, index),
        "entries": shown,
        "number": len(files),
        "size": sum(size for _path, size in files),
        "more": _query(index, folder, after="".join(_place(shown[-1])))
        if len(left) > len(shown)
        else "",
        "kept_until": _kept_until(run),
        "days": settings.KEEP_ARTIFACTS_DAYS,
        "why_none": _why_none(run, steps) if not files else "",
        "is_expired": not with_files and run.artifacts_saved,
    }
    return run_page(request, membership, "console/artifacts.html", run, context)


def _entries(files: Sequence[tuple[str, int]], folder: str, index: int | None) -> list[Entry]:
    """What lies right in ``folder``: folders first, then files, each by name."""
    prefix = f"{folder}/" if folder else ""
    folders: dict[str, tuple[int, int]] = {}
    entries = []
    for path, size in files:
        name, slash, _rest = path.removeprefix(prefix).partition("/")
        if not path.startswith(prefix):
            continue
        if slash:
            count, total = folders.get(name, (0, 0))
            folders[name] = (count + 1, total + size)
            continue
        is_shown = name.endswith(".json") and size <= LARGEST_SHOWN
        address = _query(index, "", view="json") if is_shown else ""
        entries.append(Entry(name, path, size, _kind(name), address))
    entries += [
        Entry(name, f"{prefix}{name}", total, "", _query(index, f"{prefix}{name}"), count)
        for name, (count, total) in folders.items()
    ]
    return sorted(entries, key=_place)


def _place(entry: Entry) -> tuple[str, str]:
    """dbt's own documents come before the folders of compiled SQL."""
    return "1" if entry.files is not None else "0", entry.name


def _kind(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return TYPES.get(suffix, suffix.removeprefix(".").upper() or "File")


def _query(index: int | None, folder: str, **more: str) -> str:
    given = {"step": "" if index is None else str(index), "in": folder, **more}
    return f"?{urlencode({name: value for name, value in given.items() if value})}"


def _above(folder: str, index: int | None) -> list[tuple[str, str]]:
    """The folders that lead to ``folder``, each with its address."""
    parts = folder.split("/") if folder else []
    return [(name, _query(index, "/".join(parts[: place + 1]))) for place, name in enumerate(parts)]


def _kept_until(run: Run) -> datetime | None:
    """When the run's files may go; None for never, and while the run goes on."""
    if run.finished_at is None or settings.KEEP_ARTIFACTS_DAYS <= 0:
        return None
    return run.finished_at + timedelta(days=settings.KEEP_ARTIFACTS_DAYS)


def _why_none(run: Run, steps: Sequence[RunStep]) -> str:
    """A sentence on why a run that has ended left no files."""
    if not run.is_finished:
        return "There are no files yet: they are kept when a step ends."
    never_begun = next((step.index for step in steps if step.started_at is None), None)
    if not steps:
        return "dbt wrote no files: the run ended before its first step."
    if never_begun is not None:
        return f"dbt wrote no files: the run ended before step {never_begun}."
    return "dbt wrote no files."


@require_safe
@member_of_account()
def artifact_zip(
    _request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> StreamingHttpResponse:
    """Every file and every log of a run."""
    run = run_of(membership, project_id, run_id)
    response = StreamingHttpResponse(zip_of(run), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="run-{run.pk}.zip"'
    response["Cache-Control"] = "no-store"
    return response


@require_safe
@member_of_account()
def artifact(
    request: HttpRequest,
    membership: Membership,
    project_id: int,
    run_id: int,
    artifact_path: str,
) -> HttpResponseBase:
    """One file, as a download only: a run may have written HTML that means harm.

    ``?view=json`` shows a document as a tree, from ``?at=``, a JSON list of keys, on.
    """
    run = run_of(membership, project_id, run_id)
    index = number(request, "step")
    try:
        file = open_artifact(run, artifact_path, index)
    except FileNotFoundError as gone:
        raise Http404 from gone
    if file is None:
        raise Http404
    if request.GET.get("view") == "json":
        with file:
            text = file.read(LARGEST_SHOWN + 1)
        context = {
            "tab": "artifacts",
            "index": index,
            "path": artifact_path,
            "query": f"{_query(index, '', view='json')}&",
            "tree": _tree(text, request.GET.get("at", "")),
            "is_part": bool(request.GET.get("at")),
        }
        return run_page(request, membership, "console/artifact.html", run, context)
    response = FileResponse(
        file,
        as_attachment=True,
        filename=f"run-{run.pk}-{artifact_path.replace('/', '-')}",
        content_type="application/octet-stream",
    )
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def _tree(text: bytes, at: str) -> Any:
    """The part of a document at ``at``; None where it is too large or is none."""
    if len(text) > LARGEST_SHOWN:
        return None
    try:
        return tree_of(json.loads(text), at)
    except (ValueError, RecursionError):
        return None
