"""The last runs of many jobs, and how long these usually take: each in one query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from statistics import median_low

from django.db.models import DurationField, ExpressionWrapper, F, OuterRef, Subquery, Window
from django.db.models.functions import RowNumber

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus

LIKE_IT = 5  # successful runs that say what is usual


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


def usual_lengths(jobs: Iterable[Job]) -> dict[int, timedelta]:
    """How long the last successful runs of each of ``jobs`` worked, by the job's id: the median.

    Jobs that never succeeded are left out.
    """
    length = ExpressionWrapper(F("finished_at") - F("dequeued_at"), output_field=DurationField())
    lengths = (
        Run.objects.filter(job=OuterRef("pk"), status=RunStatus.SUCCESS, dequeued_at__isnull=False)
        .order_by("-pk")
        .values(length=length)
    )
    # One look into the index each, where a window over all runs would read every one of them.
    places = {f"length_{place}": Subquery(lengths[place : place + 1]) for place in range(LIKE_IT)}
    rows = Job.objects.filter(pk__in=[job.pk for job in jobs]).annotate(**places)
    found = {}
    for pk, *known in rows.values_list("pk", *places):
        if some := [length for length in known if length is not None]:
            found[pk] = median_low(some)
    return found
