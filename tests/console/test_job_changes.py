"""A job's changes: what each save changed, who saved it, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import Grant
from environments.define import delete_environment
from jobsvc.jobs.define import define_job, delete_job, pause_job
from jobsvc.jobs.models import Job
from tests.console.test_places import granted
from tests.factories import EnvironmentFactory, JobFactory, UserFactory

VisitorOf = Callable[..., Client]


def url(job: Job, name: str = "job_changes", *more: Any) -> str:
    return reverse(f"console:{name}", args=[job.account_id, job.project_id, job.pk, *more])


def changed(job: Job, **fields: Any) -> Job:
    for name, value in fields.items():
        setattr(job, name, value)
    return define_job(job, completion=None)


def read(visitor: Client, address: str) -> str:
    answer = visitor.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.fixture
def job(db: None) -> Job:
    """A job whose threads were once 4, and whose second command is new."""
    job = JobFactory(name="Nightly", threads=4)
    return changed(job, threads=8, execute_steps=["dbt build", "dbt run-operation clean"])


def test_a_save_is_shown_as_what_it_changed(visitor_of: VisitorOf, job: Job) -> None:
    page = read(visitor_of(job.account), url(job))

    assert 'title="settings.threads">Threads</th>' in page
    assert '<ins><span class="sign">+</span> dbt run-operation clean</ins>' in page
    assert "dbt build</div>" in page  # which was there before, and is not marked
    assert "As it was before changes were kept" in page


def test_who_saves_in_the_console_is_named(visitor_of: VisitorOf, job: Job) -> None:
    visitor = visitor_of(job.account)
    visitor.post(url(job, "job_pause"), {"reason": "holidays"})

    page = read(visitor, url(job))

    email = job.account.memberships.latest("pk").user.email
    assert f"by <bdi>{email} in the console</bdi>" in page
    assert "Why it is paused" in page


def test_a_job_that_nobody_saved_since_says_so(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert "No change of this job is kept yet" in read(visitor_of(job.account), url(job))


def test_an_environment_is_named_where_it_was_changed(visitor_of: VisitorOf, job: Job) -> None:
    changed(job, environment=EnvironmentFactory(project=job.project, name="Staging"))

    page = read(visitor_of(job.account), url(job))

    assert f"Staging (#{job.environment_id})" in page


def test_an_environment_that_the_visitor_may_not_see_keeps_its_name(job: Job) -> None:
    secret = EnvironmentFactory(project=job.project, name="Secret place")
    here = job.environment
    changed(job, environment=secret)
    changed(job, environment=here)
    group = job.account.groups.create(name="Analysts")
    Grant.objects.create(
        group=group, permission_set="job_admin", project=job.project, environment=here
    )
    member = job.account.memberships.create(user=UserFactory(), permission_set="")
    group.members.add(member)
    client = Client()
    client.force_login(member.user)

    page = read(client, url(job))

    assert "Secret place" not in page
    assert f">{secret.pk}</div>" in page


def test_older_changes_are_one_link_away(visitor_of: VisitorOf, job: Job) -> None:
    for threads in range(9, 34):
        changed(job, threads=threads)
    visitor = visitor_of(job.account)

    first = read(visitor, url(job))
    assert first.count('<section class="panel" id="change-') == 20
    assert "?before=8" in first
    second = read(visitor, f"{url(job)}?before=8")
    assert second.count('<section class="panel" id="change-') == 7
    assert "Older changes" not in second


def test_restoring_tells_what_it_changes_and_does_it_by_post(
    visitor_of: VisitorOf, job: Job
) -> None:
    visitor = visitor_of(job.account)
    address = url(job, "job_restore", 1)

    page = read(visitor, address)
    assert "2 settings change" in page
    assert Job.objects.get(pk=job.pk).threads == 8
    visitor.post(address)

    assert Job.objects.get(pk=job.pk).threads == 4
    assert "Restored to change 1" in read(visitor, url(job))


def test_restoring_says_what_stands_in_its_way(visitor_of: VisitorOf, job: Job) -> None:
    gone = job.environment
    changed(job, environment=EnvironmentFactory(project=job.project))
    delete_environment(gone)
    visitor = visitor_of(job.account)
    address = url(job, "job_restore", 1)

    for answer in (visitor.get(address), visitor.post(address)):
        page = answer.content.decode()
        assert f"This account has no environment {gone.pk} (any more)." in page
        assert '<button class="button primary">Restore' not in page
    assert Job.objects.get(pk=job.pk).threads == 8


def test_the_newest_change_has_nothing_to_restore(visitor_of: VisitorOf, job: Job) -> None:
    visitor = visitor_of(job.account)

    assert url(job, "job_restore", 2) not in read(visitor, url(job))
    assert "there is nothing to restore" in read(visitor, url(job, "job_restore", 2))


@pytest.mark.parametrize("number", [99, 10**17])
def test_a_change_that_never_was_is_no_page(visitor_of: VisitorOf, job: Job, number: int) -> None:
    assert visitor_of(job.account).get(url(job, "job_restore", number)).status_code == 404


def test_a_deleted_job_keeps_its_changes_and_cannot_be_restored(
    visitor_of: VisitorOf, job: Job
) -> None:
    delete_job(job)
    visitor = visitor_of(job.account)

    page = read(visitor, url(job))
    assert ". Deleted</h2>" in page
    assert "/restore/" not in page
    assert visitor.get(url(job, "job_restore", 1)).status_code == 404


def test_who_may_only_look_sees_changes_and_restores_none(visitor_of: VisitorOf, job: Job) -> None:
    viewer = visitor_of(job.account, "job_viewer")

    assert "/restore/" not in read(viewer, url(job))
    assert viewer.post(url(job, "job_restore", 1)).status_code == 403
    assert Job.objects.get(pk=job.pk).threads == 8


def test_what_one_may_not_see_is_not_brought_back(job: Job) -> None:
    unseen = EnvironmentFactory(project=job.project)
    changed(job, deferring_environment=unseen)
    changed(job, deferring_environment=None)
    number = job.revisions.latest("number").number - 1
    visitor = granted(job.account, project=job.project, environment=job.environment)

    page = visitor.post(url(job, "job_restore", number))

    assert "you may not see" in page.content.decode()
    assert Job.objects.get(pk=job.pk).deferring_environment is None


def test_hostile_text_is_shown_as_text(visitor_of: VisitorOf, job: Job) -> None:
    changed(job, name="<script>alert(1)</script>", description="\u202eevil")
    pause_job(job, reason="<img src=x>")

    page = read(visitor_of(job.account), url(job))

    assert "<script>alert" not in page
    assert "<img src=x>" not in page


def test_the_page_takes_as_many_queries_however_much_changed(
    visitor_of: VisitorOf, job: Job, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for place in EnvironmentFactory.create_batch(12, project=job.project):
        changed(job, environment=place)
    visitor = visitor_of(job.account)
    read(visitor, url(job))

    with django_assert_max_num_queries(12):
        read(visitor, url(job))
