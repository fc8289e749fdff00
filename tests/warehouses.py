"""Real warehouses for tests: a DuckDB file and a PostgreSQL database, looked into from outside.

DuckDB is spoken to by the Python of a toolchain, since this service's own does not have it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.installation import postgres_database

ROOT = Path(__file__).resolve().parents[1]
DBT = Path(os.environ.get("JOBSVC_TEST_DBT", ROOT / ".toolchains" / "dbt-1.11" / "bin" / "dbt"))

_EXECUTE = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1]) as connection:
    for statement in json.loads(sys.argv[2]):
        rows = connection.execute(statement).fetchall()
print(json.dumps(rows, default=str))
"""
_LOCK = """
import duckdb, sys
with duckdb.connect(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


class Warehouse(Protocol):
    """Attributes:
    output: what a profile says of it.
    """

    output: dict[str, Any]

    def execute(self, *statements: str) -> list[list[Any]]:
        """Do each, in one connection; the rows of the last."""


class Duck:
    """A DuckDB file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.output: dict[str, Any] = {"type": "duckdb", "path": str(file)}

    def execute(self, *statements: str) -> list[list[Any]]:
        python = DBT.with_name("python")
        done = subprocess.run(
            [python, "-c", _EXECUTE, str(self.file), json.dumps(statements)],
            check=True,
            capture_output=True,
            text=True,
        )
        rows: list[list[Any]] = json.loads(done.stdout)
        return rows

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process has the file open, as a run that builds has."""
        with subprocess.Popen(
            [DBT.with_name("python"), "-c", _LOCK, str(self.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            yield


class Postgres:
    """A PostgreSQL database of the test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        at = conninfo_to_dict(url)
        self.port = int(at.get("port") or 5432)
        self.output: dict[str, Any] = {
            "type": "postgres",
            "host": at["host"],
            "port": self.port,
            "user": at.get("user") or "root",
            "password": at.get("password") or "unused",
            "dbname": at["dbname"],
        }

    def execute(self, *statements: str) -> list[list[Any]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return [list(row) for row in cursor.fetchall()] if cursor.description else []


@contextmanager
def postgres() -> Iterator[Postgres]:
    with postgres_database() as url:
        yield Postgres(url)


def fill(warehouse: Warehouse, *schemas: str) -> None:
    """Make each schema, with a table and a view on it."""
    for schema in schemas:
        warehouse.execute(
            f"CREATE SCHEMA {schema}",
            f"CREATE TABLE {schema}.orders AS SELECT 1 AS id",
            f"CREATE VIEW {schema}.recent AS SELECT * FROM {schema}.orders",
        )


def schemas_of(warehouse: Warehouse) -> set[str]:
    """Those that are not the database's own."""
    rows = warehouse.execute("SELECT schema_name FROM information_schema.schemata")
    own = {"main", "public", "information_schema"}
    return {name for (name,) in rows if name not in own and not name.startswith("pg_")}
