"""What a run came to, read from the files it left: once, at its end, and kept small.

Never to be called where somebody waits for a page: a manifest may have many megabytes.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from django.core.files.storage import storages

from ci import modified
from jobsvc.engine import compare, lint
from jobsvc.engine.results import LARGEST, RUN_RESULTS, NodeResult, results_in
from jobsvc.engine.state import MANIFEST
from jobsvc.runs.models import Artifact, Run

T = TypeVar("T")
logger = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()  # two manifests in memory are enough for one process

MOST_NODES = 50  # of each list that is kept; the rest are counted
MOST_FINDINGS = 200  # of linting
LONGEST_MESSAGE = 4_000  # characters of what the database said of one node
MOST_COLUMNS = 20  # of one compared model, of each list


@dataclass(frozen=True, kw_only=True)
class FailedNode:
    """``path`` is the file in the dbt project, where a manifest named it."""

    name: str
    kind: str
    path: str
    status: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Built:
    """Why one node was built: in what it differs, or which modified ones it is below."""

    name: str
    differs: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Selected:
    """How many nodes were built because they differ, are below such a one, or for another
    reason; how many were read from where the other run had built them; and why, of some."""

    modified: int = 0
    downstream: int = 0
    others: int = 0
    deferred: int = 0
    built: list[Built] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What linting found; ``line`` and ``column`` count from 1."""

    path: str
    line: int
    column: int
    code: str
    description: str


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """How a model that was built differs from the one that production has.

    Attributes:
        rows: before, after, added, removed, changed; None where that is not known.
        columns: changes in words, such as ``added: discount numeric``.
        changed: column → rows in which it has another value.
    """

    name: str
    status: str
    message: str = ""
    rows: dict[str, int | None] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    changed: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``note`` says it in a sentence; ``count`` is of all models in which something differs."""

    note: str = ""
    models: list[ComparedModel] = field(default_factory=list)
    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All of it.

    Attributes:
        counts: nodes by dbt's status of them.
        selected: None where the run was compared with nothing, or that cannot be read.
        findings: what linting found, None where it was not done; ``finding_count`` is of all.
        comparison: None where nothing was compared.
    """

    counts: dict[str, int] = field(default_factory=dict)
    failed: list[FailedNode] = field(default_factory=list)
    failed_count: int = 0
    selected: Selected | None = None
    findings: list[Finding] | None = None
    finding_count: int = 0
    comparison: Comparison | None = None

    @classmethod
    def kept(cls, content: Mapping[str, Any]) -> Summary:
        """The summary that ``asdict`` made ``content`` of."""
        selected, comparison = content["selected"], content["comparison"]
        read = {
            "failed": _each(FailedNode, content["failed"]),
            "selected": selected and _with(Selected, selected, built=Built),
            "findings": _each(Finding, content["findings"]),
            "comparison": comparison and _with(Comparison, comparison, models=ComparedModel),
        }
        return cls(**{**content, **read})


def _each(kind: type[T], rows: Sequence[Mapping[str, Any]] | None) -> list[T] | None:
    return None if rows is None else [kind(**row) for row in rows]


def _with(kind: type[T], content: Mapping[str, Any], **lists: type[Any]) -> T:
    """A ``kind`` some of whose values are lists of others."""
    return kind(**{**content, **{key: _each(one, content[key]) for key, one in lists.items()}})


def summarised(run: Run) -> dict[str, Any]:
    """What the files of ``run`` say, to be kept as JSON."""
    with _one_at_a_time:
        return _summarised(run)


def _summarised(run: Run) -> dict[str, Any]:
    results = {node.unique_id: node for node in _results(run)}
    mine = _manifest(run) if results else None
    failed = [node for node in results.values() if node.failed]
    findings = _findings(run)
    summary = Summary(
        counts=dict(Counter(node.status for node in results.values())),
        failed=[_failed(node, mine) for node in failed[:MOST_NODES]],
        failed_count=len(failed),
        selected=_selected(run, results, mine),
        findings=None if findings is None else [_finding(one) for one in findings[:MOST_FINDINGS]],
        finding_count=len(findings or ()),
        comparison=_comparison(_object(_json_of(run, compare.ARTIFACT, LARGEST))),
    )
    kept: dict[str, Any] = _storable(asdict(summary))
    return kept


def _results(run: Run) -> list[NodeResult]:
    """Of each step that builds, one after the other: a later word on a node is the last."""
    files = Artifact.objects.filter(step__run=run, step__builds=True, path=RUN_RESULTS)
    return [
        node
        for file in files.order_by("step__index")
        for node in results_in(_object(_read(file, LARGEST)) or {})
    ]


def _manifest(run: Run) -> modified.Manifest | None:
    found = _object(_json_of(run, MANIFEST, LARGEST))
    return modified.read(found) if found else None


def _selected(
    run: Run, results: Mapping[str, NodeResult], mine: modified.Manifest | None
) -> Selected | None:
    other = _manifest(run.deferring_run) if mine and run.deferring_run else None
    if mine is None or other is None:
        return None
    found = modified.reasons(results, mine, other)
    built = [
        *(Built(name=_name(one, mine), differs=why) for one, why in found.modified.items()),
        *(
            Built(name=_name(one, mine), below=[_name(above, mine) for above in below])
            for one, below in found.downstream.items()
        ),
    ]
    return Selected(
        modified=len(found.modified),
        downstream=len(found.downstream),
        others=len(found.others),
        deferred=len(found.deferred),
        built=built[:MOST_NODES],
    )


def _failed(node: NodeResult, mine: modified.Manifest | None) -> FailedNode:
    known = mine.nodes.get(node.unique_id) if mine else None
    return FailedNode(
        name=_name(node.unique_id, mine),
        kind=known.kind if known else node.unique_id.partition(".")[0],
        path=known.path if known else "",
        status=node.status,
        message=node.message[:LONGEST_MESSAGE],
    )


def _name(unique_id: str, mine: modified.Manifest | None) -> str:
    """``orders`` of ``model.shop.orders``; of a test, whose id ends with a sum, its name."""
    known = mine.nodes.get(unique_id) if mine else None
    return (known.name if known else "") or ".".join(unique_id.split(".")[2:]) or unique_id


def _finding(entry: Any) -> Finding:
    given = _object(entry) or {}
    return Finding(
        path=str(given.get("path", "")),
        line=_place(given.get("line")),
        column=_place(given.get("column")),
        code=str(given.get("code", "")),
        description=str(given.get("description", ""))[:LONGEST_MESSAGE],
    )


def _comparison(found: Mapping[str, Any] | None) -> Comparison | None:
    if found is None:
        return None
    rows = [one for one in _objects(found.get("models")) if one.get("status") != "identical"]
    return Comparison(
        note=str(found.get("note", "")),
        models=[_compared(row) for row in rows[:MOST_NODES]],
        count=len(rows),
    )


def _compared(row: Mapping[str, Any]) -> ComparedModel:
    columns = _object(row.get("columns")) or {}
    told = [
        *(f"added: {_words(one, 'name', 'type')}" for one in _objects(columns.get("added"))),
        *(f"removed: {_words(one, 'name', 'type')}" for one in _objects(columns.get("removed"))),
        *(
            f"retyped: {_words(one, 'name', 'before')} → {_words(one, 'after')}"
            for one in _objects(columns.get("retyped"))
        ),
    ]
    changed = list((_object(row.get("changed_columns")) or {}).items())
    return ComparedModel(
        name=_name(str(row.get("unique_id", "")), None),
        status=str(row.get("status", "")).replace("_", " "),
        message=str(row.get("message", ""))[:LONGEST_MESSAGE],
        rows={key: _count(number) for key, number in (_object(row.get("rows")) or {}).items()},
        columns=told[:MOST_COLUMNS],
        changed={key: _count(number) for key, number in changed[:MOST_COLUMNS]},
    )


def _words(of: Mapping[str, Any], *keys: str) -> str:
    return " ".join(str(of.get(key, "")) for key in keys)


def _objects(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _storable(value: Any) -> Any:
    """``value`` without what no column can keep: NUL, half of a surrogate pair, NaN."""
    if isinstance(value, dict):
        return {_storable(key): _storable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_storable(part) for part in value]
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _place(value: Any) -> int:
    number = _count(value)
    return number if number is not None and number > 0 else 1


# --- Files ---------------------------------------------------------------------------------------


def _findings(run: Run) -> Sequence[Any] | None:
    found = (_object(_json_of(run, lint.ARTIFACT, LARGEST)) or {}).get("findings")
    return found if isinstance(found, list) else None


def _object(found: Any) -> dict[str, Any] | None:
    return found if isinstance(found, dict) else None


def _json_of(run: Run, path: str, largest: int) -> Any:
    """What the newest file of that path holds that a step which speaks for the run left."""
    files = Artifact.objects.filter(step__run=run, path=path)
    file = files.order_by("-step__builds", "-step__index").first()
    return _read(file, largest) if file else None


def _read(file: Artifact, largest: int) -> Any:
    """What a JSON file holds; None where it is too large to be read, gone, or something else."""
    if file.size > largest:
        logger.info("run %s: %s is too large to be summed up", file.step.run_id, file.path)
        return None
    try:
        with storages["artifacts"].open(file.storage_name, "rb") as opened:
            return json.load(opened)
    except (OSError, ValueError, RecursionError):
        logger.warning("run %s: %s cannot be read", file.step.run_id, file.path)
        return None
