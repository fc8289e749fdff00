"""A job is saved whole or not at all, and each broken rule is named at its field."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from environments.define import delete_environment
from environments.models import Environment, EnvironmentType
from jobsvc.jobs.define import Completion, define_job, delete_job
from jobsvc.jobs.models import CompletionTrigger, Job, JobType
from jobsvc.statuses import RunStatus, State
from tests.factories import EnvironmentFactory, JobFactory, ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment() -> Environment:
    return EnvironmentFactory()


def new_job(environment: Environment, /, **fields: Any) -> Job:
    """A job as the API makes it, not yet saved."""
    return Job(
        **{
            "account": environment.project.account,
            "project": environment.project,
            "environment": environment,
            "name": "Nightly",
            "execute_steps": ["dbt build"],
            **fields,
        }
    )


def problems_of(job: Job, completion: Completion | None = None) -> dict[str, list[str]]:
    """What is said when ``job`` is refused, by field; nothing of it is saved."""
    before = list(Job.objects.values()), list(CompletionTrigger.objects.values())
    with pytest.raises(ValidationError) as refused:
        define_job(job, completion=completion)
    assert (list(Job.objects.values()), list(CompletionTrigger.objects.values())) == before
    return refused.value.message_dict


def test_a_sound_job_is_saved(environment: Environment) -> None:
    job = define_job(new_job(environment), completion=None)

    assert Job.objects.get() == job


def test_a_job_is_changed_in_place(environment: Environment) -> None:
    job = define_job(new_job(environment), completion=None)
    job.name = "Hourly"
    define_job(job, completion=None)

    assert Job.objects.get().name == "Hourly"


# --- Where ------------------------------------------------------------------------------------


def test_a_project_of_another_account(environment: Environment) -> None:
    theirs = EnvironmentFactory()
    job = new_job(environment, project=theirs.project, environment=theirs)

    assert problems_of(job)["project_id"] == ["This account has no such project."]


def test_a_deleted_project(environment: Environment) -> None:
    environment.project.state = State.DELETED

    assert problems_of(new_job(environment))["project_id"] == ["This account has no such project."]


def test_an_environment_of_another_project(environment: Environment) -> None:
    other = EnvironmentFactory(project=ProjectFactory(account=environment.project.account))

    assert problems_of(new_job(environment, environment=other))["environment_id"] == [
        "The project has no such environment. Choose one of its own."
    ]


def test_a_deleted_environment(environment: Environment) -> None:
    delete_environment(environment)

    assert problems_of(new_job(environment))["environment_id"] == [
        "The project has no such environment. Choose one of its own."
    ]


def test_a_development_environment(environment: Environment) -> None:
    development = EnvironmentFactory(project=environment.project, type=EnvironmentType.DEVELOPMENT)

    assert problems_of(new_job(environment, environment=development))["environment_id"] == [
        "A job runs in a deployment environment. Choose one."
    ]


# --- Steps ---------------------------------------------------------------------------------


def test_a_step_that_is_no_dbt_command_is_named(environment: Environment) -> None:
    job = new_job(environment, execute_steps=["dbt build", "curl example.com"])

    [message] = problems_of(job)["execute_steps"]
    assert message.startswith("Step 2")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--select state:modified --target prod", "--target does more than select"),
        ("--select state:modified --vars '{a: 1}'", "--vars does more than select"),
        ("state:modified", "Write `--select state:modified`"),
        ("--select a; dbt run", "`;` is a shell operator"),
    ],
)
def test_flags_of_compare_changes_that_do_more_than_select(
    environment: Environment, flags: str, said: str
) -> None:
    job = new_job(environment, job_type=JobType.CI, compare_changes_flags=flags)

    [problem] = problems_of(job)["compare_changes_flags"]
    assert said in problem


@pytest.mark.parametrize("steps", ["dbt build", [1], {"a": "dbt build"}, [["dbt build"]]])
def test_steps_that_are_no_list_of_texts(environment: Environment, steps: Any) -> None:
    assert problems_of(new_job(environment, execute_steps=steps))["execute_steps"] == [
        "execute_steps is a list of dbt commands, each a text."
    ]


def test_more_steps_than_anybody_needs(environment: Environment) -> None:
    job = new_job(environment, execute_steps=["dbt build"] * 101)

    assert problems_of(job)["execute_steps"] == [
        "A job has at most 100 steps; split it into several jobs."
    ]


def test_a_job_without_steps_can_be_saved(environment: Environment) -> None:
    assert define_job(new_job(environment, execute_steps=[]), completion=None).pk


# --- Schedule ------------------------------------------------------------------------------


def test_a_schedule_says_when_the_job_runs_next(environment: Environment) -> None:
    job = define_job(
        new_job(environment, triggers_schedule=True, cron="0 6 * * *"), completion=None
    )

    assert job.next_run_at is not None
    assert job.next_run_at > now()
    assert job.next_run_at.hour == 6


def test_a_schedule_that_is_switched_off_names_no_time(environment: Environment) -> None:
    job = define_job(
        new_job(environment, triggers_schedule=True, cron="0 6 * * *"), completion=None
    )
    job.triggers_schedule = False
    define_job(job, completion=None)

    assert job.next_run_at is None
    assert job.cron == "0 6 * * *"


def test_a_schedule_without_a_cron(environment: Environment) -> None:
    assert problems_of(new_job(environment, triggers_schedule=True)) == {
        "__all__": ["A job that runs on a schedule needs a cron expression."]
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "0 0 30 2 *"}, "30 2"),
        ({"cron": "every day"}, "five fields"),
        ({"cron": "0 6 * * *", "timezone": "Mars/Olympus"}, "is not a time zone"),
    ],
)
def test_a_schedule_that_never_comes_true(
    environment: Environment, fields: dict[str, str], words: str
) -> None:
    [message] = problems_of(new_job(environment, triggers_schedule=True, **fields))["schedule"]
    assert words in message


def test_a_cron_is_checked_though_it_is_switched_off(environment: Environment) -> None:
    assert "schedule" in problems_of(new_job(environment, cron="0 0 30 2 *"))


# --- Kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (JobType.CI, JobType.OTHER),
        (JobType.OTHER, JobType.CI),
        (JobType.ADAPTIVE, JobType.SCHEDULED),
        (JobType.MERGE, JobType.ADAPTIVE),
    ],
)
def test_a_kind_that_is_for_life(environment: Environment, before: JobType, after: JobType) -> None:
    job = define_job(new_job(environment, job_type=before), completion=None)
    job.job_type = after

    [message] = problems_of(job)["job_type"]
    assert message.startswith(f"A job of type {before} cannot become {after}.")


@pytest.mark.parametrize(
    ("before", "after"),
    [(JobType.OTHER, JobType.SCHEDULED), (JobType.SCHEDULED, JobType.MERGE)],
)
def test_a_kind_that_may_change(environment: Environment, before: JobType, after: JobType) -> None:
    job = define_job(new_job(environment, job_type=before), completion=None)
    job.job_type = after
    define_job(job, completion=None)

    assert Job.objects.get().job_type == after


# --- Deferral ------------------------------------------------------------------------------


def test_a_job_may_defer_to_itself(environment: Environment) -> None:
    job = define_job(new_job(environment), completion=None)
    job.deferring_job = job
    define_job(job, completion=None)

    assert Job.objects.get().self_defers


def test_a_job_of_another_account_cannot_be_deferred_to(environment: Environment) -> None:
    job = new_job(environment, deferring_job=JobFactory())

    assert problems_of(job) == {"deferring_job_definition_id": ["This account has no such job."]}


def test_a_deleted_job_cannot_be_deferred_to(environment: Environment) -> None:
    gone = delete_job(JobFactory(environment=environment))

    assert problems_of(new_job(environment, deferring_job=gone)) == {
        "deferring_job_definition_id": ["This account has no such job."]
    }


def test_an_environment_of_another_account_cannot_be_deferred_to(environment: Environment) -> None:
    job = new_job(environment, deferring_environment=EnvironmentFactory())

    assert problems_of(job) == {
        "deferring_environment_id": ["This account has no such environment."]
    }


def test_a_development_environment_cannot_be_deferred_to(environment: Environment) -> None:
    development = EnvironmentFactory(project=environment.project, type=EnvironmentType.DEVELOPMENT)

    assert problems_of(new_job(environment, deferring_environment=development)) == {
        "deferring_environment_id": ["A job defers to a deployment environment. Choose one."]
    }


def test_a_job_defers_to_one_thing(environment: Environment) -> None:
    job = new_job(
        environment,
        deferring_job=JobFactory(environment=environment),
        deferring_environment=environment,
    )

    assert problems_of(job) == {
        "__all__": ["A job defers to a job or to an environment, not to both."]
    }


# --- The rest ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threads": 0}, "A job needs at least one thread."),
        ({"target_name": ""}, "A job's target name cannot be empty."),
    ],
)
def test_a_number_or_a_name_that_dbt_could_not_use(
    environment: Environment, fields: dict[str, Any], message: str
) -> None:
    said = [
        text for texts in problems_of(new_job(environment, **fields)).values() for text in texts
    ]

    assert message in said or "This field cannot be blank." in said


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"triggers_schedule": True, "cron": ""}, "job_with_a_schedule_has_a_cron"),
        ({"threads": 0}, "job_has_a_thread"),
        ({"target_name": ""}, "job_has_a_target_name"),
    ],
)
def test_the_database_keeps_the_rules_whoever_writes(
    fields: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        JobFactory(**fields)


# --- Deleting ------------------------------------------------------------------------------


def test_a_deleted_job_stays_for_its_runs_to_refer_to() -> None:
    job = delete_job(JobFactory())

    assert Job.objects.get(pk=job.pk).state == State.DELETED
    assert not Job.objects.active().exists()


# --- What follows what -----------------------------------------------------------------------


def after(upstream: Job, *statuses: int) -> Completion:
    return Completion(upstream, statuses or (RunStatus.SUCCESS,))


@pytest.fixture
def jobs(environment: Environment) -> list[Job]:
    return [JobFactory(environment=environment, name=name) for name in "ABCD"]


def test_a_job_starts_after_another(jobs: list[Job]) -> None:
    a, b, *_ = jobs
    define_job(b, completion=after(a, 10, 20))

    trigger = CompletionTrigger.objects.get()
    assert (trigger.job, trigger.upstream, trigger.statuses) == (b, a, [10, 20])


def test_what_a_job_waits_for_can_be_changed_and_taken_away(jobs: list[Job]) -> None:
    a, b, c, _d = jobs
    define_job(c, completion=after(a))
    define_job(c, completion=after(b))
    assert CompletionTrigger.objects.get().upstream == b

    define_job(c, completion=None)
    assert not CompletionTrigger.objects.exists()


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_circle_is_refused_with_its_path(jobs: list[Job], length: int) -> None:
    ring = jobs[:length]
    for upstream, job in pairwise(ring):
        define_job(job, completion=after(upstream))

    [message] = problems_of(ring[0], after(ring[-1]))["job_completion_trigger_condition"]

    names = [job.name for job in ring]
    assert " → ".join([*names, names[0]]) in message or " → ".join([names[-1], *names]) in message


def test_a_job_does_not_wait_for_itself(jobs: list[Job]) -> None:
    assert "job_completion_trigger_condition" in problems_of(jobs[0], after(jobs[0]))


def test_a_chain_that_is_no_circle_may_be_long(jobs: list[Job]) -> None:
    for upstream, job in pairwise(jobs):
        define_job(job, completion=after(upstream))

    assert CompletionTrigger.objects.count() == 3


def test_a_deleted_job_closes_no_circle(jobs: list[Job]) -> None:
    a, b, c, _d = jobs
    define_job(b, completion=after(a))
    define_job(c, completion=after(b))
    delete_job(b)

    define_job(a, completion=after(c))

    assert CompletionTrigger.objects.filter(job=a, upstream=c).exists()


def test_a_job_of_another_account_cannot_be_waited_for(jobs: list[Job]) -> None:
    assert "job_completion_trigger_condition" in problems_of(jobs[0], after(JobFactory()))


def test_a_deleted_job_cannot_be_waited_for(jobs: list[Job]) -> None:
    assert "job_completion_trigger_condition" in problems_of(jobs[0], after(delete_job(jobs[1])))


@pytest.mark.parametrize("statuses", [(1,), (3,), (10, 99)])
def test_only_an_end_can_be_waited_for(jobs: list[Job], statuses: tuple[int, ...]) -> None:
    said = problems_of(jobs[0], after(jobs[1], *statuses))

    assert [text for texts in said.values() for text in texts] == [
        "Give one or more of 10 (success), 20 (error), 30 (cancelled)."
    ]
