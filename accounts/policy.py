"""Who may do what to which rows: the one place that the API and the console ask.

Somebody's *access* to an account is a list of roles, each held in the whole account, in one
project or in one environment. More access wins where several apply. What belongs to no project
(connections, people, tokens) is the account's: a role in a project says nothing about it.

A model says by ``PLACE`` where it belongs. Most need none: a row's ``project`` and
``environment`` columns are found by their names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet

from accounts.roles import Action, allows

Rows = TypeVar("Rows", bound=QuerySet[Any])


@dataclass(frozen=True)
class Held:
    """A role that somebody holds.

    Attributes:
        source: whence, in words: "your role", "the group Analysts".
        project_id: where; None for all projects and the account itself.
        environment_id: where in that project; None for all of it.
    """

    source: str
    permission_set: str
    project_id: int | None = None
    environment_id: int | None = None

    def covers(self, place: Spot) -> bool:
        """Whether ``place`` lies where this role is held."""
        if self.project_id is None:
            return True
        if self.environment_id is None:
            return place.project_id == self.project_id
        return place.environment_id == self.environment_id


@dataclass(frozen=True)
class Spot:
    """A place in an account: all of it, a project, an environment."""

    project_id: int | None = None
    environment_id: int | None = None


@dataclass(frozen=True)
class Place:
    """The lookups from a row to its project and environment; empty where it has none."""

    project: str = ""
    environment: str = ""


ACCOUNT = Spot()


@dataclass(frozen=True)
class Access:
    """All that somebody holds in an account."""

    held: tuple[Held, ...]

    def may(self, action: Action, at: Model | Spot | None = None) -> Held | None:
        """The role that allows ``action`` to ``at``, or None.

        Args:
            at: a row or a spot; None is the account as a whole.
        """
        spot = ACCOUNT if at is None else at if isinstance(at, Spot) else spot_of(at)
        return next((one for one in self._that_allow(action) if one.covers(spot)), None)

    def may_somewhere(self, action: Action, project_id: int | None = None) -> bool:
        """Whether ``action`` is allowed anywhere in the account, or anywhere in a project."""
        return any(
            one.project_id is None or project_id is None or one.project_id == project_id
            for one in self._that_allow(action)
        )

    @property
    def is_narrow(self) -> bool:
        """Whether something is held in single environments only, so that each counts."""
        return any(one.environment_id is not None for one in self.held)

    def rows(self, rows: Rows, action: Action = Action.READ) -> Rows:
        """Those of ``rows``, which are the account's, to which ``action`` is allowed."""
        held = list(self._that_allow(action))
        if any(one.project_id is None for one in held):
            return rows
        place = place_of(rows.model)
        within: dict[str, set[int | None]] = {
            place.project: {one.project_id for one in held if one.environment_id is None},
            place.environment: {one.environment_id for one in held if one.environment_id},
        }
        wanted = [
            _within(rows.model, lookup, ids) for lookup, ids in within.items() if lookup and ids
        ]
        return rows.filter(reduce(or_, wanted)) if wanted else rows.none()

    def _that_allow(self, action: Action) -> Iterable[Held]:
        return (one for one in self.held if allows(one.permission_set, action))


def place_of(model: type[Model]) -> Place:
    """The lookups of ``model``, its own or those that its columns suggest."""
    own: Any = getattr(model, "PLACE", None)
    if own is not None:
        return Place(*own)
    names = {field.name for field in model._meta.get_fields()}
    return Place(*(name if name in names else "" for name in ("project", "environment")))


def spot_of(row: Model) -> Spot:
    """Where ``row`` belongs."""
    place = place_of(row.__class__)  # of a request's lazy user, type() would be another
    return Spot(_value(row, place.project), _value(row, place.environment))


def _value(row: Model, lookup: str) -> int | None:
    """The id at the end of ``lookup``, read from the row without a query where it can be."""
    if not lookup:
        return None
    *path, last = lookup.split("__")
    at: Any = row
    for name in path:
        at = getattr(at, name)
    value: int | None = at.pk if last == "pk" else getattr(at, f"{last}_id", None)
    return value


def _within(model: type[Model], lookup: str, ids: set[int | None]) -> Q:
    """Rows for which ``lookup`` leads to one of ``ids``, each once even where it leads to many."""
    there = Q(**{f"{lookup}__in": ids})
    if not _leads_to_many(model, lookup):
        return there
    return Q(pk__in=model._default_manager.filter(there).values("pk"))


def _leads_to_many(model: type[Model], lookup: str) -> bool:
    at: Any = model
    for name in lookup.split("__"):
        if name == "pk":
            return False
        field = at._meta.get_field(name)
        if field.one_to_many or field.many_to_many:
            return True
        at = field.related_model
    return False
