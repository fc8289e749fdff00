"""A step's log: masked across borders, capped in memory and in length, never blocking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobsvc.engine import steplog
from jobsvc.engine.steplog import FollowedFile, StepLog

SECRET = "correct-horse-battery"
MIB = 1024**2


@pytest.fixture
def written() -> list[str]:
    return []


def log_into(written: list[str], limit: int = 10 * MIB) -> StepLog:
    return StepLog(written.append, secrets=[SECRET], limit=limit)


def test_what_comes_is_handed_on_at_once(written) -> None:
    log_into(written).feed(b"1 of 2 OK\n")

    assert written == ["1 of 2 OK\n"]


def test_a_secret_cut_by_a_border_is_masked(written) -> None:
    log = log_into(written)
    for byte in f"a {SECRET} b".encode():
        log.feed(bytes([byte]))
    log.close()

    assert "".join(written) == "a ***** b"


def test_what_is_no_text_is_replaced_and_colours_stay(written) -> None:
    log = log_into(written)
    log.feed(b"\xff\x00\x1b[31mred\x1b[0m \xc3")
    log.feed(b"\xa9")
    log.close()

    assert "".join(written) == "\N{REPLACEMENT CHARACTER}\x1b[31mred\x1b[0m é"


def test_of_a_log_that_is_too_long_the_head_and_the_end_are_kept(written) -> None:
    log = log_into(written, limit=1000)
    for number in range(100_000):
        log.feed(b"line %06d\n" % number)
    log.close()

    text = "".join(written)
    cut = 1_200_000 - 1000 - steplog.TAIL_BYTES
    assert text.startswith("line 000000\n")
    assert f"\n… {cut} bytes cut …\n" in text
    assert text.endswith("line 099999\n")


def test_a_log_just_above_its_limit_loses_nothing(written) -> None:
    log = log_into(written, limit=10)
    log.feed("ééééééééé".encode())
    log.close()

    assert "".join(written) == "ééééééééé"


def test_a_line_of_200_mb_costs_no_memory_to_speak_of(written) -> None:
    log = log_into(written, limit=MIB)
    piece = b"x" * 65536
    for _ in range(200 * MIB // len(piece)):
        log.feed(piece)
    log.close()

    assert sum(map(len, written)) < 2 * MIB


def test_the_end_of_a_log_is_remembered(written) -> None:
    log = log_into(written)
    log.feed(b"x" * 100_000 + b"last words")

    assert log.recent.endswith("last words")
    assert len(log.recent) == steplog.RECENT_CHARACTERS


# --- dbt's own log file -------------------------------------------------------------------------


def followed(directory: Path, log: StepLog, limit: int = 10 * MIB) -> FollowedFile:
    return FollowedFile(directory, "dbt.log", log, limit=limit)


def test_a_file_is_followed_while_it_grows(tmp_path, written) -> None:
    follower = followed(tmp_path, log_into(written))
    follower.pump()
    with (tmp_path / "dbt.log").open("w", buffering=1) as file:
        file.write("one\n")
        follower.pump()
        file.write("two\n")
        follower.pump()

    follower.close()

    assert written == ["one\n", "two\n"]


def test_a_file_that_never_comes_is_an_empty_log(tmp_path, written) -> None:
    followed(tmp_path, log_into(written)).close()

    assert written == []


def test_a_link_in_its_place_is_not_read(tmp_path, written) -> None:
    (tmp_path / "outside").write_text("another run's")
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "dbt.log").symlink_to(tmp_path / "outside")

    followed(logs, log_into(written)).close()

    assert written == []


def test_a_pipe_in_its_place_blocks_nothing(tmp_path, written) -> None:
    os.mkfifo(tmp_path / "dbt.log")

    followed(tmp_path, log_into(written)).close()

    assert written == []


def test_a_folder_swapped_for_a_link_is_not_followed(tmp_path, written) -> None:
    logs, outside = tmp_path / "logs", tmp_path / "outside"
    logs.mkdir()
    outside.mkdir()
    (outside / "dbt.log").write_text("another run's")
    follower = followed(logs, log_into(written))
    logs.rmdir()
    logs.symlink_to(outside)

    follower.close()

    assert written == []


def test_of_a_file_that_is_too_long_head_and_end_are_read(tmp_path, written) -> None:
    with (tmp_path / "dbt.log").open("wb") as file:
        file.write(b"first\n" * 1000)
        file.truncate(2**40)
        file.seek(2**40)
        file.write(b"last\n")

    log = log_into(written, limit=1000)
    followed(tmp_path, log, limit=1000).close()
    log.close()

    text = "".join(written)
    assert text.startswith("first\n")
    assert "bytes cut" in text
    assert text.endswith("last\n")


def test_a_file_of_little_more_than_one_look_is_read_to_its_end(tmp_path, written) -> None:
    size = steplog.PUMP_BYTES + 300_000
    (tmp_path / "dbt.log").write_bytes(b"x" * size)

    followed(tmp_path, log_into(written, limit=2 * size), limit=2 * size).close()

    assert sum(map(len, written)) == size
