"""One run's directory: who may write where, and a target and a log directory a step."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

PRIVATE = 0o700
PARTIAL_PARSE = "partial_parse.msgpack"


@dataclass(frozen=True)
class StepDirectories:
    """Where one step writes; both belong to its process while it runs."""

    target: Path
    logs: Path


@dataclass(frozen=True)
class Workspace:
    """The directory of one attempt of one run, never used again.

    Of what is in it the run's children may write ``project``, ``home``, ``tmp`` and their own
    step's directories; ``git`` is there only while the commit is being fetched.

    Attributes:
        uid: the user id of the run's children, or None where it is this process's own.
    """

    root: Path
    uid: int | None = None

    @classmethod
    def create(cls, root: Path, *, uid: int | None = None) -> Workspace:
        """Make ``root`` and what is always in it.

        Raises:
            FileExistsError: there is one of that name; another attempt's is never reused.
        """
        workspace = cls(root, uid)
        root.mkdir(mode=PRIVATE)
        for directory in (workspace.project, workspace.home, workspace.tmp, workspace.git):
            directory.mkdir(mode=PRIVATE)
            workspace.give(directory)
        for directory in (
            *(root, workspace.profile, workspace.state),
            *(workspace.steps, workspace.asides),
        ):
            directory.mkdir(mode=PRIVATE, exist_ok=True)
            workspace.show(directory)
        workspace.artifacts.mkdir(mode=PRIVATE)
        return workspace

    @property
    def project(self) -> Path:
        """The checkout, all of the repository."""
        return self.root / "project"

    @property
    def profile(self) -> Path:
        """Holds profiles.yml; the children may only read it."""
        return self.root / "profile"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def state(self) -> Path:
        """Artifacts of another run to compare with; the children may only read it."""
        return self.root / "state"

    @property
    def git(self) -> Path:
        """The checkout's own place: key, known hosts, its answer. Gone before dbt starts."""
        return self.root / "git"

    @property
    def steps(self) -> Path:
        return self.root / "steps"

    @property
    def asides(self) -> Path:
        """What is handed to programs beside a step's command; the children may only read it."""
        return self.root / "asides"

    def aside(self, index: int) -> Path:
        """Make, or find, the directory of what is handed to step ``index``'s programs."""
        place = self.asides / str(index)
        if not place.exists():
            place.mkdir(mode=PRIVATE)
            self.show(place)
        return place

    @property
    def artifacts(self) -> Path:
        """Collected copies, by step; out of the children's reach."""
        return self.root / "artifacts"

    def clear_checkout(self) -> None:
        """Make the places of the checkout empty again, for another try."""
        for directory in (self.project, self.git):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(mode=PRIVATE)
            self.give(directory)

    def step(self, index: int, invocation: int = 1) -> StepDirectories:
        """Make the directories of one invocation of dbt by step ``index``."""
        place = self.steps / (str(index) if invocation == 1 else f"{index}-{invocation}")
        place.mkdir(mode=PRIVATE)
        self.show(place)
        made = StepDirectories(target=place / "target", logs=place / "logs")
        for directory in (made.target, made.logs):
            directory.mkdir(mode=PRIVATE)
            self.give(directory)
        return made

    def carry_parse(self, earlier: StepDirectories, later: StepDirectories) -> None:
        """Move dbt's parsed project from one step's target to the next, so it need not parse anew.

        What a child left under that name is moved only if it is a plain file.
        """
        source = earlier.target / PARTIAL_PARSE
        try:
            if stat.S_ISREG(source.lstat().st_mode):
                source.rename(later.target / PARTIAL_PARSE)
        except (FileNotFoundError, NotADirectoryError):
            return

    def give(self, path: Path) -> None:
        """Let the children own ``path``."""
        if self.uid is not None:
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def show(self, path: Path) -> None:
        """Let the children read and enter ``path``, and change nothing in it."""
        if self.uid is not None:
            os.chown(path, -1, self.uid, follow_symlinks=False)
            path.chmod(0o750 if path.is_dir() else 0o640)


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Make the file ``path``, readable by its owner alone from the start.

    Raises:
        FileExistsError
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
