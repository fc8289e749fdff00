"""Nothing here needs a broker, unless a test says so."""

from __future__ import annotations

from typing import Any

import pytest

from jobsvc.jobs.models import Job
from tests.factories import JobFactory


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """Bells ring into nothing."""


@pytest.fixture
def job(db: None) -> Job:
    return JobFactory(name="Daily production run", environment__name="Production")
