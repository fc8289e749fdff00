"""What dbt said a step came to, in sentences: read from its result files and its console.

Every reader here takes what a stranger's project may have left there: a file of another
shape, or none, gives an empty answer and never an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_RESULTS = "run_results.json"
LARGEST = 64 * 1024**2  # bytes of a result file worth reading for a sentence
NAMED = 5  # failed nodes named in a message; the rest are counted
LONGEST = 300  # characters of what dbt says of one node, or of its last words

FAILED = frozenset({"error", "fail", "runtime error", "partial success"})

_TIME = re.compile(r"^\d\d:\d\d:\d\d\s?")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NOTHING = re.compile(r"^(?:Nothing to do\.|No nodes selected!)")
_NO_MATCH = re.compile(r"^The selection criterion '.*' does not match any .*nodes")
_FATAL = re.compile(r"^(?:Encountered an error|Error: |Usage: )")
_NO_NEWS = re.compile(r"^(?:Usage: |Try '|Encountered an error|Running with dbt=|Done\.$)")


@dataclass(frozen=True)
class NodeResult:
    """One entry of run_results.json or sources.json.

    Attributes:
        message: what dbt says of it; empty where it says nothing.
    """

    unique_id: str
    status: str
    message: str

    @property
    def failed(self) -> bool:
        return self.status in FAILED


def read_results(file: Path) -> list[NodeResult]:
    """The entries of a run_results.json or a sources.json; none if it cannot be read."""
    return results_in(read_file(file) or {})


def results_in(found: Mapping[str, Any]) -> list[NodeResult]:
    """The entries of what a run_results.json or a sources.json holds."""
    entries = found.get("results")
    if not isinstance(entries, list):
        return []
    return [_node(entry) for entry in entries if isinstance(entry, dict)]


def read_file(file: Path) -> dict[str, Any] | None:
    """What a result file holds; None if it cannot be read, or is no JSON object."""
    try:
        if file.stat().st_size > LARGEST:
            return None
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _node(entry: dict[str, Any]) -> NodeResult:
    message = entry.get("message") or entry.get("error") or ""
    if not message and entry.get("max_loaded_at"):
        message = f"last loaded at {entry['max_loaded_at']}"
    return NodeResult(
        unique_id=_text(entry.get("unique_id", "")),
        status=_text(entry.get("status", "")),
        message=_text(message),
    )


def _text(found: object) -> str:
    """As any database and any mail takes it: a project may leave NUL, or half a character."""
    return str(found).replace("\0", "").encode(errors="replace").decode()


def failed_nodes(results: Sequence[NodeResult]) -> str:
    """Which nodes failed and why; empty if none did.

    For example ``2 nodes failed: model.shop.orders (Database Error in model orders
    (models/orders.sql): Binder Error: …); test.shop.unique_id (Got 1 result, …)``.
    """
    failed = [result for result in results if result.failed]
    if not failed:
        return ""
    named = [f"{result.unique_id} ({_gist(result)})" for result in failed[:NAMED]]
    if len(failed) > NAMED:
        named.append(f"and {len(failed) - NAMED} more")
    noun = "node" if len(failed) == 1 else "nodes"
    return f"{len(failed)} {noun} failed: {'; '.join(named)}"


def _gist(result: NodeResult) -> str:
    """The first two lines of a message: dbt's kind of error, then the warehouse's own words."""
    lines = _lines(result.message)
    if not lines:
        return result.status
    return _shortened(": ".join(line.rstrip(":") for line in lines[:2]))


def stale_sources(results: Sequence[NodeResult]) -> list[str]:
    """The sources that are too old; none where the freshness of any could not be told."""
    failed = [result for result in results if result.failed]
    stale = [result for result in failed if result.status == "error"]
    return [result.unique_id for result in stale] if len(stale) == len(failed) else []


def stale_in_words(sources: Sequence[str]) -> str:
    """For example ``2 sources are stale: source.shop.raw.orders, source.shop.raw.items``."""
    named = [*sources[:NAMED], *([f"and {len(sources) - NAMED} more"] if sources[NAMED:] else [])]
    number = "1 source is" if len(sources) == 1 else f"{len(sources)} sources are"
    return f"{number} stale: {', '.join(named)}"


def nothing_to_do(console: str) -> str:
    """A sentence if dbt found nothing to run, else empty."""
    lines = _lines(console)
    if not any(_NOTHING.match(line) for line in lines):
        return ""
    reason = next((line for line in lines if _NO_MATCH.match(line)), "no node was selected")
    return f"Nothing to do: {_shortened(reason.rstrip('.'))}."


def last_words(console: str) -> str:
    """What dbt last said of its error: from where it names one, else its last lines."""
    lines = _lines(console)
    fatal = [number for number, line in enumerate(lines) if _FATAL.match(line)]
    if fatal:
        told = [line for line in lines[fatal[0] :] if not _NO_NEWS.match(line)]
    else:
        told = [line for line in lines if not _NO_NEWS.match(line)][-3:]
    return _shortened(" ".join(told[:4]))


def _lines(text: str) -> list[str]:
    """The lines that say something, without colours, time stamps and margins."""
    plain = (_TIME.sub("", _ANSI.sub("", line)).strip() for line in text.splitlines())
    return [line for line in plain if line]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
