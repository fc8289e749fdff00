"""What dbt said, in sentences; and that no file of a stranger's makes this fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobsvc.engine import results
from jobsvc.engine.results import NodeResult


def written(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "run_results.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def entry(unique_id: str, status: str, message: str | None = None) -> dict[str, str | None]:
    return {"unique_id": unique_id, "status": status, "message": message}


def test_every_entry_is_read(tmp_path) -> None:
    file = written(
        tmp_path,
        {"results": [entry("model.shop.a", "success", "OK"), entry("test.shop.b", "fail")]},
    )

    assert results.read_results(file) == [
        NodeResult("model.shop.a", "success", "OK"),
        NodeResult("test.shop.b", "fail", ""),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"results": 3}',
        '{"results": [1, "x", null]}',
        "[" * 200_000,
        '{"results": "\\ud800"}',
    ],
)
def test_a_file_of_another_shape_has_no_entries(tmp_path, content) -> None:
    assert results.read_results(written(tmp_path, content)) == []


def test_a_missing_or_huge_file_has_no_entries(tmp_path) -> None:
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(results.LARGEST + 1)

    assert results.read_results(tmp_path / "nowhere.json") == []
    assert results.read_results(huge) == []


def test_a_failed_node_is_named_with_the_warehouses_words() -> None:
    message = (
        "Database Error in model orders (models/orders.sql)\n"
        '  Binder Error: Referenced column "nope" not found\n'
        "  LINE 12: select nope"
    )
    found = [NodeResult("model.shop.orders", "error", message), NodeResult("x", "skipped", "")]

    assert results.failed_nodes(found) == (
        "1 node failed: model.shop.orders (Database Error in model orders (models/orders.sql): "
        'Binder Error: Referenced column "nope" not found)'
    )


def test_many_failed_nodes_are_counted() -> None:
    found = [NodeResult(f"test.shop.t{number}", "fail", "") for number in range(7)]

    sentence = results.failed_nodes(found)

    assert sentence.startswith("7 nodes failed: test.shop.t0 (fail); ")
    assert sentence.endswith("test.shop.t4 (fail); and 2 more")


def test_a_stale_source_is_named_with_its_time(tmp_path) -> None:
    file = written(
        tmp_path,
        {
            "results": [
                {
                    "unique_id": "source.shop.raw.t",
                    "status": "error",
                    "max_loaded_at": "2020-01-01T00:00:00+00:00",
                },
                {"unique_id": "source.shop.raw.u", "status": "runtime error", "error": "no table"},
            ]
        },
    )

    assert results.failed_nodes(results.read_results(file)) == (
        "2 nodes failed: source.shop.raw.t (last loaded at 2020-01-01T00:00:00+00:00); "
        "source.shop.raw.u (no table)"
    )


def test_warnings_and_skipped_nodes_are_no_failures() -> None:
    found = [NodeResult("a", status, "") for status in ("warn", "skipped", "pass", "success")]

    assert results.failed_nodes(found) == ""


NOTHING = """\
09:14:51  Found 2 models, 2 data tests
09:14:51  The selection criterion 'tag:none' does not match any enabled nodes
09:14:51  Nothing to do. Try checking your model configs and model specification args
"""


def test_a_selection_of_nothing_says_which() -> None:
    assert results.nothing_to_do(NOTHING) == (
        "Nothing to do: The selection criterion 'tag:none' does not match any enabled nodes."
    )
    assert results.nothing_to_do("09:14:51  Done. PASS=1") == ""


@pytest.mark.parametrize(
    ("console", "words"),
    [
        (
            "09:15:01  Running with dbt=1.11.16\n"
            "09:15:01  \x1b[31mEncountered an error:\x1b[0m\n"
            "Runtime Error\n"
            "  The profile 'jobsvc' does not have a target named 'zzz'.\n",
            "Runtime Error The profile 'jobsvc' does not have a target named 'zzz'.",
        ),
        (
            "Usage: dbt build [OPTIONS]\nTry 'dbt build --help' for help.\n\n"
            "Error: No such option '--nope'.\n",
            "Error: No such option '--nope'.",
        ),
        ("a\nb\nc\nd\n", "b c d"),
        ("", ""),
    ],
)
def test_the_last_words_are_those_about_the_error(console, words) -> None:
    assert results.last_words(console) == words


def test_last_words_have_an_end() -> None:
    assert len(results.last_words("x" * 5000)) == results.LONGEST
