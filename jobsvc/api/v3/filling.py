"""Putting a body's values into a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db.models import Model

M = TypeVar("M", bound=Model)


def fill(row: M, values: Mapping[str, Any]) -> M:
    """Set columns of ``row``, by their names or, for references, those of their ids.

    Null puts a column that cannot be null back to its default.
    """
    columns = {column.attname: column for column in row._meta.concrete_fields}
    for name, value in values.items():
        column = columns[name]
        back = value is None and not column.null
        setattr(row, name, column.get_default() if back else value)
    return row
