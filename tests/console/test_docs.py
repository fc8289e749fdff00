"""The documentation of a project: which is shown, to whom, and at which public address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.audit import AuditEvent
from accounts.models import Grant, Group
from environments.docs_links import make_link, text_of
from environments.models import DeploymentType, DocsLink, Project
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from tests.factories import (
    ArtifactFactory,
    JobFactory,
    MembershipFactory,
    RunFactory,
    RunStepFactory,
)

VisitorOf = Callable[..., Client]


@pytest.fixture
def job(db: None) -> Job:
    job: Job = JobFactory(environment__deployment_type=DeploymentType.PRODUCTION)
    return job


def documented(job: Job, content: bytes = b"<p>docs</p>", **state: Any) -> Run:
    run: Run = RunFactory(job=job, **(state or {"succeeded": True}))
    step = RunStepFactory(run=run, index=5, kind="docs", command="dbt docs generate")
    ArtifactFactory(step=step, path="static_index.html", content=content)
    return run


def docs(project: Project, query: str = "") -> str:
    return reverse("console:docs", args=[project.account_id, project.pk]) + query


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def frame_of(page: str) -> list[str]:
    return re.findall(r'<iframe src="[^"]+/runs/(\d+)/docs/page/"', page)


def test_the_newest_of_the_production_environment_is_shown(visitor_of: VisitorOf, job: Job) -> None:
    documented(job)
    newest = documented(job)
    documented(job, failed=True)
    documented(JobFactory(environment__project=job.project))
    RunFactory(job=job, succeeded=True)

    page = text(visitor_of(job.account), docs(job.project))

    assert frame_of(page) == [str(newest.pk)]
    assert f">run #{newest.pk}</a>" in page


def test_a_job_that_the_project_names_for_it_comes_before_production(
    visitor_of: VisitorOf, job: Job
) -> None:
    named = documented(JobFactory(environment__project=job.project))
    documented(job)
    Project.objects.filter(pk=job.project_id).update(docs_job_id=named.job_id)

    assert frame_of(text(visitor_of(job.account), docs(job.project))) == [str(named.pk)]


def test_older_ones_are_in_a_menu(visitor_of: VisitorOf, job: Job) -> None:
    older, newest = documented(job), documented(job)
    visitor = visitor_of(job.account)
    assert f"?run={older.pk}" in text(visitor, docs(job.project))

    page = text(visitor, docs(job.project, f"?run={older.pk}"))

    assert frame_of(page) == [str(older.pk)]
    assert "This is not the newest documentation." in page
    assert f"#{newest.pk}" in page


@pytest.mark.parametrize("query", ["?run=999999", "?run=99999999999999999"])
def test_a_run_without_documentation_is_no_page(
    visitor_of: VisitorOf, job: Job, query: str
) -> None:
    assert visitor_of(job.account).get(docs(job.project, query)).status_code == 404


def test_without_any_the_page_says_what_to_do(visitor_of: VisitorOf, job: Job) -> None:
    visitor = visitor_of(job.account)

    assert f"{job.name}</bdi>: let it make documentation" in text(visitor, docs(job.project))
    other = JobFactory(environment__project__account=job.account)
    assert "No job of this project runs in a production" in text(visitor, docs(other.project))


def test_a_job_that_makes_documentation_is_the_one_to_run(visitor_of: VisitorOf, job: Job) -> None:
    able = JobFactory(environment=job.environment, name="Whole build", generate_docs=True)

    page = text(visitor_of(job.account), docs(job.project))

    assert f"{able.name}</bdi>: run it" in page
    assert "let it make documentation" not in page


def test_the_side_bar_leads_there(visitor_of: VisitorOf, job: Job) -> None:
    page = text(visitor_of(job.account), docs(job.project))

    [link] = re.findall(rf'<a href="{docs(job.project)}"[^>]*>Documentation', page)
    assert 'aria-current="page"' in link


# --- The public address --------------------------------------------------------------------


def link(project: Project) -> str:
    return reverse("console:docs_link", args=[project.account_id, project.pk])


def public(project: Project) -> str:
    place = reverse("console:docs_public", args=[project.account_id, project.pk])
    return f"{place}?token={text_of(DocsLink.objects.get(project=project))}"


def test_nothing_is_public_unless_somebody_makes_it_so(
    visitor_of: VisitorOf, client: Client, job: Job
) -> None:
    documented(job, b"<p>hello</p>")
    place = reverse("console:docs_public", args=[job.account_id, job.project_id])
    assert client.get(place).status_code == 404

    visitor_of(job.account).post(link(job.project), {"then": "make"})
    answer = client.get(public(job.project))

    assert b"".join(answer.streaming_content) == b"<p>hello</p>"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert answer["X-Robots-Tag"] == "noindex, nofollow"
    assert not answer.cookies


def test_the_public_address_is_shown_to_who_may_close_it_alone(
    visitor_of: VisitorOf, job: Job
) -> None:
    make_link(job.project)
    address = text_of(DocsLink.objects.get(project=job.project))

    assert address in text(visitor_of(job.account), docs(job.project))
    assert address not in text(visitor_of(job.account, "job_viewer"), docs(job.project))


def test_a_viewer_makes_nothing_public(visitor_of: VisitorOf, job: Job) -> None:
    answer = visitor_of(job.account, "job_viewer").post(link(job.project), {"then": "make"})

    assert answer.status_code == 403
    assert not DocsLink.objects.exists()


def test_who_holds_one_environment_alone_makes_nothing_public(job: Job) -> None:
    member = MembershipFactory(account=job.account, permission_set="")
    group = Group.objects.create(account=job.account, name="Analysts")
    group.members.add(member)
    Grant.objects.create(
        group=group, permission_set="admin", project=job.project, environment=job.environment
    )
    client = Client()
    client.force_login(member.user)

    assert "Public address" not in text(client, docs(job.project))
    assert client.post(link(job.project), {"then": "make"}).status_code == 403
    assert not DocsLink.objects.exists()


def test_an_address_that_is_made_anew_closes_the_one_before(
    visitor_of: VisitorOf, client: Client, job: Job
) -> None:
    documented(job)
    make_link(job.project)
    before = public(job.project)

    visitor_of(job.account).post(link(job.project), {"then": "make"})

    assert client.get(before).status_code == 404
    assert client.get(public(job.project)).status_code == 200


def test_a_closed_address_shows_nothing(visitor_of: VisitorOf, client: Client, job: Job) -> None:
    documented(job)
    make_link(job.project)
    before = public(job.project)

    visitor_of(job.account).post(link(job.project), {"then": "close"})

    assert client.get(before).status_code == 404


def test_what_is_done_to_the_public_address_is_in_the_audit_log(
    visitor_of: VisitorOf, job: Job
) -> None:
    visitor = visitor_of(job.account)
    visitor.post(link(job.project), {"then": "make"})
    visitor.post(link(job.project), {"then": "close"})

    told = AuditEvent.objects.filter(account=job.account, action__startswith="docs_link.")
    assert list(told.order_by("pk").values_list("action", flat=True)) == [
        "docs_link.created",
        "docs_link.closed",
    ]


@pytest.mark.parametrize("token", ["", "x", "a.b", "%00", "9" * 5000, "☕"])
def test_another_text_opens_nothing(client: Client, job: Job, token: str) -> None:
    documented(job)
    make_link(job.project)
    place = reverse("console:docs_public", args=[job.account_id, job.project_id])

    assert client.get(place, {"token": token}).status_code == 404


def test_the_address_of_one_project_opens_no_other(client: Client, job: Job) -> None:
    documented(job)
    other = documented(
        JobFactory(
            environment__project__account=job.account,
            environment__deployment_type=DeploymentType.PRODUCTION,
        )
    )
    make_link(job.project)
    token = text_of(DocsLink.objects.get(project=job.project))
    place = reverse("console:docs_public", args=[job.account_id, other.project_id])

    assert client.get(place, {"token": token}).status_code == 404


# --- Turning it on -------------------------------------------------------------------------


def test_a_job_is_let_make_documentation_from_its_run(visitor_of: VisitorOf, job: Job) -> None:
    run = RunFactory(job=job, succeeded=True)
    visitor = visitor_of(job.account)
    address = reverse("console:run_docs", args=[run.account_id, run.project_id, run.pk])
    [action] = re.findall(r'action="([^"]+/docs/)"', text(visitor, address))

    visitor.post(action)

    job.refresh_from_db()
    assert job.generate_docs
    assert "Its job makes some now" in text(visitor, address)


def test_who_may_not_change_jobs_is_offered_no_switch(visitor_of: VisitorOf, job: Job) -> None:
    run = RunFactory(job=job, succeeded=True)
    visitor = visitor_of(job.account, "job_viewer")
    address = reverse("console:run_docs", args=[run.account_id, run.project_id, run.pk])

    assert 'id="docs-on"' not in text(visitor, address)
    on = reverse("console:job_docs_on", args=[job.account_id, job.project_id, job.pk])
    assert visitor.post(on).status_code == 403
