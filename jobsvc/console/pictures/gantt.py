"""When each node of a step was at work, and on which thread: also while the step still runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from urllib.parse import quote

from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element, joined
from jobsvc.runs.critical import end_of, length_of
from jobsvc.runs.looks import duration, node_look
from jobsvc.runs.models import NodeResult

WIDTH = 1000  # units of the picture, which scales
LANE, PAD = 22, 3
LABELS = 64  # for the threads' names
HEADING = 20  # for the name of a group, above its lanes
LONGEST_NAME = 100  # characters of it
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


@dataclass(frozen=True)
class _Lane:
    """One line of bars; a group's first has a line with its name above.

    Attributes:
        top: of its bars.
    """

    name: str
    top: float
    nodes: Sequence[NodeResult]
    is_thread: bool


def gantt(
    nodes: Sequence[NodeResult],
    *,
    moment: datetime,
    chosen: Sequence[NodeResult] | None = None,
    groups: Mapping[str, Sequence[NodeResult]] | None = None,
    marked: Collection[str] = (),
    kept: str = "",
) -> SafeString | None:
    """``nodes`` of one step, a lane a thread, a bar a node; None where none has begun.

    The axis goes to the last end, or to ``moment`` while a node still runs: the long quiet tail
    of one slow model is the finding. Of more than 2,000 nodes the tests are folded into one thin
    row, and of what is left the longest are shown.

    Args:
        chosen: those of ``nodes`` that are shown; the axis is that of all.
        groups: of those that are shown, by their names: each has as many lanes as were at work
            in it at once, instead of one a thread.
        marked: unique ids of bars that stand out as the critical path.
        kept: the page's query string, which the link of a bar goes on with.
    """
    begun = [node for node in nodes if node.started_at is not None]
    if not begun:
        return None
    start = min(node.started_at for node in begun if node.started_at)
    end = max(end_of(node, moment) for node in begun)
    scale = _Scale(start, max((end - start).total_seconds(), 0.1))
    threads = len({node.thread for node in begun})
    longest = max(begun, key=lambda node: length_of(node, moment))
    seen = begun if chosen is None else [node for node in chosen if node.started_at is not None]
    folded = [node for node in seen if _is_test(node)] if len(seen) > MOST_BARS else []
    bars = [node for node in seen if not (folded and _is_test(node))]
    if len(bars) > MOST_BARS:
        bars.sort(key=lambda node: (node.unique_id not in marked, -length_of(node, moment)))
        del bars[MOST_BARS:]
    lanes, foot = _lanes(bars, groups, moment)
    height = foot + (THIN + PAD if folded else 0)
    whole = duration(timedelta(seconds=scale.seconds))
    words = (
        f"{len(begun)} nodes on {threads} threads in {whole}; the longest is {longest.name}, "
        f"{duration(length_of(longest, moment))}"
    )
    if len(seen) < len(begun):
        words = f"{len(seen)} of {words}"
    return element(
        "svg",
        _axis(scale, height),
        joined(_name_of(lane) for lane in lanes if lane.name),
        joined(
            _bar(node, scale, lane.top, moment, is_marked=node.unique_id in marked, kept=kept)
            for lane in lanes
            for node in lane.nodes
        ),
        _thin_row(folded, scale, foot, moment) if folded else None,
        class_="gantt",
        role="group",
        aria_label=words,
        viewBox=f"0 0 {WIDTH} {height}",
    )


def _lanes(
    bars: Sequence[NodeResult],
    groups: Mapping[str, Sequence[NodeResult]] | None,
    moment: datetime,
) -> tuple[list[_Lane], int]:
    """The lanes of ``bars`` from the top, and where they end."""
    lanes: list[_Lane] = []
    top = AXIS
    if groups is None:
        of_thread: dict[str, list[NodeResult]] = {}
        for node in bars:
            of_thread.setdefault(node.thread, []).append(node)
        for thread in sorted(of_thread, key=_by_number):
            name = thread.replace("Thread-", "thread ")
            lanes.append(_Lane(name, top, of_thread[thread], is_thread=True))
            top += LANE
        return lanes, top
    shown = {node.pk for node in bars}
    for group, inside in groups.items():
        name = f"{group} ({len(inside)})"
        top += HEADING
        for row in _rows([node for node in inside if node.pk in shown], moment):
            lanes.append(_Lane(name, top, row, is_thread=False))
            name = ""
            top += LANE
        if name:  # all of it are tests, which are folded
            top -= HEADING
    return lanes, top


def _rows(nodes: Sequence[NodeResult], moment: datetime) -> list[list[NodeResult]]:
    """``nodes`` in as few rows as there can be without one above another."""
    rows: list[list[NodeResult]] = []
    free: list[tuple[datetime, int]] = []  # when each row is, the first at the top
    for node in sorted(nodes, key=lambda node: (node.started_at or moment, node.pk)):
        if free and free[0][0] <= (node.started_at or moment):
            row = heappop(free)[1]
        else:
            row = len(rows)
            rows.append([])
        rows[row].append(node)
        heappush(free, (end_of(node, moment), row))
    return rows


def _name_of(lane: _Lane) -> SafeString:
    if lane.is_thread:
        return element("text", lane.name, x=0, y=_middle(lane.top), class_="lane")
    return element("text", lane.name[-LONGEST_NAME:], x=0, y=lane.top - 3, class_="lane")


def _bar(
    node: NodeResult, scale: _Scale, top: float, moment: datetime, *, is_marked: bool, kept: str
) -> SafeString:
    shown = node_look(node)
    begun = scale.x(node.started_at or scale.start)
    width = max(scale.x(end_of(node, moment)) - begun, NARROWEST)
    words = f"{node.name}: {shown.word}, {duration(length_of(node, moment))}"
    if is_marked:
        words += ", on the critical path"
    tests = " test" if _is_test(node) else ""
    live = " live" if node.finished_at is None else ""
    path = " path" if is_marked else ""
    fits = len(node.name) * LETTER < width - 8
    label = element("text", node.name, x=begun + 4, y=_middle(top)) if fits else None
    box = element("rect", x=begun, y=top + PAD, width=width, height=LANE - 2 * PAD, rx=2)
    return element(
        "a",
        element("title", words + _phases(node)),
        box,
        label,
        class_=f"node {shown.tone}{tests}{live}{path}",
        href=f"?{kept}node={quote(node.unique_id)}#node",
        aria_label=words,
    )


def _phases(node: NodeResult) -> str:
    """How the time of a node was split, where dbt told it."""
    if not (node.started_at and node.executing_at and node.finished_at):
        return ""
    compiling = node.executing_at - node.started_at
    executing = node.finished_at - node.executing_at
    return f"; compiling {duration(compiling)}, executing {duration(executing)}"


def _thin_row(
    tests: Sequence[NodeResult], scale: _Scale, top: float, moment: datetime
) -> SafeString:
    """Where tests were at work: a column of two units has the worst that one of them came to."""
    worst: dict[int, str] = {}
    for node in tests:
        tone = node_look(node).tone
        first, last = scale.x(node.started_at or scale.start), scale.x(end_of(node, moment))
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


def _middle(top: float) -> float:
    return top + LANE / 2 + 4


def _is_test(node: NodeResult) -> bool:
    return node.resource_type in TESTS


def _by_number(thread: str) -> tuple[int, str]:
    number = thread.rpartition("-")[2]
    return (int(number) if number.isdigit() and len(number) < 9 else 0, thread)
