"""Migrations that the database has not had yet: one question, for the files are read once."""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

Name = tuple[str, str]  # of an app and of its migration


class Trouble(StrEnum):
    """Why the database did not do what it was asked, in words for whoever asked us."""

    UPDATING = (
        "The service is being updated: its database has not had every migration yet. Try again "
        "in a minute."
    )
    AWAY = "The database cannot be reached just now. Try again in a moment."

    @property
    def wait(self) -> int:
        """Seconds after which to try again."""
        return 30 if self is Trouble.UPDATING else 5


@cache
def _on_disk() -> frozenset[Name]:
    return frozenset(MigrationLoader(None).graph.nodes)


def pending_migrations() -> list[Name]:
    """What is still to be applied, by name.

    Raises:
        DatabaseError: the database cannot be asked.
    """
    return sorted(_on_disk() - set(MigrationRecorder(connection).applied_migrations()))


def trouble_of(error: BaseException | None) -> Trouble | None:
    """What ``error`` says of the database; None where it says nothing, so that it is a bug.

    Only asked once something failed: a request that goes well pays nothing for it.
    """
    if not isinstance(error, (DatabaseError, InterfaceError)):
        return None
    away = Trouble.AWAY if isinstance(error, (OperationalError, InterfaceError)) else None
    try:
        return Trouble.UPDATING if pending_migrations() else away
    except (DatabaseError, InterfaceError):
        return away
