"""Models whose rows write down their own changes in the audit log."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, transaction

from accounts import audit
from jobsvc.statuses import State

# Of keys in JSON objects that people wrote.
LOOKS_SECRET = re.compile(r"pass|pwd|secret|token|private|credential|api_?key|access_?key", re.I)
IS_SET, CHANGED = "set", "changed"  # what is said of a secret
LONGEST_VALUE = 2000  # characters of one value that are kept
NEVER_TOLD = frozenset({"account", "created_at", "updated_at"})


@dataclass(frozen=True)
class Audit:
    """How changes of a model are written down.

    Attributes:
        word: dbt Cloud's, before the dot: ``job_definition``.
        secret: columns of which only a change is told; every ``secrets`` is one.
        noise: columns that the service itself writes while it works.
    """

    word: str
    secret: Collection[str] = ()
    noise: Collection[str] = ()
    added: str = "added"
    changed: str = "changed"
    removed: str = "removed"


class Audited(models.Model):
    """Saving or deleting such a row writes down what changed, in the same transaction."""

    AUDIT: ClassVar[Audit]

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and write down what differs from what was stored, if anything does."""
        fields = _told(self, kwargs.get("update_fields"))
        if not fields:
            super().save(*args, **kwargs)
            return
        with transaction.atomic():
            before = None if self._state.adding else _stored(self, fields)
            super().save(*args, **kwargs)
            if before is None:
                differences = dict(_differences(fields, _defaults(fields), self))
                self._record(self.AUDIT.added, differences)
            elif differences := dict(_differences(fields, before, self)):
                is_gone = differences.get("state", [None, None])[1] == State.DELETED
                self._record(self.AUDIT.removed if is_gone else self.AUDIT.changed, differences)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row, and write that down."""
        with transaction.atomic():
            self._record(self.AUDIT.removed, {})
            return super().delete(*args, **kwargs)

    @property
    def audit_word(self) -> str:
        return self.AUDIT.word

    def audit_accounts(self) -> Sequence[int | None]:
        """The accounts in whose logs this is."""
        return [getattr(self, "account_id", None)]

    def _record(self, verb: str, differences: Mapping[str, Any]) -> None:
        for account_id in self.audit_accounts():
            audit.record(
                f"{self.audit_word}.{verb}", self, account_id=account_id, differences=differences
            )


def _told(row: Audited, named: Iterable[str] | None) -> list[models.Field[Any, Any]]:
    """The columns to compare of those that are saved."""
    wanted = None if named is None else set(named)
    return [
        field
        for field in row._meta.concrete_fields
        if not field.primary_key
        and field.name not in NEVER_TOLD
        and field.name not in row.AUDIT.noise
        and (wanted is None or field.name in wanted or field.attname in wanted)
    ]


def _stored(row: Audited, fields: Sequence[models.Field[Any, Any]]) -> dict[str, Any] | None:
    rows: models.QuerySet[Any] = type(row)._base_manager.filter(pk=row.pk)
    found: dict[str, Any] | None = rows.values(*(field.attname for field in fields)).first()
    return found


def _defaults(fields: Sequence[models.Field[Any, Any]]) -> dict[str, Any]:
    return {field.attname: field.get_default() for field in fields}


def _differences(
    fields: Sequence[models.Field[Any, Any]], before: Mapping[str, Any], row: Audited
) -> Iterable[tuple[str, list[Any]]]:
    for field in fields:
        old, new = before[field.attname], getattr(row, field.attname)
        if hasattr(new, "resolve_expression") or old == new:
            continue
        if field.name == "secrets":
            yield from _of_secrets(old or {}, new or {})
        elif field.name in row.AUDIT.secret:
            yield field.name, _of_secret(bool(old), bool(new))
        else:
            # Stored values have the column's kind; what is about to be stored may not yet.
            plain = new if isinstance(field, models.JSONField) else field.to_python(new)
            yield from compare(field.name, _plain(old), _plain(plain))


def _of_secrets(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterable[tuple[str, list[str | None]]]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, _of_secret(name in old, name in new)


def compare(name: str, old: Any, new: Any) -> Iterable[tuple[str, list[Any]]]:
    """``(path, [before, after])`` for each leaf in which two JSON values differ.

    Of what a key calls secret it is only told whether it was and is set.
    """
    if old == new:
        return
    before, after = old or {}, new or {}
    if not isinstance(before, dict) or not isinstance(after, dict) or not (before or after):
        yield name, [_short(_without_secrets(old)), _short(_without_secrets(new))]
        return
    for key in sorted({*before, *after}):
        path = f"{name}.{key}"
        if not LOOKS_SECRET.search(key):
            yield from compare(path, before.get(key), after.get(key))
        elif before.get(key) != after.get(key):
            yield path, _of_secret(key in before, key in after)


def _of_secret(was: bool, is_now: bool) -> list[str | None]:
    return [IS_SET if was else None, (CHANGED if was else IS_SET) if is_now else None]


def _without_secrets(value: Any) -> Any:
    """``value`` with a word in place of what a key within it calls secret."""
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: IS_SET if LOOKS_SECRET.search(key) else _without_secrets(part)
        for key, part in value.items()
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))


def _short(value: Any) -> Any:
    """``value`` as it can be kept and read: long ones are cut, and no NUL is in them."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > LONGEST_VALUE:
        return f"{audit.without_nul(text)[:LONGEST_VALUE]}…"
    return audit.without_nul(value) if isinstance(value, str) else value
