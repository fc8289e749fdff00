"""How addresses are written: ids that fit a column, and every path with and without its slash."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path, register_converter
from django.urls.converters import IntConverter, StringConverter
from django.views import View

LARGEST_ID = 2**63 - 1


class IdConverter(IntConverter):
    """A whole number that a column of ids can hold; others are addresses of nothing."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        number = int(value)
        if number > LARGEST_ID:
            raise ValueError
        return number


class TextIdConverter(StringConverter):
    """An id that is a text, such as ``wsu_…``; others are addresses of nothing."""

    regex = "[A-Za-z0-9_]{1,40}"


register_converter(IdConverter, "id")
register_converter(TextIdConverter, "text")


def both(route: str, view: type[View], **options: Any) -> list[URLPattern]:
    """``route`` (written without its last slash) in both forms. Neither redirects.

    Half of dbt Cloud's clients leave the slash out, also where they post; a redirected POST
    would arrive as a GET.
    """
    once_in_the_document = {"schema": None}
    return [
        path(f"{route}/", view.as_view(**options)),
        path(route, view.as_view(**options | once_in_the_document)),
    ]
