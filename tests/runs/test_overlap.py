"""A job's runs and each other: who waits, who makes way, who is not started at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from jobsvc.engine.ports import Ending, Outcome
from jobsvc.jobs.models import Job
from jobsvc.runs.execute import finish
from jobsvc.runs.models import PULL_REQUEST_FIELDS, Run
from jobsvc.runs.overlap import concurrency_key, named_key
from jobsvc.runs.retry import retry_run, start_due_retries
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CancelReason, CauseCategory, RunStatus
from tests.factories import JobFactory
from tests.runs.conftest import BY_API

pytestmark = pytest.mark.django_db

BY_SCHEDULE = replace(BY_API, cause_category=CauseCategory.SCHEDULED)
BY_MERGE = replace(BY_API, cause_category=CauseCategory.MERGE)
AFTER_ANOTHER = replace(BY_API, cause_category=CauseCategory.JOB_COMPLETION)

QUEUED, STARTING, CANCELLED = RunStatus.QUEUED, RunStatus.STARTING, RunStatus.CANCELLED


def job_that(**queue: str) -> Job:
    return JobFactory(extensions={"queue": queue})


def trigger(job: Job, *triggers: Trigger) -> list[Run]:
    return [trigger_run(job, one) for one in triggers]


def claim(run: Run) -> Run:
    claimed = Run.objects.claim(run.pk, worker="w1")
    assert claimed is not None
    return claimed


def statuses(*runs: Run) -> list[int]:
    return [Run.objects.get(pk=run.pk).status for run in runs]


# --- dbt Cloud's rules -----------------------------------------------------------------------


def test_a_scheduled_run_takes_the_place_of_an_older_one_that_waits() -> None:
    runs = trigger(JobFactory(), BY_SCHEDULE, BY_SCHEDULE)

    assert statuses(*runs) == [CANCELLED, QUEUED]


def test_an_over_scheduled_run_says_so() -> None:
    older, newer = trigger(JobFactory(), BY_SCHEDULE, BY_SCHEDULE)

    older.refresh_from_db()
    assert older.cancel_reason == CancelReason.OVER_SCHEDULED
    assert older.status_message.startswith("Over-scheduled: the job was due again")
    assert f"run {newer.pk} took its place" in older.status_message


def test_a_scheduled_run_that_is_going_on_is_left_alone() -> None:
    job = JobFactory()
    running = claim(trigger_run(job, BY_SCHEDULE))
    waiting, newest = trigger(job, BY_SCHEDULE, BY_SCHEDULE)

    running.refresh_from_db()
    assert running.cancel_requested_at is None
    assert statuses(running, waiting, newest) == [STARTING, CANCELLED, QUEUED]


@pytest.mark.parametrize(
    "asked_for",
    [BY_API, AFTER_ANOTHER, BY_MERGE, replace(BY_API, cause_category=CauseCategory.UI)],
    ids=lambda trigger: trigger.cause_category,
)
def test_a_run_that_no_schedule_started_is_never_over_scheduled(asked_for: Trigger) -> None:
    runs = trigger(JobFactory(), asked_for, BY_SCHEDULE)

    assert statuses(*runs) == [QUEUED, QUEUED]


def test_a_run_by_api_cancels_no_scheduled_one() -> None:
    runs = trigger(JobFactory(), BY_SCHEDULE, BY_API)

    assert statuses(*runs) == [QUEUED, QUEUED]


def test_runs_of_other_jobs_are_left_alone() -> None:
    other = trigger_run(JobFactory(), BY_SCHEDULE)
    trigger_run(JobFactory(environment=other.environment), BY_SCHEDULE)

    assert statuses(other) == [QUEUED]


def test_of_a_merge_jobs_waiting_runs_only_the_newest_is_kept() -> None:
    runs = trigger(JobFactory(job_type="merge"), BY_MERGE, BY_MERGE, BY_MERGE)

    assert statuses(*runs) == [CANCELLED, CANCELLED, QUEUED]
    assert Run.objects.get(pk=runs[0].pk).cancel_reason == CancelReason.SUPERSEDED


def test_a_merge_run_that_is_going_on_is_finished() -> None:
    job = JobFactory(job_type="merge")
    running = claim(trigger_run(job, BY_MERGE))
    trigger_run(job, BY_MERGE)

    running.refresh_from_db()
    assert (running.status, running.cancel_requested_at) == (STARTING, None)


# --- A pull request's newest commit ----------------------------------------------------------


def of_pull_request(number: int, commit: str = "", **given: Any) -> Trigger:
    field = given.pop("field", "github_pull_request_id")
    return replace(BY_API, **{field: number}, git_sha=commit * 40 or None, **given)


@pytest.mark.parametrize("field", PULL_REQUEST_FIELDS)
@pytest.mark.parametrize("category", [CauseCategory.API, CauseCategory.CI])
def test_of_a_pull_requests_waiting_runs_only_the_newest_is_kept(
    field: str, category: CauseCategory
) -> None:
    job = JobFactory(ci=True)
    runs = trigger(
        job, *(of_pull_request(2, c, field=field, cause_category=category) for c in "abc")
    )

    assert statuses(*runs) == [CANCELLED, CANCELLED, QUEUED]
    superseded = Run.objects.get(pk=runs[0].pk)
    assert superseded.cancel_reason == CancelReason.SUPERSEDED
    assert superseded.status_message == (
        f"Superseded: run {runs[1].pk} builds a newer commit of pull request #2."
    )


def test_a_pull_requests_run_that_goes_on_is_asked_to_stop_and_waited_for() -> None:
    job = JobFactory(ci=True)
    running = claim(trigger_run(job, of_pull_request(2, "a")))
    newest = trigger_run(job, of_pull_request(2, "b"))

    running.refresh_from_db()
    assert running.cancel_requested_at is not None
    assert running.cancel_reason == CancelReason.SUPERSEDED
    assert Run.objects.claim(newest.pk, worker="w2") is None

    finish(running, Outcome(ending=Ending.STOPPED))

    assert running.status_message == (
        f"Superseded: run {newest.pk} builds a newer commit of pull request #2."
    )
    assert statuses(claim(newest)) == [STARTING]


def test_a_commit_that_is_built_anew_is_not_called_newer() -> None:
    older, newer = trigger(JobFactory(ci=True), *[of_pull_request(2, "a")] * 2)

    older.refresh_from_db()
    assert older.status_message == (
        f"Superseded: run {newer.pk} builds the same commit of pull request #2."
    )


def test_runs_of_other_pull_requests_and_of_none_are_left_alone() -> None:
    job = JobFactory(ci=True)
    runs = trigger(job, of_pull_request(2), of_pull_request(23), BY_API, of_pull_request(2))

    assert statuses(*runs) == [CANCELLED, QUEUED, QUEUED, QUEUED]


def test_one_pull_request_is_built_by_two_jobs_at_once() -> None:
    first = trigger_run(JobFactory(ci=True), of_pull_request(2))
    trigger_run(JobFactory(ci=True, environment=first.environment), of_pull_request(2))

    assert statuses(first) == [QUEUED]


def test_the_same_number_on_two_hosts_is_two_pull_requests_in_one_schema() -> None:
    job = JobFactory(ci=True)
    ours, theirs = trigger(
        job, of_pull_request(2), of_pull_request(2, field="gitlab_merge_request_id")
    )

    assert statuses(ours, theirs) == [QUEUED, QUEUED]
    assert ours.configuration["schema_override"] == theirs.configuration["schema_override"]
    claim(ours)
    assert Run.objects.claim(theirs.pk, worker="w2") is None


def test_a_job_may_build_every_commit() -> None:
    job = JobFactory(ci=True, extensions={"queue": {"on_overlap": "queue"}})
    runs = trigger(job, of_pull_request(2), of_pull_request(2))

    assert statuses(*runs) == [QUEUED, QUEUED]


def test_a_pull_request_supersedes_nothing_of_a_job_that_is_not_for_ci() -> None:
    runs = trigger(JobFactory(), of_pull_request(2), of_pull_request(2))

    assert statuses(*runs) == [QUEUED, QUEUED]


def test_a_lost_run_tried_again_by_itself_gives_way_to_what_was_queued_since() -> None:
    job = JobFactory(ci=True, extensions={"retry": {"max_retries": 2, "delay_seconds": 0}})
    lost = claim(trigger_run(job, of_pull_request(2, "a")))
    newer = trigger_run(job, of_pull_request(2, "b"))
    lost.move_to(RunStatus.ERROR, message="It was lost.", will_retry_at=now())

    [again] = start_due_retries(now())

    again.refresh_from_db()
    assert statuses(newer, again) == [QUEUED, CANCELLED]
    assert again.status_message == (
        f"Superseded: run {newer.pk} builds a newer commit of pull request #2."
    )


def test_a_lost_run_tried_again_by_itself_runs_where_it_is_the_newest() -> None:
    job = JobFactory(ci=True, extensions={"retry": {"max_retries": 2, "delay_seconds": 0}})
    lost = claim(trigger_run(job, of_pull_request(2, "a")))
    lost.move_to(RunStatus.ERROR, message="It was lost.", will_retry_at=now())

    [again] = start_due_retries(now())

    assert statuses(again) == [QUEUED]


def test_a_run_retried_by_hand_takes_the_place_of_the_others() -> None:
    job = JobFactory(ci=True)
    failed = claim(trigger_run(job, of_pull_request(2, "a")))
    failed.move_to(RunStatus.ERROR, message="It failed.")
    waiting = trigger_run(job, of_pull_request(2, "b"))

    retried = retry_run(failed, force=True)

    assert statuses(waiting, retried) == [CANCELLED, QUEUED]


# --- What a job may choose -------------------------------------------------------------------


def test_queue_keeps_every_run() -> None:
    runs = trigger(job_that(on_overlap="queue"), BY_SCHEDULE, BY_SCHEDULE, BY_API)

    assert statuses(*runs) == [QUEUED, QUEUED, QUEUED]


def test_skip_ends_a_new_run_at_once_while_another_waits() -> None:
    first, skipped = trigger(job_that(on_overlap="skip"), BY_SCHEDULE, BY_SCHEDULE)

    skipped.refresh_from_db()
    assert statuses(first) == [QUEUED]
    assert (skipped.status, skipped.cancel_reason) == (CANCELLED, CancelReason.SKIPPED)
    assert f"run {first.pk} of this job still waited" in skipped.status_message


def test_skip_ends_a_new_run_at_once_while_another_goes_on() -> None:
    job = job_that(on_overlap="skip")
    claim(trigger_run(job, BY_API))
    skipped = trigger_run(job, BY_SCHEDULE)

    skipped.refresh_from_db()
    assert "was still going on" in skipped.status_message


def test_a_skipped_run_starts_nothing() -> None:
    _first, skipped = trigger(job_that(on_overlap="skip"), BY_SCHEDULE, BY_SCHEDULE)

    assert Run.objects.claim(skipped.pk, worker="w1") is None


def test_skip_lets_a_run_start_once_the_others_are_over() -> None:
    job = job_that(on_overlap="skip")
    claim(trigger_run(job, BY_API)).move_to(RunStatus.ERROR, message="It failed.")

    assert statuses(trigger_run(job, BY_SCHEDULE)) == [QUEUED]


def test_cancel_queued_replaces_what_waits_whatever_started_it() -> None:
    job = job_that(on_overlap="cancel_queued")
    running = claim(trigger_run(job, BY_API))
    waiting, newest = trigger(job, BY_API, AFTER_ANOTHER)

    running.refresh_from_db()
    assert statuses(waiting, newest) == [CANCELLED, QUEUED]
    assert (running.status, running.cancel_requested_at) == (STARTING, None)


def test_cancel_running_replaces_what_goes_on_too() -> None:
    job = job_that(on_overlap="cancel_running")
    running = claim(trigger_run(job, BY_API))
    newest = trigger_run(job, BY_API)

    running.refresh_from_db()
    assert running.cancel_requested_by == f"run {newest.pk}, which took its place"
    assert running.cancel_reason == CancelReason.SUPERSEDED
    assert statuses(newest) == [QUEUED]


def test_a_policy_of_a_ci_job_is_about_one_pull_request() -> None:
    job = JobFactory(ci=True, extensions={"queue": {"on_overlap": "cancel_queued"}})
    seven, eight = (replace(BY_API, github_pull_request_id=number) for number in (7, 8))
    runs = trigger(job, seven, eight, seven)

    assert statuses(*runs) == [CANCELLED, QUEUED, QUEUED]


def test_a_run_of_a_ci_job_for_no_pull_request_leaves_those_of_pull_requests_alone() -> None:
    job = JobFactory(ci=True, extensions={"queue": {"on_overlap": "cancel_queued"}})
    runs = trigger(job, replace(BY_API, github_pull_request_id=7), BY_API, BY_API)

    assert statuses(*runs) == [QUEUED, CANCELLED, QUEUED]


def test_a_job_that_makes_up_for_every_moment_is_not_over_scheduled() -> None:
    job = JobFactory(extensions={"schedule": {"misfire": "all"}})
    runs = trigger(job, BY_SCHEDULE, BY_SCHEDULE)

    assert statuses(*runs) == [QUEUED, QUEUED]


# --- Keys ------------------------------------------------------------------------------------


@pytest.fixture
def sharing() -> Callable[[], Job]:
    first = job_that(concurrency_key="prod marts")

    def make() -> Job:
        return JobFactory(environment=first.environment, extensions=first.extensions)

    return make


def test_jobs_that_share_a_key_do_not_overlap(sharing: Callable[[], Job]) -> None:
    claim(trigger_run(sharing(), BY_API))

    assert Run.objects.claim(trigger_run(sharing(), BY_API).pk, worker="w2") is None


def test_a_run_that_waits_for_its_key_holds_up_no_other(sharing: Callable[[], Job]) -> None:
    claim(trigger_run(sharing(), BY_API))
    trigger_run(sharing(), BY_API)

    assert statuses(claim(trigger_run(JobFactory(), BY_API))) == [STARTING]


def test_a_key_goes_to_who_was_queued_first(sharing: Callable[[], Job]) -> None:
    running = claim(trigger_run(sharing(), BY_API))
    first, second = (trigger_run(sharing(), BY_API) for _time in range(2))
    running.move_to(RunStatus.ERROR, message="It failed.")

    assert Run.objects.claim(second.pk, worker="w2") is None
    assert statuses(claim(first)) == [STARTING]


def test_the_same_key_in_two_accounts_is_two_keys() -> None:
    ours, theirs = job_that(concurrency_key="prod"), job_that(concurrency_key="prod")
    claim(trigger_run(ours, BY_API))

    assert statuses(claim(trigger_run(theirs, BY_API))) == [STARTING]


def test_a_job_whose_key_is_changed_does_not_overlap_itself() -> None:
    job = job_that(concurrency_key="old")
    claim(trigger_run(job, BY_API))
    job.extensions = {"queue": {"concurrency_key": "new"}}
    job.save()

    assert Run.objects.claim(trigger_run(job, BY_API).pk, worker="w2") is None


@pytest.mark.parametrize("name", ["prod", "a:b::c", "x" * 255])
def test_a_key_keeps_the_name_that_people_gave_it(name: str) -> None:
    assert named_key(concurrency_key(job_that(concurrency_key=name), None)) == name


def test_a_jobs_own_key_has_no_name() -> None:
    assert named_key(concurrency_key(JobFactory(), None)) == ""


# --- Turns -----------------------------------------------------------------------------------


def test_a_run_that_is_just_queued_overtakes_none_that_waits(account: Any) -> None:
    account.run_slots = 1
    account.save()
    busy, early, late = (JobFactory(environment__project__account=account) for _job in range(3))
    running = claim(trigger_run(busy, BY_API))
    waiting, newer = trigger_run(early, BY_API), trigger_run(late, BY_API)
    running.move_to(RunStatus.ERROR, message="It failed.")

    assert Run.objects.claim(newer.pk, worker="w2") is None
    assert statuses(claim(waiting)) == [STARTING]


def test_a_run_that_waits_for_its_job_keeps_no_slot_from_others(account: Any) -> None:
    account.run_slots = 2
    account.save()
    busy, other = (JobFactory(environment__project__account=account) for _job in range(2))
    claim(trigger_run(busy, BY_API))
    trigger_run(busy, BY_API)

    assert statuses(claim(trigger_run(other, BY_API))) == [STARTING]


def test_the_moment_a_schedule_named_is_kept_with_the_run() -> None:
    moment = now() - timedelta(seconds=3)
    run = trigger_run(JobFactory(), replace(BY_SCHEDULE, should_start_at=moment))

    assert Run.objects.get(pk=run.pk).should_start_at == moment
