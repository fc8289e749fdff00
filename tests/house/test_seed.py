"""The example data: whole, the same each time, and apart from what is real."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils.timezone import now

from accounts.models import Account
from ci.models import Check, PullRequest
from ci.tasks import sweep as sweep_ci
from jobsvc.jobs.models import Job
from jobsvc.management.example_data.seed import WouldMix, seed
from jobsvc.notifications.models import Delivery, Dispatch
from jobsvc.notifications.tasks import sweep as sweep_notifications
from jobsvc.runs.artifacts import latest_of_job
from jobsvc.runs.models import NodeResult, Run, RunTrigger
from jobsvc.runs.tasks import start_due_runs
from jobsvc.statuses import FINISHED, CauseCategory, RunStatus
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db

RUNS = 1200


def said_of_runs() -> list[Any]:
    columns = (
        "job__name",
        "status",
        "created_at",
        "finished_at",
        "git_sha",
        "trigger__cause_category",
    )
    return list(Run.objects.order_by("pk").values_list(*columns))


def test_an_account_with_three_projects_forty_jobs_and_their_runs_is_made() -> None:
    made = seed(now(), runs=RUNS)

    assert [project.name for project in made.projects] == ["Coffee shops", "Marketing", "Finance"]
    assert Job.objects.filter(account=made.account).count() == 40
    finished = Run.objects.filter(account=made.account, status__in=FINISHED)
    assert abs(finished.count() - RUNS) < RUNS / 10
    assert RunTrigger.objects.filter(run__in=finished).count() == finished.count()
    assert finished.filter(created_at__lt=now() - timedelta(days=80)).exists()
    assert set(RunTrigger.objects.values_list("cause_category", flat=True)) >= {
        CauseCategory.SCHEDULED,
        CauseCategory.CI,
        CauseCategory.MERGE,
        CauseCategory.JOB_COMPLETION,
        CauseCategory.UI,
    }
    assert Run.objects.active().count() == 2
    assert Run.objects.queued().count() == 2
    assert Job.objects.filter(deactivated=True).count() == 1
    assert Job.objects.filter(extensions__has_key="pause").count() == 3
    assert Job.objects.filter(deferring_environment__isnull=False).count() == 6
    assert PullRequest.objects.exists()
    assert Check.objects.filter(run__isnull=False).exists()
    assert Delivery.objects.exists()
    assert Dispatch.objects.exists()


def test_a_nightly_build_left_a_manifest_of_three_thousand_nodes() -> None:
    made = seed(now(), runs=RUNS)

    nightly = next(habit.job for habit in made.habits if habit.job.name == "Nightly build")
    file = latest_of_job(nightly, "manifest.json")
    assert file is not None
    with file:
        manifest = json.load(file)
    run = Run.objects.filter(job=nightly, status=RunStatus.SUCCESS).latest("pk")
    assert len(manifest["nodes"]) == NodeResult.objects.filter(run=run).count() == 3000


def test_the_same_is_made_each_time() -> None:
    moment = datetime(2026, 11, 20, 12, tzinfo=UTC)
    first = seed(moment, account_name="First", runs=300).account
    at_first = said_of_runs()
    second = seed(moment, account_name="Second", runs=300).account

    assert first != second
    assert said_of_runs() == at_first * 2


def test_a_service_that_is_started_on_it_tells_nobody_of_its_past(
    published: list[tuple[Any, ...]],
) -> None:
    seed(now(), runs=RUNS)
    told, posted, runs = (model.objects.count() for model in (Delivery, Dispatch, Run))

    sweep_notifications()
    sweep_ci()
    start_due_runs()

    counts = [model.objects.count() for model in (Delivery, Dispatch, Run)]
    assert counts == [told, posted, runs]


def test_its_owner_can_sign_in_with_the_password_that_is_printed(client: Client) -> None:
    said = StringIO()
    call_command("seed_example_data", runs=100, email="me@example.com", stdout=said)
    password = said.getvalue().partition("Password")[2].split()[0]

    assert client.login(email="me@example.com", password=password)


def test_it_is_not_mixed_with_what_is_there() -> None:
    AccountFactory(name="Real")

    with pytest.raises(CommandError, match="There is an account here already, Real"):
        call_command("seed_example_data", runs=100)
    with pytest.raises(WouldMix, match="nothing is mixed into it"):
        seed(now(), account_name="Real", runs=100)

    assert Run.objects.count() == 0
    call_command("seed_example_data", runs=100, account="Beside it", stdout=StringIO())
    assert set(Account.objects.values_list("name", flat=True)) == {"Real", "Beside it"}
