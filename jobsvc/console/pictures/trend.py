"""How long a job's runs took, one after the other: what they waited and what they worked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from django.urls import reverse
from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element, joined
from jobsvc.console.templatetags.console import queued_for, ran_for
from jobsvc.runs.looks import duration, look
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus

WIDTH, HEIGHT = 1000, 190  # units of the picture, which scales
LEFT, TOP, BOTTOM = 74, 8, 6
GAP = 3
WIDEST = 40  # of a bar
LIKE_IT = 9  # successful runs, this one among them, that say what is usual
ROUND = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


def trend(runs: Sequence[Run]) -> SafeString | None:
    """``runs``, oldest first, as bars from zero with a line of what was usual; None of none."""
    if not runs:
        return None
    lengths = [_seconds(ran_for(run)) for run in runs]
    waits = [_seconds(queued_for(run)) for run in runs]
    highest = max(wait + length for wait, length in zip(waits, lengths, strict=True))
    scale = (HEIGHT - TOP - BOTTOM) / max(highest, 1.0)
    wide = min((WIDTH - LEFT) / len(runs), WIDEST)
    bars = [
        _bar(run, LEFT + place * wide, wide - GAP, waits[place] * scale, lengths[place] * scale)
        for place, run in enumerate(runs)
    ]
    usual = usual_lengths(runs)
    points = " ".join(
        f"{LEFT + (place + 0.5) * wide - GAP / 2:.1f},{HEIGHT - BOTTOM - seconds * scale:.1f}"
        for place, seconds in enumerate(usual)
        if seconds is not None
    )
    newest = next((seconds for seconds in reversed(usual) if seconds is not None), None)
    words = f"How long the last {len(runs)} runs took; usually " + (
        duration(timedelta(seconds=newest)) if newest is not None else "unknown"
    )
    return element(
        "svg",
        _axis(highest, scale),
        joined(bars),
        element("polyline", points=points, class_="usual", aria_hidden="true") if points else None,
        class_="trend",
        role="group",
        aria_label=words,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )


def usual_lengths(runs: Sequence[Run]) -> list[float | None]:
    """For each run the median of the successful ones up to it, in seconds; None before those."""
    seen: list[float] = []
    found: list[float | None] = []
    for run in runs:
        if run.status == RunStatus.SUCCESS:
            seen.append(_seconds(ran_for(run)))
        found.append(median(seen[-LIKE_IT:]) if seen else None)
    return found


def _seconds(length: timedelta | None) -> float:
    return max(0.0, length.total_seconds()) if length else 0.0


def _bar(run: Run, x: float, width: float, waited: float, worked: float) -> SafeString:
    shown = look(run)
    words = (
        f"Run {run.pk}: {shown.word}, queued {duration(queued_for(run))}, "
        f"ran {duration(ran_for(run))}"
    )
    foot = HEIGHT - BOTTOM
    tall = max(worked, 2.0)
    top = foot - waited - tall
    return element(
        "a",
        element("title", words),
        element("rect", class_="bar queued", x=x, y=foot - waited, width=width, height=waited),
        element("rect", class_=f"bar {shown.tone}", x=x, y=top, width=width, height=tall),
        href=reverse("console:run", args=[run.account_id, run.project_id, run.pk]),
        aria_label=words,
    )


def _axis(highest: float, scale: float) -> SafeString:
    step = next((one for one in ROUND if highest / one <= 4), ROUND[-1])
    marks: list[str] = []
    for number in range(int(highest // step) + 1):
        y = HEIGHT - BOTTOM - number * step * scale
        marks += [
            element("line", x1=LEFT - 6, x2=WIDTH, y1=y, y2=y),
            element("text", duration(timedelta(seconds=number * step)), x=0, y=y + 4),
        ]
    return element("g", *marks, class_="axis", aria_hidden="true")
