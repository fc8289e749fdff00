"""Who sees which page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from accounts.models import Account
from jobsvc.console.urls import urlpatterns
from jobsvc.runs.models import Run
from tests.factories import (
    AccountFactory,
    JobFactory,
    MembershipFactory,
    RunFactory,
    RunStepFactory,
    UserFactory,
)

VisitorOf = Callable[..., Client]

NAMED = {
    pattern.name: pattern
    for pattern in urlpatterns
    if isinstance(pattern, URLPattern) and pattern.name
}


def address(pattern: URLPattern, run: Run) -> str:
    """The address of ``pattern`` for ``run``, its job and what they belong to."""
    known = {
        "account_id": run.account_id,
        "project_id": run.project_id,
        "job_id": run.job_id,
        "run_id": run.pk,
        "artifact_path": "manifest.json",
        "environment_id": run.environment_id,
        "variable_name": "DBT_REGION",
        "unique_id": "model.shop.orders",
        "connection_id": run.project.connection_id,
        "token_id": 1,
        "member_id": 1,
        "group_id": 1,
        "grant_id": 1,
        "invitation_id": 1,
        "invitation_key": "nobodys",
        "number": 1,
        "notification_id": 1,
        "mute_id": 1,
        "revision_number": 1,
        "webhook_id": "wsu_1",
        "dispatch_id": 1,
        "repository_id": run.project.repository_id,
        "delivery_id": 1,
        "worker_id": 1,
        "key": "nobodys",
    }
    names = pattern.pattern.converters
    return reverse(f"console:{pattern.name}", kwargs={name: known[name] for name in names})


# These are opened by a key in their address, not by signing in.
BY_KEY = {"calendar_feed", "docs_public", "invitation_accept", "job_badge"}


def last_page(client: Client, url: str) -> int:
    """The status at the end of the redirects, by GET, or by POST where only that is taken."""
    response = client.get(url, follow=True)
    if response.status_code == 405:
        response = client.post(url)
    return int(response.status_code)


@pytest.mark.parametrize("name", [n for n, p in NAMED.items() if p.pattern.converters])
def test_another_accounts_pages_do_not_exist(visitor_of: VisitorOf, name: str) -> None:
    theirs = RunStepFactory(run=RunFactory(succeeded=True)).run
    stranger = visitor_of(JobFactory().account)

    assert last_page(stranger, address(NAMED[name], theirs)) == 404


@pytest.mark.parametrize(
    "name", [n for n, p in NAMED.items() if p.pattern.converters and n not in BY_KEY]
)
def test_who_is_not_signed_in_is_asked_to_sign_in(client: Client, db: None, name: str) -> None:
    url = address(NAMED[name], RunFactory())

    response = client.get(url, follow=True)
    if response.status_code == 405:
        response = client.post(url, follow=True)

    assert response.redirect_chain[-1][0].startswith("/accounts/login/?next=/")


@pytest.mark.parametrize("name", ["runs", "jobs", "job", "run", "artifacts"])
def test_an_address_without_its_last_slash_is_the_same_page(
    visitor_of: VisitorOf, name: str
) -> None:
    run = RunFactory()
    url = address(NAMED[name], run)
    visitor = visitor_of(run.account)

    assert visitor.get(url).status_code == visitor.get(url.rstrip("/")).status_code == 200


def test_a_run_under_another_project_does_not_exist(visitor_of: VisitorOf) -> None:
    run = RunFactory()
    other = JobFactory(environment__project__account=run.account).project

    url = reverse("console:run", args=[run.account_id, other.pk, run.pk])

    assert visitor_of(run.account).get(url).status_code == 404


def test_a_superuser_sees_no_account_he_is_no_member_of(client: Client, account: Account) -> None:
    client.force_login(UserFactory(is_staff=True, is_superuser=True))

    assert client.get(reverse("console:runs", args=[account.pk])).status_code == 404


def test_a_deleted_account_has_no_pages(visitor_of: VisitorOf) -> None:
    gone = AccountFactory(state=2)

    assert visitor_of(gone).get(reverse("console:runs", args=[gone.pk])).status_code == 404


def test_a_number_too_long_for_the_database_is_no_page(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account)

    assert visitor.get(f"/deploy/{account.pk}/projects/1/runs/{'9' * 30}/").status_code == 404
    assert visitor.get(f"/deploy/{account.pk}/runs/?before={'9' * 30}").status_code == 200


def test_the_start_leads_to_the_account_last_used(client: Client, db: None) -> None:
    first, last = MembershipFactory(), AccountFactory()
    MembershipFactory(user=first.user, account=last)
    client.force_login(first.user)
    client.get(reverse("console:runs", args=[last.pk]))

    response = client.get("/", follow=True)

    assert response.redirect_chain[-1][0] == reverse("console:account", args=[last.pk])


def test_who_is_in_no_account_is_told_whom_to_ask(client: Client, db: None) -> None:
    client.force_login(UserFactory(email="new@example.com"))

    page = client.get("/").content.decode()

    assert "You are in no account yet" in page
    assert "new@example.com" in page


def test_nobody_can_sign_up(client: Client, db: None) -> None:
    page = client.post(
        reverse("account_signup"),
        {"email": "me@example.com", "password1": "coffee-beans-7", "password2": "coffee-beans-7"},
    )

    assert "email" not in client.session
    assert "closed" in page.content.decode().lower()


@pytest.mark.parametrize(
    "short", ["/r/{run}", "/r/{run}/", "/next/deploy/{a}/projects/{p}/runs/{run}"]
)
def test_other_forms_of_a_runs_address_lead_to_its_page(visitor_of: VisitorOf, short: str) -> None:
    run = RunFactory()
    url = short.format(run=run.pk, a=run.account_id, p=run.project_id)

    response = visitor_of(run.account).get(url, follow=True)

    assert (
        response.request["PATH_INFO"]
        .rstrip("/")
        .endswith(f"/projects/{run.project_id}/runs/{run.pk}")
    )
    assert response.status_code == 200


def test_the_short_form_of_a_jobs_address_leads_to_its_page(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    response = visitor_of(job.account).get(f"/j/{job.pk}", follow=True)

    assert response.redirect_chain[-1][0] == reverse(
        "console:job", args=[job.account_id, job.project_id, job.pk]
    )


def test_a_theme_is_kept_and_leads_back_only_to_this_site(client: Client) -> None:
    response = client.post("/theme", {"theme": "dark", "next": "https://evil.example/"})

    assert response.cookies["theme"].value == "dark"
    assert response["Location"] == "/"


def test_a_fragment_asked_for_after_signing_out_sends_the_whole_page_to_sign_in(
    client: Client, db: None
) -> None:
    run = RunFactory()
    url = reverse("console:run", args=[run.account_id, run.project_id, run.pk])

    response = client.get(url, headers={"HX-Request": "true"})

    assert response["HX-Redirect"] == reverse("account_login")
