"""The operator's admin: for superusers, and closed-mouthed about secrets."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.audit import AuditEvent
from accounts.models import Token, User
from ci.models import Report, ReportKind
from jobsvc.notifications.models import Delivery, Event, Mute
from jobsvc.runs.models import Run, RunTransition
from tests.factories import (
    ArtifactFactory,
    CheckFactory,
    ConnectionFactory,
    CredentialsFactory,
    DeliveryFactory,
    DispatchFactory,
    EnvironmentVariableFactory,
    ExtendedAttributesFactory,
    GitHubInstallationFactory,
    MembershipFactory,
    NotificationFactory,
    RepositoryFactory,
    RunFactory,
    RunStepFactory,
    UserFactory,
    token_of,
)

SECRET = "kept-from-every-page"
OURS = [
    model
    for model in admin.site._registry
    if model.__module__.split(".")[0] in {"accounts", "ci", "environments", "jobsvc"}
]


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def rows(db: None) -> None:
    """A row of everything that is registered, each with a secret where it can have one."""
    run = ArtifactFactory(step=RunStepFactory(run=RunFactory(succeeded=True))).step.run
    RunTransition.objects.create(run=run, to_status=run.status)
    secrets = {"password": SECRET}
    RepositoryFactory(secrets=secrets)
    ConnectionFactory(secrets=secrets)
    CredentialsFactory(secrets=secrets)
    EnvironmentVariableFactory(name="DBT_ENV_SECRET_KEY", secrets={"value": SECRET})
    ExtendedAttributesFactory()
    GitHubInstallationFactory()
    DeliveryFactory(hook__secrets={"current": SECRET})
    check = CheckFactory()
    Report.objects.create(
        repository=check.pull_request.repository, kind=ReportKind.STATUS, job=check.job, sha="ab"
    )
    DispatchFactory(run=run, subscription__secrets={"hmac": SECRET})
    asked = NotificationFactory(secrets={"url": SECRET})
    mail = {"event": Event.FAILURE, "address": "ana@example.com", "key": "one"}
    Delivery.objects.create(account=asked.account, notification=asked, run=run, **mail)
    Mute.objects.create(account=asked.account, address="ana@example.com")
    token_of(run.account)


def address(model: type, what: str, *arguments: object) -> str:
    meta = model._meta  # type: ignore[attr-defined] # every model has it
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{what}", args=arguments)


@pytest.mark.parametrize("model", OURS)
def test_every_list_and_row_opens_and_shows_no_secret(
    operator: Client, rows: None, model: type
) -> None:
    pages = [operator.get(address(model, "changelist"))]
    pages += [
        operator.get(address(model, "change", row.pk))
        for row in model._default_manager.all()  # type: ignore[attr-defined] # every model has it
    ]

    assert len(pages) > 1
    assert {page.status_code for page in pages} == {200}
    for page in pages:
        assert SECRET not in page.content.decode()


def test_a_secret_is_named_and_cannot_be_typed(operator: Client) -> None:
    kept = ConnectionFactory(secrets={"password": SECRET})

    page = operator.get(address(type(kept), "change", kept.pk)).content.decode()

    assert re.search(r'readonly">\s*password\s*<', page)
    assert 'name="secrets"' not in page


def test_a_secret_survives_a_change_of_its_row(operator: Client) -> None:
    kept = ConnectionFactory(secrets={"password": SECRET})

    operator.post(
        address(type(kept), "change", kept.pk),
        {
            "account": kept.account_id,
            "name": "Another name",
            "adapter": kept.adapter,
            "adapter_version": kept.adapter_version,
            "config": "{}",
            "state": 1,
        },
    )

    kept.refresh_from_db()
    assert (kept.name, kept.secrets["password"]) == ("Another name", SECRET)


def test_a_digest_of_a_token_is_not_shown(operator: Client, rows: None) -> None:
    token = Token.objects.get()

    page = operator.get(address(Token, "change", token.pk)).content.decode()

    assert token.prefix in page
    assert token.digest not in page


def test_a_run_cannot_be_written_by_hand(operator: Client) -> None:
    run = RunFactory(running=True)

    answers = [
        operator.post(address(Run, "change", run.pk), {"status": 10}),
        operator.post(address(Run, "delete", run.pk), {"post": "yes"}),
        operator.post(address(Run, "add"), {}),
    ]

    assert {answer.status_code for answer in answers} == {403}


def test_a_person_is_added_by_address_and_password(operator: Client) -> None:
    account = MembershipFactory().account

    operator.post(
        reverse("admin:accounts_user_add"),
        {
            "email": "new@example.com",
            "usable_password": "true",
            "password1": "coffee-beans-7",
            "password2": "coffee-beans-7",
            "memberships-TOTAL_FORMS": "1",
            "memberships-INITIAL_FORMS": "0",
            "memberships-0-account": str(account.pk),
            "memberships-0-permission_set": "job_viewer",
        },
    )

    assert User.objects.get(email="new@example.com").check_password("coffee-beans-7")


def test_a_member_of_an_account_is_no_operator(client: Client, db: None) -> None:
    client.force_login(MembershipFactory().user)

    assert client.get(reverse("admin:index"), follow=True).status_code == 403


def test_the_admin_has_no_sign_in_of_its_own(client: Client, db: None) -> None:
    response = client.get("/admin", follow=True)

    assert response.redirect_chain[-1][0].startswith(reverse("account_login"))


def test_a_delivery_is_read_again_by_the_operator(
    operator: Client, published: list[tuple[object, ...]]
) -> None:
    kept = DeliveryFactory(hook=None, account=None)

    operator.post(
        address(type(kept), "changelist"), {"action": "read_again", "_selected_action": [kept.pk]}
    )

    again = type(kept).objects.exclude(pk=kept.pk).get()
    assert (again.redelivers_id, again.verdict) == (kept.pk, "waiting")


def test_the_audit_log_is_read_and_not_written_by_hand(operator: Client) -> None:
    RunFactory()
    event = AuditEvent.objects.latest("pk")

    answers = [
        operator.post(address(AuditEvent, "change", event.pk), {"action": "nothing"}),
        operator.post(address(AuditEvent, "delete", event.pk), {"post": "yes"}),
        operator.post(address(AuditEvent, "add"), {}),
    ]

    assert {answer.status_code for answer in answers} == {403}


def test_what_an_operator_changes_is_told_as_theirs(operator: Client) -> None:
    kept = ConnectionFactory(name="Before")
    fields = {"account": kept.account_id, "adapter": kept.adapter, "state": 1, "config": "{}"}
    fields |= {"name": "After", "adapter_version": kept.adapter_version}

    operator.post(address(type(kept), "change", kept.pk), fields)

    event = AuditEvent.objects.get(action="connection.changed")
    assert (event.actor_kind, event.source) == ("operator", "admin")
    assert event.differences["name"] == ["Before", "After"]
    assert event.actor_name == User.objects.get(is_superuser=True).email


def test_its_home_leads_back_to_the_console(operator: Client) -> None:
    page = operator.get(reverse("admin:index")).content.decode()

    assert re.search(r'<a href="/">\s*View site', page)
