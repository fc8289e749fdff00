"""How long a job's runs took, one after the other: what they waited and what they worked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import log1p
from statistics import median, quantiles

from django.urls import reverse
from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element, joined
from jobsvc.console.templatetags.console import queued_for, ran_for
from jobsvc.runs.looks import duration, look
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus

WIDTH, HEIGHT = 1000, 200  # units of the picture, which scales
LEFT, TOP, BOTTOM = 74, 18, 6
WIDEST, GAP = 40, 3  # of a bar, and between two
LIKE_IT = 9  # successful runs, this one among them, that say what is usual
SPREAD = 20  # and those that say between what nine in ten are
ROUND = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
TENFOLD = (1, 10, 60, 600, 3600, 21600, 86400)  # marks of the axis where it grows by tens


@dataclass(frozen=True)
class Mark:
    """Something that was different from a run on.

    Attributes:
        kind: ``settings`` or ``dbt``.
        url: of what tells more; empty where nothing does.
    """

    kind: str
    words: str
    url: str = ""


@dataclass(frozen=True)
class _Scale:
    """Seconds to units up from the foot of the picture."""

    function: Callable[[float], float]
    factor: float

    def up(self, seconds: float) -> float:
        return self.function(seconds) * self.factor

    def y(self, seconds: float) -> float:
        return HEIGHT - BOTTOM - self.up(seconds)


def trend(
    runs: Sequence[Run], marks: Mapping[int, Sequence[Mark]] | None = None, *, by_tens: bool = False
) -> SafeString | None:
    """``runs``, oldest first, as bars from zero with a line of what was usual and a band of what
    nine in ten took; None of none.

    Args:
        marks: by the id of the run that was the first with something different.
        by_tens: draw the logarithm, for runs of seconds beside runs of hours.
    """
    if not runs:
        return None
    lengths = [_seconds(ran_for(run)) for run in runs]
    waits = [_seconds(queued_for(run)) for run in runs]
    highest = max(wait + length for wait, length in zip(waits, lengths, strict=True))
    function: Callable[[float], float] = log1p if by_tens else float
    scale = _Scale(function, (HEIGHT - TOP - BOTTOM) / max(function(highest), function(1.0)))
    wide = min((WIDTH - LEFT) / len(runs), WIDEST)
    bar = wide - min(GAP, wide / 4)
    at = [LEFT + place * wide for place in range(len(runs))]
    middle = [x + bar / 2 for x in at]
    usual, spread = usual_lengths(runs), usual_spread(runs)
    newest = next((seconds for seconds in reversed(usual) if seconds is not None), None)
    words = f"How long the last {len(runs)} runs took; usually " + (
        duration(timedelta(seconds=newest)) if newest is not None else "unknown"
    )
    return element(
        "svg",
        _axis(highest, scale, TENFOLD if by_tens else _rounds(highest)),
        _band(middle, spread, scale),
        joined(_bar(run, at[place], bar, scale) for place, run in enumerate(runs)),
        _band(middle, spread, scale),
        _line(middle, usual, scale),
        joined(
            _mark(mark, at[place] - (wide - bar) / 2, which)
            for place, run in enumerate(runs)
            for which, mark in enumerate((marks or {}).get(run.pk, ()))
        ),
        class_="trend",
        role="group",
        aria_label=words,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )


def usual_lengths(runs: Sequence[Run]) -> list[float | None]:
    """For each run the median of the successful ones up to it, in seconds; None before those."""
    return [median(seen[-LIKE_IT:]) if seen else None for seen in _successes(runs)]


def usual_spread(runs: Sequence[Run]) -> list[tuple[float, float] | None]:
    """For each run between what nine in ten of the successful ones up to it took: the tenth and
    the ninetieth percentile, in seconds; None before there are two."""
    found: list[tuple[float, float] | None] = []
    for seen in _successes(runs):
        tenths = quantiles(seen[-SPREAD:], n=10, method="inclusive") if len(seen) > 1 else None
        found.append((tenths[0], tenths[-1]) if tenths else None)
    return found


def _successes(runs: Sequence[Run]) -> list[list[float]]:
    """For each run how long the successful ones up to it took, in seconds."""
    seen: list[float] = []
    found = []
    for run in runs:
        if run.status == RunStatus.SUCCESS:
            seen.append(_seconds(ran_for(run)))
        found.append(seen[-SPREAD:])
    return found


def _seconds(length: timedelta | None) -> float:
    return max(0.0, length.total_seconds()) if length else 0.0


def _bar(run: Run, x: float, width: float, scale: _Scale) -> SafeString:
    waited, worked = _seconds(queued_for(run)), _seconds(ran_for(run))
    shown = look(run)
    words = (
        f"Run {run.pk}: {shown.word}, queued {duration(queued_for(run))}, "
        f"ran {duration(ran_for(run))}"
    )
    foot = scale.y(waited)
    top = min(scale.y(waited + worked), foot - 2.0)
    return element(
        "a",
        element("title", words),
        element("rect", class_="bar queued", x=x, y=foot, width=width, height=scale.up(waited)),
        element("rect", class_=f"bar {shown.tone}", x=x, y=top, width=width, height=foot - top),
        href=reverse("console:run", args=[run.account_id, run.project_id, run.pk]),
        aria_label=words,
    )


def _line(
    middle: Sequence[float], usual: Sequence[float | None], scale: _Scale
) -> SafeString | None:
    points = " ".join(
        f"{x:.1f},{scale.y(seconds):.1f}"
        for x, seconds in zip(middle, usual, strict=True)
        if seconds is not None
    )
    if not points:
        return None
    return element("polyline", points=points, class_="usual", aria_hidden="true")


def _band(
    middle: Sequence[float], spread: Sequence[tuple[float, float] | None], scale: _Scale
) -> SafeString | None:
    there = [(x, *pair) for x, pair in zip(middle, spread, strict=True) if pair]
    if len(there) < 2:
        return None
    corners = [(x, high) for x, _low, high in there] + [(x, low) for x, low, _high in there[::-1]]
    points = " ".join(f"{x:.1f},{scale.y(seconds):.1f}" for x, seconds in corners)
    return element("polygon", points=points, class_="spread", aria_hidden="true")


def _mark(mark: Mark, x: float, which: int) -> SafeString:
    """A line from top to foot with a sign: round for settings, pointed for dbt."""
    y = 7 + 14 * which
    sign = (
        element("circle", cx=x, cy=y, r=5)
        if mark.kind == "settings"
        else element("path", d=f"M{x:g} {y - 6:g}l6 6l-6 6l-6 -6z")
    )
    parts = [
        element("title", mark.words),
        element("line", x1=x, x2=x, y1=y, y2=HEIGHT - BOTTOM),
        sign,
    ]
    if mark.url:
        return element(
            "a", *parts, class_=f"mark {mark.kind}", href=mark.url, aria_label=mark.words
        )
    return element("g", *parts, class_=f"mark {mark.kind}")


def _rounds(highest: float) -> list[int]:
    """Up to four round lengths, evenly apart, with zero."""
    step = next((one for one in ROUND if highest / one <= 4), ROUND[-1])
    return [number * step for number in range(int(highest // step) + 1)]


def _axis(highest: float, scale: _Scale, seconds: Sequence[int]) -> SafeString:
    marks: list[str] = []
    for one in seconds:
        if one > max(highest, 1.0):
            break
        y = scale.y(one)
        marks += [
            element("line", x1=LEFT - 6, x2=WIDTH, y1=y, y2=y),
            element("text", duration(timedelta(seconds=one)), x=0, y=y + 4),
        ]
    return element("g", *marks, class_="axis", aria_hidden="true")
