"""Celery's way in. A task takes an id, asks the database what is true, and delegates."""

from __future__ import annotations

from celery import shared_task


@shared_task
def report_run(transition_id: int) -> None:
    """A run moved: its pull request is told, and the schemas it may build are written down."""


@shared_task
def sweep() -> None:
    """Whatever is to be read, posted or dropped, and was not."""
