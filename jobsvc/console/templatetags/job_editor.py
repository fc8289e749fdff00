"""What the job editor's templates ask."""

from __future__ import annotations

from django import template
from django.forms import BoundField

from jobsvc.console.forms.job import api_name_of

register = template.Library()


@register.filter
def api_name(field: BoundField) -> str:
    """What the API calls a field of the editor."""
    return api_name_of(field.name)
