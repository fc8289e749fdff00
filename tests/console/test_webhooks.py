"""Webhooks in the settings: who is posted to, what was answered, and posting it again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from accounts.roles import PermissionSet
from jobsvc.notifications.models import DeliveryStatus, Dispatch, WebhookSubscription
from jobsvc.notifications.webhooks import switch_off
from jobsvc.statuses import State
from tests.factories import DispatchFactory, JobFactory, RunFactory, WebhookFactory
from tests.fakes.receiver import Receiver

VisitorOf = Callable[..., Client]


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """What is to be posted is rung for, and needs no broker."""


@pytest.fixture
def webhook(account: Account, receiver: Receiver) -> WebhookSubscription:
    return WebhookFactory(account=account, client_url=receiver.url())


def url(about: Account | WebhookSubscription, name: str, *more: int) -> str:
    if isinstance(about, Account):
        return reverse(f"console:{name}", args=[about.pk])
    return reverse(f"console:{name}", args=[about.account_id, about.pk, *more])


def sent(webhook: WebhookSubscription, **fields: Any) -> Dispatch:
    given = {
        "subscription": webhook,
        "status": DeliveryStatus.SENT,
        "due_at": None,
        "sent_at": now(),
        "answer_status": 200,
        "attempts": 1,
    }
    return DispatchFactory(**given | fields)


def typed(receiver: Receiver, **fields: Any) -> dict[str, Any]:
    return {
        "name": "Pager",
        "client_url": receiver.url(),
        "schema_version": "1",
        "event_types": ["job.run.completed"],
        "active": "on",
    } | fields


def secret_in(page: str) -> str | None:
    found = re.search(r'id="hmac-secret" value="([^"]+)"', page)
    return found[1] if found else None


# --- The list ------------------------------------------------------------------------------


def test_webhooks_are_listed_with_how_they_are_doing(
    visitor_of: VisitorOf, account: Account
) -> None:
    WebhookFactory(account=account, name="Well", http_status_code="204", dispatched_at=now())
    WebhookFactory(account=account, name="Ill", failures=2, failing_since=now(), job_ids=[1])
    WebhookFactory(account=account, name="Off", active=False)
    WebhookFactory(account=account, name="Deleted one", state=State.DELETED)

    page = visitor_of(account, "job_viewer").get(url(account, "webhooks")).content.decode()

    for words in ("Well", "204", "Ill", "Failing", "1 job<", "Switched off", "every job"):
        assert words in page
    assert "Deleted one" not in page


def test_an_account_without_webhooks_says_what_they_are(
    visitor_of: VisitorOf, account: Account
) -> None:
    admin = visitor_of(account).get(url(account, "webhooks")).content.decode()
    viewer = visitor_of(account, "job_viewer").get(url(account, "webhooks")).content.decode()

    assert "There are no webhooks yet" in admin
    assert url(account, "webhook_new") in admin
    assert url(account, "webhook_new") not in viewer


# --- Making and changing one ---------------------------------------------------------------


def test_a_new_webhooks_secret_is_shown_once(
    visitor_of: VisitorOf, account: Account, receiver: Receiver
) -> None:
    visitor = visitor_of(account)

    first = visitor.post(url(account, "webhook_new"), typed(receiver), follow=True)

    made = WebhookSubscription.objects.get()
    second = visitor.get(url(made, "webhook")).content.decode()
    assert secret_in(first.content.decode()) == made.hmac_secret
    assert made.hmac_secret not in second
    assert (made.event_types, made.job_ids, made.active) == (["job.run.completed"], [], True)


def test_a_webhook_of_some_jobs_and_of_the_second_schema(
    visitor_of: VisitorOf, account: Account, receiver: Receiver
) -> None:
    job = JobFactory(environment__project__account=account)

    visitor_of(account).post(
        url(account, "webhook_new"),
        typed(receiver, schema_version="2", event_types=["job.missed"], job_ids=[job.pk]),
    )

    made = WebhookSubscription.objects.get()
    assert (made.schema_version, made.event_types, made.job_ids) == (2, ["job.missed"], [job.pk])


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"client_url": "http://10.0.0.1/hook"}, "client_url", "JOBSVC_OUTBOUND_NETWORKS"),
        ({"client_url": "ftp://example.com"}, "client_url", "http"),
        ({"client_url": ""}, "client_url", "This field is required."),
        ({"name": ""}, "name", "This field is required."),
        ({"event_types": []}, "event_types", "This field is required."),
        ({"event_types": ["job.missed"]}, "event_types", "Schema 1 does not know when a job does"),
        ({"job_ids": ["999999"]}, "job_ids", "Select a valid choice."),
        ({"schema_version": "9"}, "schema_version", "Select a valid choice."),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(
    visitor_of: VisitorOf,
    account: Account,
    receiver: Receiver,
    wrong: dict[str, Any],
    field: str,
    said: str,
) -> None:
    response = visitor_of(account).post(url(account, "webhook_new"), typed(receiver, **wrong))

    assert response.status_code == 200
    assert said in " ".join(response.context["form"].errors[field])
    assert response.content.decode().count("Nothing was saved.") == 1
    assert not WebhookSubscription.objects.exists()


def test_a_change_keeps_the_secret_and_a_job_that_is_gone(
    visitor_of: VisitorOf, webhook: WebhookSubscription, receiver: Receiver
) -> None:
    gone = JobFactory(environment__project__account=webhook.account, state=State.DELETED)
    WebhookSubscription.objects.update(job_ids=[gone.pk])
    visitor = visitor_of(webhook.account)

    form = visitor.get(url(webhook, "webhook_edit")).content.decode()
    page = visitor.post(
        url(webhook, "webhook_edit"),
        typed(receiver, name="New name", job_ids=[gone.pk]),
        follow=True,
    ).content.decode()

    assert f'value="{gone.pk}"' in form
    assert "New name" in page
    assert secret_in(page) is None
    secret = webhook.hmac_secret
    webhook.refresh_from_db()
    assert (webhook.name, webhook.job_ids, webhook.hmac_secret) == ("New name", [gone.pk], secret)


def test_one_that_was_switched_off_says_why_and_is_activated_again(
    visitor_of: VisitorOf, webhook: WebhookSubscription
) -> None:
    WebhookSubscription.objects.update(failures=5, failing_since=now())
    switch_off(webhook, reason="Five events in a row could not be posted.")
    visitor = visitor_of(webhook.account)

    before = visitor.get(url(webhook, "webhook")).content.decode()
    after = visitor.post(url(webhook, "webhook_switch"), {"on": "1"}, follow=True)

    assert "Five events in a row could not be posted." in before
    assert "Activate again" in before
    assert "is posted to again" in after.content.decode()
    webhook.refresh_from_db()
    assert (webhook.active, webhook.failures, webhook.deactivate_reason) == (True, 0, None)


def test_one_whose_address_is_refused_now_is_not_activated(
    visitor_of: VisitorOf, webhook: WebhookSubscription, settings: Any
) -> None:
    switch_off(webhook, reason=None)
    settings.OUTBOUND_NETWORKS = []

    page = visitor_of(webhook.account).post(
        url(webhook, "webhook_switch"), {"on": "1"}, follow=True
    )

    assert "JOBSVC_OUTBOUND_NETWORKS" in page.content.decode()
    webhook.refresh_from_db()
    assert not webhook.active


def test_one_is_switched_off(visitor_of: VisitorOf, webhook: WebhookSubscription) -> None:
    visitor_of(webhook.account).post(url(webhook, "webhook_switch"))

    webhook.refresh_from_db()
    assert not webhook.active


def test_one_is_deleted_with_what_waits(
    visitor_of: VisitorOf, webhook: WebhookSubscription
) -> None:
    waits = DispatchFactory(subscription=webhook)
    visitor = visitor_of(webhook.account)

    question = visitor.get(url(webhook, "webhook_delete")).content.decode()
    visitor.post(url(webhook, "webhook_delete"))

    assert "1 event that waits to be posted is given up" in question
    webhook.refresh_from_db()
    waits.refresh_from_db()
    assert webhook.state == State.DELETED
    assert waits.status == DeliveryStatus.FAILED
    assert visitor.get(url(webhook, "webhook")).status_code == 404


# --- What is posted ------------------------------------------------------------------------


def test_a_test_is_posted_now_and_its_answer_is_shown(
    visitor_of: VisitorOf, webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.says = b"thanks <b>"

    page = visitor_of(webhook.account).post(url(webhook, "webhook_test"), follow=True)

    words = page.content.decode()
    assert len(receiver.posts) == 1
    assert "It answered 200." in words
    assert "thanks &lt;b&gt;" in words
    assert "webhook.test" in words


def test_a_test_that_fails_says_what_was_answered(
    visitor_of: VisitorOf, webhook: WebhookSubscription, receiver: Receiver
) -> None:
    receiver.status = 503

    page = visitor_of(webhook.account).post(url(webhook, "webhook_test"), follow=True)

    assert "It answered 503." in page.content.decode()
    assert 'class="note error"' in page.content.decode()


def test_what_was_posted_is_listed_and_shown_with_its_body(
    visitor_of: VisitorOf, webhook: WebhookSubscription
) -> None:
    run = RunFactory(failed=True, job__environment__project__account=webhook.account)
    dispatch = sent(
        webhook,
        run=run,
        status=DeliveryStatus.FAILED,
        answer_status=500,
        answer_body="<oops>",
        error="The receiver answered 500.",
        attempts=6,
        body='{"runStatus": "Errored"}',
    )
    visitor = visitor_of(webhook.account, "job_viewer")

    listed = visitor.get(url(webhook, "webhook")).content.decode()
    shown = visitor.get(url(webhook, "webhook_dispatch", dispatch.pk)).content.decode()

    for words in ("Given up", "500", "The receiver answered 500.", "Tried 6 times.", f"#{run.pk}"):
        assert words in listed
    assert "{\n  &quot;runStatus&quot;: &quot;Errored&quot;\n}" in shown
    assert "&lt;oops&gt;" in shown


def test_an_event_is_posted_again_under_its_id(
    visitor_of: VisitorOf, webhook: WebhookSubscription
) -> None:
    dispatch = sent(webhook)

    page = visitor_of(webhook.account).post(
        url(webhook, "webhook_replay", dispatch.pk), follow=True
    )

    again = Dispatch.objects.get(replay_of=dispatch)
    assert again.event_id == dispatch.event_id
    assert page.request["PATH_INFO"] == url(webhook, "webhook_dispatch", again.pk)
    assert f"event {dispatch.pk}</a>" in page.content.decode()


def test_an_event_that_still_waits_is_not_posted_twice(
    visitor_of: VisitorOf, webhook: WebhookSubscription
) -> None:
    waits = DispatchFactory(subscription=webhook)
    visitor = visitor_of(webhook.account)
    address = url(webhook, "webhook_replay", waits.pk)

    assert address not in visitor.get(url(webhook, "webhook")).content.decode()
    page = visitor.post(address, follow=True).content.decode()

    assert "This event is still to be sent" in page
    assert Dispatch.objects.count() == 1


def test_older_events_are_a_link_away(
    visitor_of: VisitorOf,
    webhook: WebhookSubscription,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    run = RunFactory(succeeded=True, job__environment__project__account=webhook.account)
    made = [sent(webhook, run=run) for _number in range(52)]
    visitor = visitor_of(webhook.account)
    visitor.get(url(webhook, "webhook"))

    with django_assert_max_num_queries(15):
        page = visitor.get(url(webhook, "webhook")).content.decode()
    older = visitor.get(f"{url(webhook, 'webhook')}?before={made[2].pk}").content.decode()

    assert f"?before={made[2].pk}" in page
    assert url(webhook, "webhook_dispatch", made[0].pk) not in page
    assert url(webhook, "webhook_dispatch", made[0].pk) in older


# --- Who may -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["webhook_edit", "webhook_switch", "webhook_test", "webhook_delete", "webhook_replay"],
)
def test_who_does_not_manage_the_account_reads_and_changes_nothing(
    visitor_of: VisitorOf, webhook: WebhookSubscription, receiver: Receiver, name: str
) -> None:
    dispatch = sent(webhook)
    visitor = visitor_of(webhook.account, PermissionSet.MEMBER)
    more = (dispatch.pk,) if name == "webhook_replay" else ()

    page = visitor.get(url(webhook, "webhook")).content.decode()
    one = visitor.get(url(webhook, "webhook_dispatch", dispatch.pk)).content.decode()
    response = visitor.post(url(webhook, name, *more), typed(receiver, name="Other"))

    assert url(webhook, name, *more) not in page + one
    assert response.status_code == 403
    webhook.refresh_from_db()
    assert (webhook.name, webhook.active, webhook.state) == ("Pager", True, State.ACTIVE)
    assert receiver.posts == []
    assert Dispatch.objects.count() == 1


def test_another_accounts_webhook_does_not_exist(
    visitor_of: VisitorOf, account: Account, webhook: WebhookSubscription
) -> None:
    theirs = WebhookFactory()
    event = DispatchFactory(subscription=theirs)
    visitor = visitor_of(account)

    one = reverse("console:webhook", args=[account.pk, theirs.pk])
    of_other = reverse("console:webhook_dispatch", args=[account.pk, webhook.pk, event.pk])
    assert visitor.get(one).status_code == 404
    assert visitor.get(of_other).status_code == 404
