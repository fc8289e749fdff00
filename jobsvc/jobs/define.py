"""Create or change a job: every rule that spans more than one field, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from accounts.models import Account
from environments.models import EnvironmentType
from jobsvc.jobs import extensions, schedule
from jobsvc.jobs.chain import refuse_circle
from jobsvc.jobs.models import CompletionTrigger, Job, JobType
from jobsvc.statuses import State

# A job of one of these types keeps it for life, and no other job may become one.
FIXED_TYPES = {JobType.CI, JobType.ADAPTIVE}


@dataclass(frozen=True)
class Completion:
    """Start after a run of ``upstream`` that ended with one of ``statuses``."""

    upstream: Job
    statuses: Sequence[int]


def define_job(job: Job, *, completion: Completion | None) -> Job:
    """Save ``job``, new or changed, with what starts it; nothing is saved if a rule is broken.

    Raises:
        ValidationError: keyed by field, each message says what is wrong and what to do.
    """
    with transaction.atomic():
        # The lock keeps two saves from closing a circle that neither could see.
        Account.objects.select_for_update().get(pk=job.account_id)
        extensions.read(job.extensions)
        _check_type(job)
        _check_place(job)
        _check_deferral(job)
        _set_schedule(job)
        job.full_clean()
        job.save()
        _set_completion(job, completion)
    return job


def delete_job(job: Job) -> Job:
    """Mark ``job`` deleted: it starts nothing more; its runs stay readable."""
    job.state = State.DELETED
    job.save(update_fields=["state", "updated_at"])
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


def _set_schedule(job: Job) -> None:
    job.next_run_at = None
    if job.cron:
        try:
            schedule.check(job.cron, job.timezone)
        except schedule.BadSchedule as bad:
            raise ValidationError({"schedule": str(bad)}) from bad
    if job.cron and job.triggers_schedule:
        job.next_run_at = schedule.next_time(job.cron, after=now(), timezone=job.timezone)


def _set_completion(job: Job, completion: Completion | None) -> None:
    CompletionTrigger.objects.filter(job=job, is_dbt_field=True).delete()
    if completion is None:
        return
    upstream = completion.upstream
    if upstream.account_id != job.account_id or upstream.state != State.ACTIVE:
        raise ValidationError({"job_completion_trigger_condition": "This account has no such job."})
    refuse_circle(job, upstream)
    trigger = CompletionTrigger(job=job, upstream=upstream, statuses=list(completion.statuses))
    trigger.full_clean(validate_constraints=False)  # refuse_circle says it with the path
    trigger.save()
