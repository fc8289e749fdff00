"""Elements of SVG as text, everything that goes into them escaped."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape

from django.utils.safestring import SafeString

Attribute = str | float | None


def element(name: str, *children: str | None, **attributes: Attribute) -> SafeString:
    """``element("rect", x=1, class_="bar")``: ``<rect x="1" class="bar"></rect>``.

    Args:
        children: text is escaped, elements are not. None is left out.
        attributes: an underscore stands for a hyphen, one at the end for nothing; numbers are
            rounded to hundredths; None leaves the attribute out.
    """
    # A page has thousands of these: format_html would be most of the time that it takes.
    written = "".join(
        [
            f' {_name(key)}="{_value(value)}"'
            for key, value in attributes.items()
            if value is not None
        ]
    )
    return SafeString(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[str | None]) -> SafeString:
    """``children`` one after the other; text is escaped."""
    return SafeString("".join([_text(child) for child in children if child is not None]))


def _text(text: str) -> str:
    return text if isinstance(text, SafeString) else escape(text)


@cache
def _name(key: str) -> str:
    # SVG has names with capitals (viewBox) and with hyphens (text-anchor), none with underscores.
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return _text(value) if isinstance(value, str) else f"{round(value, 2):g}"
