"""How long one node took from run to run, and how many rows it wrote: bars, oldest first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from django.urls import reverse
from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element, joined
from jobsvc.runs.looks import duration, node_look
from jobsvc.runs.models import NodeResult

WIDTH = 1000  # units of the picture, which scales
TALL, LOW = 130, 56  # of the bars of time, and of those of rows
GAP, TOP, BETWEEN = 3, 16, 22
WIDEST = 40


def node_trend(results: Sequence[NodeResult], *, changed: Collection[int] = ()) -> SafeString:
    """``results``, oldest first.

    Args:
        changed: primary keys of those before which the node's code was changed.
    """
    lengths = [_seconds(one) for one in results]
    rows = [one.rows_affected or 0 for one in results]
    has_rows = any(rows)
    wide = min(WIDTH / max(len(results), 1), WIDEST)
    longest, most = max([*lengths, 0.001]), max([*rows, 1])
    height = TOP + TALL + (BETWEEN + LOW if has_rows else 0)
    bars: list[str] = []
    for place, one in enumerate(results):
        x = place * wide
        tall = max(lengths[place] / longest * TALL, 2.0)
        low = rows[place] / most * LOW
        words = _words(one)
        mark = None
        if one.pk in changed:
            words += ", its code was changed"
            middle = x + (wide - GAP) / 2
            mark = element("circle", class_="change", cx=middle, cy=TOP / 2, r=4)
        tone = node_look(one).tone
        bars.append(
            element(
                "a",
                element("title", words),
                mark,
                element(
                    "rect",
                    class_=f"bar {tone}",
                    x=x,
                    y=TOP + TALL - tall,
                    width=wide - GAP,
                    height=tall,
                    rx=1,
                ),
                element(
                    "rect",
                    class_="bar rows",
                    x=x,
                    y=height - low,
                    width=wide - GAP,
                    height=low,
                    rx=1,
                )
                if has_rows
                else None,
                href=reverse("console:short_run", args=[one.run_id]),
                aria_label=words,
            )
        )
    words = f"How long its last {len(results)} results took, at most {_length(longest)}"
    label = None
    if has_rows:
        words += f"; below, the rows they wrote, at most {most:,}"
        label = element(
            "text", f"rows, at most {most:,}", class_="scale", x=0, y=TOP + TALL + BETWEEN - 6
        )
    return element(
        "svg",
        element("text", f"at most {_length(longest)}", class_="scale", x=0, y=11),
        joined(bars),
        label,
        class_="node-trend",
        role="group",
        aria_label=words,
        viewBox=f"0 0 {WIDTH} {height}",
    )


def _words(one: NodeResult) -> str:
    words = f"Run {one.run_id}: {node_look(one).word}, {_length(_seconds(one))}"
    return words if one.rows_affected is None else f"{words}, {one.rows_affected:,} rows"


def _seconds(one: NodeResult) -> float:
    return max(one.took.total_seconds(), 0.0) if one.took else 0.0


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(timedelta(seconds=seconds))
