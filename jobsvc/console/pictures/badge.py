"""A job's status as a small picture for a page elsewhere: its name, and how it went last.

It is shown on its own and by pages of others, so its colours stand in it. Each pair of ground and
text has a contrast of 4.5 to 1 or more.
"""

from __future__ import annotations

from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element
from jobsvc.runs.looks import look
from jobsvc.runs.models import Run

HEIGHT = 20  # pixels
CHARACTER = 6.6  # pixels, of an average one in this font
PADDING = 7
LONGEST = 50  # characters of a name
GROUNDS = {"ok": "#0b6338", "err": "#a3201a", "warn": "#6b4700", "run": "#0b5199"}
GREY, NAME_GROUND, INK = "#56606c", "#24292f", "#ffffff"
NEVER = "never ran"


def badge(name: str, last: Run | None) -> SafeString:
    """The badge of a job called ``name`` whose newest ended run is ``last``."""
    shown = look(last) if last is not None else None
    word = shown.word.lower() if shown else NEVER
    text = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    left, right = (round(len(one) * CHARACTER) + 2 * PADDING for one in (text, word))
    ground = GROUNDS.get(shown.tone, GREY) if shown else GREY
    words = f"{text}: {word}"
    return element(
        "svg",
        element("title", words),
        element("rect", width=left, height=HEIGHT, fill=NAME_GROUND),
        element("rect", x=left, width=right, height=HEIGHT, fill=ground),
        _text(text, PADDING, left - 2 * PADDING),
        _text(word, left + PADDING, right - 2 * PADDING),
        xmlns="http://www.w3.org/2000/svg",
        width=left + right,
        height=HEIGHT,
        role="img",
        aria_label=words,
    )


def _text(text: str, x: float, width: float) -> SafeString:
    return element(
        "text",
        text,
        x=x,
        y=14,
        fill=INK,
        font_family="Verdana, 'DejaVu Sans', sans-serif",
        font_size=11,
        textLength=width,
        lengthAdjust="spacingAndGlyphs",
    )
