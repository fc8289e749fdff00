"""The queue: what is at work, what waits, and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.audit import AuditEvent
from accounts.models import Account
from jobsvc.runs import workers
from jobsvc.runs.models import Run, Worker
from tests.factories import AccountFactory, JobFactory, MembershipFactory, RunFactory

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
    assert "every 5s" not in page


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


def post(client: Client, account: Account, name: str, *more: int) -> int:
    return client.post(reverse(f"console:{name}", args=[account.pk, *more])).status_code


def up(name: str = "runs@box", **said: object) -> Worker:
    given = {"processes": 2, "bells": {"runs": 3}, "dbt_versions": ["1.11.16"]} | said
    return workers.announce(name, **given)  # type: ignore[arg-type] # of many types


def test_a_worker_is_listed_with_what_it_has_and_says(visitor_of: VisitorOf) -> None:
    up()
    run = RunFactory(running=True, worker="runs@box:4711")

    page = text(visitor_of(run.account), run.account)
    listed = page[page.index("Workers (1)") :]

    assert "runs@box" in listed
    assert f'id="worker-run-{run.pk}"' in listed
    assert "(3 waiting)" in listed
    assert "1.11.16" in listed
    assert settings.VERSION in listed


def test_what_a_worker_does_for_other_accounts_is_only_counted(
    visitor_of: VisitorOf, account: Account
) -> None:
    up()
    theirs = RunFactory(running=True, worker="runs@box:4711")

    page = text(visitor_of(account), account)

    assert "1 that you do not see" in page
    assert f"worker-run-{theirs.pk}" not in page


def test_a_worker_that_fell_silent_is_called_gone(visitor_of: VisitorOf, account: Account) -> None:
    Worker.objects.filter(pk=up().pk).update(seen_at=now() - timedelta(seconds=31))

    assert "Gone" in text(visitor_of(account), account)


def test_the_owner_of_the_only_account_drains_and_resumes_a_worker(
    visitor_of: VisitorOf, account: Account
) -> None:
    worker = up()
    owner = visitor_of(account)

    assert post(owner, account, "worker_drain", worker.pk) == 302
    assert "Drained" in text(owner, account)
    assert post(owner, account, "worker_resume", worker.pk) == 302
    assert "Drained" not in text(owner, account)
    actions = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert [one for one in actions if one.startswith("worker.")] == [
        "worker.drain",
        "worker.resume",
    ]


def test_draining_the_last_worker_is_warned_of(visitor_of: VisitorOf, account: Account) -> None:
    address = reverse("console:worker_drain", args=[account.pk, up().pk])

    assert "runs of every account wait" in visitor_of(account).get(address).content.decode()
    up("runs@other")
    assert "every account" not in visitor_of(account).get(address).content.decode()


def test_who_shares_the_installation_drains_no_worker(
    visitor_of: VisitorOf, account: Account
) -> None:
    worker = up()
    AccountFactory()

    assert post(visitor_of(account), account, "worker_drain", worker.pk) == 403
    worker.refresh_from_db()
    assert worker.drained_at is None


def test_the_operator_drains_a_worker_of_many_accounts(account: Account) -> None:
    worker = up()
    AccountFactory()
    operator = MembershipFactory(account=account, permission_set="readonly").user
    operator.is_superuser = True
    operator.save()
    client = Client()
    client.force_login(operator)

    assert post(client, account, "worker_drain", worker.pk) == 302


def test_a_worker_that_takes_no_runs_is_not_drained(
    visitor_of: VisitorOf, account: Account
) -> None:
    worker = up("light@box", bells={"default": 0})

    page = visitor_of(account).post(
        reverse("console:worker_drain", args=[account.pk, worker.pk]), follow=True
    )

    assert "takes no runs" in page.content.decode()


def test_a_run_is_moved_to_the_front(visitor_of: VisitorOf) -> None:
    first = RunFactory()
    account = first.account
    second = RunFactory(job=JobFactory(environment=first.environment))
    runner = visitor_of(account, "job_runner")
    assert f'id="front-{second.pk}"' in text(runner, account)

    assert post(runner, account, "run_front", second.project_id, second.pk) == 302

    page = text(runner, account)
    waiting = page[page.index("Waiting (2)") :]
    assert waiting.index(f'id="run-{second.pk}"') < waiting.index(f'id="run-{first.pk}"')
    assert f'id="front-{second.pk}"' not in waiting


def test_a_run_that_started_meanwhile_is_not_moved(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)

    page = visitor_of(run.account).post(
        reverse("console:run_front", args=[run.account_id, run.project_id, run.pk]), follow=True
    )

    assert f"Run #{run.pk} does not wait any more." in page.content.decode()


def test_a_viewer_moves_nothing(visitor_of: VisitorOf) -> None:
    run = RunFactory()
    viewer = visitor_of(run.account, "job_viewer")

    assert post(viewer, run.account, "run_front", run.project_id, run.pk) == 403
    assert f"front-{run.pk}" not in text(viewer, run.account)


def test_the_last_hour_is_drawn_and_told_in_numbers(visitor_of: VisitorOf) -> None:
    began = now() - timedelta(minutes=40)
    run = RunFactory(
        succeeded=True,
        created_at=began - timedelta(minutes=5),
        dequeued_at=began,
        finished_at=began + timedelta(minutes=10),
    )

    page = text(visitor_of(run.account), run.account)

    assert "at most 1.0 of" in page
    assert "at most 1.0 runs waited" in page
