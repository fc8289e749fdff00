"""Compare changes: what a pull request built against what it deferred to.

dbt says which models are meant, a script inside the sandbox counts in the warehouse
(``jobsvc/engine/inside/compare.py``), and what it says is read here as a stranger's words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobsvc.engine.aside import Aside, AsideEnd, Found
from jobsvc.engine.commands import DbtCommand, read_selection
from jobsvc.engine.errors import CommandRejected
from jobsvc.engine.listing import READS, listed, nodes_of
from jobsvc.engine.ports import Ending
from jobsvc.engine.results import last_words
from jobsvc.engine.state import MANIFEST

ARTIFACT = "compare_changes.json"
SCHEMA_VERSION = 1

MODEL_SECONDS = 300  # for the queries of one model
ALL_SECONDS = 3600  # for all of them
SPARE_SECONDS = 30  # of the run's own limit, for what comes after

# In the order in which people want to read of them.
STATUSES = (
    "changed",  # a difference is known
    "new",  # nothing was there to compare with
    "removed",  # the project has it no more
    "no_primary_key",  # nothing differs as far as it could be told without one
    "bad_primary_key",  # the same, where there is one that tells no rows apart
    "error",
    "identical",  # every row and column is the same
)

LONGEST_NAME = 1000  # characters
LONGEST_VALUE = 200
MOST_COLUMNS = 5000
MOST_ROWS = 100

_SCRIPT = Path(__file__).with_name("inside") / "compare.py"


class _Failed(Exception):
    """There is no comparison. ``str(error)`` is what happened and what to do."""


def compare(aside: Aside) -> Found:
    """Compare each selected model that the run built with the one that the run deferred to.

    An artifact says what was found. A model of which nothing could be found is a warning.
    """
    state, asked = aside.plan.state, aside.plan.compare
    before = aside.state.manifest
    if state is None or asked is None or before is None:
        note = "Nothing to compare with."
        note = f"{note} {state.sentence}" if state is not None else note
        aside.say(note)
        return Found(message=note, files={ARTIFACT: _artifact(aside, [], note)})
    try:
        models = _compared(aside, before)
    except (CommandRejected, _Failed) as failed:
        aside.say(str(failed))
        return Found(ending=Ending.ERROR, message=str(failed))
    for line in _table(models):
        aside.say(line)
    if asked.keep_rows:
        aside.say(f"{ARTIFACT} holds values of rows that differ, as the job asks for.")
    note = _in_words(models)
    aside.say(note)
    return Found(
        message=note,
        has_warnings=any(model["status"] == "error" for model in models),
        files={ARTIFACT: _artifact(aside, models, note)},
    )


def _compared(aside: Aside, before: Path) -> list[dict[str, Any]]:
    """What the script found of each model.

    Raises:
        CommandRejected, _Failed
    """
    if aside.seconds_left <= SPARE_SECONDS:
        raise _Failed("Too little of the run's time is left to compare. Raise the job's timeout.")
    listing = _selection(aside)
    after = aside.pass_on(listing, MANIFEST)
    if after is None:
        raise _Failed("dbt listed the models and left no manifest.json. Look at its version.")
    selected = {str(node["unique_id"]) for node in nodes_of(listing.output)}
    seconds = min(ALL_SECONDS, aside.seconds_left - SPARE_SECONDS)
    asked = aside.plan.compare
    request = {
        "before": str(before),
        "after": str(after),
        "models": sorted(selected & aside.built),
        "keep_rows": asked is not None and asked.keep_rows,
        "model_seconds": MODEL_SECONDS,
        "seconds": max(seconds, 0),
    }
    end = aside.run(["python", str(_SCRIPT), str(aside.hand("request.json", json.dumps(request)))])
    if error := _error_of(end):
        raise _Failed(f"The warehouse could not be asked: {error}")
    models = [model for raw in nodes_of(end.output) if (model := _model(raw, request))]
    return sorted(models, key=lambda model: (STATUSES.index(model["status"]), model["unique_id"]))


def _selection(aside: Aside) -> AsideEnd:
    """Have dbt list what the job asks to be compared, and leave its manifest.

    Raises:
        CommandRejected, _Failed
    """
    asked = aside.plan.compare
    options = dict(read_selection(asked.flags)) if asked is not None else {}
    for step in aside.plan.steps:
        command = DbtCommand.parse(step.command, index=step.index) if step.command else None
        if command is not None and command.builds:
            # The project is to be read as it was when it was built.
            options |= {name: command.options[name] for name in READS if name in command.options}
    end = listed(aside, options, ["unique_id"])
    if end.exit_code != 0 or end.is_cut:
        words = last_words(end.output) or "it said nothing, or too much to be read."
        raise _Failed(f"dbt could not list the models to compare: {words}")
    return end


def _error_of(end: AsideEnd) -> str:
    """Why the script found nothing; empty if it came to its end."""
    for line in reversed(end.output.splitlines()):
        if line.startswith('{"error":'):
            try:
                said = json.loads(line)["error"]
            except (ValueError, RecursionError, TypeError, KeyError):
                break
            return _text(said) if said else "it said too much." if end.is_cut else ""
    return last_words(end.output) or f"its program ended with status {end.exit_code}."


# --- What a stranger's process said ---------------------------------------------------------------


def _model(raw: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any] | None:
    """One model's answer with nothing in it but what belongs there; None if it is none."""
    if raw.get("status") not in STATUSES:
        return None
    columns, rows = _mapping(raw.get("columns")), _mapping(raw.get("rows"))
    model = {
        "unique_id": _text(raw["unique_id"]),
        "status": raw["status"],
        "message": _text(raw.get("message")),
        "before": _text(raw["before"]) if raw.get("before") else None,
        "after": _text(raw["after"]) if raw.get("after") else None,
        "primary_key": [_text(name) for name in _list(raw.get("primary_key"))],
        "columns": {
            "added": list(_columns(columns.get("added"), "name", "type")),
            "removed": list(_columns(columns.get("removed"), "name", "type")),
            "retyped": list(_columns(columns.get("retyped"), "name", "before", "after")),
        },
        "rows": {
            name: _number(rows.get(name))
            for name in ("before", "after", "added", "removed", "changed")
        },
        "changed_columns": {
            _text(name): _number(number)
            for name, number in list(_mapping(raw.get("changed_columns")).items())[:MOST_COLUMNS]
        },
        "not_compared": [_text(name) for name in _list(raw.get("not_compared"))],
    }
    if request["keep_rows"]:
        model["sample"] = [_row(row) for row in _list(raw.get("sample"))[:MOST_ROWS]]
    return model


def _columns(raw: object, *keys: str) -> Iterator[dict[str, str]]:
    for column in _list(raw):
        yield {key: _text(_mapping(column).get(key)) for key in keys}


def _row(raw: object) -> dict[str, Any]:
    row = _mapping(raw)
    return {
        "kind": _text(row.get("kind")),
        "key": {_text(name): _value(value) for name, value in _mapping(row.get("key")).items()},
        "values": {
            _text(name): [_value(value) for value in _list(pair)[:2]]
            for name, pair in _mapping(row.get("values")).items()
        },
    }


def _mapping(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _list(raw: object) -> list[Any]:
    return raw[:MOST_COLUMNS] if isinstance(raw, list) else []


def _text(raw: object) -> str:
    """On one line, for it goes into logs."""
    text = raw[:LONGEST_NAME] if isinstance(raw, str) else ""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _value(raw: object) -> str | None:
    return raw[:LONGEST_VALUE] if isinstance(raw, str) else None


def _number(raw: object) -> int | None:
    is_number = isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < 2**63
    return raw if is_number else None  # type: ignore[return-value] # it is an int


# --- For people -----------------------------------------------------------------------------------


def _artifact(aside: Aside, models: Sequence[Mapping[str, Any]], note: str) -> str:
    asked, state = aside.plan.compare, aside.plan.state
    about = {
        "schema_version": SCHEMA_VERSION,
        "note": note,
        "compared_with": state.sentence if state is not None else "",
        "flags": asked.flags if asked is not None else "",
        "holds_rows": asked is not None and asked.keep_rows,
        "summary": _counted(models),
        "models": models,
    }
    return json.dumps(about, ensure_ascii=False, indent=1) + "\n"


def _counted(models: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many models have each status; those that none has are left out."""
    found = Counter(model["status"] for model in models)
    return {status: found[status] for status in STATUSES if found[status]}


def _in_words(models: Sequence[Mapping[str, Any]]) -> str:
    """For example ``Compared 3 models: 1 changed, 1 new, 1 identical.``"""
    if not models:
        return "No model that this run built is among those to be compared."
    counted = ", ".join(
        f"{number} {status.replace('_', ' ')}" for status, number in _counted(models).items()
    )
    return f"Compared {len(models)} {'model' if len(models) == 1 else 'models'}: {counted}."


def _table(models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line a model with its counts, and below it what its columns say."""
    if not models:
        return
    heads = ("status", "rows before", "after", "added", "removed", "changed")
    widest = max(len(model["unique_id"]) for model in models)
    yield f"{'model':<{widest}}  {heads[0]:<15}" + "".join(f"{head:>13}" for head in heads[1:])
    for model in models:
        counts = ["-" if one is None else f"{one:,}" for one in model["rows"].values()]
        status = model["status"].replace("_", " ")
        yield f"{model['unique_id']:<{widest}}  {status:<15}" + "".join(
            f"{count:>13}" for count in counts
        )
        yield from (f"    {line}" for line in _details(model))


def _details(model: Mapping[str, Any]) -> Iterator[str]:
    columns = model["columns"]
    yield from (f"column added: {one['name']} {one['type']}" for one in columns["added"])
    yield from (f"column removed: {one['name']} {one['type']}" for one in columns["removed"])
    for one in columns["retyped"]:
        yield f"column retyped: {one['name']} from {one['before']} to {one['after']}"
    if model["changed_columns"]:
        told = ", ".join(f"{name} in {n:,}" for name, n in model["changed_columns"].items())
        yield f"rows changed by column: {told}"
    if names := ", ".join(model["not_compared"]):
        yield f"values not compared, for the types before and after are too far apart: {names}"
    if model["message"]:
        yield model["message"]
