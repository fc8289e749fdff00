"""What the steps of a run said: each a group of numbered lines, to be searched and linked to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import member_of_account
from jobsvc.console.ansi import coloured
from jobsvc.console.templatetags.console import plain
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.console.views.run_steps import speaking_step
from jobsvc.engine.ports import Stream
from jobsvc.runs.logs import console_log, debug_log
from jobsvc.runs.models import Run, RunStep
from jobsvc.statuses import RunStatus

FIRST, LAST = 200, 800  # lines of a long log that are shown at once
BEFORE, AFTER = 200, 1800  # lines shown around one that was asked for
LONGEST_LINE = 5_000  # characters shown of one line
LONGEST_SEARCH = 200  # characters
MOST_FOUND = 200  # lines shown of what a search found; all are counted
MOST_OPEN = 5  # groups at once

_PLACE = re.compile(r"([0-9]{1,6})-([0-9]{1,9})")


@dataclass(frozen=True)
class Line:
    """``number`` counts from 1."""

    number: int
    text: SafeString


@dataclass(frozen=True)
class Lines:
    """A run of lines; ``hidden`` ones between the piece before and this are left out.

    Attributes:
        show: the address that shows what is hidden.
    """

    lines: Sequence[Line]
    hidden: int = 0
    show: str = ""


@dataclass(frozen=True)
class Group:
    """One step's log. ``address`` opens it, or closes it where it is open."""

    step: RunStep
    is_open: bool
    address: str
    number: int = 0
    pieces: Sequence[Lines] = ()


@dataclass(frozen=True)
class Found:
    """What a search found in one step: how many lines, and the first of them."""

    step: RunStep
    number: int
    lines: Sequence[tuple[Line, str]]


@dataclass(frozen=True)
class Asked:
    """What the query string asks for.

    Attributes:
        opened: steps by their indices; None for those that a reader wants.
        place: (step, line) to be among what is shown.
    """

    stream: Stream
    words: str
    opened: frozenset[int] | None
    place: tuple[int, int] | None

    @classmethod
    def of(cls, request: HttpRequest) -> Asked:
        given = request.GET.getlist("open")[:MOST_OPEN]
        indices = frozenset(int(text) for text in given if _is_index(text))
        place = _PLACE.fullmatch(request.GET.get("at", ""))
        debug = request.GET.get("stream") == Stream.DEBUG
        return cls(
            stream=Stream.DEBUG if debug else Stream.CONSOLE,
            words=request.GET.get("q", "").strip()[:LONGEST_SEARCH],
            opened=indices if given else None,
            place=(int(place[1]), int(place[2])) if place else None,
        )

    def address(self, opened: Sequence[int], *, at: str = "", to: str = "") -> str:
        """A query string that keeps the stream. An ``opened`` of none closes all."""
        given: list[tuple[str, str]] = []
        if self.stream == Stream.DEBUG:
            given.append(("stream", "debug"))
        given += [("open", str(index)) for index in sorted(opened)] or [("open", "none")]
        if at:
            given.append(("at", at))
        return f"?{urlencode(given)}#{to or 'logs'}"


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7


@require_safe
@member_of_account()
def run_logs(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The logs of all steps; those that failed are open.

    ``?open=`` names the open ones, ``?at=5-120`` shows line 120 of step 5, ``?stream=debug``
    is dbt's own log, ``?q=`` searches all of them.
    """
    run = run_of(membership, project_id, run_id)
    steps = list(run.steps.all())
    asked = Asked.of(request)
    read = debug_log if asked.stream == Stream.DEBUG else console_log
    context: dict[str, Any] = {"tab": "logs", "asked": asked, "steps": steps}
    if asked.words:
        found = [_search(step, read(step), asked) for step in steps if step.started_at]
        context["found"] = [one for one in found if one.number]
        context["found_number"] = sum(one.number for one in found)
        context["shown_number"] = sum(len(one.lines) for one in found)
    else:
        wanted = _open_steps(run, steps, asked)
        context["groups"] = [_group(step, wanted, asked, read) for step in steps]
    return run_page(request, membership, "console/run_logs.html", run, context)


def _open_steps(run: Run, steps: Sequence[RunStep], asked: Asked) -> list[int]:
    """Which logs are open: those asked for, else what failed, else what a reader wants."""
    wanted = set(asked.opened or ())
    if asked.place:
        wanted.add(asked.place[0])
    if asked.opened is None and not asked.place:
        speaking = speaking_step(run, steps)
        failed = [step.index for step in steps if step.status == RunStatus.ERROR]
        wanted = set(failed or ([speaking.index] if speaking else []))
    known = [step.index for step in steps if step.index in wanted]
    return known[:MOST_OPEN]


def _group(
    step: RunStep, opened: Sequence[int], asked: Asked, read: Callable[[RunStep], str]
) -> Group:
    others = [index for index in opened if index != step.index]
    place = f"step-{step.index}"
    if step.index not in opened:
        return Group(step, is_open=False, address=asked.address([*others, step.index], to=place))
    lines = _lines(read(step))
    pieces = []
    shown_up_to = 0
    for first, last in _shown(len(lines), asked.place, step.index):
        hidden = first - shown_up_to - 1
        at = f"{step.index}-{shown_up_to + BEFORE + 1}"
        pieces.append(
            Lines(
                [Line(n, coloured(_cut(lines[n - 1]))) for n in range(first, last + 1)],
                hidden=hidden,
                show=asked.address(opened, at=at, to=f"{place}-L{shown_up_to + 1}"),
            )
        )
        shown_up_to = last
    return Group(
        step,
        is_open=True,
        address=asked.address(others, to=place),
        number=len(lines),
        pieces=pieces,
    )


def _shown(number: int, place: tuple[int, int] | None, step: int) -> list[tuple[int, int]]:
    """Which of ``number`` lines are shown: pairs of a first and a last one, in order, apart."""
    wanted = [(1, FIRST), (number - LAST + 1, number)]
    if place and place[0] == step:
        wanted.append((place[1] - BEFORE, place[1] + AFTER))
    apart: list[tuple[int, int]] = []
    for first, last in sorted((max(first, 1), min(last, number)) for first, last in wanted):
        if first > last:
            continue
        if apart and first <= apart[-1][1] + 1:
            apart[-1] = (apart[-1][0], max(apart[-1][1], last))
        else:
            apart.append((first, last))
    return apart


def _lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _cut(line: str) -> str:
    left = len(line) - LONGEST_LINE
    return f"{line[:LONGEST_LINE]} … {left} more characters" if left > 0 else line


def _search(step: RunStep, text: str, asked: Asked) -> Found:
    words = re.compile(re.escape(asked.words), re.IGNORECASE)
    count, lines = 0, []
    for place, line in enumerate(_lines(text), start=1):
        shown = plain(line)
        if words.search(shown) is None:
            continue
        count += 1
        if count <= MOST_FOUND:
            anchor = f"step-{step.index}-L{place}"
            address = asked.address([step.index], at=f"{step.index}-{place}", to=anchor)
            lines.append((Line(place, _marked(_cut(shown), words)), address))
    return Found(step, count, lines)


def _marked(line: str, words: re.Pattern[str]) -> SafeString:
    parts, place = [], 0
    for match in words.finditer(line):
        parts.append(format_html("{}<mark>{}</mark>", line[place : match.start()], match[0]))
        place = match.end()
    return SafeString("".join([*parts, format_html("{}", line[place:])]))
