"""Every move is handed to every reaction: again rather than never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from jobsvc import bell
from jobsvc.runs.models import Run, RunTransition
from jobsvc.runs.react import react_to_transitions
from jobsvc.statuses import RunStatus

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def two_reactions(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RUN_REACTIONS = ["a.first", "b.second"]
    monkeypatch.setattr(bell, "_bell", bell._Bell())


@pytest.fixture
def broken_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[tuple[Any, ...]]]:
    """A broker that takes so many messages and then none."""

    def make(number: int) -> list[tuple[Any, ...]]:
        taken: list[tuple[Any, ...]] = []

        def send_task(app: Celery, name: str, args: Any = (), **options: Any) -> None:
            if len(taken) >= number:
                raise OperationalError("connection refused")
            taken.append((name, *args))

        monkeypatch.setattr(Celery, "send_task", send_task)
        return taken

    return make


def waiting() -> list[int]:
    return list(
        RunTransition.objects.filter(reacted_at=None).order_by("pk").values_list("pk", flat=True)
    )


def test_each_move_goes_to_each_reaction_oldest_first(
    queued: MakeRun, published: list[tuple[Any, ...]]
) -> None:
    queued().move_to(RunStatus.CANCELLED)
    first, second = waiting()

    assert react_to_transitions() == 2

    assert published == [("first", first), ("second", first), ("first", second), ("second", second)]
    assert waiting() == []


def test_a_move_is_handed_on_once(queued: MakeRun, published: list[tuple[Any, ...]]) -> None:
    queued()
    react_to_transitions()
    published.clear()

    assert react_to_transitions() == 0
    assert published == []


def test_a_move_that_the_broker_did_not_take_waits(
    queued: MakeRun, broken_after: Callable[[int], Any]
) -> None:
    queued()
    before = waiting()
    broken_after(0)

    assert react_to_transitions() == 0
    assert waiting() == before


def test_a_move_that_reached_half_of_its_reactions_is_handed_on_again(
    queued: MakeRun, broken_after: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queued()
    [move] = waiting()
    assert broken_after(1) is not None
    react_to_transitions()
    monkeypatch.setattr(bell, "_bell", bell._Bell())
    taken = broken_after(10)

    assert react_to_transitions() == 1
    assert taken == [("a.first", move), ("b.second", move)]


def test_a_crash_in_the_middle_repeats_and_skips_nothing(
    queued: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued()
    queued()
    first, second = waiting()
    told: list[tuple[Any, ...]] = []

    def send_task(app: Celery, name: str, args: Any = (), **options: Any) -> None:
        told.append((name, *args))
        if told.count(("b.second", second)) == 1 and told[-1] == ("b.second", second):
            raise SystemExit  # the worker is killed before it can mark the move

    monkeypatch.setattr(Celery, "send_task", send_task)
    with pytest.raises(SystemExit):
        react_to_transitions()
    react_to_transitions()

    assert waiting() == []
    assert {("a.first", second), ("b.second", second)} <= set(told)
    assert told.count(("a.first", first)) == 1
    assert told.count(("a.first", second)) == 2


def test_without_reactions_no_move_waits(queued: MakeRun, settings: Any) -> None:
    settings.RUN_REACTIONS = []
    queued()
    react_to_transitions()

    assert waiting() == []
