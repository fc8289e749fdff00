"""What the steps of a run said: each a group of numbered lines, to be searched and linked to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import member_of_account, page
from jobsvc.console.asked import number
from jobsvc.console.log_lines import LEVELS, Line, Piece, lines_of, of_level, pieces_of, shown
from jobsvc.console.templatetags.console import plain
from jobsvc.console.views.run_events import events_of
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.console.views.run_steps import speaking_step
from jobsvc.engine.ports import Stream
from jobsvc.runs.logs import TAIL_LIMIT, console_log, debug_log, tail
from jobsvc.runs.models import Run, RunStep
from jobsvc.statuses import FINISHED, RunStatus

LONGEST_SEARCH = 200  # characters
MOST_FOUND = 200  # lines shown of what a search found; all are counted
MOST_OPEN = 5  # groups at once

_PLACE = re.compile(r"([0-9]{1,6})-([0-9]{1,9})")


@dataclass(frozen=True)
class Tail:
    """Where the next lines of a step come from.

    Attributes:
        after: position in the log, in characters: the end of the last whole line.
        line: how many whole lines there are up to it.
    """

    after: int
    line: int


@dataclass(frozen=True)
class Group:
    """One step's log. ``address`` opens it, or closes it where it is open.

    Attributes:
        pieces: each with the address that shows what is left out before it.
        tail: None where no more lines will come.
        is_last: the run goes on, and the next step's log follows on this one.
    """

    step: RunStep
    is_open: bool
    address: str
    number: int = 0
    pieces: Sequence[tuple[Piece, str]] = ()
    tail: Tail | None = None
    is_last: bool = False


@dataclass(frozen=True)
class Hit:
    """A line that holds what is searched for, and the address that shows it in its place."""

    line: Line
    address: str


@dataclass(frozen=True)
class Found:
    """What a search found in one step: how many lines, and the first of them."""

    step: RunStep
    number: int
    hits: Sequence[Hit]


@dataclass(frozen=True)
class Walk:
    """A search gone through hit by hit: which one is shown, and where the ones beside it are."""

    hit: int
    number: int
    previous: str
    next: str


@dataclass(frozen=True)
class Asked:
    """What the query string asks for.

    Attributes:
        hit: which of the lines found is to be shown in its place, from 1; None for a list of all.
        opened: steps by their indices; None for those that a reader wants.
        place: (step, line) to be among what is shown.
        level: lines of it and of worse ones; empty for all. Only the debug log has any.
    """

    stream: Stream
    words: str
    hit: int | None
    opened: frozenset[int] | None
    place: tuple[int, int] | None
    level: str
    wraps: bool

    @classmethod
    def of(cls, request: HttpRequest) -> Asked:
        given = request.GET.getlist("open")[:MOST_OPEN]
        indices = frozenset(int(text) for text in given if _is_index(text))
        place = _PLACE.fullmatch(request.GET.get("at", ""))
        asked_stream = request.GET.get("stream", "")
        stream = Stream(asked_stream) if asked_stream in set(Stream) else Stream.CONSOLE
        level = request.GET.get("level", "")
        return cls(
            stream=stream,
            words=request.GET.get("q", "").strip()[:LONGEST_SEARCH],
            hit=number(request, "hit"),
            opened=indices if given else None,
            place=(int(place[1]), int(place[2])) if place else None,
            level=level if stream == Stream.DEBUG and level in LEVELS else "",
            wraps=request.GET.get("wrap") != "off",
        )

    @property
    def pattern(self) -> re.Pattern[str] | None:
        return re.compile(re.escape(self.words), re.IGNORECASE) if self.words else None

    @property
    def kept(self) -> str:
        """What every link of the page keeps, as a query string that more may follow."""
        given = {
            "stream": "" if self.stream == Stream.CONSOLE else str(self.stream),
            "level": self.level,
            "wrap": "" if self.wraps else "off",
        }
        text = urlencode({name: value for name, value in given.items() if value})
        return f"{text}&" if text else ""

    def address(self, opened: Sequence[int], *, at: str = "", to: str = "") -> str:
        """A query string that shows what is open. An ``opened`` of none closes all."""
        given = [("open", str(index)) for index in sorted(opened)] or [("open", "none")]
        if self.words and self.hit:
            given += [("q", self.words), ("hit", str(self.hit))]
        if at:
            given.append(("at", at))
        return f"?{self.kept}{urlencode(given)}#{to or 'logs'}"

    def address_of_hit(self, hit: int, step: RunStep, line: int) -> str:
        given = urlencode({"q": self.words, "hit": hit})
        return f"?{self.kept}{given}#step-{step.index}-L{line}"


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7


@require_safe
@member_of_account()
def run_logs(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The logs of all steps; those that failed are open.

    ``?open=`` names the open ones, ``?at=5-120`` shows line 120 of step 5, ``?q=`` searches all
    of them and ``&hit=3`` shows the third line found in its place. ``?stream=debug`` is dbt's own
    log, of which ``?level=`` leaves out what matters less; ``?stream=events`` is a table of it.
    """
    run = run_of(membership, project_id, run_id)
    steps = list(run.steps.all())
    asked = Asked.of(request)
    context: dict[str, Any] = {"tab": "logs", "asked": asked, "steps": steps, "levels": LEVELS}
    if asked.stream == Stream.EVENTS:
        context |= events_of(request, run, steps)
        return run_page(request, membership, "console/run_events.html", run, context)
    read = debug_log if asked.stream == Stream.DEBUG else console_log
    if asked.words and asked.hit:
        asked, context["walk"] = _walk(steps, asked, read)
    if asked.words and not asked.hit:
        found = _search(steps, asked, read)
        context["found"] = [one for one in found if one.number]
        context["found_number"] = sum(one.number for one in found)
        context["shown_number"] = sum(len(one.hits) for one in found)
    else:
        wanted = _open_steps(run, steps, asked)
        context["groups"] = [
            _group(step, run=run, steps=steps, opened=wanted, asked=asked, read=read)
            for step in steps
        ]
    return run_page(request, membership, "console/run_logs.html", run, {**context, "asked": asked})


# --- What is open, and what of it is shown --------------------------------------------------


def _open_steps(run: Run, steps: Sequence[RunStep], asked: Asked) -> list[int]:
    """Which logs are open: those asked for, else what failed, else what a reader wants."""
    wanted = set(asked.opened or ())
    if asked.place:
        wanted.add(asked.place[0])
    if asked.opened is None and not asked.place:
        speaking = speaking_step(run, steps)
        failed = [step.index for step in steps if step.status == RunStatus.ERROR]
        if not run.is_finished and speaking:
            failed.append(speaking.index)
        wanted = set(failed or ([speaking.index] if speaking else []))
    known = [step.index for step in steps if step.index in wanted]
    return known[-MOST_OPEN:]


def _group(
    step: RunStep,
    *,
    run: Run,
    steps: Sequence[RunStep],
    opened: Sequence[int],
    asked: Asked,
    read: Callable[[RunStep], str],
) -> Group:
    others = [index for index in opened if index != step.index]
    place = f"step-{step.index}"
    if step.index not in opened:
        return Group(step, is_open=False, address=asked.address([*others, step.index], to=place))
    text = read(step)
    goes_on = not run.is_finished and step.status not in FINISHED and not asked.level
    if goes_on:
        text = text[: text.rfind("\n") + 1]  # the rest of the last line is still to come
    lines = lines_of(text)
    here = asked.place is not None and asked.place[0] == step.index
    pieces = pieces_of(
        of_level(lines, asked.level),
        around=asked.place[1] if here and asked.place else None,
        words=asked.pattern,
    )
    last_begun = [one for one in steps if one.started_at is not None][-1:]
    return Group(
        step,
        is_open=True,
        address=asked.address(others, to=place),
        number=len(lines),
        pieces=[(piece, _show(piece, step, opened, asked)) for piece in pieces],
        tail=Tail(len(text), len(lines)) if goes_on else None,
        is_last=not run.is_finished and asked.opened is None and [step] == last_begun,
    )


def _show(piece: Piece, step: RunStep, opened: Sequence[int], asked: Asked) -> str:
    """The address that shows what is left out before ``piece``."""
    at = f"{step.index}-{piece.at}"
    return asked.address(opened, at=at, to=f"step-{step.index}-L{piece.at}")


def more_lines(
    request: HttpRequest, membership: Membership, run: Run, step: RunStep
) -> HttpResponse:
    """The lines that ``step`` has said since ``?after=``, of which ``?line=`` came before."""
    stream = Stream.DEBUG if request.GET.get("stream") == Stream.DEBUG else Stream.CONSOLE
    after, line = number(request, "after") or 0, number(request, "line") or 0
    text, _reached = tail(step, stream, after)
    is_over, is_cut = step.status in FINISHED or run.is_finished, len(text) >= TAIL_LIMIT
    whole = text[: text.rfind("\n") + 1]
    # The begin of a line waits for its rest, unless that is too long for one answer.
    if whole and (is_cut or not is_over):
        text = whole
    elif not (is_cut or is_over):
        text = ""
    lines = lines_of(text)
    goes_on = not is_over or bool(text)
    ended = len(lines) if text.endswith("\n") else max(0, len(lines) - 1)
    context = {
        "run": run,
        "step": step,
        "stream": stream,
        "lines": [Line(place, shown(one)) for place, one in enumerate(lines, start=line + 1)],
        "tail": Tail(after + len(text), line + ended) if goes_on else None,
        "is_last": not run.is_finished and not goes_on,
    }
    return page(request, membership, "console/_log_more.html", context)


# --- Searching -----------------------------------------------------------------------------


def _hits(
    steps: Sequence[RunStep], asked: Asked, read: Callable[[RunStep], str]
) -> list[tuple[RunStep, list[tuple[int, str]]]]:
    """Of each step that began the lines, with their numbers, that hold what is asked for."""
    pattern = asked.pattern
    return [
        (
            step,
            [
                (place, line)
                for place, line in of_level(lines_of(read(step)), asked.level)
                if pattern and pattern.search(plain(line))
            ],
        )
        for step in steps
        if step.started_at
    ]


def _search(steps: Sequence[RunStep], asked: Asked, read: Callable[[RunStep], str]) -> list[Found]:
    found, before = [], 0
    for step, lines in _hits(steps, asked, read):
        hits = [
            Hit(
                Line(place, shown(line, asked.pattern)),
                asked.address_of_hit(before + count, step, place),
            )
            for count, (place, line) in enumerate(lines[:MOST_FOUND], start=1)
        ]
        found.append(Found(step, len(lines), hits))
        before += len(lines)
    return found


def _walk(
    steps: Sequence[RunStep], asked: Asked, read: Callable[[RunStep], str]
) -> tuple[Asked, Walk | None]:
    """The search at its hit, that being the place to show; a list of none where there is none."""
    hits = [(step, place) for step, lines in _hits(steps, asked, read) for place, _line in lines]
    if not hits:
        return replace(asked, hit=None), None
    hit = min(asked.hit or 1, len(hits))
    step, place = hits[hit - 1]
    before, after = (hit - 2) % len(hits), hit % len(hits)
    walk = Walk(
        hit,
        len(hits),
        previous=asked.address_of_hit(before + 1, *hits[before]),
        next=asked.address_of_hit(after + 1, *hits[after]),
    )
    there = (step.index, place)
    return replace(asked, hit=hit, place=asked.place or there), walk
