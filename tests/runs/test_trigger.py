"""The one door: what a run is made of when it is queued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from jobsvc.jobs.define import define_job, delete_job
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, RunStatus
from tests.factories import JobFactory, RunFactory, UserFactory
from tests.runs.conftest import BY_API

pytestmark = pytest.mark.django_db


@pytest.fixture
def job() -> Job:
    return JobFactory(
        execute_steps=["dbt seed", "dbt build"],
        threads=6,
        target_name="prod",
        timeout_seconds=900,
        generate_docs=True,
        run_generate_sources=True,
        dbt_version="1.11.16",
    )


def test_a_triggered_run_is_queued_in_its_jobs_place(job: Job) -> None:
    run = trigger_run(job, BY_API)

    assert run.status == RunStatus.QUEUED
    assert (run.account, run.project, run.environment, run.job) == (
        job.account,
        job.project,
        job.environment,
        job,
    )


def test_a_run_starts_with_the_transition_that_made_it(job: Job) -> None:
    [transition] = trigger_run(job, BY_API).transitions.all()

    assert (transition.from_status, transition.to_status) == (None, RunStatus.QUEUED)


def test_a_run_keeps_why_it_exists(job: Job) -> None:
    user, before = UserFactory(), RunFactory()
    run = trigger_run(
        job,
        Trigger(
            cause="Ana pressed the button",
            cause_category=CauseCategory.UI,
            user=user,
            caused_by_run=before,
            non_native_pull_request_id=12,
        ),
    )

    trigger = run.trigger
    assert (trigger.cause, trigger.cause_category) == ("Ana pressed the button", "ui")
    assert (trigger.user, trigger.caused_by_run) == (user, before)
    assert trigger.pull_request_id == 12


def test_a_long_cause_is_cut(job: Job) -> None:
    run = trigger_run(job, replace(BY_API, cause="x" * 300))

    assert run.trigger.cause == "x" * 255


def test_without_overrides_a_run_does_what_its_job_says(job: Job) -> None:
    expected = {
        "execute_steps": ["dbt seed", "dbt build"],
        "threads": 6,
        "target_name": "prod",
        "timeout_seconds": 900,
        "generate_docs": True,
        "run_generate_sources": True,
        "dbt_version": "1.11.16",
        "schema_override": None,
        "git_branch": None,
        "git_sha": None,
    }

    configuration = trigger_run(job, BY_API).configuration

    assert {setting: configuration[setting] for setting in expected} == expected


@pytest.mark.parametrize(
    ("override", "value", "setting"),
    [
        ("steps_override", ["dbt run --select a"], "execute_steps"),
        ("threads_override", 1, "threads"),
        ("target_name_override", "ci", "target_name"),
        ("timeout_seconds_override", 60, "timeout_seconds"),
        ("timeout_seconds_override", 0, "timeout_seconds"),
        ("generate_docs_override", False, "generate_docs"),
        ("dbt_version_override", "1.11.x", "dbt_version"),
        ("schema_override", "dbt_ana", "schema_override"),
        ("git_branch", "feature", "git_branch"),
        ("git_sha", "a" * 40, "git_sha"),
    ],
)
def test_an_override_changes_one_setting_and_no_other(
    job: Job, override: str, value: Any, setting: str
) -> None:
    plain = trigger_run(job, BY_API).configuration

    run = trigger_run(job, replace(BY_API, **{override: value}))

    assert run.configuration == plain | {setting: value}
    assert getattr(run.trigger, override) == value


def test_a_later_change_of_the_job_leaves_a_queued_run_as_it_was(job: Job) -> None:
    run = trigger_run(job, BY_API)
    before = dict(run.configuration)
    job.execute_steps, job.threads, job.target_name = ["dbt test"], 1, "other"
    define_job(job, completion=None)

    run.refresh_from_db()
    assert run.configuration == before


def test_steps_can_be_given_where_the_job_has_none() -> None:
    job = JobFactory(execute_steps=[])

    run = trigger_run(job, replace(BY_API, steps_override=["dbt build"]))

    assert run.configuration["execute_steps"] == ["dbt build"]


@pytest.mark.parametrize("steps", [None, []])
def test_a_run_without_commands_is_refused(steps: list[str] | None) -> None:
    job = JobFactory(execute_steps=[])

    with pytest.raises(ValidationError) as refused:
        trigger_run(job, replace(BY_API, steps_override=steps))

    assert refused.value.message_dict == {
        "execute_steps": [
            "This run would have no commands. Give the job execute_steps, or trigger it with "
            "steps_override."
        ]
    }
    assert not Run.objects.exists()


def test_a_step_that_is_no_dbt_command_is_refused_by_its_name(job: Job) -> None:
    with pytest.raises(ValidationError) as refused:
        trigger_run(job, replace(BY_API, steps_override=["dbt build", "rm -rf /"]))

    [message] = refused.value.message_dict["steps_override"]
    assert message.startswith("Step 2")
    assert not Run.objects.exists()


def test_a_deleted_job_starts_nothing(job: Job) -> None:
    delete_job(job)

    with pytest.raises(ValidationError, match="This job is deleted"):
        trigger_run(job, BY_API)

    assert not Run.objects.exists()


def test_the_same_delivery_twice_starts_one_run(job: Job) -> None:
    once = replace(BY_API, deduplication_key="github:abc")

    assert trigger_run(job, once) == trigger_run(job, once)
    assert Run.objects.count() == 1


def test_two_deliveries_start_two_runs(job: Job) -> None:
    for key in ("github:abc", "github:def"):
        trigger_run(job, replace(BY_API, deduplication_key=key))

    assert Run.objects.count() == 2


def test_runs_without_a_key_are_never_taken_for_the_same(job: Job) -> None:
    assert trigger_run(job, BY_API) != trigger_run(job, BY_API)


def test_runs_of_a_job_share_a_key(job: Job) -> None:
    keys = {trigger_run(job, BY_API).concurrency_key for _time in range(2)}

    assert keys == {f"job:{job.pk}"}


@pytest.mark.parametrize(
    "field",
    [
        "github_pull_request_id",
        "gitlab_merge_request_id",
        "azure_pull_request_id",
        "non_native_pull_request_id",
    ],
)
def test_a_ci_run_shares_its_key_with_its_pull_request_alone(field: str) -> None:
    job = JobFactory(ci=True)

    run = trigger_run(job, replace(BY_API, **{field: 42}))

    assert run.concurrency_key == f"job:{job.pk}:pr:42"
    assert not run.takes_slot


def test_a_ci_run_without_a_pull_request_shares_its_jobs_key() -> None:
    job = JobFactory(ci=True)

    assert trigger_run(job, BY_API).concurrency_key == f"job:{job.pk}"


def test_a_pull_request_does_not_part_the_runs_of_another_kind_of_job(job: Job) -> None:
    run = trigger_run(job, replace(BY_API, github_pull_request_id=42))

    assert run.concurrency_key == f"job:{job.pk}"
    assert run.takes_slot


def test_a_run_is_told_of_after_the_commit(
    job: Job,
    published: list[tuple[Any, ...]],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run = trigger_run(job, BY_API)
        assert published == []

    assert published == [("execute_run", run.pk), ("react_to_transitions",)]
