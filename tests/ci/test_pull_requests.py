"""A pull request's life as GitHub tells of it: what is built, what is not, and why."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from django.utils.timezone import now

from ci import deliveries, pull_requests
from ci.hooks import address_of
from ci.models import Check, Decision, PullRequest, PullRequestState, Verdict, WebhookDelivery
from ci.pull_requests import NotBuilt, approve, rerun
from jobsvc.jobs.models import Job
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CancelReason, CauseCategory, RunStatus
from tests.ci.payloads import REMOTE, Hooked, pull_request, read_all, sha
from tests.factories import (
    AccountFactory,
    EnvironmentFactory,
    JobFactory,
    ProjectFactory,
    RepositoryFactory,
)
from tests.fakes.github import FakeGitHub
from tests.fakes.github import Repository as Shop

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No broker is needed."""


def make_job(**fields: Any) -> Job:
    fields.setdefault("environment__project__repository__remote_url", REMOTE)
    return JobFactory(ci=True, **fields)


def job_that(**ci: Any) -> Job:
    """A CI job whose extensions ask for ``ci``."""
    return make_job(extensions={"ci": ci})


def told(job: Job, *payloads: dict[str, Any]) -> str:
    """Deliver ``payloads`` to the repository of ``job``; what the last led to."""
    door = Hooked.up(job.project.repository)
    return [door.tell("pull_request", payload) for payload in payloads][-1]


def check_of(job: Job) -> Check:
    return Check.objects.filter(job=job).latest("pk")


def decided(job: Job, *payloads: dict[str, Any]) -> Decision:
    told(job, *payloads)
    return Decision(check_of(job).decision)


def builds(job: Job, *payloads: dict[str, Any]) -> bool:
    """Whether the last of ``payloads`` starts a run."""
    told(job, *payloads[:-1]) if payloads[:-1] else None
    before = Run.objects.count()
    told(job, payloads[-1])
    return Run.objects.count() > before


# --- A run -----------------------------------------------------------------------------------


def test_a_pull_request_starts_a_run_of_its_newest_commit() -> None:
    job = make_job()

    said = told(job, pull_request("opened", sha=sha("a"), ref="feature", title="Add a model"))

    run = Run.objects.select_related("trigger").get()
    assert said == f"Job {job.name}: started run {run.pk}."
    assert run.trigger.cause == "Pull request #2: Add a model"
    assert run.trigger.cause_category == CauseCategory.CI
    assert (run.trigger.git_sha, run.trigger.git_branch) == (sha("a"), "feature")
    assert run.trigger.github_pull_request_id == 2
    assert run.configuration["schema_override"] == f"dbt_cloud_pr_{job.pk}_2"


def test_words_of_any_length_are_kept_as_far_as_a_column_has_room() -> None:
    payload = pull_request("opened", title="x" * 3000, default_branch="x" * 3000)
    payload["pull_request"]["html_url"] = f"https://github.com/{'x' * 3000}"
    payload["pull_request"]["user"]["login"] = "x" * 3000

    told(make_job(), payload)

    PullRequest.objects.get().clean_fields()


def test_a_decision_is_kept_with_its_run() -> None:
    job = make_job()

    told(job, pull_request("opened"))

    check = check_of(job)
    assert (check.decision, check.run) == (Decision.STARTED, Run.objects.get())
    assert (check.head_sha, check.pull_request.number) == (sha("a"), 2)


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "ready_for_review"])
def test_by_default_it_is_started_by(action: str) -> None:
    assert builds(make_job(), pull_request(action))


@pytest.mark.parametrize("action", ["labeled", "unlabeled", "edited", "converted_to_draft"])
def test_by_default_it_is_not_started_by(action: str) -> None:
    assert not builds(make_job(), pull_request(action))


def test_an_action_that_the_job_does_not_name_starts_nothing() -> None:
    job = job_that(actions=["labeled"])

    assert not builds(job, pull_request("opened"))
    assert check_of(job).why == "The job is not started by opened."


def test_a_label_starts_a_job_that_asks_for_it() -> None:
    job = job_that(actions=["opened", "labeled"], labels_any=["ci"])

    assert not builds(job, pull_request("opened"))
    assert builds(job, pull_request("labeled", at=5, labels=["ci"]))


def test_a_new_base_branch_is_looked_at_anew() -> None:
    job = make_job()

    assert not builds(job, pull_request("opened", base="develop"))
    assert builds(job, pull_request("edited", at=5, base="master", base_before="develop"))


def test_each_commit_is_built() -> None:
    job = make_job()

    told(job, pull_request("opened"), pull_request("synchronize", at=5, sha=sha("b")))

    assert [run.configuration["git_sha"] for run in Run.objects.order_by("pk")] == [
        sha("a"),
        sha("b"),
    ]


def test_a_commit_is_built_once() -> None:
    job = make_job(triggers_on_draft_pr=True)

    said = told(job, pull_request("opened", draft=True), pull_request("ready_for_review", at=5))

    assert said == f"Job {job.name}: run {Run.objects.get().pk} builds this commit already."


def test_a_reopened_pull_request_is_built_again() -> None:
    assert builds(
        make_job(),
        pull_request("opened"),
        pull_request("closed", at=5),
        pull_request("reopened", at=6),
    )


def test_a_pull_request_that_is_closed_and_reopened_within_a_second_is_built_again() -> None:
    assert builds(
        make_job(), pull_request("opened"), pull_request("closed"), pull_request("reopened")
    )


def test_a_commit_that_gave_way_is_built_when_it_is_the_newest_again() -> None:
    job = make_job()

    told(
        job,
        pull_request("opened", sha=sha("a")),
        pull_request("synchronize", at=5, sha=sha("b")),
        pull_request("synchronize", at=9, sha=sha("a")),
    )

    newest = Run.objects.latest("pk")
    assert newest.configuration["git_sha"] == sha("a")
    assert newest.status == RunStatus.QUEUED


# --- Which jobs ------------------------------------------------------------------------------


def test_every_ci_job_of_the_repositorys_projects_is_decided() -> None:
    job = make_job()
    second = JobFactory(ci=True, environment=job.environment)
    project = ProjectFactory(account=job.account, repository=job.project.repository)
    third = JobFactory(ci=True, environment=EnvironmentFactory(project=project))

    told(job, pull_request("opened"))

    assert {run.job for run in Run.objects.all()} == {job, second, third}


def test_projects_that_name_the_repository_each_for_itself_are_decided() -> None:
    job = make_job()
    twin = RepositoryFactory(
        account=job.account, remote_url="git@github.com:CoderToCat/hello-world"
    )
    project = ProjectFactory(account=job.account, repository=twin)
    other = JobFactory(ci=True, environment=EnvironmentFactory(project=project))

    told(job, pull_request("opened"))

    assert {run.job for run in Run.objects.all()} == {job, other}


@pytest.mark.parametrize(
    "fields",
    [
        {"job_type": "other"},
        {"job_type": "merge"},
        {"triggers_github_webhook": False},
        {"state": 2},
        {"project__state": 2},
    ],
)
def test_a_job_is_left_alone_that(fields: dict[str, Any]) -> None:
    job = make_job()
    for name, value in fields.items():
        row, _, field = [job, "", name] if "__" not in name else [job.project, "", name[9:]]
        setattr(row, field, value)
        row.save()

    said = told(job, pull_request("opened"))

    assert said.startswith("No job of a project with this repository is started by")
    assert not Run.objects.exists()


def test_the_other_webhook_trigger_counts_as_well() -> None:
    assert builds(
        make_job(triggers_github_webhook=False, triggers_git_provider_webhook=True),
        pull_request("opened"),
    )


def test_another_accounts_job_of_the_same_repository_is_not_told() -> None:
    job = make_job()
    make_job(environment__project__account=AccountFactory())

    told(job, pull_request("opened"))

    assert [run.job for run in Run.objects.all()] == [job]


def test_a_deactivated_job_says_so() -> None:
    job = make_job(deactivated=True)

    assert decided(job, pull_request("opened")) == Decision.REFUSED
    assert "deactivated" in check_of(job).why


def test_a_job_that_cannot_run_stops_no_other() -> None:
    first = make_job(execute_steps=[])
    second = JobFactory(ci=True, environment=first.environment)

    told(first, pull_request("opened"))

    assert check_of(first).decision == Decision.REFUSED
    assert [run.job for run in Run.objects.all()] == [second]


def test_a_job_whose_settings_cannot_be_read_stops_no_other() -> None:
    first = make_job(extensions={"ci": {"forks": "always"}})
    second = JobFactory(ci=True, environment=first.environment)

    told(first, pull_request("opened"))

    assert check_of(first).decision == Decision.REFUSED
    assert "extensions.ci.forks" in check_of(first).why
    assert [run.job for run in Run.objects.all()] == [second]


def test_a_bug_about_one_job_stops_no_other_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = make_job(name="first")
    second = JobFactory(ci=True, environment=first.environment)
    monkeypatch.setattr(
        "ci.filters.draft", lambda job, pull_request: {"first": 1 // (job.pk - first.pk)}.get(job)
    )

    told(first, pull_request("opened"))

    assert [run.job for run in Run.objects.all()] == [second]
    assert WebhookDelivery.objects.get().verdict == Verdict.FAILED
    assert WebhookDelivery.objects.get().due_at is not None


def test_a_bug_about_one_projects_repository_stops_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job()
    twin = RepositoryFactory(account=job.account, remote_url=REMOTE)
    other = ProjectFactory(account=job.account, repository=twin)
    second = JobFactory(ci=True, environment=EnvironmentFactory(project=other))
    remember = pull_requests.remember

    def broken(event: Any, repository: Any) -> Any:
        return 1 // (repository.pk - job.project.repository_id) and remember(event, repository)

    monkeypatch.setattr(pull_requests, "remember", broken)

    told(job, pull_request("opened"))

    assert [run.job for run in Run.objects.all()] == [second]
    assert WebhookDelivery.objects.get().verdict == Verdict.FAILED


# --- Why not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ci", "changes", "why"),
    [
        ({}, {"base": "develop"}, "It is to be merged into develop; the job builds what goes "),
        ({}, {"draft": True}, "It is a draft; the job does not build drafts."),
        ({}, {"fork": "mallory/Hello-World"}, "It comes from a fork; the job does not build"),
        ({"head_branches": ["dbt/*"]}, {}, "Its branch feature is none of those the job asks"),
        ({"labels_any": ["ci"]}, {}, "It has none of the labels that the job asks for: ci."),
        ({"labels_none": ["wip"]}, {"labels": ["wip"]}, "It has the label wip, with which "),
        ({}, {"title": "Typo [skip CI]"}, "Its title says [skip ci]."),
        ({}, {"title": "Typo [skip dbt]"}, "Its title says [skip dbt]."),
    ],
)
def test_a_pull_request_is_passed_over_in_words(
    ci: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    job = job_that(**ci)

    said = told(job, pull_request("opened", **changes))

    check = check_of(job)
    assert check.decision == Decision.PASSED_OVER
    assert check.why.startswith(why)
    assert said == f"Job {job.name}: {check.why}"
    assert not Run.objects.exists()


def test_the_environments_own_branch_is_the_base() -> None:
    job = make_job(environment__use_custom_branch=True, environment__custom_branch="develop")

    assert builds(job, pull_request("opened", base="develop"))


def test_the_default_branch_is_the_hosts_word() -> None:
    assert builds(make_job(), pull_request("opened", base="trunk", default_branch="trunk"))


def test_a_draft_starts_a_job_that_builds_drafts() -> None:
    assert builds(make_job(triggers_on_draft_pr=True), pull_request("opened", draft=True))


def test_a_draft_that_becomes_ready_is_built() -> None:
    assert builds(
        make_job(), pull_request("opened", draft=True), pull_request("ready_for_review", at=5)
    )


def test_what_becomes_a_draft_keeps_its_run_and_gets_no_other() -> None:
    job = make_job()

    told(job, pull_request("opened"), pull_request("converted_to_draft", at=5, draft=True))
    told(job, pull_request("synchronize", at=6, sha=sha("b"), draft=True))

    assert Run.objects.get().status == RunStatus.QUEUED
    assert check_of(job).decision == Decision.PASSED_OVER


# --- Forks -----------------------------------------------------------------------------------


def fork_of(job: Job, **changes: Any) -> PullRequest:
    told(job, pull_request("opened", fork="mallory/Hello-World", **changes))
    return PullRequest.objects.get()


def test_a_fork_waits_for_an_approval_where_the_job_allows_that() -> None:
    job = job_that(forks="with_approval")

    fork_of(job)

    assert check_of(job).decision == Decision.NEEDS_APPROVAL
    assert not Run.objects.exists()


def test_an_approved_commit_of_a_fork_is_built() -> None:
    job = job_that(forks="with_approval")
    fork = fork_of(job)

    approve(fork, sha("a"), by="ana@example.com")

    assert Run.objects.get().configuration["git_sha"] == sha("a")
    assert check_of(job).decision == Decision.STARTED
    fork.refresh_from_db()
    assert fork.approved_by == "ana@example.com"


def test_a_new_commit_of_a_fork_needs_an_approval_of_its_own() -> None:
    job = job_that(forks="with_approval")
    approve(fork_of(job), sha("a"), by="ana@example.com")

    told(
        job,
        pull_request("synchronize", at=5, sha=sha("b"), fork="mallory/Hello-World"),
    )

    assert check_of(job).decision == Decision.NEEDS_APPROVAL
    assert Run.objects.count() == 1


def test_only_the_newest_commit_can_be_approved() -> None:
    fork = fork_of(job_that(forks="with_approval"), sha=sha("b"))

    with pytest.raises(NotBuilt, match="bbbbbbbb"):
        approve(fork, sha("a"), by="ana@example.com")

    assert not Run.objects.exists()


def test_an_approval_builds_nothing_where_the_job_takes_no_forks() -> None:
    fork = fork_of(make_job())

    approve(fork, sha("a"), by="ana@example.com")

    assert not Run.objects.exists()


def test_a_pull_request_whose_fork_was_deleted_is_one_of_a_fork() -> None:
    payload = pull_request("opened")
    payload["pull_request"]["head"]["repo"] = None
    job = make_job()

    assert decided(job, payload) == Decision.PASSED_OVER
    assert PullRequest.objects.get().is_fork


# --- Again -----------------------------------------------------------------------------------


def finish(run: Run) -> None:
    claimed = Run.objects.claim(run.pk, worker="w1")
    assert claimed is not None
    claimed.move_to(RunStatus.RUNNING)
    claimed.move_to(RunStatus.SUCCESS)


def test_a_commit_is_built_again_where_somebody_asks_for_it() -> None:
    job = make_job()
    told(job, pull_request("opened"))
    finish(Run.objects.get())

    rerun(PullRequest.objects.get(), [job])

    assert Run.objects.count() == 2
    assert check_of(job).run == Run.objects.latest("pk")


def test_a_commit_that_is_being_built_is_not_built_again() -> None:
    job = make_job()
    told(job, pull_request("opened"))

    said = rerun(PullRequest.objects.get(), [job])

    assert said == [f"Job {job.name}: run {Run.objects.get().pk} builds this commit already."]


def test_who_asks_for_a_run_gets_it_of_a_draft() -> None:
    job = make_job()
    told(job, pull_request("opened", draft=True))

    rerun(PullRequest.objects.get(), [job])

    assert Run.objects.count() == 1


def test_who_asks_for_a_run_gets_none_of_a_fork_without_approval() -> None:
    job = job_that(forks="with_approval")

    rerun(fork_of(job), [job])

    assert not Run.objects.exists()


# --- Its end ---------------------------------------------------------------------------------


def test_a_closed_pull_requests_runs_are_cancelled() -> None:
    job = make_job()
    second = JobFactory(ci=True, environment=job.environment)

    said = told(job, pull_request("opened"), pull_request("closed", at=5))

    runs = Run.objects.order_by("pk")
    assert [run.status for run in runs] == [RunStatus.CANCELLED] * 2
    assert {run.cancel_reason for run in runs} == {CancelReason.CLOSED}
    assert "pull request #2, which was closed" in runs[0].status_message
    assert said.splitlines() == [
        f"Cancelled run {run.pk} of job {one.name}."
        for run, one in zip(runs, [job, second], strict=True)
    ]
    assert PullRequest.objects.get().state == PullRequestState.CLOSED


def test_a_running_run_of_a_closed_pull_request_is_asked_to_stop() -> None:
    job = make_job()
    told(job, pull_request("opened"))
    claimed = Run.objects.claim(Run.objects.get().pk, worker="w1")
    assert claimed is not None

    told(job, pull_request("closed", at=5))

    claimed.refresh_from_db()
    assert claimed.cancel_requested_at is not None
    assert claimed.cancel_reason == CancelReason.CLOSED


def test_closing_one_pull_request_leaves_the_others_runs() -> None:
    job = make_job()

    told(
        job,
        pull_request("opened", number=2),
        pull_request("opened", number=23, sha=sha("b")),
        pull_request("closed", number=2, at=5),
    )

    left = Run.objects.exclude(status=RunStatus.CANCELLED).get()
    assert left.trigger.github_pull_request_id == 23


def test_a_merged_pull_request_is_told_from_a_closed_one() -> None:
    told(make_job(), pull_request("closed", merged=sha("c")))

    known = PullRequest.objects.get()
    assert (known.state, known.merge_commit_sha) == (PullRequestState.MERGED, sha("c"))


# --- All of it -------------------------------------------------------------------------------


def test_a_pull_requests_whole_life_as_github_tells_it(github: FakeGitHub) -> None:
    shop = github.create_repository("acme/coffee")
    job = job_in(shop)
    merging = JobFactory(job_type="merge", triggers_on_merge=True, environment=job.environment)
    door = Hooked.up(job.project.repository)
    shop.hook_url, shop.hook_secret = address_of(door.hook), door.secret

    def post(url: str, headers: dict[str, str], body: bytes) -> int:
        path = url.partition("/webhooks/")[2]
        answer = door.client.post(
            f"/webhooks/{path}", body, content_type="application/json", headers=headers
        )
        read_all()
        return answer.status_code

    def waiting(job: Job) -> list[str]:
        runs = Run.objects.filter(job=job, status=RunStatus.QUEUED).order_by("pk")
        return [run.configuration["git_sha"] for run in runs]

    github.post = post

    assert github.ping(shop) == 200
    number = shop.open("change", **{"models/new.sql": "select 1"})
    pushed = [shop.push("change", **{"models/new.sql": f"select {n}"}) for n in range(3)]
    assert waiting(job) == [pushed[-1]]

    shop.to_draft(number)
    drafted = shop.push("change", **{"models/new.sql": "select 9"})
    assert waiting(job) == [pushed[-1]]
    shop.ready(number)
    assert waiting(job) == [drafted]

    shop.close(number)
    assert waiting(job) == []
    shop.reopen(number)
    assert waiting(job) == [drafted]

    merged = shop.merge(number)
    assert waiting(job) == []
    assert waiting(merging) == [merged]
    assert PullRequest.objects.get().state == PullRequestState.MERGED
    assert not WebhookDelivery.objects.exclude(verdict=Verdict.DONE).exists()


# --- Late and out of order -------------------------------------------------------------------


def test_an_older_event_changes_nothing() -> None:
    job = make_job()

    said = told(
        job,
        pull_request("synchronize", at=9, sha=sha("b")),
        pull_request("opened", at=0, sha=sha("a")),
    )

    assert said == "It is older than what is known of the pull request, so nothing follows."
    assert PullRequest.objects.get().head_sha == sha("b")
    assert Run.objects.get().configuration["git_sha"] == sha("b")


def test_an_older_closing_closes_nothing() -> None:
    told(make_job(), pull_request("reopened", at=9), pull_request("closed", at=5))

    assert PullRequest.objects.get().state == PullRequestState.OPEN
    assert Run.objects.get().status == RunStatus.QUEUED


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "ready_for_review"])
def test_what_happened_to_the_newest_commit_counts_also_after_a_label_was_put_on(
    action: str,
) -> None:
    told(make_job(), pull_request("labeled", at=9), pull_request(action, at=5))

    assert Run.objects.get().configuration["git_sha"] == sha("a")


def test_a_new_base_counts_also_after_a_label_was_put_on() -> None:
    job = make_job()

    told(
        job,
        pull_request("opened", base="develop"),
        pull_request("labeled", at=9),
        pull_request("edited", at=5, base_before="develop"),
    )

    assert Run.objects.count() == 1


def test_what_is_late_starts_no_second_run_of_a_commit() -> None:
    job = make_job()
    told(job, pull_request("opened"), pull_request("closed", at=1), pull_request("reopened", at=2))
    cancel_run(Run.objects.latest("pk"), by="a test", reason=CancelReason.SUPERSEDED)

    told(job, pull_request("labeled", at=9), pull_request("reopened", at=2))

    assert Run.objects.count() == 2


@pytest.mark.parametrize("action", ["labeled", "edited", "converted_to_draft"])
def test_what_happens_to_a_closed_pull_request_tells_that_it_was_closed(action: str) -> None:
    closed = pull_request("closed", at=5, merged=sha("f"))
    labelled = closed | {"action": action}

    told(make_job(), pull_request("opened"), labelled)

    assert PullRequest.objects.get().state == PullRequestState.MERGED
    assert Run.objects.get().cancel_reason == CancelReason.CLOSED


def test_a_closed_pull_request_that_is_labeled_cancels_no_run_that_somebody_started_since() -> None:
    job = make_job()
    closed = pull_request("closed", at=5)
    told(job, pull_request("opened"), closed)
    trigger = Trigger(cause="By hand", cause_category=CauseCategory.API, github_pull_request_id=2)
    run = trigger_run(job, trigger)

    told(job, closed | {"action": "labeled"})

    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


def pushes(*letters: str) -> list[dict[str, Any]]:
    """Pushes within one second, each upon the one before it."""
    return [
        pull_request("synchronize", sha=sha(after), before=sha(before))
        for before, after in pairwise(letters)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1), (1, 0, 2)], ids=str)
def test_of_pushes_within_a_second_the_last_is_the_head_in_whatever_order_they_come(
    order: tuple[int, ...],
) -> None:
    events = pushes("a", "b", "c", "d")
    opened = pull_request("opened", sha=sha("a"))

    told(make_job(), opened, *[events[place] for place in order])

    assert PullRequest.objects.get().head_sha == sha("d")
    assert Run.objects.latest("pk").configuration["git_sha"] == sha("d")


def test_a_push_that_comes_after_the_closing_of_its_second_starts_nothing() -> None:
    job = make_job()

    told(
        job,
        pull_request("opened"),
        pull_request("closed", at=5, sha=sha("b")),
        pull_request("synchronize", at=5, sha=sha("b"), before=sha("a")),
    )

    assert PullRequest.objects.get().state == PullRequestState.CLOSED
    assert Run.objects.exclude(status=RunStatus.CANCELLED).count() == 0


# --- What the host alone knows ---------------------------------------------------------------


@pytest.fixture
def shop(github: FakeGitHub) -> Shop:
    return github.create_repository("acme/coffee")


def job_in(shop: Shop, *, has_token: bool = True, subdirectory: str = "", **ci: Any) -> Job:
    token = {"password": shop.github.token} if has_token else {}
    return make_job(
        extensions={"ci": ci},
        environment__project__repository__remote_url=shop.clone_url,
        environment__project__repository__secrets=token,
        environment__project__dbt_project_subdirectory=subdirectory,
    )


def opened(shop: Shop, **options: Any) -> dict[str, Any]:
    return shop.payload(shop.open("change", **options), "opened")


def test_a_pull_request_that_changes_nothing_of_the_job_is_told_so(shop: Shop) -> None:
    job = job_in(shop, subdirectory="dbt")

    said = told(job, opened(shop, **{"app/main.py": "x"}))

    assert check_of(job).decision == Decision.NOTHING_RELEVANT
    assert said == f"Job {job.name}: It changes no file that concerns the job."
    assert not Run.objects.exists()


def test_a_pull_request_that_changes_the_projects_folder_is_built(shop: Shop) -> None:
    assert builds(job_in(shop, subdirectory="dbt"), opened(shop, **{"dbt/models/a.sql": "x"}))


def test_a_jobs_own_globs_decide(shop: Shop) -> None:
    job = job_in(shop, paths=["models/**"], paths_ignore=["**/*.md"])

    assert not builds(job, opened(shop, **{"models/README.md": "x"}))
    shop.push("change", **{"models/new.sql": "select 1"})
    assert builds(job, shop.payload(1, "synchronize"))


def test_where_the_host_cannot_be_asked_it_is_built_with_that_in_words(shop: Shop) -> None:
    job = job_in(shop, has_token=False, subdirectory="dbt")

    said = told(job, opened(shop, **{"app/main.py": "x"}))

    assert Run.objects.count() == 1
    assert "Which files it changes could not be seen. The repository has no token" in said


def test_where_the_host_refuses_to_say_it_is_built(shop: Shop) -> None:
    job = job_in(shop, subdirectory="dbt")
    shop.github.fail("GET .*/files", status=403, message="Resource not accessible")

    assert builds(job, opened(shop, **{"app/main.py": "x"}))
    assert "Resource not accessible" in check_of(job).why


def test_where_the_host_does_not_answer_it_is_asked_again(shop: Shop) -> None:
    job = job_in(shop, subdirectory="dbt")
    shop.github.fail("GET .*/files", times=1)

    told(job, opened(shop, **{"dbt/a.sql": "x"}))
    kept = WebhookDelivery.objects.get()
    assert (kept.verdict, Run.objects.count()) == (Verdict.FAILED, 0)
    assert kept.due_at is not None
    assert kept.due_at > now()
    deliveries.read(kept.pk, kept.due_at)

    kept.refresh_from_db()
    assert (kept.verdict, kept.due_at) == (Verdict.DONE, None)
    assert Run.objects.count() == 1


def test_a_host_that_does_not_answer_keeps_no_job_waiting_that_needs_no_answer(
    shop: Shop,
) -> None:
    job = job_in(shop, subdirectory="dbt", head_branches=["other"])
    second = JobFactory(
        ci=True, environment=job.environment, extensions={"ci": {"paths": ["dbt/**"]}}
    )
    shop.github.fail("GET .*/files", times=1)

    told(job, opened(shop))

    assert check_of(job).decision == Decision.PASSED_OVER
    assert not Check.objects.filter(job=second).exists()


def test_the_message_of_the_newest_commit_can_ask_to_skip(shop: Shop) -> None:
    job = job_in(shop)
    number = shop.open("change")
    shop.push("change", "Mend a typo [skip ci]")

    told(job, shop.payload(number, "synchronize"))

    assert check_of(job).why == "The message of its newest commit says [skip ci]."


def test_the_host_is_asked_once_for_all_jobs(shop: Shop) -> None:
    job = job_in(shop, subdirectory="dbt")
    JobFactory.create_batch(2, ci=True, environment=job.environment)

    told(job, opened(shop, **{"dbt/a.sql": "x"}))

    assert Run.objects.count() == 3
    assert len(shop.github.calls_to("GET .*/files")) == 1
    assert len(shop.github.calls_to("GET .*/commits/")) == 1
