"""The services `make test` starts where none are running: that they start, and that they go."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test.py"
NAMES = ("PostgreSQL", "Redis", "RabbitMQ")

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def suite() -> Iterator[ModuleType]:
    """``scripts/test.py`` as a module, under a name that is not Python's own ``test``."""
    spec = importlib.util.spec_from_file_location("jobsvc_suite", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users may pass through, unlike pytest's: PostgreSQL refuses to be root."""
    with TemporaryDirectory(prefix="jobsvc-services-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize("name", NAMES)
def test_where_none_is_running_a_private_one_is_started_and_goes_again(
    name: str, suite: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = next(one for one in suite.SERVICES if one.name == name)
    monkeypatch.delenv(service.variable, raising=False)
    with ExitStack() as until_done:
        url = suite.address_of(replace(service, usual=()), folder, until_done)
        assert service.answers(url)
    assert not service.answers(url)


def test_an_address_that_is_given_must_answer(
    suite: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = next(one for one in suite.SERVICES if one.name == "Redis")
    monkeypatch.setenv(redis.variable, "redis://127.0.0.1:1/0")
    with pytest.raises(suite.CannotTest, match="does not answer"), ExitStack() as until_done:
        suite.address_of(redis, folder, until_done)


def test_what_is_not_installed_is_named_as_a_debian_package(
    suite: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = next(one for one in suite.SERVICES if one.name == "Redis")
    monkeypatch.delenv(redis.variable, raising=False)
    monkeypatch.setenv("PATH", str(folder))
    with (
        pytest.raises(suite.CannotTest, match="apt-get install redis-server"),
        ExitStack() as until_done,
    ):
        suite.address_of(replace(redis, usual=()), folder, until_done)
