"""Why a run built what it built: which nodes differ from those it was compared with, and how.

Told from two manifests, as dbt's ``state:modified`` tells it, in the words of its sub-selectors.
Both files are a stranger's: what has another shape is passed over.

Source: docs.getdbt.com, "Node selector methods", state.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

BUILT_IN_THE_WAREHOUSE = frozenset({"model", "seed", "snapshot"})  # what can be deferred to
NAMED = 5  # modified nodes above one that are told; looking for all could take for ever
WITHOUT_A_TEXT_SUM = frozenset({"none", ""})  # kinds of checksum that say nothing of the text


@dataclass(frozen=True, kw_only=True)
class Node:
    """What two manifests are compared by."""

    name: str
    kind: str
    path: str
    body: str
    configs: str
    contract: str
    parents: tuple[str, ...] = ()
    macros: tuple[str, ...] = ()
    is_ephemeral: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Nodes by their unique id, and of each macro its text and the macros it calls."""

    nodes: Mapping[str, Node]
    macros: Mapping[str, tuple[str, tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Why each node was built that was.

    Attributes:
        modified: unique id → in what it differs: new, body, configs, contract, macros; of a
            source, which is never built but may be above what is, body is where it lies.
        downstream: unique id → modified nodes that are nearest above it, some of them.
        others: built for another reason.
        deferred: not built here; read from where the other run had built it.
    """

    modified: Mapping[str, list[str]] = field(default_factory=dict)
    downstream: Mapping[str, list[str]] = field(default_factory=dict)
    others: Collection[str] = ()
    deferred: Collection[str] = ()


def read(manifest: Mapping[str, Any]) -> Manifest:
    """What of a manifest.json matters here; the rest, which may be huge, can be let go."""
    nodes = {
        unique_id: _node(entry)
        for section in ("nodes", "sources", "unit_tests")
        for unique_id, entry in _objects(manifest.get(section)).items()
        if isinstance(entry, dict)
    }
    macros = {
        unique_id: (str(entry.get("macro_sql", "")), _depends(entry, "macros"))
        for unique_id, entry in _objects(manifest.get("macros")).items()
        if isinstance(entry, dict)
    }
    return Manifest(nodes=nodes, macros=macros)


def reasons(built: Collection[str], mine: Manifest, other: Manifest) -> Selection:
    """Why each of ``built`` was: told from the run's manifest and the one it compared with."""
    changed_macros = _changed_macros(mine, other)
    differs = {
        unique_id: why
        for unique_id, node in mine.nodes.items()
        if (why := _differences(node, other.nodes.get(unique_id), changed_macros))
    }
    above = _nearest_above(mine, differs)
    known = [unique_id for unique_id in built if unique_id in mine.nodes]
    return Selection(
        modified={one: differs[one] for one in known if one in differs},
        downstream={
            one: sorted(above[one]) for one in known if one not in differs and above.get(one)
        },
        others=[one for one in known if one not in differs and not above.get(one)],
        deferred=sorted(_read_from_elsewhere(set(known), mine, other)),
    )


def _node(entry: Mapping[str, Any]) -> Node:
    config = _objects(entry.get("config"))
    checksum = entry.get("checksum")  # of a unit test a text, of all else an object
    kind = str(_objects(checksum).get("name", ""))
    text = _objects(checksum).get("checksum", checksum)
    if isinstance(checksum, dict) and kind in WITHOUT_A_TEXT_SUM:
        text = entry.get("raw_code")
    if entry.get("resource_type") == "source":
        text = entry.get("relation_name")  # where it is: all that changes of one without a file
    return Node(
        name=str(entry.get("name", "")),
        kind=str(entry.get("resource_type", "")),
        path=str(entry.get("original_file_path", "")),
        body=f"{kind}:{text}",
        configs=json.dumps(entry.get("unrendered_config"), sort_keys=True, default=str),
        contract=str(_objects(entry.get("contract")).get("checksum")),
        parents=_depends(entry, "nodes"),
        macros=_depends(entry, "macros"),
        is_ephemeral=config.get("materialized") == "ephemeral",
    )


def _depends(entry: Mapping[str, Any], on: str) -> tuple[str, ...]:
    named = _objects(entry.get("depends_on")).get(on)
    return tuple(one for one in named if isinstance(one, str)) if isinstance(named, list) else ()


def _objects(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _differences(node: Node, before: Node | None, changed_macros: set[str]) -> list[str]:
    if before is None:
        return ["new"]
    found = [
        what
        for what in ("body", "configs", "contract")
        if getattr(node, what) != getattr(before, what)
    ]
    return found if changed_macros.isdisjoint(node.macros) else [*found, "macros"]


def _changed_macros(mine: Manifest, other: Manifest) -> set[str]:
    """The macros whose text is another, and those that call one of them."""
    changed = {
        unique_id
        for unique_id, (text, _calls) in mine.macros.items()
        if other.macros.get(unique_id, ("", ()))[0] != text or unique_id not in other.macros
    }
    callers: dict[str, list[str]] = {}
    for unique_id, (_text, calls) in mine.macros.items():
        for called in calls:
            callers.setdefault(called, []).append(unique_id)
    waiting = list(changed)
    while waiting:
        for caller in callers.get(waiting.pop(), ()):
            if caller not in changed:
                changed.add(caller)
                waiting.append(caller)
    return changed


def _nearest_above(mine: Manifest, differs: Collection[str]) -> dict[str, set[str]]:
    """Of each node below a modified one: those nearest above it. From the modified ones down."""
    children: dict[str, list[str]] = {}
    for unique_id, node in mine.nodes.items():
        for parent in node.parents:
            children.setdefault(parent, []).append(unique_id)
    above: dict[str, set[str]] = {}
    for modified in differs:
        waiting, seen = [modified], {modified}
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child in seen:
                    continue
                seen.add(child)
                if child not in differs and len(found := above.setdefault(child, set())) < NAMED:
                    found.add(modified)
                    waiting.append(child)
    return above


def _read_from_elsewhere(built: set[str], mine: Manifest, other: Manifest) -> set[str]:
    """What the built nodes read and the run did not build, and the other run had."""
    found: set[str] = set()
    waiting, seen = list(built), set(built)
    while waiting:
        node = mine.nodes.get(waiting.pop())
        for parent in node.parents if node else ():
            if parent in seen or (above := mine.nodes.get(parent)) is None:
                continue
            seen.add(parent)
            if above.is_ephemeral:
                waiting.append(parent)  # its text is part of what reads it
            elif above.kind in BUILT_IN_THE_WAREHOUSE and parent in other.nodes:
                found.add(parent)
    return found
