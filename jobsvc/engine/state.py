"""What a run compares with and defers to: another run's artifacts, and dbt's flags for them.

dbt takes the same settings from its environment, where this service never puts them: there
they make a command fail that has no use for them, and ``dbt retry`` takes them for the run to
retry, finds production's green results, and ends well having done nothing.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.dbt_options import COMMANDS
from jobsvc.engine.plan import StatePlan
from jobsvc.engine.results import RUN_RESULTS
from jobsvc.engine.workspace import Workspace

MANIFEST = "manifest.json"

# ``state:`` needs the first, ``result:`` the second, ``source_status:`` the third; the fourth is
# for projects with semantic models.
FILES = (MANIFEST, RUN_RESULTS, "sources.json", "semantic_manifest.json")

HEAD_BYTES = 1024**2  # of a manifest: dbt writes its metadata first
OLDEST, NEWEST = 4, 12  # versions of the manifest's schema that dbt 1.8 to 1.12 can read

_VERSION = re.compile(rb'"dbt_schema_version":\s*"[^"]*/manifest/v(\d{1,4})\.json"')

_DEFERS = {"defer", "defer_state", "favor_state"}

COMPARING = ("state", "result", "source_status")  # methods of a selection

# One criterion of a selection, as dbt reads it: graph operators, a method, its value.
_CRITERION = re.compile(r"@?(?:\d*\+)?(\w+)(?:\.[\w.]+)?:")


def manifest_version(manifest: IO[bytes]) -> int | None:
    """The version of the schema that a manifest says it has; None if it says none."""
    found = _VERSION.search(manifest.read(HEAD_BYTES))
    return int(found.group(1)) if found else None


def can_read(dbt_version: str, schema_version: int) -> bool:
    """Whether this dbt (``1.11.16``) can compare with a manifest of that schema version."""
    return not dbt_version.startswith("1.") or OLDEST <= schema_version <= NEWEST


class State:
    """The state of one run, once its project is checked out.

    Args:
        project: the dbt project's directory, where dbt is started.
    """

    def __init__(self, plan: StatePlan | None, workspace: Workspace, project: Path) -> None:
        self._plan = plan
        self._workspace = workspace
        self._project = project.resolve()
        self._missing: set[str] = set()

    def set_up(self, commands: Iterable[DbtCommand], say: Callable[[str], None]) -> None:
        """Take the files of the plan's directory, and put them where a step looks for them.

        A folder that a step names with ``--state`` or ``--defer-state``, and that the checkout
        lacks, is one to be filled: job definitions written for elsewhere say
        ``--state ./prod-artifacts``.
        """
        if self._plan is None:
            return
        say(self._plan.sentence)
        if self._plan.directory:
            for file in sorted(Path(self._plan.directory).iterdir()):
                self._workspace.show(file.rename(self._workspace.state / file.name))
        named = {name for command in commands for name in _named_folders(command)}
        self._missing = {name for name in named if self._lacks(name)}
        if self._plan.directory:
            for name in sorted(self._missing):
                self._fill(self._project / name)
                say(f"The same files are in {name}, which a step names and the repository lacks.")

    @property
    def manifest(self) -> Path | None:
        """Of the run that is deferred to; None where there is none."""
        place = self._workspace.state / MANIFEST
        return place if self._plan is not None and place.is_file() else None

    def arguments(self, command: DbtCommand) -> tuple[str, ...]:
        """What dbt is given for ``command``: its own words, and flags that it does not say itself.

        The directory is named relative to the project's, because ``dbt retry`` takes this
        text over from the results of a run in another workspace.
        """
        if self._plan is None:
            return command.arguments
        if not self._plan.directory:
            return self._without_state(command) if command.takes_state else command.arguments
        given = command.options
        ours = os.path.relpath(self._workspace.state.resolve(), self._project)
        if command.subcommand == "retry":
            # Its --state is the run to retry. All else it takes over from that run.
            added = () if "defer_state" in given else ("--defer-state", ours)
            return (*command.arguments, *added)
        if not command.takes_state or (command.state and command.state not in self._missing):
            return command.arguments
        flags: list[str] = [] if command.state else ["--state", ours]
        if not given.keys() & {"state", "defer", "defer_state"}:
            flags.append("--defer")
        defers = "--defer" in flags or given.get("defer") == ("true",)
        if defers and self._plan.favor_state and "favor_state" not in given:
            flags.append("--favor-state")
        return (*command.arguments, *flags)

    def _without_state(self, command: DbtCommand) -> tuple[str, ...]:
        """``command`` where nothing is there to compare with: it selects as if all were new."""
        if command.state and command.state not in self._missing:
            return command.arguments  # the repository's own, which is there
        kept = {name: values for name, values in command.options.items() if name != "state"}
        other = kept.get("defer_state")
        if other is None or other[-1] in self._missing:
            kept = {name: kept[name] for name in kept if name not in _DEFERS}
        kept = selected_as_new(kept)
        if kept == command.options:
            return command.arguments
        return written(command.subcommand, kept)

    def _lacks(self, name: str) -> bool:
        """Whether the checkout has no manifest in the folder ``name``, and could have one."""
        place = (self._project / name).resolve()
        if not place.is_relative_to(self._workspace.project.resolve()):
            return False
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        return there.is_dir() and not (place / MANIFEST).exists()

    def _fill(self, place: Path) -> None:
        place = place.resolve()
        new = [folder for folder in (place, *place.parents) if not folder.exists()]
        place.mkdir(parents=True, exist_ok=True)
        for folder in new:
            self._workspace.give(folder)
        for file in self._workspace.state.iterdir():
            if not os.path.lexists(copy := place / file.name):
                shutil.copyfile(file, copy)
                self._workspace.give(copy)


def in_words(arguments: Sequence[str]) -> str:
    """The command of these arguments, as a person would type it."""
    return shlex.join(["dbt", *arguments])


def _named_folders(command: DbtCommand) -> list[str]:
    """The folders in which ``command`` looks for another run's artifacts."""
    names = list(command.options.get("defer_state", ()))
    if command.takes_state and command.state:
        names.append(command.state)
    return names


def selected_as_new(
    options: Mapping[str, tuple[str, ...]], methods: Sequence[str] = COMPARING
) -> dict[str, tuple[str, ...]]:
    """``options`` that select as if all were new to what these methods compare with.

    Where in doubt, more is selected, up to everything.
    """
    kept = dict(options)
    for name in ("select", "models"):
        if name in kept:
            parts = [
                [part for part in item.split(",") if not _compares(part, methods)]
                for item in kept[name]
            ]
            kept[name] = tuple(map(",".join, parts)) if all(parts) else ()
    if "exclude" in kept:
        kept["exclude"] = tuple(
            item
            for item in kept["exclude"]
            if not any(_compares(part, methods) for part in item.split(","))
        )
    return kept


def _compares(criterion: str, methods: Sequence[str]) -> bool:
    found = _CRITERION.match(criterion)
    return found is not None and found.group(1) in methods


def written(subcommand: str, options: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The arguments that dbt reads as this command with these options."""
    known = {option.name: option for option in COMMANDS[subcommand]}
    words = subcommand.split()
    for name, values in options.items():
        option = known[name]
        if not option.value:
            words.append(option.on[0] if values == ("true",) else option.off[0])
        elif option.value == "words":
            words += [f"--{name.replace('_', '-')}", *values] if values else []
        else:
            words.append(f"{option.on[0]}={values[-1]}")
    return tuple(words)
