"""Rows by the hundred thousand: columns that are the same in all of them are prepared once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from django.db import connection
from django.db.models import Field, JSONField, Model

Row = dict[str, Any]


def write(model: type[Model], rows: Sequence[Row]) -> list[int]:
    """Insert ``rows`` and return their ids, in their order.

    Nothing of the model's own is asked: no ``save``, no signal, no ``auto_now``.

    Args:
        rows: column names (``job_id``, not ``job``) to values, the same names in each. A column
            that is not named has its field's default in all of them.
    """
    if not rows:
        return []
    fields: list[Field[Any, Any]] = [*model._meta.concrete_fields]
    key = model._meta.pk.attname
    ids = _new_ids(model, len(rows))
    prepare = _Preparing()
    columns: list[Iterable[Any]] = []
    for field in fields:
        if field.attname == key:
            columns.append(ids)
        elif field.attname in rows[0]:
            columns.append([prepare(field, row[field.attname]) for row in rows])
        else:
            columns.append(repeat(prepare(field, field.get_default())))
    _insert(
        model._meta.db_table, [str(field.column) for field in fields], zip(*columns, strict=False)
    )
    return ids


def _new_ids(model: type[Model], number: int) -> list[int]:
    """Ids that nobody else is given: PostgreSQL counts them, SQLite has but one writer."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
                [table, model._meta.pk.column, number],
            )
            return [pk for (pk,) in cursor.fetchall()]
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        last = (cursor.fetchone() or (0,))[0]
        return list(range(last + 1, last + 1 + number))


class _Preparing:
    """Values as the database's driver takes them; one that comes again is not done again."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, Any]] = {}

    def __call__(self, field: Field[Any, Any], value: Any) -> Any:
        same = (type(field), id(value) if isinstance(value, dict | list) else value)
        if same not in self._known:
            as_json = isinstance(field, JSONField) and value is not None
            made = json.dumps(value) if as_json else field.get_db_prep_save(value, connection)
            self._known[same] = (made, value)  # what is kept has an id that nothing else gets
        return self._known[same][0]


def _insert(table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    names = ", ".join(map(connection.ops.quote_name, columns))
    into = f"{connection.ops.quote_name(table)} ({names})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            places = ", ".join(["%s"] * len(columns))
            insert = f"INSERT INTO {into} VALUES ({places})"  # noqa: S608 - quoted names alone
            cursor.executemany(insert, list(rows))
