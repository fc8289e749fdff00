"""Notifications in the settings: who is told of what, whether it arrives, and what was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account, User
from accounts.roles import PermissionSet
from jobsvc.jobs.models import Job
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Event,
    Mute,
    Notification,
    NotificationRule,
    NotificationType,
    Scope,
)
from jobsvc.statuses import State
from tests.factories import JobFactory, MembershipFactory, NotificationFactory, RunFactory

VisitorOf = Callable[..., Client]


@pytest.fixture
def job(account: Account) -> Job:
    return JobFactory(environment__project__account=account, name="Nightly build")


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """A test message is rung for, and needs no broker."""


def url(account: Account, name: str = "notifications", *more: int) -> str:
    return reverse(f"console:{name}", args=[account.pk, *more])


def person_of(visitor: Client) -> User:
    return User.objects.get(pk=visitor.session["_auth_user_id"])


def rules_of(notification: Notification) -> set[tuple[str, str, int, str]]:
    return set(notification.rules.values_list("event", "scope", "scope_id", "tag"))


def own(visitor: Client, account: Account) -> Notification:
    return NotificationFactory(
        account=account,
        type=NotificationType.INTERNAL,
        external_email=None,
        user=person_of(visitor),
    )


def outside(**fields: Any) -> dict[str, Any]:
    return {
        "type": NotificationType.EXTERNAL.value,
        "external_email": "team@example.org",
        "about": "account:0",
        "events": ["failure"],
        "every": "1",
    } | fields


# --- The list ------------------------------------------------------------------------------


def test_who_is_told_of_what_is_listed_in_words(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    notification = NotificationFactory(account=account)
    add = notification.rules.create
    add(event=Event.FAILURE, scope=Scope.JOB, scope_id=job.pk)
    add(event=Event.STILL_FAILING, scope=Scope.JOB, scope_id=job.pk, every=3)
    add(event=Event.WARNING, scope=Scope.PROJECT, scope_id=job.project_id)
    add(event=Event.TIMEOUT, scope=Scope.TAG, tag="finance")
    add(event=Event.SUCCESS, scope=Scope.ENVIRONMENT, scope_id=999_999)

    page = visitor_of(account, "job_viewer").get(url(account)).content.decode()

    assert "team@example.org" in page
    assert "Nightly build</bdi>: fails, still fails (each 3 failures)" in page
    assert f"every job of {job.project}</bdi>: warns" in page
    assert "jobs with the tag finance</bdi>: takes too long" in page
    assert "environment 999999, which is gone" in page


def test_an_account_where_nobody_is_told_offers_to_be_told(
    visitor_of: VisitorOf, account: Account
) -> None:
    page = visitor_of(account, "job_viewer").get(url(account)).content.decode()

    assert "Nobody is told of anything yet" in page
    assert url(account, "notification_new") in page


def test_the_list_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf,
    account: Account,
    job: Job,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for notification in NotificationFactory.create_batch(12, account=account):
        other = JobFactory(environment=job.environment)
        notification.rules.create(event=Event.FAILURE, scope=Scope.JOB, scope_id=other.pk)
    visitor = visitor_of(account)
    visitor.get(url(account))

    with django_assert_max_num_queries(15):
        visitor.get(url(account))


# --- Making one ----------------------------------------------------------------------------


def test_anyone_has_themselves_told_by_mail(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    visitor = visitor_of(account, "job_viewer")

    form = visitor.get(url(account, "notification_new")).content.decode()
    visitor.post(
        url(account, "notification_new"),
        {"about": f"job:{job.pk}", "events": ["first_failure", "recovered"], "every": "1"},
    )

    assert "You are told, by mail" in form
    made = Notification.objects.get()
    assert (made.type, made.user) == (NotificationType.INTERNAL, person_of(visitor))
    assert rules_of(made) == {
        ("first_failure", "job", job.pk, ""),
        ("recovered", "job", job.pk, ""),
    }


def test_who_is_no_admin_names_nobody_else(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    visitor = visitor_of(account, "job_admin")

    visitor.post(url(account, "notification_new"), outside())

    made = Notification.objects.get()
    assert (made.type, made.external_email) == (NotificationType.INTERNAL, None)


def test_an_admin_has_an_outside_address_told(visitor_of: VisitorOf, account: Account) -> None:
    visitor_of(account).post(url(account, "notification_new"), outside(tag="", every="2"))

    made = Notification.objects.get()
    assert made.external_email == "team@example.org"
    assert rules_of(made) == {("failure", "account", 0, "")}


def test_an_admin_has_a_chat_told_and_its_address_is_not_shown_again(
    visitor_of: VisitorOf, account: Account, settings: Any
) -> None:
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    visitor = visitor_of(account)
    address = "http://127.0.0.1:1/services/secret-part"

    page = visitor.post(
        url(account, "notification_new"),
        outside(
            type=NotificationType.SLACK_WEBHOOK.value,
            external_email="",
            webhook_url=address,
            slack_channel_name="#data",
            about="",
            tag="finance",
        ),
        follow=True,
    ).content.decode()

    made = Notification.objects.get()
    assert made.secrets["url"] == address
    assert rules_of(made) == {("failure", "tag", 0, "finance")}
    edit = visitor.get(url(account, "notification_edit", made.pk)).content.decode()
    assert "#data" in page
    assert "It is set, and is not shown again" in edit
    assert "secret-part" not in page + edit


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"external_email": ""}, "A notification of type 4 needs it. Add it."),
        ({"type": "1"}, "A notification of type 1 needs it. Add it."),
        ({"type": "101"}, "A notification of type 101 needs it. Add it."),
        ({"external_email": "nobody"}, "Enter a valid email address."),
        ({"about": ""}, "Choose what it is of, or name a tag: one of the two."),
        ({"tag": "finance"}, "Choose one of the list, or name a tag; not both."),
        ({"events": []}, "This field is required."),
        ({"about": "job:999999"}, "Select a valid choice."),
        ({"webhook_url": "http://10.0.0.1/hook"}, "10.0.0.1"),
        ({"type": "x"}, "Select a valid choice."),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(
    visitor_of: VisitorOf, account: Account, typed: dict[str, Any], said: str
) -> None:
    response = visitor_of(account).post(url(account, "notification_new"), outside(**typed))

    page = response.content.decode()
    assert response.status_code == 200
    assert "Nothing was saved." in page
    assert page.count(said) >= 2
    assert not Notification.objects.exists()
    assert not NotificationRule.objects.exists()


def test_another_accounts_jobs_and_people_are_no_choice(
    visitor_of: VisitorOf, account: Account
) -> None:
    theirs = JobFactory()
    stranger = MembershipFactory(account=theirs.account).user

    page = visitor_of(account).get(url(account, "notification_new")).content.decode()

    assert f'value="job:{theirs.pk}"' not in page
    assert stranger.email not in page


# --- Changing one --------------------------------------------------------------------------


def test_events_of_something_replace_those_that_it_had(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    notification = NotificationFactory(account=account)
    notification.rules.create(event=Event.FAILURE, scope=Scope.JOB, scope_id=job.pk)
    notification.rules.create(event=Event.FAILURE, scope=Scope.ACCOUNT)

    visitor_of(account).post(
        url(account, "notification", notification.pk),
        {"about": f"job:{job.pk}", "events": ["still_failing"], "every": "5"},
    )

    assert rules_of(notification) == {
        ("still_failing", "job", job.pk, ""),
        ("failure", "account", 0, ""),
    }
    assert notification.rules.get(event=Event.STILL_FAILING).every == 5


def test_something_is_told_of_no_more(visitor_of: VisitorOf, account: Account, job: Job) -> None:
    notification = NotificationFactory(account=account)
    notification.rules.create(event=Event.FAILURE, scope=Scope.JOB, scope_id=job.pk)
    notification.rules.create(event=Event.FAILURE, scope=Scope.TAG, tag="finance")
    visitor = visitor_of(account)
    forget = url(account, "notification_forget", notification.pk)

    visitor.post(forget, {"about": f"job:{job.pk}", "tag": ""})
    assert rules_of(notification) == {("failure", "tag", 0, "finance")}

    visitor.post(forget, {"about": "", "tag": "finance"})
    assert rules_of(notification) == set()


def test_what_one_is_told_oneself_is_ones_own_to_change(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account, "job_viewer")
    mine = own(visitor, account)

    page = visitor.get(url(account, "notification", mine.pk)).content.decode()
    deleted = visitor.post(url(account, "notification_delete", mine.pk), follow=True)

    assert url(account, "notification_test", mine.pk) in page
    assert url(account, "notification_edit", mine.pk) not in page
    assert deleted.status_code == 200
    mine.refresh_from_db()
    assert mine.state == State.DELETED


@pytest.mark.parametrize(
    "name",
    [
        "notification",
        "notification_edit",
        "notification_forget",
        "notification_test",
        "notification_delete",
    ],
)
def test_what_others_are_told_is_the_admins_to_change(
    visitor_of: VisitorOf, account: Account, name: str
) -> None:
    others = NotificationFactory(account=account)
    visitor = visitor_of(account, PermissionSet.MEMBER)

    page = visitor.get(url(account, "notification", others.pk)).content.decode()
    response = visitor.post(
        url(account, name, others.pk), {"about": "account:0", "events": ["failure"]}
    )

    assert '<form method="post" class="fields">' not in page
    assert url(account, "notification_test", others.pk) not in page
    assert url(account, "notification_delete", others.pk) not in page
    assert response.status_code == 403
    others.refresh_from_db()
    assert others.state == State.ACTIVE
    assert not others.rules.exists()
    assert not Delivery.objects.exists()


def test_another_accounts_notification_does_not_exist(
    visitor_of: VisitorOf, account: Account, db: None
) -> None:
    theirs = NotificationFactory()
    visitor = visitor_of(account)

    assert visitor.get(url(account, "notification", theirs.pk)).status_code == 404
    assert visitor.post(url(account, "notification_delete", theirs.pk)).status_code == 404


# --- Whether it arrives --------------------------------------------------------------------


def test_a_test_is_on_its_way_and_listed(visitor_of: VisitorOf, account: Account) -> None:
    notification = NotificationFactory(account=account)
    visitor = visitor_of(account)
    test = url(account, "notification_test", notification.pk)

    first = visitor.post(test, follow=True).content.decode()
    second = visitor.post(test, follow=True).content.decode()

    assert "A test is on its way to team@example.org" in first
    assert "To be sent" in first
    assert "It was tested within this minute" in second
    assert Delivery.objects.get().event == Event.TEST
    assert mail.outbox == []


def test_a_test_that_nobody_would_get_says_so(visitor_of: VisitorOf, account: Account) -> None:
    gone = MembershipFactory(account=account)
    notification = NotificationFactory(
        account=account, type=NotificationType.INTERNAL, external_email=None, user=gone.user
    )
    gone.delete()

    page = visitor_of(account).post(url(account, "notification_test", notification.pk), follow=True)

    assert "may not read this account any more" in page.content.decode()
    assert not Delivery.objects.exists()


def message(account: Account, **fields: Any) -> Delivery:
    given = {
        "account": account,
        "event": Event.FAILURE,
        "address": "team@example.org",
        "key": f"message {Delivery.objects.count()}",
        "status": DeliveryStatus.SENT,
        "due_at": None,
    }
    return Delivery.objects.create(**given | fields)


def test_what_was_given_up_says_why(visitor_of: VisitorOf, account: Account) -> None:
    run = RunFactory(failed=True, job__environment__project__account=account)
    message(account, subject="It <failed>", run=run, job=run.job)
    message(account, address="other@example.org", status="failed", error="550 no such user")
    visitor = visitor_of(account, "job_viewer")

    log = visitor.get(url(account, "notification_deliveries")).content.decode()
    failed = visitor.get(url(account, "notification_deliveries") + "?status=failed")

    assert "It &lt;failed&gt;" in log
    assert f"/runs/{run.pk}/" in log
    assert "550 no such user" in log
    assert "team@example.org" not in failed.content.decode()
    assert "other@example.org" in failed.content.decode()


def test_the_log_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf, account: Account, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _number in range(12):
        run = RunFactory(failed=True, job__environment__project__account=account)
        message(account, run=run, job=run.job)
    visitor = visitor_of(account)
    visitor.get(url(account, "notification_deliveries"))

    with django_assert_max_num_queries(15):
        visitor.get(url(account, "notification_deliveries"))


# --- What was stopped ----------------------------------------------------------------------


def test_one_lets_mails_come_again_that_one_has_stopped(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    visitor = visitor_of(account, "job_viewer")
    address = person_of(visitor).email.lower()
    mine = Mute.objects.create(account=account, address=address, job=job)
    others = Mute.objects.create(account=account, address="other@example.org")

    page = visitor.get(url(account)).content.decode()
    assert visitor.post(url(account, "mute_end", others.pk)).status_code == 404
    visitor.post(url(account, "mute_end", mine.pk))

    assert url(account, "mute_end", mine.pk) in page
    assert url(account, "mute_end", others.pk) not in page
    assert list(Mute.objects.all()) == [others]


# --- What it would look like -------------------------------------------------------------


def test_a_preview_shows_the_mail_of_the_last_failure_and_sends_none(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    visitor = visitor_of(account)
    notification = own(visitor, account)
    RunFactory(job=job, failed=True, status_message="An older failure.")
    RunFactory(job=job, failed=True, status_message="column <amount> does not exist")
    RunFactory(job=job, succeeded=True)

    page = visitor.get(url(account, "notification_preview", notification.pk)).content.decode()
    frame = url(account, "notification_message", notification.pk)
    shown = visitor.get(frame)

    assert f'src="{frame}?part=html"' in page
    assert f'src="{frame}"' in page
    assert shown.headers["Content-Type"] == "text/plain; charset=utf-8"
    said = shown.content.decode()
    assert "Nightly build failed: column <amount> does not exist" in said.partition("\n")[0]
    assert "An older failure." not in said
    assert mail.outbox == []
    assert not Delivery.objects.exists()


def test_the_mail_in_the_frame_runs_and_loads_nothing(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    visitor = visitor_of(account)
    notification = own(visitor, account)
    RunFactory(job=job, failed=True, status_message="<script>alert(1)</script>")

    response = visitor.get(url(account, "notification_message", notification.pk) + "?part=html")

    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "<script>" not in response.content.decode()
    assert "Nightly build failed" in response.content.decode()


def test_before_anything_failed_the_test_message_is_shown(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account)
    notification = own(visitor, account)

    page = visitor.get(url(account, "notification_preview", notification.pk)).content.decode()

    assert "No run has failed yet" in page


def test_a_preview_of_a_channel_shows_what_is_posted(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    RunFactory(job=job, failed=True)
    channel = NotificationFactory(
        account=account,
        type=NotificationType.SLACK_WEBHOOK,
        external_email=None,
        slack_channel_name="#data",
    )
    visitor = visitor_of(account)

    page = visitor.get(url(account, "notification_preview", channel.pk)).content.decode()

    frame = url(account, "notification_message", channel.pk)
    assert "part=html" not in page
    assert '"blocks"' in visitor.get(frame).content.decode()
    assert visitor.get(f"{frame}?part=html").status_code == 404


def test_a_preview_takes_few_queries(
    visitor_of: VisitorOf,
    account: Account,
    job: Job,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    visitor = visitor_of(account)
    notification = own(visitor, account)
    RunFactory.create_batch(5, job=job, failed=True)
    address = url(account, "notification_preview", notification.pk)
    visitor.get(address)

    with django_assert_max_num_queries(15):
        visitor.get(address)


# --- Stopping one's own mail -------------------------------------------------------------


def test_one_stops_mail_of_a_job_and_of_all(
    visitor_of: VisitorOf, account: Account, job: Job
) -> None:
    visitor = visitor_of(account)

    for chosen in (str(job.pk), "", ""):
        assert visitor.post(url(account, "mute_new"), {"job": chosen}).status_code == 302

    address = person_of(visitor).email.lower()
    stopped = Mute.objects.filter(address=address).values_list("job", flat=True)
    assert sorted(stopped, key=str) == [job.pk, None]


@pytest.mark.parametrize("chosen", ["x", "9" * 30, "-1", "\x00"])
def test_mail_of_a_job_that_is_not_there_cannot_be_stopped(
    visitor_of: VisitorOf, account: Account, chosen: str
) -> None:
    assert visitor_of(account).post(url(account, "mute_new"), {"job": chosen}).status_code == 404
    assert not Mute.objects.exists()


def test_mail_of_another_accounts_job_is_not_ones_to_stop(
    visitor_of: VisitorOf, account: Account
) -> None:
    theirs = JobFactory()

    response = visitor_of(account).post(url(account, "mute_new"), {"job": str(theirs.pk)})

    assert response.status_code == 404
