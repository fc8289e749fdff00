"""A job's badge: shown to whoever has its address, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from django.test import Client
from django.urls import reverse

from accounts.feeds import badge_key, issue_badge_key, issue_calendar_key, text_of
from jobsvc.jobs.models import Job
from tests.factories import JobFactory, MembershipFactory, RunFactory

VisitorOf = Callable[..., Client]

pytestmark = pytest.mark.django_db


def url(job: Job, name: str = "job_badge") -> str:
    return reverse(f"console:{name}", args=[job.account_id, job.project_id, job.pk])


def address(job: Job) -> str:
    return f"{url(job)}?token={text_of(issue_badge_key(job.account, job.pk))}"


def words(client: Client, where: str) -> str:
    """What a badge says, after it was read as XML."""
    answer = client.get(where)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("image/svg+xml")
    return str(ElementTree.fromstring(answer.content).get("aria-label"))


def test_a_badge_says_how_the_last_run_went_without_signing_in(client: Client) -> None:
    job = JobFactory(name="Nightly")
    where = address(job)

    assert words(client, where) == "Nightly: never ran"
    RunFactory(job=job, succeeded=True)
    RunFactory(job=job, running=True)
    assert words(client, where) == "Nightly: success"
    RunFactory(job=job, failed=True)
    assert words(client, where) == "Nightly: error"


def test_a_badge_may_be_kept_a_minute(client: Client) -> None:
    answer = client.get(address(JobFactory()))

    assert answer["Cache-Control"] == "public, max-age=60"
    assert "Set-Cookie" not in answer


@pytest.mark.parametrize("token", ["", "x", "a.b", "%00"])
def test_a_wrong_key_learns_nothing(client: Client, token: str) -> None:
    job = JobFactory(name="Nightly")
    issue_badge_key(job.account, job.pk)

    answer = client.get(f"{url(job)}?token={token}")

    assert answer.status_code == 404
    assert "Nightly" not in answer.content.decode()


def test_a_key_shows_its_own_job_alone(client: Client) -> None:
    job = JobFactory()
    other = JobFactory(environment=job.environment)
    key = text_of(issue_badge_key(job.account, job.pk))
    member = MembershipFactory(account=job.account)

    assert client.get(f"{url(other)}?token={key}").status_code == 404
    calendar = text_of(issue_calendar_key(member))
    assert client.get(f"{url(job)}?token={calendar}").status_code == 404


def test_a_deleted_job_has_no_badge(client: Client) -> None:
    job = JobFactory()
    where = address(job)
    Job.objects.filter(pk=job.pk).update(state=2)

    assert client.get(where).status_code == 404


def test_a_hostile_name_is_text_in_the_picture_and_in_markdown(
    client: Client, visitor_of: VisitorOf
) -> None:
    job = JobFactory(name="<script>x</script>](https://evil.example) & <b>")
    where = address(job)

    assert "<script>" not in client.get(where).content.decode()
    assert words(client, where).startswith("<script>")
    page = visitor_of(job.account).get(url(job, "job_badge_page"))
    assert page.context["markdown"].count("](") == 2
    assert "<script>x" not in page.content.decode()


def test_a_badge_is_made_made_anew_and_closed(client: Client, visitor_of: VisitorOf) -> None:
    job = JobFactory()
    visitor, page = visitor_of(job.account), url(job, "job_badge_page")

    assert "This job has no badge yet" in visitor.get(page).content.decode()
    visitor.post(page, {"then": "make"})
    first = visitor.get(page).context["picture"]
    assert client.get(first).status_code == 200
    visitor.post(page, {"then": "make"})
    second = visitor.get(page).context["picture"]
    assert client.get(first).status_code == 404
    assert client.get(second).status_code == 200
    visitor.post(page, {"then": "close"})
    assert client.get(second).status_code == 404
    assert badge_key(job.account, job.pk) is None


def test_who_may_not_change_a_job_makes_no_badge_of_it(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    runner = visitor_of(job.account, "job_runner")

    assert runner.get(url(job, "job_badge_page")).status_code == 403
    assert runner.post(url(job, "job_badge_page"), {"then": "make"}).status_code == 403
