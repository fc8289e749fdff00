"""What tests of pull requests share: a GitHub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.github import FakeGitHub, fake_github


@pytest.fixture
def github(settings: Any, tmp_path: Path) -> Iterator[FakeGitHub]:
    """The GitHub that this process speaks to, by a token; ``github.use_in`` makes it the App."""
    with fake_github(tmp_path / "github") as made:
        made.use_in(settings)
        yield made
