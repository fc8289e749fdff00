"""Linting what a pull request changed: a real SQLFluff beside a real dbt, in the sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobsvc.engine import runner
from jobsvc.engine.plan import OnFailure, RunPlan, StatePlan, StepKind, StepPlan, ToolchainPlan
from jobsvc.engine.ports import Ending
from tests.engine.conftest import PROJECT, Recording, Repository

NEAT = "select 1 as id\n"
UNTIDY = "select  1 as id, 2 AS more from {{ ref('orders') }}\n"
MACRO = "{% macro one() %}1{% endmacro %}\n"

PlanOf = Callable[..., RunPlan]


def linting(on_failure: OnFailure = OnFailure.STOP) -> StepPlan:
    return StepPlan(index=0, name="Lint", kind=StepKind.LINT, on_failure=on_failure)


def found(recording: Recording) -> list[tuple[str, int, str]]:
    """Where and what: path, line and code of each finding of step 3."""
    return [(one["path"], one["line"], one["code"]) for one in artifact(recording)["findings"]]


def artifact(recording: Recording) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(recording.artifact(3, "lint.json"))
    return kept


@pytest.fixture
def tidy(shop: Repository) -> Repository:
    """A shop whose one model SQLFluff has nothing to say of."""
    shop.commit({"models/orders.sql": NEAT})
    return shop


# --- What it means for the run --------------------------------------------------------------------


def test_a_finding_stops_the_run_before_it_builds(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({"models/untidy.sql": UNTIDY})

    outcome = runner.run(plan_of(tidy, linting(), "dbt build"), recording)

    assert outcome.ending is Ending.ERROR
    assert outcome.message.startswith("Step 3 failed: Lint. ")
    assert "findings in 1 file: models/untidy.sql:1 " in outcome.message
    assert recording.endings()[2:] == [Ending.ERROR, Ending.SKIPPED]


def test_a_finding_may_be_no_more_than_a_warning(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({"models/untidy.sql": UNTIDY})

    outcome = runner.run(plan_of(tidy, linting(OnFailure.WARN), "dbt build"), recording)

    assert (outcome.ending, outcome.has_warnings) == (Ending.SUCCESS, True)
    assert recording.endings()[2:] == [Ending.ERROR, Ending.SUCCESS]


def test_a_tidy_project_passes(tidy: Repository, plan_of: PlanOf, recording: Recording) -> None:
    outcome = runner.run(plan_of(tidy, linting()), recording)

    assert (outcome.ending, outcome.has_warnings) == (Ending.SUCCESS, False)
    assert recording.end(3).message == "SQLFluff found nothing in 1 file."
    assert artifact(recording)["findings"] == []


def test_findings_are_kept_and_can_be_read_in_the_log(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({"models/untidy.sql": UNTIDY})

    runner.run(plan_of(tidy, linting()), recording)

    kept = artifact(recording)
    assert kept["files"] == 2
    assert {
        "path": "models/untidy.sql",
        "line": 1,
        "column": 20,
        "code": "CP01",
        "description": "Keywords must be consistently lower case.",
        "severity": "error",
    } in kept["findings"]
    log = recording.console(3)
    assert "models/untidy.sql\n" in log
    assert "      1:20  CP01  Keywords must be consistently lower case.\n" in log


# --- Which files ----------------------------------------------------------------------------------


def test_only_files_that_changed_are_linted(
    tidy: Repository,
    plan_of: PlanOf,
    recording: Recording,
    production: Callable[..., StatePlan],
) -> None:
    tidy.commit({"models/old.sql": UNTIDY, "models/touched.sql": "select 2 as id\n"})
    state = production()
    tidy.commit({"models/touched.sql": "select 2 AS id\n", "tests/new.sql": "select 1 AS one\n"})

    runner.run(plan_of(tidy, linting(), state=state), recording)

    assert {path for path, _line, _code in found(recording)} == {
        "models/touched.sql",
        "tests/new.sql",
    }


def test_where_no_sql_changed_there_is_nothing_to_lint(
    tidy: Repository,
    plan_of: PlanOf,
    recording: Recording,
    production: Callable[..., StatePlan],
) -> None:
    tidy.commit({"models/old.sql": UNTIDY})
    state = production()
    tidy.commit({"models/about.yml": "models: [{name: old, config: {tags: [a]}}]"})

    outcome = runner.run(plan_of(tidy, linting(), state=state), recording)

    assert outcome.ending is Ending.SUCCESS
    assert recording.end(3).message == "No SQL file was changed."


def test_without_a_state_all_files_are_linted(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({"models/untidy.sql": UNTIDY, "analyses/untidy.sql": "select 1 AS id, 2 as b\n"})
    state = StatePlan(directory="", sentence="There is none.")

    runner.run(plan_of(tidy, linting(), state=state), recording)

    assert artifact(recording)["files"] == 3


def test_snapshots_and_packages_are_not_linted(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    snapshot = (
        "{% snapshot kept %}{{ config(unique_key='id', strategy='check', check_cols='all') }} "
        "select  1 as id{% endsnapshot %}"
    )
    tidy.commit(
        {
            "snapshots/kept.sql": snapshot,
            "packages.yml": "packages: [{local: tools}]",
            "tools/dbt_project.yml": "name: tools",
            "tools/models/theirs.sql": "select  1 AS id, 2 as other\n",
        }
    )

    outcome = runner.run(plan_of(tidy, "dbt deps", linting()), recording)

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert recording.end(4).message == "SQLFluff found nothing in 1 file."


def test_a_project_that_needs_a_variable_is_read_with_that_of_its_build(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({"models/orders.sql": "{{ config(tags=[var('team')]) }}\nselect 1 as id\n"})

    outcome = runner.run(
        plan_of(tidy, linting(), "dbt run --vars '{team: data}' --empty"), recording
    )

    assert outcome.ending is Ending.SUCCESS, outcome.message


# --- What the project says ------------------------------------------------------------------------


def test_the_projects_own_rules_count(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({".sqlfluff": "[sqlfluff]\nrules = LT01\n", "models/untidy.sql": UNTIDY})

    runner.run(plan_of(tidy, linting()), recording)

    assert {code for _path, _line, code in found(recording)} == {"LT01"}


def test_the_projects_own_dialect_counts(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({".sqlfluff": "[sqlfluff]\ndialect = klingon\n"})

    outcome = runner.run(plan_of(tidy, linting()), recording)

    assert "SQLFluff ended with status 1: KeyError: 'Unknown dialect'" in outcome.message


def test_a_rule_that_the_project_only_warns_of_does_not_fail(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    settings = "[sqlfluff]\nrules = CP01\nwarnings = CP01\n"
    tidy.commit({".sqlfluff": settings, "models/untidy.sql": UNTIDY})

    outcome = runner.run(plan_of(tidy, linting()), recording)

    assert (outcome.ending, outcome.has_warnings) == (Ending.SUCCESS, True)
    assert artifact(recording)["findings"][0]["severity"] == "warning"


def test_files_that_the_project_ignores_are_not_linted(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({".sqlfluffignore": "models/legacy/\n", "models/legacy/untidy.sql": UNTIDY})

    outcome = runner.run(plan_of(tidy, linting()), recording)

    assert outcome.ending is Ending.SUCCESS, outcome.message


def test_rules_at_the_root_of_the_repository_hold_for_a_project_below_it(
    repository: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    repository.commit(
        {
            ".sqlfluff": "[sqlfluff]\nrules = CP01\n",
            "dbt/dbt_project.yml": PROJECT,
            "dbt/models/orders.sql": "select  1 AS id, 2 as other\n",
        }
    )

    runner.run(plan_of(repository, linting(), checkout={"subdirectory": "dbt"}), recording)

    assert found(recording) == [("dbt/models/orders.sql", 1, "CP01")]


# --- How it reads templates -----------------------------------------------------------------------


def test_a_file_that_uses_a_macro_is_read_with_dbt(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({"macros/one.sql": MACRO, "models/macro.sql": "select {{ one() }} AS id, 2 as b\n"})

    runner.run(plan_of(tidy, linting()), recording)

    assert "Reading 1 of 2 files with dbt, for the macros they use." in recording.console(3)
    codes = {code for path, _line, code in found(recording) if path == "models/macro.sql"}
    assert "CP01" in codes
    assert "TMP" not in codes


def test_a_project_that_asks_for_dbt_is_read_with_the_runs_own_profile(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    settings = (
        "[sqlfluff]\ntemplater = dbt\nrules = CP01\n"
        "[sqlfluff:templater:dbt]\nprofiles_dir = ~/.dbt\nprofile = shop\ntarget = laptop\n"
    )
    untidy = "select {{ one() }} AS id, 2 as b\n"
    tidy.commit({".sqlfluff": settings, "macros/one.sql": MACRO, "models/macro.sql": untidy})

    runner.run(plan_of(tidy, linting()), recording)

    assert found(recording) == [("models/macro.sql", 1, "CP01")]
    assert "for the macros they use" not in recording.console(3)


# --- What can go wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("[sqlfluff\ndialect = duckdb\n", "MissingSectionHeaderError: File contains no section"),
        ("[sqlfluff]\ntemplater = nosuch\n", "Requested templater 'nosuch'"),
    ],
)
def test_settings_that_sqlfluff_cannot_read_are_told_in_its_words(
    tidy: Repository, plan_of: PlanOf, recording: Recording, rules: str, words: str
) -> None:
    tidy.commit({".sqlfluff": rules, "models/untidy.sql": UNTIDY})

    outcome = runner.run(plan_of(tidy, linting(), "dbt build"), recording)

    assert outcome.ending is Ending.ERROR
    assert words in outcome.message
    assert "Look at the project's .sqlfluff" in outcome.message


def test_more_findings_than_can_be_kept_are_told_as_that(
    tidy: Repository, plan_of: PlanOf, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LONGEST_ASIDE", 300)
    tidy.commit({"models/untidy.sql": UNTIDY})

    outcome = runner.run(plan_of(tidy, linting(), "dbt build"), recording)

    assert "SQLFluff found more than can be kept." in outcome.message


def test_a_dbt_without_sqlfluff_says_what_to_do(
    tidy: Repository,
    plan_of: PlanOf,
    recording: Recording,
    toolchain: ToolchainPlan,
    tmp_path: Path,
) -> None:
    bare = tmp_path / "bin" / "dbt"
    bare.parent.mkdir()
    bare.write_text(f'#!/bin/sh\nexec {toolchain.executable} "$@"\n')
    bare.chmod(0o755)
    other = replace(
        toolchain, executable=str(bare), read_only=(*toolchain.read_only, str(bare.parent))
    )

    outcome = runner.run(plan_of(tidy, linting(), toolchain=other), recording)

    assert "SQLFluff is not installed with dbt 1.11" in outcome.message
    assert "set run_lint to false" in outcome.message


def test_a_project_that_dbt_cannot_read_is_not_linted(
    tidy: Repository, plan_of: PlanOf, recording: Recording
) -> None:
    tidy.commit({"models/broken.sql": "select {{ nothing"})

    outcome = runner.run(plan_of(tidy, linting()), recording)

    assert "dbt ended with status 2: Compilation Error in model broken" in outcome.message
