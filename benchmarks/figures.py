"""What is measured of a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Of one page; milliseconds and bytes."""

    name: str
    cpu: float
    cpu_p95: float
    clock: float
    clock_p95: float
    queries: int
    size: int
