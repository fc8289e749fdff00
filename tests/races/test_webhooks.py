"""Senders of one webhook that race, and one that is killed at the worst moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.fakes.receiver import Post, Receiver
from tests.installation import Installation, installation
from tests.races.conftest import Racers


def test_six_senders_post_each_event_once_and_in_order(racers: Racers, receiver: Receiver) -> None:
    events = racers.act("make_dispatches", receiver.url(), 20)

    posts = racers.race("post_due", events[0])

    assert sum(posts) == 20
    assert receiver.event_ids == [f"wev_{place}" for place in range(20)]
    assert racers.act("dispatches", events) == [["sent", 1]] * 20


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation("sqlite", tmp_path_factory.mktemp("killed")) as made:
        yield made


def test_a_sender_that_is_killed_between_post_and_note_has_it_posted_again_under_the_same_id(
    service: Installation, receiver: Receiver
) -> None:
    doomed, heir = service.actor(), service.actor()
    [event] = doomed.act("make_dispatches", receiver.url(), 1)
    killed = threading.Event()

    def kill(post: Post) -> None:
        receiver.on_post = lambda post: None
        doomed.kill()
        killed.set()

    receiver.on_post = kill
    doomed.begin("post_due", event, 0)
    assert killed.wait(timeout=60)
    held = heir.act("post_due", event, 0)
    heir.act("free_webhooks")
    posts = heir.act("post_due", event, 0)

    assert (held, posts) == (0, 1), "nobody posts what a live sender may be posting"
    assert receiver.event_ids == ["wev_0", "wev_0"]
    assert heir.act("dispatches", [event]) == [["sent", 1]]
