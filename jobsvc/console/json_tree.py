"""A JSON document as a tree that fits a page: so deep, so many parts, each string so long."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

DEEPEST = 4  # levels shown below the place that was asked for
MOST_PARTS = 1500  # on one page
MOST_OF_ONE = 200  # parts of one list or object
LONGEST_STRING = 1000  # characters
LONGEST_KEY = 200


@dataclass(frozen=True)
class Part:
    """One value of the document.

    Attributes:
        path: of keys, from the document's top.
        value: as JSON, cut; of a list or an object what it holds, in words.
        hidden: parts of it that are not shown here.
    """

    key: str
    path: Sequence[str]
    value: str
    parts: Sequence[Part] = ()
    hidden: int = 0

    @property
    def holds(self) -> bool:
        """Whether it is a list or an object with something in it."""
        return bool(self.parts or self.hidden)

    @property
    def address(self) -> str:
        """Its place, as ``at`` takes it."""
        return json.dumps(list(self.path))


def tree_of(document: Any, at: str) -> Part | None:
    """The part at ``at``, a JSON list of keys, with what is in it; None where there is none."""
    path = _path(at)
    found = document
    for key in path:
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    left = iter(range(MOST_PARTS))
    return _part(path[-1] if path else "", tuple(path), found, DEEPEST, left)


def _path(at: str) -> list[str]:
    try:
        path = json.loads(at) if at else []
    except (ValueError, RecursionError):
        return []
    return [str(key) for key in path] if isinstance(path, list) else []


def _part(key: str, path: tuple[str, ...], value: Any, depth: int, left: Iterator[int]) -> Part:
    short = _sendable(key[:LONGEST_KEY])
    if not isinstance(value, dict | list) or not value:
        return Part(short, path, _text(value))
    words = _counted(len(value), "key" if isinstance(value, dict) else "item")
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    parts: list[Part] = []
    if depth > 0:
        for name, one in islice(pairs, MOST_OF_ONE):
            if next(left, None) is None:
                break
            parts.append(_part(str(name), (*path, str(name)), one, depth - 1, left))
    return Part(short, path, words, parts, hidden=len(value) - len(parts))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _text(value: Any) -> str:
    text = _sendable(json.dumps(value, ensure_ascii=False))
    more = len(text) - LONGEST_STRING
    return f"{text[:LONGEST_STRING]} … {more:,} more characters" if more > 0 else text


def _sendable(text: str) -> str:
    """``text`` without halves of characters, which JSON can name and no page can hold."""
    return text.encode(errors="replace").decode()
