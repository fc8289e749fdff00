"""Create or change a job: every rule that spans more than one field, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from accounts import audit
from accounts.models import Account
from environments.models import EnvironmentType
from jobsvc.engine.commands import read_selection
from jobsvc.engine.errors import CommandRejected
from jobsvc.jobs import extensions, schedule
from jobsvc.jobs.chain import Completion, set_triggers
from jobsvc.jobs.models import Job, JobRevision, JobType, Saving
from jobsvc.jobs.revisions import keep_what_is, keep_what_was
from jobsvc.statuses import State

# A job of one of these types keeps it for life, and no other job may become one.
FIXED_TYPES = {JobType.CI, JobType.ADAPTIVE}


class ChangedMeanwhile(Exception):
    """Somebody else has saved the job since whoever saves it now has read it."""


def define_job(
    job: Job,
    *,
    completion: Completion | None,
    as_read_at: datetime | None = None,
    restores: JobRevision | None = None,
) -> Job:
    """Save ``job``, new or changed, with what starts it; nothing is saved if a rule is broken.

    A job that was deactivated is active again: whoever saves it has looked at it.

    Args:
        as_read_at: the ``updated_at`` that the change stands on; None saves over whatever is there.
        restores: the revision that ``job`` was put back to, to be told in its changes.

    Raises:
        ValidationError: keyed by field, each message says what is wrong and what to do.
        ChangedMeanwhile: the job's ``updated_at`` is another now.
    """
    with transaction.atomic():
        # The lock keeps two saves from closing a circle that neither could see.
        Account.objects.select_for_update(no_key=True).get(pk=job.account_id)
        if as_read_at is not None:
            there = Job.objects.select_for_update(no_key=True).get(pk=job.pk)
            if there.updated_at != as_read_at:
                raise ChangedMeanwhile
        extended = extensions.read(job.extensions)
        _check_type(job)
        _check_place(job)
        _check_deferral(job)
        _check_compare(job)
        _set_schedule(job)
        _set_active(job)
        job.full_clean()
        saving = Saving.CREATED if job.pk is None else Saving.CHANGED
        keep_what_was(job)
        with audit.as_one():
            job.save()
            set_triggers(job, completion, extended)
        keep_what_is(job, Saving.RESTORED if restores else saving, restores=restores)
    return job


def delete_job(job: Job) -> Job:
    """Mark ``job`` deleted: it starts nothing more; its runs stay readable."""
    with transaction.atomic():
        keep_what_was(job)
        job.state = State.DELETED
        job.save(update_fields=["state", "updated_at"])
        job.refresh_from_db()
        keep_what_is(job, Saving.DELETED)
    return job


def reactivate_job(job: Job) -> Job:
    """Let a deactivated job start again, by what starts it, from now on; others stay as they are.

    Ticks that its schedule named meanwhile are not made up for.
    """
    with transaction.atomic():
        job.refresh_from_db()
        if job.deactivated:
            keep_what_was(job)
            _set_schedule(job)
            _set_active(job)
            job.save(
                update_fields=[
                    "deactivated",
                    "deactivation_reason",
                    "next_run_at",
                    "reactivated_at",
                    "run_failure_count",
                    "updated_at",
                ]
            )
            keep_what_is(job, Saving.SWITCHED_ON)
    return job


def pause_job(job: Job, *, reason: str = "", until: datetime | None = None) -> Job:
    """Let the schedule of ``job`` rest until ``until``, or until ``resume_job``.

    Other jobs' ends start it no more than its schedule does; who asks for a run still gets one.
    Moments that the schedule names meanwhile are not made up for.

    Raises:
        ValidationError: ``until`` is over, or the reason is too long.
    """
    if until is not None and until <= now():
        raise ValidationError({"until": "This time is over. Give one to come, or leave it out."})
    pause = {"reason": reason, "until": until.isoformat() if until else None}
    return _change_extensions(job, lambda before: {**before, "pause": pause}, Saving.PAUSED)


def resume_job(job: Job) -> Job:
    """End the pause of ``job``: from now on its schedule starts it again."""
    return _change_extensions(
        job,
        lambda before: {key: part for key, part in before.items() if key != "pause"},
        Saving.RESUMED,
    )


def _change_extensions(
    job: Job, change: Callable[[dict[str, Any]], dict[str, Any]], saving: Saving
) -> Job:
    with transaction.atomic():
        job.refresh_from_db(from_queryset=Job.objects.select_for_update(no_key=True))
        keep_what_was(job)
        job.extensions = change(job.extensions)
        extensions.read(job.extensions)
        _set_schedule(job)
        job.save(update_fields=["extensions", "next_run_at", "updated_at"])
        keep_what_is(job, saving)
    return job


def _check_type(job: Job) -> None:
    before = (
        Job.objects.filter(pk=job.pk).values_list("job_type", flat=True).first() if job.pk else None
    )
    if before is None or before == job.job_type:
        return
    if before in FIXED_TYPES or job.job_type in FIXED_TYPES:
        raise ValidationError(
            {
                "job_type": f"A job of type {before} cannot become {job.job_type}. "
                "Create a new job of that type instead."
            }
        )


def _check_place(job: Job) -> None:
    environment, project = job.environment, job.project
    problems: dict[str, str] = {}
    if project.account_id != job.account_id or project.state != State.ACTIVE:
        problems["project_id"] = "This account has no such project."
    if environment.project_id != project.pk or environment.state != State.ACTIVE:
        problems["environment_id"] = "The project has no such environment. Choose one of its own."
    elif environment.type != EnvironmentType.DEPLOYMENT:
        problems["environment_id"] = "A job runs in a deployment environment. Choose one."
    if problems:
        raise ValidationError(problems)


def _check_deferral(job: Job) -> None:
    other, place = job.deferring_job, job.deferring_environment
    if other is not None and (
        other.account_id != job.account_id or (other.state != State.ACTIVE and other.pk != job.pk)
    ):
        raise ValidationError({"deferring_job_definition_id": "This account has no such job."})
    if place is not None and (
        place.project.account_id != job.account_id or place.state != State.ACTIVE
    ):
        raise ValidationError({"deferring_environment_id": "This account has no such environment."})
    if place is not None and place.type != EnvironmentType.DEPLOYMENT:
        raise ValidationError(
            {"deferring_environment_id": "A job defers to a deployment environment. Choose one."}
        )


def _check_compare(job: Job) -> None:
    try:
        read_selection(job.compare_changes_flags)
    except CommandRejected as rejected:
        raise ValidationError({"compare_changes_flags": str(rejected)}) from rejected


def _set_schedule(job: Job) -> None:
    """Set when ``job`` is due next: from now on, or as it was where nothing about that changed.

    A moment that has just come, and that no tick has seen yet, is not lost by a save.
    """
    dates = job.extended.schedule
    if dates.active_from and dates.active_until and dates.active_until < dates.active_from:
        raise ValidationError(
            {"extensions": "schedule.active_until is before active_from. Give a later time."}
        )
    if job.cron:
        try:
            schedule.check(job.cron, job.timezone)
        except schedule.BadSchedule as bad:
            raise ValidationError({"schedule": str(bad)}) from bad
    before = (
        Job.objects.select_for_update(no_key=True).filter(pk=job.pk).first() if job.pk else None
    )
    if before is not None:
        job.missed_at = before.missed_at
    if (
        before is not None
        and before.next_run_at is not None
        and not before.deactivated
        and _due_by(before) == _due_by(job)
    ):
        job.next_run_at = before.next_run_at  # the tick may have moved it since ``job`` was read
    else:
        job.next_run_at = next(schedule.of_job(job, after=now()), None)


def _due_by(job: Job) -> tuple[object, ...]:
    """All that decides when ``job`` is due. Not read but compared: what is stored may be old."""
    dates = job.extensions.get("schedule") or {}
    return (
        *(job.cron, job.timezone, job.triggers_schedule),
        *(dates.get("active_from"), dates.get("active_until"), job.extensions.get("pause")),
    )


def _set_active(job: Job) -> None:
    if job.deactivated:
        job.deactivated, job.deactivation_reason = False, None
        job.run_failure_count, job.reactivated_at = 0, now()
