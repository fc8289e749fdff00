"""Celery's way in. A task takes an id, asks the database what is true, and delegates."""

from __future__ import annotations

from celery import shared_task


@shared_task
def tell_of_run(transition_id: int) -> None:
    """A run moved: write down who is to be told, and tell them."""


@shared_task
def sweep() -> None:
    """Whatever is to be told, and was not."""
