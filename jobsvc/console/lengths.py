"""Lengths of time by the database's own arithmetic: Django's is Python on SQLite, a call a row."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import FloatField, Func
from django.db.models.sql.compiler import SQLCompiler

SQL = tuple[str, Any]


class Seconds(Func):
    """``Seconds(F("finished_at"), F("started_at"))``: from the second moment to the first."""

    arity = 2
    arg_joiner = " - "
    template = "EXTRACT(EPOCH FROM (%(expressions)s))"
    output_field = FloatField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> SQL:
        context |= {
            "template": "(julianday(%(expressions)s)) * 86400.0",
            "arg_joiner": ") - julianday(",
        }
        return self.as_sql(compiler, connection, **context)
