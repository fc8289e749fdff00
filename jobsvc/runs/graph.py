"""The graph of a project's nodes: what pages need of a manifest, kept small beside the file.

A manifest has ten megabytes and more. What is drawn, searched and counted of it is worked out
once, at the first look, and kept with the artifact; it goes when the artifact goes.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from django.db.models import QuerySet

from environments.models import Environment
from jobsvc.engine.state import MANIFEST
from jobsvc.jobs.models import JobType
from jobsvc.jobs.selection import TESTS, Names, Node, Project, select
from jobsvc.runs.artifacts import RANK, opened, rows_of
from jobsvc.runs.models import Artifact, ManifestGraph, Run, RunQuerySet
from jobsvc.statuses import RunStatus

LARGEST_MANIFEST = 64 * 1024**2  # bytes; a larger one takes too long while somebody waits
LARGEST_CODE = 128 * 1024  # characters of one node's source that are kept
LOOKED_BACK = 1000  # successful runs among which the newest manifest is looked for
RUNS_BEFORE = 50  # of the same job, for a run that has no manifest yet
START = 60  # nodes that one takes in at a glance
MOST = 400  # nodes that are drawn at all
UP, DOWN = 2, 3  # how far one sees around what failed

SECTIONS = (
    *("nodes", "sources", "exposures", "metrics", "unit_tests", "semantic_models"),
    *("saved_queries", "functions"),
)
# Of a node: what selecting asks for, and what people are told of it.
KEPT = (
    *("resource_type", "name", "package_name", "fqn", "original_file_path", "patch_path"),
    *("tags", "version", "access", "source_name", "group", "relation_name", "attached_node"),
    *("owner", "description"),
)
GRAPHS_AT_HAND = 4  # in each process; one of 3,000 nodes has some ten megabytes
NO_CODE = "-- this is longer than what is kept of it --"

_READS = re.compile(r"\benv_var\s*\(\s*(?:'([^'\n]{1,255})'|\"([^\"\n]{1,255})\")")


@dataclass(frozen=True)
class Graph:
    """The nodes of a project and what leads from one to another.

    Attributes:
        artifact: the manifest.
        variables: names that ``env_var()`` is called with, and the unique ids of what calls it.
        owners: of groups, by the group's name, in words.
    """

    artifact: Artifact
    project: Project
    variables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """Whose manifest it is."""
        return self.artifact.step.run

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self.project.nodes

    @cached_property
    def drawn(self) -> Names:
        """What stands for itself in a picture: all but tests, which are told with their model."""
        return frozenset(one for one, node in self.nodes.items() if node.resource_type not in TESTS)

    @cached_property
    def tests(self) -> Mapping[str, Sequence[str]]:
        """Unique ids of the tests of each node that has any."""
        found: dict[str, list[str]] = defaultdict(list)
        for unique_id in self.nodes:
            for owner in self.tested_by(unique_id):
                found[owner].append(unique_id)
        return found

    def tested_by(self, test: str) -> Sequence[str]:
        """What the test ``test`` is of: the model it is written at, else all that it asks."""
        node = self.nodes[test]
        if node.resource_type not in TESTS:
            return []
        at = node.about.get("attached_node")
        if isinstance(at, str) and at in self.nodes:
            return [at]
        return sorted(self.project.parents[test])

    @cached_property
    def in_order(self) -> Sequence[str]:
        """Each node after all that it depends on; those of a circle are left out."""
        missing = {one: len(parents) for one, parents in self.project.parents.items()}
        order = [one for one, number in missing.items() if not number]
        for one in order:  # which grows meanwhile
            for child in self.project.children[one]:
                missing[child] -= 1
                if not missing[child]:
                    order.append(child)
        return order

    def parents(self, unique_id: str) -> Names:
        return self.project.parents.get(unique_id, frozenset()) & self.drawn

    def children(self, unique_id: str) -> Names:
        return self.project.children.get(unique_id, frozenset()) & self.drawn

    def standing_for(self, ids: Iterable[str]) -> Names:
        """Those of ``ids`` that are drawn; for a test, what it is of."""
        found: set[str] = set()
        for one in ids:
            if one in self.drawn:
                found.add(one)
            elif one in self.nodes:
                found.update(self.drawn.intersection(self.tested_by(one)))
        return frozenset(found)

    def kinds(self) -> Sequence[tuple[str, int]]:
        """How many nodes of each type there are, the most first."""
        return Counter(node.resource_type for node in self.nodes.values()).most_common()

    def owner(self, unique_id: str) -> str:
        """Who answers for a node: of its group, its own, or its ``meta``; empty where none."""
        node = self.nodes[unique_id]
        group, own = _words(node.about.get("group")), _person(node.about.get("owner"))
        meta = node.config.get("meta")
        said = _person(meta.get("owner")) if isinstance(meta, dict) else ""
        of_group = f"{group} ({self.owners[group]})" if self.owners.get(group) else group
        return of_group or own or said

    def variables_of(self, unique_id: str) -> Sequence[str]:
        return sorted(name for name, users in self.variables.items() if unique_id in users)


# --- What of it is looked at ------------------------------------------------------------------


def around(
    graph: Graph, focus: Iterable[str], *, up: int = UP, down: int = DOWN, most: int = START
) -> Names:
    """``focus`` and what lies around it, the nearest first, until there are ``most``."""
    shown = dict.fromkeys(sorted(graph.standing_for(focus))[:most])
    above, below = set(shown), set(shown)
    for distance in range(1, max(up, down) + 1):
        above = {p for one in above for p in graph.parents(one)} if distance <= up else set()
        below = {c for one in below for c in graph.children(one)} if distance <= down else set()
        for one in [*sorted(above), *sorted(below)]:
            if len(shown) < most:
                shown.setdefault(one)
    return frozenset(shown)


class NotUnderstood(Exception):
    """A selector, or part of one, that cannot be read here. The text says what can."""


def selected(graph: Graph, text: str) -> Names:
    """What a selector names, as dbt's ``--select`` does: what any of its words names.

    Raises:
        NotUnderstood: with a sentence.
    """
    found: set[str] = set()
    for term in text.split():
        named = select(graph.project, [term])
        if named is None:
            raise NotUnderstood(
                f"“{term}” cannot be read here. A name, +name, name+2, 2+name+, tag:…, path:…, "
                "source:…, package:…, resource_type:… and config.…:… can; so can two of them "
                "with a comma between, which names what is in both."
            )
        found |= graph.drawn & named or graph.standing_for(named)
    return frozenset(found)


def in_folder(graph: Graph, folder: str) -> Names:
    """The nodes whose files lie in ``folder``, as ``folders`` names it, or below it."""
    start = folder.rstrip("/")
    return frozenset(
        one for one in graph.drawn if f"{_folder(graph, one)}/".startswith(f"{start}/")
    )


def folders(graph: Graph, ids: Iterable[str], *, most: int = START) -> Mapping[str, Names]:
    """``ids`` by the folders of their files, as deep as leaves at most ``most`` of them."""
    parts = {one: _folder(graph, one).split("/") for one in ids}
    deepest = max(map(len, parts.values()), default=1)
    found: dict[str, set[str]] = {}
    for depth in range(deepest, 0, -1):
        found = {}
        for one, folder in parts.items():
            found.setdefault("/".join(folder[:depth]), set()).add(one)
        if len(found) <= most:
            break
    return {folder: frozenset(inside) for folder, inside in sorted(found.items())}


def _folder(graph: Graph, unique_id: str) -> str:
    """Where a node's file lies; what comes with a package lies in a folder of that name."""
    node = graph.nodes[unique_id]
    folder = node.file.rpartition("/")[0].strip("/")  # a path object each would take ten times that
    own = node.package == graph.project.name
    return (folder or "(project)") if own else f"{node.package}: {folder or '.'}"


# --- Whose manifest ---------------------------------------------------------------------------


def manifest_of_run(run: Run, *, with_code: bool = False) -> Artifact | None:
    """The run's manifest; while it has none, that of the job's newest run before it that has.

    Args:
        with_code: what ``code_of`` reads is fetched with it.
    """
    own = _with_graph(rows_of(run, MANIFEST), with_code=with_code).first()
    if own is not None:
        return own
    before = Run.objects.filter(job=run.job_id, environment=run.environment_id, pk__lt=run.pk)
    return _newest(before.order_by("-pk")[:RUNS_BEFORE], with_code=with_code)


def manifest_of_environment(environment: Environment) -> Artifact | None:
    """That of the environment's newest successful run, pull requests' apart."""
    runs = Run.objects.filter(
        account=environment.project.account_id,
        environment=environment,
        status=RunStatus.SUCCESS,
        artifacts_saved=True,
    ).exclude(job__job_type=JobType.CI)
    return _newest(runs.order_by("-pk")[:LOOKED_BACK])


def manifest_of_project(runs: RunQuerySet) -> Artifact | None:
    """That of the newest successful one of ``runs``, a project's, pull requests' apart."""
    found = runs.filter(status=RunStatus.SUCCESS, artifacts_saved=True)
    found = found.exclude(job__job_type=JobType.CI)
    return _newest(found.order_by("-pk")[:LOOKED_BACK])


def _newest(candidates: QuerySet[Run], *, with_code: bool = False) -> Artifact | None:
    """The manifest of the newest of the runs ``candidates`` that has one."""
    rows = Artifact.objects.filter(path=MANIFEST, step__run__in=candidates.values("pk"))
    newest = rows.annotate(rank=RANK).order_by("-step__run", "-rank", "-step__index")
    return _with_graph(newest, with_code=with_code).first()


def _with_graph(rows: QuerySet[Artifact], *, with_code: bool = False) -> QuerySet[Artifact]:
    """With their graphs, where they have one already."""
    rows = rows.select_related("step__run", "graph")
    return rows if with_code else rows.defer("graph__code")


# --- Keeping it -------------------------------------------------------------------------------


def graph_of(artifact: Artifact) -> Graph | None:
    """The graph of the manifest ``artifact``; None where it is none that can be read."""
    found = _unpacked(bytes(_kept(artifact).packed))
    return Graph(artifact, *found) if found else None


@lru_cache(maxsize=GRAPHS_AT_HAND)
def _unpacked(packed: bytes) -> tuple[Project, dict[str, list[str]], dict[str, str]] | None:
    """What is kept of a manifest; found by what it says itself, so that it is never an old one.

    To read one of 3,000 nodes takes longer than all else that a page of it does.
    """
    text = zlib.decompress(packed)
    project = Project.read(text) if text else None
    if project is None:
        return None
    more = json.loads(text)
    return project, more["variables"], more["owners"]


def code_of(graph: Graph, unique_id: str) -> str:
    """The source of a node, as the project has it; empty where there is none."""
    code = json.loads(zlib.decompress(graph.artifact.graph.code))
    return str(code.get(unique_id, ""))


def _kept(artifact: Artifact) -> ManifestGraph:
    """What is kept of ``artifact``, worked out if nobody looked at it before."""
    try:
        return artifact.graph
    except ManifestGraph.DoesNotExist:
        small, code = _worked_out(artifact)
    # Two that look at once work out the same.
    kept, _is_new = ManifestGraph.objects.get_or_create(
        artifact=artifact,
        defaults={"packed": zlib.compress(small), "code": zlib.compress(code)},
    )
    artifact.graph = kept  # the other's, too, is known from now on
    return kept


def _worked_out(artifact: Artifact) -> tuple[bytes, bytes]:
    """The small graph and the sources of its nodes as JSON; nothing and ``{}`` of no manifest."""
    try:
        with opened(artifact) as file:
            content = file.read(LARGEST_MANIFEST + 1)
        if len(content) > LARGEST_MANIFEST:
            return b"", b"{}"
        found = json.loads(content)
        return _written(_small(found)), _written(_code(found))
    except (AttributeError, FileNotFoundError, KeyError, RecursionError, TypeError, ValueError):
        return b"", b"{}"


def _written(found: Mapping[str, Any]) -> bytes:
    """As JSON that holds whole characters alone."""
    return json.dumps(found, ensure_ascii=False).encode(errors="replace")


def _small(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of the same shape, without what nobody asks for on a page."""
    metadata = manifest["metadata"]
    packages = {macro["package_name"] for macro in manifest["macros"].values()}
    small: dict[str, Any] = {
        "metadata": {key: metadata[key] for key in ("project_name", "adapter_type")},
        "macros": {package: {"package_name": package} for package in packages},
        "variables": _variables(manifest),
        "owners": {
            str(group.get("name")): _person(group.get("owner"))
            for group in (manifest.get("groups") or {}).values()
        },
    }
    for section in SECTIONS:
        entries = manifest.get(section) or {}
        # No database is asked for a name with NUL.
        small[section] = {one: _entry(entry) for one, entry in entries.items() if "\0" not in one}
    return small


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: entry[key] for key in KEPT if entry.get(key) not in (None, "", [], {})}
    # A file that describes nothing is named so all the same.
    kept.setdefault("original_file_path", "")
    config = entry.get("config") or {}
    kept["config"] = {key: value for key, value in config.items() if value not in (None, [], {})}
    kept["depends_on"] = {"nodes": (entry.get("depends_on") or {}).get("nodes") or []}
    if generic := entry.get("test_metadata"):
        kept["test_metadata"] = {"name": generic.get("name")}
    if "description" in kept:
        kept["description"] = str(kept["description"])[:1000]
    return kept


def _code(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The source of each node that has one."""
    code = {}
    for unique_id, entry in (manifest.get("nodes") or {}).items():
        text = entry.get("raw_code")
        if isinstance(text, str) and text:
            is_long = len(text) > LARGEST_CODE
            code[unique_id] = f"{text[:LARGEST_CODE]}\n{NO_CODE}" if is_long else text
    return code


def _variables(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """What calls ``env_var()``: nodes in their code or settings, macros in theirs."""
    found: dict[str, set[str]] = defaultdict(set)
    for unique_id, text in _texts(manifest):
        if "env_var" in text:
            for single, double in _READS.findall(text):
                found[single or double].add(unique_id)
    return {name: sorted(users) for name, users in sorted(found.items())}


def _texts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section in SECTIONS:
        for unique_id, entry in (manifest.get(section) or {}).items():
            yield unique_id, _words(entry.get("raw_code"))
            for key in ("unrendered_config", "config"):
                yield unique_id, json.dumps(entry.get(key) or {}).replace('\\"', '"')
    for unique_id, macro in manifest["macros"].items():
        yield unique_id, _words(macro.get("macro_sql"))


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def _person(value: object) -> str:
    """``Ana <ana@example.com>``, of what a manifest or a ``meta`` calls an owner."""
    if isinstance(value, dict):
        name, mail = value.get("name"), value.get("email")
        mails = ", ".join(map(str, mail)) if isinstance(mail, list) else _words(mail)
        return " ".join(filter(None, [_words(name), f"<{mails}>" if mails else ""]))
    return _words(value)
