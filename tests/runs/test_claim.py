"""Who gets a queued run: its key free, a slot free, nobody before it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils.timezone import now

from jobsvc.jobs.models import Job
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, RunStatus
from tests.factories import AccountFactory, JobFactory, RunFactory

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


def jobs_of_one_account(number: int, *, slots: int, **traits: bool) -> list[Job]:
    account = AccountFactory(run_slots=slots)
    return [JobFactory(environment__project__account=account, **traits) for _place in range(number)]


def claim(run: Run) -> Run | None:
    return Run.objects.claim(run.pk, worker="w1")


def test_a_claimed_run_is_its_workers(queued: MakeRun) -> None:
    run = claim(queued())

    assert run is not None
    assert (run.status, run.worker, run.slot) == (RunStatus.STARTING, "w1", 1)
    assert (run.token, run.attempts) == (1, 1)
    assert run.dequeued_at is not None
    assert run.last_heartbeat_at is not None


def test_a_claimed_run_has_a_lease_by_the_databases_clock(queued: MakeRun) -> None:
    run = claim(queued())

    assert run is not None
    assert run.lease_until is not None
    left = run.lease_until - now()
    assert timedelta(seconds=25) < left <= timedelta(seconds=30.5)


def test_a_run_is_claimed_once(queued: MakeRun) -> None:
    run = queued()

    assert claim(run) is not None
    assert claim(run) is None


def test_a_run_that_does_not_exist_is_not_claimed() -> None:
    assert Run.objects.claim(999_999, worker="w1") is None


def test_a_run_waits_while_its_job_is_running() -> None:
    job = JobFactory()
    RunFactory(job=job, running=True)
    waiting = RunFactory(job=job)

    assert claim(waiting) is None


def test_a_run_starts_once_the_run_before_it_has_ended(claimed: MakeRun, queued: MakeRun) -> None:
    job = JobFactory()
    before = claimed(job)
    waiting = queued(job)
    before.move_to(RunStatus.ERROR)

    assert claim(waiting) is not None


def test_runs_of_a_job_start_in_the_order_they_were_queued(queued: MakeRun) -> None:
    job = JobFactory()
    first, second = queued(job), queued(job)

    assert claim(second) is None
    assert claim(first) is not None


def test_a_run_that_was_cancelled_while_it_waited_is_not_claimed(queued: MakeRun) -> None:
    run = queued()
    cancel_run(run, by="ana@example.com")

    assert claim(run) is None


def test_a_run_waits_while_every_slot_of_its_account_is_taken(
    claimed: MakeRun, queued: MakeRun
) -> None:
    one, two, three = jobs_of_one_account(3, slots=2)
    claimed(one)
    claimed(two)

    assert claim(queued(three)) is None


def test_the_lowest_free_slot_is_taken(claimed: MakeRun, queued: MakeRun) -> None:
    one, two, three = jobs_of_one_account(3, slots=2)
    first = claimed(one)
    claimed(two)
    first.move_to(RunStatus.ERROR)

    run = claim(queued(three))

    assert run is not None
    assert run.slot == 1


def test_another_accounts_runs_take_none_of_ours(claimed: MakeRun, queued: MakeRun) -> None:
    [theirs] = jobs_of_one_account(1, slots=1)
    [ours] = jobs_of_one_account(1, slots=1)
    claimed(theirs)

    assert claim(queued(ours)) is not None


def test_a_ci_run_takes_no_slot(claimed: MakeRun, queued: MakeRun) -> None:
    [deployment] = jobs_of_one_account(1, slots=1)
    claimed(deployment)
    ci = JobFactory(environment=deployment.environment, ci=True)

    run = claim(queued(ci))

    assert run is not None
    assert run.slot is None


def test_ci_runs_leave_every_slot_to_others(claimed: MakeRun, queued: MakeRun) -> None:
    one, two, deployment = jobs_of_one_account(3, slots=1)
    for job in (one, two):
        job.job_type = "ci"
        claimed(job)

    assert claim(queued(deployment)) is not None


def test_runs_of_two_pull_requests_of_a_job_go_on_at_once() -> None:
    job = JobFactory(ci=True)
    runs = [
        trigger_run(
            job,
            Trigger(
                cause="PR",
                cause_category=CauseCategory.CI,
                github_pull_request_id=number,
            ),
        )
        for number in (7, 8)
    ]

    assert [claim(run) is not None for run in runs] == [True, True]


def test_runs_of_one_pull_request_follow_each_other() -> None:
    job = JobFactory(ci=True, extensions={"queue": {"on_overlap": "queue"}})
    trigger = Trigger(cause="PR", cause_category=CauseCategory.CI, github_pull_request_id=7)
    runs = [trigger_run(job, trigger) for _push in range(2)]

    assert [claim(run) is not None for run in runs] == [True, False]


def test_fewer_slots_than_before_hold_back_new_runs_only(claimed: MakeRun, queued: MakeRun) -> None:
    one, two, three = jobs_of_one_account(3, slots=2)
    running = [claimed(one), claimed(two)]
    one.account.run_slots = 1
    one.account.save()

    assert claim(queued(three)) is None
    assert [Run.objects.get(pk=run.pk).status for run in running] == [RunStatus.STARTING] * 2


def test_the_claim_is_written_down(queued: MakeRun) -> None:
    run = queued()
    claim(run)

    assert list(run.transitions.order_by("pk").values_list("to_status", flat=True)) == [
        RunStatus.QUEUED,
        RunStatus.STARTING,
    ]
