"""The list of runs: its filters, what it says when it is empty, and cancelling what waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from jobsvc.console import run_filters
from jobsvc.runs.models import Run
from jobsvc.statuses import CauseCategory, RunStatus
from tests.factories import EnvironmentFactory, JobFactory, MembershipFactory, RunFactory

VisitorOf = Callable[..., Client]
HTMX = {"HX-Request": "true"}


def runs_of(account: Account, query: str = "") -> str:
    return reverse("console:runs", args=[account.pk]) + query


def text(client: Client, address: str, **options: object) -> str:
    response = client.get(address, **options)
    assert response.status_code == 200
    return response.content.decode()


def listed(page: str, *runs: Run) -> list[bool]:
    return [f'id="run-{run.pk}"' in page for run in runs]


# --- Filters -----------------------------------------------------------------------------


@pytest.fixture
def one_and_other(db: None) -> tuple[Run, Run]:
    """Two runs of one account that differ in all that can be filtered by; the first is found."""
    one = RunFactory(
        failed=True,
        job__name="Nightly build",
        git_branch="feature/x",
        git_sha="1027c4d9e0",
        status_message="Step 4 failed: no such column.",
        trigger__cause="scheduled",
        trigger__cause_category=CauseCategory.SCHEDULED,
        created_at=now() - timedelta(days=3),
    )
    environment = EnvironmentFactory(project__account=one.account)
    other = RunFactory(job=JobFactory(environment=environment), succeeded=True, git_branch="main")
    return one, other


@pytest.mark.parametrize(
    "query",
    [
        "job={job}",
        "status=error",
        "env={env}",
        "trigger=schedule",
        "branch=feature/x",
        "until={yesterday}",
        "q=%23{run}",
        "q=nightly",
        "q=SCHEDULED",
        "q=such+column",
        "q=1027c4d",
        "q=nightly+feature",
        "status=error&branch=feature/x&until={yesterday}&q=build",
    ],
)
def test_a_filter_leaves_the_runs_that_match(
    visitor_of: VisitorOf, one_and_other: tuple[Run, Run], query: str
) -> None:
    one, other = one_and_other
    asked = query.format(
        job=one.job_id,
        env=one.environment_id,
        run=one.pk,
        yesterday=f"{now() - timedelta(days=1):%Y-%m-%d}",
    )

    page = text(visitor_of(one.account), runs_of(one.account, f"?{asked}"))

    assert listed(page, one, other) == [True, False]


@pytest.mark.parametrize("query", ["status=success", "since=today", "q=%23{run}0", "branch=x"])
def test_a_filter_hides_the_runs_that_do_not_match(
    visitor_of: VisitorOf, one_and_other: tuple[Run, Run], query: str
) -> None:
    one, _ = one_and_other
    asked = query.format(run=one.pk)

    page = text(visitor_of(one.account), runs_of(one.account, f"?{asked}"))

    assert listed(page, one) == [False]


def test_my_runs_are_those_that_i_started(client: Client, account: Account) -> None:
    me = MembershipFactory(account=account).user
    client.force_login(me)
    job = JobFactory(environment__project__account=account)
    mine, other = RunFactory(job=job, trigger__user=me), RunFactory(job=job)

    assert listed(text(client, runs_of(account, "?by=me")), mine, other) == [True, False]


def test_failed_today_is_one_click(visitor_of: VisitorOf, one_and_other: tuple[Run, Run]) -> None:
    one, _ = one_and_other
    visitor = visitor_of(one.account)
    today = RunFactory(job=one.job, failed=True, created_at=now())
    href = "?status=error&amp;since=today"
    assert f'{href}">Failed today' in text(visitor, runs_of(one.account))

    page = text(visitor, runs_of(one.account, "?status=error&since=today"))

    assert f'{href}" aria-current="page">Failed today' in page
    assert listed(page, today, one) == [True, False]


def test_the_filters_of_the_address_are_chosen_in_the_form(
    visitor_of: VisitorOf, one_and_other: tuple[Run, Run]
) -> None:
    one, _ = one_and_other

    query = f"?status=error&job={one.job_id}&since=2026-01-02&q=build"
    page = text(visitor_of(one.account), runs_of(one.account, query))

    assert '<option value="error" selected>' in page
    assert f'<option value="{one.job_id}" selected>' in page
    assert 'value="2026-01-02"' in page
    assert 'value="build"' in page
    assert ">Clear<" in page


@pytest.mark.parametrize(
    "query", ["status=fine", "since=yesterdayish", "until=2026-13-01", "trigger=cat", "by=you"]
)
def test_what_cannot_be_filtered_by_is_said_and_left_out(visitor_of: VisitorOf, query: str) -> None:
    run = RunFactory()

    page = text(visitor_of(run.account), runs_of(run.account, f"?{query}"))

    assert f"“{query.partition('=')[2]}” is no" in page
    assert listed(page, run) == [True]


@pytest.mark.parametrize(
    "query", ["job=x", f"env={'9' * 40}", "q=%00", "q=%27%3B", "q=##", "q=%25"]
)
def test_no_filter_breaks_the_page(visitor_of: VisitorOf, query: str) -> None:
    run = RunFactory()

    text(visitor_of(run.account), runs_of(run.account, f"?{query}"))


@pytest.mark.parametrize("name", ["job", "env"])
def test_another_accounts_job_or_environment_is_none_to_filter_by(
    visitor_of: VisitorOf, name: str
) -> None:
    theirs, ours = RunFactory(), RunFactory()
    pk = theirs.job_id if name == "job" else theirs.environment_id

    address = runs_of(ours.account, f"?{name}={pk}")

    assert visitor_of(ours.account).get(address).status_code == 404


def test_older_runs_keep_the_filters(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    runs = RunFactory.create_batch(52, job=job, failed=True)

    page = text(visitor_of(job.account), runs_of(job.account, "?status=error"))

    assert f'href="?status=error&amp;before={runs[2].pk}"' in page


def test_a_list_that_refreshes_itself_counts_only_newer_runs_that_match(
    visitor_of: VisitorOf,
) -> None:
    shown = RunFactory(running=True)
    RunFactory(job=shown.job)
    RunFactory(job=JobFactory(environment=shown.environment), running=True)

    query = f"?status=running&before={shown.pk + 1}"
    rows = text(visitor_of(shown.account), runs_of(shown.account, query), headers=HTMX)

    assert "1 newer run<" in rows


def test_words_are_looked_for_in_so_many_runs_and_further_back_by_a_link(
    visitor_of: VisitorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_filters, "LOOKED_THROUGH", 3)
    old = RunFactory(failed=True, status_message="the needle")
    newer = RunFactory.create_batch(3, job=old.job)
    visitor = visitor_of(old.account)

    page = text(visitor, runs_of(old.account, "?q=needle"))
    assert listed(page, old) == [False]
    assert f'href="?q=needle&amp;before={newer[0].pk}"' in page

    further = text(visitor, runs_of(old.account, f"?q=needle&before={newer[0].pk}"))
    assert listed(further, old) == [True]


# --- What is around the rows -------------------------------------------------------------


def test_an_empty_list_names_the_filter_that_emptied_it(
    visitor_of: VisitorOf, one_and_other: tuple[Run, Run]
) -> None:
    one, _ = one_and_other

    page = text(
        visitor_of(one.account), runs_of(one.account, "?status=error&branch=feature/x&q=unheard")
    )

    assert "No run matches" in page
    empty = page[page.index("There are runs without") :]
    assert 'href="?status=error&amp;branch=feature%2Fx"><bdi>“unheard”</bdi>' in empty
    assert "<bdi>Status Error</bdi>" not in empty


def test_the_runs_on_show_are_a_picture_as_well(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)

    assert "These 1 runs, 1 of them in error" in text(visitor_of(run.account), runs_of(run.account))


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({"cause_category": "scheduled"}, "Schedule"),
        ({"cause_category": "ui"}, "Person"),
        ({"cause_category": "ci", "github_pull_request_id": 7}, "Pull request #7"),
        ({"cause_category": "merge"}, "Merge"),
        ({"cause_category": "rerun"}, "Retry"),
        ({"cause_category": "job completion"}, "After another job"),
    ],
)
def test_a_row_says_what_kind_of_thing_started_the_run(
    visitor_of: VisitorOf, trigger: dict[str, object], words: str
) -> None:
    run = RunFactory(**{f"trigger__{name}": value for name, value in trigger.items()})

    page = text(visitor_of(run.account), runs_of(run.account))

    assert f'<td class="long">{words} <div' in page


@pytest.mark.parametrize("query", ["", "?q=nothing&status=error&branch=x&since=2026-01-01"])
def test_the_list_takes_few_queries_whatever_is_asked(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries, query: str
) -> None:
    job = JobFactory()
    RunFactory.create_batch(55, job=job)
    visitor = visitor_of(job.account)
    text(visitor, runs_of(job.account))

    with django_assert_max_num_queries(15):
        text(visitor, runs_of(job.account, query))


# --- Cancelling --------------------------------------------------------------------------


def cancel(account: Account, query: str = "") -> str:
    return reverse("console:cancel_queued", args=[account.pk]) + query


def statuses(*runs: Run) -> list[int]:
    return [Run.objects.get(pk=run.pk).status for run in runs]


def test_cancelling_asks_with_the_number_of_the_runs(visitor_of: VisitorOf) -> None:
    one, other = RunFactory(), RunFactory()
    RunFactory.create_batch(11, job=one.job)

    page = text(visitor_of(one.account), cancel(one.account))

    assert "Cancel 12 queued runs?" in page
    assert "and 2 more" in page
    assert statuses(one, other) == [RunStatus.QUEUED, RunStatus.QUEUED]


def test_the_queued_runs_that_match_are_cancelled_and_no_others(visitor_of: VisitorOf) -> None:
    wanted, running = RunFactory(), None
    running = RunFactory(job=wanted.job, running=True)
    of_other_job = RunFactory(job=JobFactory(environment=wanted.environment))
    theirs = RunFactory()
    query = f"?job={wanted.job_id}"

    response = visitor_of(wanted.account).post(
        cancel(wanted.account, query), {"newest": theirs.pk}, follow=True
    )

    assert response.redirect_chain == [(runs_of(wanted.account, query), 302)]
    assert "One queued run is cancelled." in response.content.decode()
    assert statuses(wanted, running, of_other_job, theirs) == [30, 3, 1, 1]


def test_runs_that_were_queued_after_the_question_are_left_alone(visitor_of: VisitorOf) -> None:
    asked_of = RunFactory()
    later = RunFactory(job=asked_of.job)

    visitor_of(asked_of.account).post(cancel(asked_of.account), {"newest": asked_of.pk})

    assert statuses(asked_of, later) == [RunStatus.CANCELLED, RunStatus.QUEUED]


@pytest.mark.parametrize("newest", ["", "x", "9" * 30])
def test_an_answer_to_no_question_cancels_nothing(visitor_of: VisitorOf, newest: str) -> None:
    run = RunFactory()

    visitor_of(run.account).post(cancel(run.account), {"newest": newest})

    assert statuses(run) == [RunStatus.QUEUED]


def test_who_may_only_read_can_cancel_nothing(visitor_of: VisitorOf) -> None:
    run = RunFactory()
    viewer = visitor_of(run.account, "job_viewer")

    assert "Cancel queued runs" not in text(viewer, runs_of(run.account))
    assert viewer.get(cancel(run.account)).status_code == 403
    assert viewer.post(cancel(run.account), {"newest": run.pk}).status_code == 403
    assert statuses(run) == [RunStatus.QUEUED]
