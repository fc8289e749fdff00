"""Why nodes were built: told from two manifests, as dbt's own selectors tell it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ci.modified import Manifest, Selection, read, reasons
from tests.warehouses import DBT, ROOT

BUILT = ("model", "test", "seed", "snapshot", "unit_test")


def node(text: str, *parents: str, **more: Any) -> dict[str, Any]:
    return {
        "resource_type": "model",
        "checksum": {"name": "sha256", "checksum": text},
        "depends_on": {"nodes": list(parents), "macros": more.pop("macros", [])},
        **more,
    }


def manifest(macros: dict[str, Any] | None = None, **nodes: Any) -> Manifest:
    return read(
        {
            "nodes": {name: {"name": name, **one} for name, one in nodes.items()},
            "macros": macros or {},
        }
    )


def built(mine: Manifest, other: Manifest, *names: str) -> Selection:
    return reasons(names or list(mine.nodes), mine, other)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (node("1"), node("2"), ["body"]),
        (node("1"), node("1", unrendered_config={"tags": ["x"]}), ["configs"]),
        (node("1"), node("1", contract={"enforced": True, "checksum": "a"}), ["contract"]),
        (node("1"), node("2", unrendered_config={}), ["body", "configs"]),
    ],
)
def test_a_node_says_in_what_it_differs(
    before: dict[str, Any], after: dict[str, Any], why: list[str]
) -> None:
    assert built(manifest(orders=after), manifest(orders=before)).modified == {"orders": why}


def test_a_node_that_was_not_there_is_new() -> None:
    assert built(manifest(orders=node("1")), manifest()).modified == {"orders": ["new"]}


def test_a_test_without_a_sum_is_told_by_its_code() -> None:
    before = node("", checksum={"name": "none", "checksum": ""}, raw_code="{{ a() }}")
    after = {**before, "raw_code": "{{ b() }}"}

    assert built(manifest(one=after), manifest(one=before)).modified == {"one": ["body"]}


def test_a_changed_macro_counts_through_those_that_call_it() -> None:
    def macros(text: str) -> dict[str, Any]:
        calls = {"macro_sql": "x", "depends_on": {"macros": ["macro.cents"]}}
        return {"macro.cents": {"macro_sql": text}, "macro.money": calls}

    mine = manifest(macros("2"), orders=node("1", macros=["macro.money"]), costs=node("1"))
    other = manifest(macros("1"), orders=node("1", macros=["macro.money"]), costs=node("1"))

    assert built(mine, other).modified == {"orders": ["macros"]}


def test_what_is_below_names_the_nearest_modified_ones() -> None:
    nodes = {"b": node("1", "a"), "c": node("1", "b"), "d": node("1")}
    mine, other = manifest(a=node("2"), **nodes), manifest(a=node("1"), **nodes)

    found = built(mine, other)

    assert found.downstream == {"b": ["a"], "c": ["a"]}
    assert found.others == ["d"]


def test_what_reads_a_source_that_lies_elsewhere_now_is_below_it() -> None:
    def project(place: str) -> Manifest:
        source = {"name": "raw", "resource_type": "source", "relation_name": place}
        orders = {"name": "orders", **node("1", "source.raw")}
        return read({"nodes": {"orders": orders}, "sources": {"source.raw": source}})

    assert built(project("a.raw"), project("b.raw"), "orders").downstream == {
        "orders": ["source.raw"]
    }


def test_a_node_below_hundreds_of_modified_ones_names_some() -> None:
    parents = [f"p{number}" for number in range(300)]
    last = {"last": node("1", *parents)}
    mine = manifest(**{name: node("2") for name in parents}, **last)
    other = manifest(**{name: node("1") for name in parents}, **last)

    assert len(built(mine, other).downstream["last"]) == 5


def test_what_is_read_and_was_not_built_is_deferred() -> None:
    nodes = {
        "raw": node("1"),
        "seed": node("1", resource_type="seed"),
        "between": node("1", "raw", config={"materialized": "ephemeral"}),
        "orders": node("1", "between", "seed"),
        "elsewhere": node("1"),
    }

    found = built(manifest(**nodes), manifest(**nodes), "orders")

    assert found.deferred == ["raw", "seed"]


def test_what_the_other_run_never_had_is_not_deferred() -> None:
    mine = manifest(raw=node("1"), orders=node("1", "raw"))

    assert built(mine, manifest(), "orders").deferred == []


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"nodes": [], "macros": 7},
        {"nodes": {"a": None, "b": {"depends_on": [], "checksum": 7, "config": "x"}}},
        {"nodes": {"a": {"depends_on": {"nodes": [7, {}]}, "contract": []}}},
    ],
)
def test_a_manifest_of_another_shape_is_read_as_far_as_it_goes(content: dict[str, Any]) -> None:
    mine = read(content)

    assert built(mine, read({}), "a", "b").downstream == {}


def dbt(project: Path, *arguments: str) -> str:
    return subprocess.run(
        [DBT, "--quiet", *arguments, "--profiles-dir", str(project)],
        cwd=project,
        env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def parsed(project: Path, schema: str, target: str) -> Manifest:
    profile = {"type": "duckdb", "path": ":memory:", "schema": schema}
    profiles = {"coffee_shop": {"target": "ci", "outputs": {"ci": profile}}}
    (project / "profiles.yml").write_text(json.dumps(profiles))
    dbt(project, "parse", "--target-path", target)
    return read(json.loads((project / target / "manifest.json").read_text()))


def test_the_real_dbt_selects_what_is_called_modified_or_downstream(tmp_path: Path) -> None:
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns("target", "dbt_packages", "logs", "*.duckdb*")
    shutil.copytree(ROOT / "examples" / "coffee_shop", project, ignore=ignored)
    (project / "profiles.yml").write_text(
        '{"coffee_shop": {"target": "ci", "outputs": {"ci": {"type": "duckdb", "schema": "x"}}}}'
    )
    dbt(project, "deps")
    before = parsed(project, "analytics", "before")
    (project / "models" / "staging" / "stg_orders.sql").open("a").write("\n-- changed\n")
    (project / "models" / "marts" / "brand_new.sql").write_text("select 1 as one")
    macro = project / "macros" / "hour_of.sql"
    macro.write_text(macro.read_text().replace("integer)", "bigint)"))

    after = parsed(project, "analytics", "after")
    types = [word for kind in BUILT for word in ("--resource-type", kind)]
    selection = ("--select", "state:modified+", "--state", "before", "--output", "json")
    listed = dbt(project, "ls", *selection, "--output-keys", "unique_id", *types)

    chosen = {json.loads(line)["unique_id"] for line in listed.splitlines()}
    buildable = [name for name in after.nodes if name.partition(".")[0] in BUILT]
    found = reasons(buildable, after, before)
    assert {*found.modified, *found.downstream} == chosen
    assert found.modified["model.coffee_shop.stg_orders"] == ["body"]
    assert found.modified["model.coffee_shop.brand_new"] == ["new"]
    assert found.modified["test.coffee_shop.orders_outside_opening_hours"] == ["macros"]
    assert found.others
