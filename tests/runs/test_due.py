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
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, RunStatus
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


def test_a_run_keeps_the_moment_it_was_due() -> None:
    due_job()
    [run] = start_due_runs(TWO + timedelta(seconds=33))  # a beat restarted in mid-minute

    assert run.should_start_at == TWO


def test_a_moment_starts_one_run_even_if_its_job_is_due_at_it_again() -> None:
    job = due_job()
    start_due_runs(TWO)
    Job.objects.filter(pk=job.pk).update(next_run_at=TWO)
    start_due_runs(TWO)

    assert [run.should_start_at for run in Run.objects.all()] == [TWO]


def test_more_jobs_than_one_batch_all_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "BATCH", 2)
    jobs = [due_job() for _job in range(5)]

    assert [run.job for run in start_due_runs(TWO)] == jobs


def test_a_moment_that_no_cron_names_any_more_still_starts_its_run() -> None:
    due_job(cron="0 9 * * *")
    [run] = start_due_runs(TWO)

    assert run.should_start_at == TWO


# --- Missed moments ------------------------------------------------------------------------


def hourly_job(misfire: str) -> Job:
    return due_job(cron="0 * * * *", extensions={"schedule": {"misfire": misfire}})


def hours(*numbers: int) -> list[datetime]:
    return [TWO.replace(hour=number) for number in numbers]


LATE = TWO + timedelta(hours=3, minutes=20)


@pytest.mark.parametrize(
    ("misfire", "moment", "started", "missed"),
    [
        ("latest", LATE, hours(5), hours(4)),
        ("all", LATE, hours(2, 3, 4, 5), [None]),
        ("skip", LATE, [], hours(5)),
        ("latest", TWO + timedelta(seconds=59), hours(2), [None]),
        ("all", TWO + timedelta(seconds=59), hours(2), [None]),
        ("skip", TWO + timedelta(seconds=59), hours(2), [None]),
        ("skip", TWO + timedelta(hours=3, seconds=5), hours(5), hours(4)),
    ],
)
def test_missed_moments_are_made_up_for_as_the_job_has_it(
    misfire: str, moment: datetime, started: list[datetime], missed: list[datetime | None]
) -> None:
    job = hourly_job(misfire)
    runs = start_due_runs(moment)

    job.refresh_from_db()
    assert [run.should_start_at for run in runs] == started
    assert [job.missed_at] == missed
    assert job.next_run_at == moment.replace(minute=0, second=0) + timedelta(hours=1)


def test_runs_that_make_up_for_moments_all_wait_their_turn() -> None:
    hourly_job("all")
    runs = start_due_runs(LATE)

    assert [Run.objects.get(pk=run.pk).status for run in runs] == [RunStatus.QUEUED] * 4


def test_no_more_than_a_hundred_runs_make_up_for_moments() -> None:
    job = due_job(cron="* * * * *", extensions={"schedule": {"misfire": "all"}})
    runs = start_due_runs(TWO + timedelta(days=30))

    job.refresh_from_db()
    assert len({run.should_start_at for run in runs}) == len(runs) == schedule.MOST_MADE_UP
    assert runs[-1].should_start_at == TWO + timedelta(days=30)
    assert job.missed_at == TWO + timedelta(days=30, minutes=-schedule.MOST_MADE_UP)


def test_a_job_that_cannot_start_says_which_moment_it_missed() -> None:
    job = due_job(execute_steps=[])
    start_due_runs(TWO)

    job.refresh_from_db()
    assert job.missed_at == TWO


def test_a_job_that_trips_over_a_bug_misses_its_moment_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, sound = due_job(), due_job()

    def trip(job: Job, trigger: Trigger) -> Run:
        if job == broken:
            raise KeyError("a bug")
        return trigger_run(job, trigger)

    monkeypatch.setattr(schedule, "trigger_run", trip)

    assert [run.job for run in start_due_runs(TWO)] == [sound]
    broken.refresh_from_db()
    assert broken.missed_at == TWO


def test_a_schedule_that_ends_is_due_no_more_after_its_last_moment() -> None:
    job = due_job(extensions={"schedule": {"active_until": "2026-03-10T12:00:00Z"}})
    start_due_runs(TWO)

    job.refresh_from_db()
    assert job.next_run_at is None


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
