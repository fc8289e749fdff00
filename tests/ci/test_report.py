"""What a pull request is told of its runs: asked of a GitHub on loopback, over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils.timezone import now

from ci import report, tasks
from ci.models import (
    Check,
    Decision,
    GitHubInstallation,
    PullRequest,
    Report,
    ReportKind,
    RunSummary,
)
from ci.truth import CANCELLED
from environments.models import Project
from jobsvc.engine.plan import FailureClass
from jobsvc.jobs.models import Job
from jobsvc.runs.cancel import cancel_retry, cancel_run
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CancelReason, CauseCategory, RunStatus, State
from tests.factories import (
    ArtifactFactory,
    EnvironmentFactory,
    JobFactory,
    ProjectFactory,
    RepositoryFactory,
    RunStepFactory,
)
from tests.fakes.github import FakeGitHub, Repository


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No test here needs a broker."""


@pytest.fixture
def shop(github: FakeGitHub, tmp_path: Path) -> Repository:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "README.md").write_text("A shop.")
    return github.create_repository("acme/shop", tmp_path / "source")


@pytest.fixture
def project(shop: Repository, github: FakeGitHub, db: None) -> Project:
    repository = RepositoryFactory(remote_url=shop.clone_url, secrets={"password": github.token})
    return ProjectFactory(account=repository.account, repository=repository, name="Shop")


@pytest.fixture
def job(project: Project) -> Job:
    return JobFactory(environment=EnvironmentFactory(project=project), ci=True, name="CI")


def triggered(job: Job, sha: str, number: int | None = 7, **fields: Any) -> Run:
    trigger = Trigger(
        cause="Pull request",
        cause_category=fields.pop("cause_category", CauseCategory.CI),
        git_sha=sha,
        github_pull_request_id=number,
        **fields,
    )
    return trigger_run(job, trigger)


def move(run: Run, *statuses: RunStatus, **columns: Any) -> Run:
    for status in statuses:
        run.move_to(status, **(columns if status == statuses[-1] else {}))
    return run


def tell(run: Run) -> None:
    """What follows from the newest move of ``run``, with nothing lost."""
    tasks.report_run(run.transitions.latest("pk").pk)
    post_due()


def post_due() -> None:
    for due in Report.objects.filter(due_at__lte=now()):
        tasks.post_report(due.pk)


def let_time_pass() -> None:
    """Let every wait be over."""
    Report.objects.exclude(due_at=None).update(due_at=now() - timedelta(seconds=1))


def the_report(kind: ReportKind = ReportKind.STATUS) -> Report:
    return Report.objects.get(kind=kind)


def ended(job: Job, sha: str, status: RunStatus, results: Any = None, **columns: Any) -> Run:
    """A run that has come to its end, with a step of a build and what it left."""
    run = triggered(job, sha)
    step = RunStepFactory(run=run, builds=True, status=status)
    if results is not None:
        content = json.dumps({"results": results}).encode()
        ArtifactFactory(step=step, path="run_results.json", content=content)
    return move(run, RunStatus.STARTING, RunStatus.RUNNING, status, **columns)


def result(unique_id: str, status: str = "success", message: str = "") -> dict[str, str]:
    return {"unique_id": unique_id, "status": status, "message": message}


# --- Statuses ------------------------------------------------------------------------------------


def test_a_commit_is_pending_and_then_passes(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)

    tell(run)
    tell(move(run, RunStatus.STARTING))
    tell(move(run, RunStatus.RUNNING))
    tell(move(run, RunStatus.SUCCESS))

    assert github.states(sha) == ["pending", "pending", "success"]
    assert [status["description"] for status in github.statuses(sha)] == [
        "Waiting for its turn.",
        "Running.",
        "Passed.",
    ]


def test_a_status_leads_to_the_page_of_the_run(
    github: FakeGitHub, shop: Repository, job: Job, settings: Any
) -> None:
    settings.SITE_URL = "https://jobs.example.com"
    sha = shop.push("blue")
    run = triggered(job, sha)

    tell(run)

    assert github.statuses(sha)[0]["target_url"] == (
        f"https://jobs.example.com/deploy/{run.account_id}/projects/{run.project_id}/runs/{run.pk}/"
    )


def test_a_failure_of_the_project_names_the_nodes_that_failed(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    results = [
        result("model.shop.orders", "error", "Database Error\n  no such column"),
        result("test.shop.unique_id.1a2b", "fail", "Got 1 result"),
        result("model.shop.customers"),
    ]

    tell(ended(job, sha, RunStatus.ERROR, results, failure_class=FailureClass.DBT_ERROR))

    status = github.statuses(sha)[-1]
    assert status["state"] == "failure"
    assert status["description"] == "2 nodes failed: orders, unique_id.1a2b"


@pytest.mark.parametrize(
    ("columns", "description"),
    [
        (
            {
                "failure_class": FailureClass.INFRASTRUCTURE,
                "message": "The worker was lost. Retry.",
            },
            "The worker was lost. Retry.",
        ),
        (
            {"message": "acme/shop could not be reached: no answer."},
            "acme/shop could not be reached: no answer.",
        ),
    ],
)
def test_what_is_not_the_projects_fault_is_an_error(
    github: FakeGitHub, shop: Repository, job: Job, columns: dict[str, Any], description: str
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)

    tell(move(run, RunStatus.STARTING, RunStatus.ERROR, **columns))

    assert [(one["state"], one["description"]) for one in github.statuses(sha)] == [
        ("error", description)
    ]


@pytest.mark.parametrize(
    ("reason", "description"),
    [
        (CancelReason.SUPERSEDED, "Superseded by a newer commit."),
        (CancelReason.TIMEOUT, "Timed out."),
        (CancelReason.USER, "Cancelled."),
        (CancelReason.CLOSED, "Cancelled, for the pull request was closed."),
    ],
)
def test_the_pending_status_of_a_cancelled_run_is_closed_and_names_no_person(
    github: FakeGitHub, shop: Repository, job: Job, reason: CancelReason, description: str
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    tell(run)

    cancel_run(run, by="ana@example.com", reason=reason)
    tell(run)

    assert github.states(sha) == ["pending", "error"]
    assert github.statuses(sha)[-1]["description"] == description


def test_every_reason_to_cancel_has_words() -> None:
    assert set(CANCELLED) == set(CancelReason)


def test_a_run_that_will_be_retried_by_itself_is_still_pending(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    again = now() + timedelta(minutes=5)

    tell(move(run, RunStatus.STARTING, RunStatus.ERROR, will_retry_at=again))

    assert github.states(sha) == ["pending"]


def test_the_newest_run_of_a_commit_speaks_for_it(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    first = move(triggered(job, sha), RunStatus.STARTING, RunStatus.ERROR)
    second = move(triggered(job, sha), RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS)

    tell(second)
    tell(first)

    assert github.states(sha) == ["success"]


def test_tasks_that_come_out_of_order_end_in_the_truth(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = move(triggered(job, sha), RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS)
    moves = list(run.transitions.order_by("-pk").values_list("pk", flat=True))

    for transition in moves:
        tasks.report_run(transition)
        post_due()

    assert github.states(sha) == ["success"]


def test_what_was_posted_already_is_not_posted_again(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    run = triggered(job, shop.push("blue"))
    tell(run)
    asked = len(github.calls)

    tell(run)

    assert len(github.calls) == asked


def test_a_merge_is_told_of_by_a_status_and_by_no_comment(
    github: FakeGitHub, shop: Repository, project: Project
) -> None:
    merge = JobFactory(environment=EnvironmentFactory(project=project), job_type="merge")
    sha = shop.push("main")
    run = triggered(merge, sha, number=None, cause_category=CauseCategory.MERGE)

    run.move_to(RunStatus.STARTING, slot=1)
    tell(move(run, RunStatus.RUNNING, RunStatus.SUCCESS))

    assert github.states(sha) == ["success"]
    assert shop.comments == {}


@pytest.mark.parametrize("cause", [CauseCategory.SCHEDULED, CauseCategory.API, CauseCategory.UI])
def test_a_run_of_no_pull_request_is_told_to_nobody(
    github: FakeGitHub, shop: Repository, job: Job, cause: CauseCategory
) -> None:
    tell(triggered(job, shop.push("blue"), number=None, cause_category=cause))

    assert github.calls == []


def test_a_pull_request_that_the_api_named_by_its_branch_is_told_once_the_commit_is_known(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = trigger_run(
        job,
        Trigger(
            cause="x",
            cause_category=CauseCategory.API,
            git_branch="blue",
            github_pull_request_id=7,
        ),
    )
    tell(run)
    assert github.calls == []

    run.move_to(RunStatus.STARTING)
    tell(move(run, RunStatus.RUNNING, git_sha=sha))

    assert github.states(sha) == ["pending"]


# --- Names ---------------------------------------------------------------------------------------


def test_a_status_is_named_after_its_project_and_job(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")

    tell(triggered(job, sha))

    assert github.statuses(sha)[0]["context"] == "dbt/Shop/CI"


def test_two_jobs_of_one_name_do_not_overwrite_each_other(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    other = JobFactory(environment=job.environment, ci=True, name="CI")
    sha = shop.push("blue")

    tell(triggered(job, sha))
    tell(triggered(other, sha))

    contexts = {status["context"] for status in github.statuses(sha)}
    assert contexts == {"dbt/Shop/CI", f"dbt/Shop/CI ({other.pk})"}


def test_a_job_that_is_renamed_keeps_the_name_of_its_statuses(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    tell(run)

    Job.objects.filter(pk=job.pk).update(name="Checks")
    tell(move(run, RunStatus.STARTING))

    assert {status["context"] for status in github.statuses(sha)} == {"dbt/Shop/CI"}


def test_a_job_made_anew_has_the_name_of_the_deleted_one(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    tell(triggered(job, shop.push("blue")))
    Job.objects.filter(pk=job.pk).update(state=State.DELETED)
    sha = shop.push("red")

    tell(triggered(JobFactory(environment=job.environment, ci=True, name="CI"), sha))

    assert github.statuses(sha)[0]["context"] == "dbt/Shop/CI"


# --- Decisions without a run ---------------------------------------------------------------------


@pytest.fixture
def pull_request(shop: Repository, project: Project) -> PullRequest:
    return PullRequest.objects.create(
        repository=project.repository,
        number=7,
        head_ref="blue",
        head_sha=shop.push("blue"),
        base_ref="main",
        changed_at=now(),
    )


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (Decision.NOTHING_RELEVANT, [("success", "Nothing relevant changed.")]),
        (Decision.NEEDS_APPROVAL, [("pending", "Waiting for an approval.")]),
        (Decision.REFUSED, [("error", "Could not be started: The job has no steps.")]),
        (Decision.PASSED_OVER, []),
    ],
)
def test_a_commit_that_started_no_run_is_told_why(
    github: FakeGitHub,
    pull_request: PullRequest,
    job: Job,
    decision: Decision,
    told: list[tuple[str, str]],
) -> None:
    check = Check.objects.create(
        pull_request=pull_request,
        job=job,
        head_sha=pull_request.head_sha,
        decision=decision,
        why="The job has no steps.",
    )

    report.touch_check(check)
    post_due()

    posted = github.statuses(pull_request.head_sha)
    assert [(status["state"], status["description"]) for status in posted] == told
    assert github.calls_to("comments") == []


# --- When it fails -------------------------------------------------------------------------------


def test_a_host_that_fails_is_asked_again_until_it_answers(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    github.fail("statuses", times=2)

    tell(triggered(job, sha))
    waiting = the_report()
    assert waiting.due_at is not None and waiting.due_at > now() + timedelta(seconds=5)
    assert "500" in waiting.error
    for _try in range(2):
        let_time_pass()
        post_due()

    assert [call.status for call in github.calls_to("statuses")] == [500, 500, 201]
    assert (the_report().due_at, the_report().error, the_report().attempts) == (None, "", 0)


def test_the_waits_between_two_tries_grow_and_end_after_a_day(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    github.fail("statuses", times=1000)
    tell(triggered(job, shop.push("blue")))
    waits = []
    while (due := the_report().due_at) is not None:
        waits.append((due - now()).total_seconds())
        let_time_pass()
        post_due()

    assert waits[0] < 15 < waits[1] < 40 < waits[2]
    assert 20 * 3600 < sum(waits) < 30 * 3600
    assert "500" in the_report().error


def test_the_time_that_the_host_names_is_waited_for_by_all_that_it_would_be_told(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    blue, red = shop.push("blue", "Blue"), shop.push("red", "Red")
    github.limit("statuses", seconds=900)

    tell(triggered(job, blue))
    tasks.report_run(triggered(job, red, number=8).transitions.get().pk)
    github.limit("statuses", seconds=900)
    post_due()

    soon = now() + timedelta(seconds=850)
    statuses = Report.objects.filter(kind=ReportKind.STATUS)
    assert all(one.due_at is not None and one.due_at > soon for one in statuses)


def test_news_do_not_shorten_the_wait_that_the_host_asked_for(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    github.limit("statuses", seconds=900)
    run = triggered(job, shop.push("blue"))
    tell(run)

    tell(move(run, RunStatus.STARTING))

    assert len(github.calls_to("statuses")) == 1


def test_after_an_outage_the_host_is_told_what_is_true_then(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    github.fail("statuses")
    run = triggered(job, sha)
    tell(run)
    tell(move(run, RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS))

    let_time_pass()
    post_due()

    assert github.states(sha) == ["success"]


def test_a_refused_token_is_not_tried_again_and_its_words_are_kept(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    github.token = "another"
    run = triggered(job, shop.push("blue"))
    before = Run.objects.filter(pk=run.pk).values().get()

    tell(run)

    assert the_report().due_at is None
    assert "401" in the_report().error
    assert Run.objects.filter(pk=run.pk).values().get() == before


def test_a_repository_without_a_token_says_what_would_help(
    github: FakeGitHub, shop: Repository, job: Job, project: Project
) -> None:
    assert project.repository is not None
    project.repository.secrets = {}
    project.repository.save()

    tell(triggered(job, shop.push("blue")))

    assert "token" in the_report().error
    assert github.calls == []


def test_once_the_token_is_mended_a_person_has_it_posted(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    good, github.token = github.token, "another"
    sha = shop.push("blue")
    run = triggered(job, sha)
    tell(run)

    github.token = good
    report.report_again(run)
    post_due()

    assert github.states(sha) == ["pending"]
    assert the_report().error == ""


def test_what_a_person_asks_for_is_posted_though_it_stands_there(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    tell(run)

    report.report_again(run)
    post_due()

    assert github.states(sha) == ["pending", "pending"]


def test_a_run_that_nobody_is_told_of_cannot_be_posted_again(job: Job, shop: Repository) -> None:
    run = triggered(job, shop.push("blue"), number=None, cause_category=CauseCategory.API)

    with pytest.raises(report.NothingToReport, match="no git host"):
        report.report_again(run)


def test_a_bug_is_tried_again_and_shows_no_words_of_its_own(
    github: FakeGitHub, shop: Repository, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = triggered(job, shop.push("blue"))
    monkeypatch.setattr(report, "status_of", {}.__getitem__)

    tell(run)

    assert the_report().error == report.OUR_FAULT
    assert the_report().due_at is not None


def test_a_bug_about_one_report_puts_no_other_off(
    github: FakeGitHub, shop: Repository, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    blue, red = shop.push("blue", "Blue"), shop.push("red", "Red")
    for sha, number in ((red, 8), (blue, 7)):
        tasks.report_run(triggered(job, sha, number).transitions.get().pk)
    met, other = Report.objects.get(sha=blue), Report.objects.get(sha=red)
    with monkeypatch.context() as patched:
        patched.setattr(report, "status_of", {}.__getitem__)
        tasks.post_report(met.pk)

    tasks.post_report(other.pk)

    assert github.states(red) == ["pending"]


def test_one_that_always_fails_comes_after_those_that_never_did(
    shop: Repository, job: Job, published: list[tuple[Any, ...]]
) -> None:
    for number in (7, 8):
        tasks.report_run(
            triggered(job, shop.push(f"b{number}", f"Change {number}"), number).transitions.get().pk
        )
    Report.objects.exclude(kind=ReportKind.STATUS).delete()
    failing, fresh = Report.objects.order_by("pk").values_list("pk", flat=True)
    Report.objects.filter(pk=failing).update(attempts=3)
    Report.objects.update(due_at=now() - timedelta(minutes=1))
    published.clear()

    report.sweep()

    assert published == [("post_report", fresh), ("post_report", failing)]


# --- What is lost --------------------------------------------------------------------------------


def test_a_move_whose_message_was_lost_is_told_by_the_sweep(
    github: FakeGitHub, shop: Repository, job: Job, published: list[tuple[Any, ...]]
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    tell(run)
    move(run, RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS)
    published.clear()

    tasks.sweep()
    assert ("post_report", the_report().pk) in published
    post_due()

    assert github.states(sha) == ["pending", "success"]


def test_a_run_that_cannot_be_told_of_keeps_no_other_from_being_told(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    other = JobFactory(environment=job.environment, ci=True, name="Other")
    sha = shop.push("blue")
    for one in (job, other):
        triggered(one, sha)
    Job.objects.filter(pk=job.pk).update(extensions={"ci": "of another version"})

    tasks.sweep()
    post_due()

    assert github.states(sha, "dbt/Shop/Other") == ["pending"]


def test_a_retry_that_was_cancelled_is_told_by_the_sweep(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    tell(move(run, RunStatus.STARTING, RunStatus.ERROR, will_retry_at=now()))
    RunSummary.objects.update(touched_at=F("touched_at") - timedelta(seconds=1))

    cancel_retry(run.pk, "Not wanted.")
    tasks.sweep()
    post_due()

    assert github.states(sha) == ["pending", "error"]


def test_what_was_told_is_forgotten_with_the_runs_and_not_before(
    shop: Repository, job: Job, settings: Any
) -> None:
    tell(triggered(job, shop.push("blue")))
    settings.KEEP_RUNS_DAYS = 30

    assert report.prune(now() + timedelta(days=29)) == 0
    assert report.prune(now() + timedelta(days=31)) > 0


def test_the_sweep_leaves_alone_what_was_told(
    github: FakeGitHub, shop: Repository, job: Job, published: list[tuple[Any, ...]]
) -> None:
    tell(move(triggered(job, shop.push("blue")), RunStatus.STARTING))
    published.clear()

    tasks.sweep()

    assert published == []
    assert the_report().touched == 1


def test_a_report_whose_worker_died_is_posted_by_another(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    tasks.report_run(triggered(job, sha).transitions.get().pk)
    assert report._claim(the_report().pk) is not None  # and nothing more is heard of it

    post_due()
    assert github.states(sha) == []
    let_time_pass()
    post_due()

    assert github.states(sha) == ["pending"]


def test_a_worker_that_was_asleep_does_not_have_the_last_word(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    tasks.report_run(run.transitions.get().pk)
    asleep = report._claim(the_report().pk)
    assert asleep is not None
    let_time_pass()
    post_due()

    report._settle(asleep, error="")  # it posted something, long ago
    post_due()

    assert github.states(sha) == ["pending", "pending"]


def test_news_that_come_while_it_is_posted_are_posted_next(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    tasks.report_run(run.transitions.get().pk)
    at_work = report._claim(the_report().pk)
    assert at_work is not None
    report._tell(at_work)
    tasks.report_run(move(run, RunStatus.STARTING).transitions.latest("pk").pk)
    report._settle(at_work, error="")
    post_due()

    assert [one["description"] for one in github.statuses(sha)] == [
        "Waiting for its turn.",
        "Running.",
    ]


# --- The comment ---------------------------------------------------------------------------------


def the_comment(shop: Repository) -> str:
    (comment,) = shop.comments.values()
    return str(comment["body"])


def test_a_pull_request_has_one_comment_that_is_kept_up_to_date(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    first, second = shop.push("blue"), shop.push("blue", **{"a.txt": "a"})

    tell(ended(job, first, RunStatus.ERROR, [result("model.shop.orders", "error", "Oh no")]))
    assert "`orders`" in the_comment(shop)
    tell(ended(job, second, RunStatus.SUCCESS, [result("model.shop.orders")]))

    assert "### dbt: 1 job passed" in the_comment(shop)
    assert f"commit `{second[:8]}`" in the_comment(shop)
    assert "`orders`" not in the_comment(shop)


def test_a_comment_begins_once_a_run_has_come_to_its_own_end(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    run = triggered(job, shop.push("blue"))

    tell(run)
    tell(move(run, RunStatus.STARTING, RunStatus.CANCELLED))

    assert shop.comments == {}


def test_a_comment_tells_of_each_job(github: FakeGitHub, shop: Repository, job: Job) -> None:
    other = JobFactory(environment=job.environment, ci=True, name="Costs")
    sha = shop.push("blue")

    tell(ended(job, sha, RunStatus.SUCCESS))
    tell(triggered(other, sha))

    assert "### dbt: 1 of 2 jobs not over yet" in the_comment(shop)
    assert "`CI`: passed" in the_comment(shop)
    assert "`Costs`: waiting for its turn" in the_comment(shop)


def test_a_job_that_asks_for_no_comment_is_left_out(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    job.extensions = {"ci": {"comment": False}}
    job.save()

    tell(ended(job, shop.push("blue"), RunStatus.SUCCESS))

    assert shop.comments == {}


def test_a_comment_that_a_person_deleted_is_made_again(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    tell(ended(job, sha, RunStatus.SUCCESS))
    shop.comments.clear()

    tell(triggered(job, sha))

    assert "waiting for its turn" in the_comment(shop)


def test_a_comment_whose_id_was_lost_is_found_by_its_marker(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    tell(ended(job, sha, RunStatus.SUCCESS))
    Report.objects.filter(kind=ReportKind.COMMENT).update(external_id=None, posted="")

    tell(ended(job, sha, RunStatus.ERROR))

    assert "did not pass" in the_comment(shop)


def test_a_comment_that_a_stranger_began_with_our_marker_is_left_alone(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    tell(ended(job, sha, RunStatus.SUCCESS))
    (ours,) = shop.comments.values()
    shop.comments.clear()
    shop.comments[1] = {**ours, "id": 1, "user": {"login": "mallory"}}
    Report.objects.filter(kind=ReportKind.COMMENT).update(external_id=None, posted="")

    tell(ended(job, sha, RunStatus.ERROR))

    assert shop.comments[1]["body"] == ours["body"]
    assert len(shop.comments) == 2


def test_a_comment_says_that_nothing_relevant_changed_since(
    github: FakeGitHub, shop: Repository, job: Job, pull_request: PullRequest
) -> None:
    tell(ended(job, pull_request.head_sha, RunStatus.SUCCESS))
    check = Check.objects.create(
        pull_request=pull_request,
        job=job,
        head_sha=shop.push("blue", **{"b.txt": "b"}),
        decision=Decision.NOTHING_RELEVANT,
    )

    report.touch_check(check)
    post_due()

    assert "`CI`: nothing relevant changed" in the_comment(shop)


def node(name: str, text: str, *parents: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "resource_type": "model",
        "original_file_path": f"models/{name}.sql",
        "checksum": {"name": "sha256", "checksum": text},
        "depends_on": {"nodes": [f"model.shop.{parent}" for parent in parents], "macros": []},
        **more,
    }


def manifest(*nodes: dict[str, Any]) -> bytes:
    return json.dumps({"nodes": {f"model.shop.{one['name']}": one for one in nodes}}).encode()


def test_a_comment_tells_what_was_modified_and_what_was_read_from_production(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    production = RunStepFactory(builds=True)
    before = manifest(node("raw", "1"), node("orders", "1", "raw"), node("costs", "1", "orders"))
    ArtifactFactory(step=production, content=before)
    run = triggered(job, shop.push("blue"))
    step = RunStepFactory(run=run, builds=True)
    after = manifest(node("raw", "1"), node("orders", "2", "raw"), node("costs", "1", "orders"))
    ArtifactFactory(step=step, content=after)
    results = [result("model.shop.orders"), result("model.shop.costs", "error", "Oh")]
    content = json.dumps({"results": results}).encode()
    ArtifactFactory(step=step, path="run_results.json", content=content)

    move(run, RunStatus.STARTING, RunStatus.ERROR, deferring_run=production.run)
    tell(run)

    body = the_comment(shop)
    assert "- modified: 1, downstream: 1, deferred: 1" in body
    assert "- `orders`: body" in body
    assert "- `costs`: downstream of `orders`" in body
    assert "**Failed:** `costs` (model, `models/costs.sql`)\n\n```text\nOh\n```" in body


def test_a_comment_tells_what_changed_in_the_warehouse(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    run = triggered(job, shop.push("blue"))
    columns = {
        "added": [{"name": "tip", "type": "numeric"}],
        "removed": [],
        "retyped": [{"name": "price", "before": "integer", "after": "numeric"}],
    }
    orders = {
        "unique_id": "model.shop.orders",
        "status": "changed",
        "message": "",
        "columns": columns,
        "rows": {"before": 1080, "after": 1082, "added": 3, "removed": 1, "changed": None},
        "changed_columns": {"price": 12},
    }
    same = {"unique_id": "model.shop.same", "status": "identical"}
    content = json.dumps({"note": "Compared 2 models.", "models": [orders, same]}).encode()
    step = RunStepFactory(run=run, index=5, kind="compare", command="")
    ArtifactFactory(step=step, path="compare_changes.json", content=content)

    tell(move(run, RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS))

    assert (
        "- `orders`: changed; rows before 1,080, after 1,082, added 3, removed 1; "
        "columns `added: tip numeric`, `retyped: price integer → numeric`; "
        "changed values: `price` in 12"
    ) in the_comment(shop)
    assert "`same`" not in the_comment(shop)


def test_files_that_cannot_be_read_leave_their_part_out_and_the_rest_in(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    sha = shop.push("blue")
    run = triggered(job, sha)
    step = RunStepFactory(run=run, builds=True)
    for path, content in {
        "manifest.json": b"[" * 100_000,
        "run_results.json": b'{"results": [{"unique_id": "model.a.b", "status": "error", '
        b'"message": "\\u0000\\ud800"}, 7]}',
        "lint.json": b'{"findings": [{"path": "a.sql", "line": -1, "column": "x"}, null]}',
        "compare_changes.json": b'{"models": [{"status": NaN, "rows": {"before": NaN}}, 3]}',
    }.items():
        ArtifactFactory(step=step, path=path, content=content)

    tell(move(run, RunStatus.STARTING, RunStatus.ERROR))

    assert "**Failed:** `b` (model)" in the_comment(shop)
    assert "Lint: 2 findings" in the_comment(shop)
    assert Report.objects.exclude(error="").count() == 0


# --- The check run -------------------------------------------------------------------------------


@pytest.fixture
def as_app(github: FakeGitHub, project: Project, settings: Any) -> None:
    github.use_in(settings, as_app=True)
    assert project.repository is not None
    GitHubInstallation.objects.create(
        account=project.account, installation_id=github.install("acme"), login="acme"
    )


@pytest.mark.usefixtures("as_app")
def test_an_app_shows_what_failed_and_what_linting_found_beside_the_lines(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    Project.objects.update(dbt_project_subdirectory="dbt")
    run = triggered(job, shop.push("blue"))
    step = RunStepFactory(run=run, builds=True)
    ArtifactFactory(step=step, content=manifest(node("orders", "1")))
    results = json.dumps({"results": [result("model.shop.orders", "error", "Oh")]}).encode()
    ArtifactFactory(step=step, path="run_results.json", content=results)
    finding = {"path": "dbt/models/a.sql", "line": 3, "column": 1, "code": "LT01"}
    findings = [{**finding, "description": f"Space {place}."} for place in range(120)]
    content = json.dumps({"findings": findings}).encode()
    ArtifactFactory(step=step, path="lint.json", content=content)

    tell(move(run, RunStatus.STARTING, RunStatus.ERROR))

    (check,) = shop.check_runs.values()
    shown = [
        (one["path"], one["start_line"], one["annotation_level"])
        for one in check["output"]["annotations"]
    ]
    assert shown == [
        ("dbt/models/orders.sql", 1, "failure"),
        *[("dbt/models/a.sql", 3, "warning")] * 120,
    ]
    assert check["name"] == "dbt/Shop/CI results"
    assert (check["status"], check["conclusion"]) == ("completed", "failure")
    assert check["output"]["title"] == "1 node failed: orders"


@pytest.mark.usefixtures("as_app")
def test_a_check_run_is_there_once_its_run_is_over(
    github: FakeGitHub, shop: Repository, job: Job
) -> None:
    run = triggered(job, shop.push("blue"))
    tell(run)
    assert shop.check_runs == {}

    tell(move(run, RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS))
    tell(run)

    assert [check["conclusion"] for check in shop.check_runs.values()] == ["success"]


def test_a_token_makes_no_check_runs(github: FakeGitHub, shop: Repository, job: Job) -> None:
    tell(ended(job, shop.push("blue"), RunStatus.SUCCESS))

    assert github.calls_to("check-runs") == []
    assert not Report.objects.filter(kind=ReportKind.CHECK_RUN).exists()
