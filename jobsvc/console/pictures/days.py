"""Days as cells: how many of a day's runs ended well, and how many did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element
from jobsvc.runs.looks import duration

CELL, GAP = 44, 6  # pixels
HEIGHT = 48
BELOW = 18  # for the days' names


@dataclass(frozen=True)
class Day:
    """The runs that ended on one day; ``worked`` is how long they took together."""

    date: date
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    worked: timedelta = timedelta(0)

    @property
    def judged(self) -> int:
        """Runs that say whether it was a good day: cancelled ones do not."""
        return self.succeeded + self.failed

    @property
    def share(self) -> int | None:
        """Of a hundred runs so many ended well, 100 only if all did; None if none was judged."""
        return self.succeeded * 100 // self.judged if self.judged else None

    @property
    def words(self) -> str:
        if self.share is None:
            return f"{self.date:%Y-%m-%d}: no run succeeded or failed"
        return (
            f"{self.date:%Y-%m-%d}: {self.succeeded} of {self.judged} runs succeeded "
            f"({self.share} %), {duration(self.worked)} of work"
        )


def days_strip(days: Sequence[Day], *, address: str) -> SafeString:
    """``days``, oldest first, each a cell that is filled from below as its runs succeeded.

    Args:
        address: of the list of runs, which each cell leads to with its day.
    """
    width = len(days) * (CELL + GAP) - GAP + 2
    judged = [day for day in days if day.judged]
    failed = sum(day.failed for day in judged)
    return element(
        "svg",
        *(_cell(day, 1 + place * (CELL + GAP), address) for place, day in enumerate(days)),
        class_="days",
        role="group",
        aria_label=f"The last {len(days)} days: {sum(day.judged for day in judged)} runs, "
        f"{failed} of them failed",
        viewBox=f"0 0 {width} {HEIGHT + BELOW}",
        width=width,
        height=HEIGHT + BELOW,
    )


def _cell(day: Day, x: float, address: str) -> SafeString:
    parts = [element("rect", class_="day none", x=x, y=1, width=CELL, height=HEIGHT - 2, rx=4)]
    if day.judged:
        filled = (HEIGHT - 2) * day.succeeded / day.judged
        if day.failed:
            filled = min(filled, HEIGHT - 8)  # one failure among hundreds is still to be seen
        top = HEIGHT - 2 - filled
        parts = [
            element("rect", class_="day err", x=x, y=1, width=CELL, height=top, rx=2),
            element("rect", class_="day ok", x=x, y=1 + top, width=CELL, height=filled, rx=2),
            element(
                "text",
                f"{day.share} %",
                class_="share",
                x=x + CELL / 2,
                y=HEIGHT - 8,
                text_anchor="middle",
            ),
        ]
    name = element(
        "text",
        f"{day.date:%a} {day.date.day}",
        class_="name",
        x=x + CELL / 2,
        y=HEIGHT + BELOW - 4,
        text_anchor="middle",
    )
    return element(
        "a",
        element("title", day.words),
        *parts,
        name,
        href=f"{address}?since={day.date:%Y-%m-%d}&until={day.date:%Y-%m-%d}",
        aria_label=day.words,
    )
