"""A job's change history: its document after each save, with who saved it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accounts.audit import actor, without_nul
from jobsvc.jobs.document import document_of, flat
from jobsvc.jobs.models import Job, JobRevision, Saving


@dataclass(frozen=True)
class Difference:
    """One place of a document that a save changed; None where it was not, or is no more."""

    place: str
    before: Any
    after: Any


def keep_what_was(job: Job) -> None:
    """Write down how ``job`` is in the database, where none of its saves was ever kept.

    To be called before a save, in its transaction, so that the first difference can be told.
    """
    kept = JobRevision.objects.filter(job=job.pk)
    if job.pk is None or kept.exists():
        return
    there = Job.objects.select_for_update(no_key=True).get(pk=job.pk)
    if kept.exists():  # another save was first, and its transaction is over
        return
    JobRevision.objects.create(
        job=there,
        number=1,
        saving=Saving.BASELINE,
        document=document_of(there),
        created_at=there.updated_at,
    )


def keep_what_is(
    job: Job, saving: Saving, *, restores: JobRevision | None = None
) -> JobRevision | None:
    """Write down how ``job`` is now, and who made it so; None where nothing is different.

    To be called after a save, in its transaction: the row that it has locked keeps the numbers
    apart.
    """
    document = document_of(job)
    last = JobRevision.objects.filter(job=job).order_by("-number").first()
    if last is not None and last.document == document:
        return None
    who = actor()
    return JobRevision.objects.create(
        job=job,
        number=last.number + 1 if last else 1,
        saving=saving,
        document=document,
        restored=restores.number if restores else None,
        actor_kind=who.kind,
        actor_id=who.id,
        actor_name=without_nul(who.name)[:255],
        source=who.source,
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What differs between two documents, in the order of the second."""
    was, now = dict(flat(before)), dict(flat(after))
    places = [*now, *(place for place in was if place not in now)]
    return [
        Difference(place, was.get(place), now.get(place))
        for place in places
        if was.get(place) != now.get(place)
    ]
