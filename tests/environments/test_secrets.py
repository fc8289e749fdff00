"""Secrets at rest, and the rotation of their key."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import FieldError, ImproperlyConfigured, ValidationError
from django.core.management import CommandError, call_command
from django.db import connection as database

from environments.models import Connection, EnvironmentVariable
from environments.secrets import decrypt, encrypt, fernet, rotate
from tests.factories import ConnectionFactory

pytestmark = pytest.mark.django_db

PASSWORD = "hunter2-ü"


def stored(row: Connection) -> str:
    """The column as it is in the database."""
    with database.cursor() as cursor:
        cursor.execute("SELECT secrets FROM environments_connection WHERE id = %s", [row.pk])
        return str(cursor.fetchone()[0])


@pytest.fixture
def saved() -> Connection:
    return ConnectionFactory(secrets={"password": PASSWORD})


def test_a_secret_comes_back_as_it_was_saved(saved: Connection) -> None:
    assert Connection.objects.get(pk=saved.pk).secrets == {"password": PASSWORD}


def test_a_secret_is_not_readable_in_the_database(saved: Connection) -> None:
    assert "hunter2" not in stored(saved)
    assert "password" not in stored(saved)


def test_two_encryptions_of_one_value_differ() -> None:
    assert encrypt({"a": 1}) != encrypt({"a": 1})


def test_no_secrets_are_kept_as_an_empty_object() -> None:
    row = ConnectionFactory(secrets={})
    assert Connection.objects.get(pk=row.pk).secrets == {}


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format])
def test_a_secret_does_not_show_when_it_is_printed(saved: Connection, show: Any) -> None:
    for row in (saved, Connection.objects.get(pk=saved.pk)):
        assert show(row.secrets) == "<Secrets: password>"
        assert "hunter2" not in show(vars(row))


def test_a_secret_that_was_just_assigned_does_not_show_either() -> None:
    assert "hunter2" not in repr(vars(Connection(secrets={"password": PASSWORD})))


def test_a_dump_of_the_database_holds_no_secret(saved: Connection) -> None:
    dumped = serializers.serialize("json", [saved])
    assert "hunter2" not in dumped


def test_a_dump_can_be_loaded_again(saved: Connection) -> None:
    dumped, key = serializers.serialize("json", [saved]), saved.pk
    saved.delete()
    for row in serializers.deserialize("json", dumped):
        row.save()
    assert Connection.objects.get(pk=key).secrets == {"password": PASSWORD}


@pytest.mark.parametrize("value", [[1], "text", 5, '["a"]'])
def test_only_a_json_object_can_be_kept(saved: Connection, value: Any) -> None:
    saved.secrets = value
    with pytest.raises(ValidationError, match="Give a JSON object") as refused:
        saved.full_clean()
    assert str(value) not in str(refused.value)


def test_secrets_cannot_be_searched(saved: Connection) -> None:
    with pytest.raises(FieldError):
        Connection.objects.filter(secrets={"password": PASSWORD}).exists()


# --- Keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [[], None, "A" * 43 + "="])
def test_without_a_list_of_keys_the_setting_is_named(settings: Any, keys: Any) -> None:
    settings.FIELD_ENCRYPTION_KEYS = keys
    with pytest.raises(ImproperlyConfigured, match="FIELD_ENCRYPTION_KEYS must list"):
        fernet()


@pytest.mark.parametrize("bad", ["short", "", "ü" * 44, None, "A" * 43 + "!"])
def test_a_bad_key_is_named_by_its_number_and_not_shown(settings: Any, bad: Any) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), bad]
    with pytest.raises(ImproperlyConfigured, match="Key 2 of FIELD_ENCRYPTION_KEYS") as wrong:
        encrypt({})
    assert not bad or bad not in str(wrong.value)


def test_what_no_key_decrypts_is_named_by_its_place(settings: Any, saved: Connection) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(ImproperlyConfigured) as wrong:
        Connection.objects.get(pk=saved.pk)
    assert str(wrong.value) == (
        "None of the 1 keys in FIELD_ENCRYPTION_KEYS decrypts environments.Connection.secrets. "
        "Add the key that it was written with."
    )


def test_every_key_decrypts_and_the_first_encrypts(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [old]
    token = encrypt({"a": PASSWORD})
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    assert decrypt(token) == {"a": PASSWORD}
    assert json.loads(Fernet(new).decrypt(encrypt({"a": 1}))) == {"a": 1}


def test_rotating_encrypts_every_secret_of_every_model_with_the_first_key(
    settings: Any, saved: Connection
) -> None:
    project_variable = EnvironmentVariable.objects.create(
        project=ConnectionFactory(account=saved.account).account.projects.create(name="shop"),
        name="DBT_ENV_SECRET_X",
        scope="project",
        secrets={"value": PASSWORD},
    )
    [old] = settings.FIELD_ENCRYPTION_KEYS
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    said = StringIO()
    call_command("rotate_secrets", stdout=said)
    assert said.getvalue().startswith("3 secrets are now encrypted with the first key.")
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert Connection.objects.get(pk=saved.pk).secrets == {"password": PASSWORD}
    project_variable.refresh_from_db()
    assert project_variable.value == PASSWORD


def test_rotating_leaves_what_was_changed_meanwhile_alone(
    settings: Any, saved: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    [old] = settings.FIELD_ENCRYPTION_KEYS
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), old]
    cipher = fernet()

    class Interrupted:
        """Someone saves another password just after the old one was read."""

        encrypt = staticmethod(cipher.encrypt)

        def rotate(self, token: bytes) -> bytes:
            Connection.objects.filter(pk=saved.pk).update(secrets={"password": "newer"})
            return cipher.rotate(token)

    monkeypatch.setattr("environments.secrets.fernet", Interrupted)
    rotate()
    monkeypatch.undo()
    assert decrypt(stored(saved)) == {"password": "newer"}


def test_rotating_without_the_old_key_changes_nothing_and_says_what_is_missing(
    settings: Any, saved: Connection
) -> None:
    before = stored(saved)
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CommandError, match=rf"environments.Connection.secrets of row {saved.pk}"):
        call_command("rotate_secrets")
    assert stored(saved) == before
