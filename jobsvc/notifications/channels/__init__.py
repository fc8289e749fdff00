"""Chat: a message goes to a channel's incoming webhook. A class a channel makes the body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jobsvc import outbound
from jobsvc.notifications.channels.slack import Slack
from jobsvc.notifications.channels.teams import Teams
from jobsvc.notifications.errors import NotTaken, Refused
from jobsvc.notifications.messages import Message, message_of
from jobsvc.notifications.models import Delivery

LONGEST_ERROR = 200  # characters of what the chat says of itself


class Channel(Protocol):
    """What makes of a message the JSON that a chat shows."""

    def body_of(self, message: Message) -> dict[str, Any]: ...


CHANNELS: Mapping[str, Channel] = {"slack": Slack(), "teams": Teams()}


def send(deliveries: Sequence[Delivery]) -> None:
    """Post a message to the incoming webhook of its notification.

    A chat is never held back for a digest, so there is one message.

    Raises:
        NotTaken: nobody answered, or the chat is busy; it is to be tried again.
        Refused: the channel or its webhook is gone, or may not be posted to.
    """
    [delivery] = deliveries
    url = delivery.notification and delivery.notification.secrets.get("url")
    if not url:
        raise Refused("The channel has no address to post to. Give it extensions.webhook_url.")
    body = CHANNELS[delivery.channel].body_of(message_of(delivery))
    try:
        answer = outbound.send(
            "POST",
            str(url),
            headers={"Content-Type": "application/json"},
            body=json.dumps(body).encode(),
        )
    except outbound.AddressRefused as refused:
        raise Refused(str(refused)) from refused
    except outbound.NoAnswer as nobody:
        raise NotTaken(str(nobody)) from nobody
    if 200 <= answer.status < 300:
        return
    said = f"The chat answered {answer.status}: {_words(answer.body, str(url))}"
    raise NotTaken(said) if answer.status == 429 or answer.status >= 500 else Refused(said)


def _words(body: bytes, url: str) -> str:
    """The beginning of an answer, in one line; the address is a secret and stays out."""
    text = body.decode(errors="replace").replace("\0", "").replace(url, "*****")
    return " ".join(text.split())[:LONGEST_ERROR] or "nothing"
