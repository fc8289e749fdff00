"""The audit log: each change of settings, each sign-in, each run that somebody started.

Rows of models that are ``Audited`` write their own changes when they are saved, whoever saves
them: API, console, the operator's admin or a command. What is no change of a row, or a change of
many at once, calls ``record``.

Who acts is known by the context: each way in says so with ``acting``. Work in the background has
none, and is the system's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, models, transaction

from accounts.policy import spot_of

LONGEST_NAME = 255
BATCH = 1000  # events of one transaction that retention removes
# What the database lets a transaction of PostgreSQL remove events by; see the migration.
LET_REMOVE = "SET LOCAL jobsvc.audit_retention = 'on'"

Differences = Mapping[str, Any]


class AuditQuerySet(models.QuerySet["AuditEvent"]):
    """Events are written once: nothing changes them, and only retention deletes them."""

    def update(self, **_: Any) -> int:
        raise TypeError("an audit event is never changed")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("an audit event is deleted by retention alone")

    def of_account(self, account_id: int) -> AuditQuerySet:
        return self.filter(account=account_id)

    def past_keeping(self, moment: datetime) -> AuditQuerySet:
        """Events that were kept for the days that the settings give; none where those are 0."""
        if settings.AUDIT_DAYS <= 0:
            return self.none()
        return self.filter(created_at__lt=moment - timedelta(days=settings.AUDIT_DAYS))


class AuditEvent(models.Model):
    """Who did what to what, when and from where. Written by this module alone.

    It names things by their ids and by what they were called then, without foreign keys, so that
    it outlives them.

    Attributes:
        action: dbt Cloud's words: ``job_definition.changed``, ``service_token.created``.
        actor_kind: ``user``, ``token``, ``operator``, ``visitor``, ``git host`` or ``system``.
        source: where it was done: ``console``, ``api``, ``admin``, ``webhook``, ``system``.
        differences: field by field ``[before, after]``; of secrets only that they changed.
    """

    account = models.ForeignKey(
        "accounts.Account", models.PROTECT, null=True, blank=True, related_name="audit_events"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    action = models.CharField(max_length=80)
    actor_kind = models.CharField(max_length=20)
    actor_id = models.BigIntegerField(null=True, blank=True)
    actor_name = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=20)
    address = models.CharField(max_length=45, blank=True, help_text="The IP address asked from.")
    request_id = models.CharField(max_length=32, blank=True)
    target_kind = models.CharField(max_length=60, blank=True)
    target_id = models.CharField(max_length=60, blank=True)
    target_name = models.CharField(max_length=255, blank=True)
    project_id = models.BigIntegerField(null=True, blank=True)
    differences = models.JSONField(default=dict, blank=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["account", "-id"], name="audit_of_account"),
            models.Index(
                fields=["account", "target_kind", "target_id", "-id"], name="audit_of_target"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name or self.actor_kind}: {self.action} {self.target_name}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the event, once.

        Raises:
            TypeError: it is written already.
        """
        if self.pk is not None:
            raise TypeError("an audit event is never changed")
        super().save(*args, **kwargs)

    def delete(self, *_: Any, **__: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("an audit event is deleted by retention alone")


# --- Who -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Actor:
    """Who does something, and from where.

    Attributes:
        kind: as ``AuditEvent.actor_kind``.
        source: as ``AuditEvent.source``.
        user: of a request, whoever is signed in when it is asked; asking may cost a query.
    """

    kind: str = "system"
    id: int | None = None
    name: str = ""
    source: str = "system"
    address: str = ""
    request_id: str = ""
    user: Callable[[], Any] | None = None

    @property
    def is_somebody(self) -> bool:
        """Whether a person or a token acts, and not the service by itself."""
        return self.kind in {"user", "token", "operator"} and self.id is not None

    def known(self) -> Actor:
        """The same with the id and name of whoever is signed in."""
        if self.user is None:
            return self
        who = self.user()
        if who is None or not who.is_authenticated:
            return replace(self, kind="visitor", user=None)
        return replace(self, id=who.pk, name=str(who), user=None)


SYSTEM = Actor()

_actor: ContextVar[Actor] = ContextVar("actor", default=SYSTEM)


def actor() -> Actor:
    """Who acts now."""
    return _actor.get().known()


@contextmanager
def acting(who: Actor) -> Iterator[None]:
    """All that is recorded within is ``who``'s doing."""
    token = _actor.set(who)
    try:
        yield
    finally:
        _actor.reset(token)


def acts_by_token(token_id: int, name: str) -> None:
    """Whoever acts now has shown a token; to be called within ``acting``, which ends it."""
    _actor.set(replace(_actor.get(), kind="token", id=token_id, name=name, user=None))


# --- What ----------------------------------------------------------------------------------

_kept_back: ContextVar[list[AuditEvent] | None] = ContextVar("kept_back", default=None)


def record(
    action: str,
    target: models.Model | None = None,
    *,
    account_id: int | None,
    differences: Differences | None = None,
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
        actor_name=without_nul(who.name)[:LONGEST_NAME],
        source=who.source,
        address=who.address,
        request_id=who.request_id,
        target_kind=target._meta.model_name or "" if target is not None else "",
        target_id=str(target.pk) if target is not None else "",
        target_name=without_nul(str(target))[:LONGEST_NAME] if target is not None else "",
        project_id=_project_of(target),
        differences=dict(differences or {}),
    )
    kept_back = _kept_back.get()
    if kept_back is None:
        event.save()
    else:
        kept_back.append(event)
    return event


@contextmanager
def as_one(action: str = "", name: str = "") -> Iterator[None]:
    """What is recorded within is one event: of the first thing recorded, with all differences.

    To be entered within the transaction of the changes. Nothing is written if they fail.

    Args:
        action, name: what the event and its target are called if several things were recorded;
            as the first of them without these.
    """
    if _kept_back.get() is not None:  # the outer one has them all
        yield
        return
    events: list[AuditEvent] = []
    token = _kept_back.set(events)
    try:
        yield
    finally:
        _kept_back.reset(token)
    if len(events) > 1:
        first = events[0]
        first.differences = _joined(events, all_by_name=bool(name))
        first.action = action or first.action
        first.target_name = name[:LONGEST_NAME] or first.target_name
    if events:
        events[0].save()


def _joined(events: Sequence[AuditEvent], *, all_by_name: bool) -> dict[str, Any]:
    """The differences of all, each headed by what it is of unless that is the first's target."""
    first, joined = events[0], dict[str, Any]()
    for event in events:
        own = (event.target_kind, event.target_id) == (first.target_kind, first.target_id)
        head = "" if own and not all_by_name else f"{event.target_name} "
        verb = event.action.rpartition(".")[2]
        told = event.differences or {verb: [None, verb]}
        joined |= {f"{head}{field}": values for field, values in told.items()}
    return joined


def _project_of(target: models.Model | None) -> int | None:
    return spot_of(target).project_id if target is not None else None


def without_nul(text: str) -> str:
    """``text`` as every database can hold it."""
    return text.replace("\0", "")


# --- For how long --------------------------------------------------------------------------


def prune(moment: datetime) -> int:
    """Remove events that were kept long enough at ``moment``; how many that were."""
    gone = 0
    while ids := list(
        AuditEvent.objects.past_keeping(moment).order_by("pk").values_list("pk", flat=True)[:BATCH]
    ):
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute(LET_REMOVE)
            rows: models.QuerySet[AuditEvent] = models.QuerySet(AuditEvent).filter(pk__in=ids)
            gone += rows.delete()[0]
    return gone
