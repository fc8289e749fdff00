"""Bring a job back to how a save of it once left it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from jobsvc.jobs.define import define_job
from jobsvc.jobs.document import document_of, put
from jobsvc.jobs.models import Job, JobRevision
from jobsvc.jobs.revisions import Difference, differences

# What restoring leaves as it is: whether a job rests is no setting, but how things stand.
LEFT = ("deactivated", "state", "extensions.pause")


def restore_job(job: Job, revision: JobRevision) -> Job:
    """Define ``job`` as ``revision`` has it, by the rules that hold today. A pause stays.

    Raises:
        ValidationError: a rule is broken, or something that it names is gone; nothing is saved.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update(no_key=True).get(pk=job.pk)
        completion = put(_settings(revision.document, job), job)
        define_job(job, completion=completion, restores=revision)
        audit.record(
            "job_definition.restored",
            job,
            account_id=job.account_id,
            differences={"revision": [None, revision.number]},
        )
    return job


def what_restoring_changes(job: Job, revision: JobRevision) -> list[Difference]:
    """What ``restore_job`` would change, as the job is now."""
    found = differences(document_of(job), revision.document)
    return [one for one in found if not one.place.startswith(LEFT)]


def refusal_of_restoring(job: Job, revision: JobRevision) -> list[str]:
    """Why ``restore_job`` would refuse, in sentences; none where it would not."""
    try:
        with transaction.atomic():
            restore_job(job, revision)
            transaction.set_rollback(True)
    except ValidationError as refused:
        return refused.messages
    return []


def _settings(document: dict[str, Any], job: Job) -> dict[str, Any]:
    extensions = {key: part for key, part in document["extensions"].items() if key != "pause"}
    if "pause" in job.extensions:
        extensions["pause"] = job.extensions["pause"]
    return document | {"extensions": extensions}
