"""What others wrote and the console serves: each file is the one that is on record."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from jobsvc import console

VENDOR = Path(console.__file__).parent / "static" / "console" / "vendor"
RECORD = VENDOR / "VENDORED.txt"
LINE = re.compile(r"^(\S+) +(@?\S+) +([0-9.]+) +(\S+) +([0-9a-f]{64})$", re.MULTILINE)


def test_each_file_is_on_record_and_is_what_the_record_says() -> None:
    recorded = {found[0]: found[4] for found in LINE.findall(RECORD.read_text())}
    here = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in VENDOR.iterdir()
        if file != RECORD
    }

    assert here == recorded
    assert "dagre.min.js" in here


def test_each_package_comes_with_its_licence() -> None:
    packages = {found[1] for found in LINE.findall(RECORD.read_text())}
    licences = {found[1] for found in LINE.findall(RECORD.read_text()) if "LICENSE" in found[0]}

    assert packages == licences


def test_no_file_asks_for_a_map_that_is_not_there() -> None:
    assert [
        file.name for file in VENDOR.glob("*.js") if "sourceMappingURL" in file.read_text()
    ] == []
