"""Where a pull request's run would build, looked at before it builds anything."""

from __future__ import annotations

from collections.abc import Sequence

from jobsvc.engine.aside import Aside
from jobsvc.engine.commands import DbtCommand


def check(aside: Aside, commands: Sequence[DbtCommand]) -> list[tuple[str, str]]:
    """The schemas that ``commands`` would build in, each (database, schema).

    Raises:
        OutsideSchema: one of them is not the run's own.
    """
    raise NotImplementedError
