"""Asking dbt what a command would select: ``dbt list``, beside a step's own command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from jobsvc.engine.aside import Aside, AsideEnd
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.state import written

# Options of a command by which dbt reads the project, whatever is then selected.
READS = ("vars", "target")


def listed(aside: Aside, options: Mapping[str, tuple[str, ...]], keys: Sequence[str]) -> AsideEnd:
    """Have dbt list the nodes that ``options`` select, by the run's state: see ``nodes_of``.

    Args:
        keys: what it is to say of each node, ``unique_id`` among them.
    """
    words = written("list", options)
    listing = DbtCommand(text="", arguments=words, subcommand="list", options=options)
    arguments = aside.state.arguments(listing)
    return aside.run(
        ["dbt", "--quiet", *arguments, "--output", "json", "--output-keys", " ".join(keys)]
    )


def nodes_of(output: str) -> Iterator[dict[str, object]]:
    """The nodes of a listing; warnings of dbt and of its libraries may stand between them."""
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                node = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if "unique_id" in node:
                yield node
