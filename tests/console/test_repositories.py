"""Repositories in the settings: how each is read, its webhook, and what was delivered."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from ci.models import RepositoryHook, WebhookDelivery
from environments.define import define_repository
from environments.models import Repository
from tests.factories import (
    DeliveryFactory,
    ProjectFactory,
    RepositoryFactory,
    RepositoryHookFactory,
    RunFactory,
)

VisitorOf = Callable[..., Client]


@pytest.fixture
def repository(db: None) -> Repository:
    return RepositoryFactory()


def url(repository: Repository, name: str = "repository", *more: int) -> str:
    return reverse(f"console:{name}", args=[repository.account_id, repository.pk, *more])


def secret_in(page: str) -> str | None:
    found = re.search(r'id="hook-secret" value="([^"]+)"', page)
    return found[1] if found else None


def test_the_settings_lead_to_the_repositories(visitor_of: VisitorOf, account: Account) -> None:
    visitor = visitor_of(account, "job_viewer")

    page = visitor.get(reverse("console:settings", args=[account.pk])).content.decode()

    assert reverse("console:repositories", args=[account.pk]) in page


def test_a_repository_is_listed_with_its_projects_and_its_webhook(visitor_of: VisitorOf) -> None:
    project = ProjectFactory(name="Coffee shop")
    RepositoryHookFactory(repository=project.repository)
    RepositoryFactory(account=project.account, remote_url="https://gitlab.com/example/tea.git")

    page = visitor_of(project.account).get(
        reverse("console:repositories", args=[project.account_id])
    )

    words = page.content.decode()
    assert project.repository.remote_url in words
    assert "Coffee shop" in words
    assert "Set up" in words
    assert "no webhooks of this host are understood" in words


def test_the_list_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf, account: Account, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for repository in RepositoryFactory.create_batch(12, account=account):
        ProjectFactory(account=account, repository=repository)
        RepositoryHookFactory(repository=repository)
    visitor = visitor_of(account)
    address = reverse("console:repositories", args=[account.pk])
    visitor.get(address)

    with django_assert_max_num_queries(15):
        visitor.get(address)


def test_an_account_without_repositories_says_how_to_make_one(
    visitor_of: VisitorOf, account: Account
) -> None:
    page = visitor_of(account).get(reverse("console:repositories", args=[account.pk]))

    assert "This account has no repositories yet" in page.content.decode()


def test_a_deploy_key_is_there_to_be_copied(visitor_of: VisitorOf, account: Account) -> None:
    repository = define_repository(
        Repository(
            account=account,
            remote_url="git@github.com:example/coffee_shop.git",
            git_clone_strategy="deploy_key",
        )
    )

    page = visitor_of(account).get(url(repository)).content.decode()

    assert repository.public_key.strip() in page
    assert "PRIVATE KEY" not in page


def test_a_repository_of_another_host_says_that_its_webhooks_are_not_understood(
    visitor_of: VisitorOf, account: Account
) -> None:
    repository = RepositoryFactory(account=account, remote_url="https://gitlab.com/a/b.git")
    visitor = visitor_of(account)

    page = visitor.get(url(repository)).content.decode()
    posted = visitor.post(url(repository, "repository_secret"), follow=True).content.decode()

    assert url(repository, "repository_secret") not in page
    assert "Start CI runs of it through the API" in page
    assert "is not a repository at" in posted
    assert not RepositoryHook.objects.exists()


# --- The secret ----------------------------------------------------------------------------


def test_the_secret_of_the_webhook_is_shown_once(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    visitor = visitor_of(repository.account)

    first = visitor.post(url(repository, "repository_secret"), follow=True).content.decode()
    second = visitor.get(url(repository)).content.decode()

    hook = RepositoryHook.objects.get()
    assert secret_in(first) == hook.secrets["current"]
    assert hook.secrets["current"] not in second
    assert f"/webhooks/github/{hook.key}" in second


def test_the_secret_is_shown_on_no_other_repositorys_page(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    other = RepositoryHookFactory(repository__account=repository.account).repository
    visitor = visitor_of(repository.account)

    visitor.post(url(repository, "repository_secret"))

    assert secret_in(visitor.get(url(other)).content.decode()) is None
    assert secret_in(visitor.get(url(repository)).content.decode())


def test_the_secret_lies_in_no_session_to_be_read(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    visitor = visitor_of(repository.account)

    visitor.post(url(repository, "repository_secret"))

    secret = RepositoryHook.objects.get().secrets["current"]
    assert secret not in str(dict(visitor.session))


def test_after_a_new_secret_the_page_says_how_long_the_last_one_is_good(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    visitor = visitor_of(repository.account)
    visitor.post(url(repository, "repository_secret"))
    first = RepositoryHook.objects.get().secrets["current"]

    page = visitor.post(url(repository, "repository_secret"), follow=True).content.decode()

    assert "The secret before this one is good until" in page
    assert RepositoryHook.objects.get().secrets["previous"] == first


def test_a_closed_webhook_says_so_and_keeps_what_was_delivered(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    delivery = DeliveryFactory(hook=RepositoryHookFactory(repository=repository))
    visitor = visitor_of(repository.account)

    question = visitor.get(url(repository, "repository_close")).content.decode()
    page = visitor.post(url(repository, "repository_close"), follow=True).content.decode()

    assert "start no more runs by it" in question
    assert "It is closed" in page
    assert url(repository, "repository_delivery", delivery.pk) in page
    assert RepositoryHook.objects.get().secrets == {}


@pytest.mark.parametrize("name", ["repository_secret", "repository_close"])
def test_who_may_not_change_settings_makes_and_closes_nothing(
    visitor_of: VisitorOf, repository: Repository, name: str
) -> None:
    RepositoryHookFactory(repository=repository)
    visitor = visitor_of(repository.account, "job_admin")

    assert url(repository, name) not in visitor.get(url(repository)).content.decode()
    assert visitor.get(url(repository, name)).status_code == 403
    assert visitor.post(url(repository, name)).status_code == 403
    assert RepositoryHook.objects.get().secrets == {"current": "the-secret"}


# --- Deliveries ----------------------------------------------------------------------------


def test_a_delivery_is_listed_with_what_followed(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    DeliveryFactory(
        hook=RepositoryHookFactory(repository=repository),
        event="pull_request",
        action="opened",
        decision="Job CI: run 12 was started.\nJob Docs: it is a <draft>.",
    )

    page = visitor_of(repository.account).get(url(repository)).content.decode()

    assert "pull_request opened" in page
    assert '<a href="/r/12/">run 12</a> was started.' in page
    assert "it is a &lt;draft&gt;." in page


def test_the_apps_deliveries_of_the_repository_are_listed_as_well(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    of_app = DeliveryFactory(
        hook=None, account=repository.account, repository_name="Example/coffee_shop"
    )

    page = visitor_of(repository.account).get(url(repository)).content.decode()

    assert url(repository, "repository_delivery", of_app.pk) in page


def test_a_payload_is_shown_as_text(visitor_of: VisitorOf, repository: Repository) -> None:
    delivery = DeliveryFactory(
        hook=RepositoryHookFactory(repository=repository), body='{"title": "<script>"}'
    )

    page = visitor_of(repository.account).get(url(repository, "repository_delivery", delivery.pk))

    assert "{\n  &quot;title&quot;: &quot;&lt;script&gt;&quot;\n}" in page.content.decode()


def test_a_payload_that_is_long_is_cut_and_says_by_how_much(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    delivery = DeliveryFactory(
        hook=RepositoryHookFactory(repository=repository), body="x" * 200_007
    )

    page = visitor_of(repository.account).get(url(repository, "repository_delivery", delivery.pk))

    assert "The last 7 characters are left out" in page.content.decode()


def test_a_delivery_is_read_again_as_one_of_its_own(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    delivery = DeliveryFactory(hook=RepositoryHookFactory(repository=repository))

    page = visitor_of(repository.account).post(
        url(repository, "repository_redeliver", delivery.pk), follow=True
    )

    again = WebhookDelivery.objects.exclude(pk=delivery.pk).get()
    assert again.redelivers == delivery
    assert page.request["PATH_INFO"] == url(repository, "repository_delivery", again.pk)
    assert f"delivery {delivery.pk}</a>, once more" in page.content.decode()


def test_who_may_not_change_settings_reads_deliveries_but_repeats_none(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    delivery = DeliveryFactory(hook=RepositoryHookFactory(repository=repository))
    visitor = visitor_of(repository.account, "job_viewer")
    again = url(repository, "repository_redeliver", delivery.pk)

    page = visitor.get(url(repository, "repository_delivery", delivery.pk))

    assert page.status_code == 200
    assert again not in page.content.decode()
    assert visitor.post(again).status_code == 403
    assert WebhookDelivery.objects.count() == 1


def test_another_repositorys_delivery_does_not_exist(
    visitor_of: VisitorOf, repository: Repository
) -> None:
    other = DeliveryFactory(hook__repository__remote_url="https://github.com/else/where.git")
    visitor = visitor_of(repository.account)

    for name in ("repository_delivery", "repository_redeliver"):
        response = visitor.post(url(repository, name, other.pk))
        if response.status_code == 405:
            response = visitor.get(url(repository, name, other.pk))
        assert response.status_code == 404


def test_older_deliveries_are_a_link_away(visitor_of: VisitorOf, repository: Repository) -> None:
    hook = RepositoryHookFactory(repository=repository)
    made = [DeliveryFactory(hook=hook) for _number in range(52)]
    visitor = visitor_of(repository.account)

    page = visitor.get(url(repository)).content.decode()
    older = visitor.get(f"{url(repository)}?before={made[2].pk}").content.decode()

    assert f"?before={made[2].pk}" in page
    assert url(repository, "repository_delivery", made[0].pk) not in page
    assert url(repository, "repository_delivery", made[0].pk) in older


def test_a_repositorys_page_takes_as_many_queries_however_much_was_delivered(
    visitor_of: VisitorOf,
    repository: Repository,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    hook = RepositoryHookFactory(repository=repository)
    for _number in range(12):
        DeliveryFactory(hook=hook, decision="Job CI: run 12 was started.")
    visitor = visitor_of(repository.account)
    visitor.get(url(repository))

    with django_assert_max_num_queries(15):
        visitor.get(url(repository))


def test_a_repository_says_when_a_run_last_fetched_it(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True, git_sha="a" * 40, dequeued_at=now() - timedelta(hours=3))
    RunFactory(job=run.job, git_sha=None)
    repository = run.project.repository
    visitor = visitor_of(run.account)

    listed = visitor.get(reverse("console:repositories", args=[run.account_id]))
    shown = visitor.get(reverse("console:repository", args=[run.account_id, repository.pk]))

    assert "3 h ago" in listed.content.decode()
    assert "3 h ago" in shown.content.decode()


def test_a_repository_that_no_run_fetched_says_so(visitor_of: VisitorOf) -> None:
    repository = ProjectFactory().repository

    page = visitor_of(repository.account).get(
        reverse("console:repository", args=[repository.account_id, repository.pk])
    )

    assert "by no run yet" in page.content.decode()
