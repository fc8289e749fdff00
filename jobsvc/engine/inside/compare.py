"""Compare what a run built with what it deferred to, by counting in the warehouse.

Run as ``python compare.py REQUEST``, a JSON file: {"before": the other run's manifest.json,
"after": this one's, "models": [unique id, …], "keep_rows": bool, "model_seconds": number,
"seconds": number for all}. Each model is answered by a line of JSON as soon as it is known (see
``_blank``), and the last line is {"error": why nothing could be done, or ""}.

Nothing but names, types and numbers is said, unless ``keep_rows`` asks for rows.
"""

# ruff: noqa: S608 -- all of its SQL is made of names, which the adapter quotes, and of no values
from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from warehouse import (  # type: ignore[import-not-found]  # beside this script, in the sandbox
    TookTooLong,
    Unreachable,
    opened,
    words_of,
)

RELATIONS = {"model", "seed", "snapshot"}
MOST_ROWS = 100  # kept of one model
MOST_COLUMNS = 500  # whose values are kept of one: PostgreSQL selects at most 1,664
LONGEST_VALUE = 200  # characters kept of one value
LONGEST_WORDS = 300  # characters of what a database says of an error

# Types, by their names before a bracket, whose values compare with each other's as they are.
NUMBERS = {
    *("tinyint", "smallint", "integer", "int", "int2", "int4", "int8", "int64", "bigint"),
    *("hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint", "byteint"),
    *("number", "numeric", "decimal", "bignumeric", "real", "float", "float4", "float8"),
    *("float64", "double", "double precision"),
}
TEXTS = {
    *("char", "character", "bpchar", "varchar", "character varying", "nvarchar", "text", "string"),
}

# Types that some database has no equality of, or another one than that of their texts.
AS_TEXT = {
    *("json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"),
    *("geography", "super"),
}

Column = tuple[str, str]  # its name and its type

Answer = dict[str, Any]


class CannotCompare(Exception):
    """There are not two relations to compare. ``str(error)`` is a sentence."""


class CannotMatch(Exception):
    """The rows of a model cannot be told apart by a key. ``str(error)`` is a sentence."""


def main(request: Mapping[str, Any]) -> Answer:
    """Say an answer for each model, and return the last line."""
    before, after = (_nodes_of(request[side]) for side in ("before", "after"))
    keys = _keys_of(after)
    over = time.monotonic() + request["seconds"]
    for unique_id in sorted(before.keys() - after.keys()):
        if _has_relation(before[unique_id]):
            _say(_blank(unique_id, before[unique_id], None) | {"status": "removed"})
    try:
        with opened() as warehouse:
            for unique_id in request["models"]:
                old, new = before.get(unique_id), after.get(unique_id)
                if new is not None and _has_relation(new):
                    old = old if old is not None and _has_relation(old) else None
                    limit = min(request["model_seconds"], over - time.monotonic())
                    comparison = _Comparison(warehouse, unique_id, old, new)
                    _say(comparison.answered(keys.get(unique_id, []), request, limit))
    except Unreachable as error:
        return {"error": str(error)[:LONGEST_WORDS]}
    return {"error": ""}


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


# --- Manifests -----------------------------------------------------------------------------------


def _nodes_of(manifest: str) -> dict[str, dict[str, Any]]:
    """Models, seeds, snapshots and tests, by id."""
    nodes = json.loads(Path(manifest).read_text())["nodes"]
    wanted = RELATIONS | {"test"}
    return {name: node for name, node in nodes.items() if node.get("resource_type") in wanted}


def _has_relation(node: Mapping[str, Any]) -> bool:
    materialized = (node.get("config") or {}).get("materialized")
    return node["resource_type"] in RELATIONS and materialized != "ephemeral"


def _keys_of(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    """What may be each node's primary key, the likeliest first, each a list of columns."""
    keys: dict[str, list[list[str]]] = {}
    for unique_id, node in nodes.items():
        if node["resource_type"] in RELATIONS:
            keys[unique_id] = list(filter(None, _declared(node)))
    tested: dict[str, list[tuple[bool, list[str]]]] = {}
    not_null = {
        (node.get("attached_node"), node.get("column_name"))
        for node in nodes.values()
        if _test_of(node) == "not_null"
    }
    for name in sorted(nodes):
        node, test = nodes[name], _test_of(nodes[name])
        attached, column = node.get("attached_node"), node.get("column_name")
        given = (node.get("test_metadata") or {}).get("kwargs") or {}
        columns = given.get("combination_of_columns")
        if test == "unique" and column:
            may_be_null = (attached, column) not in not_null
            tested.setdefault(str(attached), []).append((may_be_null, [column]))
        elif test == "unique_combination_of_columns" and isinstance(columns, list):
            tested.setdefault(str(attached), []).append((True, columns))
    for attached, found in tested.items():
        ordered = sorted(found, key=lambda one: (one[0], len(one[1])))
        keys.setdefault(attached, []).extend(columns for _, columns in ordered)
    return keys


def _declared(node: Mapping[str, Any]) -> Iterable[list[str]]:
    """Columns of the primary key that a node's constraints name."""
    for constraint in node.get("constraints") or []:
        if constraint.get("type") == "primary_key":
            yield list(constraint.get("columns") or [])
    columns = (node.get("columns") or {}).values()
    yield [
        column["name"]
        for column in columns
        if any(one.get("type") == "primary_key" for one in column.get("constraints") or [])
    ]


def _test_of(node: Mapping[str, Any]) -> str:
    """The name of a test of all of a relation's rows; empty for any other node."""
    if node["resource_type"] != "test" or (node.get("config") or {}).get("where"):
        return ""
    return str((node.get("test_metadata") or {}).get("name") or "")


# --- One model -----------------------------------------------------------------------------------


def _blank(unique_id: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Answer:
    return {
        "unique_id": unique_id,
        "before": (old or {}).get("relation_name"),
        "after": (new or {}).get("relation_name"),
        "status": "error",
        "message": "",
        "primary_key": [],
        "columns": {"added": [], "removed": [], "retyped": []},
        "rows": dict.fromkeys(["before", "after", "added", "removed", "changed"]),
        "changed_columns": {},
        "not_compared": [],
    }


class _Comparison:
    """Of one model that was built.

    Attributes:
        answer: filled in as it goes on; what was found before an error stays.
    """

    def __init__(
        self, warehouse: Any, unique_id: str, old: Mapping[str, Any] | None, new: Mapping[str, Any]
    ) -> None:
        self.answer = _blank(unique_id, old, new)
        self._warehouse = warehouse
        self._old, self._new = old, new
        self._names: set[str] = set()  # that may stand in the words of an error

    def answered(
        self, keys: Sequence[Sequence[str]], request: Mapping[str, Any], seconds: float
    ) -> Answer:
        """The answer, found in the given time or telling why not."""
        try:
            if seconds <= 0:
                raise TookTooLong("The time for comparing was over before its turn.")
            self._warehouse.within(
                seconds, lambda: self._carry_out(keys, keep=request["keep_rows"])
            )
        except (TookTooLong, CannotCompare) as reason:
            self.answer |= {"status": "error", "message": str(reason)}
        except Exception as error:  # whatever the driver of any database makes of it
            words = _without_values(words_of(error), self._names)
            self.answer |= {"status": "error", "message": words}
        return self.answer

    def _carry_out(self, keys: Sequence[Sequence[str]], *, keep: bool) -> None:
        after = self._relation(self._new)
        new = self._columns(after)
        if not new:
            raise CannotCompare("It is not in the warehouse, though the run built it.")
        before = self._relation(self._old) if self._old is not None else None
        if str(before) == str(after):
            raise CannotCompare("It was built in place of the one that it would be compared with.")
        old = self._columns(before) if before is not None else []
        if before is None or not old:
            self.answer["rows"]["after"] = self._count(after)
            said = "The one deferred to is not in the warehouse." if before is not None else ""
            self.answer |= {"status": "new", "message": said}
            return
        self._compare_columns(old, new)
        try:
            key = self._key(keys, dict(old), dict(new))
            self._check_key(key, before, after)
        except CannotMatch as reason:
            self._count_both(before, after)
            status = "bad_primary_key" if self.answer["primary_key"] else "no_primary_key"
            differs = self._differs()
            self.answer |= {"status": "changed" if differs else status, "message": str(reason)}
            return
        self._compare_rows(key, before, after, dict(old), dict(new), keep=keep)
        self.answer["status"] = "changed" if self._differs() else "identical"

    def _relation(self, node: Mapping[str, Any]) -> Any:
        """The node's relation, quoted as its project has it."""
        parts = {
            "database": str(node.get("database") or ""),
            "schema": str(node.get("schema") or ""),
            "identifier": str(node.get("alias") or node.get("name") or ""),
        }
        self._names |= set(parts.values())
        relation = self._warehouse.relation(**parts)
        rendered = str(node.get("relation_name") or "")
        if rendered and rendered != str(relation):
            marked = {
                name: bool(part) and self._warehouse.quote(part) in rendered
                for name, part in parts.items()
            }
            relation = relation.quote(**marked)
        return relation

    def _columns(self, relation: Any) -> list[Column]:
        columns: list[Column] = self._warehouse.columns_of(relation)
        self._names |= {name for name, _type in columns}
        return columns

    def _compare_columns(self, old: Sequence[Column], new: Sequence[Column]) -> None:
        was, is_now = dict(old), dict(new)
        self.answer["columns"] = {
            "added": [{"name": name, "type": kind} for name, kind in new if name not in was],
            "removed": [{"name": name, "type": kind} for name, kind in old if name not in is_now],
            "retyped": [
                {"name": name, "before": was[name], "after": kind}
                for name, kind in new
                if name in was and was[name] != kind
            ],
        }

    def _differs(self) -> bool:
        """Whether what is known by now shows a difference."""
        rows, columns = self.answer["rows"], self.answer["columns"]
        return (
            any(columns.values())
            or rows["before"] != rows["after"]
            or any(rows[kind] for kind in ("added", "removed", "changed"))
        )

    # --- The key ---------------------------------------------------------------------------------

    def _key(
        self, keys: Sequence[Sequence[str]], old: Mapping[str, str], new: Mapping[str, str]
    ) -> list[str]:
        """The columns of the first key that both relations have.

        Raises:
            CannotMatch
        """
        if not keys:
            raise CannotMatch("No primary key is known: neither a constraint nor a unique test.")
        for columns in keys:
            found = [self._named(column, new) for column in columns]
            if all(name is not None and name in old for name in found):
                key = [name for name in found if name is not None]
                break
        else:
            raise CannotMatch(f"Not both have the column {', '.join(keys[0])} of the primary key.")
        self.answer["primary_key"] = key
        for name in key:
            if not _comparable(old[name], new[name]):
                raise CannotMatch(
                    f"The column {name} of the primary key was of type {old[name]} and is of "
                    f"type {new[name]}: no row can be matched."
                )
        return key

    def _named(self, column: str, columns: Mapping[str, str]) -> str | None:
        """The column of the warehouse that a project's file names, which may quote it or not."""
        for name in columns:
            if column in {name, self._warehouse.quote(name)}:
                return name
        alike = [name for name in columns if name.lower() == column.lower()]
        return alike[0] if len(alike) == 1 else None

    def _check_key(self, key: Sequence[str], before: Any, after: Any) -> None:
        """Count the rows of both, and see that no key stands in two of them or is null.

        Raises:
            CannotMatch
        """
        quoted = [self._warehouse.quote(name) for name in key]
        keys = ", ".join(f"{name} as k{place}" for place, name in enumerate(quoted))
        is_null = " or ".join(f"k{place} is null" for place in range(len(key)))
        found: list[str] = []
        for side, relation in (("before", before), ("after", after)):
            rows, doubled, empty = self._numbers(
                "select sum(n), "
                f"sum(case when n > 1 and not ({is_null}) then 1 else 0 end), "
                f"sum(case when {is_null} then n else 0 end) "
                f"from (select {keys}, count(*) as n from {relation} "
                f"group by {', '.join(quoted)}) g"
            )
            self.answer["rows"][side] = rows
            if doubled:
                found.append(f"{side}, {_many(doubled, 'key')} in more than one row")
            if empty:
                found.append(f"{side}, no key in {_many(empty, 'row')}")
        if found:
            raise CannotMatch(
                f"{', '.join(key)} is no key of all rows ({'; '.join(found)}): they cannot be "
                "matched."
            )

    # --- Rows ------------------------------------------------------------------------------------

    def _count(self, relation: Any) -> int:
        return self._numbers(f"select count(*) from {relation}")[0]

    def _count_both(self, before: Any, after: Any) -> None:
        rows = self.answer["rows"]
        for side, relation in (("before", before), ("after", after)):
            if rows[side] is None:
                rows[side] = self._count(relation)

    def _compare_rows(
        self,
        key: Sequence[str],
        before: Any,
        after: Any,
        old: Mapping[str, str],
        new: Mapping[str, str],
        *,
        keep: bool,
    ) -> None:
        both = [name for name in new if name in old and name not in key]
        compared = [name for name in both if _comparable(old[name], new[name])]
        self.answer["not_compared"] = [name for name in both if name not in compared]
        joined = self._joined(key, compared, before, after, new)
        sums = [
            "sum(is_added)",
            "sum(is_removed)",
            f"sum(case when {_differing(compared)} > 0 then 1 else 0 end)",
            *(f"sum(d{place})" for place in range(len(compared))),
        ]
        added, removed, changed, *each = self._numbers(f"select {', '.join(sums)} from {joined}")
        self.answer["rows"] |= {"added": added, "removed": removed, "changed": changed}
        by_column = dict(zip(compared, each, strict=True))
        self.answer["changed_columns"] = {name: n for name, n in by_column.items() if n}
        if keep:
            wanted = list(self.answer["changed_columns"])[:MOST_COLUMNS]
            joined = self._joined(key, wanted, before, after, new, values=True)
            self.answer["sample"] = self._sample(key, wanted, joined)

    def _joined(
        self,
        key: Sequence[str],
        compared: Sequence[str],
        before: Any,
        after: Any,
        new: Mapping[str, str],
        *,
        values: bool = False,
    ) -> str:
        """A relation of one row a key: whether it is only in one of them, and what differs.

        With ``values`` what was and is in each compared column, too.

        Null is equal to null and to nothing else. Written out, since not every database has
        ``is distinct from``.
        """

        def side(relation: Any) -> str:
            columns = [f"{self._warehouse.quote(name)} as k{n}" for n, name in enumerate(key)]
            for place, name in enumerate(compared):
                value = self._warehouse.quote(name)
                if _base(new[name]) in AS_TEXT:
                    value = self._as_text(value)
                columns.append(f"{value} as c{place}")
            return f"(select {', '.join(columns)} from {relation})"

        columns = [
            "case when b.k0 is null then 1 else 0 end as is_added",
            "case when a.k0 is null then 1 else 0 end as is_removed",
            *(f"coalesce(a.k{place}, b.k{place}) as k{place}" for place in range(len(key))),
        ]
        for place in range(len(compared)):
            old, new_ = f"b.c{place}", f"a.c{place}"
            columns += [
                "case when a.k0 is null or b.k0 is null then 0 "
                f"when {old} = {new_} or ({old} is null and {new_} is null) then 0 "
                f"else 1 end as d{place}",
            ]
            if values:
                columns += [f"{old} as b{place}", f"{new_} as a{place}"]
        on = " and ".join(f"a.k{place} = b.k{place}" for place in range(len(key)))
        return (
            f"(select {', '.join(columns)} from {side(before)} b "
            f"full outer join {side(after)} a on {on}) j"
        )

    def _sample(
        self, key: Sequence[str], wanted: Sequence[str], joined: str
    ) -> list[dict[str, Any]]:
        """Some of the rows that differ: their keys, and of the changed ones what differs."""
        columns = ["is_added", "is_removed"]
        columns += [self._as_text(f"k{place}") for place in range(len(key))]
        for place in range(len(wanted)):
            columns += [f"d{place}", self._as_text(f"b{place}"), self._as_text(f"a{place}")]
        _, rows = self._warehouse.query(
            f"select {', '.join(f'{text} as x{n}' for n, text in enumerate(columns))} "
            f"from {joined} where is_added + is_removed > 0 or {_differing(wanted)} > 0 "
            f"order by {', '.join(f'k{place}' for place in range(len(key)))}",
            MOST_ROWS,
        )
        sample = []
        for is_added, is_removed, *values in rows:
            kind = "added" if is_added else "removed" if is_removed else "changed"
            row: dict[str, Any] = {"kind": kind}
            row["key"] = {name: _short(value) for name, value in zip(key, values, strict=False)}
            rest = values[len(key) :]
            row["values"] = {
                name: [_short(rest[3 * n + 1]), _short(rest[3 * n + 2])]
                for n, name in enumerate(wanted)
                if rest[3 * n]
            }
            sample.append(row)
        return sample

    def _as_text(self, value: str) -> str:
        return f"cast({value} as {self._warehouse.text_type})"

    def _numbers(self, sql: str) -> list[int]:
        """The one row of a query of counts and sums; a sum of nothing is 0."""
        _, rows = self._warehouse.query(sql)
        return [int(value or 0) for value in rows[0]]


def _base(kind: str) -> str:
    return kind.partition("(")[0].strip().lower()


def _comparable(before: str, after: str) -> bool:
    """Whether values of these two types can be set beside each other as they are."""
    types = {_base(before), _base(after)}
    return before == after or len(types) == 1 or types <= NUMBERS or types <= TEXTS


def _differing(columns: Sequence[str]) -> str:
    """How many of these columns of ``_joined`` differ; in pairs of pairs, for DuckDB reads no
    expression that is a thousand deep."""

    def total(start: int, stop: int) -> str:
        if stop - start == 1:
            return f"d{start}"
        middle = (start + stop) // 2
        return f"({total(start, middle)} + {total(middle, stop)})"

    return total(0, len(columns)) if columns else "0"


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(value: object) -> str | None:
    return None if value is None else str(value)[:LONGEST_VALUE]


def _without_values(words: str, names: set[str]) -> str:
    """What a database says of an error, without what may be values of a row: numbers, quotations.

    Names of columns and relations stay.
    """
    kept = {name.lower() for name in names}
    words = words.partition(" LINE ")[0]  # what follows is our own query

    def quotation(found: re.Match[str]) -> str:
        inner = found[0][1:-1]
        return found[0] if inner.lower() in kept else f"{found[0][0]}…{found[0][-1]}"

    words = re.sub(r"'[^']*'|\"[^\"]*\"", quotation, words)
    return re.sub(r"(?<![\w\"])[-+]?\d[\d.,:]*(?![\w\"])", "#", words)[:LONGEST_WORDS]


if __name__ == "__main__":
    _say(main(json.loads(Path(sys.argv[1]).read_text())))
    os._exit(0)  # and wait for no query that could not be cancelled
