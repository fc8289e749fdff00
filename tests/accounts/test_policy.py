"""Who may do what, where: roles held in all of an account, in a project, in an environment."""

from __future__ import annotations

import pytest

from accounts.models import Account, Membership
from accounts.policy import Access, Held
from accounts.roles import Action
from environments.models import Environment, Project
from jobsvc.jobs.models import Job
from jobsvc.runs.models import RunStep
from tests.factories import EnvironmentFactory, JobFactory, MembershipFactory, RunStepFactory

pytestmark = pytest.mark.django_db


def held(permission_set: str, environment: Environment | None = None, **where: int) -> Held:
    if environment is not None:
        where = {"project_id": environment.project_id, "environment_id": environment.pk}
    return Held("a test", permission_set, **where)


def test_more_access_wins(account: Account) -> None:
    job = JobFactory(environment__project__account=account)
    access = Access((held("job_viewer"), held("job_admin", project_id=job.project_id)))

    assert access.may(Action.WRITE_JOBS, job)
    assert access.may(Action.READ)
    assert not access.may(Action.WRITE_JOBS)


def test_a_role_in_a_project_says_nothing_of_the_account() -> None:
    access = Access((held("owner", project_id=1),))

    assert not access.may(Action.READ)
    assert access.may_somewhere(Action.WRITE_ACCOUNT)
    assert not access.may_somewhere(Action.READ, project_id=2)


def test_a_role_in_an_environment_covers_what_is_in_it_alone(account: Account) -> None:
    staging = EnvironmentFactory(project__account=account)
    other = EnvironmentFactory(project=staging.project)
    access = Access((held("job_runner", staging),))

    assert access.may(Action.RUN, JobFactory(environment=staging))
    assert not access.may(Action.READ, JobFactory(environment=other))
    assert not access.may(Action.READ, staging.project)


def test_whoever_sees_an_environment_sees_its_project_once(account: Account) -> None:
    first = EnvironmentFactory(project__account=account)
    second = EnvironmentFactory(project=first.project)
    EnvironmentFactory(project__account=account)
    access = Access((held("job_viewer", first), held("job_viewer", second)))

    assert list(access.rows(Project.objects.all())) == [first.project]


def test_rows_are_those_of_all_places_together(account: Account) -> None:
    jobs = [JobFactory(environment__project__account=account) for _ in range(3)]
    access = Access(
        (
            held("job_viewer", project_id=jobs[0].project_id),
            held("job_viewer", jobs[1].environment),
        )
    )

    assert set(access.rows(Job.objects.all())) == {jobs[0], jobs[1]}
    assert not access.rows(Job.objects.all(), Action.RUN)


def test_rows_below_a_run_are_where_the_run_is(account: Account) -> None:
    mine, _other = (RunStepFactory(run__job__environment__project__account=account) for _ in "ab")
    access = Access((held("job_viewer", project_id=mine.run.project_id),))

    assert list(access.rows(RunStep.objects.all())) == [mine]
    assert access.may(Action.READ, mine)


def test_what_belongs_to_no_project_is_not_for_a_role_in_one(account: Account) -> None:
    MembershipFactory(account=account)

    assert not Access((held("owner", project_id=1),)).rows(Membership.objects.all())


def test_an_unknown_role_allows_nothing() -> None:
    assert not Access((held("emperor"), held(""))).may(Action.READ)
