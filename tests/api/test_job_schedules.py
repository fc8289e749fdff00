"""When jobs are due, on the wire; pausing; and what a run's extensions say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils.timezone import now

from accounts.models import Account
from jobsvc.jobs.define import define_job
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory
from tests.conftest import JSONClient
from tests.factories import JobFactory

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.fixture
def job(account: Account) -> Job:
    job = JobFactory(environment__project__account=account, scheduled=True, next_run_at=None)
    return define_job(job, completion=None)


@pytest.fixture
def place(job: Job) -> str:
    return f"/api/v2/accounts/{job.account_id}/jobs/{job.pk}"


@pytest.fixture
def run(job: Job, published: list[Any]) -> Run:
    first = trigger_run(job, Trigger(cause="test", cause_category=CauseCategory.API))
    assert Run.objects.claim(first.pk, worker="w1")
    return trigger_run(job, Trigger(cause="test", cause_category=CauseCategory.API))


def data(response: Any) -> Any:
    assert response.status_code == 200, response.content
    return response.json()["data"]


@time_machine.travel(NOW, tick=False)
def test_a_schedule_is_shown_with_its_next_five_runs_and_in_words(
    api: JSONClient, place: str, job: Job
) -> None:
    shown = data(api.get(f"{place}/schedule/"))

    assert shown["next_runs"] == [f"2026-11-{day} 02:00:00.000000+00:00" for day in range(22, 27)]
    assert shown["words"] == "At 02:00 every day UTC"
    assert (shown["job_id"], shown["misfire"], shown["pause"]) == (job.pk, "latest", None)
    assert (shown["overdue"], shown["missed_at"]) == (False, None)


def test_a_deactivated_job_has_no_next_runs(api: JSONClient, place: str, job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(deactivated=True)

    assert data(api.get(f"{place}/schedule"))["next_runs"] == []
    shown = data(api.get(f"{place}/"))
    assert (shown["next_run"], shown["next_run_humanized"]) == (None, None)


def test_a_schedule_is_paused_with_a_reason_and_a_date(api: JSONClient, place: str) -> None:
    until = (now() + timedelta(days=3)).replace(microsecond=0)
    body = {"reason": "The warehouse moves.", "until": until.isoformat()}
    shown = data(api.post(f"{place}/pause/", body))

    assert shown["pause"]["reason"] == "The warehouse moves."
    assert datetime.fromisoformat(shown["pause"]["until"]) == until
    assert datetime.fromisoformat(shown["next_runs"][0]) > until


def test_a_pause_needs_no_body(api: JSONClient, place: str) -> None:
    assert data(api.post(f"{place}/pause"))["pause"] == {"reason": "", "until": None}


def test_a_paused_job_shows_no_next_run(api: JSONClient, place: str) -> None:
    api.post(f"{place}/pause")

    assert data(api.get(f"{place}/"))["next_run"] is None


def test_a_pause_is_among_the_jobs_extensions(api: JSONClient, place: str) -> None:
    api.post(f"{place}/pause", {"reason": "Holidays"})

    assert data(api.get(f"{place}/extensions"))["pause"]["reason"] == "Holidays"


def test_a_paused_schedule_is_resumed(api: JSONClient, place: str) -> None:
    api.post(f"{place}/pause")
    shown = data(api.post(f"{place}/resume/"))

    assert shown["pause"] is None
    assert len(shown["next_runs"]) == 5


@pytest.mark.parametrize(
    "body",
    [
        {"until": "2020-01-01T00:00:00Z"},
        {"until": "tomorrow"},
        {"until": "9999-12-31T23:59:59-12:00"},
        {"reason": "x" * 256},
        {"reason": "two\nlines"},
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(
    api: JSONClient, place: str, body: dict[str, str]
) -> None:
    assert api.post(f"{place}/pause/", body).status_code == 400


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_who_may_not_change_jobs_may_not_pause_them(
    client_of: Callable[..., JSONClient], account: Account, place: str, verb: str
) -> None:
    assert client_of(account, "job_viewer").post(f"{place}/{verb}/").status_code == 403


@pytest.mark.parametrize("address", ["schedule", "pause", "resume"])
def test_another_accounts_schedule_does_not_exist(
    client_of: Callable[..., JSONClient], place: str, address: str
) -> None:
    other = JobFactory().account
    client, theirs = client_of(other), f"{place}/{address}/"

    assert (client.get if address == "schedule" else client.post)(theirs).status_code in {403, 404}


def test_late_jobs_are_listed(api: JSONClient, account: Account, job: Job) -> None:
    late = JobFactory(environment=job.environment, scheduled=True)
    Job.objects.filter(pk=late.pk).update(next_run_at=now() - timedelta(minutes=5))
    place = f"/api/v2/accounts/{account.pk}/schedules"

    assert [one["job_id"] for one in data(api.get(place))] == [job.pk, late.pk]
    [shown] = data(api.get(f"{place}/?late=true"))
    assert (shown["job_id"], shown["overdue"]) == (late.pk, True)


# --- A run's extensions ------------------------------------------------------------------------


def test_a_run_says_why_it_waits(api: JSONClient, run: Run) -> None:
    shown = data(api.get(f"/api/v2/accounts/{run.account_id}/runs/{run.pk}/extensions/"))

    assert shown["waiting"]["reason"] == "job"
    assert shown["waiting"]["blocked_by"] == [run.pk - 1]
    assert shown["waiting"]["sentence"] == f"Waits for run {run.pk - 1} of the same job to end."


def test_runs_show_their_extensions_only_where_asked(api: JSONClient, run: Run) -> None:
    place = f"/api/v2/accounts/{run.account_id}/runs"

    assert "extensions" not in data(api.get(f"{place}/{run.pk}/"))
    for shown in data(api.get(f"{place}/?include_related=extensions")):
        assert (shown["extensions"]["waiting"] is None) == (shown["id"] != run.pk)


def test_a_cancelled_run_says_for_which_reason(api: JSONClient, run: Run) -> None:
    place = f"/api/v2/accounts/{run.account_id}/runs/{run.pk}"
    api.post(f"{place}/cancel/")

    shown = data(api.get(f"{place}/?include_related=extensions"))["extensions"]
    assert (shown["cancel_reason"], shown["waiting"]) == ("user", None)


def test_a_run_shows_the_moment_its_schedule_named(
    api: JSONClient, job: Job, published: list[Any]
) -> None:
    trigger = Trigger(
        cause="scheduled", cause_category=CauseCategory.SCHEDULED, should_start_at=NOW
    )
    run = trigger_run(job, trigger)

    shown = data(api.get(f"/api/v2/accounts/{run.account_id}/runs/{run.pk}/"))
    assert shown["should_start_at"] == "2026-11-21 10:00:00.000000+00:00"
