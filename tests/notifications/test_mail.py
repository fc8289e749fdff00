"""What a mail looks like, where it goes, and what becomes of it when things go wrong."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.utils.timezone import now

from jobsvc.jobs.models import Job
from jobsvc.notifications import tell
from jobsvc.notifications.deliver import GIVE_UP_AFTER, prune, ring_for_due, send_delivery
from jobsvc.notifications.models import Delivery, DeliveryStatus, Event, NotificationType
from tests.e2e.stack import wait_until
from tests.factories import JobFactory, MembershipFactory, RunStepFactory
from tests.installation import installation
from tests.mailserver import MailServer
from tests.notifications.mails import (
    ADDRESS,
    FAILED_NODE,
    WORDS,
    asked,
    ended,
    failed_with_results,
    member_asked,
    sent_of,
    told_of,
)

pytestmark = pytest.mark.django_db


def html_of(letter: Any) -> str:
    return str(letter.alternatives[0][0])


# --- What it says ------------------------------------------------------------------------


def test_the_subject_names_the_node_and_the_databases_words(job: Job) -> None:
    asked(job, Event.FAILURE)

    sent_of(failed_with_results(job))

    assert mail.outbox[0].subject == (
        f"[Production] Daily production run failed: fct_payments \N{EN DASH} {WORDS}"
    )


def test_a_long_subject_is_cut_to_120_characters(job: Job) -> None:
    asked(job, Event.FAILURE)
    node = FAILED_NODE | {"message": "Database Error in model x\n  " + "very   long\t" * 40}

    sent_of(failed_with_results(job, node))

    subject = mail.outbox[0].subject
    assert (len(subject) <= 120, subject[-1], "  " in subject) == (True, "…", False)


@pytest.mark.parametrize(
    ("how", "fields", "event", "words"),
    [
        ("failed", {}, Event.FAILURE, "failed: Step 4 failed: it did not work."),
        ("succeeded", {}, Event.SUCCESS, "succeeded"),
        ("succeeded", {"has_warnings": True}, Event.WARNING, "succeeded with warnings"),
        ("cancelled", {"cancel_reason": "user"}, Event.CANCELLED, "was cancelled"),
        ("cancelled", {"cancel_reason": "timeout"}, Event.TIMEOUT, "took too long"),
    ],
)
def test_each_outcome_has_its_mail(
    job: Job, how: str, fields: dict[str, Any], event: Event, words: str
) -> None:
    asked(job, event)

    sent_of(ended(job, how, **fields))

    (letter,) = mail.outbox
    assert letter.to == [ADDRESS]
    assert letter.subject == f"[Production] Daily production run {words}"


def test_text_and_html_say_the_same(job: Job) -> None:
    asked(job, Event.FAILURE)
    run = failed_with_results(job)

    sent_of(run)

    place = f"/deploy/{job.account_id}/projects/{job.project_id}/runs/{run.pk}/"
    for part in (mail.outbox[0].body, html_of(mail.outbox[0]).replace("&quot;", '"')):
        for said in (
            "model.shop.fct_payments",
            WORDS,
            "LINE 12: sum(amount_usd)",
            "0123456789ab",
            "main",
            "Triggered via API",
            "this run; the one before did not fail",
            f"{place}",
            f"{place}retry/",
            "It was asked for: to be told when this job fails.",
            "/notifications/unsubscribe/",
            "Invoke dbt with `dbt build`",
        ):
            assert said in part


def test_a_mail_shows_an_end_by_the_same_sign_as_the_pages(job: Job) -> None:
    asked(job, Event.FAILURE)
    begun = now() - timedelta(seconds=3700)

    sent_of(failed_with_results(job, started_at=begun, finished_at=begun + timedelta(hours=1)))

    for part in (mail.outbox[0].body, html_of(mail.outbox[0])):
        assert all(said in part for said in ("✕", "✕ model.shop.fct_payments", "1 h 0 m"))


def test_a_row_of_failures_says_since_when(job: Job) -> None:
    asked(job, Event.FAILURE)
    first = ended(job)

    sent_of(ended(job))

    assert f"Failing since: run #{first.pk}" in mail.outbox[0].body
    assert "2 times in a row" in mail.outbox[0].body


def test_of_a_long_message_twenty_lines_are_shown(job: Job) -> None:
    asked(job, Event.FAILURE)
    node = FAILED_NODE | {"message": "\n".join(f"line {n}" for n in range(1, 51))}

    sent_of(failed_with_results(job, node))

    body = mail.outbox[0].body
    assert ("line 20" in body, "line 21" in body, "… 30 more lines" in body) == (True, False, True)


def test_a_failure_without_a_node_shows_the_end_of_the_log(job: Job) -> None:
    asked(job, Event.FAILURE)
    run = ended(job)
    step = RunStepFactory(run=run, status=20, started_at=now(), finished_at=now())
    step.chunks.create(stream="console", offset=0, text="\x1b[31mEnv var required: SECRET\x1b[0m\n")

    sent_of(run)

    assert "    Env var required: SECRET\n" in mail.outbox[0].body


def test_hostile_names_are_text_in_html() -> None:
    job = JobFactory(name="<script>alert(1)</script>", environment__name="<b>Prod</b>")
    asked(job, Event.FAILURE)
    node = FAILED_NODE | {"message": '<img src="https://evil.example/x.png">'}

    sent_of(failed_with_results(job, node))

    html = html_of(mail.outbox[0])
    assert ("<script>" in html, "<b>Prod" in html, "<img" in html) == (False, False, False)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert(1)</script>" in mail.outbox[0].body


def test_what_a_project_left_in_its_results_spoils_no_mail(job: Job) -> None:
    asked(job, Event.FAILURE)
    strange = {"unique_id": "model.shop.\ud800\0x\nOpen the run: y", "message": "no \udfff\0"}

    (delivery,) = sent_of(failed_with_results(job, {"status": "error", **strange}))

    delivery.refresh_from_db()
    assert (delivery.status, delivery.error) == (DeliveryStatus.SENT, "")
    letter = mail.outbox[0].message().as_bytes()
    text = message_from_bytes(letter, policy=policy.default).get_body(("plain",)).get_content()
    assert "model.shop.?x Open the run: y" in text


def test_no_name_writes_a_header() -> None:
    job = JobFactory(name="Daily\r\nBcc: all@example.org", environment__name="a\nb")
    asked(job, Event.FAILURE)

    sent_of(ended(job))

    raw = message_from_bytes(mail.outbox[0].message().as_bytes(), policy=policy.default)
    assert raw["Bcc"] is None
    assert raw["Subject"].startswith("[a b] Daily Bcc: all@example.org failed")


def test_a_mail_is_marked_as_made_by_a_machine_and_can_be_stopped(job: Job) -> None:
    asked(job, Event.FAILURE)

    sent_of(ended(job))

    headers = mail.outbox[0].extra_headers
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert headers["List-Unsubscribe"].startswith(
        "<http://127.0.0.1:8000/notifications/unsubscribe/"
    )


# --- Threads -----------------------------------------------------------------------------


def test_what_follows_a_failure_is_in_its_thread(job: Job) -> None:
    asked(job, Event.FAILURE, Event.RECOVERED)
    sent_of(failed_with_results(job))
    other = FAILED_NODE | {"unique_id": "model.shop.other"}
    sent_of(failed_with_results(job, other))
    sent_of(ended(job, "succeeded"))

    first, second, recovery = [letter.extra_headers for letter in mail.outbox]

    assert "In-Reply-To" not in first
    for headers in (second, recovery):
        assert headers["In-Reply-To"] == headers["References"] == first["Message-ID"]
    assert mail.outbox[2].subject.endswith("works again")


def test_the_next_row_of_failures_is_another_thread(job: Job) -> None:
    asked(job, Event.FAILURE)
    sent_of(failed_with_results(job))
    ended(job, "succeeded")
    other = FAILED_NODE | {"unique_id": "model.shop.other"}

    sent_of(failed_with_results(job, other))

    assert "In-Reply-To" not in mail.outbox[1].extra_headers


def test_two_people_have_each_their_own_message(job: Job) -> None:
    asked(job, Event.FAILURE)
    asked(job, Event.FAILURE, address="other@example.org")

    sent_of(ended(job))

    assert len({letter.extra_headers["Message-ID"] for letter in mail.outbox}) == 2


# --- The outbox --------------------------------------------------------------------------


def test_a_message_is_rung_for_once_it_is_written(
    job: Job,
    published: list[tuple[Any, ...]],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    asked(job, Event.FAILURE)
    with django_capture_on_commit_callbacks(execute=True):
        (delivery,) = told_of(ended(job))

    assert ("send_delivery", delivery.pk) in published


def test_a_message_is_sent_once_however_often_it_is_rung_for(job: Job) -> None:
    asked(job, Event.FAILURE)
    (delivery,) = told_of(ended(job))

    sent = [send_delivery(delivery.pk) for _ in range(3)]

    assert (sent, len(mail.outbox)) == ([True, False, False], 1)


def test_what_somebody_else_is_sending_is_left_alone(job: Job) -> None:
    asked(job, Event.FAILURE)
    (delivery,) = told_of(ended(job))
    Delivery.objects.update(lease_until=now() + timedelta(minutes=1))

    assert send_delivery(delivery.pk) is False


def test_a_message_whose_bell_was_lost_is_rung_for_again(
    job: Job, published: list[tuple[Any, ...]]
) -> None:
    asked(job, Event.FAILURE)
    (delivery,) = told_of(ended(job))
    Delivery.objects.update(due_at=now() - timedelta(minutes=1))

    ring_for_due()

    assert published == [("send_delivery", delivery.pk)]


def test_a_member_who_left_meanwhile_gets_nothing(job: Job) -> None:
    membership = MembershipFactory(account=job.account)
    member_asked(membership.user, job, Event.FAILURE)
    (delivery,) = told_of(ended(job))
    membership.delete()

    send_delivery(delivery.pk)

    delivery.refresh_from_db()
    assert (delivery.status, mail.outbox) == (DeliveryStatus.MUTED, [])


def test_without_a_mail_server_it_says_so(job: Job, settings: Any, capsys: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    asked(job, Event.FAILURE)

    (delivery,) = sent_of(ended(job))

    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.FAILED
    assert "Set JOBSVC_EMAIL_URL." in delivery.error
    assert "Subject: [Production]" in capsys.readouterr().out


def test_sent_messages_are_kept_for_the_days_that_are_set(job: Job, settings: Any) -> None:
    settings.KEEP_DELIVERIES_DAYS = 30
    asked(job, Event.FAILURE)
    old, young = [sent_of(failed_with_results(job, _node(name)))[0] for name in "ab"]
    Delivery.objects.filter(pk=old.pk).update(created_at=now() - timedelta(days=31))

    prune(now())

    assert [one.pk for one in Delivery.objects.all()] == [young.pk]


def test_a_test_shows_that_mail_arrives(job: Job) -> None:
    delivery = tell.send_test(asked(job, Event.FAILURE))
    assert delivery is not None

    send_delivery(delivery.pk)

    assert mail.outbox[0].to == [ADDRESS]
    assert "A test: messages of jobsvc reach you" in mail.outbox[0].subject


def _node(name: str) -> dict[str, str]:
    return FAILED_NODE | {"unique_id": f"model.shop.{name}"}


# --- A real mail server ------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[MailServer]:
    made = MailServer()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def smtp(server: MailServer, settings: Any) -> MailServer:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
    return server


def make_due() -> None:
    Delivery.objects.filter(status=DeliveryStatus.WAITING).update(
        due_at=now() - timedelta(seconds=1)
    )


def test_one_failure_and_its_recovery_are_two_mails_in_one_thread(
    job: Job, smtp: MailServer
) -> None:
    asked(job, Event.FAILURE, Event.RECOVERED)

    sent_of(failed_with_results(job))
    sent_of(ended(job, "succeeded"))

    failure, recovery = smtp.inbox.mails
    assert recovery["In-Reply-To"] == failure["Message-ID"]
    assert [part.get_content_type() for part in failure.iter_parts()] == ["text/plain", "text/html"]
    assert failure["To"] == ADDRESS


def test_a_server_that_is_down_for_a_while_loses_nothing(job: Job, smtp: MailServer) -> None:
    asked(job, Event.FAILURE)
    smtp.stop()
    (delivery,) = sent_of(failed_with_results(job))
    delivery.refresh_from_db()
    assert (delivery.status, delivery.lease_until) == (DeliveryStatus.WAITING, None)
    assert delivery.due_at is not None
    assert delivery.due_at > now() + timedelta(seconds=15)
    assert "did not answer" in delivery.error

    smtp.start()
    make_due()
    send_delivery(delivery.pk)

    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.error) == (DeliveryStatus.SENT, 2, "")
    assert len(smtp.inbox.mails) == 1


def test_not_now_is_tried_again(job: Job, smtp: MailServer) -> None:
    asked(job, Event.FAILURE)
    smtp.inbox.answers = ["451 4.7.1 Greylisted, come back later"]

    (delivery,) = sent_of(ended(job))

    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.WAITING
    assert delivery.error == "The mail server answered 451: 4.7.1 Greylisted, come back later"


def test_a_server_that_hangs_up_in_the_middle_loses_nothing(job: Job, smtp: MailServer) -> None:
    asked(job, Event.FAILURE)
    smtp.inbox.answers = ["421 4.3.2 Shutting down"]
    (delivery,) = sent_of(ended(job))

    make_due()
    send_delivery(delivery.pk)

    assert len(smtp.inbox.mails) == 1


def test_an_address_that_does_not_exist_is_given_up_with_the_servers_words(
    job: Job, smtp: MailServer
) -> None:
    asked(job, Event.FAILURE)
    asked(job, Event.FAILURE, address="there@example.org")
    smtp.inbox.unknown = {ADDRESS}

    wrong, right = sent_of(ended(job))

    wrong.refresh_from_db()
    right.refresh_from_db()
    assert (wrong.status, right.status) == (DeliveryStatus.FAILED, DeliveryStatus.SENT)
    assert "550: 5.1.1 <team@example.org>: no such user" in wrong.error


def test_after_a_day_a_message_is_given_up(job: Job, smtp: MailServer) -> None:
    asked(job, Event.FAILURE)
    (delivery,) = told_of(ended(job))
    Delivery.objects.update(created_at=now() - GIVE_UP_AFTER - timedelta(minutes=1))
    smtp.stop()

    send_delivery(delivery.pk)

    delivery.refresh_from_db()
    assert (delivery.status, delivery.due_at) == (DeliveryStatus.FAILED, None)
    assert delivery.error.startswith("Given up after a day. The mail server did not answer")


def test_each_wait_is_longer_than_the_one_before(job: Job, smtp: MailServer) -> None:
    asked(job, Event.FAILURE)
    (delivery,) = told_of(ended(job))
    smtp.stop()

    waits = []
    for _ in range(4):
        make_due()
        send_delivery(delivery.pk)
        delivery.refresh_from_db()
        assert delivery.due_at is not None
        waits.append(delivery.due_at - now())

    # From 22 to 38 s, 45 to 75 s, and so on: jitter makes no two overlap.
    assert waits == sorted(waits)


def test_a_run_does_not_notice_that_mail_fails(job: Job, smtp: MailServer) -> None:
    asked(job, Event.FAILURE)
    smtp.stop()
    run = ended(job)
    before = run.updated_at

    sent_of(run)

    run.refresh_from_db()
    assert run.updated_at == before


def test_a_wrong_password_is_the_operators_to_repair(
    job: Job, smtp: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise smtplib.SMTPAuthenticationError(535, b"5.7.8 Authentication failed")

    monkeypatch.setattr(smtplib.SMTP, "sendmail", refuse)
    asked(job, Event.FAILURE)

    (delivery,) = sent_of(ended(job))

    delivery.refresh_from_db()
    assert (delivery.status, delivery.error[:31]) == ("waiting", "The mail server answered 535: 5")


# --- Killed in between -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_killed_between_commit_and_send_sends_one_mail(
    kind: str, server: MailServer, tmp_path: Path
) -> None:
    url = f"smtp://127.0.0.1:{server.port}"
    with installation(kind, tmp_path / "data", JOBSVC_EMAIL_URL=url) as service:
        first = service.actor()
        run = first.act("fail_with_an_owner", "owner@example.org")
        assert first.act("tell_of_run", run) == 1
        first.kill()

        for _ in range(2):
            second = service.actor()
            second.act("tell_of_run", run)
            second.act("send_all")

    assert [letter["To"] for letter in server.inbox.mails] == ["owner@example.org"]


def test_a_worker_killed_while_it_sends_repeats_it_under_the_same_id_at_most(
    server: MailServer, tmp_path: Path
) -> None:
    url = f"smtp://127.0.0.1:{server.port}"
    with installation("postgresql", tmp_path / "data", JOBSVC_EMAIL_URL=url) as service:
        first = service.actor()
        run = first.act("fail_with_an_owner", "owner@example.org")
        first.act("tell_of_run", run)
        first.begin("send_and_die")
        wait_until("the mail is there", lambda: server.inbox.mails)
        with pytest.raises(AssertionError, match="the actor ended"):
            first.answer()

        second = service.actor()
        assert second.act("send_all") == 0  # the lease still holds
        second.act("let_leases_of_mails_lapse")
        assert second.act("send_all") == 1

    assert len({letter["Message-ID"] for letter in server.inbox.mails}) == 1
    assert len(server.inbox.mails) == 2


def test_a_channel_without_an_address_says_so(job: Job) -> None:
    notification = asked(job, Event.FAILURE)
    notification.type = NotificationType.SLACK
    notification.save()

    (delivery,) = sent_of(ended(job))

    delivery.refresh_from_db()
    assert (delivery.status, mail.outbox) == (DeliveryStatus.FAILED, [])
    assert "Give it extensions.webhook_url." in delivery.error
