"""Webhooks: what is written down for whom, and how it is posted, again and again or no more."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from jobsvc.jobs.models import Job
from jobsvc.notifications import dispatch, webhooks
from jobsvc.notifications.messages import message_of
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Dispatch,
    Event,
    WebhookSubscription,
)
from jobsvc.runs.models import RunTransition
from jobsvc.statuses import RunStatus, State
from tests.factories import (
    DispatchFactory,
    JobFactory,
    MembershipFactory,
    RunFactory,
    WebhookFactory,
)
from tests.fakes.receiver import Receiver

pytestmark = pytest.mark.django_db
SECRET = "a-secret-of-a-test"


@pytest.fixture
def webhook(receiver: Receiver) -> WebhookSubscription:
    return WebhookFactory(client_url=receiver.url())


def end_of(job: Job, status: RunStatus = RunStatus.SUCCESS) -> RunTransition:
    """The move that ended a run of ``job`` just now."""
    traits = {RunStatus.SUCCESS: "succeeded", RunStatus.ERROR: "failed"}
    run = RunFactory(job=job, **{traits[status]: True})
    return RunTransition.objects.create(run=run, to_status=status)


def post(webhook: WebhookSubscription, moment: datetime | None = None) -> bool:
    return dispatch.post_next(webhook, moment or now())


def let_time_pass(webhook: WebhookSubscription, event: Dispatch) -> None:
    """As if the event's wait and the webhook's rest were over."""
    WebhookSubscription.objects.filter(pk=webhook.pk).update(rests_until=None)
    Dispatch.objects.filter(pk=event.pk, due_at__isnull=False).update(due_at=now())


def fail(webhook: WebhookSubscription, event: Dispatch, times: int = 1) -> Dispatch:
    """Post ``event`` so often, each time when it is due again."""
    for _time in range(times):
        let_time_pass(webhook, event)
        assert post(webhook)
    event.refresh_from_db()
    webhook.refresh_from_db()
    return event


# --- What is written down ------------------------------------------------------------------


def test_a_runs_end_is_written_down_for_who_listens(webhook: WebhookSubscription) -> None:
    end = end_of(JobFactory(environment__project__account=webhook.account))

    [pk] = webhooks.write_down(end)

    event = Dispatch.objects.get(pk=pk)
    assert (event.subscription, event.run, event.event_type) == (
        webhook,
        end.run,
        "job.run.completed",
    )


def test_a_move_that_is_told_twice_is_written_down_once(webhook: WebhookSubscription) -> None:
    end = end_of(JobFactory(environment__project__account=webhook.account))

    assert webhooks.write_down(end) == webhooks.write_down(end)
    assert Dispatch.objects.count() == 1


def test_who_listens_for_both_gets_two_events_of_one_failure() -> None:
    job = JobFactory()
    WebhookFactory(account=job.account, event_types=["job.run.completed", "job.run.errored"])

    webhooks.write_down(end_of(job, RunStatus.ERROR))

    types = Dispatch.objects.order_by("pk").values_list("event_type", flat=True)
    assert list(types) == ["job.run.errored", "job.run.completed"]


def test_each_attempt_of_a_run_that_is_retried_by_itself_is_told() -> None:
    job = JobFactory()
    WebhookFactory(account=job.account)
    end = end_of(job, RunStatus.ERROR)
    end.run.will_retry_at = now()

    assert len(webhooks.write_down(end)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"active": False},
        {"state": State.DELETED},
        {"job_ids": [10**9]},
        {"event_types": ["job.run.errored"]},
        {"listens_since": now() + timedelta(days=1)},
    ],
    ids=["off", "deleted", "of another job", "of another event", "newer than the move"],
)
def test_nothing_is_written_down_for_a_webhook_that_is(fields: dict[str, Any]) -> None:
    job = JobFactory()
    WebhookFactory(account=job.account, **fields)

    assert webhooks.write_down(end_of(job)) == []


def test_another_accounts_runs_are_nobody_elses_business() -> None:
    WebhookFactory()

    assert webhooks.write_down(end_of(JobFactory())) == []


def test_a_deactivated_job_is_told_once_each_time() -> None:
    job = JobFactory(deactivated=True, deactivation_reason="The last 100 runs failed.")
    WebhookFactory(account=job.account, schema_version=2, event_types=["job.deactivated"])

    first = webhooks.write_down_of_job(job, Event.DEACTIVATED, "up to run 7")
    again = webhooks.write_down_of_job(job, Event.DEACTIVATED, "up to run 7")
    later = webhooks.write_down_of_job(job, Event.DEACTIVATED, "up to run 9")

    assert first == again
    assert later != first
    assert Dispatch.objects.count() == 2


def test_what_waits_has_a_time_when_it_is_due() -> None:
    with (
        pytest.raises(IntegrityError, match="dispatch_is_due_while_it_waits"),
        transaction.atomic(),
    ):
        DispatchFactory(due_at=None)


# --- How it is posted ----------------------------------------------------------------------


def test_a_receiver_can_verify_who_posts_as_dbts_documentation_tells_it_to(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    webhooks.write_down(end_of(JobFactory(environment__project__account=webhook.account)))

    assert post(webhook)

    [arrived] = receiver.posts
    signature = hmac.new(SECRET.encode(), arrived.body, hashlib.sha256).hexdigest()
    assert arrived.headers["Authorization"] == signature
    seconds, timed = arrived.headers["X-Jobsvc-Signature"].split(",")
    signed = seconds.removeprefix("t=").encode() + b"." + arrived.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert timed.removeprefix("v1=") == expected
    assert arrived.headers["Content-Type"] == "application/json"
    assert arrived.told["webhookId"] == webhook.pk


def test_what_arrived_is_kept_with_its_answer(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status, receiver.says = 202, b"thanks"
    event = DispatchFactory(subscription=webhook)

    assert post(webhook)

    event.refresh_from_db()
    webhook.refresh_from_db()
    assert (event.status, event.due_at, event.attempts) == (DeliveryStatus.SENT, None, 1)
    assert (event.answer_status, event.answer_body) == (202, "thanks")
    assert webhook.http_status_code == "202"
    assert webhook.dispatched_at is not None


def test_what_arrived_is_not_posted_again(webhook: WebhookSubscription, receiver: Receiver) -> None:
    event = DispatchFactory(subscription=webhook)

    assert dispatch.post_what_is_due(event.pk) == 1
    assert dispatch.post_what_is_due(event.pk) == 0
    assert len(receiver.posts) == 1


def test_events_of_one_webhook_arrive_in_their_order(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    events = [
        DispatchFactory(subscription=webhook, body=f'{{"eventId": "{number}"}}')
        for number in range(5)
    ]

    dispatch.post_what_is_due(events[3].pk)

    assert receiver.event_ids == ["0", "1", "2", "3", "4"]


def test_only_the_first_of_what_the_receiver_says_is_kept(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.says = b"x" * 5000 + b"\0"
    event = DispatchFactory(subscription=webhook)

    post(webhook)

    event.refresh_from_db()
    assert event.answer_body == "x" * dispatch.KEPT_OF_ANSWER


def test_a_receiver_that_says_the_secret_back_is_not_quoted(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.says = b"\0I know " + SECRET.encode()
    event = DispatchFactory(subscription=webhook)

    post(webhook)

    event.refresh_from_db()
    assert event.answer_body == "I know *****"


# --- When it does not arrive ---------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_tried_again_under_the_same_id(
    status: int, webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = status
    body = '{"eventId": "wev_7"}'
    event = fail(webhook, DispatchFactory(subscription=webhook, body=body))
    assert (event.status, event.error) == ("waiting", f"The receiver answered {status}.")

    receiver.status = 200
    fail(webhook, event)

    assert receiver.event_ids == ["wev_7", "wev_7"]
    assert event.status == DeliveryStatus.SENT


def test_there_are_five_retries_further_and_further_apart(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    event = DispatchFactory(subscription=webhook)
    waits = []
    for _retry in range(5):
        fail(webhook, event)
        assert event.due_at is not None
        waits.append((event.due_at - now()).total_seconds())

    fail(webhook, event)

    assert event.status == DeliveryStatus.FAILED
    assert len(receiver.posts) == 6
    for wait, shortest in zip(waits, [30, 180, 1080, 6480, 38880], strict=True):
        assert shortest - 20 < wait <= shortest * 1.5
    assert sum(waits) < timedelta(hours=24).total_seconds()


def test_nothing_is_posted_before_its_wait_is_over(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    event = fail(webhook, DispatchFactory(subscription=webhook))
    assert event.due_at is not None

    assert not post(webhook, event.due_at - timedelta(seconds=1))
    assert post(webhook, event.due_at + timedelta(minutes=1))


def test_after_a_failed_try_the_webhook_rests_and_the_next_events_wait(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    for _event in range(10):
        last = DispatchFactory(subscription=webhook)

    assert dispatch.post_what_is_due(last.pk) == 1
    webhook.refresh_from_db()
    assert webhook.rests_until is not None
    assert not post(webhook)

    receiver.status = 200
    for number in range(9):
        assert post(webhook, webhook.rests_until + timedelta(seconds=number))


def test_a_webhook_that_rests_lets_others_go_on(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    other = WebhookFactory(client_url=receiver.url("/other"))
    receiver.status = 500
    fail(webhook, DispatchFactory(subscription=webhook))
    DispatchFactory(subscription=other)
    receiver.status = 200

    assert post(other)
    assert receiver.posts[-1].path == "/other"


def test_a_rest_is_never_longer_than_ten_minutes(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    WebhookSubscription.objects.filter(pk=webhook.pk).update(failed_tries=500)

    fail(webhook, DispatchFactory(subscription=webhook))

    assert webhook.rests_until is not None
    assert webhook.rests_until <= now() + dispatch.LONGEST_REST


def test_one_event_at_a_time_is_posted_to_a_webhook(webhook: WebhookSubscription) -> None:
    DispatchFactory(subscription=webhook)
    WebhookSubscription.objects.update(lease_until=now() + timedelta(seconds=5))

    assert not post(webhook)
    assert post(webhook, now() + timedelta(seconds=6))


def test_a_receiver_that_nobody_is_at_is_a_failed_try(receiver: Receiver) -> None:
    webhook = WebhookFactory(client_url="http://127.0.0.1:1/hook")

    event = fail(webhook, DispatchFactory(subscription=webhook))

    assert event.error == "Nothing answers at 127.0.0.1, port 1."
    assert event.answer_status is None
    assert webhook.http_status_code == "0"


def test_a_private_address_is_refused_when_it_is_posted_to_as_well(
    webhook: WebhookSubscription, receiver: Receiver, settings: Any
) -> None:
    settings.OUTBOUND_NETWORKS = []

    event = fail(webhook, DispatchFactory(subscription=webhook))

    assert receiver.posts == []
    assert "JOBSVC_OUTBOUND_NETWORKS" in event.error


def test_an_event_older_than_a_day_is_given_up_after_one_more_try(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    old = now() - timedelta(hours=25)
    tried = DispatchFactory(subscription=webhook, created_at=old)
    never_tried = DispatchFactory(subscription=webhook, created_at=old)
    fresh = DispatchFactory(subscription=webhook)

    fail(webhook, tried)

    never_tried.refresh_from_db()
    fresh.refresh_from_db()
    assert (tried.status, never_tried.status, fresh.status) == ("failed", "failed", "waiting")
    assert webhook.failures == 2


# --- When it never arrives -----------------------------------------------------------------


def test_a_receiver_that_is_gone_is_posted_to_no_more(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 410
    event, waits = DispatchFactory.create_batch(2, subscription=webhook)

    fail(webhook, event)

    waits.refresh_from_db()
    assert not webhook.active
    assert "410" in str(webhook.deactivate_reason)
    assert (event.status, event.error) == ("failed", "The receiver answered 410.")
    assert (waits.status, waits.attempts) == ("failed", 0)


def test_who_manages_the_account_is_told_by_mail_that_a_webhook_is_off(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    admin = MembershipFactory(account=webhook.account, permission_set="account_admin").user
    MembershipFactory(account=webhook.account, permission_set="developer")
    receiver.status = 410

    fail(webhook, DispatchFactory(subscription=webhook))

    mail = Delivery.objects.get()
    assert (mail.event, mail.address) == (Event.WEBHOOK_OFF, admin.email)
    assert mail.subject == "The webhook Pager was switched off"
    assert "410" in message_of(mail).sentence


def last_try(webhook: WebhookSubscription) -> Dispatch:
    return DispatchFactory(subscription=webhook, attempts=dispatch.TRIES - 1)


def test_after_a_thousand_failures_in_a_row_it_is_switched_off(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    WebhookSubscription.objects.filter(pk=webhook.pk).update(failures=998)
    fail(webhook, last_try(webhook))
    assert webhook.active

    fail(webhook, last_try(webhook))

    assert not webhook.active
    assert str(webhook.deactivate_reason).startswith("1000 events in a row")


def test_after_seven_days_of_nothing_but_failures_it_is_switched_off(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    begin = now() - timedelta(days=7)
    WebhookSubscription.objects.filter(pk=webhook.pk).update(failing_since=begin)
    fail(webhook, DispatchFactory(subscription=webhook))
    assert webhook.active, "one failed try is not yet a failure"

    fail(webhook, last_try(webhook))

    assert not webhook.active
    assert "for 7 days" in str(webhook.deactivate_reason)


def test_one_success_ends_the_row_of_failures(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 500
    fail(webhook, last_try(webhook))
    assert (webhook.failures, webhook.failing_since is None) == (1, False)
    receiver.status = 200

    fail(webhook, DispatchFactory(subscription=webhook))

    assert (webhook.failures, webhook.failing_since, webhook.rests_until) == (0, None, None)


def test_a_webhook_that_is_activated_again_begins_anew(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 410
    fail(webhook, DispatchFactory(subscription=webhook))

    webhooks.define_webhook(webhook, {"active": True})

    assert webhook.active
    assert (webhook.failures, webhook.failed_tries, webhook.deactivate_reason) == (0, 0, None)
    receiver.status = 200
    DispatchFactory(subscription=webhook)
    assert post(webhook)


def test_what_waits_is_given_up_where_a_webhook_is_switched_off(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    event = DispatchFactory(subscription=webhook)

    webhooks.define_webhook(webhook, {"active": False})

    event.refresh_from_db()
    assert (event.status, event.error) == (
        "failed",
        "It was not sent: the webhook was switched off.",
    )
    assert not post(webhook)


# --- Once more -----------------------------------------------------------------------------


def test_an_event_is_replayed_under_the_id_it_had(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    webhooks.write_down(end_of(JobFactory(environment__project__account=webhook.account)))
    post(webhook)

    again = webhooks.replay(Dispatch.objects.get())
    post(webhook)

    assert again.replay_of is not None
    first, second = receiver.event_ids
    assert first == second
    assert receiver.posts[0].body == receiver.posts[1].body


def test_what_is_still_to_be_sent_is_not_replayed(webhook: WebhookSubscription) -> None:
    with pytest.raises(webhooks.ReplayRefused, match="still to be sent"):
        webhooks.replay(DispatchFactory(subscription=webhook))


def test_a_replay_needs_a_webhook_that_is_on() -> None:
    off = WebhookFactory(active=False)
    event = DispatchFactory(subscription=off, status=DeliveryStatus.SENT, due_at=None)

    with pytest.raises(webhooks.ReplayRefused, match="Activate it"):
        webhooks.replay(event)


def test_a_sender_that_was_overtaken_writes_nothing(
    webhook: WebhookSubscription, receiver: Receiver
) -> None:
    event = DispatchFactory(subscription=webhook)
    stale = Dispatch.objects.get(pk=event.pk)
    assert post(webhook)
    dispatch._note(webhook, stale, dispatch.Said(status=500, error="late"), now())

    event.refresh_from_db()
    webhook.refresh_from_db()
    assert (event.status, event.attempts, webhook.failed_tries) == ("sent", 1, 0)


# --- What is lost, and what is old ---------------------------------------------------------


def test_the_sweep_rings_for_what_is_due(
    webhook: WebhookSubscription, published: list[tuple[Any, ...]]
) -> None:
    due = DispatchFactory(subscription=webhook)
    DispatchFactory(subscription=webhook)
    DispatchFactory(due_at=now() + timedelta(minutes=1))
    DispatchFactory(subscription=WebhookFactory(rests_until=now() + timedelta(minutes=1)))

    dispatch.sweep(now())

    assert published == [("post_webhooks", due.pk)]


def test_what_is_written_down_is_rung_for_after_the_commit(
    published: list[tuple[Any, ...]], django_capture_on_commit_callbacks: Any
) -> None:
    job = JobFactory()
    WebhookFactory(account=job.account)
    end = end_of(job)

    with django_capture_on_commit_callbacks(execute=True):
        [pk] = webhooks.write_down(end)
        assert published == []

    assert published == [("post_webhooks", pk)]


def test_the_log_is_kept_for_the_days_that_the_setting_gives(settings: Any) -> None:
    settings.KEEP_DELIVERIES_DAYS = 30
    over = {"status": DeliveryStatus.SENT, "due_at": None}
    DispatchFactory(created_at=now() - timedelta(days=31), **over)
    kept = DispatchFactory(created_at=now() - timedelta(days=29), **over)

    dispatch.prune(now())

    assert list(Dispatch.objects.all()) == [kept]


# --- What may be subscribed to -------------------------------------------------------------


def test_an_account_has_a_bounded_number_of_webhooks(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr(webhooks, "MOST", 1)
    account = WebhookFactory().account
    values = {"name": "Second", "client_url": receiver.url(), "event_types": ["job.run.errored"]}

    with pytest.raises(ValidationError, match="at most 1 webhooks"):
        webhooks.define_webhook(WebhookSubscription(account=account), values)
