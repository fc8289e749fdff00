"""The lines of a step's log: which of them are shown, which are asked for, how each looks."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobsvc.console.ansi import coloured
from jobsvc.console.templatetags.console import plain

FIRST, LAST = 200, 800  # lines of a long log that are shown at once
BEFORE, AFTER = 200, 1800  # lines shown around one that was asked for
LONGEST_LINE = 5_000  # characters shown of one line

LEVELS = ("debug", "info", "warn", "error")  # dbt's, the least first
# How a line of dbt's debug log begins; one that begins otherwise belongs to the line before it.
_OF_A_LEVEL = re.compile(r"[0-9:]{8}\.[0-9]+ \[(debug|info|warn|error) *\]")


@dataclass(frozen=True)
class Line:
    """``number`` counts from 1."""

    number: int
    text: SafeString


@dataclass(frozen=True)
class Piece:
    """A run of lines; ``hidden`` ones between the piece before and this are left out.

    Attributes:
        more: how many of the hidden ones are shown next.
        at: the line to ask for, so that they are.
    """

    lines: Sequence[Line]
    hidden: int = 0
    more: int = 0
    at: int = 0


def lines_of(text: str) -> list[str]:
    """The lines of a log; a last one that has not ended counts."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def of_level(lines: Sequence[str], level: str) -> list[tuple[int, str]]:
    """Lines with their numbers, those of ``level`` and of worse ones; all where it is empty."""
    if level not in LEVELS:
        return list(enumerate(lines, start=1))
    wanted = set(LEVELS[LEVELS.index(level) :])
    kept, is_wanted = [], False
    for number, line in enumerate(lines, start=1):
        if begun := _OF_A_LEVEL.match(line):
            is_wanted = begun[1] in wanted
        if is_wanted:
            kept.append((number, line))
    return kept


def pieces_of(
    lines: Sequence[tuple[int, str]], *, around: int | None, words: re.Pattern[str] | None
) -> list[Piece]:
    """What is shown of ``lines``: the first, the last, and those around one.

    Args:
        around: the number of a line to be among them.
        words: what is marked in each line, which then has no colours.
    """
    place = None
    if around is not None:
        place = bisect_left(lines, around, key=lambda line: line[0]) + 1
    pieces = []
    shown_up_to = 0
    for first, last in _shown(len(lines), place):
        hidden = first - shown_up_to - 1
        pieces.append(
            Piece(
                [Line(number, shown(line, words)) for number, line in lines[first - 1 : last]],
                hidden=hidden,
                more=min(hidden, BEFORE + AFTER),
                at=lines[min(shown_up_to + BEFORE, len(lines) - 1)][0],
            )
        )
        shown_up_to = last
    return pieces


def _shown(number: int, place: int | None) -> list[tuple[int, int]]:
    """Which of ``number`` lines are shown: pairs of a first and a last one, in order, apart."""
    wanted = [(1, FIRST), (number - LAST + 1, number)]
    if place is not None:
        wanted.append((place - BEFORE, place + AFTER))
    apart: list[tuple[int, int]] = []
    for first, last in sorted((max(first, 1), min(last, number)) for first, last in wanted):
        if first > last:
            continue
        if apart and first <= apart[-1][1] + 1:
            apart[-1] = (apart[-1][0], max(apart[-1][1], last))
        else:
            apart.append((first, last))
    return apart


def shown(line: str, words: re.Pattern[str] | None = None) -> SafeString:
    """One line as text: its colours as classes or, where ``words`` are given, those marked."""
    if words is None:
        return coloured(_cut(line))
    return _marked(_cut(plain(line)), words)


def _cut(line: str) -> str:
    left = len(line) - LONGEST_LINE
    return f"{line[:LONGEST_LINE]} … {left} more characters" if left > 0 else line


def _marked(line: str, words: re.Pattern[str]) -> SafeString:
    parts, place = [], 0
    for match in words.finditer(line):
        parts.append(format_html("{}<mark>{}</mark>", line[place : match.start()], match[0]))
        place = match.end()
    return SafeString("".join([*parts, format_html("{}", line[place:])]))
