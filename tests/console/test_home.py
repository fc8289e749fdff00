"""Home: what needs somebody, what runs, what comes next, and how the last days went."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account, Token
from accounts.roles import PermissionSet
from ci.models import Report, ReportKind
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run, Worker
from jobsvc.statuses import RunStatus
from tests.factories import (
    JobFactory,
    MembershipFactory,
    NodeResultFactory,
    RepositoryFactory,
    RunFactory,
    RunStepFactory,
    WebhookFactory,
)

VisitorOf = Callable[..., Client]
HTMX = {"HX-Request": "true"}
FINE = "Nothing needs you."


def home_of(account: Account) -> str:
    return reverse("console:account", args=[account.pk])


def text(client: Client, account: Account, **options: object) -> str:
    response = client.get(home_of(account), **options)
    assert response.status_code == 200
    return response.content.decode()


# --- What needs somebody -----------------------------------------------------------------


def test_an_account_where_nothing_failed_is_told_so(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)

    page = text(visitor_of(run.account), run.account)

    assert FINE in page


def test_a_job_whose_last_run_failed_is_shown_with_its_error(visitor_of: VisitorOf) -> None:
    message = "\nDatabase Error in model fct_payments\n  column does not exist"
    run = RunFactory(failed=True, job__name="Nightly build", status_message=message)

    page = text(visitor_of(run.account), run.account)

    assert FINE not in page
    assert '<p class="why">Database Error in model fct_payments</p>' in page
    assert f">Run #{run.pk}</a>" in page


def test_rows_name_their_project_where_there_are_several(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, job__environment__project__name="Finance")
    visitor = visitor_of(run.account)
    assert "<bdi>Finance</bdi> ·" not in text(visitor, run.account)

    JobFactory(environment__project__account=run.account)

    assert "<bdi>Finance</bdi> ·" in text(visitor, run.account)


def test_failures_in_a_row_are_counted_from_the_first_since_a_success(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()
    RunFactory(job=job, failed=True)
    RunFactory(job=job, succeeded=True)
    first = RunFactory(job=job, failed=True, finished_at=now() - timedelta(hours=9))
    RunFactory(job=job, cancelled=True)
    RunFactory(job=job, failed=True)
    RunFactory(job=job)

    page = text(visitor_of(job.account), job.account)

    assert "failed 2 times in a row" in page
    assert f'first <time datetime="{first.finished_at:%Y-%m-%dT%H:%M:%SZ}"' in page


def test_a_job_that_works_again_needs_nobody(visitor_of: VisitorOf) -> None:
    failed = RunFactory(failed=True)
    RunFactory(job=failed.job, succeeded=True)

    assert FINE in text(visitor_of(failed.account), failed.account)


def test_a_failure_that_is_tried_again_by_itself_needs_nobody_yet(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, will_retry_at=now() + timedelta(minutes=5))

    assert FINE in text(visitor_of(run.account), run.account)


def test_a_deleted_job_needs_nobody(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, job__state=2)

    assert FINE in text(visitor_of(run.account), run.account)


def test_a_run_that_waits_for_long_is_shown_with_its_reason(visitor_of: VisitorOf) -> None:
    holder = RunFactory(running=True)
    long = RunFactory(job=holder.job, created_at=now() - timedelta(minutes=20))
    short = RunFactory(job=holder.job)

    page = text(visitor_of(holder.account), holder.account)

    assert f"Run {long.pk}</a> of" in page
    assert "has waited for 20 m" in page
    assert f"Waits for run {holder.pk} of the same job to end." in page
    assert f'id="waits-{short.pk}"' not in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"next_run_at": timedelta(minutes=-5)}, "The scheduler does not tick"),
        ({"missed_at": timedelta(hours=-3)}, "started no run at its time"),
    ],
)
def test_a_schedule_that_was_missed_is_shown(
    visitor_of: VisitorOf, fields: dict[str, timedelta], words: str
) -> None:
    moments = {name: now() + away for name, away in fields.items()}
    job = JobFactory(scheduled=True, **moments)

    assert words in text(visitor_of(job.account), job.account)


def test_a_scheduler_that_does_not_tick_is_one_trouble(visitor_of: VisitorOf) -> None:
    first = JobFactory(scheduled=True, next_run_at=now() - timedelta(minutes=5))
    second = JobFactory(
        scheduled=True,
        next_run_at=now() - timedelta(minutes=9),
        environment__project=first.project,
    )

    page = text(visitor_of(first.account), first.account)

    assert page.count("The scheduler does not tick") == 1
    assert f'id="late-{first.pk}"' in page
    assert f'id="late-{second.pk}"' in page


def test_a_schedule_that_was_missed_long_ago_needs_nobody(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True, missed_at=now() - timedelta(days=3))

    assert FINE in text(visitor_of(job.account), job.account)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"failures": 3, "failing_since": now()}, "has failed 3 times in a row"),
        ({"active": False, "deactivate_reason": "It failed for days."}, "It failed for days."),
    ],
)
def test_a_webhook_that_fails_is_shown(
    visitor_of: VisitorOf, account: Account, fields: dict[str, object], words: str
) -> None:
    WebhookFactory(account=account, **fields)

    assert words in text(visitor_of(account), account)


@pytest.mark.parametrize("fields", [{}, {"active": False}, {"failures": 3, "state": 2}])
def test_a_webhook_that_works_or_was_put_away_is_not_shown(
    visitor_of: VisitorOf, account: Account, fields: dict[str, object]
) -> None:
    WebhookFactory(account=account, **fields)

    assert FINE in text(visitor_of(account), account)


def test_a_report_that_the_git_host_refused_is_shown(
    visitor_of: VisitorOf, account: Account
) -> None:
    Report.objects.create(
        repository=RepositoryFactory(account=account),
        kind=ReportKind.COMMENT,
        number=7,
        error="403: the token may not comment",
    )

    page = text(visitor_of(account), account)

    assert "Comment of pull request #7 could not be posted" in page
    assert "403: the token may not comment" in page


def token(account: Account, days: int, **fields: object) -> Token:
    kind = fields or {"permission_set": PermissionSet.JOB_RUNNER}
    return Token.issue(account, "CI", expires_at=now() + timedelta(days=days), **kind)[0]


def test_a_service_token_that_ends_soon_is_shown_to_who_manages_tokens(
    visitor_of: VisitorOf, account: Account
) -> None:
    token(account, days=3)
    token(account, days=30)

    assert text(visitor_of(account), account).count("Service token") == 1
    assert FINE in text(visitor_of(account, "job_viewer"), account)


def test_somebody_sees_the_end_of_their_own_token_and_of_nobody_elses(
    client: Client, visitor_of: VisitorOf, account: Account
) -> None:
    me = MembershipFactory(account=account, permission_set="job_viewer").user
    token(account, days=3, user=me)
    client.force_login(me)

    assert "Your token" in text(client, account)
    assert FINE in text(visitor_of(account), account)


def test_another_accounts_troubles_are_not_shown(visitor_of: VisitorOf, account: Account) -> None:
    RunFactory(failed=True)
    RunFactory(created_at=now() - timedelta(hours=1))
    JobFactory(scheduled=True, missed_at=now())
    WebhookFactory(failures=3)
    Report.objects.create(repository=RepositoryFactory(), kind="comment", number=7, error="No.")

    page = text(visitor_of(account), account)

    assert FINE in page
    assert "Nothing runs at the moment" in page


# --- What runs ---------------------------------------------------------------------------


def test_a_run_at_work_shows_how_far_it_is(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    RunFactory(job=job, succeeded=True)  # took 80 seconds
    run = RunFactory(job=job, running=True, dequeued_at=now() - timedelta(seconds=40))
    RunStepFactory(run=run, index=1, status=RunStatus.SUCCESS)
    step = RunStepFactory(run=run, index=2, status=RunStatus.RUNNING)
    RunStepFactory(run=run, index=3)
    NodeResultFactory.create_batch(2, step=step)
    NodeResultFactory(step=step, status="running")

    page = text(visitor_of(job.account), job.account)

    assert "step 2 of 3, 2 nodes done, 40 s so far, usually 1 m 20 s" in page
    assert '<progress value="50" max="100"' in page


def test_a_run_at_work_is_measured_by_the_nodes_of_the_last_good_one(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()
    NodeResultFactory.create_batch(5, step=RunStepFactory(run=RunFactory(job=job, succeeded=True)))
    step = RunStepFactory(run=RunFactory(job=job, running=True), status=RunStatus.RUNNING)
    NodeResultFactory.create_batch(2, step=step)

    assert "2 of about 5 nodes done" in text(visitor_of(job.account), job.account)


def test_a_worker_that_is_not_heard_any_more_is_told_of(
    visitor_of: VisitorOf, account: Account
) -> None:
    moment = now() - timedelta(minutes=20)
    for name, seen_at in (("runs@<lost>", moment), ("runs@here", now())):
        Worker.objects.create(name=name, started_at=moment, seen_at=seen_at, version="0.1.0")

    page = text(visitor_of(account), account)

    assert "runs@&lt;lost&gt;" in page
    assert "runs@here" not in page
    assert "Nothing needs you" not in page


def test_a_webhook_that_was_switched_off_has_a_banner(
    visitor_of: VisitorOf, account: Account
) -> None:
    WebhookFactory(
        account=account, name="Catalogue", active=False, deactivate_reason="No post got through."
    )

    page = text(visitor_of(account), account)

    assert page.index("is switched off. No post got through.") < page.index("Needs attention")


@pytest.mark.parametrize(
    ("role", "succeeded", "led"),
    [("owner", False, True), ("owner", True, False), ("job_viewer", False, False)],
)
def test_home_leads_to_the_setup_until_a_run_has_succeeded(
    visitor_of: VisitorOf, role: str, succeeded: bool, led: bool
) -> None:
    job = JobFactory()
    if succeeded:
        RunFactory(job=job, succeeded=True, finished_at=now() - timedelta(days=90))
    page = text(visitor_of(job.account, role), job.account)

    assert (reverse("console:setup", args=[job.account_id]) in page) is led


def test_the_slots_are_a_picture_with_words(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True, takes_slot=True, slot=1)
    Account.objects.filter(pk=run.account_id).update(run_slots=3)
    RunFactory(job=run.job)

    page = text(visitor_of(run.account), run.account)

    assert "1 of 3 run slots are taken, 1 runs wait" in page
    assert page.count('class="slot taken"') == 1
    assert page.count('class="slot free"') == 2


def test_home_asks_for_itself_again_only_while_something_moves(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)
    visitor = visitor_of(run.account)

    assert 'hx-trigger="every 15s"' in text(visitor, run.account, headers=HTMX)

    run.move_to(RunStatus.SUCCESS)
    fragment = text(visitor, run.account, headers=HTMX)
    assert "hx-get" not in fragment
    assert "<!doctype" not in fragment


# --- What comes, and what was ------------------------------------------------------------


def test_the_next_hours_are_listed_and_drawn(visitor_of: VisitorOf) -> None:
    due = now() + timedelta(hours=3)
    cron = {"cron": f"{due.minute} {due.hour} * * *"}
    job = JobFactory(scheduled=True, name="Soon", next_run_at=due, **cron)
    JobFactory(environment=job.environment, scheduled=True, name="Off", deactivated=True, **cron)

    page = text(visitor_of(job.account), job.account)
    ahead = page[page.index("Next 12 hours") :]

    assert "1 run planned for the next 12 hours" in ahead
    assert "in 3 h" in ahead
    assert "Soon" in ahead
    assert "Off" not in ahead


def test_a_schedule_that_cannot_be_read_breaks_no_page(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)
    Job.objects.filter(pk=job.pk).update(cron="0 0 30 2 *", extensions={"nonsense": 1})

    text(visitor_of(job.account), job.account)


def test_a_day_is_a_cell_with_its_share_of_success_and_a_row(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    RunFactory.create_batch(3, job=job, succeeded=True)
    RunFactory(job=job, failed=True)
    RunFactory(job=job, cancelled=True)
    RunFactory(job=job, succeeded=True, finished_at=now() - timedelta(days=20))
    today = f"{now().astimezone(UTC):%Y-%m-%d}"

    page = text(visitor_of(job.account), job.account)

    assert f"{today}: 3 of 4 runs succeeded (75 %)" in page
    assert f"?since={today}&amp;until={today}" in page
    row = page[page.index(f'<th scope="row">{today}') :]
    assert row.startswith(
        f'<th scope="row">{today}</th><td class="num">3</td><td class="num">1</td>'
        '<td class="num">1</td><td class="num">75 %</td>'
    )


def test_home_takes_few_queries_however_much_goes_on(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory(scheduled=True)
    for number in range(4):
        other = JobFactory(environment=job.environment, scheduled=True)
        RunFactory(job=other, succeeded=True)
        RunFactory(job=other, failed=True)
        RunFactory(job=other, running=True)
        RunFactory(job=other, created_at=now() - timedelta(hours=1))
        WebhookFactory(account=job.account, failures=number + 1)
    visitor = visitor_of(job.account)
    text(visitor, job.account)

    with django_assert_max_num_queries(15):
        text(visitor, job.account)

    assert Run.objects.of_account(job.account_id).count() == 16
