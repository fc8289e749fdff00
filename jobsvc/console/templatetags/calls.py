"""The calls of the API that do what a page does."""

from __future__ import annotations

from typing import Any

from django import template

from accounts.models import Membership
from jobsvc.console.calls import calls_of

register = template.Library()


@register.inclusion_tag("console/_calls.html", takes_context=True)
def calls(context: dict[str, Any], membership: Membership) -> dict[str, Any]:
    """What stands at the foot of a page; nothing where the API has no such call."""
    return {"calls": calls_of(context["request"], membership)}
