"""JSON from outside, read no further than it can be kept.

What no column can keep (NUL, half of a surrogate pair, NaN, a tower of brackets) is refused
here, for whoever reads what strangers send.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 64  # brackets within brackets


class NotKeepable(ValueError):
    """It is not JSON, or JSON that cannot be kept. ``str(error)`` says why and what to do."""


def read(raw: bytes) -> Any:
    """``raw`` as Python values.

    Raises:
        NotKeepable
    """
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise NotKeepable(f"The body nests deeper than {MAX_DEPTH} levels. Flatten it.") from error
    except ValueError as error:
        raise NotKeepable(f"The body is not valid JSON: {error}. Send a JSON object.") from error
    check(value)
    return value


def check(value: Any) -> None:
    """Refuse what cannot be kept anywhere within ``value``.

    Raises:
        NotKeepable
    """
    left: list[tuple[Any, int]] = [(value, 1)]
    while left:
        item, depth = left.pop()
        if depth > MAX_DEPTH:
            raise NotKeepable(f"The body nests deeper than {MAX_DEPTH} levels. Flatten it.")
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict):
            for key, part in item.items():
                _check_text(key)
                left.append((part, depth + 1))
        elif isinstance(item, list):
            left.extend((part, depth + 1) for part in item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise NotKeepable("The body has a number that is too large. Send a smaller one.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise NotKeepable("The body has a NUL character in a text. Remove it.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise NotKeepable("The body has half of a surrogate pair in a text. Remove it.")
