"""Going to anything by a few words: what is found, and for whom."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account, Grant, Group
from tests.factories import (
    JobFactory,
    MembershipFactory,
    NodeResultFactory,
    RunFactory,
    RunStepFactory,
)

VisitorOf = Callable[..., Client]
HTMX = {"HX-Request": "true"}


def found(visitor: Client, account: Account, words: str) -> str:
    answer = visitor.get(reverse("console:go", args=[account.pk]), {"q": words}, headers=HTMX)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_job_is_found_by_words_of_its_name_and_project(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Nightly <build>", environment__project__name="Coffee shops")
    page = found(visitor_of(job.account), job.account, "coffee NIGHT")

    assert "Nightly &lt;build&gt;" in page
    assert reverse("console:job", args=[job.account_id, job.project_id, job.pk]) in page
    assert "<html" not in page


@pytest.mark.parametrize("words", ["{}", "#{}", " # {} "])
def test_a_run_is_found_by_its_number(visitor_of: VisitorOf, words: str) -> None:
    run = RunFactory(failed=True)
    page = found(visitor_of(run.account), run.account, words.format(run.pk))

    assert reverse("console:run", args=[run.account_id, run.project_id, run.pk]) in page
    assert "Error" in page


def test_a_model_of_the_last_good_run_is_found(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True))
    NodeResultFactory(step=step, name="fct_orders", unique_id="model.shop.fct_orders")
    NodeResultFactory(
        step=step, name="fct_orders_test", unique_id="test.shop.x", resource_type="test"
    )
    page = found(visitor_of(step.run.account), step.run.account, "orders")

    assert "fct_orders" in page
    assert "fct_orders_test" not in page


def test_pages_are_found_and_all_are_there_without_words(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account)

    assert reverse("console:queue", args=[account.pk]) in found(visitor, account, "que")
    assert reverse("console:members", args=[account.pk]) in found(visitor, account, "")


def test_what_nobody_is_called_says_so(visitor_of: VisitorOf, account: Account) -> None:
    page = found(visitor_of(account), account, "<b>nothing")

    assert "Nothing is called “<bdi>&lt;b&gt;nothing</bdi>”" in page


def test_another_accounts_things_are_not_found(visitor_of: VisitorOf, account: Account) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True, job__name="Theirs"))
    NodeResultFactory(step=step, name="fct_theirs")
    visitor = visitor_of(account)

    assert "Nothing is called" in found(visitor, account, "theirs")
    assert "Nothing is called" in found(visitor, account, f"#{step.run_id}")


def test_a_member_of_one_project_finds_nothing_of_another(client: Client, db: None) -> None:
    mine = JobFactory(name="Mine")
    theirs = JobFactory(
        name="Theirs", environment__project__account=mine.account, environment__project__name="X"
    )
    # A number that no made-up name of a project has in it.
    step = RunStepFactory(run=RunFactory(pk=987_654_321, job=theirs, succeeded=True))
    NodeResultFactory(step=step, name="fct_theirs")
    member = MembershipFactory(account=mine.account, permission_set="")
    group = Group.objects.create(account=mine.account, name="Of one project")
    group.members.add(member)
    Grant.objects.create(group=group, permission_set="job_viewer", project=mine.project)
    client.force_login(member.user)

    assert "Mine" in found(client, mine.account, "mine")
    assert "Nothing is called" in found(client, mine.account, "theirs")
    assert "Nothing is called" in found(client, mine.account, str(step.run_id))
    assert reverse("console:tokens", args=[mine.account_id]) not in found(client, mine.account, "X")


@pytest.mark.parametrize("words", ["\0", "9" * 400, "%", "' or 1=1", "#", "²"])
def test_odd_words_are_only_words(visitor_of: VisitorOf, account: Account, words: str) -> None:
    found(visitor_of(account), account, words)


def test_it_is_a_page_without_scripts(visitor_of: VisitorOf, account: Account) -> None:
    page = visitor_of(account).get(reverse("console:go", args=[account.pk]), {"q": "jobs"})

    assert 'value="jobs"' in page.content.decode()


def test_it_asks_little_of_the_database(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = RunFactory(succeeded=True)
    visitor = visitor_of(run.account)
    found(visitor, run.account, "a")

    with django_assert_max_num_queries(15):
        found(visitor, run.account, str(run.pk))


# --- Beside a run ------------------------------------------------------------------------


def test_the_older_and_the_newer_run_of_a_job_are_one_step_away(visitor_of: VisitorOf) -> None:
    first = RunFactory()
    RunFactory(job__environment=first.environment)
    last = RunFactory(job=first.job)
    visitor = visitor_of(first.account)

    def beside(run_id: int, name: str) -> str:
        url = reverse(f"console:{name}", args=[first.account_id, first.project_id, run_id])
        answer = visitor.get(url, follow=True)
        return f"{answer.request['PATH_INFO']} {answer.content.decode()}"

    assert beside(last.pk, "run_older").startswith(
        reverse("console:run", args=[first.account_id, first.project_id, first.pk])
    )
    assert beside(first.pk, "run_newer").startswith(
        reverse("console:run", args=[first.account_id, first.project_id, last.pk])
    )
    assert "This is the newest run of the job." in beside(last.pk, "run_newer")
    assert "This is the oldest run of the job." in beside(first.pk, "run_older")
