"""Known secrets out of everything that leaves a run: logs as they come, files as a whole.

A value is found as it stands and as programs write it down: escaped for JSON or Python,
percent-encoded for a URL, inside base64. What no such program makes of it (reversed, cut,
encrypted) passes: this guards against accidents, the sandbox against intent.
"""

from __future__ import annotations

import base64
import codecs
import html
import json
from collections.abc import Iterable
from typing import BinaryIO
from urllib.parse import quote, quote_plus

MASK = b"*****"
SHORTEST_VALUE = 4  # characters: what is shorter stands in every text by chance
SHORTEST_LINE = 6  # of a value of several lines
SHORTEST_BASE64 = 6
CHUNK = 256 * 1024  # bytes read from a file at once


class Redactor:
    """Masks secrets in one stream, however it is cut into chunks.

    Output is held back only while its end could still become a secret, so a line is shown as
    soon as it is complete.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = _forms(secrets)
        self._stream = _Stream(self._forms)
        self._decoder = _decoder()

    def feed(self, data: bytes) -> str:
        """The next text that may be shown; maybe none. Without NUL, invalid UTF-8 replaced."""
        if b"\x00" in data:
            # First of all: a secret with NUL bytes inside must not join up afterwards.
            data = data.replace(b"\x00", b"")
        return self._decoder.decode(self._stream.feed(data))

    def flush(self) -> str:
        """What was still held back. The stream is over; the next ``feed`` begins another."""
        rest = self._decoder.decode(self._stream.flush(), final=True)
        self._decoder.reset()
        return rest

    def scrub_file(self, source: BinaryIO, destination: BinaryIO) -> None:
        """Copy a file of any size, its secrets masked, in memory of a few chunks."""
        stream = _Stream(self._forms)
        while chunk := source.read(CHUNK):
            destination.write(stream.feed(chunk))
        destination.write(stream.flush())


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")(errors="replace")


class _Stream:
    """Bytes in, the same bytes with every occurrence of a form masked out.

    A byte is masked if any occurrence covers it; occurrences that overlap become one mask.
    """

    def __init__(self, forms: tuple[bytes, ...]) -> None:
        self._forms = forms
        self._held = b""
        self._covered = 0  # bytes of _held that a mask already written stands for
        self._before = b""  # the byte before _held

    def feed(self, data: bytes) -> bytes:
        if not self._forms:
            return data
        held = self._held + data
        return self._release(held, self._undecided_from(held))

    def flush(self) -> bytes:
        rest = self._release(self._held, len(self._held), is_end=True)
        self._before = b""
        return rest

    def _release(self, held: bytes, end: int, *, is_end: bool = False) -> bytes:
        """Write out ``held`` up to ``end``, masked, and keep the rest."""
        shown: list[bytes] = []
        position = self._covered
        for start, stop in self._occurrences(held, is_end=is_end):
            if start >= end:
                break
            if start >= position:
                shown += (held[position:start], MASK)
            position = max(position, stop)
        if position < end:
            shown.append(held[position:end])
        self._covered = max(position - end, 0)
        self._before = held[end - 1 : end] or self._before
        self._held = held[end:]
        return b"".join(shown)

    def _occurrences(self, held: bytes, *, is_end: bool) -> list[tuple[int, int]]:
        """Where each form stands in ``held``, by place; overlapping ones, too."""
        found: list[tuple[int, int]] = []
        for form in self._forms:
            start, place = held.find(form), -1
            while start >= 0:
                stop = start + len(form)
                if not form.isdigit() or self._is_whole_number(held, start, stop, is_end):
                    if place >= 0 and start < found[place][1]:
                        found[place] = (found[place][0], stop)
                    else:
                        place = len(found)
                        found.append((start, stop))
                start = held.find(form, start + 1)
        found.sort()
        return found

    def _is_whole_number(self, held: bytes, start: int, stop: int, is_end: bool) -> bool:
        """A value of digits is masked as a number only, not inside a longer one.

        Otherwise a PIN would be found in the fractions of seconds of every artifact.
        """
        before = held[start - 1 : start] if start else self._before
        after = held[stop : stop + 1]
        return not before.isdigit() and not after.isdigit() and (is_end or after != b"")

    def _undecided_from(self, held: bytes) -> int:
        """The first place from which a form may still be coming."""
        first = len(held)
        for form in self._forms:
            # A number is whole only once the byte after it is known.
            longest = len(form) if form.isdigit() else len(form) - 1
            place = held.find(form[:1], max(len(held) - longest, 0))
            while 0 <= place < first:
                if form.startswith(held[place:]):
                    first = place
                place = held.find(form[:1], place + 1)
        return first


def _forms(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Every byte string that gives a secret away."""
    forms: set[bytes] = set()
    for secret in (secret.strip() for secret in secrets):
        if len(secret) < SHORTEST_VALUE:
            continue
        forms |= _written(secret) | _inside_base64(secret)
        # A program may print a key line by line, with anything between the lines.
        lines = [line.strip() for line in secret.splitlines()]
        if len(lines) > 1:
            forms = forms.union(*(_written(line) for line in lines if len(line) >= SHORTEST_LINE))
    return tuple(sorted(forms))


def _written(value: str) -> set[bytes]:
    """``value`` as text, as JSON, as a Python literal, in HTML and in a URL."""
    once = json.dumps(value)[1:-1]
    for_html = "".join(f"\\u{ord(c):04x}" if c in "<>&'" else c for c in once)
    texts = {value, value.replace("\n", "\r\n"), html.escape(value), once, for_html}
    texts |= {
        json.dumps(value, ensure_ascii=False)[1:-1],
        json.dumps(once)[1:-1],
        repr(value)[1:-1],
    }
    for quoted in {quote(value), quote(value, safe=""), quote_plus(value)}:
        texts |= {quoted, _lower_escapes(quoted)}
    return {text.encode("utf-8", "replace") for text in texts}


def _lower_escapes(quoted: str) -> str:
    """``%2f`` for ``%2F``."""
    first, *rest = quoted.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _inside_base64(value: str) -> set[bytes]:
    """The part of base64 text that ``value`` alone decides, at each place it can begin."""
    raw = value.encode("utf-8", "replace")
    inside: set[bytes] = set()
    for shift, first in ((0, 0), (1, 2), (2, 3)):
        whole = (shift + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            decided = encode(b"\x00" * shift + raw)[first:whole]
            if len(decided) >= SHORTEST_BASE64:
                inside.add(decided)
    return inside
