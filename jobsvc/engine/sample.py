"""The sample project as a git repository of its own, so that a first run needs no network."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import git

LEFT_BY_DBT = shutil.ignore_patterns("target", "dbt_packages", "logs", "*.duckdb*")
AUTHOR = ("-c", "user.name=jobsvc", "-c", "user.email=jobsvc@localhost", "-c", "commit.gpgsign=no")
PLAIN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}


class SampleNotMade(Exception):
    """git or the disk refused; ``str(error)`` says why, in their own words."""


def make_repository(source: Path, place: Path) -> Path:
    """A repository at ``place`` with one commit of ``source``; one that is there stays as it is.

    Made beside and put there whole: of two who make it at once, both find it complete.

    Raises:
        SampleNotMade
    """
    try:
        return _make(source, place)
    except (OSError, git.GitError) as error:
        raise SampleNotMade(str(error)) from error


def _make(source: Path, place: Path) -> Path:
    if (place / ".git").exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".sample-") as folder:
        made = Path(folder) / place.name
        shutil.copytree(source, made, ignore=LEFT_BY_DBT)
        command = git.Git(made)
        for arguments in (
            ("init", "--quiet", "--template=", "--initial-branch=main"),
            ("add", "--all"),
            (*AUTHOR, "commit", "--quiet", "--message", "Three coffee shops"),
        ):
            command.execute(["git", *arguments], env=PLAIN)
        if not place.exists():
            made.rename(place)
    return place
