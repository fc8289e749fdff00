"""One running service for the tests of this folder, and the warehouses they build in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import (
    Place,
    Stack,
    Warehouse,
    duckdb_warehouse,
    make_repository,
    postgres_warehouse,
    stack,
)

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service on PostgreSQL and Redis."""
    with stack("postgresql", tmp_path_factory.mktemp("service") / "data") as made:
        yield made


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    if request.param == "duckdb":
        yield duckdb_warehouse()
        return
    with postgres_warehouse() as (made, _address):
        yield made


@pytest.fixture
def make_place(service: Stack) -> Callable[..., Place]:
    """Makes a project on a repository of its own: ``make_place(warehouse, path=text, …)``."""

    def make(warehouse: Warehouse, **files: str) -> Place:
        name = f"coffee {next(_numbers)}"
        repository = service.service.data / "repositories" / name.replace(" ", "-")
        return service.place(make_repository(Path(repository), **files), warehouse, name)

    return make
