"""Which nodes of a dbt project a step works on, judged by a manifest as dbt itself would.

Only what can be judged exactly is judged. Of anything else the answer is None, "not known":
``state:`` and its like need a second manifest, and a method that a later dbt brings is not
known here.

Source: docs.getdbt.com, "Node selection syntax"; dbt-core 1.11, dbt/graph/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, reduce
from pathlib import PurePosixPath
from typing import Any

from jobsvc.engine.commands import DbtCommand

Names = frozenset[str]  # unique ids of nodes

_SECTIONS = (
    "nodes",
    "sources",
    "exposures",
    "metrics",
    "unit_tests",
    "semantic_models",
    "saved_queries",
    "functions",
)
TESTS = frozenset({"test", "unit_test"})

# What each command works on, of what is selected.
_WORKS_ON: Mapping[str, frozenset[str]] = {
    "build": TESTS | {"model", "seed", "snapshot", "saved_query", "function", "exposure"},
    "clone": frozenset({"model", "seed", "snapshot"}),
    "compile": TESTS | {"model", "seed", "snapshot", "analysis", "operation", "function"},
    "list": TESTS
    | {"model", "seed", "snapshot", "source", "exposure", "metric"}
    | {"saved_query", "semantic_model", "function"},
    "run": frozenset({"model"}),
    "seed": frozenset({"seed"}),
    "snapshot": frozenset({"snapshot"}),
    "source freshness": frozenset({"source"}),
    "test": TESTS,
}

# Adapters whose macros come with those of another adapter.
_BUILT_UPON = {"redshift": "postgres", "databricks": "spark", "synapse": "fabric"}

_CRITERION = re.compile(
    r"(?P<around>@)?(?:(?P<up>[0-9]*)\+)?(?:(?P<method>[\w.]+):)?(?P<value>.*?)(?:\+(?P<down>[0-9]*))?"
)
_PATTERN = re.compile(r"[*?\[\]]")


@dataclass(frozen=True, kw_only=True)
class Node:
    """Anything that can be selected.

    Attributes:
        section: the key of the manifest it stands below.
        file, patch_file: where it is defined and described, from its package's root.
        about: its whole entry in the manifest.
    """

    section: str
    resource_type: str
    name: str
    package: str
    fqn: tuple[str, ...]
    file: str
    patch_file: str
    parents: Names
    about: Mapping[str, Any] = field(repr=False)

    @property
    def tags(self) -> Sequence[str]:
        tags = self.about.get("tags") or self.config.get("tags") or []
        return [str(tag) for tag in tags] if isinstance(tags, list) else [str(tags)]

    @property
    def config(self) -> Mapping[str, Any]:
        config = self.about.get("config")
        return config if isinstance(config, dict) else {}

    @property
    def is_versioned(self) -> bool:
        return self.section == "nodes" and self.about.get("version") is not None


@dataclass(frozen=True)
class Project:
    """A dbt project, as far as a manifest tells of it.

    Attributes:
        nodes: by unique id.
        packages: what is installed from ``packages.yml``.
        selectors: the names that ``selectors.yml`` defines.
        has_default_selector: a step that selects nothing gets that selector's nodes.
    """

    name: str
    nodes: Mapping[str, Node]
    packages: frozenset[str] = frozenset()
    selectors: frozenset[str] = frozenset()
    has_default_selector: bool = False

    @classmethod
    def read(cls, manifest: bytes) -> Project | None:
        """The project of a ``manifest.json``; None if this is none, for a job could write any."""
        try:
            return cls._of(json.loads(manifest))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            return None

    @classmethod
    def _of(cls, manifest: Mapping[str, Any]) -> Project:
        metadata, selectors = manifest["metadata"], manifest.get("selectors") or {}
        name, adapter = metadata["project_name"], metadata["adapter_type"]
        comes_with_dbt = {
            name,
            "dbt",
            f"dbt_{adapter}",
            f"dbt_{_BUILT_UPON.get(adapter, adapter)}",
        }
        nodes = {
            unique_id: _node(section, entry)
            for section in _SECTIONS
            for unique_id, entry in (manifest.get(section) or {}).items()
        }
        used = {macro["package_name"] for macro in manifest["macros"].values()}
        used |= {node.package for node in nodes.values()}
        return cls(
            name=name,
            nodes=nodes,
            packages=frozenset(used - comes_with_dbt),
            selectors=frozenset(selectors),
            has_default_selector=any(one.get("default") is True for one in selectors.values()),
        )

    @cached_property
    def children(self) -> Mapping[str, Names]:
        found: dict[str, set[str]] = {unique_id: set() for unique_id in self.nodes}
        for unique_id, node in self.nodes.items():
            for parent in node.parents:
                found.get(parent, set()).add(unique_id)
        return {parent: frozenset(children) for parent, children in found.items()}

    @cached_property
    def parents(self) -> Mapping[str, Names]:
        known = frozenset(self.nodes)
        return {unique_id: node.parents & known for unique_id, node in self.nodes.items()}

    @cached_property
    def paths(self) -> frozenset[PurePosixPath]:
        """The project's own files that define or describe a node, and the folders above them."""
        files = {
            PurePosixPath(file)
            for node in self.nodes.values()
            for file in (node.file, node.patch_file)
            if file and node.package == self.name
        }
        return frozenset(files.union(*(file.parents for file in files)))


def worked_on(project: Project, command: DbtCommand) -> Names | None:
    """The nodes that ``command`` works on; None where that is not known."""
    options = command.options
    kinds = _WORKS_ON.get(command.subcommand)
    if (
        kinds is None
        or "selector" in options
        or "inline" in options
        or ("select" in options and "models" in options)
        or options.get("indirect_selection", ("eager",))[-1] != "eager"
    ):
        return None
    terms = options.get("select") or options.get("models") or ()
    chosen = select(project, terms, options.get("exclude", ()))
    if chosen is None or (not terms and project.has_default_selector):
        return None
    if asked := set(options.get("resource_types", ())):
        if asked & {"all", "default"}:
            return None
        kinds &= asked
    kinds -= set(options.get("exclude_resource_types", ()))
    return frozenset(one for one in chosen if project.nodes[one].resource_type in kinds)


def select(project: Project, terms: Sequence[str], excluded: Sequence[str] = ()) -> Names | None:
    """The nodes that ``--select TERMS --exclude EXCLUDED`` names, tests that go with them included.

    No terms are all nodes. None where a term is not understood and could matter.
    """
    chosen = _union(project, terms) if terms else frozenset(project.nodes)
    if not excluded or not chosen:
        return chosen
    left_out = _union(project, excluded)
    return None if left_out is None else chosen - left_out


# --- The syntax ------------------------------------------------------------------------------


def _union(project: Project, terms: Iterable[str]) -> Names | None:
    chosen: Names = frozenset()
    for term in terms:
        found = _intersection(project, term)
        if found is None:
            return None
        chosen |= found
    return chosen


def _intersection(project: Project, term: str) -> Names | None:
    """``a,b``: what both name. Nothing, if one of them surely names nothing."""
    parts = [_criterion(project, part) for part in term.split(",")]
    known = [part for part in parts if part is not None]
    if not all(known):
        return frozenset()
    return reduce(frozenset.intersection, known) if len(known) == len(parts) else None


def _criterion(project: Project, text: str) -> Names | None:
    """``2+tag:nightly+``: the nodes named, those around them, and the tests of all these."""
    found = _CRITERION.fullmatch(text)
    if found is None or (found["around"] and found["down"] is not None):
        return None
    named = _named(project, found["method"], found["value"])
    if named is None:
        return None
    chosen = set(named)
    if found["around"]:
        below = named | _reached(named, project.children)
        chosen |= below | _reached(below, project.parents)
    if found["up"] is not None:
        chosen |= _reached(named, project.parents, depth=found["up"])
    if found["down"] is not None:
        chosen |= _reached(named, project.children, depth=found["down"])
    return frozenset(chosen | _tests_of(project, chosen))


def _reached(start: Iterable[str], edges: Mapping[str, Names], depth: str = "") -> set[str]:
    """What lies along ``edges`` from ``start``, at most ``depth`` of them away; "" is no limit."""
    reached: set[str] = set()
    layer = set(start)
    steps = 0
    while layer and (depth == "" or steps < int(depth)):
        layer = {one for node in layer for one in edges[node]} - reached
        reached |= layer
        steps += 1
    return reached


def _tests_of(project: Project, chosen: Iterable[str]) -> set[str]:
    return {
        child
        for one in chosen
        for child in project.children[one]
        if project.nodes[child].resource_type in TESTS
    }


# --- The methods -----------------------------------------------------------------------------


def _named(project: Project, method: str | None, value: str) -> Names | None:
    """The nodes that ``method:value`` itself names; None for a method not known here."""
    name, _dot, key = (method or _default_method(value)).partition(".")
    if name == "config" and key:
        return _where(project, lambda node: _has_config(node, key.split("."), value))
    if key or (method is not None and not method):
        return None
    if name == "path":
        return _in_path(project, value)
    if name == "package" and value == "this":
        value = project.name
    matches = _METHODS.get(name)
    if matches is None or (name == "source" and value.count(".") > 2):
        return None
    return _where(project, lambda node: matches(node, value))


def _default_method(value: str) -> str:
    if "/" in value:
        return "path"
    return "file" if value.lower().endswith((".sql", ".py", ".csv")) else "fqn"


def _where(project: Project, matches: Callable[[Node], bool]) -> Names:
    return frozenset(one for one, node in project.nodes.items() if matches(node))


def _in_path(project: Project, pattern: str) -> Names | None:
    wanted = PurePosixPath(pattern)
    if not wanted.parts or wanted.is_absolute() or {"..", "**"} & set(wanted.parts):
        return None
    # dbt globs the project's folder, so a file of a package counts if the project has it, too.
    places = {
        path
        for path in project.paths
        if len(path.parts) == len(wanted.parts) and all(map(fnmatchcase, path.parts, wanted.parts))
    }
    files = {node.file for node in project.nodes.values()}
    inside = {
        file for file in files if places & {PurePosixPath(file), *PurePosixPath(file).parents}
    }
    described = {str(place) for place in places}
    return _where(project, lambda node: node.file in inside or node.patch_file in described)


def _has_config(node: Node, keys: Sequence[str], wanted: str) -> bool:
    if node.section not in {"nodes", "sources"}:
        return False
    value: Any = node.config
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    if keys == ["severity"]:
        return str(value).upper() == wanted.upper()
    values = value if isinstance(value, list) else [value]
    truth = {"true": True, "false": False}.get(wanted.lower())
    return wanted in values or any(one is truth for one in values if truth is not None)


def _has_qualified_name(node: Node, pattern: str) -> bool:
    return node.section != "sources" and any(
        _is_qualified_by(fqn, pattern, versioned=node.is_versioned)
        for fqn in (node.fqn, node.fqn[1:])
        if len(fqn) > node.is_versioned
    )


def _is_qualified_by(fqn: Sequence[str], pattern: str, *, versioned: bool) -> bool:
    wanted = pattern.split(".")
    name = fqn[-2] if versioned else fqn[-1]
    if name == pattern or (versioned and "_".join(fqn[-2:]) == "_".join(wanted[-2:])):
        return True
    flat = [part for segment in fqn for part in segment.split(".")]
    if len(flat) < len(wanted):
        return False
    for place, part in enumerate(wanted):
        if _PATTERN.search(part):
            return fnmatchcase(".".join(flat[place:]), ".".join(wanted[place:])) or (
                len(wanted) == 1 and fnmatchcase(name, pattern)
            )
        if part != flat[place]:
            return False
    return True


def _is_source(node: Node, value: str) -> bool:
    *package, source, table = value.split(".") if "." in value else (value, "*")
    return (
        node.section == "sources"
        and fnmatchcase(node.package, package[0] if package else "*")
        and fnmatchcase(str(node.about.get("source_name")), source)
        and fnmatchcase(node.name, table)
    )


def _has_name_in(section: str) -> Callable[[Node, str], bool]:
    def matches(node: Node, value: str) -> bool:
        package, dot, name = value.rpartition(".")
        return (
            node.section == section
            and fnmatchcase(node.name, name)
            and (not dot or fnmatchcase(node.package, package))
        )

    return matches


def _has_file(node: Node, value: str) -> bool:
    file = PurePosixPath(node.file)
    return fnmatchcase(file.name, value) or fnmatchcase(file.stem, value)


def _is_in_group(node: Node, value: str) -> bool:
    group = node.config.get("group")
    return (
        node.section in {"nodes", "metrics"}
        and isinstance(group, str)
        and fnmatchcase(group, value)
    )


def _is_test_of(node: Node, value: str) -> bool:
    if node.resource_type == "unit_test":
        return fnmatchcase(node.name, value)
    generic = node.about.get("test_metadata")
    return isinstance(generic, dict) and fnmatchcase(str(generic.get("name")), value)


_METHODS: Mapping[str, Callable[[Node, str], bool]] = {
    "access": lambda node, value: (
        node.resource_type == "model" and node.about.get("access") == value
    ),
    "exposure": _has_name_in("exposures"),
    "file": _has_file,
    "fqn": _has_qualified_name,
    "group": _is_in_group,
    "metric": _has_name_in("metrics"),
    "package": lambda node, value: fnmatchcase(node.package, value),
    "resource_type": lambda node, value: node.resource_type == value,
    "saved_query": _has_name_in("saved_queries"),
    "semantic_model": _has_name_in("semantic_models"),
    "source": _is_source,
    "tag": lambda node, value: any(fnmatchcase(tag, value) for tag in node.tags),
    "test_name": _is_test_of,
    "unit_test": _has_name_in("unit_tests"),
}


# --- The manifest ----------------------------------------------------------------------------


def _node(section: str, entry: Mapping[str, Any]) -> Node:
    return Node(
        section=section,
        resource_type=_text(entry["resource_type"]),
        name=_text(entry["name"]),
        package=_text(entry["package_name"]),
        fqn=tuple(map(_text, entry["fqn"])),
        file=_text(entry["original_file_path"]),
        patch_file=_text(entry.get("patch_path") or "").partition("://")[2],
        parents=frozenset((entry.get("depends_on") or {}).get("nodes") or ()),
        about=entry,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
