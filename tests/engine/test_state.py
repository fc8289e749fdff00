"""State and deferral: which flags dbt gets, where the files are, and that real dbt uses them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobsvc.engine import leftovers, runner
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.plan import OnFailure, RunPlan, StatePlan, StepKind, StepPlan
from jobsvc.engine.ports import Ending
from jobsvc.engine.state import State, can_read, in_words, manifest_version
from jobsvc.engine.workspace import Workspace
from tests.engine.conftest import Recording, Repository

PlanOf = Callable[..., RunPlan]

MODELS = {
    "models/orders.sql": "select 1 as id",
    "models/totals.sql": "select id from {{ ref('orders') }}",
}
SOURCES = """\
sources:
  - name: till
    schema: main
    tables:
      - name: orders
        config:
          loaded_at_field: loaded_at
          freshness: {warn_after: {count: 1, period: day}}
"""
SNAPSHOT = """\
snapshots:
  - name: kept
    relation: ref('orders')
    config: {unique_key: id, strategy: check, check_cols: all}
"""


def parse(text: str) -> DbtCommand:
    return DbtCommand.parse(text, index=4)


# --- Which flags --------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace whose project has state of its own in ``theirs``."""
    made = Workspace.create(tmp_path / "run-7-1")
    (made.project / "theirs").mkdir()
    (made.project / "theirs" / "manifest.json").write_text("{}")
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """State as the worker hands it over."""
    place = tmp_path / "state-7-1"
    place.mkdir()
    for name in ("manifest.json", "run_results.json"):
        (place / name).write_text(f'"the run\'s {name}"')
    return place


def effective(workspace: Workspace, plan: StatePlan | None, text: str) -> str:
    """What dbt is given for the step ``text`` of a run whose only step it is."""
    state = State(plan, workspace, workspace.project)
    state.set_up([parse(text)], lambda line: None)
    return in_words(state.arguments(parse(text)))


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        (
            "dbt build --select state:modified+",
            "dbt build --select state:modified+ --state ../state --defer",
        ),
        ("dbt run", "dbt run --state ../state --defer"),
        ("dbt test", "dbt test --state ../state --defer"),
        ("dbt seed", "dbt seed --state ../state --defer"),
        ("dbt snapshot", "dbt snapshot --state ../state --defer"),
        ("dbt compile", "dbt compile --state ../state --defer"),
        ("dbt ls -s state:new", "dbt ls -s state:new --state ../state --defer"),
        ("dbt source freshness", "dbt source freshness --state ../state --defer"),
        ("dbt docs generate", "dbt docs generate --state ../state --defer"),
        ("dbt clone", "dbt clone --state ../state --defer"),
        ("dbt deps", "dbt deps"),
        ("dbt debug", "dbt debug"),
        ("dbt parse", "dbt parse"),
        ("dbt clean", "dbt clean"),
        ("dbt run-operation tidy", "dbt run-operation tidy"),
        ("dbt build --defer", "dbt build --defer --state ../state"),
        ("dbt build --no-defer", "dbt build --no-defer --state ../state"),
        ("dbt build --state theirs", "dbt build --state theirs"),
        ("dbt build --state ./theirs --defer", "dbt build --state ./theirs --defer"),
        ("dbt build --defer-state theirs", "dbt build --defer-state theirs --state ../state"),
        ("dbt build --state prod", "dbt build --state prod"),
        ("dbt retry", "dbt retry --defer-state ../state"),
        ("dbt retry --state prod", "dbt retry --state prod --defer-state ../state"),
        ("dbt retry --defer-state theirs", "dbt retry --defer-state theirs"),
    ],
)
def test_a_command_gets_the_flags_that_it_takes_and_does_not_say(
    workspace: Workspace, bundle: Path, typed: str, given: str
) -> None:
    plan = StatePlan(directory=str(bundle), sentence="Deferring.")

    assert effective(workspace, plan, typed) == given


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("dbt build", "dbt build --state ../state --defer --favor-state"),
        ("dbt build --no-favor-state", "dbt build --no-favor-state --state ../state --defer"),
        ("dbt build --no-defer", "dbt build --no-defer --state ../state"),
        ("dbt build --defer --state ./prod", "dbt build --defer --state ./prod --favor-state"),
        ("dbt build --defer --state theirs", "dbt build --defer --state theirs"),
        ("dbt retry", "dbt retry --defer-state ../state"),
    ],
)
def test_state_is_favoured_where_the_step_defers_to_it(
    workspace: Workspace, bundle: Path, typed: str, given: str
) -> None:
    plan = StatePlan(directory=str(bundle), sentence="Deferring.", favor_state=True)

    assert effective(workspace, plan, typed) == given


@pytest.mark.parametrize(
    "typed", ["dbt build --select state:modified+", "dbt retry", "dbt run --state x --defer"]
)
def test_a_run_that_defers_to_nothing_runs_what_was_typed(workspace: Workspace, typed: str) -> None:
    assert effective(workspace, None, typed) == typed


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("dbt build --select state:modified+", "dbt build"),
        ("dbt build -s state:modified.body+ --fail-fast", "dbt build --fail-fast"),
        ("dbt build --select @state:new result:error+", "dbt build"),
        ("dbt build --select 1+source_status:fresher+3", "dbt build"),
        ("dbt build --select tag:nightly,state:modified+", "dbt build --select tag:nightly"),
        ("dbt build --select my_model state:modified", "dbt build"),
        (
            "dbt build --select a,state:new b",
            "dbt build --select a b",
        ),
        ("dbt build --models state:new", "dbt build"),
        ("dbt ls --models state:new --output name", "dbt list --output=name"),
        (
            "dbt build --select a --exclude state:modified tag:slow",
            "dbt build --select a --exclude tag:slow",
        ),
        ("dbt build --exclude state:old tag:slow,state:modified", "dbt build"),
        ("dbt test --exclude result:pass", "dbt test"),
        ("dbt build --state prod --defer --favor-state", "dbt build"),
        ("dbt build --defer-state prod --defer -s state:new", "dbt build"),
        ("dbt build --state theirs -s state:new", "dbt build --state theirs -s state:new"),
        (
            "dbt build --defer --defer-state theirs -s state:new",
            "dbt build --defer --defer-state=theirs",
        ),
        (
            """dbt build -s state:new --vars '{"a": 1}' --no-partial-parse""",
            """dbt build '--vars={"a": 1}' --no-partial-parse""",
        ),
        ("dbt build --select stateful tag:state", "dbt build --select stateful tag:state"),
        ("dbt retry", "dbt retry"),
        ("dbt deps", "dbt deps"),
    ],
)
def test_without_state_a_step_selects_as_if_everything_were_new(
    workspace: Workspace, typed: str, given: str
) -> None:
    plan = StatePlan(directory="", sentence="There is none.")

    assert effective(workspace, plan, typed) == given


@pytest.mark.parametrize(
    "typed", ["dbt build -s state:new --vars '{a: 1}' -xq -t default --threads 3 --exclude a b"]
)
def test_a_command_that_was_rewritten_is_read_alike(workspace: Workspace, typed: str) -> None:
    given = parse(effective(workspace, StatePlan(directory="", sentence="None."), typed))

    kept = {name: values for name, values in parse(typed).options.items() if name != "select"}
    assert dict(given.options) == kept


# --- Where the files are -----------------------------------------------------------------------


def set_up(workspace: Workspace, bundle: Path, *steps: str) -> list[str]:
    said: list[str] = []
    plan = StatePlan(directory=str(bundle), sentence="Deferring to run 3.")
    State(plan, workspace, workspace.project).set_up(map(parse, steps), said.append)
    return said


def test_the_files_move_out_of_the_workers_directory(workspace: Workspace, bundle: Path) -> None:
    said = set_up(workspace, bundle, "dbt build")

    assert said == ["Deferring to run 3."]
    assert list(bundle.iterdir()) == []
    assert (workspace.state / "manifest.json").read_text() == '"the run\'s manifest.json"'


def test_a_folder_that_a_step_names_is_filled_where_the_repository_lacks_it(
    workspace: Workspace, bundle: Path
) -> None:
    said = set_up(workspace, bundle, "dbt run --state ./prod-artifacts", "dbt test --state a/b")

    for name in ("prod-artifacts", "a/b"):
        manifest = workspace.project / name / "manifest.json"
        assert manifest.read_text() == '"the run\'s manifest.json"'
    assert "./prod-artifacts" in said[1]


def test_a_repositorys_own_state_stays_as_it_is(workspace: Workspace, bundle: Path) -> None:
    set_up(workspace, bundle, "dbt build --state theirs --defer-state ./theirs")

    assert [file.name for file in (workspace.project / "theirs").iterdir()] == ["manifest.json"]
    assert (workspace.project / "theirs" / "manifest.json").read_text() == "{}"


def test_a_folder_without_a_manifest_is_filled(workspace: Workspace, bundle: Path) -> None:
    (workspace.project / "prod").mkdir()
    (workspace.project / "prod" / ".gitkeep").write_text("")

    set_up(workspace, bundle, "dbt build --state prod")

    assert (workspace.project / "prod" / "run_results.json").is_file()


def test_what_a_retry_calls_state_is_never_filled(workspace: Workspace, bundle: Path) -> None:
    set_up(workspace, bundle, "dbt retry --state earlier")

    assert not (workspace.project / "earlier").exists()


@pytest.mark.parametrize("name", ["out", "out/prod", "out_file", "out_file/prod", "gone"])
def test_nothing_is_written_where_a_link_of_the_repository_leads(
    workspace: Workspace, bundle: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (workspace.project / "out").symlink_to(outside)
    (workspace.project / "out_file").write_text("not a folder")
    (workspace.project / "gone").symlink_to(tmp_path / "not-yet")

    set_up(workspace, bundle, f"dbt build --state {name}")

    assert list(outside.iterdir()) == []
    assert not (tmp_path / "not-yet").exists()
    assert (workspace.project / "out_file").read_text() == "not a folder"


def test_another_user_may_read_the_state_and_own_what_is_in_the_project(
    tmp_path: Path, bundle: Path
) -> None:
    uid = 65534
    workspace = Workspace.create(tmp_path / "run-7-1", uid=uid)

    set_up(workspace, bundle, "dbt build --state a/prod")

    found = (workspace.state / "manifest.json").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (os.getuid(), uid, 0o640)
    for given in ("a", "a/prod", "a/prod/manifest.json"):
        assert (workspace.project / given).stat().st_uid == uid


# --- Manifests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"metadata": {"dbt_schema_version": "https://x/dbt/manifest/v12.json"}}', 12),
        ('{"metadata":{"dbt_schema_version":"https://x/dbt/manifest/v20.json"}}', 20),
        ('{"metadata": {"dbt_schema_version": "https://x/dbt/run-results/v6.json"}}', None),
        ("{}", None),
        ("", None),
        ("\x00\x01", None),
    ],
)
def test_a_manifest_says_which_schema_it_has(text: str, version: int | None) -> None:
    assert manifest_version(io.BytesIO(text.encode())) == version


@pytest.mark.parametrize(
    ("dbt", "schema", "readable"),
    [
        ("1.11.16", 12, True),
        ("1.9.4", 12, True),
        ("1.11.16", 4, True),
        ("1.11.16", 3, False),
        ("1.11.16", 20, False),
        ("2.0.1", 20, True),
    ],
)
def test_a_dbt_reads_the_schemas_that_it_knows(dbt: str, schema: int, readable: bool) -> None:
    assert can_read(dbt, schema) is readable


# --- Real dbt ----------------------------------------------------------------------------------


def step(command: str, **changes: Any) -> StepPlan:
    return StepPlan(
        **{
            "index": 0,
            "name": f"Invoke dbt with `{command}`",
            "kind": StepKind.COMMAND,
            "command": command,
            **changes,
        }
    )


def built(recording: Recording, index: int) -> list[str]:
    """Names of the nodes that step ``index`` has results of."""
    results = json.loads(recording.artifact(index, "run_results.json"))["results"]
    return sorted(result["unique_id"].rpartition(".")[2] for result in results)


def compiled(recording: Recording, index: int, model: str) -> str:
    return recording.artifact(index, f"compiled/shop/models/{model}.sql").decode()


@pytest.mark.parametrize("command", ["dbt build", "dbt build --state ./prod-artifacts --defer"])
def test_a_changed_model_alone_is_built_on_productions_others(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
    command: str,
) -> None:
    shop.commit(MODELS)
    state = production()
    shop.commit({"models/totals.sql": "select id, 2 as more from {{ ref('orders') }}"})

    outcome = runner.run(pull_request(state, f"{command} --select state:modified+"), recording)

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert built(recording, 3) == ["totals"]
    assert '"main"."orders"' in compiled(recording, 3, "totals")
    assert state.sentence in recording.console(2)
    assert recording.end(3).effective_command in recording.console(3)


def test_the_target_directory_is_never_what_is_compared_with(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
) -> None:
    shop.commit(MODELS)
    state = production()
    shop.commit({"models/totals.sql": "select id, 2 as more from {{ ref('orders') }}"})

    runner.run(
        pull_request(
            state,
            "dbt parse",
            "dbt build --defer --select state:modified+ --state target",
            "dbt build --defer --select state:modified+ --state ./target",
        ),
        recording,
    )

    assert built(recording, 4) == built(recording, 5) == ["totals"]


@pytest.mark.parametrize(("favor_state", "schema"), [(False, "pr"), (True, "main")])
def test_a_stale_relation_wins_unless_state_is_favoured(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    favor_state: bool,
    schema: str,
) -> None:
    shop.commit(MODELS)
    state = production(favor_state=favor_state)
    runner.run(pull_request(None, "dbt run --select orders"), Recording())
    shop.commit({"models/totals.sql": "select id, 2 as more from {{ ref('orders') }}"})

    recording = Recording()
    runner.run(pull_request(state, "dbt run --select state:modified", run_id=8), recording)

    assert f'"{schema}"."orders"' in compiled(recording, 3, "totals")


def test_a_retry_never_takes_productions_results_for_its_own(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
) -> None:
    shop.commit(MODELS)
    state = production()
    shop.commit({"models/totals.sql": "select nope from {{ ref('orders') }}"})
    build = step("dbt build --select state:modified+", on_failure=OnFailure.CONTINUE)

    runner.run(pull_request(state, build, step("dbt retry")), recording)

    assert recording.endings()[2:] == [Ending.ERROR, Ending.ERROR]
    assert built(recording, 4) == ["totals"]
    assert recording.end(4).effective_command == "dbt retry --defer-state ../state"


def test_a_run_that_retries_another_defers_to_its_own_copy_of_the_state(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    tmp_path: Path,
) -> None:
    shop.commit(MODELS)
    state, again = production(), production()
    shop.commit({"models/totals.sql": "select nope from {{ ref('orders') }}"})
    failed = Recording()
    runner.run(pull_request(state, "dbt build --select state:modified+"), failed)
    results = tmp_path / "run_results.json"
    results.write_bytes(failed.artifact(3, "run_results.json"))
    shop.commit({"models/totals.sql": "select id, 3 as more from {{ ref('orders') }}"})
    leftovers.remove_tree(tmp_path / "workspaces" / "run-7-1")

    retried = Recording()
    build = step("dbt build --select state:modified+", resume_from=str(results))
    outcome = runner.run(pull_request(again, build, run_id=8), retried)

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert built(retried, 3) == ["totals"]
    assert '"main"."orders"' in compiled(retried, 3, "totals")
    assert retried.end(3).effective_command == "dbt retry --defer-state ../state"


COMMANDS = [
    "dbt source freshness",
    "dbt seed",
    "dbt run",
    "dbt snapshot",
    "dbt test",
    "dbt build",
    "dbt compile",
    "dbt ls",
    "dbt show --select orders",
    "dbt docs generate",
    "dbt clone --full-refresh",
]


def test_every_command_that_gets_flags_takes_them(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
) -> None:
    shop.commit(
        {
            "models/orders.sql": "select 1 as id, current_timestamp as loaded_at",
            "models/sources.yml": SOURCES,
            "seeds/rates.csv": "id,rate\n1,2\n",
            "snapshots/kept.yml": SNAPSHOT,
            "tests/one.sql": "select 1 as id where false",
        }
    )
    state = production(favor_state=True)

    outcome = runner.run(pull_request(state, *COMMANDS), recording)

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert all("--state ../state --defer" in end.effective_command for end in recording.ends[2:])


def test_results_of_the_state_can_be_selected(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
) -> None:
    shop.commit(MODELS)
    state = production("dbt build --select totals+ orders")

    runner.run(pull_request(state, "dbt ls --select result:success --output name"), recording)

    assert {"orders", "totals"} <= set(recording.console(3).split())


def test_sources_that_became_fresher_can_be_selected_by_a_later_step(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
) -> None:
    loaded = "select 1 as id, cast('{}' as timestamp) as loaded_at"
    shop.commit(
        {
            "models/orders.sql": loaded.format("2020-01-01"),
            "models/sources.yml": SOURCES,
            "models/from_till.sql": "select id from {{ source('till', 'orders') }}",
        }
    )
    state = production("dbt run --select orders", "dbt source freshness")
    shop.commit({"models/orders.sql": loaded.format("2021-01-01")})
    production("dbt run --select orders")

    outcome = runner.run(
        pull_request(
            state,
            "dbt source freshness",
            "dbt run --select source_status:fresher+",
            "dbt ls --select source_status:fresher+ --output name",
        ),
        recording,
    )

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert built(recording, 4) == ["from_till"]
    assert "sources.json" in recording.artifacts(3)
    assert "sources.json" not in recording.artifacts(4)


def test_without_state_everything_is_built_and_the_log_says_so(
    shop: Repository, pull_request: Callable[..., RunPlan], recording: Recording
) -> None:
    shop.commit(MODELS)
    state = StatePlan(directory="", sentence="There is nothing to compare with.")

    outcome = runner.run(
        pull_request(state, "dbt build --defer --state prod --select state:modified+"), recording
    )

    assert outcome.ending is Ending.SUCCESS, outcome.message
    assert built(recording, 3) == ["orders", "totals"]
    assert "There is nothing to compare with." in recording.console(2)
    assert "Running `dbt build`." in recording.console(3)
    assert recording.end(3).effective_command == "dbt build"


def test_a_projects_code_cannot_change_the_state(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
) -> None:
    state = production()
    shop.commit(
        {
            "models/orders.sql": "{% do run_query(\"copy (select 1) to '../state/x.csv'\") %}"
            "select 1 as id, 2 as more"
        }
    )

    outcome = runner.run(pull_request(state, "dbt run"), recording)

    assert outcome.ending is Ending.ERROR
    assert "x.csv" in recording.console(3)


def test_no_step_finds_state_or_deferral_in_its_environment(
    shop: Repository,
    production: Callable[..., StatePlan],
    pull_request: Callable[..., RunPlan],
    recording: Recording,
) -> None:
    state = production()
    names = [
        f"{prefix}{name}"
        for prefix in ("DBT_", "DBT_ENGINE_")
        for name in ("STATE", "DEFER", "DEFER_STATE", "FAVOR_STATE", "ARTIFACT_STATE_PATH")
    ]
    values = " ".join(f"{{{{ env_var('{name}', 'unset') }}}}" for name in names)
    shop.commit({"models/orders.sql": f"select '{values}' as found"})

    runner.run(pull_request(state, "dbt run --select state:modified"), recording)

    assert compiled(recording, 3, "orders") == f"select '{' '.join(['unset'] * 10)}' as found"


def test_only_what_was_changed_is_told_as_effective(
    shop: Repository, production: Callable[..., StatePlan], pull_request: Callable[..., RunPlan]
) -> None:
    state, recording = production(), Recording()

    runner.run(pull_request(state, "dbt deps", "dbt parse", "dbt compile"), recording)

    effective = [end.effective_command for end in recording.ends]
    assert effective == ["", "", "", "", "dbt compile --state ../state --defer"]
