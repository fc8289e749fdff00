"""Deferral: which run's artifacts are the state, how they travel, and what if there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.utils.timezone import now

from environments.models import Environment
from environments.variables import set_value
from jobsvc.engine.ports import Ending, Outcome
from jobsvc.jobs.models import Job
from jobsvc.runs import execute
from jobsvc.runs.defer import (
    NoState,
    Skip,
    StateLost,
    StateUnreadable,
    deferring_run_of,
    runs_in_use,
    state_for,
)
from jobsvc.runs.models import Artifact, Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, RunStatus, State
from tests.factories import (
    ArtifactFactory,
    EnvironmentFactory,
    JobFactory,
    RunFactory,
    RunStepFactory,
)

pytestmark = pytest.mark.django_db

MANIFEST = b'{"metadata": {"dbt_schema_version": "https://schemas/dbt/manifest/v12.json"}}'
NEWER = MANIFEST.replace(b"v12", b"v20")
SHA = "a" * 40
DBT = "1.11.16"


@pytest.fixture(autouse=True)
def workspaces(settings: Any, tmp_path: Path) -> Path:
    settings.WORKSPACES_DIR = tmp_path / "workspaces"
    settings.WORKSPACES_DIR.mkdir()
    return tmp_path / "workspaces"


@pytest.fixture
def production() -> Environment:
    return EnvironmentFactory(name="Production", deployment_type="production")


def ended(job: Job, trait: str = "succeeded", *, manifest: bytes = MANIFEST, **fields: Any) -> Run:
    """A run of ``job`` that is over, with the manifest that its build left."""
    schema = fields.pop("schema_override", None)
    run = RunFactory(
        job=job,
        **{trait: True},
        configuration={"schema_override": schema},
        **fields,
    )
    if manifest:
        step = RunStepFactory(run=run, builds=True)
        ArtifactFactory(step=step, path="manifest.json", content=manifest)
    return run


def deferring(job: Job, **changes: Any) -> Run:
    """A run of ``job`` that waits, made at the door."""
    trigger = Trigger(cause="test", cause_category=CauseCategory.API, **changes)
    return trigger_run(job, trigger)


def deferring_to(place: Environment, **changes: Any) -> Run:
    """A run of a new CI job of ``place`` that defers to it."""
    return deferring(JobFactory(ci=True, environment=place, deferring_environment=place), **changes)


# --- Which run ---------------------------------------------------------------------------------

HISTORIES: dict[str, list[str]] = {
    "no prior": [],
    "success": ["succeeded"],
    "error then success": ["failed", "succeeded"],
    "success then error": ["succeeded", "failed"],
    "success then cancelled": ["succeeded", "cancelled"],
    "cancelled": ["cancelled"],
}

# Place in its history of the run that is deferred to; None where there is none.
MATRIX: list[tuple[str, str, int | None]] = [
    ("none", "no prior", None),
    ("none", "success", None),
    ("none", "error then success", None),
    ("none", "success then error", None),
    ("none", "success then cancelled", None),
    ("none", "cancelled", None),
    ("none", "ci only", None),
    ("environment", "no prior", None),
    ("environment", "success", 0),
    ("environment", "error then success", 1),
    ("environment", "success then error", 0),
    ("environment", "success then cancelled", 0),
    ("environment", "cancelled", None),
    ("environment", "ci only", None),
    ("job", "no prior", None),
    ("job", "success", 0),
    ("job", "error then success", 1),
    ("job", "success then error", 0),
    ("job", "success then cancelled", 0),
    ("job", "cancelled", None),
    ("job", "ci only", None),
    ("self", "no prior", None),
    ("self", "success", 0),
    ("self", "error then success", 1),
    ("self", "success then error", 0),
    ("self", "success then cancelled", 0),
    ("self", "cancelled", None),
    ("self", "ci only", None),
]


def test_the_matrix_is_whole() -> None:
    modes, histories = ("none", "environment", "job", "self"), [*HISTORIES, "ci only"]

    assert [row[:2] for row in MATRIX] == [(m, h) for m in modes for h in histories]


@pytest.mark.parametrize(("mode", "history", "place"), MATRIX)
def test_the_state_is_that_of_the_last_success_that_counts(
    production: Environment, mode: str, history: str, place: int | None
) -> None:
    build = JobFactory(environment=production)
    itself = build if mode == "self" else JobFactory(environment=production)
    pull_requests = JobFactory(ci=True, environment=production)
    runs = [ended(build, trait) for trait in HISTORIES.get(history, [])]
    if history == "ci only":
        ended(pull_requests, schema_override="dbt_cloud_pr_1_2")
    if mode == "environment":
        itself.deferring_environment = production
    elif mode == "job":
        itself.deferring_job = build
    elif mode == "self":
        itself.deferring_job = itself
    itself.save()

    chosen = deferring_run_of(deferring(itself))

    assert chosen == (None if place is None else runs[place])


def test_a_ci_job_that_defers_to_itself_never_gets_another_pull_requests_schema(
    production: Environment,
) -> None:
    job = JobFactory(ci=True, environment=production)
    Job.objects.filter(pk=job.pk).update(deferring_job=job)
    ended(job, schema_override="dbt_cloud_pr_1_2")

    assert deferring_run_of(deferring(Job.objects.get(pk=job.pk))) is None


def test_in_an_environment_the_last_success_of_any_deploy_job_counts(
    production: Environment,
) -> None:
    ended(JobFactory(environment=production))
    newest = ended(JobFactory(environment=production, execute_steps=["dbt compile"]))
    ended(JobFactory(ci=True, environment=production))
    ended(JobFactory())

    assert deferring_run_of(deferring_to(production)) == newest


def test_of_two_jobs_that_overlapped_the_one_that_ended_last_counts(
    production: Environment,
) -> None:
    long = ended(JobFactory(environment=production))
    ended(JobFactory(environment=production), finished_at=now() - timedelta(minutes=1))

    assert deferring_run_of(deferring_to(production)) == long


def test_a_run_that_left_no_manifest_is_passed_over(production: Environment) -> None:
    job = JobFactory(environment=production)
    good = ended(job)
    ended(job, manifest=b"")

    assert deferring_run_of(deferring_to(production)) == good


def test_a_run_whose_documentation_failed_counts(production: Environment) -> None:
    run = ended(JobFactory(environment=production))
    RunStepFactory(run=run, index=5, kind="docs", status=RunStatus.ERROR)

    assert deferring_run_of(deferring_to(production)) == run


@pytest.mark.parametrize(
    "override",
    [
        {"schema_override": "trial"},
        {"trigger__git_sha": SHA},
        {"trigger__git_branch": "feature"},
        {"trigger__git_sha": SHA, "trigger__git_branch": "feature"},
    ],
)
def test_a_run_of_other_code_or_in_another_schema_is_passed_over(
    production: Environment, override: dict[str, str]
) -> None:
    job = JobFactory(environment=production)
    good = ended(job, git_branch="main")
    ended(job, **override)

    assert deferring_run_of(deferring_to(production)) == good


def test_a_run_that_was_skipped_built_nothing_to_compare_with(production: Environment) -> None:
    job = JobFactory(environment=production)
    good = ended(job)
    ended(job, outcome="skipped")

    assert deferring_run_of(deferring_to(production)) == good


def test_a_run_whose_variables_name_another_schema_is_passed_over(production: Environment) -> None:
    job = JobFactory(environment=production)
    good = ended(job)
    trial = deferring(job, variables_override={"DBT_TARGET_SCHEMA": "trial"})
    Run.objects.filter(pk=trial.pk).update(status=RunStatus.SUCCESS, finished_at=now())
    ArtifactFactory(step=RunStepFactory(run=trial, builds=True), content=MANIFEST)

    assert deferring_run_of(deferring_to(production)) == good


@pytest.mark.parametrize("custom", [True, False])
@pytest.mark.parametrize("sha", [None, SHA])
def test_a_run_that_names_the_environments_own_branch_counts(
    production: Environment, custom: bool, sha: str | None
) -> None:
    if custom:
        production.use_custom_branch, production.custom_branch = True, "main"
        production.save()
    job = JobFactory(environment=production)
    ended(job, git_branch="main", git_sha=SHA)
    newest = ended(job, trigger__git_branch="main", trigger__git_sha=sha, git_sha=SHA)

    assert deferring_run_of(deferring_to(production)) == newest


def test_a_commit_that_is_only_said_to_be_on_the_branch_does_not_count(
    production: Environment,
) -> None:
    job = JobFactory(environment=production)
    good = ended(job, git_branch="main", git_sha="b" * 40)
    ended(job, trigger__git_branch="main", trigger__git_sha=SHA, git_sha=SHA)

    assert deferring_run_of(deferring_to(production)) == good


def test_a_commit_that_was_merged_counts(production: Environment) -> None:
    job = JobFactory(environment=production)
    ended(job, git_branch="main", git_sha="b" * 40)
    merge = JobFactory(environment=production, job_type="merge")
    merged = {"trigger__cause_category": CauseCategory.MERGE, "trigger__git_sha": SHA}
    ended(merge, "failed", git_sha=SHA, **merged)
    newest = ended(job, trigger__git_branch="main", trigger__git_sha=SHA, git_sha=SHA)

    assert deferring_run_of(deferring_to(production)) == newest


def test_a_job_that_builds_in_a_schema_of_its_own_is_not_its_environment(
    production: Environment,
) -> None:
    good = ended(JobFactory(environment=production))
    job = JobFactory(environment=production)
    set_value(production.project, "DBT_TARGET_SCHEMA", "trial", job_definition_id=job.pk)
    trial = deferring(job)
    Run.objects.filter(pk=trial.pk).update(status=RunStatus.SUCCESS, finished_at=now())
    ArtifactFactory(step=RunStepFactory(run=trial, builds=True), content=MANIFEST)

    assert deferring_run_of(deferring_to(production)) == good
    asks_for_it = JobFactory(environment=production, deferring_job=job)
    assert deferring_run_of(deferring(asks_for_it)) == trial


def test_a_retry_of_the_same_commit_does_not_hide_which_branch_is_the_default_one(
    production: Environment,
) -> None:
    job = JobFactory(environment=production)
    ended(job, git_branch="main")
    ended(job, git_branch="", trigger__cause_category=CauseCategory.RERUN)
    newest = ended(job, git_branch="main", trigger__git_branch="main")

    assert deferring_run_of(deferring_to(production)) == newest


@pytest.mark.parametrize("cause", [CauseCategory.MERGE, CauseCategory.RERUN])
def test_a_run_of_a_merge_counts(production: Environment, cause: str) -> None:
    job = JobFactory(environment=production, job_type="merge")
    ended(JobFactory(environment=production))
    merged = ended(job, trigger__cause_category=cause, trigger__git_sha=SHA)

    assert deferring_run_of(deferring_to(production)) == merged


def test_what_is_deferred_to_was_settled_when_the_run_was_queued(production: Environment) -> None:
    state = ended(JobFactory(environment=production))
    run = deferring_to(production)
    Job.objects.filter(pk=run.job_id).update(deferring_environment=None)

    assert deferring_run_of(Run.objects.get(pk=run.pk)) == state


# --- The schema of a pull request ------------------------------------------------------------


@pytest.mark.parametrize(
    ("ci", "given", "schema"),
    [
        (True, {"github_pull_request_id": 12}, "dbt_cloud_pr_{job}_12"),
        (True, {"non_native_pull_request_id": 3}, "dbt_cloud_pr_{job}_3"),
        (True, {"github_pull_request_id": 12, "schema_override": "mine"}, "mine"),
        (True, {}, None),
        (False, {"github_pull_request_id": 12}, None),
    ],
)
def test_a_pull_request_is_built_in_a_schema_of_its_own(
    ci: bool, given: dict[str, Any], schema: str | None
) -> None:
    job = JobFactory(ci=ci)

    run = deferring(job, **given)

    expected = schema.format(job=job.pk) if schema else None
    assert run.configuration["schema_override"] == expected


# --- How the files travel --------------------------------------------------------------------


def test_the_files_lie_on_disk_while_the_run_lasts(
    production: Environment, workspaces: Path
) -> None:
    state = ended(JobFactory(environment=production, name="Nightly"))
    run = deferring_to(production)

    with state_for(run, DBT) as plan:
        assert plan is not None
        assert [file.name for file in Path(plan.directory).iterdir()] == ["manifest.json"]
        assert (Path(plan.directory) / "manifest.json").read_bytes() == MANIFEST
        assert Path(plan.directory).parent == workspaces
        assert plan.sentence.startswith(
            f"Deferring to run {state.pk} of job Nightly (the last success in Production, "
        )

    assert list(workspaces.iterdir()) == []


def test_the_files_are_removed_whatever_happens(production: Environment, workspaces: Path) -> None:
    ended(JobFactory(environment=production))

    with pytest.raises(KeyboardInterrupt), state_for(deferring_to(production), DBT):
        raise KeyboardInterrupt

    assert list(workspaces.iterdir()) == []


def test_what_a_killed_worker_left_is_removed_and_what_is_in_use_is_not(
    production: Environment, workspaces: Path
) -> None:
    run = ended(JobFactory(environment=production))
    at_work = RunFactory(running=True, attempts=2)
    kept = workspaces / f"state-{at_work.pk}-2"
    for place in (kept, workspaces / f"state-{at_work.pk}-1", workspaces / f"retry-{run.pk}-1"):
        place.mkdir()

    with state_for(deferring_to(production), DBT):
        pass

    assert list(workspaces.iterdir()) == [kept]


def test_what_was_deferred_to_is_written_to_the_run(production: Environment) -> None:
    state = ended(JobFactory(environment=production))
    run = deferring_to(production)

    with state_for(run, DBT) as plan:
        assert plan is not None

    run = Run.objects.get(pk=run.pk)
    assert run.deferring_run == state
    assert run.state_used == {
        "sentence": plan.sentence,
        "manifest_schema_version": 12,
        "files": ["manifest.json"],
    }


def test_a_run_that_defers_to_nothing_has_no_state(workspaces: Path) -> None:
    with state_for(deferring(JobFactory()), DBT) as plan:
        assert plan is None
        assert list(workspaces.iterdir()) == []


def test_the_results_are_those_of_the_last_build(production: Environment) -> None:
    job = JobFactory(environment=production)
    run = ended(job)
    for index, kind, builds in ((5, "command", True), (6, "command", False), (7, "docs", False)):
        step = RunStepFactory(run=run, index=index, kind=kind, builds=builds)
        for path in ("run_results.json", "sources.json", "semantic_manifest.json", "x.json"):
            ArtifactFactory(step=step, path=path, content=json.dumps(index).encode())

    with state_for(deferring_to(production), DBT) as plan:
        assert plan is not None
        files = {file.name: file.read_text() for file in Path(plan.directory).iterdir()}

    assert files["run_results.json"] == "5"
    assert set(files) == {
        "manifest.json",
        "run_results.json",
        "semantic_manifest.json",
        "sources.json",
    }


def test_a_run_that_built_nothing_gives_no_results(production: Environment) -> None:
    run = ended(JobFactory(environment=production), manifest=b"")
    step = RunStepFactory(run=run, kind="docs", command="dbt docs generate")
    ArtifactFactory(step=step, path="manifest.json", content=MANIFEST)
    ArtifactFactory(step=step, path="run_results.json")

    with state_for(deferring_to(production), DBT) as plan:
        assert plan is not None
        assert [file.name for file in Path(plan.directory).iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("ci", "asked", "favored"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"favor_state": False}, False),
        (False, {"favor_state": True}, True),
    ],
)
def test_ci_favors_state_unless_its_job_says_otherwise(
    production: Environment, ci: bool, asked: dict[str, bool], favored: bool
) -> None:
    ended(JobFactory(environment=production))
    job = JobFactory(
        ci=ci,
        environment=production,
        deferring_environment=production,
        extensions={"deferral": asked},
    )

    with state_for(deferring(job), DBT) as plan:
        assert plan is not None
        assert plan.favor_state is favored


# --- Without state ----------------------------------------------------------------------------


def stateless(mode: str, production: Environment, policy: str | None, **fields: Any) -> Run:
    """A run that defers, by ``mode``, to where there is nothing."""
    asked = {"deferral": {"when_no_state": policy}} if policy else {}
    job = JobFactory(environment=production, extensions=asked, **fields)
    if mode == "environment":
        job.deferring_environment = production
    else:
        job.deferring_job = job if mode == "self" else JobFactory(name="Nightly")
    job.save()
    return deferring(job)


@pytest.mark.parametrize(
    ("mode", "job_type", "policy"),
    [
        ("environment", "ci", None),
        ("environment", "merge", None),
        ("environment", "other", None),
        ("job", "scheduled", None),
        ("self", "ci", None),
        ("self", "merge", None),
        ("self", "other", "fail"),
    ],
)
def test_a_run_without_state_fails_before_anything_is_cloned(
    production: Environment, mode: str, job_type: str, policy: str | None
) -> None:
    run = stateless(mode, production, policy, job_type=job_type)

    with pytest.raises(NoState) as raised, state_for(run, DBT):
        pytest.fail("the run went on")

    sentence = str(raised.value)
    assert {
        "environment": "no successful run in the environment Production to compare with",
        "job": "The job Nightly has no successful run to compare with",
        "self": "This job has no earlier successful run to compare with",
    }[mode] in sentence
    assert "{" not in sentence


@pytest.mark.parametrize(
    ("mode", "job_type", "policy"),
    [
        ("self", "other", None),
        ("self", "scheduled", None),
        ("environment", "ci", "build_all"),
        ("job", "merge", "build_all"),
    ],
)
def test_a_run_without_state_may_build_all(
    production: Environment, mode: str, job_type: str, policy: str | None
) -> None:
    run = stateless(mode, production, policy, job_type=job_type)

    with state_for(run, DBT) as plan:
        assert plan is not None
        assert plan.directory == ""
        assert plan.sentence.endswith("What would be selected by comparing is everything.")

    run = Run.objects.get(pk=run.pk)
    assert run.deferring_run is None
    assert run.state_used["sentence"] == plan.sentence


def test_a_run_without_state_may_be_skipped(production: Environment) -> None:
    run = stateless("environment", production, "skip")

    with pytest.raises(Skip, match="no successful run in the environment"), state_for(run, DBT):
        pytest.fail("the run went on")

    assert "there was nothing to do" in Run.objects.get(pk=run.pk).state_used["sentence"]


def test_a_manifest_that_this_dbt_cannot_read_is_no_state(production: Environment) -> None:
    ended(JobFactory(environment=production, name="Nightly"), manifest=NEWER)

    with (
        pytest.raises(StateUnreadable, match=r"schema v20\) cannot be read by dbt 1\.11\.16"),
        state_for(deferring_to(production), DBT),
    ):
        pytest.fail("the run went on")


def test_a_manifest_that_says_no_version_is_no_state(production: Environment) -> None:
    ended(JobFactory(environment=production), manifest=b"{}")

    with (
        pytest.raises(StateUnreadable, match="schema unknown"),
        state_for(deferring_to(production), DBT),
    ):
        pytest.fail("the run went on")


def test_a_job_whose_own_manifest_became_unreadable_builds_all_anew(
    production: Environment,
) -> None:
    job = JobFactory(environment=production)
    job.deferring_job = job
    job.save()
    ended(job, manifest=NEWER)

    with state_for(deferring(job), DBT) as plan:
        assert plan is not None
        assert plan.directory == ""


def test_files_that_are_gone_are_no_state(production: Environment) -> None:
    ended(JobFactory(environment=production))
    for artifact in Artifact.objects.all():
        storages["artifacts"].delete(artifact.storage_name)

    with pytest.raises(StateLost), state_for(deferring_to(production), DBT):
        pytest.fail("the run went on")


# --- A whole run -------------------------------------------------------------------------------


@pytest.fixture
def claimed_of(
    monkeypatch: pytest.MonkeyPatch, published: list[tuple[Any, ...]]
) -> Callable[[Run], Run]:
    """Claims a run; were it to be started after all, the test would see it end in a failure."""

    def started(*arguments: object) -> Outcome:
        return Outcome(ending=Ending.ERROR, message="It was started.")

    monkeypatch.setattr(execute, "supervise", started)

    def claim(run: Run) -> Run:
        claimed = Run.objects.claim(run.pk, worker="w1")
        assert claimed is not None
        return claimed

    return claim


def test_a_run_without_state_ends_with_its_sentence(
    production: Environment, claimed_of: Callable[[Run], Run]
) -> None:
    run = claimed_of(stateless("environment", production, None))

    execute.execute(run)

    run = Run.objects.get(pk=run.pk)
    assert run.status == RunStatus.ERROR
    assert "There is no successful run in the environment Production" in run.status_message
    assert all(step.skipped for step in run.steps.all())


def test_a_run_that_is_skipped_is_a_success_that_did_nothing(
    production: Environment, claimed_of: Callable[[Run], Run], workspaces: Path
) -> None:
    run = claimed_of(stateless("environment", production, "skip"))

    execute.execute(run)

    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.outcome) == (RunStatus.SUCCESS, "skipped")
    assert "nothing to do" in run.status_message
    assert all(step.skipped for step in run.steps.all())
    assert list(workspaces.glob("state-*")) == []


# --- What others need ----------------------------------------------------------------------------


def test_the_state_of_every_job_that_defers_is_in_use(production: Environment) -> None:
    build = JobFactory(environment=production)
    old, newest = ended(build), ended(build)
    own = JobFactory(environment=production)
    own.deferring_job = own
    own.save()
    first = ended(own, finished_at=now() - timedelta(days=400))
    ended(own, "failed")
    JobFactory(ci=True, environment=production, deferring_environment=production)

    in_use = set(runs_in_use())

    assert in_use == {newest, first}
    assert old not in in_use


def test_what_only_deleted_jobs_defer_to_is_not_in_use(production: Environment) -> None:
    ended(JobFactory(environment=production))
    JobFactory(deferring_environment=production, environment=production, state=State.DELETED)

    assert list(runs_in_use()) == []


def test_what_is_in_use_takes_one_query_however_many_jobs_there_are(
    production: Environment, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        job = JobFactory(environment=production)
        job.deferring_job = job
        job.save()
        ended(job)

    with django_assert_num_queries(1):
        assert len(runs_in_use()) == 5
