"""Manifests of small projects, as dbt would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobsvc.runs.models import Artifact, RunStep
from tests.factories import ArtifactFactory


def entry(unique_id: str, *needs: str, **more: Any) -> dict[str, Any]:
    """One node: ``model.shop.orders``, in models/orders.sql, of those it needs."""
    kind, package, *rest = unique_id.split(".")
    name = ".".join(rest)
    return {
        "unique_id": unique_id,
        "resource_type": kind,
        "name": name,
        "package_name": package,
        "fqn": [package, name],
        "original_file_path": f"models/{name}.sql",
        "depends_on": {"nodes": list(needs), "macros": []},
        "config": {"materialized": "table"} if kind == "model" else {},
        "tags": [],
        "raw_code": f"select 1 as {name}",
        **more,
    }


def manifest_of(*entries: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A manifest with ``entries`` as its nodes; sources among them go to their own section."""
    found: dict[str, Any] = {
        "metadata": {"project_name": "shop", "adapter_type": "postgres"},
        "macros": {},
        "nodes": {},
        "sources": {},
    }
    for one in entries:
        section = "sources" if one["resource_type"] == "source" else "nodes"
        found[section][one["unique_id"]] = one
    return found | sections


def chain(*names: str) -> dict[str, Any]:
    """Models, each of which needs the one before."""
    ids = [f"model.shop.{name}" for name in names]
    return manifest_of(
        *(entry(one, *ids[max(place - 1, 0) : place]) for place, one in enumerate(ids))
    )


def left(step: RunStep, manifest: Mapping[str, Any] | bytes) -> Artifact:
    """The artifact of a step that left ``manifest``."""
    content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    made: Artifact = ArtifactFactory(step=step, path="manifest.json", content=content)
    return made
