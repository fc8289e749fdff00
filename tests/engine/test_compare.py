"""Compare changes: what a pull request built against production, counted by real warehouses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobsvc.engine import compare, runner
from jobsvc.engine.plan import (
    ComparePlan,
    OnFailure,
    RunPlan,
    StatePlan,
    StepKind,
    StepPlan,
    ToolchainPlan,
)
from jobsvc.engine.ports import Ending
from tests.engine.conftest import PROJECT, Recording, Repository, plans_below, state_of
from tests.installation import postgres_database

pytestmark = pytest.mark.xdist_group("comparing")  # production is built once a warehouse

FLAGS = "--select state:modified"
COMPARE = StepPlan(
    index=0, name="Compare changes", kind=StepKind.COMPARE, on_failure=OnFailure.WARN
)

# A value of every row that must stay in the warehouse.
PLANTED = "planted-7f3a"

WIDE = 800  # columns of one model: two such sides and the keys are what PostgreSQL can join
AS_VIEW = "{{ config(materialized='view') }} "

# What hangs on no database's ways is shown on one.
ON_DUCKDB = pytest.mark.parametrize("output", ["duckdb"], indirect=True, scope="module")


def rows(*values: str) -> str:
    """A query of these rows, each a list of select's items."""
    return "\nunion all ".join(f"select {value}" for value in values)


def wide(last: int) -> str:
    """One row of many columns, the last of them with this value."""
    return rows(", ".join(["1 as id", *(f"{n} as c{n}" for n in range(WIDE - 2)), f"{last} as z"]))


# Each model as production has it, and as the pull request has it.
MODELS: dict[str, tuple[str | None, str | None]] = {
    "prices": (
        rows(
            f"1 as id, 100 as price, '{PLANTED}' as note",
            *(f"{n}, {n} * 10, '{PLANTED}'" for n in range(2, 7)),
        ),
        rows(
            f"1 as id, 101 as price, '{PLANTED}' as note",
            f"2, 21, '{PLANTED}'",
            *(f"{n}, {n} * 10, '{PLANTED}'" for n in (3, 4, 5, 7, 8)),
            f"9, 90, '{PLANTED}-new'",
        ),
    ),
    "same": (rows("1 as id, 2 as b"), "-- said anew\n" + rows("1 as id, 2 as b")),
    "keyless": (rows("1 as a", "1"), rows("1 as a", "1", "1")),
    "keyless_alike": (rows("1 as a", "2"), rows("2 as a", "1")),
    "pairs": (
        rows("1 as a, 1 as b, 5 as n", "1, 2, 5", "2, 1, 5"),
        rows("1 as a, 1 as b, 5 as n", "1, 2, 6", "2, 2, 5"),
    ),
    "constrained": (
        rows("cast(1 as integer) as a, cast(1 as integer) as b, cast(5 as integer) as n"),
        rows("cast(1 as integer) as a, cast(1 as integer) as b, cast(6 as integer) as n"),
    ),
    "doubled": (rows("1 as id, 5 as n", "2, 5"), rows("1 as id, 5 as n", "1, 6")),
    "unknown": (rows("1 as id, 5 as n"), rows("1 as id, 5 as n", "cast(null as integer), 5")),
    "nullable": (
        rows("1 as id, cast(null as integer) as n", "2, 2", "3, cast(null as integer)"),
        rows("1 as id, 1 as n", "2, cast(null as integer)", "3, cast(null as integer)"),
    ),
    "fractions": (
        rows("1 as id, cast(0.3 as double precision) as f, cast(1.1 as numeric(9, 2)) as d"),
        rows(
            "1 as id, cast(0.1 as double precision) + cast(0.2 as double precision) as f, "
            "cast(1.10 as numeric(9, 2)) as d"
        ),
    ),
    "retyped": (
        rows("1 as id, cast(1 as integer) as wider, cast(7 as integer) as other", "2, 2, 7"),
        rows("1 as id, cast(1 as bigint) as wider, cast('7' as varchar(9)) as other", "2, 3, '7'"),
    ),
    "key_retyped": (rows("1 as id"), rows("'1' as id")),
    "renamed": (rows("1 as id, 5 as n"), rows("1 as id, 5 as number_of")),
    "reordered": (rows("1 as id, 5 as a, 6 as b"), rows("1 as id, 6 as b, 5 as a")),
    "documents": (
        rows("""1 as id, cast('{"a": 1}' as json) as doc"""),
        rows("""1 as id, cast('{"a": 2}' as json) as doc"""),
    ),
    "hostile": (
        rows('1 as "Order Id", 1 as "a ""b"" c", 2 as "select", 3 as "it\'s; --"'),
        rows('1 as "Order Id", 2 as "a ""b"" c", 3 as "select", 4 as "it\'s; --"'),
    ),
    "nobody": (rows("1 as id") + " where 1 = 0", "-- still\n" + rows("1 as id") + " where 1 = 0"),
    "fresh": (None, rows("1 as id", "2")),
    "gone": (rows("1 as id"), None),
    "inlined": ("{{ config(materialized='ephemeral') }} select 1 as id", "select 1 as id"),
    "words": (rows(f"'{PLANTED}' as word"), rows(f"'{PLANTED}' as word")),
    "unreadable": (
        AS_VIEW + "select cast(word as integer) as id from {{ ref('words') }}",
        rows("1 as id"),
    ),
    "viewed": (AS_VIEW + rows("1 as id"), AS_VIEW + rows("2 as id")),
    "wide": (wide(1), wide(2)),
    "untouched": (rows("1 as id"), rows("1 as id")),
}

PROPERTIES = """\
models:
{unique}
  - name: pairs
    data_tests:
      - unique_combination_of_columns: {{combination_of_columns: [a, b]}}
  - name: constrained
    config: {{contract: {{enforced: true}}}}
    constraints: [{{type: primary_key, columns: [a, b]}}]
    columns:
      - {{name: a, data_type: integer}}
      - {{name: b, data_type: integer}}
      - {{name: n, data_type: integer}}
  - name: hostile
    config: {{alias: Hostile Model}}
    columns:
      - {{name: Order Id, quote: true, data_tests: [unique]}}
seeds:
  - name: towns
    columns: [{{name: id, data_tests: [unique, not_null]}}]
"""
UNIQUE = """\
  - name: {name}
    columns: [{{name: ID, data_tests: [unique]}}]"""
KEYED = {
    *("prices", "same", "doubled", "unknown", "nullable", "fractions", "retyped", "key_retyped"),
    *("renamed", "reordered", "documents", "nobody", "fresh", "unreadable"),
    *("viewed", "wide"),
}
COMBINATION = """\
{% test unique_combination_of_columns(model, combination_of_columns) %}
select 1 from {{ model }} group by {{ combination_of_columns | join(', ') }} having count(*) > 1
{% endtest %}
"""


def project(side: int) -> dict[str, str]:
    """The files as production (0) or as the pull request (1) has them."""
    there = {name: sides[side] for name, sides in MODELS.items()}
    keyed = [name for name in sorted(KEYED) if there[name] is not None]
    files = {f"models/{name}.sql": text for name, text in there.items() if text is not None}
    files["models/models.yml"] = PROPERTIES.format(
        unique="\n".join(UNIQUE.format(name=name) for name in keyed)
    )
    files["macros/combination.sql"] = COMBINATION
    files["seeds/towns.csv"] = ["id,town\n1,Weir\n2,Elin\n", "id,town\n1,Weir\n2,Port Elin\n"][side]
    return {"dbt_project.yml": PROJECT, **files}


@dataclass
class Place:
    """Production, built, and a pull request of the same repository."""

    repository: Repository
    state: StatePlan
    plan: Callable[..., RunPlan]
    below: Path

    def pull_request(self, *steps: str | StepPlan, **changes: Any) -> Recording:
        """What a run says that builds with ``steps`` and then compares."""
        recording = Recording()
        number = changes.pop("number")
        copy = self.below / f"state-of-{number}"
        copy.mkdir()
        for file in Path(self.state.directory).iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        asked = {"flags": FLAGS, **changes.pop("compare", {})}
        plan = self.plan(
            *(steps or ("dbt seed", "dbt run")),
            COMPARE,
            schema="pr",
            run_id=number,
            state=StatePlan(directory=str(copy), sentence=self.state.sentence),
            compare=ComparePlan(**asked),
            **changes,
        )
        outcome = runner.run(plan, recording)
        assert outcome.ending is Ending.SUCCESS, outcome.message
        return recording


def last(recording: Recording) -> int:
    return recording.ends[-1].index


def artifact(recording: Recording) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(recording.artifact(last(recording), compare.ARTIFACT))
    return found


def models(recording: Recording) -> dict[str, dict[str, Any]]:
    """By the last part of their ids."""
    return {model["unique_id"].rpartition(".")[2]: model for model in artifact(recording)["models"]}


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def output(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """An empty warehouse: a profile's output, and what a sandbox grants for it."""
    if request.param == "duckdb":
        place = tmp_path_factory.mktemp("warehouse")
        yield (
            {"type": "duckdb", "path": str(place / "shop.duckdb"), "threads": 4},
            {"read_write": (str(place),)},
        )
        return
    with postgres_database() as address:
        parts = urlsplit(address)
        port = parts.port or 5432
        yield (
            {
                **{"type": "postgres", "host": parts.hostname, "port": port, "threads": 4},
                **{"user": parts.username, "password": parts.password or "trusted-anyway"},
                "dbname": parts.path.lstrip("/"),
            },
            {"ports": (port,)},
        )


@pytest.fixture(scope="module")
def place(
    output: tuple[dict[str, Any], dict[str, Any]],
    toolchain: ToolchainPlan,
    tmp_path_factory: pytest.TempPathFactory,
) -> Place:
    below = tmp_path_factory.mktemp("shop")
    repository = Repository(below)
    plan_of = plans_below(below, toolchain)
    fields, sandbox = output
    (below / "scripts").mkdir()
    sandbox = {**sandbox, "read_only": (str(below / "scripts"),)}

    def plan(*steps: str | StepPlan, schema: str, **changes: Any) -> RunPlan:
        profile = {"output": {**fields, "schema": schema}}
        return plan_of(repository, *steps, profile=profile, sandbox=sandbox, **changes)

    repository.commit(project(0))
    recording = Recording()
    outcome = runner.run(plan("dbt seed", "dbt run", schema="prod", run_id=1), recording)
    assert outcome.ending is Ending.SUCCESS, outcome.message
    state = state_of(recording, below / "state", 1)
    repository.git("rm", "-q", "models/gone.sql")
    repository.commit(project(1))
    return Place(repository, state, plan, below)


@pytest.fixture(scope="module")
def compared(place: Place) -> Recording:
    return place.pull_request(number=2)


@pytest.fixture(scope="module")
def found(compared: Recording) -> dict[str, dict[str, Any]]:
    return models(compared)


# --- What is found --------------------------------------------------------------------------------


def counts(model: dict[str, Any]) -> tuple[int | None, ...]:
    """Rows before, after, added, removed, changed."""
    return tuple(model["rows"].values())


def test_rows_added_removed_and_changed_are_counted_by_key(found) -> None:
    model = found["prices"]

    assert (model["status"], model["primary_key"]) == ("changed", ["id"])
    assert counts(model) == (6, 8, 3, 1, 2)
    assert model["changed_columns"] == {"price": 2}


def test_the_same_rows_of_other_sql_are_identical(found) -> None:
    assert (found["same"]["status"], counts(found["same"])) == ("identical", (1, 1, 0, 0, 0))
    assert (found["nobody"]["status"], counts(found["nobody"])) == ("identical", (0, 0, 0, 0, 0))
    assert found["reordered"]["status"] == "identical"


def test_without_a_key_rows_are_counted_and_no_more(found) -> None:
    model = found["keyless"]

    assert (model["status"], model["primary_key"]) == ("changed", [])
    assert counts(model) == (2, 3, None, None, None)
    assert "neither a constraint nor a unique test" in model["message"]
    assert found["keyless_alike"]["status"] == "no_primary_key"


@pytest.mark.parametrize("name", ["pairs", "constrained"])
def test_a_key_may_be_several_columns(found, name: str) -> None:
    assert found[name]["primary_key"] == ["a", "b"]
    assert found[name]["changed_columns"] == {"n": 1}


def test_rows_with_half_a_key_in_common_are_others(found) -> None:
    assert counts(found["pairs"]) == (3, 3, 1, 1, 1)


def test_a_key_that_stands_in_two_rows_is_told_and_nothing_wrong_is_counted(found) -> None:
    model = found["doubled"]

    assert (model["status"], counts(model)) == ("bad_primary_key", (2, 2, None, None, None))
    assert "id is no key of all rows (after, 1 key in more than one row)" in model["message"]


def test_a_key_that_is_null_is_told(found) -> None:
    assert counts(found["unknown"]) == (1, 2, None, None, None)
    assert "(after, no key in 1 row)" in found["unknown"]["message"]


def test_a_value_in_the_place_of_null_is_a_change_and_null_for_null_is_none(found) -> None:
    assert counts(found["nullable"]) == (3, 3, 0, 0, 2)


def test_numbers_are_compared_to_the_last_digit(found) -> None:
    assert found["fractions"]["changed_columns"] == {"f": 1}


def test_a_retyped_column_is_named_and_compared_where_both_types_are_numbers(found) -> None:
    model = found["retyped"]

    retyped = {column["name"]: column for column in model["columns"]["retyped"]}
    assert list(retyped) == ["wider", "other"]
    assert [retyped["wider"][side].lower() for side in ("before", "after")] == ["integer", "bigint"]
    assert retyped["other"]["after"].lower() in {"varchar", "character varying"}
    assert model["changed_columns"] == {"wider": 1}
    assert model["not_compared"] == ["other"]


def test_rows_are_not_matched_by_a_key_of_another_type(found) -> None:
    assert counts(found["key_retyped"]) == (1, 1, None, None, None)
    assert "no row can be matched" in found["key_retyped"]["message"]


def test_a_renamed_column_is_one_added_and_one_removed(found) -> None:
    columns = found["renamed"]["columns"]

    assert [column["name"] for column in columns["added"]] == ["number_of"]
    assert [column["name"] for column in columns["removed"]] == ["n"]
    assert found["renamed"]["status"] == "changed"


def test_documents_are_compared_as_text(found) -> None:
    assert found["documents"]["changed_columns"] == {"doc": 1}


def test_names_may_hold_what_sql_has_a_meaning_for(found) -> None:
    model = found["hostile"]

    assert model["primary_key"] == ["Order Id"]
    assert model["changed_columns"] == {'a "b" c': 1, "select": 1, "it's; --": 1}


def test_a_view_is_compared_like_a_table(found) -> None:
    assert counts(found["viewed"]) == (1, 1, 1, 1, 0)


def test_a_model_may_have_hundreds_of_columns(found) -> None:
    assert found["wide"]["message"] == ""
    assert found["wide"]["changed_columns"] == {"z": 1}


def test_a_seed_is_compared_like_a_model(found) -> None:
    assert found["towns"]["changed_columns"] == {"town": 1}


def test_models_without_a_relation_before_are_new_and_those_without_one_after_removed(
    found,
) -> None:
    assert (found["fresh"]["status"], counts(found["fresh"])[:2]) == ("new", (None, 2))
    assert found["inlined"]["status"] == "new"
    assert (found["gone"]["status"], found["gone"]["after"]) == ("removed", None)


def test_what_did_not_change_is_not_compared(found) -> None:
    assert not {"untouched", "words"} & set(found)


def test_one_model_that_cannot_be_read_is_told_and_the_others_go_on(found, compared) -> None:
    assert found["unreadable"]["status"] == "error"
    assert "INT" in found["unreadable"]["message"].upper()
    assert compared.end(last(compared)).has_warnings
    assert compared.end(last(compared)).ending is Ending.SUCCESS


def test_no_value_leaves_the_warehouse(compared) -> None:
    step = last(compared)

    assert compared.artifacts(step) == [compare.ARTIFACT]
    said = compared.console(step) + compared.artifact(step, compare.ARTIFACT).decode()
    assert PLANTED not in said
    assert PLANTED not in compared.end(step).message


def test_the_log_is_a_table_that_people_can_read(compared) -> None:
    lines = compared.console(last(compared)).splitlines()

    row = next(line for line in lines if line.startswith("model.shop.prices "))
    assert row.split() == ["model.shop.prices", "changed", "6", "8", "3", "1", "2"]
    assert lines[lines.index(row) + 1].strip() == "rows changed by column: price in 2"
    assert lines[-1] == (
        "Compared 24 models: 15 changed, 2 new, 1 removed, 1 no primary key, "
        "1 bad primary key, 1 error, 3 identical."
    )


def test_the_artifact_says_what_it_is(compared) -> None:
    about = artifact(compared)

    assert (about["schema_version"], about["flags"], about["holds_rows"]) == (1, FLAGS, False)
    assert about["compared_with"] == "Deferring to run 1."
    assert about["summary"]["changed"] == 15
    assert sum(about["summary"].values()) == len(about["models"])


# --- What is asked --------------------------------------------------------------------------------


def test_rows_that_differ_are_kept_where_the_job_asks_for_it(place: Place) -> None:
    recording = place.pull_request(
        number=3, compare={"flags": "--select prices pairs", "keep_rows": True}
    )

    assert artifact(recording)["holds_rows"]
    prices = models(recording)["prices"]["sample"]
    assert [(row["kind"], row["key"]["id"]) for row in prices] == [
        *(("changed", "1"), ("changed", "2"), ("removed", "6")),
        *(("added", "7"), ("added", "8"), ("added", "9")),
    ]
    assert prices[0]["values"] == {"price": ["100", "101"]}
    assert prices[2]["values"] == {}
    assert "holds values of rows" in recording.console(last(recording))
    assert PLANTED not in recording.console(last(recording))


def test_of_the_rows_that_differ_no_more_than_a_hundred_are_kept(place: Place) -> None:
    place.repository.commit(
        {"models/prices.sql": rows(*(f"{n} as id, {n} as price, 'x' as note" for n in range(250)))}
    )
    recording = place.pull_request(
        *("dbt run --select prices",),
        number=4,
        compare={"flags": "--select prices", "keep_rows": True},
    )
    place.repository.commit(project(1))

    assert models(recording)["prices"]["rows"]["added"] > 200
    assert len(models(recording)["prices"]["sample"]) == 100


@ON_DUCKDB
def test_only_models_that_this_run_built_are_compared(place: Place) -> None:
    recording = place.pull_request("dbt run --select prices same", number=5)

    compared = {name for name, model in models(recording).items() if model["status"] != "removed"}
    assert compared == {"prices", "same"}


@ON_DUCKDB
def test_the_flags_choose_what_is_compared(place: Place) -> None:
    recording = place.pull_request(
        *("dbt run --select prices same pairs",),
        number=6,
        compare={"flags": "--select state:modified --exclude pairs"},
    )

    assert {"prices", "same"} <= set(models(recording))
    assert "pairs" not in models(recording)


@ON_DUCKDB
def test_flags_that_do_more_than_select_end_the_step_and_not_the_run(place: Place) -> None:
    recording = place.pull_request(
        *("dbt run --select same",), number=7, compare={"flags": "--select same --target prod"}
    )

    end = recording.end(last(recording))
    assert end.ending is Ending.ERROR
    assert "--target does more than select" in end.message


@ON_DUCKDB
def test_a_selection_that_dbt_refuses_ends_the_step_in_its_words(place: Place) -> None:
    recording = place.pull_request(
        *("dbt run --select same",), number=8, compare={"flags": "--selector nobodys"}
    )

    end = recording.end(last(recording))
    assert end.ending is Ending.ERROR
    assert "nobodys" in end.message


def test_a_model_that_takes_too_long_is_given_up_and_the_others_are_compared(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "MODEL_SECONDS", 5)
    series = "generate_series(1, 100000)"
    endless = (
        "{{ config(materialized='view') }} select count(*) as id "
        f"from {series} as a cross join {series} as b cross join {series} as c"
    )
    place.repository.commit({"models/keyless.sql": endless})

    recording = place.pull_request("dbt run --select keyless prices", number=9)

    place.repository.commit(project(1))
    assert models(recording)["keyless"]["message"] == "It took longer than 5 seconds."
    assert models(recording)["prices"]["status"] == "changed"


@ON_DUCKDB
def test_where_little_of_the_runs_time_is_left_nothing_is_compared_and_the_run_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "SPARE_SECONDS", 9_000)

    recording = place.pull_request("dbt run --select prices", number=10, timeout_seconds=8_000)

    end = recording.end(last(recording))
    assert end.ending is Ending.ERROR
    assert "Too little of the run's time is left" in end.message


@ON_DUCKDB
def test_models_whose_turn_comes_too_late_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "ALL_SECONDS", 0)

    recording = place.pull_request("dbt run --select prices", number=20)

    assert recording.end(last(recording)).ending is Ending.SUCCESS
    assert "time for comparing was over" in models(recording)["prices"]["message"]


@ON_DUCKDB
def test_a_run_that_defers_to_nothing_has_nothing_to_compare_with(place: Place) -> None:
    recording = Recording()
    plan = place.plan(
        *("dbt run --select same", COMPARE),
        **{"schema": "pr", "run_id": 11, "compare": ComparePlan(flags=FLAGS)},
    )

    outcome = runner.run(plan, recording)

    assert outcome.ending is Ending.SUCCESS
    assert recording.end(4).message == "Nothing to compare with."
    assert artifact(recording)["models"] == []


@ON_DUCKDB
def test_a_run_without_a_state_says_why_there_is_nothing_to_compare_with(place: Place) -> None:
    recording = Recording()
    plan = place.plan(
        *("dbt run --select same", COMPARE),
        schema="pr",
        run_id=12,
        state=StatePlan(directory="", sentence="Production never ran."),
        compare=ComparePlan(flags=FLAGS),
    )

    runner.run(plan, recording)

    assert recording.end(4).ending is Ending.SUCCESS
    assert recording.end(4).message == "Nothing to compare with. Production never ran."


@ON_DUCKDB
def test_a_model_built_over_the_one_deferred_to_is_not_called_identical(place: Place) -> None:
    recording = Recording()
    copy = place.below / "state-of-13"
    copy.mkdir()
    for file in Path(place.state.directory).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    plan = place.plan(
        *("dbt run --select nobody", COMPARE),
        schema="prod",
        run_id=13,
        state=StatePlan(directory=str(copy), sentence="Deferring."),
        compare=ComparePlan(flags=FLAGS),
    )

    runner.run(plan, recording)

    assert models(recording)["nobody"]["status"] == "error"
    assert "built in place of the one" in models(recording)["nobody"]["message"]


@ON_DUCKDB
def test_the_project_is_read_with_the_variables_that_it_was_built_with(place: Place) -> None:
    place.repository.commit({"models/same.sql": "select {{ var('needed') }} as id, 2 as b"})

    recording = place.pull_request("dbt run --select same --vars '{needed: 1}'", number=14)

    place.repository.commit(project(1))
    assert models(recording)["same"]["status"] == "identical"


# --- What a stranger's process says ---------------------------------------------------------------


def saying(place: Place, monkeypatch: pytest.MonkeyPatch, number: int, script: str) -> Recording:
    """A run whose comparing program is ``script``."""
    file = place.below / "scripts" / f"{number}.py"
    file.write_text(script)
    monkeypatch.setattr(compare, "_SCRIPT", file)
    return place.pull_request("dbt run --select same", number=number)


@ON_DUCKDB
def test_of_an_answer_only_what_belongs_there_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {
        "unique_id": "model.shop.same\x1b[31m\nforged line",
        "status": "changed",
        "message": ["no text"],
        "rows": {"before": -1, "after": "9", "added": True, "removed": 1.5, "changed": 4},
        "columns": {"added": [{"name": "x" * 5000, "type": 7, "more": 1}], "removed": "none"},
        "changed_columns": [1],
        "primary_key": {"a": 1},
        "sample": [{"kind": "added", "key": {"id": PLANTED}, "values": {}}],
        "unasked": PLANTED,
    }
    others = [{"unique_id": "model.shop.odd", "status": "excellent"}, ["no", "object"]]
    lines = [json.dumps(one) for one in (answer, *others, {"error": ""})]

    recording = saying(place, monkeypatch, 15, f"print({chr(10).join(lines)!r})")

    [model] = artifact(recording)["models"]
    assert model == {
        "unique_id": "model.shop.same\N{REPLACEMENT CHARACTER}[31m"
        "\N{REPLACEMENT CHARACTER}forged line",
        **{"status": "changed", "message": "", "before": None, "after": None},
        **{"primary_key": [], "changed_columns": {}, "not_compared": []},
        "columns": {
            "added": [{"name": "x" * 1000, "type": ""}],
            **{"removed": [], "retyped": []},
        },
        "rows": {"before": None, "after": None, "added": None, "removed": None, "changed": 4},
    }


@ON_DUCKDB
@pytest.mark.parametrize(
    ("number", "script", "said"),
    [
        (16, "raise SystemExit('no driver')", "no driver"),
        (17, 'print(\'{"error": "no such host"}\')', "no such host"),
        (18, "print('{\"error\": ')", "error"),
        (19, "", "status 0"),
    ],
)
def test_a_program_that_does_not_answer_ends_the_step_and_not_the_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int, script: str, said: str
) -> None:
    recording = saying(place, monkeypatch, number, script)

    end = recording.end(last(recording))
    assert end.ending is Ending.ERROR
    assert end.message.startswith("The warehouse could not be asked: ")
    assert said in end.message
