"""What every process of the service does before anything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOOK = """
import ctypes, django
django.setup()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_a_process_that_holds_the_services_keys_closes_its_memory(tmp_path: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={
            "DJANGO_SETTINGS_MODULE": "jobsvc.settings",
            "JOBSVC_DATA_DIR": str(tmp_path),
            "PYTHONPATH": ".",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert printed.strip() == "0"  # what PR_GET_DUMPABLE says of such a process
