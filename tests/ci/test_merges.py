"""A branch moves: which merge jobs that starts, and which pushes start none."""

from __future__ import annotations

from typing import Any

import pytest

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import CauseCategory, RunStatus
from tests.ci.payloads import REMOTE, Hooked, pull_request, push, sha
from tests.factories import JobFactory

pytestmark = pytest.mark.django_db

ON_MERGED = {"merge": {"on": "merged_pr"}}


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No broker is needed."""


def merge_job(**fields: Any) -> Job:
    return JobFactory(
        job_type="merge",
        triggers_on_merge=True,
        environment__project__repository__remote_url=REMOTE,
        **fields,
    )


def told(job: Job, *payloads: dict[str, Any]) -> str:
    """Deliver pushes and pull requests to the repository of ``job``; what the last led to."""
    door = Hooked.up(job.project.repository)
    return [
        door.tell("push" if "ref" in payload else "pull_request", payload) for payload in payloads
    ][-1]


def test_a_push_to_the_default_branch_starts_a_run_of_the_pushed_commit() -> None:
    job = merge_job()

    said = told(job, push("master", sha("b"), before=sha("a")))

    run = Run.objects.select_related("trigger").get()
    assert said == f"Job {job.name}: started run {run.pk}."
    assert run.trigger.cause == "Push to master"
    assert run.trigger.cause_category == CauseCategory.MERGE
    assert (run.trigger.git_sha, run.trigger.git_branch) == (sha("b"), "master")
    assert run.configuration["schema_override"] is None


def test_a_push_to_the_environments_own_branch_starts_a_run() -> None:
    job = merge_job(environment__use_custom_branch=True, environment__custom_branch="develop")

    told(job, push("master", sha("b")), push("develop", sha("c")))

    assert Run.objects.get().configuration["git_sha"] == sha("c")


def test_a_push_to_another_branch_starts_nothing_and_says_so() -> None:
    said = told(merge_job(), push("feature", sha("b")))

    assert said == "feature moved; no merge job runs in an environment of that branch."
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": "refs/tags/v1"},
        {"deleted": True, "after": "0" * 40},
        {"ref": "refs/tags/v1", "deleted": True, "after": "0" * 40},
    ],
    ids=["a tag", "a deletion", "a tag's deletion"],
)
def test_nothing_is_started_by(changes: dict[str, Any]) -> None:
    told(merge_job(), push("master", sha("b"), before=sha("a")) | changes)

    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [{"triggers_on_merge": False}, {"job_type": "ci"}, {"state": 2}, {"deactivated": True}],
)
def test_a_push_leaves_a_job_alone_that(fields: dict[str, Any]) -> None:
    job = merge_job()
    for name, value in fields.items():
        setattr(job, name, value)
    job.save()

    told(job, push("master", sha("b")))

    assert not Run.objects.exists()


def test_a_job_that_is_no_merge_job_may_be_started_by_merges_as_well() -> None:
    job = merge_job()
    job.job_type = "other"
    job.save()

    told(job, push("master", sha("b")))

    assert Run.objects.count() == 1


def test_a_forced_push_is_built() -> None:
    told(
        merge_job(),
        push("master", sha("b"), before=sha("a")),
        push("master", sha("a"), before=sha("b"), forced=True),
    )

    assert Run.objects.latest("pk").configuration["git_sha"] == sha("a")


def test_a_push_starts_one_run_however_often_it_is_told() -> None:
    told(merge_job(), *[push("master", sha("b"), before=sha("a"))] * 3)

    assert Run.objects.count() == 1


def test_a_push_that_names_no_commit_it_was_upon_is_built() -> None:
    told(merge_job(), push("master", sha("b"), before="x" * 300))

    Run.objects.get().trigger.clean_fields()


def test_an_older_push_that_comes_late_takes_no_newer_ones_place() -> None:
    job = merge_job()

    said = told(
        job,
        push("master", sha("c"), before=sha("b")),
        push("master", sha("b"), before=sha("a")),
    )

    assert said == f"Job {job.name}: a later push was seen before this one."
    assert Run.objects.get().configuration["git_sha"] == sha("c")


def test_of_pushes_that_wait_only_the_newest_is_built() -> None:
    told(
        merge_job(),
        push("master", sha("b"), before=sha("a")),
        push("master", sha("c"), before=sha("b")),
        push("master", sha("d"), before=sha("c")),
    )

    assert Run.objects.get(status=RunStatus.QUEUED).configuration["git_sha"] == sha("d")
    assert Run.objects.filter(status=RunStatus.CANCELLED).count() == 2


def test_a_run_that_goes_on_is_left_alone_by_the_next_push() -> None:
    job = merge_job()
    told(job, push("master", sha("b"), before=sha("a")))
    claimed = Run.objects.claim(Run.objects.get().pk, worker="w1")
    assert claimed is not None

    told(job, push("master", sha("c"), before=sha("b")))

    claimed.refresh_from_db()
    assert (claimed.status, claimed.cancel_requested_at) == (RunStatus.STARTING, None)


def test_a_job_that_cannot_run_stops_no_other() -> None:
    first = merge_job(execute_steps=[])
    second = JobFactory(job_type="merge", triggers_on_merge=True, environment=first.environment)

    said = told(first, push("master", sha("b")))

    assert f"Job {first.name}: " in said
    assert [run.job for run in Run.objects.all()] == [second]


# --- Only merged pull requests ---------------------------------------------------------------


def merged() -> dict[str, Any]:
    return pull_request("closed", at=5, merged=sha("c"))


def pushed() -> dict[str, Any]:
    return push("master", sha("c"), before=sha("b"))


@pytest.mark.parametrize("order", [(merged, pushed), (pushed, merged)], ids=["merged", "pushed"])
def test_a_merge_starts_one_run_whichever_delivery_comes_first(order: tuple[Any, ...]) -> None:
    job = merge_job(extensions=ON_MERGED)

    told(job, *[make() for make in order])

    run = Run.objects.select_related("trigger").get()
    assert run.trigger.cause == "Merge of pull request #2: Add a model"
    assert (run.trigger.git_sha, run.trigger.git_branch) == (sha("c"), "master")


def test_a_direct_push_starts_nothing_where_only_merges_do() -> None:
    job = merge_job(extensions=ON_MERGED)

    said = told(job, pushed())

    assert said == f"Job {job.name}: no merged pull request became cccccccc, so far."
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "payload",
    [
        pull_request("closed", at=5),
        pull_request("closed", at=5, merged=sha("c"), base="develop"),
    ],
    ids=["closed only", "into another branch"],
)
def test_a_pull_request_starts_no_merge_job_that_was(payload: dict[str, Any]) -> None:
    told(merge_job(extensions=ON_MERGED), payload)

    assert not Run.objects.exists()


def test_a_merged_pull_request_starts_nothing_where_pushes_do() -> None:
    told(merge_job(), merged())

    assert not Run.objects.exists()
