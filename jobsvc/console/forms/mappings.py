"""A field for keys and values of anybody's choosing, written as YAML."""

from __future__ import annotations

from typing import Any

import yaml
from django import forms

from jobsvc import strictjson

LONGEST = 20_000  # characters


class MappingField(forms.CharField):
    """YAML (or JSON, which is YAML, too) to a dict that a JSON column can keep."""

    widget = forms.Textarea(attrs={"rows": 5, "spellcheck": "false", "class": "code"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": LONGEST, "required": False, "strip": False} | options)

    def prepare_value(self, value: Any) -> Any:
        """What is there as YAML; what was typed as it was typed."""
        return written(value) if isinstance(value, dict) else value

    def clean(self, value: Any) -> dict[str, Any]:
        return read(super().clean(value) or "")


def written(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False) if value else ""


def read(text: str) -> dict[str, Any]:
    """The mapping that ``text`` writes.

    Raises:
        ValidationError: no mapping, or one that no JSON column can keep.
    """
    try:
        # An alias could make a few lines into gigabytes.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise forms.ValidationError("Write it without anchors and aliases (& and *).")
        value = yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        mark = getattr(wrong, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise forms.ValidationError(
            f"This is not YAML{where}. Write one “name: value” a line."
        ) from wrong
    except (RecursionError, ValueError) as wrong:
        raise forms.ValidationError("This cannot be read. Write “name: value” lines.") from wrong
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise forms.ValidationError("Write “name: value” lines.")
    _check(value)
    return value


def _check(value: dict[str, Any]) -> None:
    try:
        _check_kinds(value)
        strictjson.check(value)
    except strictjson.NotKeepable as refused:
        sentence = str(refused).replace("The body", "It")
        raise forms.ValidationError(sentence) from refused


def _check_kinds(value: Any) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise forms.ValidationError(f"Put the name {key} into quotes.")
            _check_kinds(part)
    elif isinstance(value, list):
        for part in value:
            _check_kinds(part)
    elif not (value is None or isinstance(value, str | int | float)):
        raise forms.ValidationError(f"Put {value} into quotes.")
