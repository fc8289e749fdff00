"""The request's number, on pages that have no request: they are shown when something broke."""

from __future__ import annotations

from django import template

from jobsvc.console.request_id import current

register = template.Library()


@register.simple_tag
def request_id() -> str:
    return current.get()
