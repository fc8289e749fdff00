"""What of git hosts is written down: keys that are changed, deliveries that are refused."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.audit import AuditEvent
from ci import hooks
from ci.models import RepositoryHook
from tests.factories import RepositoryHookFactory


@pytest.fixture
def hook(db: None) -> RepositoryHook:
    made: RepositoryHook = RepositoryHookFactory()
    return made


def deliver(client: Client, hook: RepositoryHook, number: str) -> int:
    address = hooks.address_of(hook).partition("8000")[2]
    heads = {"X-GitHub-Delivery": number, "X-GitHub-Event": "push"}
    answer = client.post(address, "{}", content_type="application/json", headers=heads)
    return answer.status_code


def test_a_delivery_that_is_not_signed_is_told_once(client: Client, hook: RepositoryHook) -> None:
    assert [deliver(client, hook, number) for number in ("one", "one", "two")] == [401] * 3

    told = AuditEvent.objects.filter(action="repository_webhook.refused").order_by("pk")
    assert [event.differences["delivery"] for event in told] == [[None, "one"], [None, "two"]]
    assert {(event.actor_kind, event.source) for event in told} == {("git host", "webhook")}
    assert {event.account_id for event in told} == {hook.repository.account_id}


def test_what_comes_to_nobodys_address_fills_no_log(client: Client, hook: RepositoryHook) -> None:
    other = RepositoryHook(repository=hook.repository)

    assert deliver(client, other, "one") == 401
    assert not AuditEvent.objects.filter(action="repository_webhook.refused").exists()


def test_a_new_secret_is_told_and_not_shown(hook: RepositoryHook) -> None:
    _hook, secret = hooks.set_secret(hook.repository)

    event = AuditEvent.objects.get(action="repository_webhook.changed")
    assert event.differences["current"] == ["set", "changed"]
    assert event.differences["previous"] == [None, "set"]
    assert secret not in str(list(AuditEvent.objects.values()))
