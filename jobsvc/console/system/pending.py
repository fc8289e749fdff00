"""Migrations that the database has not had yet: one question, for the files are read once."""

from __future__ import annotations

from functools import cache

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

Name = tuple[str, str]  # of an app and of its migration


@cache
def _on_disk() -> frozenset[Name]:
    return frozenset(MigrationLoader(None).graph.nodes)


def pending_migrations() -> list[Name]:
    """What is still to be applied, by name.

    Raises:
        DatabaseError: the database cannot be asked.
    """
    return sorted(_on_disk() - set(MigrationRecorder(connection).applied_migrations()))
