"""Chat: what Slack and Teams are sent, and what becomes of it when they do not take it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import Account
from jobsvc.notifications.channels import send
from jobsvc.notifications.channels.slack import LONGEST_TEXT, Slack
from jobsvc.notifications.channels.teams import Teams
from jobsvc.notifications.deliver import send_delivery
from jobsvc.notifications.errors import NotTaken, Refused
from jobsvc.notifications.messages import Message, Node
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Event,
    Notification,
    NotificationType,
)
from jobsvc.runs.looks import LOOKS
from jobsvc.statuses import RunStatus
from tests.factories import RunFactory
from tests.fakes.receiver import Receiver

HOSTILE = "``` <!channel> <https://evil.example|click> [click](https://evil.example) *b* & \n x"
PAGE = "https://jobs.example.com/deploy/1/projects/2/runs/3/"


def a_message(**fields: Any) -> Message:
    return Message(
        **{
            "look": LOOKS[RunStatus.ERROR],
            "headline": "Daily run failed",
            "subject": "[Production] Daily run failed",
            "sentence": "Step 4 failed.",
            "facts": [("Run", "#3"), ("Branch", "main")],
            "nodes": [Node(unique_id="model.a.b", status="error", lines=["no table"])],
            "links": [("Open the run", PAGE), ("Retry it", f"{PAGE}retry/")],
        }
        | fields
    )


def texts_in(part: Any) -> list[str]:
    """Every text of a body, however deep."""
    if isinstance(part, dict):
        return [text for value in part.values() for text in texts_in(value)]
    if isinstance(part, list):
        return [text for value in part for text in texts_in(value)]
    return [part] if isinstance(part, str) else []


@pytest.mark.parametrize("channel", [Slack(), Teams()], ids=["slack", "teams"])
def test_a_chat_says_what_failed_where_and_why(channel: Any) -> None:
    said = "\n".join(texts_in(channel.body_of(a_message())))

    for part in ("Daily run failed", "Step 4 failed.", "#3", "main", "model.a.b", "no table", PAGE):
        assert part in said


def test_slack_is_told_where_the_run_is_in_the_first_block() -> None:
    body = Slack().body_of(a_message())

    assert body["text"] == "[Production] Daily run failed"
    assert body["blocks"][0]["text"] == {
        "type": "mrkdwn",
        "text": f"✕ *<{PAGE}|Daily run failed>*\nStep 4 failed.",
    }


def test_nothing_that_a_stranger_wrote_is_a_link_or_a_mention_in_slack() -> None:
    node = Node(unique_id=HOSTILE, status=HOSTILE, lines=[HOSTILE])
    hostile = a_message(
        headline=HOSTILE,
        subject=HOSTILE,
        sentence=HOSTILE,
        facts=[(HOSTILE, HOSTILE)],
        nodes=[node],
    )

    said = "\n".join(texts_in(Slack().body_of(hostile)))

    assert "<!" not in said
    assert "<https://evil" not in said


def test_nothing_that_is_quoted_in_slack_ends_the_quotation() -> None:
    node = Node(unique_id="model.a.b", status="error", lines=[HOSTILE])

    texts = texts_in(Slack().body_of(a_message(nodes=[node])))

    [quoted] = [text for text in texts if "```" in text]
    assert quoted.count("```") == 2
    assert quoted.endswith("```")


def test_what_strangers_wrote_stands_where_teams_reads_no_markdown() -> None:
    node = Node(unique_id=HOSTILE, status=HOSTILE, lines=[HOSTILE])
    hostile = a_message(headline=HOSTILE, sentence=HOSTILE, facts=[("Job", HOSTILE)], nodes=[node])

    [attachment] = Teams().body_of(hostile)["attachments"]

    assert {part["type"] for part in attachment["content"]["body"]} == {"RichTextBlock"}


@pytest.mark.parametrize("channel", [Slack(), Teams()], ids=["slack", "teams"])
def test_the_largest_message_fits(channel: Any) -> None:
    node = Node(unique_id="m" * 300, status="error", lines=["<" * 500] * 20)
    largest = a_message(
        sentence="<" * 2000, facts=[("n" * 50, "<" * 1000)] * 30, nodes=[node] * 10, more_nodes=90
    )

    body = channel.body_of(largest)

    if isinstance(channel, Teams):
        assert len(json.dumps(body)) < 28 * 1024
    assert "… and 95 more" in texts_in(body)
    for block in body.get("blocks", []):
        assert len(block.get("text", {}).get("text", "")) <= LONGEST_TEXT
        assert len(block.get("fields", [])) <= 10


def delivery_to(account: Account, url: str, **fields: Any) -> Delivery:
    asked = Notification.objects.create(
        account=account, type=NotificationType.SLACK_WEBHOOK, secrets={"url": url} if url else {}
    )
    run = RunFactory(job__environment__project__account=account, failed=True)
    return Delivery.objects.create(
        **{
            "account": account,
            "notification": asked,
            "job": run.job,
            "run": run,
            "event": Event.FAILURE,
            "channel": "slack",
            "address": "#data",
            "key": "one",
        }
        | fields
    )


@pytest.mark.parametrize("channel", ["slack", "teams"])
def test_a_failure_arrives_in_the_chat(channel: str, account: Account, receiver: Receiver) -> None:
    delivery = delivery_to(account, receiver.url("/services/T0/B0/secret"), channel=channel)

    assert send_delivery(delivery.pk)

    delivery.refresh_from_db()
    [arrived] = receiver.posts
    assert arrived.path == "/services/T0/B0/secret"
    assert arrived.headers["Content-Type"] == "application/json"
    assert f"{delivery.run_id}" in arrived.body.decode()
    assert delivery.status == DeliveryStatus.SENT


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_chat_that_is_busy_is_tried_again(
    status: int, account: Account, receiver: Receiver
) -> None:
    receiver.status, receiver.says = status, b"busy"

    with pytest.raises(NotTaken, match=f"The chat answered {status}: busy"):
        send([delivery_to(account, receiver.url())])


@pytest.mark.parametrize("status", [302, 400, 403, 404, 410])
def test_a_channel_that_is_gone_is_not(status: int, account: Account, receiver: Receiver) -> None:
    receiver.status, receiver.says = status, b"no_service"

    with pytest.raises(Refused, match=f"The chat answered {status}: no_service"):
        send([delivery_to(account, receiver.url())])


def test_a_chat_that_nobody_is_at_is_tried_again(account: Account, receiver: Receiver) -> None:
    with pytest.raises(NotTaken, match="Nothing answers"):
        send([delivery_to(account, "http://127.0.0.1:1/")])


def test_a_chat_in_a_private_network_is_refused(account: Account) -> None:
    with pytest.raises(Refused, match="JOBSVC_OUTBOUND_NETWORKS"):
        send([delivery_to(account, "https://10.0.0.1/services/T0")])


def test_a_channel_without_an_address_says_what_it_needs(account: Account) -> None:
    with pytest.raises(Refused, match=r"extensions\.webhook_url"):
        send([delivery_to(account, "")])


def test_the_address_of_a_channel_is_not_in_what_is_said_of_a_failure(
    account: Account, receiver: Receiver
) -> None:
    url = receiver.url("/services/T0/B0/secret")
    receiver.status, receiver.says = 404, f"{url} is gone".encode()

    with pytest.raises(Refused) as refused:
        send([delivery_to(account, url)])

    assert "secret" not in str(refused.value)
