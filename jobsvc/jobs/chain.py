"""What follows what: completion triggers never form a circle."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.statuses import State


def refuse_circle(job: Job, upstream: Job) -> None:
    """Refuse to let ``job`` start after ``upstream`` where that would close a circle.

    Raises:
        ValidationError: with the path, such as "A → B → A".
    """
    path = [job.name]
    seen: Job | None = upstream
    visited: set[int] = set()
    while seen is not None and seen.pk not in visited:
        path.append(seen.name)
        if seen.pk == job.pk:
            raise ValidationError(
                {
                    "job_completion_trigger_condition": (
                        f"These jobs would start each other for ever: {' → '.join(reversed(path))}."
                        " Remove one of the triggers first."
                    )
                },
                code="circle",
            )
        visited.add(seen.pk)
        before = (
            CompletionTrigger.objects.filter(job=seen, upstream__state=State.ACTIVE)
            .select_related("upstream")
            .first()
        )
        seen = before.upstream if before else None
