"""The audit log's page: found by filters, opened, and taken along."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from accounts import audit
from accounts.audit import Actor, AuditEvent
from accounts.models import Account
from tests.factories import AccountFactory, JobFactory, MembershipFactory, UserFactory

VisitorOf = Callable[..., Client]
ANA = Actor(kind="user", id=7, name="ana@example.com", source="console", request_id="ab12")


def address(account: Account, name: str = "audit", **asked: object) -> str:
    return reverse(f"console:{name}", args=[account.pk], query=asked)


def said(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def body(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


@pytest.fixture
def job(db: None) -> Any:
    """A job that Ana has renamed from Nightly to Hourly."""
    made = JobFactory(name="Nightly")
    with audit.acting(ANA):
        made.name = "Hourly"
        made.save()
    return made


def test_a_change_is_shown_with_who_made_it_and_what_was_before(
    visitor_of: VisitorOf, job: Any
) -> None:
    page = said(visitor_of(job.account), address(job.account, action="job_definition.changed"))

    assert "ana@example.com" in page
    assert "job definition changed" in page
    assert "Nightly" in page
    assert "Hourly" in page
    assert reverse("console:job", args=[job.account_id, job.project_id, job.pk]) in page


@pytest.mark.parametrize(
    "asked",
    [
        {"actor": "ANA@"},
        {"action": "job_definition.changed"},
        {"request": "ab12"},
        {"q": "ana@example"},
    ],
)
def test_events_are_found_by_what_they_say(
    visitor_of: VisitorOf, job: Any, asked: dict[str, str]
) -> None:
    page = said(visitor_of(job.account), address(job.account, **asked))

    assert page.count('class="event"') == 1


def test_a_kind_of_things_is_found_by_its_word_alone(visitor_of: VisitorOf, job: Any) -> None:
    page = said(visitor_of(job.account), address(job.account, action="environment"))

    assert "environment added" in page
    assert "job definition" not in page.partition('class="events"')[2]


def test_one_thing_has_its_history(visitor_of: VisitorOf, job: Any) -> None:
    page = said(visitor_of(job.account), address(job.account, kind="job", id=job.pk))

    assert "Audit log of" in page
    assert page.count('class="event"') == 2


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"since": "2000-01-01"}, True),
        ({"until": "2000-01-01"}, False),
        ({"since": "today", "until": "today"}, True),
        ({"until": f"{now():%Y-%m-%d}"}, True),
        ({"since": "9999-01-01"}, False),
    ],
)
def test_events_are_found_by_when_they_were(
    visitor_of: VisitorOf, job: Any, asked: dict[str, str], found: bool
) -> None:
    page = said(visitor_of(job.account), address(job.account, **asked))

    assert ('class="event"' in page) == found


@pytest.mark.parametrize(
    "asked",
    [
        {"since": "yesterday"},
        {"project": "9" * 40},
        {"q": "\0"},
        {"kind": "\0", "id": "'"},
        {"before": "-1"},
        {"until": "0000-00-00"},
        {"until": "9999-12-31"},
    ],
)
def test_what_cannot_be_read_breaks_nothing(
    visitor_of: VisitorOf, job: Any, asked: dict[str, str]
) -> None:
    said(visitor_of(job.account), address(job.account, **asked))


def test_more_events_are_a_page_further(visitor_of: VisitorOf, account: Account) -> None:
    for number in range(60):
        audit.record(f"test.done{number:02}", account_id=account.pk)
    visitor = visitor_of(account)
    first = said(visitor, address(account))
    more = (
        reverse("console:audit", args=[account.pk])
        + first.partition('hx-get="')[2].partition('"')[0]
    )

    second = said(visitor, more)

    assert first.count('class="event"') == 50
    assert "done00" in second
    assert "done59" not in second


def test_only_who_manages_the_account_reads_it(visitor_of: VisitorOf, account: Account) -> None:
    visitor = visitor_of(account, "admin")

    assert visitor.get(address(account)).status_code == 403
    assert visitor.post(address(account, "audit_export"), {"format": "csv"}).status_code == 403
    assert "Audit log" not in said(visitor, reverse("console:settings", args=[account.pk]))


def test_other_accounts_events_are_not_shown(visitor_of: VisitorOf, job: Any) -> None:
    other = AccountFactory()

    assert "ana@example.com" not in said(visitor_of(other), address(other))


def test_what_concerns_the_installation_is_for_its_superusers(
    client: Client, visitor_of: VisitorOf, account: Account
) -> None:
    audit.record("toolchain.added", account_id=None)
    superuser = MembershipFactory(account=account, user=UserFactory(is_superuser=True)).user
    client.force_login(superuser)

    assert "toolchain added" in said(client, address(account))
    assert "toolchain added" not in said(visitor_of(account), address(account))


def test_an_export_has_every_event_and_is_one_itself(visitor_of: VisitorOf, job: Any) -> None:
    events = AuditEvent.objects.of_account(job.account_id)
    visitor = visitor_of(job.account)
    before = events.count()

    rows = list(
        csv.DictReader(
            io.StringIO(body(visitor.post(address(job.account, "audit_export"), {"format": "csv"})))
        )
    )

    assert len(rows) == before
    changed = next(row for row in rows if row["action"] == "job_definition.changed")
    assert json.loads(changed["differences"]) == {"name": ["Nightly", "Hourly"]}
    assert events.filter(action="audit_log.exported").count() == 1


def test_an_export_has_what_the_filters_find(visitor_of: VisitorOf, job: Any) -> None:
    url = address(job.account, "audit_export", action="job_definition")

    lines = body(visitor_of(job.account).post(url, {"format": "json"})).splitlines()

    assert [json.loads(line)["action"] for line in lines] == [
        "job_definition.changed",
        "job_definition.added",
    ]


def test_no_cell_of_an_export_is_a_formula(visitor_of: VisitorOf, account: Account) -> None:
    JobFactory(environment__project__account=account, name="=1+1")

    text = body(visitor_of(account).post(address(account, "audit_export"), {"format": "csv"}))

    assert "'=1+1" in text
    assert ",=1+1" not in text


def test_an_export_of_another_kind_is_refused(visitor_of: VisitorOf, account: Account) -> None:
    answer = visitor_of(account).post(address(account, "audit_export"), {"format": "exe"})

    assert answer.status_code == 400


def test_hostile_names_are_text(visitor_of: VisitorOf, account: Account) -> None:
    JobFactory(environment__project__account=account, name="<script>alert(1)</script>")

    assert "<script>alert" not in said(visitor_of(account), address(account))


def test_how_long_it_is_kept_is_said(
    visitor_of: VisitorOf, account: Account, settings: Any
) -> None:
    settings.AUDIT_DAYS = 400

    assert "kept for 400 days" in said(visitor_of(account), address(account))


def test_who_did_something_here_is_the_one_who_is_signed_in(
    visitor_of: VisitorOf, job: Any
) -> None:
    visitor = visitor_of(job.account)
    where = [job.account_id, job.project_id, job.pk]
    answer = visitor.post(reverse("console:job_delete", args=where), {"name": job.name})

    event = AuditEvent.objects.get(action="job_definition.removed")
    assert (event.actor_kind, event.source) == ("user", "console")
    assert event.actor_name == job.account.memberships.get().user.email
    assert event.request_id == answer["X-Request-ID"]


def test_a_page_of_events_asks_few_questions(
    visitor_of: VisitorOf, account: Account, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        audit.record(f"test.done{number:02}", account_id=account.pk)
    visitor = visitor_of(account)

    with django_assert_max_num_queries(15):
        said(visitor, address(account))
