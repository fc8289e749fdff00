"""Tests of a job that cannot make up their mind.

A test is flaky if, among the runs looked at, it passed and failed on the same commit, or if it
changed its mind twice within ``COMMITS`` commits that followed each other: it passed, failed and
passed again, or the other way round. One change of mind is a thing that broke or was repaired. A
warning counts as a failure, for it says that rows were found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jobsvc.runs.models import NodeResult, Run

COMMITS = 3  # that followed each other
PASSED = ("pass", "success")
FAILED = ("fail", "error", "warn", "runtime error")
TESTS = ("test", "unit_test")
MOST = 20  # that are listed
MOST_READ = 20_000  # results: where everything fails, nothing is flaky


@dataclass(frozen=True)
class Flaky:
    """One such test; ``why`` names the runs that show it."""

    name: str
    unique_id: str
    passed: int
    failed: int
    why: str


@dataclass(frozen=True)
class _Result:
    run: Run
    commit: int  # its place among the commits that were run one after the other
    passed: bool


def flaky_tests(runs: Sequence[Run]) -> list[Flaky]:
    """The flaky tests of ``runs``, oldest first: those that failed most come first. One query."""
    by_id = {run.pk: run for run in runs if run.git_sha}
    commits = _commits(list(by_id.values()))
    nodes = NodeResult.objects.filter(run__in=list(by_id), resource_type__in=TESTS)
    if not by_id:
        return []
    failed = nodes.filter(status__in=FAILED).values("unique_id")
    told = nodes.filter(unique_id__in=failed, status__in=[*PASSED, *FAILED]).order_by("run", "pk")
    results: dict[str, list[_Result]] = defaultdict(list)
    names: dict[str, str] = {}
    for unique_id, name, run_id, status in told.values_list(
        "unique_id", "name", "run_id", "status"
    )[:MOST_READ]:
        run = by_id[run_id]
        results[unique_id].append(_Result(run, commits[run_id], status in PASSED))
        names[unique_id] = name
    found = []
    for unique_id, some in results.items():
        if why := _why(some):
            passed = sum(1 for one in some if one.passed)
            found.append(Flaky(names[unique_id], unique_id, passed, len(some) - passed, why))
    return sorted(found, key=lambda one: (-one.failed, one.name))[:MOST]


def _commits(runs: Sequence[Run]) -> dict[int, int]:
    """Run to the place of its commit: one that comes again later is another place."""
    places: dict[int, int] = {}
    place, before = 0, None
    for run in runs:
        if before is not None and run.git_sha != before:
            place += 1
        places[run.pk], before = place, run.git_sha
    return places


def _why(results: Sequence[_Result]) -> str:
    """The newest sign of it, in words; empty if there is none."""
    by_commit: dict[str, list[_Result]] = defaultdict(list)
    for one in results:
        by_commit[str(one.run.git_sha)].append(one)
    for sha, some in reversed(by_commit.items()):
        passed = next((one for one in reversed(some) if one.passed), None)
        failed = next((one for one in reversed(some) if not one.passed), None)
        if passed and failed:
            return (
                f"passed in run {passed.run.pk} and failed in run {failed.run.pk}, "
                f"both at {sha[:7]}"
            )
    turns = [pair for pair in pairwise(results) if pair[0].passed != pair[1].passed]
    for (before, first), (_same, second) in reversed(list(pairwise(turns))):
        if second.commit - before.commit < COMMITS:
            words = ("failed", "passed") if second.passed else ("passed", "failed")
            return (
                f"{words[0]} in run {first.run.pk} and {words[1]} again in run {second.run.pk}, "
                f"within {COMMITS} commits"
            )
    return ""
