"""Text of strangers, made harmless for the pages of a git host.

Names, messages and paths come from a repository that anybody may have written to. On a page they
are shown as code alone: there nothing is a link, nobody is called by an ``@``, no number is taken
for an issue, and no sign is markup. What remains is that nobody may break out of the code.

Source: the GitHub Flavored Markdown Spec, "Code spans" and "Fenced code blocks"; GitHub's REST
API, limits of statuses, check runs and issue comments.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST_DESCRIPTION = 140  # characters of a commit status; GitHub answers a longer one with 422
LONGEST_NAME = 200  # characters of a name that is shown
SHORTEST_FENCE = 3

_PLAIN_WORDS = re.compile("[a-z][a-z ]{0,38}[a-z]")
_TICKS = re.compile("`+")


def plain(text: object, most: int = LONGEST_NAME) -> str:
    """One line of at most ``most`` characters, for where a page shows text as it is.

    Signs that cannot be seen or that turn the direction of the line go, and so do those beyond
    the first plane, which GitHub refuses in a status.
    """
    seen = "".join(sign if _is_seen(sign) else " " for sign in str(text))
    return shortened(" ".join(seen.split()), most)


def word(text: object) -> str:
    """``text`` as it is where it is made of plain letters, as dbt's own words are; else as code."""
    return str(text) if _PLAIN_WORDS.fullmatch(str(text)) else code(text, 40)


def code(text: object, most: int = LONGEST_NAME) -> str:
    """A code span that holds ``text``, wherever it stands in a line."""
    shown = plain(text, most) or "(no name)"
    ticks = "`" * (_longest_ticks(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def block(text: object, *, characters: int, lines: int) -> str:
    """A block of code that holds the first lines of ``text``; to stand between empty lines."""
    kept = "".join(sign if sign == "\n" or _is_seen(sign) else " " for sign in _ended(str(text)))
    shown = [line.rstrip() for line in kept.split("\n") if line.strip()]
    if len(shown) > lines:
        shown = [*shown[:lines], "…"]
    held = shortened("\n".join(shown), characters)
    fence = "`" * max(_longest_ticks(held) + 1, SHORTEST_FENCE)
    return f"{fence}text\n{held}\n{fence}"


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def number_of(number: int, noun: str) -> str:
    """For example ``1 node`` or ``1,200 nodes``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def naming(start: str, names: Sequence[str], *, most: int = LONGEST_DESCRIPTION) -> str:
    """``start`` and as many of ``names`` as ``most`` characters hold; the rest are counted.

    For example ``2 nodes failed: orders, unique_id``.
    """
    shown = [plain(name) for name in names]

    def told(number: int) -> str:
        left = len(shown) - number
        listed = ", ".join([*shown[:number], *([f"{left} more"] if left else [])])
        return f"{start}: {listed}" if number else start

    places = range(min(len(shown), most) + 1)
    return shortened(told(max((n for n in places if len(told(n)) <= most), default=0)), most)


def _ended(text: str) -> str:
    """``text`` with one kind of line end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _longest_ticks(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)


def _is_seen(sign: str) -> bool:
    # Cc, Cf, Cs, Co, Cn: control signs, marks of direction, halves of a pair, and no signs at all.
    return unicodedata.category(sign)[0] != "C" and ord(sign) <= 0xFFFF
