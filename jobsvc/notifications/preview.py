"""What somebody would be told of a run that failed: the real message, not sent and not kept."""

from __future__ import annotations

import json

from jobsvc.notifications.channels import CHANNELS
from jobsvc.notifications.messages import message_of
from jobsvc.notifications.models import Delivery, Event, Notification, NotificationType
from jobsvc.notifications.recipients import CHANNELS as CHANNEL_OF
from jobsvc.runs.models import Run


def as_told(notification: Notification, run: Run | None, *, address: str) -> Delivery:
    """The message that the failure of ``run`` would be; of none it is the test message.

    Args:
        address: whose mail it is: the link in it that stops mail would stop theirs.
    """
    return Delivery(
        account=notification.account,
        notification=notification,
        run=run,
        job=run.job if run else None,
        event=Event.FAILURE if run else Event.TEST,
        channel=CHANNEL_OF[NotificationType(notification.type)],
        address=address,
        why="This is a preview: it was not sent.",
    )


def body_in_chat(delivery: Delivery) -> str:
    """What is posted to a chat, as text."""
    body = CHANNELS[delivery.channel].body_of(message_of(delivery))
    return json.dumps(body, indent=2, ensure_ascii=False)
