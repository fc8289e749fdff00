"""Let each run of a job end with the project's documentation."""

from __future__ import annotations

from django.db import transaction

from jobsvc.jobs.models import Job, Saving
from jobsvc.jobs.revisions import keep_what_is, keep_what_was


def switch_docs_on(job: Job) -> Job:
    """From its next run on, ``job`` makes documentation. Doing it twice changes nothing more."""
    with transaction.atomic():
        job.refresh_from_db(from_queryset=Job.objects.select_for_update(no_key=True))
        if not job.generate_docs:
            keep_what_was(job)
            job.generate_docs = True
            job.save(update_fields=["generate_docs", "updated_at"])
            keep_what_is(job, Saving.CHANGED)
    return job
