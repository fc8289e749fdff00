"""A dbt project of many nodes: what its manifest says, and what a run made of each node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, product
from typing import Any

MANIFEST_SCHEMA = "https://schemas.getdbt.com/dbt/manifest/v12.json"
RESULTS_SCHEMA = "https://schemas.getdbt.com/dbt/run-results/v6.json"
SUBJECTS = (
    *("orders", "payments", "customers", "products", "stock", "deliveries", "refunds", "shops"),
    *("visits", "campaigns", "suppliers", "invoices", "vouchers", "reviews", "staff", "shifts"),
    *("prices", "taxes", "budgets", "leases", "loyalty", "returns", "tickets", "forecasts"),
)
COUNTRIES = ("", "_de", "_fr", "_us")
ENTITIES = ("header", "line", "event", "status", "person", "place")
COLUMNS = ("id", "created_at", "amount", "status")


@dataclass(frozen=True)
class Node:
    """One node of the project, after all that it depends on in the list it comes in."""

    kind: str
    name: str
    project: str
    folder: str
    needs: tuple[str, ...] = ()
    materialized: str = ""
    columns: tuple[str, ...] = field(default=COLUMNS)

    @property
    def unique_id(self) -> str:
        return f"{self.kind}.{self.project}.{self.name}"

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}.{'csv' if self.kind == 'seed' else 'sql'}"


def nodes_of(project: str, number: int) -> list[Node]:
    """The first ``number`` nodes of a project, each after what it depends on."""
    return list(islice(_nodes(project), number))


def _nodes(project: str) -> Iterator[Node]:
    days = Node("seed", "calendar", project, "seeds", materialized="seed")
    yield days
    for country, subject in product(COUNTRIES, SUBJECTS):
        yield from _subject(project, subject + country, days)


def _subject(project: str, subject: str, days: Node) -> Iterator[Node]:
    """The models of one subject, in layers, and two tests of each."""

    def model(layer: str, name: str, needs: tuple[Node, ...], materialized: str) -> Node:
        ids = tuple(node.unique_id for node in needs)
        return Node("model", name, project, f"models/{layer}/{subject}", ids, materialized)

    staged = [model("staging", f"stg_{subject}__{entity}", (), "view") for entity in ENTITIES]
    joined = [
        model("intermediate", f"int_{subject}_{one}", tuple(staged[place : place + 3]), "view")
        for place, one in enumerate(("joined", "deduplicated", "converted", "grouped"))
    ]
    person = model("marts", f"dim_{subject}", (staged[4], staged[5]), "table")
    facts = [
        model("marts", f"fct_{subject}_daily", (*joined[:2], days), "incremental"),
        model("marts", f"fct_{subject}", (*joined[2:], person), "table"),
    ]
    mart = model("marts", f"mart_{subject}", (*facts, person), "table")
    for one in (*staged, *joined, person, *facts, mart):
        yield one
        for rule, column in (("not_null", "id"), ("unique", "id")):
            yield Node(
                "test",
                f"{rule}_{one.name}_{column}",
                project,
                one.folder,
                (one.unique_id,),
                "test",
                (),
            )


def manifest(nodes: list[Node], moment: datetime) -> dict[str, Any]:
    """What dbt would write of a project of these nodes."""
    project = nodes[0].project
    children: dict[str, list[str]] = {node.unique_id: [] for node in nodes}
    for node in nodes:
        for needed in node.needs:
            children[needed].append(node.unique_id)
    return {
        "metadata": {
            "dbt_schema_version": MANIFEST_SCHEMA,
            "dbt_version": "1.11.16",
            "generated_at": moment.isoformat(),
            "project_name": project,
            "adapter_type": "postgres",
        },
        "nodes": {node.unique_id: _described(node) for node in nodes},
        "sources": {},
        "macros": {},
        "exposures": {},
        "metrics": {},
        "groups": {},
        "disabled": {},
        "parent_map": {node.unique_id: list(node.needs) for node in nodes},
        "child_map": children,
    }


def _described(node: Node) -> dict[str, Any]:
    refs = "\n".join(
        f"left join {{{{ ref('{needed.rpartition('.')[2]}') }}}} using (id)"
        for needed in node.needs[1:]
    )
    first = node.needs[0].rpartition(".")[2] if node.needs else "raw_rows"
    return {
        "unique_id": node.unique_id,
        "name": node.name,
        "resource_type": node.kind,
        "package_name": node.project,
        "path": node.path.partition("/")[2],
        "original_file_path": node.path,
        "database": "analytics",
        "schema": "shops",
        "alias": node.name,
        "relation_name": None if node.kind == "test" else f'"analytics"."shops"."{node.name}"',
        "fqn": [node.project, *node.folder.split("/")[1:], node.name],
        "tags": ["nightly"],
        "description": f"The {node.name.replace('_', ' ')} of all shops.",
        "config": {"materialized": node.materialized, "enabled": True, "tags": ["nightly"]},
        "columns": {name: {"name": name, "description": ""} for name in node.columns},
        "depends_on": {"macros": [], "nodes": list(node.needs)},
        "raw_code": f"select *\nfrom {{{{ ref('{first}') }}}}\n{refs}",
        "checksum": {"name": "sha256", "checksum": node.name.encode().hex()[:64].ljust(64, "0")},
        "language": "sql",
    }


def run_results(results: list[dict[str, Any]], moment: datetime) -> dict[str, Any]:
    """What dbt would write of these results."""
    return {
        "metadata": {
            "dbt_schema_version": RESULTS_SCHEMA,
            "dbt_version": "1.11.16",
            "generated_at": moment.isoformat(),
            "env": {},
        },
        "results": results,
        "elapsed_time": sum(one["execution_time"] for one in results),
        "args": {"which": "build"},
    }
