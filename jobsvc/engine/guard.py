"""Where a pull request's run would build, looked at before it builds anything.

A project may name its schemas as it likes (``generate_schema_name``), and one that names
production's would have a pull request write there. This is a fence against mistakes: dbt is
asked where it would build. What a macro or a hook writes to, only running it can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobsvc.engine.aside import Aside, AsideEnd
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.errors import OutsideSchema
from jobsvc.engine.listing import READS, listed, nodes_of
from jobsvc.engine.state import selected_as_new

NAMED = 5  # nodes in a message; the rest are counted

KEYS = ("unique_id", "resource_type", "schema", "database", "relation_name")

# What a command makes relations of.
_RELATIONS = frozenset({"model", "seed", "snapshot"})
MAKES: Mapping[str, frozenset[str]] = {
    "build": _RELATIONS | {"test", "function"},
    "clone": _RELATIONS,
    "run": frozenset({"model"}),
    "seed": frozenset({"seed"}),
    "snapshot": frozenset({"snapshot"}),
    "test": frozenset({"test"}),
    "retry": _RELATIONS | {"test", "function"},
}

# Options of a command by which it selects what it builds.
_SELECTS = (
    *("select", "exclude", "selector", "resource_types", "exclude_resource_types"),
    *("indirect_selection", "state", "defer", "defer_state", "favor_state"),
)

# Where an adapter's profile names the database that a node without one of its own is built in.
_DATABASES = ("database", "dbname", "catalog", "project")


class CannotLook(Exception):
    """dbt does not get as far as to say what it would build.

    Attributes:
        end: of the command that failed; so would the one that was to build.
    """

    def __init__(self, end: AsideEnd) -> None:
        super().__init__(end.output)
        self.end = end


@dataclass(frozen=True, order=True)
class _Built:
    """A relation that would be built."""

    unique_id: str
    database: str
    schema: str


def check(aside: Aside, commands: Sequence[DbtCommand]) -> list[tuple[str, str]]:
    """The schemas that ``commands`` would build in and that are the run's own.

    Each is (database, schema); the one that the profile names is always among them, for hooks
    may write there where no node does.

    Raises:
        OutsideSchema: a node would be built in another one, and the plan's guard is on.
        CannotLook: dbt failed.
    """
    prefix = aside.plan.schema_prefix
    built = {one for command in _distinct(commands) for one in _built_by(aside, command)}
    outside = sorted(one for one in built if not _is_within(one.schema, prefix))
    if outside and aside.plan.guard:
        raise OutsideSchema(number=_counted(outside), prefix=prefix, named=_named(outside))
    where = f"all in {prefix}" if not outside else f"{len(outside)} outside {prefix}"
    aside.say(f"Looked where {_counted(built)} would be built: {where}.")
    own = {(one.database, one.schema) for one in built if one not in set(outside)}
    if not any(schema.casefold() == prefix.casefold() for _database, schema in own):
        own.add((_default_database(aside.plan.profile.output), prefix))
    return sorted(own)


def _is_within(schema: str, prefix: str) -> bool:
    """Whether ``schema`` is the run's own, or one whose name goes on from it.

    Warehouses fold the case of names, each in its way.
    """
    folded, own = schema.casefold(), prefix.casefold()
    return folded == own or folded.startswith(f"{own}_")


def _distinct(commands: Iterable[DbtCommand]) -> list[DbtCommand]:
    """One of each that would be listed alike.

    ``dbt retry`` goes on with nodes of a command before it; only where it is the first, they
    are those of an earlier run, of code that may have changed since.
    """
    first: dict[tuple[object, ...], DbtCommand] = {}
    for place, command in enumerate(commands):
        if command.subcommand != "retry" or place == 0:
            first.setdefault((command.subcommand, command.arguments), command)
    return list(first.values())


def _built_by(aside: Aside, command: DbtCommand) -> Iterator[_Built]:
    """What ``command`` would build.

    Raises:
        CannotLook
    """
    end = _listed(aside, command, _SELECTS)
    if end.exit_code != 0 or end.is_cut:
        # It selects by what only the run itself will know, or by what is not there. So that
        # nothing slips through, the whole project is looked at.
        end = _listed(aside, command, ())
    if end.exit_code != 0 or end.is_cut:
        raise CannotLook(end)
    stores = command.options.get("store_failures") == ("true",)
    for node in nodes_of(end.output):
        kind, relation = node.get("resource_type"), node.get("relation_name")
        is_test = kind == "test"
        # An ephemeral model has no relation, and neither has a test that stores nothing.
        if kind in MAKES[command.subcommand] and (
            relation or kind == "function" or (is_test and stores)
        ):
            yield _Built(
                unique_id=str(node["unique_id"]),
                database=str(node.get("database") or ""),
                schema=str(node.get("schema") or ""),
            )


def _listed(aside: Aside, command: DbtCommand, selects: Sequence[str]) -> AsideEnd:
    kept = READS if command.subcommand == "retry" else (*READS, *selects)
    options = {name: value for name, value in command.options.items() if name in kept}
    return listed(aside, selected_as_new(options, ("source_status",)), KEYS)


def _default_database(output: Mapping[str, object]) -> str:
    for key in _DATABASES:
        if output.get(key):
            return str(output[key])
    return Path(str(output["path"])).stem if output.get("path") else ""


def _named(nodes: Sequence[_Built]) -> str:
    named = [f"{node.unique_id} ({node.schema})" for node in nodes[:NAMED]]
    return ", ".join([*named, *([f"and {len(nodes) - NAMED} more"] if nodes[NAMED:] else [])])


def _counted(nodes: Iterable[_Built]) -> str:
    number = len(list(nodes))
    return "1 node" if number == 1 else f"{number} nodes"
