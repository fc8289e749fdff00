"""A job's last runs as bars: the height is how long each took, the colour how it went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from math import sqrt

from django.urls import reverse
from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element
from jobsvc.console.templatetags.console import ran_for
from jobsvc.runs.looks import duration, look
from jobsvc.runs.models import Run

HEIGHT = 28  # pixels
BAR, GAP = 6, 2
LOWEST = 4  # of a run that took no time


def run_strip(runs: Sequence[Run], *, room: int, which: str = "The last") -> SafeString:
    """``runs``, oldest first, in a picture with room for ``room`` of them, newest at the right.

    A bar's height goes by the square root of its run's duration: the longest fills the strip
    and a short one is still to be seen.
    """
    lengths = [length.total_seconds() if (length := ran_for(run)) else 0.0 for run in runs]
    longest = max([*lengths, 1.0])
    width = room * (BAR + GAP) - GAP
    left = width - (len(runs) * (BAR + GAP) - GAP)
    bars = []
    for place, (run, seconds) in enumerate(zip(runs, lengths, strict=True)):
        height = LOWEST + (HEIGHT - LOWEST) * sqrt(seconds / longest)
        shown = look(run)
        words = f"Run {run.pk}: {shown.word}, {duration(ran_for(run))}"
        bar = element(
            "rect",
            class_=f"bar {shown.tone}",
            x=left + place * (BAR + GAP),
            y=HEIGHT - height,
            width=BAR,
            height=height,
            rx=1,
        )
        address = reverse("console:run", args=[run.account_id, run.project_id, run.pk])
        bars.append(
            element(
                "a",
                element("title", words),
                bar,
                href=address,
                aria_label=words,
                data_at=f"{run.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            )
        )
    went_wrong = sum(1 for run in runs if look(run).tone == "err")
    summary = f"{which} {len(runs)} runs, {went_wrong} of them in error"
    return element(
        "svg",
        *bars,
        class_="strip",
        role="group",
        aria_label=summary,
        viewBox=f"0 0 {width} {HEIGHT}",
        width=width,
        height=HEIGHT,
    )
