"""The audit log: rows tell their own changes, nobody can rewrite it, and it is kept for days."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from accounts import audit
from accounts.audit import Actor, AuditEvent
from accounts.audited import compare
from accounts.models import Account, Token
from environments.models import EnvironmentVariable
from tests.factories import (
    ConnectionFactory,
    EnvironmentVariableFactory,
    JobFactory,
    MembershipFactory,
    UserFactory,
)

SECRET = "kept-from-every-log"
ANA = Actor(kind="user", id=7, name="ana@example.com", source="console", address="10.0.0.1")


def events(action: str = "") -> QuerySet[AuditEvent]:
    rows = AuditEvent.objects.order_by("pk")
    return rows.filter(action=action) if action else rows


def only(action: str) -> AuditEvent:
    return events(action).get()


def test_a_change_tells_who_made_it_and_what_differs(db: None) -> None:
    job = JobFactory(name="Nightly", threads=4)

    with audit.acting(ANA):
        job.name, job.threads = "Hourly", 8
        job.save()

    event = only("job_definition.changed")
    assert event.differences == {"name": ["Nightly", "Hourly"], "threads": [4, 8]}
    assert (event.actor_kind, event.actor_name, event.address) == (
        "user",
        "ana@example.com",
        "10.0.0.1",
    )
    assert (event.target_kind, event.target_id, event.target_name) == (
        "job",
        str(job.pk),
        "Hourly",
    )
    assert (event.account_id, event.project_id) == (job.account_id, job.project_id)


def test_what_nobody_does_is_the_systems(db: None) -> None:
    JobFactory()

    assert set(events().values_list("actor_kind", "source")) == {("system", "system")}


def test_an_actor_is_forgotten_with_what_it_did(db: None) -> None:
    with pytest.raises(ZeroDivisionError), audit.acting(ANA):
        1 / 0  # noqa: B018 - it is there to fail

    assert audit.actor() == audit.SYSTEM


def test_a_new_row_tells_what_is_not_as_it_is_by_itself(db: None) -> None:
    JobFactory(name="Nightly", threads=6)

    told = only("job_definition.added").differences
    assert told["name"] == ["", "Nightly"] or told["name"] == [None, "Nightly"]
    assert told["threads"] == [4, 6]
    assert "run_lint" not in told


def test_a_save_that_changes_nothing_tells_nothing(db: None) -> None:
    job = JobFactory()
    before = events().count()

    job.save()

    assert events().count() == before


def test_what_the_service_writes_while_it_works_is_not_told(
    db: None, django_assert_num_queries: Any
) -> None:
    job = JobFactory()
    job.next_run_at, job.run_failure_count = now(), 3

    with django_assert_num_queries(1):
        job.save(update_fields=["next_run_at", "run_failure_count"])

    assert not events("job_definition.changed").exists()


def test_a_change_costs_one_look_at_what_was_and_one_event(
    db: None, django_assert_num_queries: Any
) -> None:
    job = JobFactory()
    job.name = "Another"

    # A savepoint and its end, the look, the change, the event.
    with django_assert_num_queries(5):
        job.save()


def test_a_row_that_is_marked_deleted_is_removed(db: None) -> None:
    job = JobFactory()

    job.state = 2
    job.save(update_fields=["state", "updated_at"])

    assert only("job_definition.removed").target_id == str(job.pk)


def test_a_row_that_is_deleted_is_removed(db: None) -> None:
    member = MembershipFactory(user__email="ana@example.com")
    account = member.account_id

    member.delete()

    event = only("membership.removed")
    assert (event.account_id, "ana@example.com" in event.target_name) == (account, True)


def test_of_a_secret_only_a_change_is_told(db: None) -> None:
    kept = ConnectionFactory(secrets={"password": SECRET, "key": SECRET})

    kept.secrets = {"password": f"{SECRET}-2", "token": SECRET}
    kept.save()

    assert only("connection.changed").differences == {
        "key": ["set", None],
        "password": ["set", "changed"],
        "token": [None, "set"],
    }
    assert SECRET not in str(list(events().values_list("differences", flat=True)))


def test_a_password_is_told_as_changed(db: None) -> None:
    person = UserFactory(password="one")

    person.set_password("coffee-beans-7")
    person.save(update_fields=["password"])

    assert only("user.changed").differences == {"password": ["set", "changed"]}


def test_a_variables_value_is_never_told(db: None) -> None:
    row = EnvironmentVariableFactory(secrets={"value": SECRET})
    row.secrets = {"value": f"{SECRET}-2"}
    row.save()

    assert only("environment_variable.changed").differences == {"value": ["set", "changed"]}
    assert SECRET not in str(list(events().values()))


def test_objects_are_compared_key_by_key() -> None:
    old = {"pause": {"reason": "a"}, "steps": [1], "same": 1, "api_key": "x"}
    new = {"pause": {"reason": "b"}, "steps": [1, 2], "same": 1, "api_key": "y", "password": "z"}

    assert dict(compare("extensions", old, new)) == {
        "extensions.pause.reason": ["a", "b"],
        "extensions.steps": [[1], [1, 2]],
        "extensions.api_key": ["set", "changed"],
        "extensions.password": [None, "set"],
    }


def test_a_secret_is_not_told_wherever_in_an_object_it_is() -> None:
    old = {"keyfile": "a", "hosts": [{"name": "a", "pwd": SECRET}]}
    new = {"keyfile": {"private_key": SECRET, "id": 1}, "hosts": []}

    told = dict(compare("attributes", old, new))

    assert SECRET not in str(told)
    assert told["attributes.keyfile"] == ["a", {"private_key": "set", "id": 1}]


def test_a_long_value_is_cut() -> None:
    ((_name, (_old, new)),) = compare("steps", [], ["x" * 9000])

    assert len(new) == 2001


def test_tokens_are_created_and_revoked(account: Account) -> None:
    token, text = Token.issue(account, "CI", permission_set="owner")
    token.revoke()

    told = events().filter(action__startswith="service_token.")
    assert list(told.values_list("action", flat=True)) == [
        "service_token.created",
        "service_token.revoked",
    ]
    assert text not in str(list(told.values()))


def test_a_change_that_fails_leaves_no_event(db: None) -> None:
    job = JobFactory()
    before = events().count()

    with pytest.raises(DatabaseError), transaction.atomic():
        job.threads = 0
        job.save()

    assert events().count() == before


def test_many_changes_can_be_one_event(db: None) -> None:
    one, two = EnvironmentVariableFactory(name="DBT_A"), EnvironmentVariableFactory(name="DBT_B")
    before = events().count()

    with transaction.atomic(), audit.as_one("environment_variable.changed", "two variables"):
        for row in (one, two):
            row.secrets = {"value": "another"}
            row.save()

    assert events().count() == before + 1
    event = only("environment_variable.changed")
    assert event.target_name == "two variables"
    assert event.differences == {
        "DBT_A (project) value": ["set", "changed"],
        "DBT_B (project) value": ["set", "changed"],
    }


def test_an_event_is_never_changed_by_the_service(db: None) -> None:
    JobFactory()
    event = events().first()
    assert event is not None

    with pytest.raises(TypeError):
        event.save()
    with pytest.raises(TypeError):
        event.delete()
    with pytest.raises(TypeError):
        events().update(action="nothing")
    with pytest.raises(TypeError):
        events().delete()


def test_the_database_itself_refuses_to_change_an_event(db: None) -> None:
    JobFactory()

    with (
        pytest.raises(DatabaseError, match="an audit event is never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE accounts_auditevent SET action = 'nothing'")


def test_events_go_when_they_were_kept_long_enough(db: None, settings: Any) -> None:
    settings.AUDIT_DAYS = 30
    JobFactory()
    kept = events().count()

    assert audit.prune(now()) == 0
    assert audit.prune(now() + timedelta(days=31)) == kept
    assert not events().exists()


def test_zero_days_keep_events_for_ever(db: None, settings: Any) -> None:
    settings.AUDIT_DAYS = 0
    JobFactory()

    assert audit.prune(now() + timedelta(days=9999)) == 0


def test_a_person_is_told_of_in_each_of_their_accounts(db: None) -> None:
    person = UserFactory()
    places = {MembershipFactory(user=person).account_id for _time in range(2)}

    person.first_name = "Another"
    person.save()

    assert set(events("user.changed").values_list("account", flat=True)) == places


def test_of_variables_nothing_is_left_without_a_word(db: None) -> None:
    row = EnvironmentVariableFactory()
    row.delete()

    assert not EnvironmentVariable.objects.exists()
    assert only("environment_variable.removed").target_name == f"{row.name} (project)"
