"""The folder that is the broker where there is no other."""

from __future__ import annotations

from pathlib import Path
from queue import Empty
from threading import Thread
from typing import Any

from kombu import Connection

from jobsvc.celery import FolderBroker

MESSAGES = 30
LARGE = "x" * 3_000_000  # so that it takes a while to be written


def channel(folder: Path) -> Any:
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
    }
    connection = Connection("filesystem://localhost", transport_options=options)
    assert isinstance(connection.transport, FolderBroker)
    return connection.channel()


def test_a_message_that_is_being_left_is_not_read_before_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    giver, taker = channel(tmp_path), channel(tmp_path)

    def give() -> None:
        for number in range(MESSAGES):
            giver._put("runs", {"number": number, "rest": LARGE})

    giving = Thread(target=give)
    giving.start()
    taken = set()
    while giving.is_alive() or len(taken) < MESSAGES:
        try:
            taken.add(taker._get("runs")["number"])
        except Empty:
            if not giving.is_alive() and not any(tmp_path.glob("*.msg")):
                break
    giving.join()

    assert taken == set(range(MESSAGES))
