"""The menu beside every page of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import template
from django.urls import reverse

from accounts.models import Membership
from jobsvc.console.settings_places import SETTINGS

register = template.Library()


@dataclass(frozen=True)
class Entry:
    """A place with its address; ``current`` is its aria-current, empty where one is not."""

    words: str
    about: str
    url: str
    current: str


@register.simple_tag(takes_context=True)
def settings_entries(context: dict[str, Any], membership: Membership) -> list[Entry]:
    """What this member may see of the settings."""
    path = context["request"].path
    entries = []
    for place in SETTINGS:
        if place.may is not None and not membership.may(place.may):
            continue
        url = reverse(f"console:{place.name}", args=[membership.account_id])
        is_here = path.rstrip("/") == url.rstrip("/")
        current = "page" if is_here else "true" if path.startswith(url) else ""
        entries.append(Entry(place.words, place.about, url, current))
    return entries
