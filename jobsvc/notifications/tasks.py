"""Celery's way in. A task takes an id, asks the database what is true, and delegates."""

from __future__ import annotations

from celery import shared_task
from django.utils.timezone import now

from jobsvc.notifications import deliver, dispatch, tell


@shared_task
def tell_of_run(transition_id: int) -> None:
    """A run moved: write down who is to be told."""
    tell.tell_of_run(transition_id)


@shared_task
def send_delivery(delivery_id: int) -> None:
    """Send one message, if it is still to be sent."""
    deliver.send_delivery(delivery_id)


@shared_task
def sweep() -> None:
    """Whatever is to be told or sent, and was not."""
    tell.tell_the_untold()
    tell.tell_of_jobs()
    deliver.ring_for_due()
    deliver.prune(now())
    tell.prune(now())


@shared_task
def post_webhooks(dispatch_id: int) -> None:
    """Something is due for a webhook: post that, and whatever else is due there."""
    dispatch.post_what_is_due(dispatch_id)


@shared_task
def sweep_webhooks() -> None:
    """Ring for what webhooks are to be posted, and were not."""
    dispatch.sweep(now())


@shared_task
def prune_webhooks() -> None:
    """Take out of the log what has been kept long enough."""
    dispatch.prune(now())
