"""When jobs are due: marks on a line of time, and how long each run usually takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element, joined

WIDTH, NARROW = 1000, 460  # units of the picture, which scales; of one line
ROW, PAD = 26, 6
LABELS = 190  # for the jobs' names
AXIS = 22
LETTERS = 26  # of a job's name that fit
NARROWEST = 4.0
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Mark:
    """A run that is planned; ``words`` say it whole."""

    begin: datetime
    end: datetime
    words: str


@dataclass(frozen=True)
class Line:
    """One job's marks. One that is due too often for marks has ``always``, which says so.

    ``rests`` is the time in which it is paused.
    """

    name: str
    href: str
    marks: Sequence[Mark] = ()
    always: str = ""
    rests: Mark | None = None


@dataclass(frozen=True)
class Band:
    """A stretch of time that is something of its own: too many runs, a change of clocks."""

    begin: datetime
    end: datetime
    words: str
    kind: str  # a class of schedule.css


def timeline(
    lines: Sequence[Line],
    *,
    start: datetime,
    end: datetime,
    words: str,
    bands: Sequence[Band] = (),
    in_one: bool = False,
) -> SafeString:
    """``lines`` under one axis from ``start`` to ``end``.

    Args:
        words: what is seen, for who does not see it.
        in_one: all of them on one line, without names: the marks are told apart by their words.
    """
    left, width = (8, NARROW) if in_one else (LABELS, WIDTH)
    height = AXIS + (1 if in_one else max(1, len(lines))) * ROW
    scale = _Scale(start, end, left, width)
    return element(
        "svg",
        _axis(scale, height),
        joined(_band(band, scale, height) for band in bands),
        joined(
            _line(line, scale, 0 if in_one else place, named=not in_one)
            for place, line in enumerate(lines)
        ),
        class_="timeline one" if in_one else "timeline",
        role="group",
        aria_label=words,
        viewBox=f"0 0 {width} {height}",
    )


def over_capacity(lines: Sequence[Line], *, slots: int) -> list[Band]:
    """The stretches in which more runs are planned to be at work than there are slots."""
    marks = [mark for line in lines for mark in line.marks]
    changes = sorted(
        [(mark.begin, 1) for mark in marks] + [(mark.end, -1) for mark in marks],
    )
    bands: list[Band] = []
    at_work, begun, most = 0, None, 0
    for moment, change in changes:
        at_work += change
        if at_work > slots:
            begun, most = begun or moment, max(most, at_work)
        elif begun is not None:
            bands.append(Band(begun, moment, f"{most} runs for {slots} slots", "over"))
            begun, most = None, 0
    return bands


@dataclass(frozen=True)
class _Scale:
    """From moments to places."""

    start: datetime
    end: datetime
    left: float
    width: float

    def x(self, moment: datetime) -> float:
        part = (moment - self.start) / (self.end - self.start)
        return self.left + (self.width - self.left) * min(max(part, 0.0), 1.0)


def _line(line: Line, scale: _Scale, place: int, *, named: bool) -> SafeString:
    top = AXIS + place * ROW
    name = None
    if named:
        short = line.name if len(line.name) <= LETTERS else f"{line.name[: LETTERS - 1]}…"
        text = element("text", short, x=0, y=top + ROW / 2 + 4, class_="lane")
        name = element("a", element("title", line.name), text, href=line.href)
    always = None
    if line.always:
        box = element(
            "rect",
            x=scale.left,
            y=top + PAD,
            width=scale.width - scale.left,
            height=ROW - 2 * PAD,
            rx=2,
        )
        always = element(
            "a",
            element("title", line.always),
            box,
            class_="always",
            href=line.href,
            aria_label=f"{line.name}: {line.always}",
        )
    rests = _rest(line.rests, scale, top) if line.rests else None
    marks = joined(_mark(mark, line, scale, top) for mark in line.marks)
    return element("g", name, rests, always, marks)


def _rest(rest: Mark, scale: _Scale, top: float) -> SafeString:
    begin = scale.x(rest.begin)
    return element(
        "rect",
        element("title", rest.words),
        class_="resting",
        x=begin,
        y=top + PAD + 4,
        width=scale.x(rest.end) - begin,
        height=ROW - 2 * PAD - 8,
    )


def _mark(mark: Mark, line: Line, scale: _Scale, top: float) -> SafeString:
    begin = scale.x(mark.begin)
    width = max(scale.x(mark.end) - begin, NARROWEST)
    box = element(
        "rect",
        x=min(begin, scale.width - width),
        y=top + PAD,
        width=width,
        height=ROW - 2 * PAD,
        rx=2,
    )
    return element(
        "a",
        element("title", mark.words),
        box,
        class_="planned",
        href=line.href,
        aria_label=mark.words,
    )


def _band(band: Band, scale: _Scale, height: float) -> SafeString:
    begin = scale.x(band.begin)
    return element(
        "rect",
        element("title", band.words),
        class_=f"band {band.kind}",
        x=begin,
        y=AXIS,
        width=max(scale.x(band.end) - begin, 2.0),
        height=height - AXIS,
    )


def _axis(scale: _Scale, height: float) -> SafeString:
    marks: list[str | None] = []
    for moment, words in _ticks(scale):
        x = scale.x(moment)
        marks += [
            element("line", x1=x, x2=x, y1=AXIS - 4, y2=height),
            element("text", words, x=x + 3, y=AXIS - 8),
        ]
    return element("g", *marks, class_="axis", aria_hidden="true")


def _ticks(scale: _Scale) -> Iterator[tuple[datetime, str]]:
    """Each day's begin, or of a day and less each third hour."""
    of_a_day = scale.end - scale.start <= DAY
    step = timedelta(hours=3) if of_a_day else DAY
    moment = scale.start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while moment <= scale.end:
        if moment >= scale.start:
            yield moment, f"{moment:%H:%M}" if of_a_day else f"{moment:%a} {moment.day}"
        moment += step
