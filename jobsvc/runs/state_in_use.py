"""Which runs others still build on: their files must stay, however old they are."""

from __future__ import annotations

from django.db.models import Max

from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus


def state_in_use() -> dict[int, str]:
    """Runs whose state is used or may be asked for, by id, each with the reason in words."""
    in_use: dict[int, str] = {}
    states = Run.objects.filter(
        status=RunStatus.SUCCESS, steps__artifacts__path="manifest.json"
    ).order_by()
    for kind in ("job", "environment"):
        newest = states.values(kind).annotate(newest=Max("pk")).values_list(kind, "newest")
        for number, run in newest:
            in_use.setdefault(run, f"It is the newest state of {kind} {number}.")
    for run, retried, deferred in Run.objects.unfinished().values_list(
        "pk", "retrying_run", "deferring_run"
    ):
        for used in filter(None, (retried, deferred)):
            in_use[used] = f"Run {run}, which is not over yet, uses what it left."
    return in_use
