"""Which nodes a page of lineage shows, by its query string, and how each of them stands."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from django.http import QueryDict

from jobsvc.engine.plan import StepKind
from jobsvc.jobs.selection import Names
from jobsvc.runs.graph import (
    MOST,
    START,
    Graph,
    NotUnderstood,
    around,
    folders,
    in_folder,
    selected,
)
from jobsvc.runs.looks import Look, look_of_node
from jobsvc.runs.models import NodeResult, Run

LONGEST_SELECTOR = 500  # characters
LONGEST_NAME = 500
MOST_OPENED = 30
DEEPEST = 9  # steps of indent in the list
NOT_RUN = Look("", "", "none")
DEFERRED = Look("↺", "Deferred", "mut")
# A folder's look is that of what went worst in it.
WORST = ("err", "warn", "run", "ok", "mut", "none")
BADGES = {"ok": "✓", "warn": "!", "err": "✕", "run": "◐", "mut": "—"}


@dataclass(frozen=True)
class Asked:
    """What the query string asks to see.

    Attributes:
        select: as dbt's ``--select`` has it.
        focus: unique ids, with what lies around them.
        opened: unique ids whose neighbours are shown as well.
        whole: all there is.
        only: nodes that the run did something with, and no others.
        folder: nodes of one folder.
        node: the unique id of the one shown in the panel.
    """

    select: str = ""
    focus: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    whole: bool = False
    only: bool = False
    folder: str = ""
    node: str = ""

    @classmethod
    def of(cls, query: QueryDict) -> Asked:
        def listed(name: str) -> tuple[str, ...]:
            given = [one[:LONGEST_NAME] for one in query.getlist(name) if one]
            return tuple(dict.fromkeys(given))[:MOST_OPENED]

        return cls(
            select=query.get("select", "").strip()[:LONGEST_SELECTOR],
            focus=listed("focus"),
            opened=listed("open"),
            whole=query.get("whole") == "1",
            only=query.get("only") == "1",
            folder=query.get("folder", "")[:LONGEST_NAME],
            node=query.get("node", "")[:LONGEST_NAME],
        )

    @property
    def is_set(self) -> bool:
        return bool(self.select or self.focus or self.opened or self.folder or self.whole)

    def query(self, **changes: object) -> str:
        """As a query string, with ``changes``."""
        values: dict[str, object] = {
            "select": self.select,
            "focus": self.focus,
            "open": self.opened,
            "whole": self.whole,
            "only": self.only,
            "folder": self.folder,
            "node": self.node,
            **changes,
        }
        given = {name: "1" if value is True else value for name, value in values.items() if value}
        return urlencode(given, doseq=True)

    @property
    def kept(self) -> str:
        """As a query string without a node, that ends so that one may follow."""
        text = self.query(node="")
        return f"{text}&" if text else ""


@dataclass(frozen=True)
class Item:
    """A node, or a folder of them, as it is shown.

    Attributes:
        number: of its place in the list; others name it by that.
        kind: its type in words.
        tests: of its tests (glyph, number, tone), the best first.
        needs: the numbers of what it depends on, among what is shown.
        depth: how many steps it is from what depends on nothing, for an indent.
        left_out: how many neighbours are not shown; ``open_href`` shows them.
        style: ``skipped``, ``deferred`` or nothing.
    """

    number: int
    name: str
    title: str
    href: str
    kind: str
    look: Look
    tests: Sequence[tuple[str, int, str]] = ()
    needs: Sequence[int] = ()
    depth: int = 0
    left_out: int = 0
    open_href: str = ""
    style: str = ""
    here: bool = False

    @property
    def corner(self) -> str:
        """What its shape goes by."""
        return self.kind.partition(" ")[0]


@dataclass(frozen=True)
class Lineage:
    """What a page of lineage shows.

    Attributes:
        items: each after what it depends on.
        are_folders: of folders, for there are more nodes than can be drawn.
        words: what is seen, in a sentence.
        refusal: why the selector was not followed; empty where it was.
        total: nodes of the project that could be shown.
    """

    items: Sequence[Item]
    words: str
    total: int
    number: int = 0
    are_folders: bool = False
    refusal: str = ""


@dataclass(frozen=True)
class Standing:
    """What a run made of the nodes."""

    statuses: Mapping[str, str] = field(default_factory=dict)
    deferred: bool = False

    def look(self, unique_id: str) -> Look:
        status = self.statuses.get(unique_id)
        return look_of_node(status) if status else NOT_RUN


def standing_of(run: Run) -> Standing:
    """What ``run`` made of each node: by the step that builds, where more than one told of it."""
    rows = NodeResult.objects.filter(run=run).values_list(
        "unique_id", "status", "step__builds", "step__kind", "step__index"
    )
    best: dict[str, tuple[tuple[bool, bool, int], str]] = {}
    for unique_id, status, builds, kind, index in rows:
        rank = (builds, kind != StepKind.DOCS, index)
        if unique_id not in best or best[unique_id][0] < rank:
            best[unique_id] = (rank, status)
    statuses = {unique_id: status for unique_id, (_rank, status) in best.items()}
    return Standing(statuses, deferred=run.deferring_run_id is not None)


def lineage(graph: Graph, standing: Standing, asked: Asked) -> Lineage:
    """What of ``graph`` is shown for ``asked``, and how it stands."""
    refusal = ""
    try:
        chosen, most = _chosen(graph, standing, asked)
    except NotUnderstood as refused:
        refusal = str(refused)
        chosen, most = _begin(graph, standing)
    if asked.only:
        chosen &= graph.standing_for(standing.statuses)
    for one in asked.opened:
        if one in graph.drawn:
            chosen |= {one} | graph.parents(one) | graph.children(one)
    if len(chosen) > most:
        inside = folders(graph, chosen)
        items = _folder_items(graph, standing, asked, inside)
        words = f"{len(chosen)} nodes in {len(items)} folders"
    else:
        items = _items(graph, standing, asked, chosen)
        words = f"{len(items)} of the {len(graph.drawn)} nodes of {graph.project.name}"
    return Lineage(
        items=items,
        words=words,
        total=len(graph.drawn),
        number=len(chosen),
        are_folders=len(chosen) > most,
        refusal=refusal,
    )


def _chosen(graph: Graph, standing: Standing, asked: Asked) -> tuple[Names, int]:
    """The nodes asked for, and how many of them are drawn as nodes."""
    if asked.select:
        return selected(graph, asked.select), MOST
    if asked.folder:
        return in_folder(graph, asked.folder), MOST
    if asked.focus:
        return around(graph, asked.focus), MOST
    if asked.whole:
        return graph.drawn, MOST
    return _begin(graph, standing)


def _begin(graph: Graph, standing: Standing) -> tuple[Names, int]:
    """What one sees first: around what failed, else what the run worked on, else all of it."""
    failed = [one for one in standing.statuses if standing.look(one).tone == "err"]
    if found := around(graph, failed):
        return found, MOST
    return graph.standing_for(standing.statuses) or graph.drawn, START


# --- As it is shown ---------------------------------------------------------------------------


def _items(graph: Graph, standing: Standing, asked: Asked, chosen: Names) -> list[Item]:
    needs = {one: graph.parents(one) & chosen for one in chosen}
    order = _in_order(needs)
    place = {one: number for number, one in enumerate(order)}
    depths = _depths(order, needs)
    worked_on = frozenset(standing.statuses)
    items = []
    for one in order:
        node = graph.nodes[one]
        look, style = standing.look(one), ""
        if one not in worked_on and standing.deferred and graph.children(one) & worked_on:
            look, style = DEFERRED, "deferred"
        elif standing.statuses.get(one) == "reused":
            style = "deferred"
        elif standing.statuses.get(one) == "skipped":
            style = "skipped"
        around_it = graph.parents(one) | graph.children(one)
        kind = node.resource_type.replace("_", " ")
        made = str(node.config.get("materialized") or "")
        items.append(
            Item(
                number=place[one],
                name=node.name if node.resource_type != "source" else _source_name(graph, one),
                title=one,
                href=f"?{asked.query(node=one)}#node",
                kind=f"{kind} · {made}" if made and made != kind else kind,
                look=look,
                tests=_tests(graph, standing, [one]),
                needs=sorted(place[parent] for parent in needs[one]),
                depth=min(depths[one], DEEPEST),
                left_out=len(around_it - chosen) if not asked.only else 0,
                open_href=f"?{asked.query(open=_opened(asked, one))}#lineage",
                style=style,
                here=one == asked.node,
            )
        )
    return items


def _opened(asked: Asked, one: str) -> tuple[str, ...]:
    return (*asked.opened, one)[-MOST_OPENED:]


def _source_name(graph: Graph, unique_id: str) -> str:
    node = graph.nodes[unique_id]
    return f"{node.about.get('source_name', '')}.{node.name}"


def _folder_items(
    graph: Graph, standing: Standing, asked: Asked, inside: Mapping[str, Names]
) -> list[Item]:
    home = {one: folder for folder, ids in inside.items() for one in ids}
    needs: dict[str, Names] = {
        folder: frozenset(
            home[parent]
            for one in ids
            for parent in graph.parents(one)
            if parent in home and home[parent] != folder
        )
        for folder, ids in inside.items()
    }
    order = _in_order(needs)
    place = {folder: number for number, folder in enumerate(order)}
    depths = _depths(order, needs)
    items = []
    for folder in order:
        ids = inside[folder]
        looks = [standing.look(one) for one in ids]
        look = min(looks, key=lambda one: WORST.index(one.tone))
        wrong = sum(1 for one in looks if one.tone == "err")
        number = f"{len(ids)} node{'' if len(ids) == 1 else 's'}"
        items.append(
            Item(
                number=place[folder],
                name=folder,
                title=folder,
                href=f"?{Asked(folder=folder, only=asked.only).query()}#lineage",
                kind=f"{number}, {wrong} failed" if wrong else number,
                look=look,
                tests=_tests(graph, standing, ids),
                needs=sorted(place[parent] for parent in needs[folder]),
                depth=min(depths[folder], DEEPEST),
            )
        )
    return items


def _tests(graph: Graph, standing: Standing, ids: Iterable[str]) -> Sequence[tuple[str, int, str]]:
    """Of the tests of ``ids`` that the run told of: glyph, number and tone."""
    tones = Counter(
        standing.look(test).tone
        for test in {test for one in ids for test in graph.tests.get(one, ())}
        if test in standing.statuses
    )
    return [(glyph, tones[tone], tone) for tone, glyph in BADGES.items() if tones[tone]]


def _in_order(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Each after what it needs; what needs itself in a circle comes last, by name."""
    waits = {one: len(parents) for one, parents in needs.items()}
    users: dict[str, list[str]] = defaultdict(list)
    for one, parents in needs.items():
        for parent in parents:
            users[parent].append(one)
    ready = sorted((one for one, number in waits.items() if not number), reverse=True)
    order = []
    while ready:
        one = ready.pop()
        order.append(one)
        for user in sorted(users[one], reverse=True):
            waits[user] -= 1
            if not waits[user]:
                ready.append(user)
    done = set(order)
    return order + sorted(one for one in needs if one not in done)


def _depths(order: Sequence[str], needs: Mapping[str, Collection[str]]) -> Mapping[str, int]:
    depths: dict[str, int] = {}
    for one in order:
        depths[one] = max(
            (depths[parent] + 1 for parent in needs[one] if parent in depths), default=0
        )
    return depths
