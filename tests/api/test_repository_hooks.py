"""The webhook of a repository on the wire: its secret, its deliveries, and reading them again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from accounts.models import Account
from ci.models import RepositoryHook, WebhookDelivery
from tests.ci.payloads import NAME, REMOTE, Hooked, pull_request, read_all, reference
from tests.conftest import JSONClient
from tests.factories import DeliveryFactory, JobFactory, RepositoryFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No broker is needed."""


@pytest.fixture
def job(account: Account) -> Any:
    return JobFactory(
        ci=True,
        environment__project__account=account,
        environment__project__repository__remote_url=REMOTE,
    )


@pytest.fixture
def place(account: Account, job: Any) -> str:
    project = job.project
    return (
        f"/api/v3/accounts/{account.pk}/projects/{project.pk}"
        f"/repositories/{project.repository_id}/webhook/"
    )


def test_a_repository_has_no_webhook_at_first(api: JSONClient, place: str) -> None:
    shown = api.get(place).json()["data"]

    assert (shown["address"], shown["has_secret"], shown["last_delivery"]) == (None, False, None)
    assert shown["events"] == ["Pull requests", "Pushes"]
    assert shown["content_type"] == "application/json"


def test_a_webhook_that_is_set_up_lets_in_who_knows_its_secret(
    api: JSONClient, place: str, settings: Any
) -> None:
    settings.SITE_URL = "https://jobs.example.com"

    made = api.post(place)

    assert made.status_code == 201
    shown = made.json()["data"]
    assert len(shown["secret"]) >= 43  # 256 bits in base64
    hook = RepositoryHook.objects.get()
    assert shown["address"] == f"https://jobs.example.com/webhooks/github/{hook.key}"
    assert Hooked(hook, shown["secret"]).post("ping", reference("ping")).status_code == 200


def test_a_secret_is_shown_once_and_kept_encrypted(api: JSONClient, place: str) -> None:
    secret = api.post(place).json()["data"]["secret"]

    assert secret not in api.get(place).content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM ci_repositoryhook")
        assert secret not in str(cursor.fetchall())


def test_another_secret_leaves_the_address_and_the_older_secret_for_an_hour(
    api: JSONClient, place: str
) -> None:
    first = api.post(place).json()["data"]

    second = api.post(place).json()["data"]

    assert second["address"] == first["address"]
    assert second["secret"] != first["secret"]
    assert second["previous_secret_until"] is not None
    hook = RepositoryHook.objects.get()
    assert Hooked(hook, first["secret"]).post("ping", reference("ping")).status_code == 200


def test_a_webhook_that_is_deleted_lets_nobody_in_and_keeps_what_came(
    api: JSONClient, place: str
) -> None:
    secret = api.post(place).json()["data"]["secret"]
    door = Hooked(RepositoryHook.objects.get(), secret)
    door.post("ping", reference("ping"))

    deleted = api.delete(place)

    assert deleted.status_code == 200
    assert deleted.json()["data"]["has_secret"] is False
    assert door.post("ping", reference("ping")).status_code == 401
    assert WebhookDelivery.objects.count() == 1


def test_only_a_repository_of_github_gets_a_webhook(api: JSONClient, place: str, job: Any) -> None:
    repository = job.project.repository
    repository.remote_url = "https://gitlab.com/acme/shop.git"
    repository.save()

    answer = api.post(place)

    assert answer.status_code == 400
    assert "https://gitlab.com/acme/shop.git is not" in answer.json()["status"]["user_message"]


def test_another_projects_repository_is_a_404(
    api: JSONClient, account: Account, place: str
) -> None:
    other = JobFactory(environment__project__account=account).project.repository

    wrong = place.replace("/webhook/", "X").rpartition("/")[0] + f"/{other.pk}/webhook/"

    assert api.get(wrong).status_code == 404


def test_deliveries_are_listed_with_their_decisions_the_newest_first(
    api: JSONClient, place: str, job: Any
) -> None:
    door = Hooked.up(job.project.repository)
    door.post("ping", reference("ping"))
    door.tell("pull_request", pull_request("opened", draft=True))

    listed = api.get(f"{place}deliveries/").json()["data"]

    assert [one["event"] for one in listed] == ["pull_request", "ping"]
    assert listed[0]["decision"] == (
        f"Job {job.name}: It is a draft; the job does not build drafts."
    )
    assert (listed[0]["action"], listed[0]["repository"]) == ("opened", NAME)
    assert (listed[0]["verdict"], listed[0]["attempts"]) == ("done", 1)
    assert "body" not in listed[0]


def test_one_delivery_shows_its_body(api: JSONClient, place: str, job: Any) -> None:
    Hooked.up(job.project.repository).post("ping", b'{"zen": "Keep it."}')

    shown = api.get(f"{place}deliveries/{WebhookDelivery.objects.get().pk}/").json()["data"]

    assert shown["body"] == '{"zen": "Keep it."}'


def test_the_apps_deliveries_of_the_repository_are_listed_as_well(
    api: JSONClient, place: str, account: Account
) -> None:
    DeliveryFactory(hook=None, account=account, repository_name=NAME.lower())
    DeliveryFactory(hook=None, account=account, repository_name="other/repository")
    DeliveryFactory(hook=None, account=None, repository_name=NAME)

    (one,) = api.get(f"{place}deliveries/").json()["data"]

    assert (one["is_of_the_app"], one["repository"]) == (True, NAME.lower())


def test_another_repositorys_delivery_is_a_404(
    api: JSONClient, place: str, account: Account
) -> None:
    other = DeliveryFactory(hook__repository=RepositoryFactory(account=account))

    assert api.get(f"{place}deliveries/{other.pk}/").status_code == 404
    assert api.post(f"{place}deliveries/{other.pk}/redeliver/").status_code == 404


def test_a_delivery_is_read_again_on_request(api: JSONClient, place: str, job: Any) -> None:
    door = Hooked.up(job.project.repository)
    door.tell("pull_request", pull_request("opened", draft=True))
    first = WebhookDelivery.objects.get()
    job.triggers_on_draft_pr = True
    job.save()

    answer = api.post(f"{place}deliveries/{first.pk}/redeliver/")
    read_all()

    assert answer.status_code == 201
    again = api.get(f"{place}deliveries/{answer.json()['data']['id']}/").json()["data"]
    assert again["redelivers"] == first.pk
    assert "started run" in again["decision"]


def test_who_may_only_read_sets_up_nothing(client_of: Any, account: Account, place: str) -> None:
    viewer = client_of(account, "job_viewer")

    assert viewer.get(place).status_code == 200
    assert viewer.post(place).status_code == 403
    assert viewer.delete(place).status_code == 403
