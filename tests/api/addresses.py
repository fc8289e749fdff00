"""The table of the API's addresses, read off the URL configuration: a new one is swept at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

METHODS = ("get", "post", "put", "patch", "delete")
PUBLIC = ("api/schema", "api/docs")


@dataclass(frozen=True)
class Address:
    """One route of the API, such as ``api/v2/accounts/<id:account_id>/jobs/<id:pk>/``."""

    route: str
    methods: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The parameters in it: ``["account_id", "pk"]``."""
        return re.findall(r"<\w+:(\w+)>", self.route)

    def filled(self, values: Mapping[str, Any]) -> str:
        """The route with ``values`` for its parameters."""
        return "/" + re.sub(r"<\w+:(\w+)>", lambda found: str(values[found[1]]), self.route)

    @property
    def kind(self) -> str:
        """What ``pk`` is the id of: the word before it, such as ``jobs``."""
        found = re.search(r"([\w-]+)/<\w+:pk>", self.route)
        return found[1] if found else ""


def _patterns(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern.url_patterns, route)
        else:
            yield route, pattern


def addresses() -> list[Address]:
    """Every address that needs a token, in both slash forms."""
    found = []
    for route, pattern in _patterns(get_resolver().url_patterns):
        view = getattr(pattern.callback, "cls", None)
        methods = tuple(method for method in METHODS if hasattr(view, method))
        if route.startswith("api/v") and methods:
            found.append(Address(route, methods))
    return found
