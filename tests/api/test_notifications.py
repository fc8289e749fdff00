"""Notifications over the API: dbt Cloud's wire, what is ours beyond it, and who may change what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now
from hypothesis import given

from accounts.models import Account, User
from jobsvc.api.v2.notifications import NotificationBody
from jobsvc.jobs.models import Job
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Event,
    Mute,
    Notification,
    NotificationType,
)
from jobsvc.statuses import State
from tests.api.test_bad_input import QUICK, assert_enveloped, bodies
from tests.conftest import JSONClient, client_with
from tests.factories import (
    JobFactory,
    MembershipFactory,
    NotificationFactory,
    RunFactory,
    token_of,
)

FIELDS = {
    "id",
    "account_id",
    "user_id",
    "type",
    "external_email",
    "slack_channel_id",
    "slack_channel_name",
    "on_cancel",
    "on_failure",
    "on_warning",
    "on_success",
    "state",
    "created_at",
    "updated_at",
    "user",
}


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """A test message is rung for, and needs no broker."""


@pytest.fixture
def job(account: Account) -> Job:
    return JobFactory(environment__project__account=account)


@pytest.fixture
def member(account: Account) -> User:
    user: User = MembershipFactory(account=account, permission_set="job_viewer").user
    return user


@pytest.fixture
def as_member(account: Account, member: User) -> JSONClient:
    return client_with(token_of(account, user=member))


def base(account: Account, rest: str = "") -> str:
    return f"/api/v2/accounts/{account.pk}/notifications/{rest}"


def external(**fields: Any) -> dict[str, Any]:
    return {
        "type": 4,
        "external_email": "team@example.org",
        "on_cancel": [],
        "on_failure": [],
        "on_warning": [],
        "on_success": [],
        "state": 1,
    } | fields


# --- dbt Cloud's wire --------------------------------------------------------------------


def test_a_notification_is_created_read_changed_and_deleted(
    account: Account, api: JSONClient, job: Job
) -> None:
    made = api.post(base(account), external(on_failure=[job.pk], on_success=[str(job.pk)]))
    data = made.json()["data"]
    assert (made.status_code, set(data)) == (201, FIELDS)
    assert data["id"] > 0
    assert (data["on_failure"], data["on_success"], data["on_warning"]) == ([job.pk], [job.pk], [])

    one = base(account, f"{data['id']}/")
    changed = api.post(one, {**data, "on_failure": [], "on_cancel": [job.pk]}).json()["data"]
    assert (changed["on_failure"], changed["on_cancel"]) == ([], [job.pk])
    assert api.get(one).json()["data"] == changed

    deleted = api.post(one, {**changed, "state": 2})
    assert (deleted.status_code, deleted.json()["data"]["state"]) == (200, 2)
    assert (api.get(one).status_code, api.get(one).json()["status"]["code"]) == (404, 404)


def test_delete_answers_with_the_object(account: Account, api: JSONClient) -> None:
    row = NotificationFactory(account=account)

    answer = api.delete(base(account, f"{row.pk}/"))

    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)


def test_lists_are_never_null(account: Account, api: JSONClient) -> None:
    lists = dict.fromkeys(("on_cancel", "on_failure", "on_warning", "on_success"))

    data = api.post(base(account), external(**lists)).json()["data"]

    assert [data[name] for name in lists] == [[], [], [], []]


def test_a_list_that_is_left_out_stays_as_it_is(
    account: Account, api: JSONClient, job: Job
) -> None:
    made = api.post(base(account), external(on_failure=[job.pk])).json()["data"]

    changed = api.post(base(account, f"{made['id']}/"), {"on_success": [job.pk]}).json()["data"]

    assert (changed["on_failure"], changed["on_success"]) == ([job.pk], [job.pk])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": 4}, "external_email"),
        ({"type": 4, "external_email": "no address"}, "external_email"),
        ({"type": 4, "external_email": "a@example.org\r\nBcc: b@example.org"}, "external_email"),
        ({"type": 2, "slack_channel_id": "C1"}, "slack_channel_name"),
        ({"type": 5, "slack_channel_name": "#data"}, "slack_channel_id"),
        ({"type": 101}, "extensions.webhook_url"),
        ({"type": 3}, "type"),
        ({"type": 1}, "user_id"),
        ({"type": 1, "user_id": 999_999}, "user_id"),
        ({}, "type"),
        ({"type": 4, "external_email": "a@example.org", "on_failure": [999_999]}, "on_failure"),
        ({"type": 4, "external_email": "a@example.org", "on_failure": 7}, "on_failure"),
        (
            external(extensions={"rules": [{"event": "test", "scope": "account"}]}),
            "extensions.rules.0.event",
        ),
        (external(extensions={"rules": [{"event": "failure"}]}), "extensions.rules.0.id"),
        (
            external(extensions={"rules": [{"event": "failure", "scope": "tag"}]}),
            "extensions.rules.0.tag",
        ),
        (
            external(
                extensions={"rules": [{"event": "failure", "scope": "project", "id": 999_999}]}
            ),
            "extensions",
        ),
        (external(extensions={"webhook_url": "http://10.0.0.1/x"}), "extensions.webhook_url"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(
    account: Account, api: JSONClient, body: dict[str, Any], field: str
) -> None:
    answer = api.post(base(account), body)

    assert answer.status_code == 400
    assert answer.json()["status"]["user_message"].startswith(field)
    assert not Notification.objects.exists()


@QUICK
@given(body=bodies(NotificationBody().fields))
def test_whatever_is_posted_is_answered_in_the_envelope(
    body: dict[str, Any], api: JSONClient, account: Account
) -> None:
    row = NotificationFactory(account=account)

    assert_enveloped(api.post(base(account), external() | body))
    assert_enveloped(api.post(base(account, f"{row.pk}/"), body))
    assert_enveloped(api.get(base(account, "?include_related=extensions,user&state=all")))


def test_another_accounts_job_cannot_be_named(account: Account, api: JSONClient) -> None:
    answer = api.post(base(account), external(on_failure=[JobFactory().pk]))

    assert answer.status_code == 400


def test_a_list_with_a_job_that_is_gone_can_be_sent_back(
    account: Account, api: JSONClient, job: Job
) -> None:
    made = api.post(base(account), external(on_failure=[job.pk])).json()["data"]
    Job.objects.filter(pk=job.pk).update(state=State.DELETED)

    answer = api.post(base(account, f"{made['id']}/"), made)

    assert (answer.status_code, answer.json()["data"]["on_failure"]) == (200, [job.pk])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("type=4", True),
        ("type=1", False),
        ("external_email=TEAM@example.org", True),
        ("external_email=x@example.org", False),
        ("state=2", False),
    ],
)
def test_the_list_can_be_narrowed(
    account: Account, api: JSONClient, query: str, found: bool
) -> None:
    NotificationFactory(account=account)

    answer = api.get(base(account, f"?{query}")).json()

    assert len(answer["data"]) == answer["extra"]["pagination"]["total_count"] == int(found)


def test_a_person_shows_no_other_account_of_theirs(
    account: Account, api: JSONClient, member: User
) -> None:
    MembershipFactory(user=member)
    row = NotificationFactory(account=account, type=1, user=member, external_email=None)

    data = api.get(base(account, f"{row.pk}/?include_related=user")).json()["data"]

    assert data["user"]["email"] == member.email
    assert set(data["user"]["licenses"]) == {str(account.pk)}


# --- Beyond it ---------------------------------------------------------------------------


def test_rules_beyond_dbts_are_an_extension(account: Account, api: JSONClient, job: Job) -> None:
    rules = [
        {"event": "recovered", "scope": "job", "id": job.pk},
        {"event": "still_failing", "scope": "account", "every": 5},
        {"event": "failure", "scope": "tag", "tag": "finance"},
    ]

    made = api.post(base(account), external(extensions={"rules": rules})).json()["data"]

    one = base(account, f"{made['id']}/")
    assert "extensions" not in made
    shown = api.get(f"{one}?include_related=extensions").json()["data"]["extensions"]["rules"]
    assert [(rule["event"], rule["scope"], rule["id"], rule["tag"]) for rule in shown] == [
        ("recovered", "job", job.pk, None),
        ("still_failing", "account", None, None),
        ("failure", "tag", None, "finance"),
    ]
    api.post(one, {"on_failure": [job.pk]})
    assert (
        api.get(f"{one}?include_related=extensions").json()["data"]["extensions"]["rules"] == shown
    )
    api.post(one, {"extensions": {"rules": []}})
    again = api.get(f"{one}?include_related=extensions").json()["data"]
    assert (again["extensions"]["rules"], again["on_failure"]) == ([], [job.pk])


def test_the_address_of_a_channel_is_never_shown(
    account: Account, api: JSONClient, settings: Any
) -> None:
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    url = "http://127.0.0.1:9/services/T0/B0/secret"
    body = {"type": 101, "slack_channel_name": "#data", "extensions": {"webhook_url": url}}

    made = api.post(base(account, "?include_related=extensions"), body)

    assert made.status_code == 201
    assert made.json()["data"]["extensions"]["has_webhook_url"] is True
    assert "secret" not in made.content.decode()


def test_a_test_message_is_written_down(account: Account, api: JSONClient) -> None:
    row = NotificationFactory(account=account)

    answer = api.post(base(account, f"{row.pk}/test/"))

    data = answer.json()["data"]
    assert (answer.status_code, data["event"], data["address"]) == (200, "test", "team@example.org")
    log = api.get(base(account, f"{row.pk}/deliveries/")).json()["data"]
    assert [one["id"] for one in log] == [data["id"]]


def test_a_second_test_within_a_minute_is_refused(account: Account, api: JSONClient) -> None:
    row = NotificationFactory(account=account)
    minute = f"{now():%Y-%m-%dT%H:%M}"
    for moment in (minute, f"{now() + timedelta(minutes=1):%Y-%m-%dT%H:%M}"):
        Delivery.objects.create(
            account=account,
            event=Event.TEST,
            address="team@example.org",
            key=f"test:{row.pk}:{moment}:email:team@example.org",
        )

    assert api.post(base(account, f"{row.pk}/test/")).status_code == 409


def test_the_log_says_why_something_was_given_up(account: Account, api: JSONClient) -> None:
    Delivery.objects.create(
        account=account,
        event=Event.FAILURE,
        address="gone@example.org",
        key="x",
        status=DeliveryStatus.FAILED,
        error="The mail server answered 550: no such user",
        due_at=None,
    )

    (shown,) = api.get(base(account, "deliveries/?status=failed")).json()["data"]

    assert shown["error"] == "The mail server answered 550: no such user"


@pytest.mark.parametrize(("sent", "shown"), [(True, True), (False, False)])
def test_a_run_says_whether_anybody_was_told(
    account: Account, api: JSONClient, job: Job, sent: bool, shown: bool
) -> None:
    run = RunFactory(job=job, failed=True)
    Delivery.objects.create(
        account=account,
        run=run,
        event=Event.FAILURE,
        address="a@example.org",
        key="x",
        sent_at=now() if sent else None,
    )

    data = api.get(f"/api/v2/accounts/{account.pk}/runs/{run.pk}/").json()["data"]

    assert data["notifications_sent"] is shown


# --- Who may -----------------------------------------------------------------------------


def test_a_member_sets_what_they_are_told_themselves(
    account: Account, as_member: JSONClient, member: User, job: Job
) -> None:
    made = as_member.post(base(account), {"type": 1, "on_failure": [job.pk]})

    data = made.json()["data"]
    assert (made.status_code, data["user_id"]) == (201, member.pk)
    one = base(account, f"{data['id']}/")
    assert as_member.post(one, {"on_success": [job.pk]}).status_code == 200
    assert as_member.post(f"{one}test/").status_code == 200
    assert as_member.delete(one).status_code == 200


@pytest.mark.parametrize("body", [external(), {"type": 1, "user_id": "another"}])
def test_a_member_may_not_set_what_others_are_told(
    account: Account, as_member: JSONClient, body: dict[str, Any]
) -> None:
    if body.get("user_id"):
        body = body | {"user_id": MembershipFactory(account=account).user.pk}

    answer = as_member.post(base(account), body)

    assert answer.status_code == 403
    assert "Ask an admin" in answer.json()["status"]["user_message"]


@pytest.mark.parametrize("how", ["post", "delete", "test", "take over", "give away"])
def test_a_member_may_not_change_what_others_are_told(
    account: Account, as_member: JSONClient, member: User, how: str
) -> None:
    row = NotificationFactory(account=account)
    one = base(account, f"{row.pk}/")
    match how:
        case "post":
            answer = as_member.post(one, {"on_failure": []})
        case "delete":
            answer = as_member.delete(one)
        case "test":
            answer = as_member.post(f"{one}test/")
        case "take over":
            answer = as_member.post(one, {"type": 1, "user_id": member.pk})
        case _:
            own = NotificationFactory(account=account, type=1, user=member, external_email=None)
            answer = as_member.post(
                base(account, f"{own.pk}/"), {"type": 4, "external_email": "x@example.org"}
            )

    assert answer.status_code == 403
    row.refresh_from_db()
    assert (row.state, row.type) == (State.ACTIVE, NotificationType.EXTERNAL)


def test_an_outside_address_outlives_who_entered_it(
    account: Account, client_of: Callable[..., JSONClient]
) -> None:
    admin = MembershipFactory(account=account).user
    client = client_with(token_of(account, user=admin))
    made = client.post(base(account), external()).json()["data"]
    assert made["user_id"] == admin.pk

    admin.delete()

    data = client_of(account).get(base(account, f"{made['id']}/")).json()["data"]
    assert (data["external_email"], data["user_id"]) == ("team@example.org", None)


def test_one_call_deletes_all_that_a_person_asked_for(
    account: Account, as_member: JSONClient, member: User
) -> None:
    own = NotificationFactory(account=account, type=1, user=member, external_email=None)
    other = NotificationFactory(account=account, user=member)
    elsewhere = NotificationFactory(type=1, user=member, external_email=None)

    assert as_member.post("/api/v2/notifications/unsubscribe/").status_code == 200

    states = [Notification.objects.get(pk=row.pk).state for row in (own, other, elsewhere)]
    assert states == [State.DELETED, State.ACTIVE, State.ACTIVE]


def test_a_member_takes_a_mute_of_theirs_back(
    account: Account, as_member: JSONClient, member: User
) -> None:
    own = Mute.objects.create(account=account, address=member.email)
    others = Mute.objects.create(account=account, address="other@example.org")

    listed = as_member.get(base(account, "mutes/")).json()["data"]
    answers = [as_member.delete(base(account, f"mutes/{row.pk}/")) for row in (own, others)]

    assert [one["id"] for one in listed] == [own.pk]
    assert [answer.status_code for answer in answers] == [200, 404]
    assert list(Mute.objects.all()) == [others]
