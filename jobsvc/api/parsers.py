"""Reading a request's body, as leniently as dbt Cloud's clients need and no further.

Nothing, blanks and ``null`` are "no arguments". What no column can keep (NUL, half of a
surrogate pair, NaN, a tower of brackets) is refused here, once for all fields.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from django.http import QueryDict
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

MAX_DEPTH = 64  # brackets within brackets
FORM = "application/x-www-form-urlencoded"


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = "The body is too large. Send less at once."


class LenientJSONParser(BaseParser):
    """Reads JSON under any content type; a form, too, where it really is one."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The body as Python values.

        Raises:
            ParseError: it is not JSON, or JSON that cannot be kept.
            TooLarge: it has more bytes than ``DATA_UPLOAD_MAX_MEMORY_SIZE``.
        """
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise TooLarge()
        if not raw.strip():
            return {}
        # `curl -d '{…}'` calls its JSON a form, so what looks like JSON is read as JSON.
        if (media_type or "").startswith(FORM) and not raw.lstrip().startswith((b"{", b"[")):
            try:
                value: Any = QueryDict(raw).dict()
            except (ValueError, UnicodeDecodeError) as error:
                raise ParseError("The form cannot be read. Send a JSON object.") from error
        else:
            value = _read_json(raw)
        _refuse_what_cannot_be_kept(value)
        return {} if value is None else value


def _read_json(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ParseError(f"The body nests deeper than {MAX_DEPTH} levels. Flatten it.") from error
    except ValueError as error:
        raise ParseError(f"The body is not valid JSON: {error}. Send a JSON object.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _refuse_what_cannot_be_kept(value: Any) -> None:
    left: list[tuple[Any, int]] = [(value, 1)]
    while left:
        item, depth = left.pop()
        if depth > MAX_DEPTH:
            raise ParseError(f"The body nests deeper than {MAX_DEPTH} levels. Flatten it.")
        if isinstance(item, str):
            _refuse_text(item)
        elif isinstance(item, dict):
            for key, part in item.items():
                _refuse_text(key)
                left.append((part, depth + 1))
        elif isinstance(item, list):
            left.extend((part, depth + 1) for part in item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise ParseError("The body has a number that is too large. Send a smaller one.")


def _refuse_text(text: str) -> None:
    if "\0" in text:
        raise ParseError("The body has a NUL character in a text. Remove it.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("The body has half of a surrogate pair in a text. Remove it.")
