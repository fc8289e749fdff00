"""When a job is due: its dates, its pause, and what a save does to a moment that has come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError

from jobsvc.jobs.define import define_job, pause_job, reactivate_job, resume_job
from jobsvc.jobs.models import Job
from jobsvc.jobs.schedule import newest_of_job, of_job
from tests.factories import JobFactory

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def nightly(**settings: Any) -> Job:
    job = JobFactory(scheduled=True, next_run_at=None, **settings)
    return define_job(job, completion=None)


def due(job: Job) -> datetime | None:
    job.refresh_from_db()
    return job.next_run_at


# --- Dates -----------------------------------------------------------------------------------


def test_a_job_is_due_between_its_dates() -> None:
    dates = {"active_from": "2026-12-01T02:00:00Z", "active_until": "2026-12-03T01:59:00Z"}
    job = nightly(extensions={"schedule": dates})

    assert list(of_job(job, after=NOW)) == [TOMORROW + 9 * DAY, TOMORROW + 10 * DAY]
    assert due(job) == TOMORROW + 9 * DAY


def test_a_job_whose_dates_are_over_is_never_due() -> None:
    job = nightly(extensions={"schedule": {"active_until": "2026-11-01T00:00:00Z"}})

    assert due(job) is None


def test_dates_that_end_before_they_begin_are_refused() -> None:
    dates = {"active_from": "2026-12-02T00:00:00Z", "active_until": "2026-12-01T00:00:00Z"}

    with pytest.raises(ValidationError, match="before active_from"):
        nightly(extensions={"schedule": dates})


def test_a_job_that_runs_by_no_schedule_is_never_due() -> None:
    assert due(nightly(triggers_schedule=False)) is None


# --- Pause -----------------------------------------------------------------------------------


def test_a_paused_job_is_not_due() -> None:
    assert due(pause_job(nightly(), reason="The warehouse moves.")) is None


def test_a_pause_keeps_its_reason() -> None:
    job = pause_job(nightly(), reason="The warehouse moves.")

    assert job.extended.pause and job.extended.pause.reason == "The warehouse moves."


def test_a_pause_with_an_end_ends_by_itself() -> None:
    assert due(pause_job(nightly(), until=NOW + 3 * DAY)) == TOMORROW + 3 * DAY


def test_a_pause_that_is_over_already_is_refused() -> None:
    with pytest.raises(ValidationError, match="This time is over"):
        pause_job(nightly(), until=NOW)


def test_a_resumed_job_is_due_again_from_now_on(clock: Any) -> None:
    job = pause_job(nightly())
    clock.move_to(NOW + 7 * DAY)

    assert due(resume_job(job)) == TOMORROW + 7 * DAY


def test_a_pause_leaves_the_other_extensions_alone() -> None:
    job = nightly(extensions={"queue": {"on_overlap": "skip"}})

    assert resume_job(pause_job(job)).extensions == {"queue": {"on_overlap": "skip"}}


def test_a_pause_too_long_to_say_is_refused_and_changes_nothing() -> None:
    job = nightly()

    with pytest.raises(ValidationError):
        pause_job(job, reason="x" * 256)
    assert due(job) == TOMORROW


# --- Saves -----------------------------------------------------------------------------------


def test_a_moment_that_has_just_come_is_not_lost_by_a_save(clock: Any) -> None:
    job = nightly()
    clock.move_to(TOMORROW + timedelta(seconds=3))  # no tick has seen it yet
    job.name = "Another name"
    define_job(job, completion=None)

    assert due(job) == TOMORROW


def test_a_moment_that_was_claimed_is_not_brought_back_by_a_save() -> None:
    job = nightly()
    Job.objects.filter(pk=job.pk).update(next_run_at=TOMORROW + DAY)  # a tick, meanwhile
    define_job(job, completion=None)

    assert due(job) == TOMORROW + DAY


@pytest.mark.parametrize(
    "change",
    [{"cron": "0 9 * * *"}, {"timezone": "Asia/Tokyo"}, {"triggers_schedule": False}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_schedule_counts_from_now_on(change: dict[str, Any], clock: Any) -> None:
    job = nightly()
    clock.move_to(TOMORROW + timedelta(seconds=3))
    for name, value in change.items():
        setattr(job, name, value)
    define_job(job, completion=None)

    following = due(job)
    assert following is None or following > TOMORROW + timedelta(seconds=3)


def test_a_reactivated_job_makes_up_for_nothing(clock: Any) -> None:
    job = nightly()
    Job.objects.filter(pk=job.pk).update(deactivated=True)
    clock.move_to(NOW + 7 * DAY)

    assert due(reactivate_job(job)) == TOMORROW + 7 * DAY


# --- Looking back ----------------------------------------------------------------------------


def test_the_newest_moments_of_a_month_of_minutes_are_found_at_once() -> None:
    job = nightly(cron="* * * * *")
    found = newest_of_job(job, since=NOW - 30 * DAY, until=NOW, number=3)

    assert found == [NOW - timedelta(minutes=number) for number in (2, 1, 0)]


def test_moments_before_a_job_was_due_are_not_looked_for() -> None:
    job = nightly(cron="0 * * * *")
    since = NOW - timedelta(hours=2)

    assert newest_of_job(job, since=since, until=NOW, number=9) == [
        since + timedelta(hours=number) for number in range(3)
    ]


def test_a_job_is_overdue_once_a_minute_has_passed_in_which_nothing_ticked() -> None:
    job = nightly()

    assert not job.is_overdue(TOMORROW + timedelta(seconds=59))
    assert job.is_overdue(TOMORROW + timedelta(seconds=60))


def test_late_jobs_are_those_overdue_and_those_that_missed_a_moment_today() -> None:
    overdue, missed, old, _punctual = (nightly() for _job in range(4))
    Job.objects.filter(pk=overdue.pk).update(next_run_at=NOW - timedelta(minutes=2))
    Job.objects.filter(pk=missed.pk).update(missed_at=NOW - timedelta(hours=23))
    Job.objects.filter(pk=old.pk).update(missed_at=NOW - timedelta(hours=25))

    assert set(Job.objects.late(NOW)) == {overdue, missed}


def test_the_next_five_times_are_those_of_the_clock_in_the_jobs_zone() -> None:
    job = nightly(timezone="America/New_York")

    assert [f"{time:%d %H:%M}" for time in islice(of_job(job, after=NOW), 5)] == [
        f"{day} 07:00" for day in range(22, 27)
    ]
