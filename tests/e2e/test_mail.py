"""Mail through the whole service: a job fails, its owner learns of it, and that it works again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import (
    Stack,
    commit,
    duckdb_warehouse,
    make_repository,
    stack,
    wait_until,
)
from tests.mailserver import MailServer

BROKEN = "select no_such_column from {{ ref('stg_orders') }}\n"
OWNER = "owner@example.org"


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    made = MailServer()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def mailing(server: MailServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service, with a mail server set."""
    url = f"smtp://127.0.0.1:{server.port}"
    data = tmp_path_factory.mktemp("mailing") / "data"
    with stack("postgresql", data, JOBSVC_EMAIL_URL=url) as made:
        yield made


def sent(service: Stack, run: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = service.get(f"v2/notifications/deliveries/?run_id={run}")
    return rows if rows and all(row["status"] == "sent" for row in rows) else []


def test_a_failure_and_its_recovery_reach_the_owner_once_each_in_one_thread(
    mailing: Stack, server: MailServer
) -> None:
    repository = Path(mailing.service.data / "repositories" / "broken")
    make_repository(repository, **{"models/marts/broken.sql": BROKEN})
    place = mailing.place(repository, duckdb_warehouse())
    job = mailing.job(
        place,
        ["dbt seed", "dbt run --select +broken"],
        name="Daily production run",
        extensions={"owners": [OWNER]},
    )

    # The mail server is away when the run ends: nothing is lost, and the run does not care.
    server.stop()
    failed = mailing.trigger(job)
    assert mailing.ended(failed)["is_error"]
    log = f"v2/notifications/deliveries/?run_id={failed}"
    wait_until("a try failed", lambda: any(row["error"] for row in mailing.get(log)))
    server.start()
    wait_until("the failure is sent", lambda: sent(mailing, failed), 90)

    commit(repository, "mended", **{"models/marts/broken.sql": "select 1 as one\n"})
    mended = mailing.trigger(job)
    assert mailing.ended(mended)["is_success"]
    wait_until("the recovery is sent", lambda: sent(mailing, mended))

    failure, recovery = server.inbox.mails
    assert failure["To"] == recovery["To"] == OWNER
    subject = failure["Subject"].strip()  # a long one begins on a line of its own
    assert subject.startswith("[Production] Daily production run failed: broken")
    assert "no_such_column" in subject
    assert recovery["Subject"] == "[Production] Daily production run works again"
    assert recovery["In-Reply-To"] == failure["Message-ID"]
    assert mailing.get(f"v2/runs/{failed}/")["notifications_sent"] is True
    link = failure["List-Unsubscribe"].strip("<>")
    assert link.endswith("/")
    path = link.partition("/notifications/")[2]
    answer = mailing.http.post(
        f"{mailing.url}/notifications/{path}", data={"List-Unsubscribe": "One-Click"}
    )
    assert answer.ok
    assert "No more mails about this job" in answer.text
