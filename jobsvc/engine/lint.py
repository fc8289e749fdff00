"""Lint: SQLFluff on the files that a pull request changed."""

from __future__ import annotations

from jobsvc.engine.aside import Aside, Found


def lint(aside: Aside) -> Found:
    """Lint the changed SQL files of the project."""
    raise NotImplementedError
