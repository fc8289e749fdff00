"""Reading a request's body, as leniently as dbt Cloud's clients need and no further.

Nothing, blanks and ``null`` are "no arguments". What no column can keep is refused here, once for
all fields (``jobsvc.strictjson``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.http import QueryDict
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from jobsvc import strictjson

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
        is_form = (media_type or "").startswith(FORM) and not raw.lstrip().startswith((b"{", b"["))
        try:
            value = _read_form(raw) if is_form else strictjson.read(raw)
        except strictjson.NotKeepable as refused:
            raise ParseError(str(refused)) from refused
        return {} if value is None else value


def _read_form(raw: bytes) -> dict[str, Any]:
    try:
        value = QueryDict(raw).dict()
    except (ValueError, UnicodeDecodeError) as error:
        raise ParseError("The form cannot be read. Send a JSON object.") from error
    strictjson.check(value)
    return value
