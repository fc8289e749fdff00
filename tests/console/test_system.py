"""The system page: what the service stands on, its dbt versions, its room, a bundle for support."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from accounts.audit import AuditEvent
from accounts.models import Account
from jobsvc.console.system import health
from jobsvc.runs import toolchain_changes
from jobsvc.runs.models import ToolchainChange, Worker, WorkState
from tests.factories import ConnectionFactory, MembershipFactory, RunFactory, UserFactory, token_of

VisitorOf = Callable[..., Client]
SECRETS = {
    "SECRET_KEY": "sentinel-of-the-secret-key",
    "GITHUB_APP_PRIVATE_KEY": "-----BEGIN\nsentinel-of-the-app\nEND-----",
    "GITHUB_APP_WEBHOOK_SECRETS": ["sentinel-of-a-webhook"],
    "SIGN_IN_GITHUB_SECRET": "sentinel-of-github",
    "OIDC_CLIENT_SECRET": "sentinel-of-oidc",
    "EMAIL_HOST_PASSWORD": "sentinel-of-mail",
    "CELERY_BROKER_URL": "redis://user:sentinel-of-the-broker@127.0.0.1:1/0",
    "OIDC_URL": "https://idp.example.com/sentinel-of-mail",
}


def address(account: Account, name: str = "system") -> str:
    return reverse(f"console:{name}", args=[account.pk])


@pytest.fixture
def superuser(account: Account) -> Client:
    client = Client()
    person = UserFactory(is_superuser=True, is_staff=True, email="root@example.com")
    client.force_login(MembershipFactory(account=account, user=person).user)
    return client


def said(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def test_what_the_service_stands_on_is_told(superuser: Client, account: Account) -> None:
    page = said(superuser, address(account))

    for part in ("Database", "Tables", "Broker", "Storage", "Workers of outbound", "Clock (beat)"):
        assert part in page


def test_a_queue_without_a_worker_says_what_waits(account: Account) -> None:
    Worker.objects.create(
        name="runs@one", version="1", started_at=now(), seen_at=now(), bells={"runs": 3}
    )

    found = {part.name: part for part in health.queues()}

    assert found["Workers of runs"].well
    assert "runs@one; 3 messages wait" in found["Workers of runs"].says
    assert not found["Workers of outbound"].well
    assert "mails, webhooks and pull requests wait" in found["Workers of outbound"].says


def test_a_broker_that_is_away_is_told_in_its_words(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery.app.base.Celery.connection_for_write", away)

    part = health.broker()

    assert (part.well, part.says) == (False, "Connection refused")


def away(*_: object, **__: object) -> None:
    raise OSError("Connection refused")


def test_who_manages_an_account_sees_no_more_than_its_own(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account)

    page = said(visitor, f"{address(account)}?count=1")

    assert "for its superusers" in page
    assert "Of the installation" not in page
    assert "Support bundle" not in page
    for name in ("dbt_install", "dbt_remove", "system_test", "support_bundle"):
        answer = visitor.post(address(account, name))
        assert answer.status_code == 403
        assert "whole installation" in answer.content.decode()


def test_a_part_of_the_page_shows_no_more_than_the_page(
    visitor_of: VisitorOf, account: Account
) -> None:
    part = visitor_of(account).get(address(account), headers={"HX-Request": "true"})

    assert "Installed dbt versions" not in part.content.decode()


def test_who_only_reads_sees_nothing_of_it(visitor_of: VisitorOf, account: Account) -> None:
    assert visitor_of(account, "job_admin").get(address(account)).status_code == 403


def test_what_would_go_now_is_counted_when_asked(
    superuser: Client, account: Account, settings: Any
) -> None:
    RunFactory(succeeded=True)
    settings.KEEP_RUNS_DAYS = 30

    assert "Would go now" not in said(superuser, address(account))
    counted = said(superuser, f"{address(account)}?count=1")
    assert "0 runs" in counted
    assert "JOBSVC_AUDIT_DAYS" in counted
    assert "0 of git hosts" in counted
    assert "Of the installation" in counted


def test_a_version_is_installed_by_a_worker(
    superuser: Client,
    account: Account,
    published: list[tuple[Any, ...]],
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        superuser.post(address(account, "dbt_install"), {"version": "1.11.x"})

    change = ToolchainChange.objects.get()
    assert (change.state, change.asked_by) == ("waiting", "root@example.com")
    assert ("change_toolchain", change.pk) in published
    assert "Waits for a worker" in said(superuser, address(account))
    assert AuditEvent.objects.get(action="dbt_version.added").account is None


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"version": "banana"}, "is no dbt version"),
        ({"version": "0.1.2"}, "Name its adapters"),
        ({"version": "1.11.x", "adapters": "--index-url"}, "is no adapter"),
        ({"version": "\0"}, "is no dbt version"),
    ],
)
def test_what_is_no_version_is_refused(
    superuser: Client, account: Account, typed: dict[str, str], words: str
) -> None:
    answer = superuser.post(address(account, "dbt_install"), typed, follow=True)

    assert words in answer.content.decode()
    assert not ToolchainChange.objects.exists()


def test_a_version_is_not_installed_twice_at_once(superuser: Client, account: Account) -> None:
    for _time in range(2):
        answer = superuser.post(address(account, "dbt_install"), {"version": "1.11.x"}, follow=True)

    assert ToolchainChange.objects.count() == 1
    assert "being done already" in answer.content.decode()


def test_a_failure_is_told_in_full(superuser: Client, account: Account, settings: Any) -> None:
    change = ToolchainChange.objects.create(work="remove", asked="gone", asked_by="root")

    toolchain_changes.carry_out(change.pk)
    toolchain_changes.carry_out(change.pk)

    change.refresh_from_db()
    assert change.state == WorkState.FAILED
    assert "There is no environment &#x27;gone&#x27; here" in said(superuser, address(account))


def test_what_a_lost_worker_left_is_ended(db: None, settings: Any) -> None:
    change = ToolchainChange.objects.create(
        work="install", asked="1.11.x", asked_by="root", state="running", started_at=now()
    )
    toolchain_changes.sweep()
    change.refresh_from_db()
    assert change.state == WorkState.RUNNING

    ToolchainChange.objects.update(started_at=now() - 2 * toolchain_changes.LONGEST)
    toolchain_changes.sweep()

    change.refresh_from_db()
    assert (change.state, change.said) == (WorkState.FAILED, toolchain_changes.LOST)


def test_a_mail_to_oneself_is_sent_now(superuser: Client, account: Account) -> None:
    answer = superuser.post(address(account, "system_test"), {"what": "mail"}, follow=True)

    assert mail.outbox[0].to == ["root@example.com"]
    assert "A mail to root@example.com was taken" in answer.content.decode()


def test_a_mail_servers_refusal_is_shown(
    superuser: Client, account: Account, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

    answer = superuser.post(address(account, "system_test"), {"what": "mail"}, follow=True)

    page = answer.content.decode()
    assert "127.0.0.1:1: ConnectionRefusedError" in page
    assert "JOBSVC_EMAIL_URL" in page


def test_the_storage_is_written_and_read(superuser: Client, account: Account) -> None:
    answer = superuser.post(address(account, "system_test"), {"what": "storage"}, follow=True)

    assert "Written, read and removed" in answer.content.decode()


def test_no_secret_is_in_the_bundle(superuser: Client, account: Account, settings: Any) -> None:
    token = token_of(account)
    ConnectionFactory(account=account, secrets={"password": "sentinel-of-a-warehouse"})
    failed = RunFactory(failed=True, job__environment__project__account=account)
    failed.failure_class = "infrastructure"
    failed.status_message = "The broker at user:sentinel-of-the-broker@127.0.0.1 went away."
    failed.save()
    for name, value in SECRETS.items():
        if name != "SECRET_KEY":  # the session that asks is signed with it
            setattr(settings, name, value)

    answer = superuser.post(address(account, "support_bundle"))

    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    everything = "\n".join(archive.read(name).decode() for name in archive.namelist())
    assert "sentinel" not in everything
    assert settings.SECRET_KEY not in everything
    assert token not in everything
    for key in settings.FIELD_ENCRYPTION_KEYS:
        assert key not in everything
    assert "went away" in everything
    assert {"versions.json", "health.json", "settings.json", "warnings.txt"} <= set(
        archive.namelist()
    )
    assert AuditEvent.objects.filter(action="support_bundle.downloaded").exists()


def test_the_page_asks_few_questions(
    superuser: Client, account: Account, django_assert_max_num_queries: Any
) -> None:
    RunFactory(succeeded=True, job__environment__project__account=account)
    said(superuser, address(account))  # the first look at an account is noted in the session

    with django_assert_max_num_queries(15):
        said(superuser, address(account))
