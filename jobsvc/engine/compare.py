"""Compare changes: what a pull request built against what it deferred to."""

from __future__ import annotations

from jobsvc.engine.aside import Aside, Found


def compare(aside: Aside) -> Found:
    """Compare each changed model with the one that the run deferred to."""
    raise NotImplementedError
