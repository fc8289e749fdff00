"""Writes the audit log: each change of settings, each sign-in, each run that somebody started.

Rows of models that are ``Audited`` write their own changes when they are saved, whoever saves
them: API, console, the operator's admin or a command. What is no change of a row, or a change of
many at once, calls ``record``.

Who acts is known by the context: each way in says so with ``acting``. Work in the background has
none, and is the system's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.db import models

from accounts.models import AuditEvent
from accounts.policy import spot_of

SECRET = "changed"  # noqa: S105 - what is said of a secret, not one
LONGEST_NAME = 255


@dataclass(frozen=True)
class Actor:
    """Who does something, and from where.

    Attributes:
        kind: ``user``, ``token``, ``operator``, ``git host`` or ``system``.
        source: ``console``, ``api``, ``admin``, ``webhook`` or ``system``.
    """

    kind: str = "system"
    id: int | None = None
    name: str = ""
    source: str = "system"
    address: str = ""
    request_id: str = ""


SYSTEM = Actor()

_actor: ContextVar[Actor] = ContextVar("actor", default=SYSTEM)


def actor() -> Actor:
    """Who acts now."""
    return _actor.get()


@contextmanager
def acting(who: Actor) -> Iterator[None]:
    """All that is recorded within is ``who``'s doing."""
    token = _actor.set(who)
    try:
        yield
    finally:
        _actor.reset(token)


def record(
    action: str,
    target: models.Model | None = None,
    *,
    account_id: int | None,
    differences: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Write down that whoever acts now did ``action`` to ``target``.

    Args:
        account_id: None for what concerns the whole installation.
        differences: ``{field: [before, after]}``, nothing secret in it.
    """
    who = actor()
    event = AuditEvent(
        account_id=account_id,
        action=action,
        actor_kind=who.kind,
        actor_id=who.id,
        actor_name=who.name[:LONGEST_NAME],
        source=who.source,
        address=who.address,
        request_id=who.request_id,
        target_kind=target._meta.model_name or "" if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        target_name=str(target)[:LONGEST_NAME] if target is not None else "",
        project_id=spot_of(target).project_id if target is not None else None,
        differences=dict(differences or {}),
    )
    event.save()
    return event
