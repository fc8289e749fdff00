"""What the query string of a page asks for, read without trust."""

from __future__ import annotations

from django.http import HttpRequest

LARGEST_NUMBER = 10**18  # what a 64-bit column holds, and more than there will ever be


def number(request: HttpRequest, name: str) -> int | None:
    """A number of the query string; None where it is absent or no number we could have."""
    text = request.GET.get(name, "")
    if not (text.isascii() and text.isdigit()):
        return None
    found = int(text[:20])
    return found if found < LARGEST_NUMBER else None
