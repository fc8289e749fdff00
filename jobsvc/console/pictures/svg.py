"""Elements of SVG as text, everything that goes into them escaped."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

Attribute = str | float | None


def element(name: str, *children: str | None, **attributes: Attribute) -> SafeString:
    """``element("rect", x=1, class_="bar")``: ``<rect x="1" class="bar"></rect>``.

    Args:
        children: text is escaped, elements are not. None is left out.
        attributes: an underscore stands for a hyphen, one at the end for nothing; numbers are
            rounded to hundredths; None leaves the attribute out.
    """
    written = format_html_join(
        "",
        ' {}="{}"',
        ((_name(key), _value(value)) for key, value in attributes.items() if value is not None),
    )
    return format_html("<{0}{1}>{2}</{0}>", name, written, joined(children))


def joined(children: Iterable[str | None]) -> SafeString:
    """``children`` one after the other; text is escaped."""
    parts = (conditional_escape(child) for child in children if child is not None)
    return SafeString("".join(parts))


def _name(key: str) -> str:
    # SVG has names with capitals (viewBox) and with hyphens (text-anchor), none with underscores.
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return f"{round(value, 2):g}" if isinstance(value, int | float) else value
