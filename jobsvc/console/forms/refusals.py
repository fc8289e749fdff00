"""What a verb refused, said at the fields that it is about."""

from __future__ import annotations

from collections.abc import Mapping

from django import forms
from django.core.exceptions import ValidationError


def tell(
    form: forms.BaseForm, refused: ValidationError, names: Mapping[str, str] | None = None
) -> None:
    """Put ``refused`` into ``form``: at its fields, or above them all where it has none.

    Args:
        names: of the form's fields, by what the verb calls them, where they differ.
    """
    if not hasattr(refused, "error_dict"):
        form.add_error(None, refused)
        return
    for key, errors in refused.error_dict.items():
        field = (names or {}).get(key, key)
        for error in errors:
            form.add_error(field if field in form.fields else None, error)
