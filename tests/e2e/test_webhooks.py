"""Webhooks through the whole service: real runs, real workers, and receivers on loopback."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.stack import Place, Stack, duckdb_warehouse, stack, wait_until
from tests.fakes.receiver import Post, Receiver, receiving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service on PostgreSQL and Redis; it may post to loopback."""
    data = tmp_path_factory.mktemp("service") / "data"
    with stack("postgresql", data, JOBSVC_OUTBOUND_NETWORKS="127.0.0.0/8") as made:
        yield made


def listen(service: Stack, receiver: Receiver, jobs: list[int], *events: str) -> str:
    """Subscribe ``receiver`` to events of ``jobs``; the secret that its posts are signed with."""
    made = service.post(
        "v3/webhooks/subscriptions",
        {
            "name": "Receiver",
            "client_url": receiver.url(),
            "event_types": list(events),
            "job_ids": jobs,
            "active": True,
            "extensions": {"schema_version": 2},
        },
        expect=201,
    )
    return str(made["hmac_secret"])


def types_at(receiver: Receiver) -> list[str]:
    return [post.told["eventType"] for post in receiver.posts]


def test_completed_arrives_only_after_the_artifacts_can_be_fetched(
    service: Stack, make_place: Callable[..., Place], receiver: Receiver
) -> None:
    job = service.job(make_place(duckdb_warehouse()), ["dbt seed"])
    secret = listen(service, receiver, [job], "job.run.started", "job.run.completed")
    fetched: dict[str, list[int]] = {}

    def fetch(post: Post) -> None:
        run = int(post.told["data"]["runId"])
        files = ("manifest.json", "run_results.json")
        statuses = [service.artifact(run, name).status_code for name in files]
        fetched[post.told["eventType"]] = [*statuses, service.run(run)["status"]]

    receiver.on_post = fetch
    run = service.trigger(job)
    wait_until("the run's end is told", lambda: "job.run.completed" in fetched, 180)

    assert fetched["job.run.completed"] == [200, 200, 10]
    assert types_at(receiver) == ["job.run.started", "job.run.completed"]
    for post in receiver.posts:
        signature = hmac.new(secret.encode(), post.body, hashlib.sha256).hexdigest()
        assert post.headers["Authorization"] == signature
        assert post.told["data"]["runId"] == str(run)


def test_a_failure_is_told_at_once_and_as_an_end(
    service: Stack, make_place: Callable[..., Place], receiver: Receiver
) -> None:
    place = make_place(duckdb_warehouse(), **{"models/broken.sql": "select * from nowhere"})
    job = service.job(place, ["dbt run --select broken"])
    listen(service, receiver, [job], "job.run.errored", "job.run.completed")

    service.trigger(job)
    wait_until("both events arrive", lambda: len(receiver.posts) >= 2, 180)

    errored, completed = receiver.posts
    assert (errored.told["eventType"], completed.told["eventType"]) == (
        "job.run.errored",
        "job.run.completed",
    )
    assert {post.told["data"]["runStatus"] for post in receiver.posts} == {"Errored"}
    assert len(set(receiver.event_ids)) == 2


def test_a_receiver_that_hangs_delays_nothing_else(
    service: Stack, make_place: Callable[..., Place], receiver: Receiver
) -> None:
    place = make_place(duckdb_warehouse())
    slow, other = (service.job(place, ["dbt compile"], name=name) for name in ("slow", "other"))
    arrived = threading.Event()
    overtaken: list[bool] = []

    with receiving() as hanging:

        def hang(post: Post) -> None:
            """Answer only once another run was queued, told of and posted elsewhere."""
            if not overtaken:
                service.trigger(other)
                overtaken.append(arrived.wait(timeout=9))

        hanging.on_post = hang
        receiver.on_post = lambda post: arrived.set()
        listen(service, hanging, [slow], "job.run.queued")
        listen(service, receiver, [other], "job.run.queued")

        service.trigger(slow)
        wait_until("the one that hangs is through", lambda: bool(overtaken))

    assert overtaken == [True]
    assert types_at(receiver) == ["job.run.queued"]
