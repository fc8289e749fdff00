"""A run ended: which jobs that starts, that it starts each once, and what starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from django.utils.timezone import now

from environments.models import Environment
from jobsvc.jobs.chain import Completion
from jobsvc.jobs.define import define_job, delete_job
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.runs import tasks
from jobsvc.runs.chain import MOST_IN_A_ROW, start_downstream_runs
from jobsvc.runs.models import Run, RunTransition, UpstreamEnd
from jobsvc.runs.react import react_to_transitions
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CancelReason, CauseCategory, RunStatus
from tests.conftest import JSONClient
from tests.factories import EnvironmentFactory, JobFactory, RunFactory

pytestmark = pytest.mark.django_db

SUCCESS, ERROR, CANCELLED = 10, 20, 30
BY_API = Trigger(cause="test", cause_category=CauseCategory.API)


@pytest.fixture
def environment(db: None) -> Environment:
    return EnvironmentFactory()


def follow(job: Job, first: Job, *statuses: int) -> Job:
    """Let ``job`` start after ``first``, by dbt's own field."""
    return define_job(job, completion=Completion(first, list(statuses or [SUCCESS])))


def wait_for(job: Job, jobs: Sequence[Job], mode: str = "all") -> Job:
    """Let ``job`` start after ``jobs``, by its extensions."""
    entries = [{"job_id": first.pk, "statuses": [SUCCESS]} for first in jobs]
    job.extensions = job.extensions | {"upstream": {"mode": mode, "jobs": entries}}
    return define_job(job, completion=None)


def ended(job: Job, status: int = SUCCESS, **columns: Any) -> Run:
    """A run of ``job`` that has just ended."""
    return RunFactory(job=job, over=True, status=status, **columns)


def end(run: Run, status: RunStatus = RunStatus.SUCCESS) -> None:
    """Bring a queued run to its end, as a worker would."""
    claimed = Run.objects.claim(run.pk, worker="w1")
    assert claimed is not None
    if status == RunStatus.SUCCESS:
        claimed.move_to(RunStatus.RUNNING)
    claimed.move_to(status)


def react(published: list[tuple[Any, ...]]) -> None:
    """Let every reaction to what has moved happen, until nothing moves any more."""
    while RunTransition.objects.filter(reacted_at=None).exists():
        del published[:]
        react_to_transitions()
        for name, *arguments in list(published):
            if hasattr(tasks, name):  # those of other rooms have tests of their own
                getattr(tasks, name)(*arguments)


def runs_of(job: Job) -> list[Run]:
    return list(Run.objects.filter(job=job).order_by("pk"))


# --- One after the other -----------------------------------------------------------------


def test_a_chain_goes_from_success_to_success(
    environment: Environment, published: list[tuple[Any, ...]]
) -> None:
    first, second, third = JobFactory.create_batch(3, environment=environment)
    follow(second, first)
    follow(third, second)

    trigger_run(first, BY_API)
    for job in (first, second, third):
        react(published)
        [run] = runs_of(job)
        end(run)
    react(published)

    assert [run.job for run in Run.objects.order_by("pk")] == [first, second, third]
    assert [run.chain_depth for run in Run.objects.order_by("pk")] == [0, 1, 2]


def test_a_chain_stops_where_a_job_fails(
    environment: Environment, published: list[tuple[Any, ...]]
) -> None:
    first, second, third = JobFactory.create_batch(3, environment=environment)
    follow(second, first)
    follow(third, second)
    trigger_run(first, BY_API)
    react(published)
    end(runs_of(first)[0])
    react(published)

    end(runs_of(second)[0], RunStatus.ERROR)
    react(published)

    assert runs_of(third) == []


@pytest.mark.parametrize("wanted", [SUCCESS, ERROR, CANCELLED])
@pytest.mark.parametrize("status", [SUCCESS, ERROR, CANCELLED])
def test_a_job_follows_on_the_statuses_it_names_only(
    wanted: int, status: int, environment: Environment
) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first, wanted)

    started = start_downstream_runs(ended(first, status))

    assert [run.job for run in started] == [second] * (wanted == status)


def test_a_run_says_what_started_it(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)
    run = ended(first)

    [started] = start_downstream_runs(run)

    assert started.trigger.cause == f"Triggered by run {run.pk} of job {first.name}"
    assert started.trigger.cause_category == CauseCategory.JOB_COMPLETION
    assert started.trigger.caused_by_run == run
    assert started.trigger.deduplication_key == f"completion:{second.pk}:{run.pk}"


def test_one_end_starts_every_job_that_waits_for_it(environment: Environment) -> None:
    first, *others = JobFactory.create_batch(4, environment=environment)
    for job in others:
        follow(job, first)

    started = start_downstream_runs(ended(first))

    assert [run.job for run in started] == others


def test_an_end_that_is_told_again_starts_nothing_more(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)
    run = ended(first)
    start_downstream_runs(run)

    assert start_downstream_runs(run) == []
    assert len(runs_of(second)) == 1


def test_a_job_that_is_named_in_both_ways_is_followed_once(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    second.extensions = {"upstream": {"jobs": [{"job_id": first.pk, "statuses": [10, 20]}]}}
    follow(second, first)

    start_downstream_runs(ended(first))

    assert len(runs_of(second)) == 1


def test_an_end_whose_message_was_lost_is_told_by_the_sweep(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)
    CompletionTrigger.objects.update(created_at=now() - timedelta(hours=1))
    ended(first, finished_at=now() - timedelta(minutes=1))

    tasks.sweep()
    tasks.sweep()

    assert len(runs_of(second)) == 1


# --- Ends that do not count --------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "counts"),
    [
        (CancelReason.USER, True),
        (CancelReason.TIMEOUT, True),
        (CancelReason.SUPERSEDED, False),
        (CancelReason.OVER_SCHEDULED, False),
        (CancelReason.SKIPPED, False),
    ],
)
def test_a_run_that_made_room_for_another_is_no_end(
    reason: CancelReason, counts: bool, environment: Environment
) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first, CANCELLED)

    started = start_downstream_runs(ended(first, CANCELLED, cancel_reason=reason))

    assert len(started) == counts


def test_a_run_that_will_be_retried_has_not_ended_yet(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first, ERROR, SUCCESS)
    failed = ended(first, ERROR, will_retry_at=now() + timedelta(minutes=1))

    assert start_downstream_runs(failed) == []
    [started] = start_downstream_runs(ended(first, retrying_run=failed))
    assert started.job == second


def test_a_run_that_was_skipped_is_no_success_to_go_on_from(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)

    assert start_downstream_runs(ended(first, outcome="skipped")) == []


def test_a_run_that_ended_before_the_trigger_was_given_starts_nothing(
    environment: Environment,
) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    run = ended(first, finished_at=now() - timedelta(minutes=1))
    follow(second, first)

    assert start_downstream_runs(run) == []


def test_a_deleted_upstream_job_starts_nothing(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)
    run = ended(first)
    delete_job(first)

    assert start_downstream_runs(run) == []


def test_a_deleted_job_is_not_started(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)
    delete_job(second)

    assert start_downstream_runs(ended(first)) == []


# --- Jobs that are not to be started -----------------------------------------------------


def note_of(job: Job) -> str:
    return UpstreamEnd.objects.get(job=job).note


def test_a_deactivated_job_is_not_started_and_the_end_says_so(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)
    Job.objects.filter(pk=second.pk).update(deactivated=True)

    assert start_downstream_runs(ended(first)) == []
    assert note_of(second).startswith("Not started: the job is deactivated.")


def test_a_run_shows_what_its_end_started_and_what_not(
    environment: Environment, client_of: Callable[..., JSONClient]
) -> None:
    first, second, off, last = JobFactory.create_batch(4, environment=environment)
    follow(second, first)
    follow(off, first)
    Job.objects.filter(pk=off.pk).update(deactivated=True)
    wait_for(last, [first, second])
    run = ended(first)
    [started] = start_downstream_runs(run)

    def shown(run: Run) -> dict[str, Any]:
        address = f"/api/v2/accounts/{run.account_id}/runs/{run.pk}/extensions/"
        data: dict[str, Any] = client_of(run.account).get(address).json()["data"]
        return data

    assert shown(run)["downstream"] == [
        {"job_id": second.pk, "run_id": started.pk, "note": None},
        {"job_id": off.pk, "run_id": None, "note": note_of(off)},
        {"job_id": last.pk, "run_id": None, "note": None},
    ]
    assert shown(started)["caused_by_run_id"] == run.pk


def test_a_paused_job_is_not_started_and_the_end_says_why(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    second.extensions = {"pause": {"reason": "The warehouse moves."}}
    follow(second, first)

    assert start_downstream_runs(ended(first)) == []
    assert note_of(second) == "Not started: the job is paused. The warehouse moves."


def test_a_pause_that_is_over_holds_nothing_up(environment: Environment) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    second.extensions = {"pause": {"until": (now() - timedelta(minutes=1)).isoformat()}}
    follow(second, first)

    assert len(start_downstream_runs(ended(first))) == 1


def test_what_came_while_a_job_was_deactivated_is_not_made_up_for(
    environment: Environment,
) -> None:
    left, right, last = JobFactory.create_batch(3, environment=environment)
    wait_for(last, [left, right])
    Job.objects.filter(pk=last.pk).update(deactivated=True)
    start_downstream_runs(ended(left))
    Job.objects.filter(pk=last.pk).update(deactivated=False)

    assert start_downstream_runs(ended(right)) == []


def test_a_job_that_cannot_run_holds_up_no_other(environment: Environment) -> None:
    first, empty, second = JobFactory.create_batch(3, environment=environment)
    follow(empty, first)
    follow(second, first)
    Job.objects.filter(pk=empty.pk).update(execute_steps=[])

    started = start_downstream_runs(ended(first))

    assert [run.job for run in started] == [second]
    assert note_of(empty).startswith("Not started: This run would have no commands.")


@pytest.mark.parametrize(("depth", "goes_on"), [(MOST_IN_A_ROW - 1, True), (MOST_IN_A_ROW, False)])
def test_no_more_than_twenty_runs_start_each_other(
    depth: int, goes_on: bool, environment: Environment
) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    follow(second, first)

    started = start_downstream_runs(ended(first, chain_depth=depth))

    assert [run.chain_depth for run in started] == [depth + 1] * goes_on
    assert goes_on or "20 runs in a row" in note_of(second)


def test_jobs_that_start_each_other_behind_our_back_stop_by_themselves(
    environment: Environment, published: list[tuple[Any, ...]]
) -> None:
    jobs = JobFactory.create_batch(2, environment=environment)
    follow(jobs[1], jobs[0])
    CompletionTrigger.objects.create(job=jobs[0], upstream=jobs[1], statuses=[SUCCESS])
    trigger_run(jobs[0], BY_API)

    while waiting := Run.objects.queued().first():
        end(waiting)
        react(published)

    assert Run.objects.count() == MOST_IN_A_ROW + 1


# --- Fan-in ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_all_starts_one_run_with_the_last_of_its_jobs(
    order: tuple[int, ...], environment: Environment
) -> None:
    *firsts, last = JobFactory.create_batch(4, environment=environment)
    wait_for(last, firsts)

    started = [start_downstream_runs(ended(firsts[place])) for place in order]

    assert [len(runs) for runs in started] == [0, 0, 1]
    assert runs_of(last) == started[2]


@pytest.mark.parametrize("order", sorted(set(permutations("AABB"))))
def test_each_end_is_used_once(order: tuple[str, ...], environment: Environment) -> None:
    left, right, last = JobFactory.create_batch(3, environment=environment)
    wait_for(last, [left, right])
    expected, waiting = 0, set()
    for letter in order:
        start_downstream_runs(ended({"A": left, "B": right}[letter]))
        waiting.add(letter)
        if len(waiting) == 2:
            expected, waiting = expected + 1, set()

    assert len(runs_of(last)) == expected
    for run in runs_of(last):
        assert {end.run.job for end in run.started_after.all()} == {left, right}


def test_all_asks_every_job_for_a_status_it_names(environment: Environment) -> None:
    left, right, last = JobFactory.create_batch(3, environment=environment)
    wait_for(last, [left, right])
    start_downstream_runs(ended(left))

    assert start_downstream_runs(ended(right, ERROR)) == []
    assert len(start_downstream_runs(ended(right))) == 1


def test_all_waits_for_dbts_own_job_too(environment: Environment) -> None:
    first, second, last = JobFactory.create_batch(3, environment=environment)
    last.extensions = {"upstream": {"mode": "all", "jobs": [{"job_id": second.pk}]}}
    follow(last, first)

    assert start_downstream_runs(ended(second)) == []
    assert len(start_downstream_runs(ended(first))) == 1


def test_any_starts_a_run_with_each_of_its_jobs(environment: Environment) -> None:
    left, right, last = JobFactory.create_batch(3, environment=environment)
    wait_for(last, [left, right], mode="any")

    assert len(start_downstream_runs(ended(left))) == 1
    assert len(start_downstream_runs(ended(right))) == 1


def test_all_with_a_deleted_job_starts_nothing(environment: Environment) -> None:
    left, right, last = JobFactory.create_batch(3, environment=environment)
    wait_for(last, [left, right])
    delete_job(left)

    assert start_downstream_runs(ended(right)) == []


def test_what_waited_before_a_job_was_named_anew_counts_no_more(environment: Environment) -> None:
    left, right, last = JobFactory.create_batch(3, environment=environment)
    wait_for(last, [left, right])
    CompletionTrigger.objects.update(created_at=now() - timedelta(hours=1))
    start_downstream_runs(ended(left, finished_at=now() - timedelta(minutes=1)))
    wait_for(last, [right])
    wait_for(last, [left, right])

    assert start_downstream_runs(ended(right)) == []


def test_a_job_saved_in_between_still_knows_who_has_ended(environment: Environment) -> None:
    left, right, last = JobFactory.create_batch(3, environment=environment)
    wait_for(last, [left, right])
    start_downstream_runs(ended(left))
    last.name = "renamed"
    wait_for(last, [left, right])

    assert len(start_downstream_runs(ended(right))) == 1
