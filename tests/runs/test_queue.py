"""The doorbell: rung after the commit, and never in anybody's way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.db import transaction
from kombu.exceptions import OperationalError

from jobsvc import bell
from jobsvc.runs import queue
from tests.installation import Installation

SHORT = 2.0  # seconds; one is what a broker may cost, the rest is for a busy machine


@pytest.fixture(autouse=True)
def new_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "_bell", bell._Bell())


@pytest.fixture
def broker_down(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuses every message, and lists those it refused."""
    refused: list[str] = []

    def send_task(app: Celery, name: str, args: Any = (), **options: Any) -> None:
        refused.append(name)
        raise OperationalError("connection refused")

    monkeypatch.setattr(Celery, "send_task", send_task)
    return refused


@pytest.mark.django_db
def test_nothing_is_published_inside_a_transaction(
    published: list[tuple[Any, ...]], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        queue.execute(7)
        assert published == []

    assert published == [("execute_run", 7)]


@pytest.mark.django_db
def test_what_is_rolled_back_is_not_published(
    published: list[tuple[Any, ...]], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    with (
        django_capture_on_commit_callbacks(execute=True),
        pytest.raises(ZeroDivisionError),
        transaction.atomic(),
    ):
        queue.execute(7)
        raise ZeroDivisionError

    assert published == []


@pytest.mark.django_db
def test_a_broker_that_is_down_harms_nobody(
    broker_down: list[str], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        queue.execute(7)

    assert len(broker_down) == 1


def test_a_broker_that_is_down_is_asked_once_and_then_left_alone(broker_down: list[str]) -> None:
    assert [bell.publish("a.task", number) for number in range(5)] == [False] * 5
    assert len(broker_down) == 1


def test_a_broker_is_asked_again_after_a_while(
    broker_down: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bell.publish("a.task")
    moment = bell.time.monotonic() + bell.PAUSE_SECONDS
    monkeypatch.setattr(bell.time, "monotonic", lambda: moment)
    bell.publish("a.task")

    assert len(broker_down) == 2


# --- Real brokers that are not there ----------------------------------------------------------


@contextmanager
def nobody_listens() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def nobody_answers() -> Iterator[int]:
    """A port that takes connections and never says a word, like a stopped process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        yield listening.getsockname()[1]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
@pytest.mark.parametrize("state", [nobody_listens, nobody_answers])
def test_a_broker_that_is_away_costs_a_second_once(
    scheme: str, state: Callable[[], Any], tmp_path: Path
) -> None:
    with state() as port:
        made = Installation(
            tmp_path,
            f"sqlite:///{tmp_path}/db.sqlite3",
            {"JOBSVC_BROKER_URL": f"{scheme}://guest:guest@127.0.0.1:{port}//"},
        )
        try:
            (told, first), (told_again, second) = made.actor().act("ring", 2)
        finally:
            made.stop_all()

    assert (told, told_again) == (False, False)
    assert first < SHORT
    assert second < 0.1
