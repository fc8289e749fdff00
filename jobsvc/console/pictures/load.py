"""How busy an account was: run slots that were used, and runs that waited, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element

WIDTH, HEIGHT = 600, 120  # units of the picture, which scales
LEFT, BELOW, ABOVE = 26, 18, 6
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Stretch:
    """A run's time in the queue and at work; None where it has not come to that yet."""

    queued: datetime
    began: datetime | None
    ended: datetime | None
    takes_slot: bool


@dataclass(frozen=True)
class Moment:
    """One minute: how many slots were used and how many runs waited, on an average of it."""

    at: datetime
    used: float
    waiting: float


def load(runs: Sequence[Stretch], *, until: datetime, minutes: int = 60) -> list[Moment]:
    """The last ``minutes`` up to ``until``, oldest first."""
    start = until - minutes * MINUTE
    used, waiting = [0.0] * minutes, [0.0] * minutes
    for run in runs:
        if run.takes_slot and run.began is not None:
            _add(used, start, run.began, run.ended or until)
        _add(waiting, start, run.queued, run.began or run.ended or until)
    return [Moment(start + place * MINUTE, used[place], waiting[place]) for place in range(minutes)]


def _add(sums: list[float], start: datetime, begin: datetime, end: datetime) -> None:
    """Add the stretch from ``begin`` to ``end`` to the minutes that it lies in."""
    first = max((begin - start) / MINUTE, 0.0)
    last = min((end - start) / MINUTE, float(len(sums)))
    for place in range(int(first), len(sums)):
        if place >= last:
            return
        sums[place] += min(last, place + 1.0) - max(first, float(place))


def every(moments: Sequence[Moment], minutes: int) -> list[Moment]:
    """The same with ``minutes`` of them put together, for a table."""
    groups = [moments[place : place + minutes] for place in range(0, len(moments), minutes)]
    return [
        Moment(
            group[0].at,
            round(sum(one.used for one in group) / len(group), 1),
            round(sum(one.waiting for one in group) / len(group), 1),
        )
        for group in groups
    ]


def load_area(moments: Sequence[Moment], *, slots: int) -> SafeString:
    """Used slots as an area, waiting runs as a line above it, and the slots there are."""
    used = max(one.used for one in moments)
    waiting = max(one.waiting for one in moments)
    most = ceil(max(slots, used, waiting, 1))
    bottom, step = HEIGHT - BELOW, (WIDTH - LEFT) / len(moments)

    def y(number: float) -> float:
        return bottom - (bottom - ABOVE) * number / most

    def points(numbers: Sequence[float]) -> str:
        """Each minute is a step: what is true of it is true of all of it."""
        corners = []
        for place, number in enumerate(numbers):
            corners += [(LEFT + place * step, y(number)), (LEFT + (place + 1) * step, y(number))]
        return " ".join(f"{round(x, 1):g},{round(at, 1):g}" for x, at in corners)

    words = (
        f"In the last hour at most {used:.1f} of {slots} run slots were used and at most "
        f"{waiting:.1f} runs waited, on an average of a minute"
    )
    area = f"{LEFT},{bottom} {points([one.used for one in moments])} {WIDTH},{bottom}"
    return element(
        "svg",
        element("title", words),
        element("polygon", class_="used", points=area),
        element("polyline", class_="waiting", points=points([one.waiting for one in moments])),
        element("line", class_="limit", x1=LEFT, x2=WIDTH, y1=y(slots), y2=y(slots)),
        element("line", class_="base", x1=LEFT, x2=WIDTH, y1=bottom, y2=bottom),
        element("text", str(most), x=0, y=y(most) + 8),
        element("text", "0", x=0, y=bottom),
        *(
            element(
                "text",
                f"{moments[place].at:%H:%M}",
                x=LEFT + place * step,
                y=HEIGHT - 4,
            )
            for place in range(0, len(moments), 15)
        ),
        class_="load",
        role="img",
        aria_label=words,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )
