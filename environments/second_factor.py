"""Second factors at rest: the keys of authenticator apps and recovery codes, encrypted."""

from __future__ import annotations

from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from django.db import models

from environments.secrets import TOKENS_BEGIN, decrypt, encrypt

TEXTS = ("secret", "seed")  # of an authenticator's data
LISTS = ("migrated_codes",)


class EncryptedSecondFactors(DefaultMFAAdapter):  # type: ignore[misc] # allauth publishes no types
    """Keeps what authenticators hold as this service keeps every secret."""

    def encrypt(self, text: str) -> str:
        return encrypt({"text": text})

    def decrypt(self, encrypted_text: str) -> str:
        """What ``encrypt`` was given; what was stored before there was encryption, as it is.

        Neither a key nor a code of allauth's begins as a token of ours does.
        """
        if not encrypted_text.startswith(TOKENS_BEGIN):
            return encrypted_text
        return str(decrypt(encrypted_text, place="a second factor")["text"])


def encrypt_anew(authenticators: type[models.Model]) -> int:
    """Encrypt what all rows of allauth's ``Authenticator`` hold, with the first key.

    Returns:
        How many rows hold something.
    """
    cipher, changed = EncryptedSecondFactors(), 0

    def anew(text: str) -> str:
        return cipher.encrypt(cipher.decrypt(text))

    rows: Any = authenticators._default_manager.all()
    for row in rows:
        data: dict[str, Any] = dict(row.data)
        data |= {name: anew(data[name]) for name in TEXTS if name in data}
        data |= {name: [anew(one) for one in data[name]] for name in LISTS if name in data}
        if data != row.data:
            # Only if nobody has changed it meanwhile, such as by using a recovery code.
            changed += rows.filter(pk=row.pk, data=row.data).update(data=data)
    return changed
