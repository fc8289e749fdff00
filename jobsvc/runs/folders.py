"""Folders beside a run's workspace: what the worker lays out for it before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from jobsvc.engine.leftovers import remove_tree
from jobsvc.runs.models import Run

PURPOSES = ("retry", "state")


@contextmanager
def folder_for(run: Run, purpose: str) -> Iterator[Path]:
    """A folder for one attempt of ``run``, there for as long as the context lasts.

    What workers left that were killed before their run had begun is removed first.

    Args:
        purpose: one of ``PURPOSES``.
    """
    _sweep()
    place = Path(settings.WORKSPACES_DIR) / f"{purpose}-{run.pk}-{run.attempts}"
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        remove_tree(place)


def _sweep() -> None:
    for purpose in PURPOSES:
        for place in Path(settings.WORKSPACES_DIR).glob(f"{purpose}-*-*"):
            _, number, attempt = place.name.split("-")
            if not Run.objects.active().filter(pk=number, attempts=attempt).exists():
                remove_tree(place)
