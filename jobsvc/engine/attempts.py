"""Trying a step again inside its run: when, how long to wait, and what was tried."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from jobsvc.engine import results
from jobsvc.engine.patience import delay_before, may_retry
from jobsvc.engine.plan import RetryPlan
from jobsvc.engine.ports import Attempt, CollectedFile, Ending, StepEnd


def keep_trying(
    policy: RetryPlan,
    try_once: Callable[[int], StepEnd],
    *,
    wait: Callable[[float], Ending | None],
    say: Callable[[str], None],
    chance: Callable[[], float] = random.random,
) -> StepEnd:
    """Try until it goes well, or ``policy`` gives up; the last attempt's end, with all of them.

    Args:
        try_once: makes the attempt of this number, from 1.
        wait: lets these seconds pass; how the step ends if it is cut short meanwhile.
        say: a line for the step's log.
    """
    attempts: list[Attempt] = []
    delay = 0.0
    while True:
        number = len(attempts) + 1
        started_at = _now()
        end = try_once(number)
        attempts.append(
            Attempt(
                number=number,
                started_at=started_at,
                finished_at=_now(),
                delay_seconds=delay,
                resumed=end.resumed,
                exit_code=end.exit_code,
                message=end.message,
                failure_class=end.failure_class,
            )
        )
        if not may_retry(policy, end.failure_class, attempt=number):
            break
        delay = round(delay_before(policy, number, chance=chance), 1)
        say(f"Attempt {number + 1} of {policy.max_retries + 1} in {delay:g} s: {end.message}")
        cut = wait(delay)
        if cut is not None:
            end = replace(
                end,
                ending=cut,
                message=f"Stopped while it waited for attempt {number + 1}. {end.message}",
            )
            break
    return replace(end, attempts=tuple(attempts))


def together(earlier: StepEnd, later: StepEnd) -> StepEnd:
    """``later`` with the files of the attempt that it went on from, so that none is missing.

    ``dbt retry`` writes only of the nodes that it ran again. What it wrote wins; of
    run_results.json the entries of the other nodes are taken over, so that the step's results
    still say what became of each node.
    """
    newest = {kept.path: kept for kept in later.artifacts}
    oldest = {kept.path: kept for kept in earlier.artifacts}
    files = oldest | newest
    name = results.RUN_RESULTS
    if name in newest and name in oldest:
        files[name] = _merged(oldest[name], newest[name])
    return replace(later, artifacts=tuple(files[path] for path in sorted(files)))


def _merged(earlier: CollectedFile, later: CollectedFile) -> CollectedFile:
    before, after = results.read_file(earlier.file), results.read_file(later.file)
    rows, again = _rows(before), _rows(after)
    if before is None or after is None or rows is None or again is None:
        return later
    merged = {_id(row): row for row in rows} | {_id(row): row for row in again}
    place = later.file.with_name(f"merged-{later.file.name}")
    place.write_text(json.dumps({**after, "results": list(merged.values())}))
    return CollectedFile(path=later.path, file=place, size=place.stat().st_size)


def _rows(found: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    rows = found.get("results") if found else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    return rows


def _id(row: Mapping[str, Any]) -> str:
    return str(row.get("unique_id", ""))


def _now() -> str:
    return datetime.now(UTC).isoformat()
