"""The process that ``benchmarks.pages`` measures: asks each page, prints JSON, a line for each."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from statistics import median, quantiles

import django

django.setup()

from django.conf import settings  # noqa: E402 - models need the setup above
from django.db import connection  # noqa: E402 - models need the setup above
from django.test import Client  # noqa: E402 - models need the setup above
from django.test.utils import CaptureQueriesContext  # noqa: E402 - models need the setup above

from accounts.models import User  # noqa: E402 - models need the setup above
from benchmarks.figures import Figures  # noqa: E402 - models need the setup above
from tests.console.seeded import addresses  # noqa: E402 - models need the setup above


def ask_all(email: str, times: int) -> None:
    """Ask each page ``times`` times, after twice that do not count."""
    settings.ALLOWED_HOSTS = ["testserver"]
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    client = Client()
    client.force_login(User.objects.get(email=email))
    for name, url in addresses():
        client.get(url)
        with CaptureQueriesContext(connection) as asked:
            answer = client.get(url)
        queries = len(asked)
        if answer.status_code != 200 or "text/html" not in answer.get("Content-Type", ""):
            continue
        cpu, clock = [], []
        for _ in range(times):
            begun, at_work = time.perf_counter(), time.process_time()
            answer = client.get(url)
            cpu.append(1000 * (time.process_time() - at_work))
            clock.append(1000 * (time.perf_counter() - begun))
        one = Figures(
            name=name,
            cpu=median(cpu),
            cpu_p95=_p95(cpu),
            clock=median(clock),
            clock_p95=_p95(clock),
            queries=queries,
            size=len(answer.content),
        )
        print(json.dumps(asdict(one)), flush=True)


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


if __name__ == "__main__":
    ask_all(sys.argv[1], int(sys.argv[2]))
