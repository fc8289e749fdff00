"""A job's change history: one revision a save that changes something, and the way back."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from accounts.audit import Actor, AuditEvent, acting
from environments.define import delete_environment
from jobsvc.jobs.chain import Completion
from jobsvc.jobs.define import (
    define_job,
    delete_job,
    pause_job,
    reactivate_job,
    resume_job,
)
from jobsvc.jobs.document import document_of, put
from jobsvc.jobs.models import Job, JobRevision, Saving
from jobsvc.jobs.restore import refusal_of_restoring, restore_job, what_restoring_changes
from jobsvc.jobs.revisions import differences
from jobsvc.runs.deactivate import deactivate_failing_job
from tests.factories import CompletionTriggerFactory, EnvironmentFactory, JobFactory, RunFactory

pytestmark = pytest.mark.django_db

ANA = Actor(kind="user", id=7, name="Ana", source="console")


def made(**fields: Any) -> Job:
    """A job that was created by the verb, not by a row alone."""
    environment = EnvironmentFactory()
    job = Job(
        account=environment.project.account,
        project=environment.project,
        environment=environment,
        **{"name": "Nightly", "execute_steps": ["dbt build"], **fields},
    )
    return define_job(job, completion=None)


def changed(job: Job, **fields: Any) -> Job:
    for name, value in fields.items():
        setattr(job, name, value)
    return define_job(job, completion=None)


def savings(job: Job) -> list[str]:
    return [one.saving for one in job.revisions.order_by("number")]


def last(job: Job) -> JobRevision:
    return job.revisions.latest("number")


def test_each_save_that_changes_something_is_kept() -> None:
    job = made()
    changed(job, threads=8)

    assert savings(job) == [Saving.CREATED, Saving.CHANGED]
    before, after = job.revisions.order_by("number")
    assert [
        (one.place, one.before, one.after) for one in differences(before.document, after.document)
    ] == [("settings.threads", 4, 8)]


def test_a_save_that_changes_nothing_is_not_kept() -> None:
    job = made()
    changed(job)

    assert savings(job) == [Saving.CREATED]


def test_a_revision_says_who_saved_and_from_where() -> None:
    with acting(ANA):
        job = made()

    one = last(job)
    assert (one.actor_kind, one.actor_id, one.actor_name, one.source) == (
        "user",
        7,
        "Ana",
        "console",
    )


def test_a_job_from_before_gets_a_revision_of_how_it_was_with_its_first_change() -> None:
    job = JobFactory(threads=4)
    changed(job, threads=8)

    first, second = job.revisions.order_by("number")
    assert (first.saving, first.document["settings"]["threads"]) == (Saving.BASELINE, 4)
    assert (second.saving, second.document["settings"]["threads"]) == (Saving.CHANGED, 8)
    assert first.actor_name == ""


def test_what_a_job_follows_is_part_of_it() -> None:
    job, upstream = made(), made(name="Load")
    upstream = changed(
        upstream, account=job.account, project=job.project, environment=job.environment
    )
    define_job(job, completion=Completion(upstream, [10]))

    assert last(job).document["job_completion_trigger_condition"] == {
        "condition": {"job_id": upstream.pk, "project_id": job.project_id, "statuses": [10]}
    }


def test_pausing_resuming_switching_and_deleting_are_kept() -> None:
    job = made()
    pause_job(job, reason="holidays")
    resume_job(job)
    Job.objects.filter(pk=job.pk).update(deactivated=True)
    job.refresh_from_db()
    reactivate_job(job)
    delete_job(job)

    # Who updates rows past the verbs is not seen, and "on again" then changes nothing.
    assert savings(job) == [Saving.CREATED, Saving.PAUSED, Saving.RESUMED, Saving.DELETED]
    assert last(job).document["state"] == 2


def test_a_job_that_switches_itself_off_and_is_switched_on_says_so() -> None:
    job = made(extensions={"deactivate_after": 1})
    deactivate_failing_job(RunFactory(job=job, failed=True))
    job.refresh_from_db()
    reactivate_job(job)

    assert savings(job) == [Saving.CREATED, Saving.SWITCHED_OFF, Saving.SWITCHED_ON]
    assert not last(job).document["deactivated"]


def test_a_refused_save_leaves_no_revision() -> None:
    job = made()

    with pytest.raises(ValidationError):
        changed(job, threads=0)

    assert savings(job) == [Saving.CREATED]


# --- Restoring ---------------------------------------------------------------------------


def test_a_job_is_brought_back_to_a_save() -> None:
    job = made(threads=2)
    first = last(job)
    changed(job, threads=8, name="Other", execute_steps=["dbt run", "dbt test"])

    with acting(ANA):
        job = restore_job(job, first)

    assert (job.threads, job.name, job.execute_steps) == (2, "Nightly", ["dbt build"])
    assert last(job).document == first.document
    assert (last(job).saving, last(job).restored) == (Saving.RESTORED, first.number)
    assert AuditEvent.objects.filter(action="job_definition.restored", actor_name="Ana").exists()


def test_what_starts_a_job_is_brought_back_with_it() -> None:
    trigger = CompletionTriggerFactory()
    job = trigger.job
    changed(job, triggers_schedule=True, cron="0 6 * * *", timezone="Europe/Berlin")
    schedule = last(job)
    changed(job, triggers_schedule=False, schedule=None, cron="", timezone="UTC")

    job = restore_job(job, job.revisions.get(number=1))
    assert job.completion_triggers.get().upstream == trigger.upstream
    job = restore_job(job, schedule)
    assert (job.cron, job.timezone, job.next_run_at is not None) == (
        "0 6 * * *",
        "Europe/Berlin",
        True,
    )
    assert not job.completion_triggers.exists()


def test_a_pause_stays_as_it_is() -> None:
    job = made()
    first = last(job)
    changed(job, threads=8)
    pause_job(job, reason="holidays")

    assert [one.place for one in what_restoring_changes(job, first)] == ["settings.threads"]
    job = restore_job(job, first)

    assert job.extended.pause is not None


def test_a_job_whose_environment_is_gone_is_not_brought_back() -> None:
    job = made()
    first = last(job)
    elsewhere = EnvironmentFactory(project=job.project)
    gone = job.environment
    changed(job, environment=elsewhere)
    delete_environment(gone)

    assert refusal_of_restoring(job, first) == [
        f"This account has no environment {gone.pk} (any more). Name one that is there."
    ]
    with pytest.raises(ValidationError):
        restore_job(job, first)
    assert Job.objects.get(pk=job.pk).environment == elsewhere


def test_asking_whether_a_save_can_be_brought_back_changes_nothing() -> None:
    job = made()
    first = last(job)
    changed(job, threads=8)

    assert refusal_of_restoring(job, first) == []
    assert Job.objects.get(pk=job.pk).threads == 8
    assert savings(job) == [Saving.CREATED, Saving.CHANGED]


# --- The document ------------------------------------------------------------------------


def test_a_document_put_back_makes_the_same_job() -> None:
    job = JobFactory(
        scheduled=True,
        timezone="Europe/Berlin",
        description="x",
        extensions={"tags": ["finance"], "retry": {"max_retries": 2}},
        generate_docs=True,
    )
    document = document_of(job)
    other = Job(account=job.account)
    put(document, other)

    assert document_of(other) == document


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"name": 7}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": " "}, "name"),
        ({"settings": []}, "settings.threads"),
        ({"settings": {"threads": "many"}}, "settings.threads"),
        ({"settings": {"threads": 10**30}}, "settings.threads"),
        ({"triggers": {"schedule": "yes"}}, "triggers.schedule"),
        ({"execute_steps": "dbt build"}, "execute_steps"),
        ({"environment_id": 10**9}, "environment_id"),
        ({"environment_id": True}, "environment_id"),
        ({"schedule": {"cron": 5}}, "schedule"),
        ({"schedule": {"cron": "0 1 * * *", "date": "x"}}, "schedule"),
        ({"job_completion_trigger_condition": {}}, "job_completion_trigger_condition"),
        ({"job_completion_trigger_condition": 3}, "job_completion_trigger_condition"),
        ({"job_type": ["ci"]}, "job_type"),
        ({"cost_optimization_features": [{}]}, "cost_optimization_features"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_place(document: dict[str, Any], place: str) -> None:
    job = JobFactory()

    with pytest.raises(ValidationError) as refused:
        put(document, job)

    assert place in refused.value.message_dict


def test_a_row_of_another_account_is_none() -> None:
    foreign = EnvironmentFactory()

    with pytest.raises(ValidationError) as refused:
        put({"environment_id": foreign.pk}, JobFactory())

    assert "environment_id" in refused.value.message_dict
