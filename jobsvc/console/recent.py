"""The last runs of many jobs, in one query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run


def last_runs(jobs: Iterable[Job], number: int) -> dict[int, list[Run]]:
    """The last ``number`` runs of each of ``jobs``, oldest first, by the job's id."""
    place = Window(RowNumber(), partition_by=F("job"), order_by=F("pk").desc())
    runs = (
        Run.objects.filter(job__in=jobs)
        .annotate(place=place)
        .filter(place__lte=number)
        .defer("configuration", "isolation", "state_used", "built_schemas")
        .order_by("pk")
    )
    found: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.job_id].append(run)
    return found
