"""What is collected of a directory that a stranger's project could write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobsvc.engine import artifacts

SECRET = "correct-horse-battery"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    (target / "compiled" / "shop" / "models").mkdir(parents=True)
    (target / "manifest.json").write_text("{}")
    (target / "static_index.html").write_text("<html>")
    (target / "compiled" / "shop" / "models" / "orders.sql").write_text("select 1")
    return target


def collected(target: Path, tmp_path: Path) -> list[str]:
    return [file.path for file in artifacts.collect(target, tmp_path / "kept", secrets=[]).files]


EVERYTHING = ["compiled/shop/models/orders.sql", "manifest.json", "static_index.html"]


def test_result_files_and_compiled_sql_are_kept_by_path(target, tmp_path) -> None:
    assert collected(target, tmp_path) == EVERYTHING


def test_a_copy_is_private_and_has_its_size(target, tmp_path) -> None:
    (target / "manifest.json").write_text("é" * 10)

    kept = artifacts.collect(target, tmp_path / "kept", secrets=[]).files[1]

    assert kept.file.read_text() == "é" * 10
    assert kept.size == 20
    assert kept.file.stat().st_mode & 0o777 == 0o600


def test_pickles_databases_and_other_things_are_left(target, tmp_path) -> None:
    for name in ("graph.gpickle", "partial_parse.msgpack", "shop.duckdb", "script.sh"):
        (target / name).write_text("x")
    (target / "home").mkdir()
    (target / "home" / "manifest.json").write_text("{}")

    assert collected(target, tmp_path) == EVERYTHING


def test_a_secret_is_masked_wherever_it_stands(target, tmp_path) -> None:
    text = "x" * 300_000 + SECRET + "y" * 300_000
    (target / "manifest.json").write_text(text)
    (target / "compiled" / "shop" / "models" / "orders.sql").write_text(f"select '{SECRET}'")

    files = artifacts.collect(target, tmp_path / "kept", secrets=[SECRET]).files

    assert not any(SECRET in kept.file.read_text() for kept in files)
    assert files[0].file.read_text() == "select '*****'"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "socket"])
def test_what_is_no_plain_file_is_left(target, tmp_path, kind) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text("another run's")
    place = target / "run_results.json"
    match kind:
        case "link":
            place.symlink_to(outside)
        case "hard link":
            place.hardlink_to(outside)
        case "pipe":
            os.mkfifo(place)
        case "socket":
            os.mknod(place, 0o140600)

    collection = artifacts.collect(target, tmp_path / "kept", secrets=[])

    assert [file.path for file in collection.files] == EVERYTHING
    assert collection.passed_over == 1


def test_a_linked_folder_is_not_entered(target, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_text("another run's")
    (target / "run").symlink_to(outside)
    (target / "compiled" / "more").symlink_to(outside)

    assert collected(target, tmp_path) == EVERYTHING


def test_a_target_that_is_a_link_is_not_entered(target, tmp_path) -> None:
    (tmp_path / "link").symlink_to(target)

    assert collected(tmp_path / "link", tmp_path) == []


@pytest.mark.parametrize("name", ["a\nb.json", "a\\b.json", "\udcff.json", "x" * 240 + ".json"])
def test_a_name_nobody_could_ask_for_is_left(target, tmp_path, name, monkeypatch) -> None:
    monkeypatch.setattr(artifacts, "LONGEST_PATH", 100)
    (target / name).write_text("{}")

    collection = artifacts.collect(target, tmp_path / "kept", secrets=[])

    assert [file.path for file in collection.files] == EVERYTHING
    assert collection.passed_over == 1


def test_a_file_that_is_too_large_is_left_whole(target, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(artifacts, "LARGEST_FILE", 1000)
    (target / "run_results.json").write_text("x" * 1001)

    collection = artifacts.collect(target, tmp_path / "kept", secrets=[])

    assert [file.path for file in collection.files] == EVERYTHING
    assert collection.passed_over == 1


def test_a_sparse_file_costs_nothing(target, tmp_path) -> None:
    with (target / "run_results.json").open("wb") as file:
        file.truncate(2**40)

    assert collected(target, tmp_path) == EVERYTHING


def test_too_many_files_are_cut_at_the_limit(target, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(artifacts, "MOST_FILES", 2)

    collection = artifacts.collect(target, tmp_path / "kept", secrets=[])

    assert len(collection.files) == 2
    assert collection.passed_over == 1


def test_too_much_in_all_is_cut_at_the_limit(target, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(artifacts, "LARGEST_TOTAL", 10)

    collection = artifacts.collect(target, tmp_path / "kept", secrets=[])

    assert sum(file.size for file in collection.files) <= 10
    assert collection.passed_over == 1


def test_folders_below_folders_have_a_bottom(target, tmp_path) -> None:
    deep = target / "run"
    for _ in range(artifacts.DEEPEST + 5):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "a.sql").write_text("x")

    assert collected(target, tmp_path) == EVERYTHING


def test_a_step_without_files_leaves_none(tmp_path) -> None:
    assert collected(tmp_path / "nowhere", tmp_path) == []
    assert not (tmp_path / "kept").exists()
