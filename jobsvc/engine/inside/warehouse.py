"""A run's warehouse, spoken to by the adapter of its dbt, without the user's project.

Imported by scripts that a toolchain's own Python runs inside the sandbox, so it knows dbt's
packages and nothing of this service. The profile is that of DBT_PROFILES_DIR and DBT_PROFILE, as
for any dbt child of a run. dbt is handed an empty project of its own, for the adapter's macros
alone: whatever the user's project makes of ``drop_schema`` or ``get_columns_in_relation`` does
not count here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, TypeVar

from dbt.adapters.factory import (  # type: ignore[import-not-found]  # only a toolchain has it
    FACTORY,
    cleanup_connections,
)
from dbt.cli.main import dbtRunner  # type: ignore[import-not-found]  # only a toolchain has it

T = TypeVar("T")

CANCEL_SECONDS = 10  # for a query to end that was cancelled
# dbt puts a name between quotes and does not look into it: a quote there would be SQL.
_PLAIN = re.compile(r"[\w$@. -]+")
PROJECT = "name: jobsvc_aside\nconfig-version: 2\nprofile: jobsvc\n"


class Unreachable(Exception):
    """The warehouse cannot be spoken to. ``str(error)`` is dbt's or the database's own words."""


class TookTooLong(Exception):
    """What was asked of the warehouse was given up. ``str(error)`` is a sentence."""


class OddName(ValueError):
    """A name that cannot safely be put into a statement."""


class Warehouse:
    """An open connection. What the database refuses raises the error of dbt or of its driver."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    @property
    def database(self) -> str:
        """The one that the profile names."""
        return str(self._adapter.config.credentials.database or "")

    def query(self, sql: str, most: int | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names of the columns, and all rows or the first ``most``, nearly as the driver
        gives them."""
        _, table = self._adapter.execute(sql, fetch=True, limit=most)
        return list(table.column_names), [tuple(row.values()) for row in table.rows]

    def columns(self, database: str, schema: str, identifier: str) -> list[tuple[str, str]]:
        """Each column of a table or view in its order, (name, type); none where it is not there."""
        return self.columns_of(self.relation(database, schema, identifier))

    def columns_of(self, relation: Any) -> list[tuple[str, str]]:
        """The same of a relation as ``relation`` makes it."""
        found = self._adapter.get_columns_in_relation(relation)
        return [(column.name, _type_of(column)) for column in found]

    def quote(self, identifier: str) -> str:
        """The identifier as SQL has it, whatever is in it; adapters double no marks."""
        opens, closes = str(self._adapter.quote("|")).split("|")
        return f"{opens}{identifier.replace(closes, closes * 2)}{closes}"

    @property
    def text_type(self) -> str:
        """The type to cast to for any value as text."""
        return str(self._adapter.Column.translate_type("STRING"))

    def within(self, seconds: float, work: Callable[[], T]) -> T:
        """What ``work`` comes to, in a connection of its own; cancelled once its time is over.

        Raises:
            TookTooLong
        """
        ends: Future[T] = Future()

        def carry_out() -> None:
            try:
                with self._adapter.connection_named("jobsvc aside"):
                    done = work()
                ends.set_result(done)  # not before the connection is given back
            except BaseException as error:  # the other thread raises it
                ends.set_exception(error)

        thread = Thread(target=copy_context().run, args=(carry_out,), daemon=True)
        thread.start()
        try:
            return ends.result(timeout=max(seconds, 0))
        except TimeoutError:
            if not thread.is_alive():
                raise
        for _attempt in range(CANCEL_SECONDS):
            with suppress(Exception):  # nothing hangs on how well a database can be interrupted
                self._adapter.cancel_open_connections()
            thread.join(1)
            if not thread.is_alive():
                break
        raise TookTooLong(f"It took longer than {seconds:.0f} seconds.")

    def relation(self, database: str, schema: str, identifier: str = "") -> Any:
        """dbt's own object, quoted as the adapter quotes by default; ``str`` of it is for SQL."""
        return self._adapter.Relation.create(
            database=database or self.database,
            schema=schema,
            identifier=identifier or None,
            quote_policy=self._adapter.config.quoting,
        )

    def exists(self, database: str, schema: str, identifier: str) -> bool:
        """Whether there is a table or view of this name."""
        place = database or self.database
        return self._adapter.get_relation(place, schema, identifier) is not None

    def list_schemas(self, database: str = "") -> list[str]:
        return [str(name) for name in self._adapter.list_schemas(database or self.database)]

    def find_schema(self, database: str, schema: str) -> str:
        """The name under which the warehouse has ``schema``; empty where it has none.

        A warehouse that folds names which dbt did not quote lists them in capitals.

        Raises:
            OddName
        """
        for name in filter(None, (database, schema)):
            if not _PLAIN.fullmatch(name):
                raise OddName(f"The name {name!r} has characters that are not put into SQL.")
        listed = self.list_schemas(database)
        if schema in listed:
            return schema
        if self._adapter.config.quoting["schema"]:
            return ""
        return next((name for name in listed if name.lower() == schema.lower()), "")

    def drop_schema(self, database: str, schema: str) -> bool:
        """Drop exactly this schema with all that is in it; False where it was not there.

        Raises:
            OddName
        """
        listed = self.find_schema(database, schema)
        if not listed:
            return False
        relation = self.relation(database, listed).without_identifier()
        if listed != schema or not self._adapter.config.quoting["schema"]:
            relation = relation.quote(schema=True)
        self._adapter.drop_schema(relation)
        return True


@contextmanager
def opened() -> Iterator[Warehouse]:
    """The warehouse of the profile, connected until the end of the block.

    Raises:
        Unreachable: the profile is wrong, or the database is not to be had.
    """
    with TemporaryDirectory() as place:
        _load_macros(Path(place))
    (adapter,) = FACTORY.adapters.values()
    try:
        with adapter.connection_named("jobsvc"):
            yield Warehouse(adapter)
    finally:
        with suppress(Exception):  # one is busy still if its query could not be cancelled
            cleanup_connections()


def _type_of(column: Any) -> str:
    """As the warehouse has it: dbt makes up a length for a text that has none."""
    is_unbounded = column.is_string() and column.char_size is None
    return str(column.dtype if is_unbounded else column.data_type)


def words_of(error: BaseException) -> str:
    """What went wrong, on one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(filter(None, lines)) or type(error).__name__


def _load_macros(place: Path) -> None:
    """Have dbt read the profile and an empty project, and leave its adapter with its macros."""
    (place / "dbt_project.yml").write_text(PROJECT)
    quietly: Sequence[str] = ("--log-level", "none", "--log-level-file", "none")
    end = dbtRunner().invoke(
        [
            *quietly,
            *("parse", "--no-partial-parse", "--project-dir", str(place)),
            *("--target-path", str(place / "target")),
        ]
    )
    if not end.success:
        raise Unreachable(words_of(end.exception or Exception("dbt could not read the profile.")))
