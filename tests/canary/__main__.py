"""``python -m tests.canary``: let the canary loose, with and without confinement; print the table.

Ends with status 1 if a confined attack got anything. ``--why`` adds what stopped each.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.canary import harness


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="canary-nest-") as place:
        for how in ("naive", "confined"):
            Path(place, how).mkdir()
        naive = harness.attack("naive", Path(place, "naive"))
        confined = harness.attack("confined", Path(place, "confined"))
    sys.stdout.write(harness.table(naive, confined) + "\n")
    if "--why" in sys.argv[1:]:
        for verdict in sorted(confined.verdicts.values(), key=lambda one: one.attack):
            sys.stdout.write(f"{verdict.attack}: {verdict.met or verdict.got}\n")
    return 1 if confined.through() else 0


if __name__ == "__main__":
    sys.exit(main())
