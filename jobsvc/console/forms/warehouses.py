"""The fields of a warehouse, for its connection or for who signs in, as adapters declare them.

A secret goes in and never comes out: an empty field keeps what is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django import forms
from django.forms.boundfield import BoundField

from environments.adapters import Adapter, Field
from jobsvc import strictjson
from jobsvc.console.forms.mappings import MappingField

LABELS = {
    "dbname": "Database",
    "sslmode": "SSL mode",
    "http_path": "HTTP path",
    "http_scheme": "HTTP scheme",
    "jwt_token": "JWT",
    "auth_type": "Signs in by",
    "oauth_client_id": "OAuth client id",
    "oauth_client_secret": "OAuth client secret",
    "allow_sso": "Allow single sign-on",
    "type": "Type in the profile",
}
HINTS = {
    "hostname": "The name or address alone, such as db.example.com.",
    "host": "The name or address alone, such as db.example.com.",
    "path": "A file name such as warehouse.duckdb, kept in a folder of your account; or :memory:.",
    "type": "The name of the dbt adapter, such as clickhouse for dbt-clickhouse.",
}
LONG_SECRETS = {"private_key"}
FURTHER = "further"  # of an adapter that is not declared: its other fields


def label_of(name: str) -> str:
    return LABELS.get(name, name.replace("_", " ").capitalize())


class WarehouseForm(forms.Form):
    """Fields made of an adapter's declaration. ``given`` is what was filled in, as the API
    takes it, with the secrets that stay."""

    def __init__(
        self,
        data: Any = None,
        *,
        adapter: Adapter,
        declared: Iterable[Field],
        judge: Callable[[str, Mapping[str, Any]], dict[str, str]],
        config: Mapping[str, Any],
        secrets: Mapping[str, Any],
        prefix: str,
    ) -> None:
        super().__init__(data, prefix=prefix)
        self.adapter, self.judge = adapter, judge
        self.declared = tuple(declared)
        self.there = secrets
        self.given: dict[str, Any] = {}
        for field in self.declared:
            self.fields[field.name] = self._field(field)
            if not field.secret:
                self.initial[field.name] = _as_typed(config.get(field.name))
            elif field.name in secrets and not field.required:
                self.fields[_remove(field.name)] = forms.BooleanField(
                    label=f"Remove the {label_of(field.name).lower()}", required=False
                )
        if adapter.free:
            self._add_further(config)

    def _field(self, field: Field) -> forms.Field:
        options: dict[str, Any] = {
            "label": label_of(field.name),
            "required": False,  # the adapter itself says what it needs, in better words
            "help_text": HINTS.get(field.name, ""),
        }
        if field.secret:
            return self._secret(field, options)
        attributes: dict[str, Any] = {"autocomplete": "off"}
        attributes |= {"required": True} if field.required else {}
        if field.choices or field.kind == "boolean":
            choices = [(one, one) for one in field.choices] or [("true", "yes"), ("false", "no")]
            return forms.ChoiceField(**options, choices=[("", "not set"), *choices])
        if field.kind in {"list", "object"}:
            options["help_text"] = "One a line." if field.kind == "list" else "A JSON object."
            area = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", **attributes})
            return forms.CharField(**options, widget=area)
        if field.kind in {"port", "number"}:
            attributes |= {"inputmode": "numeric"}
            if field.kind == "port" and self.adapter.port and not self.adapter.free:
                attributes |= {"placeholder": str(self.adapter.port)}
        return forms.CharField(**options, widget=forms.TextInput(attrs=attributes))

    def _secret(self, field: Field, options: dict[str, Any]) -> forms.Field:
        attributes: dict[str, Any] = {"autocomplete": "new-password", "spellcheck": "false"}
        if field.name in self.there:
            options["help_text"] = "Set, and not shown again. Leave it empty to keep it."
            attributes["placeholder"] = "••••••••"
        elif field.required:
            attributes["required"] = True
        if field.name in LONG_SECRETS:
            widget: forms.Widget = forms.Textarea(attrs=attributes | {"rows": 4, "class": "code"})
        else:
            widget = forms.PasswordInput(attrs=attributes)
        return forms.CharField(**options, widget=widget, strip=False)

    def _add_further(self, config: Mapping[str, Any]) -> None:
        names = {field.name for field in self.declared}
        kept = ", ".join(sorted(self.there))
        self.fields[FURTHER] = MappingField(
            label="Fields of the profile",
            help_text="One “name: value” a line, as the pages of the adapter name them. What is "
            "called password, secret, token, private or key is kept secret."
            + (f" Set, and not shown again: {kept}. A null removes one." if kept else ""),
        )
        self.initial[FURTHER] = {name: value for name, value in config.items() if name not in names}

    # --- For the page ---------------------------------------------------------------------

    def main(self) -> list[BoundField]:
        """What everybody fills in, and what was found wrong."""
        return [field for field in self if not self._is_rare(field)]

    def rare(self) -> list[BoundField]:
        """What most people leave alone."""
        return [field for field in self if self._is_rare(field)]

    def _is_rare(self, bound: BoundField) -> bool:
        if bound.errors or len(self.declared) <= 4:
            return False
        name = bound.name.removeprefix("remove-")
        field = next((one for one in self.declared if one.name == name), None)
        if field is None or field.required or name in self.there:
            return False
        common = field.secret and bool(field.key)
        return not (common or field.kind == "port" or bound.value())

    # --- What was filled in ----------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.given = self._given(cleaned)
        for name, sentence in self.judge(self.adapter.name, self.given).items():
            self._wrong(name, sentence)
        return cleaned

    def _wrong(self, name: str, sentence: str) -> None:
        if name in self.fields:
            if name not in self.errors:
                self.add_error(name, sentence)
        else:
            self.add_error(FURTHER if FURTHER in self.fields else None, f"{name}: {sentence}")

    def _given(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = dict(cleaned.get(FURTHER) or {})
        if self.adapter.free:
            given = {**self.there, **given}
        for field in self.declared:
            value = self._value(field, cleaned)
            if value not in (None, "", [], {}):
                given[field.name] = value
        return given

    def _value(self, field: Field, cleaned: Mapping[str, Any]) -> Any:
        typed = cleaned.get(field.name) or ""
        if field.secret and not typed:
            removed = cleaned.get(_remove(field.name))
            return None if removed else self.there.get(field.name)
        if typed and field.kind == "boolean":
            return typed == "true"
        if field.kind == "list":
            return [line.strip() for line in typed.splitlines() if line.strip()]
        return _parsed(typed) if typed and field.kind == "object" else typed


class RotateForm(forms.Form):
    """New values for the secrets that there are. ``given`` is what was filled in, by name."""

    def __init__(self, data: Any = None, *, names: Iterable[str]) -> None:
        super().__init__(data, prefix="new")
        for name in sorted(names):
            attributes = {"autocomplete": "new-password", "spellcheck": "false"}
            widget: forms.Widget = forms.PasswordInput(attrs=attributes)
            if name in LONG_SECRETS:
                widget = forms.Textarea(attrs=attributes | {"rows": 4, "class": "code"})
            self.fields[name] = forms.CharField(
                label=f"New {label_of(name).lower()}", required=False, strip=False, widget=widget
            )

    @property
    def given(self) -> dict[str, str]:
        return {name: value for name, value in self.cleaned_data.items() if value}


def _remove(name: str) -> str:
    return f"remove-{name}"


def _parsed(typed: str) -> Any:
    """JSON; what is none stays a text, which the adapter refuses in its own words."""
    try:
        value = json.loads(typed)
        strictjson.check(value)
    except (ValueError, RecursionError):
        return typed
    return value


def _as_typed(value: Any) -> str:
    """A value as it stands in a text field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "\n".join(str(one) for one in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)
