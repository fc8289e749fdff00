"""What a step of the service's own makes use of, and what it comes to.

Linting, comparing and looking where a build would write all start programs of the run's
toolchain beside the commands of its job, in the same confinement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from jobsvc.engine.plan import FailureClass, RunPlan
from jobsvc.engine.ports import Ending
from jobsvc.engine.state import State


@dataclass(frozen=True, kw_only=True)
class AsideEnd:
    """How a program ended that a step started beside its command.

    Attributes:
        exit_code: negative where a signal ended it.
        output: what it said, standard error with it, masked.
        is_cut: it said more, and ``output`` is only the last megabytes of it.
        target: where dbt wrote, if it was one that does (DBT_TARGET_PATH).
    """

    ending: Ending
    exit_code: int
    output: str
    target: Path
    is_cut: bool = False


class Aside(Protocol):
    """Starts programs for one step.

    Attributes:
        project: the dbt project's directory, in which they are started.
        profiles: the directory that holds the run's profile.
        built: ids of the nodes that the run has built so far, and that did not fail since.
    """

    plan: RunPlan
    state: State
    project: Path
    profiles: Path
    built: frozenset[str]

    @property
    def seconds_left(self) -> float:
        """Until the run's own limit; infinite where it has none."""

    def say(self, line: str) -> None:
        """Write a line of the step's log."""

    def hand(self, name: str, text: str) -> Path:
        """Make a file that the programs can read and not write: a request, a script's input."""

    def pass_on(self, end: AsideEnd, name: str) -> Path | None:
        """Make a file that one program left in its target readable to the next; None if there
        is no such plain file."""

    def run(
        self,
        argv: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        say: bool = False,
    ) -> AsideEnd:
        """Run ``argv`` to its end: ``dbt``, ``python`` or ``sqlfluff`` for the toolchain's own,
        or an absolute path.

        Args:
            variables: of its environment, beyond those of any dbt child of the run.
            say: whether what it says goes into the step's log as well.
        """


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a step of the service's own came to.

    Attributes:
        message: a sentence for people; empty where there is nothing to say.
        files: artifacts to keep, by name, each a text.
    """

    ending: Ending = Ending.SUCCESS
    message: str = ""
    exit_code: int | None = None
    has_warnings: bool = False
    failure_class: FailureClass | None = None
    files: Mapping[str, str] = field(default_factory=dict)
