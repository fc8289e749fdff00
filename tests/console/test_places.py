"""Somebody whose only role is in one project or environment: nothing else is there for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account, Grant, Group
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus
from tests.console.test_access import NAMED, address
from tests.factories import (
    EnvironmentFactory,
    JobFactory,
    MembershipFactory,
    NotificationFactory,
    RunFactory,
    WebhookFactory,
)

VisitorOf = Callable[..., Client]

SECRET = "of-the-others"
OF_PROJECTS = [n for n, p in NAMED.items() if "project_id" in p.pattern.converters]
OF_PLACES = [
    n
    for n in OF_PROJECTS
    if {"run_id", "job_id", "environment_id"} & {*NAMED[n].pattern.converters}
]
OF_ACCOUNTS = [
    n
    for n, p in NAMED.items()
    if "account_id" in p.pattern.converters and "project_id" not in p.pattern.converters
]
# Forms that only ask something of who filled them in, or are about themselves alone.
THEIR_OWN = {"token_new", "notification_new", "cancel_queued", "calendar", "mute_new"}


def granted(account: Account, permission_set: str = "owner", **where: object) -> Client:
    """Signed in as a member who has ``permission_set`` in one ``project=`` or ``environment=``."""
    member = MembershipFactory(account=account, permission_set="")
    group = Group.objects.create(account=account, name=f"group {member.pk}")
    group.members.add(member)
    Grant.objects.create(group=group, permission_set=permission_set, **where)
    client = Client()
    client.force_login(member.user)
    return client


@pytest.fixture
def theirs(account: Account) -> Run:
    """A failed run of another project of the account, with names to look for."""
    job = JobFactory(
        name=f"job {SECRET}",
        environment__name=f"environment {SECRET}",
        environment__project__name=f"project {SECRET}",
        environment__project__account=account,
        scheduled=True,
    )
    NotificationFactory(account=account, external_email=f"{SECRET}@example.org")
    WebhookFactory(account=account, name=SECRET, failures=3)
    RunFactory(job=job)
    return RunFactory(job=job, failed=True, status_message=SECRET)


def answers(client: Client, url: str) -> tuple[int, int]:
    """The statuses of GET and POST."""
    return client.get(url).status_code, client.post(url).status_code


@pytest.mark.parametrize("name", OF_PROJECTS)
def test_another_projects_pages_do_not_exist(name: str, account: Account, theirs: Run) -> None:
    visitor = granted(account, project=EnvironmentFactory(project__account=account).project)
    url = address(NAMED[name], theirs)

    response = visitor.get(url, follow=True)
    statuses = {response.status_code, visitor.post(url, follow=True).status_code}

    assert statuses <= {404, 405, 403}
    assert response.status_code in {404, 405}
    assert SECRET not in response.content.decode()


@pytest.mark.parametrize("name", OF_PLACES)
def test_another_environments_pages_do_not_exist(name: str, account: Account, theirs: Run) -> None:
    mine = EnvironmentFactory(project=theirs.project)
    visitor = granted(account, project=theirs.project, environment=mine)

    statuses = answers(visitor, address(NAMED[name], theirs))

    assert set(statuses) <= {404, 405}


@pytest.mark.parametrize("name", OF_ACCOUNTS)
def test_the_accounts_pages_name_nothing_of_another_project(
    name: str, account: Account, theirs: Run
) -> None:
    visitor = granted(account, project=EnvironmentFactory(project__account=account).project)

    page = visitor.get(address(NAMED[name], theirs), follow=True)

    assert page.status_code in {200, 403, 404, 405}
    assert SECRET not in page.content.decode()


@pytest.mark.parametrize("name", [n for n in OF_ACCOUNTS if n not in THEIR_OWN])
def test_the_accounts_settings_cannot_be_changed_from_within_a_project(
    name: str, account: Account, theirs: Run
) -> None:
    visitor = granted(account, project=EnvironmentFactory(project__account=account).project)

    assert visitor.post(address(NAMED[name], theirs)).status_code in {403, 404, 405}


@pytest.mark.parametrize("name", [n for n in OF_PROJECTS if n not in OF_PLACES])
def test_a_projects_pages_name_nothing_of_another_environment(
    name: str, account: Account, theirs: Run
) -> None:
    theirs.project.name = "Shop"
    theirs.project.save()
    mine = JobFactory(environment=EnvironmentFactory(project=theirs.project))
    visitor = granted(account, project=theirs.project, environment=mine.environment)

    page = visitor.get(address(NAMED[name], theirs), follow=True)

    assert page.status_code in {200, 403, 404, 405}
    assert SECRET not in page.content.decode()


@pytest.mark.parametrize("name", ["account", "runs", "queue", "schedule", "projects"])
def test_what_is_ones_own_is_there(name: str, account: Account, theirs: Run) -> None:
    job = JobFactory(environment__project__account=account, scheduled=True)
    mine = RunFactory(job=job, running=True)
    visitor = granted(account, "job_viewer", project=mine.project)

    page = visitor.get(address(NAMED[name], mine))

    shown = mine.project if name == "projects" else mine.job
    assert page.status_code == 200
    assert str(shown) in page.content.decode()


def test_only_ones_own_queued_runs_are_cancelled_at_once(account: Account, theirs: Run) -> None:
    mine = RunFactory(job__environment__project__account=account)
    visitor = granted(account, "job_runner", project=mine.project)

    visitor.post(
        reverse("console:cancel_queued", args=[account.pk]),
        {"newest": str(Run.objects.latest("pk").pk)},
    )

    waiting = Run.objects.filter(status=RunStatus.QUEUED)
    assert set(waiting.values_list("project", flat=True)) == {theirs.project_id}


def test_a_short_address_of_what_one_may_not_see_leads_nowhere(
    account: Account, theirs: Run
) -> None:
    mine = RunFactory(job__environment__project__account=account)
    visitor = granted(account, project=mine.project)

    assert visitor.get(f"/r/{theirs.pk}/").status_code == 404
    assert visitor.get(f"/j/{theirs.job_id}/").status_code == 404
    assert visitor.get(f"/r/{mine.pk}/").status_code == 302


def test_the_name_of_a_job_that_one_may_not_see_is_left_out(account: Account, theirs: Run) -> None:
    mine = JobFactory(environment__project__account=account, deferring_job=theirs.job)
    mine.completion_triggers.create(upstream=theirs.job, statuses=[10])
    visitor = granted(account, "job_viewer", project=mine.project)

    page = visitor.get(reverse("console:job", args=[account.pk, mine.project_id, mine.pk]))

    assert page.status_code == 200
    assert SECRET not in page.content.decode()
    assert "not yours to see" in page.content.decode()


def test_jobs_may_be_put_only_into_environments_that_one_may_write_in(account: Account) -> None:
    staging = EnvironmentFactory(project__account=account, name="staging")
    production = EnvironmentFactory(project=staging.project, name="production")
    member = MembershipFactory(account=account, permission_set="job_viewer")
    group = Group.objects.create(account=account, name="Stagers")
    group.members.add(member)
    Grant.objects.create(
        group=group, permission_set="job_admin", project=staging.project, environment=staging
    )
    visitor = Client()
    visitor.force_login(member.user)

    page = visitor.get(reverse("console:job_new", args=[account.pk, staging.project_id]))

    offered = {value for value, _words in page.context["form"].fields["environment"].choices}
    assert staging.pk in offered
    assert production.pk not in offered


@pytest.mark.parametrize("name", ["environment_credentials", "environment_rotate"])
@pytest.mark.parametrize(("shared", "status"), [(True, 403), (False, 200)])
def test_credentials_are_changed_only_where_all_that_share_them_may_be(
    account: Account, shared: bool, status: int, name: str
) -> None:
    mine = EnvironmentFactory(
        project__account=account, credentials__secrets={"password": "the-secret"}
    )
    if shared:
        EnvironmentFactory(project=mine.project, credentials=mine.credentials)
    visitor = granted(account, "admin", project=mine.project, environment=mine)

    page = visitor.get(reverse(f"console:{name}", args=[account.pk, mine.project_id, mine.pk]))

    assert page.status_code == status


@pytest.fixture
def moved(account: Account) -> Run:
    """A failed run in staging, with a name to look for, of a job that is in production now."""
    staging = EnvironmentFactory(project__account=account)
    run = RunFactory(
        job=JobFactory(environment=staging),
        failed=True,
        git_branch=SECRET,
        status_message=SECRET,
        trigger__cause=SECRET,
    )
    run.job.environment = EnvironmentFactory(project=staging.project)
    run.job.save()
    return run


def test_a_run_is_not_retried_into_an_environment_where_one_may_not_run(
    account: Account, moved: Run
) -> None:
    visitor = granted(account, project=moved.project, environment=moved.environment)
    url = reverse("console:run_retry", args=[account.pk, moved.project_id, moved.pk])

    assert visitor.post(url).status_code == 403
    assert Run.objects.count() == 1


@pytest.mark.parametrize("name", ["job", "launch", "job_runs"])
def test_of_a_job_that_was_moved_only_the_runs_that_one_may_see_are_told(
    account: Account, moved: Run, name: str
) -> None:
    visitor = granted(account, project=moved.project, environment=moved.job.environment)
    url = reverse(f"console:{name}", args=[account.pk, moved.project_id, moved.job_id])

    page = visitor.get(url, follow=True)

    assert page.status_code == 200
    assert SECRET not in page.content.decode()
    assert f"/runs/{moved.pk}/" not in page.content.decode()


def test_the_launchpad_takes_nothing_from_a_run_that_one_may_not_see(
    account: Account, moved: Run
) -> None:
    visitor = granted(account, project=moved.project, environment=moved.job.environment)
    url = reverse("console:launch", args=[account.pk, moved.project_id, moved.job_id])

    assert visitor.get(url, {"from": moved.pk}).status_code == 404


VIEWER, OPERATOR, EDITOR, ADMIN, OWNER = "job_viewer", "job_runner", "job_admin", "admin", "owner"
ROLES = [VIEWER, OPERATOR, EDITOR, ADMIN, OWNER]
LEAST = {
    "account": VIEWER,
    "runs": VIEWER,
    "queue": VIEWER,
    "schedule": VIEWER,
    "jobs": VIEWER,
    "job": VIEWER,
    "run": VIEWER,
    "run_logs": VIEWER,
    "environments": VIEWER,
    "environment": VIEWER,
    "variables": VIEWER,
    "connections": VIEWER,
    "members": VIEWER,
    "tokens": VIEWER,
    "token_new": VIEWER,
    "webhooks": VIEWER,
    "notifications": VIEWER,
    "cancel_queued": OPERATOR,
    "launch": OPERATOR,
    "job_new": EDITOR,
    "job_settings": EDITOR,
    "job_pause": EDITOR,
    "job_delete": EDITOR,
    "variable_new": EDITOR,
    "variable_import": EDITOR,
    "environment_new": ADMIN,
    "environment_edit": ADMIN,
    "environment_delete": ADMIN,
    "project_new": ADMIN,
    "project_settings": ADMIN,
    "project_delete": ADMIN,
    "connection_new": ADMIN,
    "member_new": OWNER,
    "service_token_new": OWNER,
    "webhook_new": OWNER,
}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_opens_its_pages_and_no_more(
    role: str, visitor_of: VisitorOf, account: Account
) -> None:
    run = RunFactory(job__environment__project__account=account)
    visitor = visitor_of(account, role)

    opened = {name: visitor.get(address(NAMED[name], run)).status_code for name in LEAST}

    allowed = {name: ROLES.index(least) <= ROLES.index(role) for name, least in LEAST.items()}
    assert opened == {name: 200 if allowed[name] else 403 for name in LEAST}
