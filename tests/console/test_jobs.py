"""The jobs of a project, and the button that runs one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.models import Grant
from environments.models import Environment
from jobsvc.console.flaky import flaky_tests
from jobsvc.jobs.define import define_job
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import CauseCategory
from tests.factories import (
    CompletionTriggerFactory,
    EnvironmentFactory,
    JobFactory,
    NodeResultFactory,
    ProjectFactory,
    RunFactory,
    RunStepFactory,
    UserFactory,
)

VisitorOf = Callable[..., Client]


def url(job: Job, name: str = "job") -> str:
    return reverse(f"console:{name}", args=[job.account_id, job.project_id, job.pk])


def jobs_of(job: Job) -> str:
    return reverse("console:jobs", args=[job.account_id, job.project_id])


def test_a_job_is_listed_with_its_last_run_and_its_schedule(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)
    RunFactory(job=job, succeeded=True)
    last = RunFactory(job=job, failed=True)

    page = visitor_of(job.account).get(jobs_of(job)).content.decode()

    assert f"/runs/{last.pk}/" in page
    assert "Error" in page
    assert "</span> Success</span>" not in page
    assert "At 02:00 every day UTC" in page


def test_deleted_jobs_are_not_listed(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Old one", state=2)

    assert "Old one" not in visitor_of(job.account).get(jobs_of(job)).content.decode()


def test_a_project_without_jobs_offers_some_to_begin_with(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    address = reverse("console:jobs", args=[project.account_id, project.pk])

    page = visitor_of(project.account).get(address).content.decode()
    viewed = visitor_of(project.account, "job_viewer").get(address).content.decode()

    for template in ("nightly", "pull-request", "documentation"):
        assert f"jobs/new/?template={template}" in page
    assert "template=" not in viewed
    assert "Who may create and change jobs" in viewed


def names(response: Any) -> list[str]:
    return [row.job.name for row in response.context["rows"]]


def test_jobs_that_fail_come_first_the_newest_failure_on_top(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="A")
    fails = JobFactory(name="B", environment=job.environment)
    still = JobFactory(name="C", environment=job.environment)
    RunFactory(job=job, succeeded=True)
    RunFactory(job=fails, failed=True)
    RunFactory(job=still, failed=True)
    RunFactory(job=still, running=True)
    visitor = visitor_of(job.account)

    assert names(visitor.get(jobs_of(job))) == ["C", "B", "A"]
    assert names(visitor.get(f"{jobs_of(job)}?sort=name")) == ["A", "B", "C"]
    assert names(visitor.get(f"{jobs_of(job)}?sort=last")) == ["C", "B", "A"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("q=nightly", ["Nightly build"]),
        ("q=FINANCE+night", ["Nightly build"]),
        ("type=Pull+requests", ["Check"]),
        ("status=failing", ["Nightly build"]),
        ("status=running", ["Check"]),
        ("status=paused", ["Resting"]),
        ("status=never", ["Resting"]),
        ("q=nothing+like+it", []),
        ("status=x&type=y&env=z&sort=w&q=%00", ["Nightly build", "Check", "Resting"]),
    ],
)
def test_the_list_is_filtered_by_its_address(
    visitor_of: VisitorOf, asked: str, found: list[str]
) -> None:
    job = JobFactory(name="Nightly build", extensions={"tags": ["finance"]})
    RunFactory(job=job, failed=True)
    RunFactory(job=JobFactory(name="Check", ci=True, environment=job.environment), running=True)
    JobFactory(name="Resting", environment=job.environment, extensions={"pause": {"reason": "r"}})

    response = visitor_of(job.account).get(f"{jobs_of(job)}?{asked}")

    assert names(response) == found
    assert found or "None of the 3 jobs matches" in response.content.decode()


def test_the_list_is_filtered_by_environment(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Here")
    JobFactory(name="There", environment=EnvironmentFactory(project=job.project))

    response = visitor_of(job.account).get(f"{jobs_of(job)}?env={job.environment_id}")

    assert names(response) == ["Here"]


def test_a_fragment_of_the_list_is_its_table(visitor_of: VisitorOf) -> None:
    job = RunFactory(running=True).job
    visitor = visitor_of(job.account)

    page = visitor.get(f"{jobs_of(job)}?q=", headers={"HX-Request": "true"}).content.decode()

    assert page.lstrip().startswith('<div id="job-rows" hx-get=')
    assert "<html" not in page


def test_what_is_to_be_done_with_a_job_is_shown_to_who_may(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    for address in (jobs_of(job), url(job)):
        assert url(job, "job_delete") in visitor_of(job.account).get(address).content.decode()
        operator = visitor_of(job.account, "job_runner").get(address).content.decode()
        assert url(job, "job_delete") not in operator
        assert url(job, "job_settings") not in operator
        assert "Run now" in operator


def test_deleting_asks_for_the_name_and_keeps_the_runs(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Nightly <b>")
    RunFactory.create_batch(3, job=job, succeeded=True)
    CompletionTriggerFactory(upstream=job, job=JobFactory(environment=job.environment))
    visitor = visitor_of(job.account)

    asked = visitor.get(url(job, "job_delete")).content.decode()
    assert "Its 3 runs stay readable" in asked
    assert "1 other job starts when it ends" in asked

    wrong = visitor.post(url(job, "job_delete"), {"name": "nightly"}).content.decode()
    assert "This is not its name" in wrong
    assert Job.objects.active().filter(pk=job.pk).exists()

    visitor.post(url(job, "job_delete"), {"name": "Nightly <b>"})
    assert not Job.objects.active().filter(pk=job.pk).exists()
    assert Run.objects.filter(job=job).count() == 3


def test_a_job_that_was_switched_off_is_switched_on_again(visitor_of: VisitorOf) -> None:
    job = JobFactory(deactivated=True, deactivation_reason="The last 3 runs of this job failed.")
    visitor = visitor_of(job.account)

    assert "Switch on again" in visitor.get(jobs_of(job)).content.decode()
    visitor.post(url(job, "job_reactivate"))

    assert not Job.objects.get().deactivated


@pytest.mark.parametrize("name", ["job_delete", "job_reactivate"])
def test_who_may_only_run_jobs_cannot_do_away_with_them(visitor_of: VisitorOf, name: str) -> None:
    job = JobFactory(deactivated=True)

    assert visitor_of(job.account, "job_runner").post(url(job, name)).status_code == 403


def test_the_list_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory()
    for other in JobFactory.create_batch(12, environment=job.environment):
        RunFactory.create_batch(2, job=other)
    visitor = visitor_of(job.account)

    with django_assert_max_num_queries(15):
        visitor.get(jobs_of(job))


def test_a_job_says_what_it_waits_for(visitor_of: VisitorOf) -> None:
    chained = CompletionTriggerFactory(upstream__name="Nightly build")

    page = visitor_of(chained.job.account).get(url(chained.job)).content.decode()

    assert "After Nightly build ends in success" in page


def test_a_job_says_that_it_waits_for_all_of_several(visitor_of: VisitorOf) -> None:
    job = JobFactory(extensions={"upstream": {"mode": "all", "jobs": []}})
    for name, statuses in (("Load", [10]), ("Check", [10, 20])):
        upstream = JobFactory(environment=job.environment, name=name)
        CompletionTriggerFactory(job=job, upstream=upstream, statuses=statuses, is_dbt_field=False)

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert "After Load ends in success and Check ends in success or error" in page


def test_a_trigger_whose_job_was_deleted_says_that_it_is_broken(visitor_of: VisitorOf) -> None:
    chained = CompletionTriggerFactory(upstream__name="Nightly build", upstream__state=2)

    page = visitor_of(chained.job.account).get(url(chained.job)).content.decode()

    assert "After Nightly build (deleted: this starts nothing any more)" in page


def test_a_job_that_was_switched_off_says_why(visitor_of: VisitorOf) -> None:
    job = JobFactory(deactivated=True, deactivation_reason="The last 3 runs of this job failed.")

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert "This job is switched off. The last 3 runs of this job failed.</p>" in page


def test_run_now_queues_a_run_and_shows_it(visitor_of: VisitorOf, published: list[object]) -> None:
    job = JobFactory()

    response = visitor_of(job.account).post(url(job, "run_now"))

    run = Run.objects.get(job=job)
    assert response["Location"].endswith(f"/runs/{run.pk}/")
    assert run.trigger.cause_category == CauseCategory.UI
    assert run.trigger.user is not None
    assert run.trigger.cause == f"Started by {run.trigger.user.full_name}"


def test_run_now_says_why_a_job_cannot_run(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=[])

    response = visitor_of(job.account).post(url(job, "run_now"), follow=True)

    assert "This run would have no commands." in response.content.decode()
    assert not Run.objects.exists()


def test_a_link_alone_runs_nothing(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert visitor_of(job.account).get(url(job, "run_now")).status_code == 405


def test_who_may_only_look_finds_no_button_to_run(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    viewer = visitor_of(job.account, "job_viewer")

    assert "Run now" not in viewer.get(jobs_of(job)).content.decode()
    assert "Run now" not in viewer.get(url(job)).content.decode()


def test_who_may_only_look_cannot_run(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert visitor_of(job.account, "job_viewer").post(url(job, "run_now")).status_code == 403
    assert not Run.objects.exists()


def test_a_deleted_job_stays_readable_and_cannot_be_run(visitor_of: VisitorOf) -> None:
    job = JobFactory(state=2)
    visitor = visitor_of(job.account)

    assert "This job is deleted" in visitor.get(url(job)).content.decode()
    assert "Create it anew" in visitor.post(url(job, "run_now"), follow=True).content.decode()


# --- One job -----------------------------------------------------------------------------


def picture(response: Any, name: str) -> ElementTree.Element:
    return ElementTree.fromstring(response.context[name])


def test_a_job_shows_what_comes_before_and_after_it(visitor_of: VisitorOf) -> None:
    chained = CompletionTriggerFactory(upstream__name="Load", job__name="Build")
    after = JobFactory(name="Send", environment=chained.job.environment)
    CompletionTriggerFactory(upstream=chained.job, job=after, statuses=[10, 20])

    response = visitor_of(chained.job.account).get(url(chained.job))

    chain = response.context["chain"]
    assert [(one.name, one.column) for one in chain.members] == [
        ("Load", -1),
        ("Build", 0),
        ("Send", 1),
    ]
    drawn = picture(response, "chain_picture")
    assert [one.get("href") for one in drawn.iter("a")] == [url(chained.upstream), url(after)]
    assert "<td>success or error</td>" in response.content.decode()


def test_a_job_that_stands_alone_has_no_chain(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert "Before and after it" not in visitor_of(job.account).get(url(job)).content.decode()


def test_a_circle_of_old_is_shown_as_the_error_it_is(visitor_of: VisitorOf) -> None:
    chained = CompletionTriggerFactory()
    CompletionTriggerFactory(upstream=chained.job, job=chained.upstream)

    response = visitor_of(chained.job.account).get(url(chained.job))

    assert "start each other for ever" in response.content.decode()
    assert 'class="arrow err"' in response.content.decode()


def test_a_chain_shows_no_more_than_there_is_room_for(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    for other in JobFactory.create_batch(40, environment=job.environment):
        CompletionTriggerFactory(upstream=job, job=other)

    response = visitor_of(job.account).get(url(job))

    assert len(response.context["chain"].members) == 30
    assert "There are more jobs than these" in response.content.decode()


def test_a_job_of_a_chain_that_the_visitor_may_not_see_has_no_name(db: None) -> None:
    chained = CompletionTriggerFactory(upstream__name="Secret job")
    elsewhere = EnvironmentFactory(project=chained.job.project)
    Job.objects.filter(pk=chained.upstream_id).update(environment=elsewhere)
    client = somebody_in(chained.job.environment)

    response = client.get(url(chained.job))

    assert response.status_code == 200
    assert "Secret job" not in response.content.decode()
    assert not list(picture(response, "chain_picture").iter("a"))


def somebody_in(environment: Environment) -> Client:
    """A visitor who may change jobs in one environment alone."""
    account = environment.project.account
    group = account.groups.create(name="Analysts")
    Grant.objects.create(
        group=group,
        permission_set="job_admin",
        project=environment.project,
        environment=environment,
    )
    member = account.memberships.create(user=UserFactory(), permission_set="")
    group.members.add(member)
    client = Client()
    client.force_login(member.user)
    return client


@pytest.mark.parametrize(
    ("fields", "words"), [({}, "nothing"), ({"self": True}, "its own last success")]
)
def test_a_job_says_what_it_defers_to(
    visitor_of: VisitorOf, fields: dict[str, bool], words: str
) -> None:
    job = JobFactory()
    if fields:
        Job.objects.filter(pk=job.pk).update(deferring_job=job)

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert f"<dt>Defers to</dt><dd>{words}</dd>" in page


def test_the_trend_draws_each_ended_run_with_its_waiting_and_its_work(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()
    run = RunFactory(job=job, succeeded=True)
    Run.objects.filter(pk=run.pk).update(
        dequeued_at=run.created_at + timedelta(seconds=5),
        finished_at=run.created_at + timedelta(seconds=95),
    )
    RunFactory(job=job, running=True)

    page = visitor_of(job.account).get(url(job)).content.decode()

    assert f'aria-label="Run {run.pk}: Success, queued 5 s, ran 1 m 30 s"' in page
    assert "How long the last 1 runs took; usually 1 m 30 s" in page
    assert page.count('class="bar queued"') == 1


def timed(job: Job, *seconds: int, **fields: Any) -> list[Run]:
    """Successful runs of these lengths, one a minute, the last one just over."""
    runs = []
    for place, length in enumerate(seconds):
        run = RunFactory(job=job, succeeded=True, **fields)
        begun = now() - timedelta(minutes=len(seconds) - place)
        Run.objects.filter(pk=run.pk).update(
            created_at=begun, dequeued_at=begun, finished_at=begun + timedelta(seconds=length)
        )
        runs.append(run)
    return runs


def test_the_trend_has_a_line_of_what_is_usual_and_a_band_of_what_nine_in_ten_took(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()
    timed(job, 10, 20, 30)

    drawn = picture(visitor_of(job.account).get(url(job)), "trend")

    line, band = drawn.find("polyline"), drawn.find("polygon")
    assert line is not None
    assert band is not None
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    assert len(heights) == 3
    assert heights[0] > heights[1] > heights[2]  # 10, 15, 20 seconds: nearer to the top
    assert len(band.attrib["points"].split()) == 4  # both edges of the two runs that have one


def test_the_trend_marks_changed_settings_and_another_dbt(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    before, after = timed(job, 10, 20)
    Run.objects.filter(pk=before.pk).update(dbt_version="1.10.2")
    Run.objects.filter(pk=after.pk).update(dbt_version="1.11.0")
    job.threads = 9
    define_job(job, completion=None)
    job.revisions.update(created_at=now() - timedelta(seconds=90))
    visitor = visitor_of(job.account)

    response = visitor.get(url(job))

    said = [
        one.findtext("title")
        for one in picture(response, "trend").iter()
        if "mark" in one.get("class", "").split()
    ]
    assert said == [
        f"Settings changed before run {after.pk}: change 2",
        f"dbt 1.10.2 became 1.11.0 with run {after.pk}",
    ]
    assert "/changes/?before=3#change-2" in response.content.decode()


def test_short_runs_are_seen_beside_long_ones_where_the_scale_grows_by_tens(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()
    timed(job, 10, 20_000)
    visitor = visitor_of(job.account)

    def shortest(address: str) -> float:
        bars = picture(visitor.get(address), "trend").iter("rect")
        return float(next(bar for bar in bars if bar.get("class") == "bar ok").attrib["height"])

    assert shortest(url(job)) == 2
    assert shortest(f"{url(job)}?scale=log") > 30


@pytest.mark.parametrize(
    "query", ["scale=x&runs=y", "runs=%00", "scale=log&runs=200", "runs=" + "9" * 40]
)
def test_whatever_is_asked_of_the_trend_it_is_drawn(visitor_of: VisitorOf, query: str) -> None:
    job = JobFactory()
    timed(job, 1, 0)

    assert visitor_of(job.account).get(f"{url(job)}?{query}").status_code == 200


def test_the_list_says_how_long_a_job_takes_and_how_far_its_runs_lie_apart(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()
    timed(job, *range(100, 200, 10))

    page = visitor_of(job.account).get(jobs_of(job)).content.decode()

    assert "2 m 50 s" in page  # the middle one of the last five
    assert "± 36 s" in page


def test_the_list_leads_to_the_launchpad(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert url(job, "launch") in visitor_of(job.account).get(jobs_of(job)).content.decode()


# --- Flaky tests -------------------------------------------------------------------------


def went(job: Job, *results: tuple[str, str]) -> list[str]:
    """The flaky tests, after runs on commits in each of which the one test ended so."""
    for sha, status in results:
        step = RunStepFactory(
            run=RunFactory(job=job, succeeded=True, git_sha=sha * 40), builds=True
        )
        NodeResultFactory(step=step, name="unique_id", resource_type="test", status=status)
    return [one.why for one in flaky_tests(list(Run.objects.filter(job=job).order_by("pk")))]


def test_a_test_that_passed_and_failed_on_one_commit_is_flaky(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    [why] = went(job, ("a", "pass"), ("a", "fail"))

    first, second = Run.objects.order_by("pk")
    assert why == f"passed in run {first.pk} and failed in run {second.pk}, both at aaaaaaa"
    page = visitor_of(job.account).get(url(job)).content.decode()
    assert "Flaky tests" in page
    assert f"It {why}." in page


def test_a_test_that_changes_its_mind_twice_within_three_commits_is_flaky(db: None) -> None:
    [why] = went(JobFactory(), ("a", "pass"), ("b", "fail"), ("c", "pass"))

    assert "passed again" in why


@pytest.mark.parametrize(
    "results",
    [
        [("a", "pass"), ("b", "fail"), ("b", "fail")],  # it broke
        [("a", "fail"), ("b", "pass")],  # it was repaired
        [("a", "pass"), ("b", "fail"), ("c", "fail"), ("d", "pass")],  # both, in time
        [("a", "fail"), ("a", "fail")],
        [("a", "pass"), ("a", "skipped")],
    ],
)
def test_what_broke_or_was_repaired_is_not_flaky(db: None, results: list[tuple[str, str]]) -> None:
    assert went(JobFactory(), *results) == []


def test_the_grid_holds_what_failed_first_and_then_the_slowest(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    for went in ("error", "success"):
        step = RunStepFactory(run=RunFactory(job=job, succeeded=True), builds=True)
        NodeResultFactory(step=step, name="quick_but_broken", took=1, status=went)
        for number in range(12):
            NodeResultFactory(step=step, name=f"slow_{number}", took=10 + number)

    response = visitor_of(job.account).get(url(job))

    shown = response.context["grid"]
    assert [row.name for row in shown] == [
        "quick_but_broken",
        *(f"slow_{number}" for number in range(11, 1, -1)),
    ]
    assert [cell.look.word for cell in shown[0].cells] == ["Error", "Success"]


def test_a_jobs_page_takes_as_many_queries_however_much_ran(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory(deferring_environment=EnvironmentFactory())
    CompletionTriggerFactory(job=job)
    CompletionTriggerFactory(upstream=job)
    for _ in range(6):
        step = RunStepFactory(run=RunFactory(job=job, failed=True), builds=True)
        NodeResultFactory.create_batch(5, step=step, status="error")
    visitor = visitor_of(job.account)
    visitor.get(url(job))  # the session remembers the account from now on

    with django_assert_max_num_queries(15):
        visitor.get(url(job))
