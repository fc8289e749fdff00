"""Cron's tick: each due job starts once, a deleted one never, a broken one holds up no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobsvc.jobs.define import define_job, delete_job
from jobsvc.jobs.models import Job
from jobsvc.runs import schedule
from jobsvc.runs.models import Run
from jobsvc.runs.schedule import start_due_runs
from jobsvc.statuses import CauseCategory
from tests.factories import JobFactory

pytestmark = pytest.mark.django_db

TWO = datetime(2026, 3, 10, 2, 0, tzinfo=UTC)  # when the scheduled job of the factory is due


def due_job(**settings: Any) -> Job:
    return JobFactory(scheduled=True, **{"next_run_at": TWO, **settings})


def _at_three(job: Job) -> Job:
    job.cron = "0 3 * * *"
    return job


def test_a_due_job_starts() -> None:
    job = due_job()

    [run] = start_due_runs(TWO)

    assert run.job == job
    assert (run.trigger.cause, run.trigger.cause_category) == ("scheduled", CauseCategory.SCHEDULED)


def test_a_job_that_started_is_due_again_by_its_cron() -> None:
    job = due_job()
    start_due_runs(TWO)

    job.refresh_from_db()
    assert job.next_run_at == TWO + timedelta(days=1)


def test_the_cron_is_read_on_the_wall_clock_of_its_zone() -> None:
    job = due_job(timezone="America/New_York")
    start_due_runs(TWO)

    job.refresh_from_db()
    assert job.next_run_at == datetime(2026, 3, 10, 6, 0, tzinfo=UTC)


def test_a_tick_that_comes_twice_starts_one_run() -> None:
    due_job()
    start_due_runs(TWO)

    assert start_due_runs(TWO) == []


def test_a_job_is_not_started_before_its_time() -> None:
    due_job()

    assert start_due_runs(TWO - timedelta(seconds=1)) == []


def test_a_week_of_missed_ticks_is_made_up_for_by_one_run() -> None:
    job = due_job()
    late = TWO + timedelta(days=7, hours=1)

    assert len(start_due_runs(late)) == 1

    job.refresh_from_db()
    assert job.next_run_at == TWO + timedelta(days=8)


@pytest.mark.parametrize(
    "changes", [{"deactivated": True}, {"triggers_schedule": False}, {"next_run_at": None}]
)
def test_a_job_that_does_not_run_by_schedule_is_never_due(changes: dict[str, Any]) -> None:
    due_job(**changes)

    assert start_due_runs(TWO) == []


def test_a_deleted_job_is_never_due() -> None:
    delete_job(due_job())

    assert start_due_runs(TWO) == []


def test_the_longest_overdue_starts_first() -> None:
    later, earlier = due_job(), due_job(next_run_at=TWO - timedelta(hours=1))

    assert [run.job for run in start_due_runs(TWO)] == [earlier, later]


@pytest.mark.parametrize(
    "meanwhile",
    [
        delete_job,
        lambda job: Job.objects.filter(pk=job.pk).update(triggers_schedule=False),
        lambda job: Job.objects.filter(pk=job.pk).update(deactivated=True),
        lambda job: define_job(_at_three(job), completion=None),
    ],
    ids=["deleted", "switched off", "deactivated", "defined anew"],
)
def test_a_job_that_changes_under_the_tick_does_not_start(
    meanwhile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = due_job()
    following = schedule._next

    def slow(due: Job, moment: datetime) -> datetime | None:
        meanwhile(job)  # between the look at what is due and the claim of it
        return following(due, moment)

    monkeypatch.setattr(schedule, "_next", slow)

    assert start_due_runs(TWO) == []
    assert not Run.objects.exists()


def test_a_job_that_cannot_start_misses_its_tick_and_holds_up_no_other() -> None:
    broken = due_job(execute_steps=[], next_run_at=TWO - timedelta(hours=1))
    sound = due_job()

    assert [run.job for run in start_due_runs(TWO)] == [sound]

    broken.refresh_from_db()
    assert broken.next_run_at == TWO + timedelta(days=1)


def test_a_cron_that_can_no_longer_be_read_holds_up_no_other() -> None:
    broken = due_job(cron="0 0 30 2 *", next_run_at=TWO - timedelta(hours=1))
    sound = due_job()

    assert sound in [run.job for run in start_due_runs(TWO)]

    broken.refresh_from_db()
    assert broken.next_run_at is None
