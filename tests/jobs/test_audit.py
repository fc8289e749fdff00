"""What a save of a job tells the audit log."""

from __future__ import annotations

from accounts.audit import AuditEvent
from jobsvc.jobs.chain import Completion
from jobsvc.jobs.define import define_job
from tests.factories import JobFactory


def test_a_save_with_what_starts_the_job_is_one_event(db: None) -> None:
    job = JobFactory(name="Nightly")
    upstream = JobFactory(environment=job.environment)
    job.name = "Hourly"

    define_job(job, completion=Completion(upstream, [10]))

    event = AuditEvent.objects.get(action="job_definition.changed")
    assert event.target_name == "Hourly"
    assert event.differences == {
        "name": ["Nightly", "Hourly"],
        f"after job {upstream.pk}": [None, [10]],
    }


def test_a_trigger_that_is_taken_away_is_told_of_the_job(db: None) -> None:
    job = JobFactory()
    upstream = JobFactory(environment=job.environment)
    define_job(job, completion=Completion(upstream, [10]))

    define_job(job, completion=None)

    event = AuditEvent.objects.filter(action="job_definition.changed").latest("pk")
    assert event.differences == {f"after job {upstream.pk}": [[10], None]}
    assert event.target_id == str(job.pk)
