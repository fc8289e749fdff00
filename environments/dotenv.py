"""Lines of a ``.env`` file: read, and written. Nothing in them is expanded or run."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<rest>.*)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,-]*")


def read(text: str) -> dict[str, str]:
    """Name to value. ``#`` begins a comment, ``export`` before a name is left out.

    A value in single quotes is taken as it is; in double quotes ``\\n``, ``\\t``, ``\\"`` and
    ``\\\\`` are what they are in a shell's ``$'…'``. A quoted value ends in its line.

    Raises:
        ValueError: a line that is none of this, or a name that is there twice; it says which.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        line = raw.removeprefix("\ufeff").strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"Line {number} is not of the form NAME=value.")
        name = match["name"]
        if name in values:
            raise ValueError(f"Line {number} gives {name} a second time. Keep one of them.")
        try:
            values[name] = _value(match["rest"])
        except ValueError as wrong:
            raise ValueError(f"Line {number}: {wrong}") from wrong
    return values


def _value(rest: str) -> str:
    if rest[:1] not in {"'", '"'}:
        return re.split(r"\s+#|^#", rest, maxsplit=1)[0].rstrip()
    quoted = re.match(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"", rest)
    if quoted is None:
        raise ValueError("the quote is not closed in its line.")
    after = rest[quoted.end() :].strip()
    if after and not after.startswith("#"):
        raise ValueError("there is something behind the closing quote.")
    if quoted[1] is not None:
        return quoted[1]
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[0]), quoted[2])


def written(values: Mapping[str, str]) -> str:
    """``values`` so that ``read`` reads them back, one a line."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in values.items())


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    letters = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "$": "\\$"}
    return '"' + "".join(letters.get(letter, letter) for letter in value) + '"'
