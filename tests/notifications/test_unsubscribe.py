"""Stopping mail by the link in it, without signing in."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core import mail, signing
from django.test import Client

from jobsvc.jobs.models import Job
from jobsvc.notifications.models import Delivery, DeliveryStatus, Event, Mute
from jobsvc.notifications.unsubscribe import SALT
from tests.factories import JobFactory
from tests.notifications.mails import ADDRESS, asked, ended, sent_of, told_of

ONE_CLICK = "List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"

pytestmark = pytest.mark.django_db


@pytest.fixture
def stranger() -> Client:
    """A mail program: it has no session, and the service insists on its CSRF tokens."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def link(job: Job) -> str:
    """What the header of a failure mail says, as a path of this service."""
    asked(job, Event.FAILURE)
    sent_of(ended(job))
    header: str = mail.outbox[0].extra_headers["List-Unsubscribe"]
    return header.strip("<>").removeprefix(settings.SITE_URL)


def statuses(job: Job) -> list[str]:
    return [one.status for one in told_of(ended(job))]


def test_one_click_of_a_mail_program_stops_the_mails_of_this_job(
    job: Job, link: str, stranger: Client
) -> None:
    other = JobFactory(environment=job.environment)
    asked(other, Event.FAILURE)

    answer = stranger.post(link, ONE_CLICK, content_type=FORM)

    assert answer.status_code == 200
    assert (statuses(job), statuses(other)) == ([DeliveryStatus.MUTED], [DeliveryStatus.WAITING])


def test_looking_at_the_link_stops_nothing(job: Job, link: str, stranger: Client) -> None:
    page = stranger.get(link)

    assert "Stop these mails?" in page.content.decode()
    assert not Mute.objects.exists()


def test_all_mails_of_the_account_can_be_stopped(job: Job, link: str, stranger: Client) -> None:
    other = JobFactory(environment=job.environment)
    asked(other, Event.FAILURE)

    page = stranger.post(link, {"choice": "everything"})

    assert "No more mails" in page.content.decode()
    assert (statuses(job), statuses(other)) == ([DeliveryStatus.MUTED], [DeliveryStatus.MUTED])


@pytest.mark.parametrize("choice", ["this", "everything"])
def test_what_was_stopped_can_be_had_again(
    job: Job, link: str, stranger: Client, choice: str
) -> None:
    stopped = stranger.post(link, {"choice": choice})
    assert "Get them again" in stopped.content.decode()

    stranger.post(link, {"choice": "again"})

    assert not Mute.objects.exists()


def test_stopping_twice_is_stopping(link: str, stranger: Client) -> None:
    for _ in range(2):
        stranger.post(link, ONE_CLICK, content_type=FORM)

    assert Mute.objects.count() == 1


def test_a_mail_that_waits_is_not_sent_after_all(job: Job, link: str, stranger: Client) -> None:
    (waiting,) = told_of(ended(job, status_message="Another error."))
    stranger.post(link, ONE_CLICK, content_type=FORM)

    asked(job, Event.SUCCESS)
    sent_of(ended(job, "succeeded"))

    waiting.refresh_from_db()
    assert waiting.status == DeliveryStatus.MUTED
    assert len(mail.outbox) == 1


def test_the_longest_address_can_stop_its_mail(stranger: Client) -> None:
    address = f"{'a' * 243}@example.org"
    job = JobFactory(extensions={"owners": [address]})
    sent_of(ended(job))
    link = mail.outbox[0].extra_headers["List-Unsubscribe"].strip("<>")

    answer = stranger.post(link.removeprefix(settings.SITE_URL), ONE_CLICK, content_type=FORM)

    assert answer.status_code == 200
    assert statuses(job) == [DeliveryStatus.MUTED]


def test_other_addresses_still_get_theirs(job: Job, link: str, stranger: Client) -> None:
    stranger.post(link, ONE_CLICK, content_type=FORM)
    asked(job, Event.FAILURE, address="other@example.org")

    told = {one.address: one.status for one in told_of(ended(job))}

    assert told == {ADDRESS: DeliveryStatus.MUTED, "other@example.org": DeliveryStatus.WAITING}


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        signing.dumps({"account": 1, "address": ADDRESS}, salt="another"),
        signing.dumps({"account": 999_999, "address": ADDRESS}, salt=SALT),
        signing.dumps({"account": 999_999, "address": ADDRESS, "job": 7}, salt=SALT),
    ],
    ids=["nonsense", "of another kind", "of no account", "of no job"],  # they tell the time
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_link_that_was_not_made_here_does_nothing(
    stranger: Client, token: str, method: str
) -> None:
    answer = getattr(stranger, method)(f"/notifications/unsubscribe/{token}/")

    assert answer.status_code == 404
    assert not Mute.objects.exists()


def test_hostile_names_are_text_on_the_page(stranger: Client) -> None:
    job = JobFactory(name="<script>alert(1)</script>")
    asked(job, Event.FAILURE)
    sent_of(ended(job))
    link = mail.outbox[0].extra_headers["List-Unsubscribe"].strip("<>")

    page = stranger.get(link.removeprefix(settings.SITE_URL)).content.decode()

    assert "<script>" not in page


def test_the_log_shows_what_was_not_sent(job: Job, link: str, stranger: Client) -> None:
    stranger.post(link, ONE_CLICK, content_type=FORM)
    told_of(ended(job))

    assert Delivery.objects.filter(status=DeliveryStatus.MUTED, due_at=None).count() == 1
