"""Jobs are defined by the verb, with no broker about."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No test here needs a broker."""
