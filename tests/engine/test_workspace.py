"""A run's directory: whose each part is, and that none is ever used twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobsvc.engine.workspace import PARTIAL_PARSE, Workspace, write_private

NOBODY = 65534


def test_every_directory_is_the_owners_alone(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "run-1-1")
    workspace.step(3)

    made = [workspace.root, *workspace.root.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}


def test_a_workspace_is_never_used_again(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "run-1-1")

    with pytest.raises(FileExistsError):
        Workspace.create(tmp_path / "run-1-1")


def test_another_user_gets_what_children_write_and_may_enter_the_rest(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "run-1-1", uid=NOBODY)
    step = workspace.step(3)

    for given in (workspace.project, workspace.home, workspace.tmp, step.target, step.logs):
        assert given.stat().st_uid == NOBODY
    for shown in (workspace.root, workspace.profile, workspace.state, step.target.parent):
        found = shown.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (os.getuid(), NOBODY, 0o750)
    assert workspace.artifacts.stat().st_mode & 0o777 == 0o700


def test_the_parsed_project_moves_on_to_the_next_step(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "run-1-1")
    first, second = workspace.step(3), workspace.step(4)
    (first.target / PARTIAL_PARSE).write_bytes(b"parsed")

    workspace.carry_parse(first, second)

    assert (second.target / PARTIAL_PARSE).read_bytes() == b"parsed"


def test_a_link_in_place_of_the_parsed_project_stays_where_it_is(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "run-1-1")
    first, second = workspace.step(3), workspace.step(4)
    (first.target / PARTIAL_PARSE).symlink_to("/etc/passwd")

    workspace.carry_parse(first, second)

    assert list(second.target.iterdir()) == []


def test_a_step_that_parsed_nothing_hands_nothing_on(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "run-1-1")
    first, second = workspace.step(3), workspace.step(4)
    first.target.rmdir()

    workspace.carry_parse(first, second)

    assert list(second.target.iterdir()) == []


def test_a_private_file_is_never_readable_by_others_and_never_overwritten(tmp_path: Path) -> None:
    write_private(tmp_path / "key", "secret")

    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "key", "other")
