"""When each node of a step was at work, and on which thread: also while the step still runs."""

from __future__ import annotations

from collections import Counter
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
TESTS = {"test", "unit_test"}
THIN = 10  # the height of the row that tests are folded into
COLUMN = 2.0  # how fine that row is
WORST = ("mut", "ok", "run", "warn", "err")  # the last is told before the others


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
    of one slow model is the finding. Of more than 2,000 nodes the tests are folded into one thin
    row, and of what is left the longest are shown.
    """
    begun = [node for node in nodes if node.started_at is not None]
    if not begun:
        return None
    start = min(node.started_at for node in begun if node.started_at)
    end = max(_end(node, moment) for node in begun)
    scale = _Scale(start, max((end - start).total_seconds(), 0.1))
    lanes = sorted({node.thread for node in begun}, key=_by_number)
    by_length = sorted(begun, key=lambda node: _length(node, moment), reverse=True)
    longest = by_length[0]
    folded = [node for node in begun if _is_test(node)] if len(begun) > MOST_BARS else []
    shown = [node for node in by_length if not (folded and _is_test(node))][:MOST_BARS]
    foot = AXIS + len(lanes) * LANE
    height = foot + (THIN + PAD if folded else 0)
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
        _thin_row(folded, scale, foot, moment) if folded else None,
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
    tests = " test" if _is_test(node) else ""
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


def _thin_row(
    tests: Sequence[NodeResult], scale: _Scale, top: float, moment: datetime
) -> SafeString:
    """Where tests were at work: a column of two units has the worst that one of them came to."""
    worst: dict[int, str] = {}
    for node in tests:
        tone = node_look(node).tone
        first, last = scale.x(node.started_at or scale.start), scale.x(_end(node, moment))
        for column in range(int(first // COLUMN), int(last // COLUMN) + 1):
            worst[column] = max(tone, worst.get(column, tone), key=WORST.index)
    stretches: list[tuple[int, int, str]] = []
    for column, tone in sorted(worst.items()):
        begun, end, before = stretches[-1] if stretches else (0, -1, "")
        if column == end and tone == before:
            stretches[-1] = (begun, column + 1, tone)
        else:
            stretches.append((column, column + 1, tone))
    tones = Counter(node_look(node).word for node in tests)
    words = f"{len(tests)} tests: " + ", ".join(
        f"{number} {word}" for word, number in tones.most_common()
    )
    boxes = [
        element(
            "g",
            element("rect", x=begun * COLUMN, y=top, width=(end - begun) * COLUMN, height=THIN),
            class_=f"node {tone} test",
        )
        for begun, end, tone in stretches
    ]
    label = element("text", "tests", x=0, y=top + THIN - 1, class_="lane")
    return element("g", element("title", words), label, *boxes, role="img", aria_label=words)


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


def _is_test(node: NodeResult) -> bool:
    return node.resource_type in TESTS


def _end(node: NodeResult, moment: datetime) -> datetime:
    if node.finished_at is not None:
        return node.finished_at
    return moment if node.status == "running" else (node.started_at or moment)


def _length(node: NodeResult, moment: datetime) -> timedelta:
    return _end(node, moment) - (node.started_at or moment)


def _by_number(thread: str) -> tuple[int, str]:
    number = thread.rpartition("-")[2]
    return (int(number) if number.isdigit() and len(number) < 9 else 0, thread)
