"""Many messages to one address become one mail."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.utils.timezone import now

from jobsvc.jobs.models import Job
from jobsvc.notifications.deliver import send_delivery
from jobsvc.notifications.digest import MOST, SPAN, hold
from jobsvc.notifications.models import Delivery, DeliveryStatus, Event, Scope
from jobsvc.notifications.unsubscribe import Subscription, mute, subscription_of
from tests.factories import JobFactory
from tests.notifications.mails import (
    ADDRESS,
    FAILED_NODE,
    asked,
    ended,
    failed_with_results,
    send_waiting,
    sent_of,
)

pytestmark = pytest.mark.django_db


def error(words: str) -> dict[str, str]:
    return FAILED_NODE | {"message": f"Database Error in model fct_payments\n  {words}"}


def let_the_span_pass() -> None:
    """As if every message had been written, sent, and be due, one span earlier."""
    for delivery in Delivery.objects.all():
        for name in ("created_at", "sent_at", "due_at"):
            if moment := getattr(delivery, name):
                setattr(delivery, name, moment - SPAN - timedelta(seconds=1))
        delivery.save()


def many_jobs(number: int) -> list[Job]:
    """Jobs of one account, for all of which one address asked."""
    first = JobFactory(name="job 1")
    asked(first, Event.FAILURE, scope=Scope.ACCOUNT, scope_id=0)
    others = [JobFactory(environment=first.environment, name=f"job {n + 2}") for n in range(number)]
    return [first, *others][:number]


def test_the_same_error_within_ten_minutes_is_one_mail(job: Job) -> None:
    asked(job, Event.FAILURE)

    for _ in range(3):
        sent_of(failed_with_results(job))

    assert len(mail.outbox) == 1


def test_another_error_is_another_mail(job: Job) -> None:
    asked(job, Event.FAILURE)

    sent_of(failed_with_results(job, error("column a does not exist")))
    sent_of(failed_with_results(job, error("column b does not exist")))

    assert len(mail.outbox) == 2


def test_another_number_is_no_other_error(job: Job) -> None:
    asked(job, Event.FAILURE)

    sent_of(failed_with_results(job, error("Got 12 results")))
    sent_of(failed_with_results(job, error("Got 13 results")))

    assert len(mail.outbox) == 1


def test_a_recovery_waits_for_nothing(job: Job) -> None:
    asked(job, Event.FAILURE, Event.RECOVERED)

    sent_of(failed_with_results(job))
    sent_of(ended(job, "succeeded"))

    assert len(mail.outbox) == 2


def test_what_waited_comes_as_one_digest(job: Job) -> None:
    asked(job, Event.FAILURE)
    runs = [failed_with_results(job) for _ in range(3)]
    for run in runs:
        sent_of(run)

    let_the_span_pass()
    send_waiting(job.account)

    _first, digest = mail.outbox
    assert digest.subject.endswith("2 messages of Daily production run")
    for part in (digest.body, str(digest.alternatives[0][0])):
        assert all(f"/runs/{run.pk}/" in part for run in runs[1:])
    _sent, carrier, part = Delivery.objects.order_by("pk")
    assert (carrier.status, part.status) == (DeliveryStatus.SENT, DeliveryStatus.DIGESTED)
    assert (part.digest, part.sent_at) == (carrier, carrier.sent_at)


def test_one_that_waited_alone_comes_as_itself(job: Job) -> None:
    asked(job, Event.FAILURE)
    for _ in range(2):
        sent_of(failed_with_results(job))

    let_the_span_pass()
    send_waiting(job.account)

    assert mail.outbox[1].subject == mail.outbox[0].subject


def test_a_digest_that_is_tried_again_holds_the_same(job: Job) -> None:
    asked(job, Event.FAILURE)
    for _ in range(3):
        sent_of(failed_with_results(job))
    let_the_span_pass()
    held = Delivery.objects.filter(held=True).order_by("pk")
    carrier, part = held
    # As if the first try had been killed: it is claimed, has its part, and was not sent.
    Delivery.objects.filter(pk=part.pk).update(status=DeliveryStatus.DIGESTED, digest=carrier)
    Delivery.objects.filter(pk=carrier.pk).update(attempts=1)

    send_delivery(carrier.pk)

    assert mail.outbox[1].subject.endswith("2 messages of Daily production run")


def test_what_was_stopped_meanwhile_is_in_no_digest() -> None:
    jobs = many_jobs(MOST + 3)
    for job in jobs:
        sent_of(failed_with_results(job))
    stopped = jobs[-1]
    mute(Subscription(account=stopped.account, address=ADDRESS, job=stopped), everything=False)

    let_the_span_pass()
    send_waiting(stopped.account)

    assert mail.outbox[-1].subject.endswith("2 messages of 2 jobs")
    assert Delivery.objects.get(job=stopped).status == DeliveryStatus.MUTED


def test_many_failures_of_many_jobs_become_a_digest() -> None:
    jobs = many_jobs(MOST + 7)

    for job in jobs:
        sent_of(failed_with_results(job))
    assert len(mail.outbox) == MOST
    let_the_span_pass()
    send_waiting(jobs[0].account)

    assert len(mail.outbox) == MOST + 1
    assert mail.outbox[-1].subject.endswith("7 messages of 7 jobs")


def test_the_link_of_a_digest_of_many_jobs_is_for_all_of_them() -> None:
    jobs = many_jobs(MOST + 2)
    for job in jobs:
        sent_of(failed_with_results(job))
    let_the_span_pass()
    send_waiting(jobs[0].account)

    link = mail.outbox[-1].extra_headers["List-Unsubscribe"].strip("<>")
    subscription = subscription_of(link.rstrip("/").rpartition("/")[2])

    assert subscription is not None
    assert (subscription.address, subscription.job) == (ADDRESS, None)


def test_the_many_mails_of_one_address_hold_up_no_other() -> None:
    jobs = many_jobs(MOST + 1)
    for job in jobs[:-1]:
        sent_of(failed_with_results(job))
    asked(jobs[-1], Event.FAILURE, address="other@example.org")

    sent_of(failed_with_results(jobs[-1]))

    assert [letter.to for letter in mail.outbox][MOST:] == [["other@example.org"]]


def test_after_ten_minutes_the_same_error_is_told_again(job: Job) -> None:
    asked(job, Event.FAILURE)
    sent_of(failed_with_results(job))
    let_the_span_pass()

    sent_of(failed_with_results(job))

    assert len(mail.outbox) == 2


def test_a_message_that_waits_is_due_ten_minutes_after_the_last_mail(job: Job) -> None:
    asked(job, Event.FAILURE)
    (first,) = sent_of(failed_with_results(job))
    first.refresh_from_db()

    (second,) = sent_of(failed_with_results(job))

    assert first.sent_at is not None
    assert second.due_at == first.sent_at + SPAN
    assert second.due_at > now()


def test_what_is_like_nothing_waits_for_nothing(job: Job) -> None:
    for number in range(2):
        delivery = Delivery(
            account=job.account, event=Event.WEBHOOK_OFF, address=ADDRESS, key=f"{number}"
        )
        hold(delivery)
        delivery.save()

    assert not Delivery.objects.filter(held=True).exists()
