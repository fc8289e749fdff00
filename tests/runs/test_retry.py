"""Retry: which runs, from which step, with which code; and the retries that come by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now

from jobsvc.engine.plan import FailureClass, StepKind
from jobsvc.engine.ports import Ending, Outcome
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.chain import start_downstream_runs
from jobsvc.runs.deactivate import deactivate_failing_job
from jobsvc.runs.execute import finish
from jobsvc.runs.models import Run
from jobsvc.runs.retry import (
    Git,
    Refusal,
    RetryRefused,
    preview,
    refusal_of,
    rerun_job,
    results_for,
    resumed,
    retry_run,
    start_due_retries,
    with_retry_facts,
)
from jobsvc.runs.steps import close_steps, steps_of, write_steps
from jobsvc.runs.tasks import sweep
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.runs.watch import watch
from jobsvc.statuses import CauseCategory, RunStatus
from tests.factories import ArtifactFactory, CompletionTriggerFactory, JobFactory
from tests.runs.conftest import let_lapse

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]
EndRun = Callable[..., Run]

RESULTS = json.dumps({"results": [{"unique_id": "model.a.b", "status": "error"}]}).encode()
POLICY = {"retry": {"max_retries": 2, "delay_seconds": 60, "backoff": "exponential"}}


@pytest.fixture
def ended(claimed: MakeRun) -> EndRun:
    """``ended(job, at=5)`` is a run of ``job`` that failed in its step 5."""

    def make(
        job: Job,
        *,
        at: int,
        status: RunStatus = RunStatus.ERROR,
        exit_code: int = 1,
        results: bytes = RESULTS,
    ) -> Run:
        return end(claimed(job), at=at, status=status, exit_code=exit_code, results=results)

    return make


def end(
    run: Run,
    *,
    at: int,
    status: RunStatus = RunStatus.ERROR,
    exit_code: int = 1,
    results: bytes = RESULTS,
) -> Run:
    """Let a claimed run end in its step ``at``, all those before it having gone well."""
    write_steps(run, steps_of(run, "Warehouse"))
    run.steps.filter(index__lt=at).update(status=RunStatus.SUCCESS, started_at=now())
    run.steps.filter(index=at).update(status=status, started_at=now(), exit_code=exit_code)
    if results:
        ArtifactFactory(step=run.steps.get(index=at), path="run_results.json", content=results)
    run.move_to(RunStatus.RUNNING, started_at=now(), git_sha="5c1d" * 10, dbt_version="1.11.16")
    run.move_to(status, message="It failed.")
    close_steps(run)
    return run


def refusal(run: Run) -> Refusal | None:
    return refusal_of(with_retry_facts(Run.objects.all()).get(pk=run.pk))


def names(run: Run) -> list[str]:
    return [step.name.removeprefix("Invoke dbt with ") for step in steps_of(run, "Warehouse")]


# --- Whether -------------------------------------------------------------------------------------


def test_the_latest_run_that_failed_with_results_can_be_retried(ended: EndRun) -> None:
    run = ended(JobFactory(execute_steps=["dbt build"]), at=4)

    assert refusal(run) is None
    assert retry_run(run).retrying_run == run


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.CANCELLED])
def test_a_run_that_did_not_fail_is_refused(ended: EndRun, status: RunStatus) -> None:
    assert refusal(ended(JobFactory(), at=4, status=status)) is Refusal.NOT_FAILED_RUN


def test_a_run_that_still_goes_on_is_refused_even_by_force(claimed: MakeRun) -> None:
    with pytest.raises(RetryRefused, match="RETRY_NOT_FAILED_RUN"):
        retry_run(claimed(), force=True)


def test_an_older_run_is_refused(ended: EndRun, queued: MakeRun) -> None:
    run = ended(JobFactory(), at=4)
    queued(run.job)

    assert refusal(run) is Refusal.NOT_LATEST_RUN


def test_a_dbt_without_retry_is_refused(ended: EndRun) -> None:
    run = ended(JobFactory(), at=4)
    Run.objects.filter(pk=run.pk).update(dbt_version="1.5.11")

    assert refusal(run) is Refusal.UNSUPPORTED_VERSION


@pytest.mark.parametrize("command", ["dbt source freshness", "dbt ls", "dbt deps"])
def test_a_command_that_dbt_cannot_go_on_with_is_refused(ended: EndRun, command: str) -> None:
    run = ended(JobFactory(execute_steps=[command]), at=4)

    assert refusal(run) is Refusal.UNSUPPORTED_CMD


def test_a_step_that_left_no_results_is_refused(ended: EndRun) -> None:
    assert refusal(ended(JobFactory(), at=4, results=b"")) is Refusal.NO_RUN_RESULTS


def test_a_run_that_failed_before_its_first_step_is_refused(claimed: MakeRun) -> None:
    run = claimed()
    run.move_to(RunStatus.ERROR, message="No such version.")

    assert refusal(run) is Refusal.NO_RUN_RESULTS


def test_a_refusal_says_why_and_what_to_do(ended: EndRun) -> None:
    with pytest.raises(RetryRefused) as refused:
        retry_run(ended(JobFactory(), at=4, status=RunStatus.CANCELLED))

    assert str(refused.value).startswith("This run did not end in an error. Send extensions.force")


@pytest.mark.parametrize("status", [RunStatus.ERROR, RunStatus.CANCELLED])
def test_by_force_an_older_or_cancelled_run_is_retried(
    ended: EndRun, queued: MakeRun, status: RunStatus
) -> None:
    run = ended(JobFactory(), at=4, status=status, exit_code=2)
    queued(run.job)

    assert retry_run(run, force=True).retrying_run == run


def test_a_run_that_succeeded_is_refused_even_by_force(ended: EndRun) -> None:
    with pytest.raises(RetryRefused):
        retry_run(ended(JobFactory(), at=4, status=RunStatus.SUCCESS), force=True)


# --- What ----------------------------------------------------------------------------------------


@pytest.fixture
def nightly() -> Job:
    return JobFactory(
        execute_steps=["dbt seed", "dbt run", "dbt test"],
        run_generate_sources=True,
        generate_docs=True,
    )


def test_a_retry_begins_with_the_services_own_steps_and_leaves_out_what_had_gone_well(
    ended: EndRun, nightly: Job
) -> None:
    new = retry_run(ended(nightly, at=6))

    assert names(new)[2:] == ["`dbt deps`", "`dbt run`", "`dbt test`", "`dbt docs generate`"]


def test_a_retry_of_a_retry_leaves_out_what_either_did(ended: EndRun, nightly: Job) -> None:
    first = retry_run(ended(nightly, at=6))
    claimed = Run.objects.claim(first.pk, worker="w1")
    assert claimed is not None

    second = retry_run(end(claimed, at=5))

    assert names(second)[2:] == ["`dbt deps`", "`dbt test`", "`dbt docs generate`"]


def test_a_run_that_failed_in_the_services_own_steps_is_repeated_whole(
    ended: EndRun, nightly: Job
) -> None:
    new = retry_run(ended(nightly, at=3), force=True)

    assert len(names(new)) == 8


def test_a_step_whose_failure_was_let_pass_is_not_where_the_run_failed(
    ended: EndRun, nightly: Job
) -> None:
    run = ended(nightly, at=7)
    run.steps.filter(index=4).update(status=RunStatus.ERROR)

    assert preview(run).failed_step == "Invoke dbt with `dbt test`"


def test_the_first_step_that_failed_counts_where_others_ran_on(ended: EndRun) -> None:
    job = JobFactory(
        execute_steps=["dbt seed", "dbt run"],
        extensions={"steps": [{"on_failure": "continue"}]},
    )
    run = ended(job, at=5, status=RunStatus.SUCCESS)
    run.steps.filter(index=4).update(status=RunStatus.ERROR)

    assert preview(run).failed_step == "Invoke dbt with `dbt seed`"
    assert preview(run).skipped_steps == ["Invoke dbt with `dbt run`"]


def test_a_retry_does_what_its_run_did_though_the_job_has_changed(
    ended: EndRun, nightly: Job
) -> None:
    run = ended(nightly, at=6)
    Job.objects.filter(pk=nightly.pk).update(execute_steps=["dbt parse"], threads=9)

    new = retry_run(run)

    assert new.configuration["execute_steps"] == ["dbt seed", "dbt run", "dbt test"]
    assert new.configuration["threads"] == 4


def test_a_retry_keeps_what_its_run_was_triggered_with(claimed: MakeRun) -> None:
    job = JobFactory(ci=True)
    asked = Trigger(
        cause="PR 7",
        cause_category=CauseCategory.CI,
        github_pull_request_id=7,
        git_branch="feature",
        git_sha="ab" * 20,
    )
    run = Run.objects.claim(trigger_run(job, asked).pk, worker="w1")
    assert run is not None

    new = retry_run(end(run, at=4))

    assert new.trigger.github_pull_request_id == 7
    assert new.concurrency_key == run.concurrency_key
    assert new.trigger.cause_category == CauseCategory.RERUN
    assert new.configuration["schema_override"] == run.configuration["schema_override"]
    assert new.configuration["git_sha"] == "ab" * 20  # what is told of it is told of its commit


def test_a_rerun_of_a_pull_requests_run_stays_in_its_schema() -> None:
    job = JobFactory(ci=True)
    asked = Trigger(
        cause="PR 7",
        cause_category=CauseCategory.CI,
        gitlab_merge_request_id=7,
        git_sha="ab" * 20,
    )
    run = Run.objects.claim(trigger_run(job, asked).pk, worker="w1")
    assert run is not None
    run.move_to(RunStatus.RUNNING)
    run.move_to(RunStatus.SUCCESS)

    new = rerun_job(job)

    assert new.trigger.cause == "Rerun of the job"
    assert new.concurrency_key == run.concurrency_key
    for kept in ("schema_override", "git_sha"):
        assert new.configuration[kept] == run.configuration[kept]


@pytest.mark.parametrize(("git", "sha"), [(Git.LATEST, None), (Git.SAME, "5c1d" * 10)])
def test_a_retry_runs_the_newest_code_unless_asked_for_the_same(
    ended: EndRun, git: Git, sha: str | None
) -> None:
    assert retry_run(ended(JobFactory(), at=4), git=git).configuration["git_sha"] == sha


def test_a_commit_without_a_branch_has_no_newer_one(claimed: MakeRun) -> None:
    asked = Trigger(cause="x", cause_category=CauseCategory.API, git_sha="ab" * 20)
    run = Run.objects.claim(trigger_run(JobFactory(), asked).pk, worker="w1")
    assert run is not None

    assert retry_run(end(run, at=4)).configuration["git_sha"] == "ab" * 20


# --- Going on with dbt retry ---------------------------------------------------------------------


def resumption(run: Run, settings: Any, tmp_path: Path) -> bytes | None:
    """What the first step behind the service's own goes on from."""
    settings.WORKSPACES_DIR = workspaces = tmp_path / "workspaces"
    workspaces.mkdir()
    with results_for(run) as file:
        steps = resumed(steps_of(run, "Warehouse"), file)
        given = next(step.resume_from for step in steps if step.kind == StepKind.COMMAND)
        content = Path(given).read_bytes() if given else None
    assert list(workspaces.iterdir()) == []
    return content


def test_the_step_that_failed_goes_on_from_its_own_results(
    ended: EndRun, nightly: Job, settings: Any, tmp_path: Path
) -> None:
    assert resumption(retry_run(ended(nightly, at=6)), settings, tmp_path) == RESULTS


def test_a_step_that_was_cut_off_runs_whole(
    ended: EndRun, nightly: Job, settings: Any, tmp_path: Path
) -> None:
    run = ended(nightly, at=6, status=RunStatus.CANCELLED, exit_code=2)

    assert resumption(retry_run(run, force=True), settings, tmp_path) is None


def test_a_step_that_dbt_cannot_go_on_with_runs_whole(
    ended: EndRun, settings: Any, tmp_path: Path
) -> None:
    run = ended(JobFactory(execute_steps=["dbt source freshness"]), at=4)

    assert resumption(retry_run(run, force=True), settings, tmp_path) is None


def test_a_step_whose_results_are_gone_runs_whole(
    ended: EndRun, nightly: Job, settings: Any, tmp_path: Path
) -> None:
    run = ended(nightly, at=6, results=b"")

    assert resumption(retry_run(run, force=True), settings, tmp_path) is None


def test_an_ordinary_run_goes_on_from_nothing(
    queued: MakeRun, settings: Any, tmp_path: Path
) -> None:
    assert resumption(queued(), settings, tmp_path) is None


# --- Rerun ---------------------------------------------------------------------------------------


def test_a_rerun_goes_on_where_the_latest_run_failed(ended: EndRun, nightly: Job) -> None:
    run = ended(nightly, at=6)

    assert rerun_job(nightly).retrying_run == run


def test_a_rerun_starts_anew_where_dbt_could_not_go_on(ended: EndRun) -> None:
    job = JobFactory(execute_steps=["dbt seed", "dbt source freshness"])
    ended(job, at=5)

    assert names(rerun_job(job))[3:] == ["`dbt source freshness`"]


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.CANCELLED])
def test_a_rerun_is_an_ordinary_run_where_the_latest_did_not_fail(
    ended: EndRun, nightly: Job, status: RunStatus
) -> None:
    ended(nightly, at=6, status=status)

    new = rerun_job(nightly)

    assert new.retrying_run is None
    assert new.trigger.cause_category == CauseCategory.RERUN
    assert len(names(new)) == 8


def test_a_job_that_never_ran_can_be_rerun(nightly: Job) -> None:
    assert rerun_job(nightly).retrying_run is None


# --- By itself -----------------------------------------------------------------------------------


@pytest.fixture
def lost(claimed: MakeRun) -> Run:
    """A run whose worker was lost, and whose job wants two retries."""
    run = claimed(JobFactory(extensions=POLICY))
    lose(run)
    return run


def lose(run: Run) -> None:
    let_lapse(run)
    watch()
    run.refresh_from_db()


def later(seconds: float) -> Any:
    return now() + timedelta(seconds=seconds)


def test_a_lost_run_says_when_it_is_taken_up(lost: Run) -> None:
    assert lost.status == RunStatus.ERROR
    assert (lost.failure_class, lost.outcome) == ("infrastructure", "worker_lost")
    assert lost.will_retry_at is not None
    assert 58 < (lost.will_retry_at - now()).total_seconds() <= 60
    assert "Attempt 2 of 3 starts by itself at" in lost.status_message


def test_a_retry_that_is_not_due_does_not_start(lost: Run) -> None:
    assert start_due_retries(later(30)) == []


def test_a_due_retry_starts_once(lost: Run) -> None:
    (new,) = start_due_retries(later(61))

    assert start_due_retries(later(61)) == []
    assert (new.retrying_run, new.attempt_number) == (lost, 2)
    assert Run.objects.filter(job=lost.job).count() == 2


def test_the_waits_of_a_chain_grow_and_it_ends(lost: Run) -> None:
    waits, run = [], lost
    while run.will_retry_at is not None:
        assert run.finished_at is not None
        waits.append(round((run.will_retry_at - run.finished_at).total_seconds()))
        (queued,) = start_due_retries(later(1000))
        claimed = Run.objects.claim(queued.pk, worker="w1")
        assert claimed is not None
        run = claimed
        lose(run)

    assert waits == [60, 180]
    assert run.attempt_number == 3
    assert run.status == RunStatus.ERROR


def test_only_the_last_attempt_is_an_end_to_others(lost: Run) -> None:
    after = CompletionTriggerFactory(upstream=lost.job, statuses=[20]).job
    (queued,) = start_due_retries(later(61))
    new = Run.objects.claim(queued.pk, worker="w1")
    assert new is not None

    start_downstream_runs(lost)
    deactivate_failing_job(lost)
    assert not Run.objects.filter(job=after).exists()
    end(new, at=4)
    start_downstream_runs(new)
    deactivate_failing_job(new)
    start_downstream_runs(lost)

    assert Run.objects.filter(job=after).count() == 1
    assert Job.objects.get(pk=lost.job_id).run_failure_count == 1


def test_a_cancel_while_it_waits_ends_the_chain_and_tells_of_the_end(lost: Run) -> None:
    after = CompletionTriggerFactory(upstream=lost.job, statuses=[20]).job
    CompletionTrigger.objects.update(created_at=lost.created_at)
    lost.transitions.update(reacted_at=now())

    cancel_run(lost, by="ana@example.com")

    assert start_due_retries(later(61)) == []
    lost.refresh_from_db()
    assert lost.status == RunStatus.ERROR
    assert lost.status_message.endswith("Its retry was cancelled by ana@example.com.")
    assert lost.transitions.filter(to_status=RunStatus.ERROR, reacted_at=None).exists()
    start_downstream_runs(lost)
    assert Run.objects.filter(job=after).count() == 1


def test_a_retry_by_hand_takes_the_place_of_the_one_to_come(lost: Run) -> None:
    retry_run(lost, force=True)

    assert start_due_retries(later(61)) == []


def test_a_job_that_is_gone_ends_the_chain(lost: Run) -> None:
    Job.objects.filter(pk=lost.job_id).update(state=2)

    assert start_due_retries(later(61)) == []

    lost.refresh_from_db()
    assert lost.will_retry_at is None
    assert "It was not retried: This job is deleted." in lost.status_message


def test_a_deactivated_job_is_not_started_again_by_a_retry(lost: Run) -> None:
    Job.objects.filter(pk=lost.job_id).update(deactivated=True)

    assert start_due_retries(later(61)) == []

    assert Job.objects.get(pk=lost.job_id).deactivated


def test_a_lost_run_is_not_tried_again_over_a_later_one_that_succeeded(
    lost: Run, queued: MakeRun
) -> None:
    done = queued(lost.job)
    Run.objects.filter(pk=done.pk).update(status=RunStatus.SUCCESS, finished_at=later(1))

    assert start_due_retries(later(61)) == []

    lost.refresh_from_db()
    assert lost.will_retry_at is None
    assert f"Run {done.pk} has done the same since" in lost.status_message


def test_a_later_run_of_other_steps_leaves_a_lost_run_to_be_tried_again(
    lost: Run, queued: MakeRun
) -> None:
    done = queued(lost.job)
    Run.objects.filter(pk=done.pk).update(
        status=RunStatus.SUCCESS,
        finished_at=later(1),
        configuration=done.configuration | {"execute_steps": ["dbt parse"]},
    )

    assert len(start_due_retries(later(61))) == 1


def test_a_job_that_asks_for_none_gets_no_retry(claimed: MakeRun) -> None:
    run = claimed(JobFactory())
    lose(run)

    assert run.will_retry_at is None


def test_a_job_that_retries_only_other_failures_gets_no_retry(claimed: MakeRun) -> None:
    policy = {"retry": {"max_retries": 2, "retry_on": ["timeout"]}}
    run = claimed(JobFactory(extensions=policy))
    lose(run)

    assert run.will_retry_at is None


def test_a_lost_run_that_was_to_be_cancelled_is_not_retried(claimed: MakeRun) -> None:
    run = claimed(JobFactory(extensions=POLICY))
    cancel_run(run, by="ana@example.com")
    lose(run)

    assert (run.status, run.will_retry_at) == (RunStatus.CANCELLED, None)


def test_a_worker_that_is_shut_down_leaves_its_run_to_be_retried(claimed: MakeRun) -> None:
    run = claimed(JobFactory(extensions=POLICY))

    finish(run, Outcome(ending=Ending.STOPPED, message="Stopped in step 4."))

    run.refresh_from_db()
    assert run.status == RunStatus.ERROR
    assert run.will_retry_at is not None
    assert run.status_message.startswith("The worker that ran this was shut down. Attempt 2 of 3")


def test_a_failed_step_is_no_reason_for_another_run(claimed: MakeRun) -> None:
    run = claimed(JobFactory(extensions=POLICY))
    transient = FailureClass.TRANSIENT_WAREHOUSE

    finish(run, Outcome(ending=Ending.ERROR, message="No.", failure_class=transient))

    run.refresh_from_db()
    assert (run.failure_class, run.will_retry_at) == ("transient_warehouse", None)


def test_the_sweep_starts_what_is_due(lost: Run) -> None:
    Run.objects.filter(pk=lost.pk).update(will_retry_at=later(-1))

    sweep()

    assert lost.retries.count() == 1


def test_a_run_whose_checkout_is_tried_again_has_longer_to_be_ready(claimed: MakeRun) -> None:
    patient, other = claimed(JobFactory(extensions=POLICY)), claimed(JobFactory())
    Run.objects.update(dequeued_at=now() - timedelta(minutes=16))

    assert watch() == [other]

    Run.objects.update(dequeued_at=now() - timedelta(minutes=16 + 4 + 10))
    assert watch() == [patient]


def test_a_retry_builds_the_newest_commit_where_no_git_host_tells_of_it(claimed: MakeRun) -> None:
    asked = Trigger(
        cause="PR 7",
        cause_category=CauseCategory.API,
        github_pull_request_id=7,
        git_branch="feature",
        git_sha="ab" * 20,
    )
    run = Run.objects.claim(trigger_run(JobFactory(ci=True), asked).pk, worker="w1")
    assert run is not None

    new = retry_run(end(run, at=4))

    assert new.configuration["git_sha"] is None
    assert new.configuration["schema_override"] == run.configuration["schema_override"]


def test_a_retry_of_a_retry_keeps_the_commit_that_a_git_host_told_of(claimed: MakeRun) -> None:
    asked = Trigger(
        cause="PR 7",
        cause_category=CauseCategory.CI,
        github_pull_request_id=7,
        git_branch="feature",
        git_sha="ab" * 20,
    )
    run = Run.objects.claim(trigger_run(JobFactory(ci=True), asked).pk, worker="w1")
    assert run is not None
    again = Run.objects.claim(retry_run(end(run, at=4)).pk, worker="w1")
    assert again is not None

    new = retry_run(end(again, at=4))

    assert new.configuration["git_sha"] == "ab" * 20
