"""Webhook subscriptions as dbt Cloud's clients know them; their log, replay and test."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given

from accounts.models import Account
from accounts.roles import PermissionSet
from jobsvc.api.v3.webhooks import WebhookBody
from jobsvc.notifications.models import DeliveryStatus, Dispatch, WebhookSubscription
from tests.api.test_bad_input import QUICK, assert_enveloped, bodies
from tests.conftest import JSONClient
from tests.factories import DispatchFactory, JobFactory, WebhookFactory
from tests.fakes.receiver import Receiver

SLASH = ["", "/"]


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """Bells ring into nothing."""


@pytest.fixture
def place(account: Account) -> str:
    return f"/api/v3/accounts/{account.pk}/webhooks"


def body_of(receiver: Receiver, **fields: Any) -> dict[str, Any]:
    """What Terraform posts: ``id`` empty, job ids as numbers."""
    return {
        "id": "",
        "name": "Pager",
        "description": "Tells the pager.",
        "client_url": receiver.url(),
        "event_types": ["job.run.completed", "job.run.errored"],
        "job_ids": [],
        "active": True,
    } | fields


def said(response: Any) -> str:
    return str(response.json()["status"]["user_message"])


@pytest.mark.parametrize("slash", SLASH)
def test_a_webhook_is_made_as_terraform_makes_it(
    slash: str, api: JSONClient, account: Account, place: str, receiver: Receiver
) -> None:
    job = JobFactory(environment__project__account=account)

    response = api.post(f"{place}/subscriptions{slash}", body_of(receiver, job_ids=[job.pk]))

    made = response.json()["data"]
    assert response.status_code == 201
    assert made.pop("id").startswith("wsu_")
    assert len(made.pop("hmac_secret")) == 64
    assert made == {
        "account_id": account.pk,
        "account_identifier": f"act_{account.pk}",
        "name": "Pager",
        "description": "Tells the pager.",
        "client_url": receiver.url(),
        "event_types": ["job.run.completed", "job.run.errored"],
        "job_ids": [str(job.pk)],
        "active": True,
        "http_status_code": "0",
        "dispatched_at": None,
        "deactivate_reason": None,
    }


@pytest.mark.parametrize("slash", SLASH)
def test_the_secret_is_shown_once(
    slash: str, api: JSONClient, place: str, receiver: Receiver
) -> None:
    made = api.post(f"{place}/subscriptions{slash}", body_of(receiver)).json()["data"]

    one = api.get(f"{place}/subscription/{made['id']}{slash}").json()["data"]
    listed = api.get(f"{place}/subscriptions{slash}").json()["data"]
    put = api.put(f"{place}/subscription/{made['id']}{slash}", body_of(receiver)).json()["data"]

    secret = made.pop("hmac_secret")
    assert one == made == put
    assert listed == [made]
    assert secret not in str([one, listed, put])


@pytest.mark.parametrize("slash", SLASH)
def test_put_replaces_the_whole(
    slash: str, api: JSONClient, account: Account, place: str, receiver: Receiver
) -> None:
    row = WebhookFactory(account=account, description="old", job_ids=[])
    job = JobFactory(environment__project__account=account)
    new = {
        "id": row.pk,
        "account_id": account.pk,
        "name": "New",
        "client_url": receiver.url("/new"),
        "event_types": ["job.run.started"],
        "job_ids": [str(job.pk)],
        "active": True,
        "http_status_code": "200",
    }

    response = api.put(f"{place}/subscription/{row.pk}{slash}", new)

    shown = response.json()["data"]
    assert response.status_code == 200
    assert (shown["name"], shown["description"]) == ("New", "")
    assert shown["event_types"] == ["job.run.started"]
    assert shown["job_ids"] == [str(job.pk)]
    assert shown["http_status_code"] == "0", "what only the service knows cannot be written"


def test_terraform_leaves_out_active_where_it_is_false(
    api: JSONClient, account: Account, place: str, receiver: Receiver
) -> None:
    row = WebhookFactory(account=account)
    body = body_of(receiver, id=row.pk)
    del body["active"]

    assert api.put(f"{place}/subscription/{row.pk}", body).json()["data"]["active"] is False


def test_put_with_active_ends_a_pause_of_ours(
    api: JSONClient, account: Account, place: str, receiver: Receiver
) -> None:
    row = WebhookFactory(
        account=account, active=False, failures=1000, deactivate_reason="It is gone."
    )

    shown = api.put(f"{place}/subscription/{row.pk}", body_of(receiver)).json()["data"]

    row.refresh_from_db()
    assert (shown["active"], shown["deactivate_reason"], row.failures) == (True, None, 0)


@pytest.mark.parametrize("slash", SLASH)
def test_deleting_answers_with_the_id_and_then_it_is_gone(
    slash: str, api: JSONClient, account: Account, place: str
) -> None:
    row = WebhookFactory(account=account)
    event = DispatchFactory(subscription=row)
    address = f"{place}/subscription/{row.pk}{slash}"

    response = api.delete(address)

    event.refresh_from_db()
    assert (response.status_code, response.json()["data"]) == (200, {"id": row.pk})
    assert api.get(address).status_code == 404
    assert api.delete(address).status_code == 404
    assert event.status == DeliveryStatus.FAILED


def test_lists_are_paged(api: JSONClient, account: Account, place: str) -> None:
    WebhookFactory.create_batch(3, account=account)

    answer = api.get(f"{place}/subscriptions?limit=2&offset=2").json()

    assert len(answer["data"]) == 1
    assert answer["extra"]["pagination"] == {"count": 1, "total_count": 3}


# --- What cannot be ------------------------------------------------------------------------


def test_a_private_address_is_refused_at_its_field_with_the_reason(
    api: JSONClient, place: str, receiver: Receiver, settings: Any
) -> None:
    settings.OUTBOUND_NETWORKS = []

    response = api.post(
        f"{place}/subscriptions", body_of(receiver, client_url="https://169.254.169.254/latest")
    )

    assert response.status_code == 400
    assert said(response).startswith("client_url: 169.254.169.254 leads into a private network")
    assert "JOBSVC_OUTBOUND_NETWORKS" in said(response)
    assert not WebhookSubscription.objects.exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"event_types": []}, "event_types: A webhook needs an event."),
        ({"event_types": ["job.run.exploded"]}, "event_types: There is no event"),
        ({"event_types": ["job.run.warned"]}, "event_types: job.run.warned is an event of schema"),
        ({"client_url": "ftp://example.com/"}, "client_url: This is no web address."),
        ({"client_url": "https://a:b@example.com/"}, "client_url: The address holds a user name"),
        ({"name": ""}, "name cannot be empty."),
        ({"job_ids": ["one"]}, "job_ids"),
        ({"extensions": {"schema_version": 3}}, "extensions.schema_version"),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(
    fields: dict[str, Any], says: str, api: JSONClient, place: str, receiver: Receiver
) -> None:
    response = api.post(f"{place}/subscriptions", body_of(receiver, **fields))

    assert response.status_code == 400
    assert said(response).startswith(says)


def test_another_accounts_job_cannot_be_listened_to(
    api: JSONClient, place: str, receiver: Receiver
) -> None:
    theirs = JobFactory()

    response = api.post(f"{place}/subscriptions", body_of(receiver, job_ids=[theirs.pk]))

    assert response.status_code == 400
    assert said(response) == (
        f"job_ids: This account has no job {theirs.pk}. Take it out of the list."
    )


def test_an_id_in_the_body_that_is_not_the_addresss_is_refused(
    api: JSONClient, account: Account, place: str, receiver: Receiver
) -> None:
    row = WebhookFactory(account=account)

    response = api.put(f"{place}/subscription/{row.pk}", body_of(receiver, id="wsu_another"))

    assert response.status_code == 400
    assert said(response).startswith("id")


@pytest.mark.parametrize("strange", ["wsu_", "5", "a b", "%00", "x" * 200, "%ff", "wsu_ü"])
def test_a_strange_id_is_a_webhook_that_is_not_there(
    strange: str, api: JSONClient, place: str
) -> None:
    for rest in ("", "/", "/test", "/deliveries"):
        assert api.get(f"{place}/subscription/{strange}{rest}").status_code == 404


@QUICK
@given(body=bodies(WebhookBody().fields))
def test_whatever_is_posted_is_answered_in_the_envelope(
    body: dict[str, Any], api: JSONClient, account: Account, place: str
) -> None:
    row = WebhookFactory(account=account)

    assert_enveloped(api.post(f"{place}/subscriptions", body))
    assert_enveloped(api.put(f"{place}/subscription/{row.pk}", body))


# --- Extensions ----------------------------------------------------------------------------


def test_the_second_schema_is_an_extension_that_an_update_may_leave_out(
    api: JSONClient, place: str, receiver: Receiver
) -> None:
    ours = {"event_types": ["job.run.warned"], "extensions": {"schema_version": 2}}
    made = api.post(f"{place}/subscriptions", body_of(receiver, **ours)).json()["data"]
    address = f"{place}/subscription/{made['id']}"

    put = api.put(address, body_of(receiver, event_types=["job.run.cancelled"]))

    shown = api.get(f"{address}?include_related=extensions").json()["data"]
    assert put.status_code == 200
    assert "extensions" not in put.json()["data"]
    assert shown["extensions"] == {
        "schema_version": 2,
        "failures": 0,
        "failing_since": None,
        "rests_until": None,
    }


# --- Test, log, replay ---------------------------------------------------------------------


@pytest.mark.parametrize("slash", SLASH)
def test_a_test_posts_a_signed_event_now_and_says_what_was_answered(
    slash: str, api: JSONClient, place: str, receiver: Receiver
) -> None:
    receiver.status, receiver.says = 418, b"I am a teapot"
    made = api.post(f"{place}/subscriptions", body_of(receiver)).json()["data"]

    response = api.get(f"{place}/subscription/{made['id']}/test{slash}")

    [arrived] = receiver.posts
    secret = made["hmac_secret"].encode()
    signature = hmac.new(secret, arrived.body, hashlib.sha256).hexdigest()
    assert arrived.headers["Authorization"] == signature
    assert response.json()["data"] == {
        "event_id": arrived.told["eventId"],
        "verification_status_code": "418",
        "verification_error": "The receiver answered 418.",
        "response_body": "I am a teapot",
    }
    one = api.get(f"{place}/subscription/{made['id']}").json()["data"]
    assert one["http_status_code"] == "418"


def test_a_test_of_nobody_is_an_answer_not_an_error(
    api: JSONClient, account: Account, place: str, receiver: Receiver
) -> None:
    row = WebhookFactory(account=account, client_url="http://127.0.0.1:1/")

    data = api.get(f"{place}/subscription/{row.pk}/test").json()["data"]

    assert data["verification_status_code"] is None
    assert data["verification_error"] == "Nothing answers at 127.0.0.1, port 1."


def test_who_may_only_read_can_have_nothing_posted(
    client_of: Any, account: Account, place: str, receiver: Receiver
) -> None:
    row = WebhookFactory(account=account, client_url=receiver.url())
    viewer = client_of(account, PermissionSet.ACCOUNT_VIEWER)

    response = viewer.get(f"{place}/subscription/{row.pk}/test")

    assert response.status_code == 403
    assert receiver.posts == []


@pytest.mark.parametrize("slash", SLASH)
def test_the_log_shows_what_became_of_each_event(
    slash: str, api: JSONClient, account: Account, place: str
) -> None:
    row = WebhookFactory(account=account)
    DispatchFactory(subscription=row)
    failed = DispatchFactory(
        subscription=row,
        status=DeliveryStatus.FAILED,
        due_at=None,
        attempts=6,
        answer_status=500,
        answer_body="oops",
        error="The receiver answered 500.",
    )
    DispatchFactory()  # another account's

    log = api.get(f"{place}/subscription/{row.pk}/deliveries{slash}").json()
    only = api.get(f"{place}/subscription/{row.pk}/deliveries{slash}?status=failed").json()

    assert log["extra"]["pagination"]["total_count"] == 2
    newest = log["data"][0]
    assert newest["id"] == failed.pk
    assert (newest["status"], newest["attempts"], newest["answer_status"]) == ("failed", 6, 500)
    assert (newest["answer_body"], newest["error"]) == ("oops", "The receiver answered 500.")
    assert [one["id"] for one in only["data"]] == [failed.pk]


@pytest.mark.parametrize("slash", SLASH)
def test_one_delivery_shows_the_body_that_is_posted(
    slash: str, api: JSONClient, account: Account, place: str
) -> None:
    event = DispatchFactory(subscription__account=account, body='{"eventId": "wev_1"}')

    shown = api.get(f"{place}/delivery/{event.pk}{slash}").json()["data"]

    assert shown["request_body"] == '{"eventId": "wev_1"}'


@pytest.mark.parametrize("slash", SLASH)
def test_a_replay_is_a_new_delivery_of_the_same_event(
    slash: str, api: JSONClient, account: Account, place: str
) -> None:
    over = {"status": DeliveryStatus.SENT, "due_at": None}
    event = DispatchFactory(subscription__account=account, **over)

    response = api.post(f"{place}/delivery/{event.pk}/replay{slash}")

    shown = response.json()["data"]
    assert response.status_code == 201
    assert shown["id"] != event.pk
    assert (shown["event_id"], shown["replay_of_id"]) == (event.event_id, event.pk)
    assert shown["status"] == "waiting"


def test_a_replay_of_what_still_waits_is_a_conflict(
    api: JSONClient, account: Account, place: str
) -> None:
    event = DispatchFactory(subscription__account=account)

    response = api.post(f"{place}/delivery/{event.pk}/replay")

    assert response.status_code == 409
    assert said(response) == "This event is still to be sent. Wait for that."
    assert Dispatch.objects.count() == 1
