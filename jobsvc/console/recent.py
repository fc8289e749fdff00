"""The last runs of many jobs, and how long these usually take: however many jobs there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from statistics import median_low, quantiles

from django.db.models import DurationField, ExpressionWrapper, F, OuterRef, Subquery
from django.db.models.functions import Coalesce

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus

LIKE_IT = 5  # successful runs that say what is usual
SHOWN = (
    *("account", "project", "environment", "job", "status", "has_warnings"),
    *("created_at", "dequeued_at", "started_at", "finished_at"),
)


def last_runs(jobs: Iterable[Job], number: int) -> dict[int, list[Run]]:
    """The last ``number`` runs of each of ``jobs``, oldest first, by the job's id.

    They know what a row or a picture shows of a run; what else is asked of one is a query.
    """
    of_job = Run.objects.filter(job=OuterRef("pk")).order_by("-pk").values("pk")
    oldest = Coalesce(Subquery(of_job[number - 1 : number]), 0)
    # From the jobs to their runs, and ids alone: for each one stretch of an index, where a window
    # would read every run that there ever was.
    ids = Job.objects.filter(pk__in=[job.pk for job in jobs], runs__pk__gte=oldest)
    newest = list(ids.order_by().values_list("runs__pk", flat=True))
    found: dict[int, list[Run]] = defaultdict(list)
    for run in Run.objects.filter(pk__in=newest).only(*SHOWN).order_by("pk"):
        found[run.job_id].append(run)
    return found


def usual_of(newest: Iterable[Run]) -> timedelta | None:
    """How long the successful ones of ``newest``, a job's runs, newest first, worked: the median
    of the last; None of none."""
    lengths = [
        run.finished_at - run.dequeued_at
        for run in newest
        if run.status == RunStatus.SUCCESS and run.finished_at and run.dequeued_at
    ]
    return median_low(lengths[:LIKE_IT]) if lengths else None


def spread_of(runs: Iterable[Run]) -> timedelta | None:
    """How far the successful ones of ``runs`` lie from the middle: half of what parts the tenth
    from the ninetieth percentile; None of fewer than three."""
    lengths = [
        (run.finished_at - run.dequeued_at).total_seconds()
        for run in runs
        if run.status == RunStatus.SUCCESS and run.finished_at and run.dequeued_at
    ]
    if len(lengths) < 3:
        return None
    tenths = quantiles(lengths, n=10, method="inclusive")
    return timedelta(seconds=(tenths[-1] - tenths[0]) / 2)


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
