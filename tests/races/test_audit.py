"""Somebody who reaches the database past the service, and would rather not have done something."""

from __future__ import annotations

import pytest

from tests.races.conftest import Racers

pytestmark = pytest.mark.races


def test_the_database_refuses_to_change_an_audit_event(racers: Racers) -> None:
    _kind, said = racers.act("tamper", "UPDATE accounts_auditevent SET action = 'nothing'")

    assert "an audit event is never changed" in said


def test_postgresql_lets_retention_alone_delete_an_audit_event(racers: Racers) -> None:
    kind, said = racers.act("tamper", "DELETE FROM accounts_auditevent")

    # SQLite is for one person on one machine, and has nothing to know retention by.
    assert ("deleted by retention alone" in said) is (kind == "postgresql")
