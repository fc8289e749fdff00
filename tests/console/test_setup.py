"""From nothing to a first job: the owner who is made once, and the list of what is still to do."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts.audit import AuditEvent
from accounts.models import Account, Membership, User
from accounts.setup import setup_key
from environments.models import Connection, Project
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus
from tests.factories import (
    ConnectionFactory,
    EnvironmentFactory,
    JobFactory,
    MembershipFactory,
    RunFactory,
    UserFactory,
)

VisitorOf = Callable[..., Client]

SETUP = "/setup/"
TYPED = {
    "name": "Ana Maria Ferreira",
    "email": "ana@example.com",
    "password": "coffee-beans-7",
    "account": "Coffee shops",
}
HERE = {"headers": {"host": "127.0.0.1:8000"}}


def first_owner(client: Client, **typed: str) -> Any:
    return client.post(SETUP, TYPED | typed, follow=True, **HERE)


@pytest.fixture
def clonable(settings: Any, tmp_path: Path) -> Path:
    """Where the sample may be put, so that runs may clone it."""
    settings.DATA_DIR = tmp_path
    settings.GIT_LOCAL_ROOTS = [str(tmp_path / "repositories")]
    return tmp_path


# --- The first owner ---------------------------------------------------------------------


def test_where_nobody_is_yet_the_start_leads_to_the_setup(client: Client, db: None) -> None:
    page = client.get("/", follow=True, **HERE)

    assert page.request["PATH_INFO"] == SETUP
    assert "Welcome to jobsvc" in page.content.decode()
    assert "Setup key" not in page.content.decode()


def test_the_first_owner_is_made_signed_in_and_led_to_what_is_next(
    client: Client, db: None
) -> None:
    page = first_owner(client)

    owner = Membership.objects.get()
    assert (owner.permission_set, owner.account.name) == ("owner", "Coffee shops")
    assert (owner.user.first_name, owner.user.last_name) == ("Ana Maria", "Ferreira")
    assert owner.user.check_password("coffee-beans-7")
    assert page.request["PATH_INFO"] == reverse("console:setup", args=[owner.account_id])
    assert "1 of 6 steps are done" in page.content.decode()
    assert AuditEvent.objects.filter(action="account.set_up", target_name="Coffee shops").exists()


@pytest.mark.parametrize("made", ["here", "by bootstrap", "by another way"])
def test_setup_is_closed_for_ever_once_there_is_an_owner(
    client: Client, db: None, made: str
) -> None:
    if made == "here":
        first_owner(Client())
        Membership.objects.all().delete()
        User.objects.all().delete()
    elif made == "by bootstrap":
        call_command("bootstrap", "--account", "A", "--email", "a@example.com", stdout=StringIO())
    else:
        MembershipFactory(permission_set="owner")

    before = User.objects.count()
    first_owner(client, email="thief@example.com")

    assert client.get(SETUP, **HERE)["Location"] == "/"
    assert User.objects.count() == before


def test_a_weak_password_and_a_wrong_address_are_refused_at_their_fields(
    client: Client, db: None
) -> None:
    page = first_owner(client, password="12345678", email="nobody").content.decode()

    assert "Enter a valid email address." in page
    assert not User.objects.exists()
    page = first_owner(client, password="12345678").content.decode()
    assert "This password is entirely numeric." in page
    assert "12345678" not in page
    assert not Account.objects.exists()


@pytest.mark.parametrize(
    "typed",
    [{"account": "a\0b"}, {"email": "a\0@example.com"}, {"account": "x" * 300}, {"password": ""}],
)
def test_what_cannot_be_used_makes_nothing(client: Client, db: None, typed: dict[str, str]) -> None:
    answer = client.post(SETUP, TYPED | typed, **HERE)

    assert answer.status_code == 200
    assert not User.objects.exists()


# --- Who may be first --------------------------------------------------------------------


@pytest.mark.parametrize(
    "reached",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"headers": {"host": "jobs.example.com"}},
        {"headers": {"host": "127.0.0.1", "x-forwarded-for": "192.0.2.7"}},
    ],
)
def test_where_strangers_could_be_first_the_setup_key_is_asked_for(
    client: Client, db: None, settings: Any, reached: dict[str, Any]
) -> None:
    settings.ALLOWED_HOSTS = ["*"]

    page = client.get(SETUP, **reached).content.decode()
    refused = client.post(SETUP, TYPED | {"key": "a guess"}, **reached).content.decode()

    assert "Setup key" in page
    assert setup_key() not in page
    assert "This is not the setup key" in refused
    assert not User.objects.exists()
    client.post(SETUP, TYPED | {"key": f" {setup_key()} "}, **reached)
    assert User.objects.get().email == "ana@example.com"


def test_in_production_the_key_is_always_asked_for(client: Client, db: None, settings: Any) -> None:
    settings.EMBEDDED = False

    assert "Setup key" in client.get(SETUP, **HERE).content.decode()
    first_owner(client)
    assert not User.objects.exists()


def test_the_log_of_the_server_has_the_key(
    client: Client, db: None, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMBEDDED = False

    client.get(SETUP, **HERE)

    assert setup_key() in caplog.text


def test_the_key_is_printed_until_there_is_an_owner(db: None) -> None:
    said, after = StringIO(), StringIO()
    call_command("setup_key", stdout=said)
    MembershipFactory(permission_set="owner")
    call_command("setup_key", stdout=after)

    assert f"/setup/?key={setup_key()}" in said.getvalue()
    assert "closed" in after.getvalue()
    assert setup_key() not in after.getvalue()


# --- The list ----------------------------------------------------------------------------


def steps(visitor: Client, account: Account) -> str:
    answer = visitor.get(reverse("console:setup", args=[account.pk]))
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_sample_is_set_up_by_one_button(
    visitor_of: VisitorOf, account: Account, clonable: Path
) -> None:
    visitor = visitor_of(account)
    assert "Use the sample project" in steps(visitor, account)

    page = visitor.post(reverse("console:setup_sample", args=[account.pk]), follow=True)

    job = Job.objects.get()
    assert job.environment.deployment_type == "production"
    assert job.environment.credentials.default_schema == "shops"
    assert job.project.repository.remote_url == (clonable / "repositories" / "coffee_shop").as_uri()
    assert (clonable / "repositories" / "coffee_shop" / ".git").is_dir()
    text = page.content.decode()
    assert "5 of 6 steps are done" in text
    assert "<b>coffee_shop</b>" in text
    assert "DuckDB" in text
    assert reverse("console:run_now", args=[account.pk, job.project_id, job.pk]) in text


def test_the_sample_is_made_once_however_often_it_is_asked_for(
    visitor_of: VisitorOf, account: Account, clonable: Path
) -> None:
    visitor = visitor_of(account)
    for _time in range(2):
        visitor.post(reverse("console:setup_sample", args=[account.pk]))

    assert [model.objects.count() for model in (Project, Connection, Job)] == [1, 1, 1]


def test_where_runs_could_not_clone_the_sample_it_is_not_offered(
    visitor_of: VisitorOf, account: Account, settings: Any
) -> None:
    settings.GIT_LOCAL_ROOTS = []
    visitor = visitor_of(account)

    page = visitor.post(reverse("console:setup_sample", args=[account.pk]), follow=True)

    assert "Give a Git address instead" in page.content.decode()
    assert "Use the sample project" not in steps(visitor, account)
    assert not Project.objects.exists()


def test_each_step_says_what_is_there(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory(name="Prod")
    account = environment.project.account
    visitor = visitor_of(account)

    assert "4 of 6 steps are done" in steps(visitor, account)
    visitor.post(
        reverse("console:setup_job", args=[account.pk]), {"project": environment.project_id}
    )
    job = Job.objects.get()
    assert (job.name, job.execute_steps) == ("Build", ["dbt build"])
    assert "5 of 6 steps are done" in steps(visitor, account)
    run = RunFactory(job=job, failed=True, status_message="The host said <no>, all of it.")
    page = steps(visitor, account)
    assert "The host said &lt;no&gt;, all of it." in page
    assert "Run it again" in page
    RunFactory(job=job, succeeded=True)
    assert Run.objects.get(pk=run.pk).status == RunStatus.ERROR
    assert "6 of 6 steps are done" in steps(visitor, account)


def test_a_connection_is_tested_from_the_list(visitor_of: VisitorOf, account: Account) -> None:
    visitor = visitor_of(account)
    test = reverse("console:setup_test", args=[account.pk])
    assert "There is no connection yet" in visitor.post(test, follow=True).content.decode()
    ConnectionFactory(account=account, adapter="duckdb", config={"path": "a.duckdb"})

    assert "The settings are complete" in visitor.post(test, follow=True).content.decode()


@pytest.mark.parametrize("project", ["", "9" * 30, "9" * 5000, "x", "1\0"])
def test_a_project_that_is_none_gets_no_job(
    visitor_of: VisitorOf, account: Account, project: str
) -> None:
    answer = visitor_of(account).post(
        reverse("console:setup_job", args=[account.pk]), {"project": project}
    )

    assert answer.status_code == 404


def test_another_accounts_project_gets_no_job(visitor_of: VisitorOf, account: Account) -> None:
    theirs = EnvironmentFactory().project_id
    url = reverse("console:setup_job", args=[account.pk])

    assert visitor_of(account).post(url, {"project": theirs}).status_code == 404
    assert not Job.objects.exists()


def test_who_may_not_change_settings_sees_no_list(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    viewer = visitor_of(job.account, "job_viewer")

    for name in ("setup", "setup_sample", "setup_job", "setup_test"):
        url = reverse(f"console:{name}", args=[job.account_id])
        answer = viewer.get(url) if name == "setup" else viewer.post(url)
        assert answer.status_code == 403


def test_somebody_in_no_account_is_not_led_to_the_setup(client: Client, db: None) -> None:
    MembershipFactory(permission_set="owner")
    client.force_login(UserFactory())

    assert "You are in no account yet" in client.get("/").content.decode()
