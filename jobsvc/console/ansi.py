"""Colours of a terminal as classes of our own; every other code of one is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from jobsvc.console.templatetags.console import plain

COLOURS = {1: "red", 2: "green", 3: "yellow", 4: "blue", 5: "magenta", 6: "cyan"}
_COLOUR = re.compile(r"\x1b\[([0-9;]{0,40})m")


def coloured(line: str) -> SafeString:
    """One line of a log, its colours as spans and all else as text."""
    return SafeString("".join(_parts(line)))


def _parts(line: str) -> Iterator[str]:
    place, colour = 0, ""
    for code in _COLOUR.finditer(line):
        yield _part(line[place : code.start()], colour)
        place, colour = code.end(), _after(code[1], colour)
    yield _part(line[place:], colour)


def _part(text: str, colour: str) -> str:
    shown = plain(text)
    if not colour or not shown:
        return conditional_escape(shown)
    return format_html('<span class="ansi-{}">{}</span>', colour, shown)


def _after(codes: str, colour: str) -> str:
    """The colour of what follows a code; the last of its numbers that speaks of one counts."""
    for word in codes.split(";"):
        number = int(word or 0)
        if number in {0, 39}:
            colour = ""
        elif number // 10 in {3, 9} and number % 10 in COLOURS:
            colour = COLOURS[number % 10]
    return colour
