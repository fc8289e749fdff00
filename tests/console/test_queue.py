"""The queue: what is at work, what waits, and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from jobsvc.runs.models import Run
from tests.factories import JobFactory, RunFactory

VisitorOf = Callable[..., Client]


def text(client: Client, account: Account, **options: object) -> str:
    response = client.get(reverse("console:queue", args=[account.pk]), **options)
    assert response.status_code == 200
    return response.content.decode()


def cancel(run: Run) -> str:
    return reverse("console:run_cancel", args=[run.account_id, run.project_id, run.pk])


def test_an_empty_queue_says_what_would_be_here(visitor_of: VisitorOf, account: Account) -> None:
    page = text(visitor_of(account), account)

    assert "Nothing waits." in page
    assert "No worker has a run of this account." in page
    assert "hx-get" not in page


def test_a_run_at_work_names_its_worker_and_when_it_was_heard(visitor_of: VisitorOf) -> None:
    heard = now() - timedelta(minutes=4)
    run = RunFactory(
        running=True,
        worker="worker-1",
        last_heartbeat_at=heard,
        lease_until=now() + timedelta(minutes=1),
    )

    page = text(visitor_of(run.account), run.account)

    assert "worker-1" in page
    assert "4 min ago" in page
    assert "Silent" not in page


def test_a_worker_whose_lease_is_over_is_called_silent(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True, lease_until=now() - timedelta(seconds=1))

    assert "Silent" in text(visitor_of(run.account), run.account)


def test_waiting_runs_are_listed_in_order_with_the_reason(visitor_of: VisitorOf) -> None:
    holder = RunFactory(running=True, takes_slot=True, slot=1)
    Account.objects.filter(pk=holder.account_id).update(run_slots=1)
    first = RunFactory(job=holder.job)
    second = RunFactory(job=JobFactory(environment=holder.environment))

    page = text(visitor_of(holder.account), holder.account)
    waiting = page[page.index("Waiting (2)") :]

    assert waiting.index(f'id="run-{first.pk}"') < waiting.index(f'id="run-{second.pk}"')
    assert f"Waits for run {holder.pk} of the same job to end." in waiting
    assert "The account&#x27;s run slot is taken." in waiting
    assert "1 of 1 run slots are taken, 2 runs wait" in page


def test_who_may_run_jobs_can_cancel_from_here_and_nobody_else(visitor_of: VisitorOf) -> None:
    run, waiting = RunFactory(running=True), None
    waiting = RunFactory(job=run.job)

    runner = text(visitor_of(run.account, "job_runner"), run.account)
    viewer = text(visitor_of(run.account, "job_viewer"), run.account)

    assert cancel(run) in runner
    assert cancel(waiting) in runner
    assert cancel(run) not in viewer
    assert "Cancel queued runs" not in viewer


def test_the_queue_asks_for_itself_again_while_something_is_in_it(visitor_of: VisitorOf) -> None:
    run = RunFactory()

    fragment = text(visitor_of(run.account), run.account, headers={"HX-Request": "true"})

    assert 'hx-trigger="every 5s"' in fragment
    assert "<!doctype" not in fragment


def test_another_accounts_queue_is_not_shown(visitor_of: VisitorOf, account: Account) -> None:
    RunFactory(running=True)
    RunFactory()

    assert "Nothing waits." in text(visitor_of(account), account)


def test_a_long_queue_takes_no_more_queries(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory()
    RunFactory(job=job, running=True)
    RunFactory.create_batch(30, job=job)
    visitor = visitor_of(job.account)
    text(visitor, job.account)

    with django_assert_max_num_queries(15):
        text(visitor, job.account)
