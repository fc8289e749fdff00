"""When each node of a step was at work, and on which thread: also while the step still runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element, joined
from jobsvc.runs.looks import duration, node_look
from jobsvc.runs.models import NodeResult

WIDTH = 1000  # units of the picture, which scales
LANE, PAD = 22, 3
LABELS = 64  # for the threads' names
AXIS = 20
LETTER = 6.2  # width of one in a bar's label
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)  # seconds
MOST_TICKS = 8
MOST_BARS = 2000
NARROWEST = 2.0


@dataclass(frozen=True)
class _Scale:
    """From moments to places."""

    start: datetime
    seconds: float

    def x(self, moment: datetime) -> float:
        part = (moment - self.start).total_seconds() / self.seconds
        return LABELS + (WIDTH - LABELS) * min(max(part, 0.0), 1.0)


def gantt(nodes: Sequence[NodeResult], *, moment: datetime, results: str = "") -> SafeString | None:
    """``nodes`` of one step, a lane a thread, a bar a node; None where none has begun.

    A bar leads to its node on the page ``results``, which is this one where it is not given.

    The axis goes to the last end, or to ``moment`` while a node still runs: the long quiet tail
    of one slow model is the finding. Of more than 2,000 nodes the longest are shown.
    """
    begun = [node for node in nodes if node.started_at is not None]
    if not begun:
        return None
    start = min(node.started_at for node in begun if node.started_at)
    end = max(_end(node, moment) for node in begun)
    scale = _Scale(start, max((end - start).total_seconds(), 0.1))
    lanes = sorted({node.thread for node in begun}, key=_by_number)
    shown = sorted(begun, key=lambda node: _length(node, moment), reverse=True)[:MOST_BARS]
    height = AXIS + len(lanes) * LANE
    longest = shown[0]
    whole = duration(timedelta(seconds=scale.seconds))
    words = (
        f"{len(begun)} nodes on {len(lanes)} threads in {whole}; the longest is {longest.name}, "
        f"{duration(_length(longest, moment))}"
    )
    return element(
        "svg",
        _axis(scale, height),
        joined(
            element(
                "text", lane.replace("Thread-", "thread "), x=0, y=_middle(place), class_="lane"
            )
            for place, lane in enumerate(lanes)
        ),
        joined(_bar(node, scale, lanes.index(node.thread), moment, results) for node in shown),
        class_="gantt",
        role="group",
        aria_label=words,
        viewBox=f"0 0 {WIDTH} {height}",
    )


def _bar(node: NodeResult, scale: _Scale, lane: int, moment: datetime, results: str) -> SafeString:
    shown = node_look(node)
    begun = scale.x(node.started_at or scale.start)
    width = max(scale.x(_end(node, moment)) - begun, NARROWEST)
    words = f"{node.name}: {shown.word}, {duration(_length(node, moment))}"
    tests = " test" if node.resource_type in {"test", "unit_test"} else ""
    live = " live" if node.finished_at is None else ""
    fits = len(node.name) * LETTER < width - 8
    label = element("text", node.name, x=begun + 4, y=_middle(lane)) if fits else None
    y = AXIS + lane * LANE + PAD
    box = element("rect", x=begun, y=y, width=width, height=LANE - 2 * PAD, rx=2)
    return element(
        "a",
        element("title", words),
        box,
        label,
        class_=f"node {shown.tone}{tests}{live}",
        href=f"{results}?node={quote(node.unique_id)}#node",
        aria_label=words,
    )


def _axis(scale: _Scale, height: int) -> SafeString:
    step = next((tick for tick in TICKS if scale.seconds / tick <= MOST_TICKS), TICKS[-1])
    marks: list[str | None] = []
    for number in range(int(scale.seconds // step) + 1):
        after = timedelta(seconds=number * step)
        x = scale.x(scale.start + after)
        marks += [
            element("line", x1=x, x2=x, y1=AXIS - 4, y2=height),
            element("text", duration(after), x=x + 3, y=AXIS - 7),
        ]
    return element("g", *marks, class_="axis", aria_hidden="true")


def _middle(lane: int) -> float:
    return AXIS + lane * LANE + LANE / 2 + 4


def _end(node: NodeResult, moment: datetime) -> datetime:
    if node.finished_at is not None:
        return node.finished_at
    return moment if node.status == "running" else (node.started_at or moment)


def _length(node: NodeResult, moment: datetime) -> timedelta:
    return _end(node, moment) - (node.started_at or moment)


def _named(thread: str) -> str:
    return thread.replace("Thread-", "thread ")


def _by_number(thread: str) -> tuple[int, str]:
    number = thread.rpartition("-")[2]
    return (int(number) if number.isdigit() and len(number) < 9 else 0, thread)
