"""Secrets at rest: a model field whose JSON object is encrypted, and the rotation of its key.

The keys are ``settings.FIELD_ENCRYPTION_KEYS``, Fernet keys: the first encrypts, all decrypt.
To rotate: put a new key in front, restart, run ``manage.py rotate_secrets``, take the old away.
"""

from __future__ import annotations

import json
from typing import Any, TypeGuard

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models, transaction
from django.db.models.functions import Cast
from django.db.models.query_utils import DeferredAttribute

SETTING = "FIELD_ENCRYPTION_KEYS"
TOKENS_BEGIN = "gAAAAA"  # Fernet's version and the first bytes of its time, in base64


class Secrets(dict[str, Any]):
    """A JSON object that never shows its values: not in a log line, a traceback or a shell."""

    def __repr__(self) -> str:
        return f"<Secrets: {', '.join(sorted(self)) or 'none'}>"

    __str__ = __repr__


def fernet() -> MultiFernet:
    """The cipher made of the configured keys.

    Raises:
        ImproperlyConfigured: there is no key, or one is not a Fernet key.
    """
    keys = getattr(settings, SETTING, None)
    if not keys or isinstance(keys, str):
        raise ImproperlyConfigured(
            f"{SETTING} must list at least one Fernet key. Make one with: python -c "
            '"from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
        )
    made = []
    for number, key in enumerate(keys, start=1):
        try:
            made.append(Fernet(key))
        except (ValueError, TypeError) as wrong:
            # The key itself stays out of the message.
            raise ImproperlyConfigured(
                f"Key {number} of {SETTING} is not a Fernet key: it must be 32 bytes in URL-safe "
                "base64, 44 characters. Make one with Fernet.generate_key()."
            ) from wrong
    return MultiFernet(made)


def encrypt(value: dict[str, Any]) -> str:
    """``value`` as one token of text."""
    return fernet().encrypt(json.dumps(value).encode()).decode()


def decrypt(token: str, *, place: str = "a secret") -> Secrets:
    """What ``encrypt`` was given.

    Raises:
        ImproperlyConfigured: none of the keys made this token; ``place`` says whose it is.
    """
    try:
        return Secrets(json.loads(fernet().decrypt(token.encode())))
    except InvalidToken as refused:
        raise ImproperlyConfigured(
            f"None of the {len(settings.FIELD_ENCRYPTION_KEYS)} keys in {SETTING} decrypts "
            f"{place}. Add the key that it was written with."
        ) from refused


class _Guarded(DeferredAttribute):
    """Makes ``Secrets`` of a dict as soon as it is assigned, not only when it is read back."""

    def __set__(self, instance: models.Model, value: object) -> None:
        instance.__dict__[self.field.attname] = Secrets(value) if _is_plain(value) else value


def _is_plain(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and not isinstance(value, Secrets)


class EncryptedJSONField(models.TextField[Any, Any]):
    """A JSON object, encrypted in the database and shown nowhere.

    Cannot be searched or ordered by: two encryptions of one value differ.
    """

    description = "An encrypted JSON object"
    descriptor_class = _Guarded

    def from_db_value(self, value: str | None, *_of_the_query: object) -> Secrets | None:
        return None if value is None else decrypt(value, place=self._place)

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, Secrets):
            return value
        if isinstance(value, str):
            if value.startswith(TOKENS_BEGIN):
                return decrypt(value, place=self._place)  # out of a dump
            try:
                value = json.loads(value)
            except ValueError:
                value = None  # what was typed must not come back in a message
        if not isinstance(value, dict):
            raise ValidationError("Give a JSON object.", code="not_an_object")
        return Secrets(value)

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else encrypt(self.to_python(value))

    def value_to_string(self, obj: models.Model) -> str:
        """For ``dumpdata``: the token, not the secret. ``to_python`` reads it again."""
        return self.get_prep_value(self.value_from_object(obj)) or ""

    def get_lookup(self, lookup_name: str) -> Any:
        """Only ``isnull``: anything else would compare tokens, and never match."""
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None

    @property
    def _place(self) -> str:
        return f"{self.model._meta.label}.{self.name}"


def rotate() -> int:
    """Encrypt every secret of every model anew, with the first key. Returns how many.

    A row that changes meanwhile is left alone: its writer used the first key already.
    """
    cipher, rotated = fernet(), 0
    for model in apps.get_models():
        fields = [f for f in model._meta.concrete_fields if isinstance(f, EncryptedJSONField)]
        for field in fields:
            rotated += _rotate_field(model, field, cipher)
    return rotated


def _rotate_field(model: type[models.Model], field: EncryptedJSONField, cipher: MultiFernet) -> int:
    """Re-encrypt one column. Works on the tokens as text, past the field's own decryption."""
    rotated = 0
    token = Cast(field.attname, models.TextField())
    rows = model._base_manager.annotate(_token=token).exclude(**{f"{field.name}__isnull": True})
    for key, old in list(rows.values_list("pk", "_token")):
        try:
            new = cipher.rotate(old.encode()).decode()
        except InvalidToken as refused:
            raise ImproperlyConfigured(
                f"None of the keys in {SETTING} decrypts {model._meta.label}.{field.name} of row "
                f"{key}. Add the key that it was written with; nothing is lost."
            ) from refused
        with transaction.atomic():
            rotated += (
                model._base_manager.annotate(_token=token)
                .filter(pk=key, _token=old)
                .update(**{field.name: models.Value(new, output_field=models.TextField())})
            )
    return rotated
