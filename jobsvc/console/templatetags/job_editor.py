"""What the job editor's templates ask."""

from __future__ import annotations

from django import template
from django.forms import BoundField

from jobsvc.console.forms.job import API_NAMES, EXTENDED

register = template.Library()


@register.filter
def api_name(field: BoundField) -> str:
    """What the API calls a field of the editor."""
    if field.name in EXTENDED:
        return f"extensions.{EXTENDED[field.name]}"
    return API_NAMES.get(field.name, field.name)
