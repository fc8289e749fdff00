"""What decides how long a step takes: its longest chain of nodes, and waits for a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobsvc.engine.events import RUNNING
from jobsvc.runs.graph import Graph
from jobsvc.runs.models import NodeResult

NO_TIME = timedelta()


@dataclass(frozen=True)
class Chains:
    """How a step's nodes hang together in time.

    Attributes:
        critical: the chain over ``depends_on`` whose nodes took the longest together, in order:
            with any number of threads the step would not have been shorter.
        length: of that chain.
        waited: how long each node could have begun already and did not, by its unique id.
    """

    critical: Sequence[NodeResult]
    length: timedelta
    waited: Mapping[str, timedelta]


def chains_of(graph: Graph, nodes: Sequence[NodeResult], *, moment: datetime) -> Chains:
    """The chains among ``nodes``, which are of one step; one that still runs counts to ``moment``.

    A node that did not run (an ephemeral model, say) takes no time and passes on what it needs.
    A node may begin when all that it needs has ended, and those tests of that which ended before
    it began: ``dbt build`` lets a node wait for them.
    """
    ran = {node.unique_id: node for node in nodes if node.started_at}
    begin = min((node.started_at for node in ran.values() if node.started_at), default=moment)
    before: dict[str, str | None] = {}  # what ran before it in the longest chain up to it
    lengths: dict[str, timedelta] = {}  # of the longest chain that ends with it
    ended: dict[str, datetime] = {}  # when it and all that it needs was done
    waited: dict[str, timedelta] = {}
    for one in graph.in_order:
        parents = graph.project.parents[one]
        last = max(parents, key=lambda parent: (lengths[parent], parent), default=None)
        lengths[one] = lengths[last] if last is not None else NO_TIME
        before[one] = last if last is None or last in ran else before[last]
        ended[one] = max([ended[parent] for parent in parents], default=begin)
        if (node := ran.get(one)) is not None and node.started_at is not None:
            ends = [
                ran[test].finished_at
                for parent in parents
                for test in graph.tests.get(parent, ())
                if test in ran and test != one
            ]
            tested = [end for end in ends if end is not None and end <= node.started_at]
            waited[one] = max(node.started_at - max([ended[one], *tested]), NO_TIME)
            lengths[one] += length_of(node, moment)
            ended[one] = end_of(node, moment)
    place = max(ran.keys() & lengths.keys(), key=lambda one: (lengths[one], one), default=None)
    length = lengths[place] if place is not None else NO_TIME
    critical: list[NodeResult] = []
    while place is not None:
        critical.append(ran[place])
        place = before[place]
    return Chains(critical[::-1], length, waited)


def end_of(node: NodeResult, moment: datetime) -> datetime:
    """When a node that has begun ended; of one that still runs, ``moment``."""
    if node.finished_at is not None:
        return node.finished_at
    return moment if node.status == RUNNING else (node.started_at or moment)


def length_of(node: NodeResult, moment: datetime) -> timedelta:
    """How long a node has been at work up to ``moment``."""
    return end_of(node, moment) - (node.started_at or moment)
