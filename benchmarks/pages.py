"""What each page of the console takes: ``python -m benchmarks.pages [postgresql|sqlite]``.

Makes the example data in a database of its own, and asks every page of one warm process, again
and again. Prints a row a page: the CPU time of the process and the time on the clock, median and
95th percentile in milliseconds, the queries, and the size of the answer. On a machine that is
shared the first tells more than the second; what PostgreSQL itself takes is in the second alone.

To compare two commits, save the figures in a checkout of the first, and have them beside those of
the second; to compare 1,000 runs with 100,000, the same with ``--runs``::

    python -m benchmarks.pages sqlite --runs 1000 --save small.json
    python -m benchmarks.pages sqlite --against small.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.figures import Figures
from tests.installation import installation

RUNS = 100_000
TIMES = 20
LIMIT = 200  # milliseconds, of 95 in 100 answers
EMAIL = "owner@example.com"


def measure(kind: str, data: Path, *, runs: int, times: int) -> list[Figures]:
    """The figures of every page with ``runs`` runs, in the order of the addresses.

    Args:
        kind: of database, ``postgresql`` or ``sqlite``.
        data: an empty folder.
    """
    with installation(kind, data, JOBSVC_LOG_LEVEL="ERROR") as service:
        before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        service.manage("seed_example_data", f"--runs={runs}", f"--email={EMAIL}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds = time.monotonic() - clock
        print(f"{kind}, {runs} runs, made in {seconds:.0f} s ({cpu:.0f} s of CPU)", flush=True)
        asking = service.start(
            *("-m", "benchmarks.asked_pages", EMAIL, str(times)), stdout=subprocess.PIPE
        )
        assert asking.stdout is not None
        found = [Figures(**json.loads(line)) for line in asking.stdout]
        if asking.wait():
            sys.exit("A page could not be asked; what it said is above.")
        return found


def show(found: list[Figures], before: dict[str, Figures]) -> None:
    """The table; of a page that was measured before also how many times as long it takes."""
    print(f"{'page':52} {'cpu':>5} {'p95':>5} {'clock':>6} {'p95':>5} {'queries':>8} {'KB':>6}")
    for one in found:
        earlier = before.get(one.name)
        ratio = f"  x {one.cpu / earlier.cpu:.2f}" if earlier else ""
        over = "  over" if one.cpu_p95 > LIMIT else ""
        print(
            f"{one.name:52.52} {one.cpu:5.0f} {one.cpu_p95:5.0f} {one.clock:6.0f} "
            f"{one.clock_p95:5.0f} {one.queries:8} {one.size / 1024:6.0f}{ratio}{over}"
        )
    worst = max(found, key=lambda one: one.cpu_p95)
    print(f"The slowest is {worst.name}: {worst.cpu_p95:.0f} ms of CPU at the 95th percentile.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", nargs="?", default="postgresql", choices=["postgresql", "sqlite"])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--times", type=int, default=TIMES, help="How often each page is asked.")
    parser.add_argument("--save", type=Path, help="Where the figures are to be kept.")
    parser.add_argument("--against", type=Path, help="Figures that were kept, to compare with.")
    given = parser.parse_args()
    before = json.loads(given.against.read_text()) if given.against else []
    with tempfile.TemporaryDirectory() as data:
        found = measure(given.kind, Path(data), runs=given.runs, times=given.times)
    show(found, {one["name"]: Figures(**one) for one in before})
    if given.save:
        given.save.write_text(json.dumps([asdict(one) for one in found]))


if __name__ == "__main__":
    main()
