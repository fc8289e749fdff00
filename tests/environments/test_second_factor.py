"""Second factors at rest."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from cryptography.fernet import Fernet
from django.core.cache import cache
from django.core.management import call_command

from environments.second_factor import encrypt_anew
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

KEY = "JBSWY3DPEHPK3PXP"


@pytest.fixture(autouse=True)
def nobody_used_a_code_yet() -> None:
    """Codes are good once, which the cache remembers by the number of their user."""
    cache.clear()


def code(key: str) -> str:
    """What an authenticator app shows now."""
    return format_hotp_value(hotp_value(key, next(iter(yield_hotp_counters_from_time()))))


def test_the_key_of_an_authenticator_app_is_not_readable_in_the_database() -> None:
    made = TOTP.activate(UserFactory(), KEY)

    stored = Authenticator.objects.get(pk=made.instance.pk)
    assert KEY not in json.dumps(stored.data)
    assert TOTP(stored).validate_code(code(KEY))


def test_recovery_codes_are_made_of_what_is_not_readable() -> None:
    made = RecoveryCodes.activate(UserFactory())
    codes = made.get_unused_codes()

    stored = Authenticator.objects.get(pk=made.instance.pk)
    assert stored.data["seed"].startswith("gAAAAA")
    assert RecoveryCodes(stored).get_unused_codes() == codes
    assert RecoveryCodes(stored).validate_code(codes[0])


def test_what_was_stored_as_it_is_is_encrypted_by_the_migration_and_works() -> None:
    row = Authenticator.objects.create(
        user=UserFactory(), type=Authenticator.Type.TOTP, data={"secret": KEY}
    )
    changed = encrypt_anew(Authenticator)

    encrypted = Authenticator.objects.get(pk=row.pk)
    assert changed == 1
    assert KEY not in json.dumps(encrypted.data)
    assert TOTP(encrypted).validate_code(code(KEY))


def test_what_is_not_encrypted_yet_works() -> None:
    row = Authenticator.objects.create(
        user=UserFactory(), type=Authenticator.Type.TOTP, data={"secret": KEY}
    )

    assert TOTP(row).validate_code(code(KEY))


def test_a_new_key_of_the_service_takes_over(settings: Any) -> None:
    made = TOTP.activate(UserFactory(), KEY)
    old = settings.FIELD_ENCRYPTION_KEYS
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, *old]

    call_command("rotate_secrets", stdout=StringIO())
    settings.FIELD_ENCRYPTION_KEYS = [new]

    stored = Authenticator.objects.get(pk=made.instance.pk)
    assert TOTP(stored).validate_code(code(KEY))
