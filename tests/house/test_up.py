"""What `manage.py up` decides before it starts anything; test_demo starts the real thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management.base import CommandError

from accounts.models import Token, User
from jobsvc.management.commands.up import listen_on, sign_in_of


def test_without_a_wish_the_next_free_port_is_listened_on() -> None:
    with listen_on(None) as first, listen_on(None) as second:
        assert first.getsockname()[1] < second.getsockname()[1]


def test_a_taken_port_is_refused_if_it_was_asked_for() -> None:
    with listen_on(None) as first, pytest.raises(CommandError, match="is taken by another"):
        listen_on(first.getsockname()[1])


@pytest.mark.django_db
def test_the_second_start_shows_the_sign_in_of_the_first(tmp_path: Path) -> None:
    first = sign_in_of(tmp_path / "sign-in.json")
    assert Token.objects.find(first["token"]) is not None
    assert User.objects.get(email=first["email"]).check_password(first["password"])
    assert sign_in_of(tmp_path / "sign-in.json") == first


@pytest.mark.django_db
def test_only_the_owner_of_the_folder_can_read_the_sign_in(tmp_path: Path) -> None:
    sign_in_of(tmp_path / "sign-in.json")
    assert (tmp_path / "sign-in.json").stat().st_mode & 0o077 == 0


@pytest.mark.django_db
def test_a_password_that_was_changed_is_not_shown(tmp_path: Path) -> None:
    owner = User.objects.get(email=sign_in_of(tmp_path / "sign-in.json")["email"])
    owner.set_password("another one, known to me alone")
    owner.save()
    assert sign_in_of(tmp_path / "sign-in.json")["password"] is None


@pytest.mark.django_db
def test_a_token_that_was_revoked_is_replaced(tmp_path: Path) -> None:
    first = sign_in_of(tmp_path / "sign-in.json")
    Token.objects.all().delete()
    second = sign_in_of(tmp_path / "sign-in.json")
    assert second["token"] != first["token"]
    assert Token.objects.find(second["token"]) is not None
    assert second["password"] == first["password"]
