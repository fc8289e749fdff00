"""What comparing found, as a run shows it; and which flags a job may say it with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.storage import storages

from jobsvc.engine.compare import ARTIFACT
from jobsvc.engine.plan import StepKind, ToolchainPlan
from jobsvc.runs.compare import MOST_MODELS, changes_of
from jobsvc.runs.models import Artifact, Run
from jobsvc.runs.plan import plan_run
from jobsvc.runs.steps import COMPARE, steps_of
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory
from tests.factories import ArtifactFactory, JobFactory, RunFactory, RunStepFactory

pytestmark = pytest.mark.django_db

MODEL: dict[str, Any] = {"unique_id": "model.shop.prices", "status": "changed"}


def compared(run: Run, *models: dict[str, Any], kind: StepKind = StepKind.COMPARE) -> Artifact:
    """The artifact that a step of ``run`` left."""
    found = {
        "schema_version": 1,
        "note": "Compared 1 model: 1 changed.",
        "summary": {"changed": len(models)},
        "holds_rows": False,
        "models": models,
    }
    step = RunStepFactory(run=run, index=5, kind=kind)
    return ArtifactFactory(step=step, path=ARTIFACT, content=json.dumps(found).encode())


def test_a_run_shows_what_comparing_found() -> None:
    run = RunFactory(succeeded=True)
    compared(run, MODEL)

    assert changes_of([run]) == {
        run.pk: {
            "step": 5,
            "artifact": ARTIFACT,
            "note": "Compared 1 model: 1 changed.",
            "summary": {"changed": 1},
            "holds_rows": False,
            "models": [MODEL],
        }
    }


def test_values_of_rows_stay_in_the_artifact() -> None:
    run = RunFactory(succeeded=True)
    compared(run, MODEL | {"sample": [{"kind": "added", "key": {"id": "7"}, "values": {}}]})

    assert changes_of([run])[run.pk]["models"] == [MODEL]


def test_of_very_many_models_the_first_are_shown() -> None:
    run = RunFactory(succeeded=True)
    compared(run, *[MODEL] * (MOST_MODELS + 1))

    shown = changes_of([run])[run.pk]
    assert (len(shown["models"]), shown["summary"]) == (MOST_MODELS, {"changed": MOST_MODELS + 1})


def test_a_run_that_compared_nothing_shows_nothing() -> None:
    assert changes_of([RunFactory(succeeded=True)]) == {}


def test_a_file_of_that_name_that_a_command_left_counts_for_nothing() -> None:
    run = RunFactory(succeeded=True)
    compared(run, MODEL, kind=StepKind.COMMAND)

    assert changes_of([run]) == {}


def test_a_file_that_has_just_been_pruned_is_none() -> None:
    run = RunFactory(succeeded=True)
    storages["artifacts"].delete(compared(run, MODEL).storage_name)

    assert changes_of([run]) == {}


def test_a_file_that_masking_left_unreadable_is_none() -> None:
    run = RunFactory(succeeded=True)
    step = RunStepFactory(run=run, index=5, kind=StepKind.COMPARE)
    ArtifactFactory(step=step, path=ARTIFACT, content=b'{"note": "", "models": [{"rows": *****}]}')

    assert changes_of([run]) == {}


# --- Which runs compare --------------------------------------------------------------------------

DBT = ToolchainPlan(version="1.11.16", executable="/toolchains/dbt-1.11/bin/dbt")
BY_API = Trigger(cause="test", cause_category=CauseCategory.API)


def step_names(**fields: Any) -> list[str]:
    run = trigger_run(JobFactory(run_compare_changes=True, generate_docs=True, **fields), BY_API)
    return [step.name for step in steps_of(run, "Warehouse")]


def test_comparing_comes_after_the_commands_and_before_the_documentation() -> None:
    names = step_names(ci=True)

    assert names[-3:] == [
        "Invoke dbt with `dbt build`",
        COMPARE,
        "Invoke dbt with `dbt docs generate`",
    ]


@pytest.mark.parametrize("job_type", ["other", "scheduled", "merge"])
def test_only_ci_jobs_compare_whatever_else_is_asked_for(job_type: str) -> None:
    assert COMPARE not in step_names(job_type=job_type)


def test_a_run_compares_as_its_job_said_when_it_was_triggered() -> None:
    job = JobFactory(
        ci=True,
        run_compare_changes=True,
        compare_changes_flags="--select tag:shop",
        extensions={"compare": {"keep_rows": True}},
    )
    run = trigger_run(job, BY_API)
    job.compare_changes_flags = "--select tag:other"
    job.save()

    asked = plan_run(run, steps_of(run, "Warehouse"), toolchain=DBT).compare

    assert asked is not None
    assert (asked.flags, asked.keep_rows) == ("--select tag:shop", True)
