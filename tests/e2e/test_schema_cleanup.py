"""Schemas of pull requests through the whole service: built, listed, dropped, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Place, Stack, Warehouse, wait_until
from tests.warehouses import Duck, Postgres, fill, schemas_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e schema_cleanup"),  # one service is enough
]

MODELS = {
    "models/tiny.sql": "select 1 as id",
    "models/tiny_marketing.sql": "{{ config(schema='marketing') }} select 1 as id",
}
STEP = "dbt run --select tiny tiny_marketing"


def seen_from_outside(service: Stack, warehouse: Warehouse) -> Duck | Postgres:
    if warehouse.adapter == "postgres":
        at = warehouse.config
        user, password = (warehouse.credentials[name] for name in ("username", "password"))
        return Postgres(
            f"postgresql://{user}:{password}@{at['hostname']}:{at['port']}/{at['dbname']}"
        )
    place = Path(service.service.data) / "warehouses" / str(service.account)
    return Duck(place / warehouse.config["path"])


def listed(service: Stack, place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get(f"v3/projects/{place.project}/ci-schemas/")
    return found


def test_a_pull_requests_schemas_are_dropped_and_no_others(
    service: Stack, make_place: Callable[..., Place], warehouse: Warehouse
) -> None:
    place = make_place(warehouse, **MODELS)
    job = service.job(place, [STEP], job_type="ci")
    mine, theirs = f"dbt_cloud_pr_{job}_2", f"dbt_cloud_pr_{job}_23"
    for number in (2, 23):
        run = service.ended(service.trigger(job, github_pull_request_id=number))
        assert run["is_success"], run["status_message"]
    outside = seen_from_outside(service, warehouse)
    fill(outside, f"{mine}_by_hand")
    wait_until("both are listed", lambda: len(listed(service, place)) == 4)
    of_mine = [one["id"] for one in listed(service, place) if one["pull_request_number"] == 2]

    said = service.post(
        f"v3/projects/{place.project}/ci-schemas/drop/", {"dry_run": False, "ids": of_mine}
    )

    assert {one["schema"] for one in said["dropped"]} == {mine, f"{mine}_marketing"}
    wait_until(
        "they are gone",
        lambda: (
            {one["status"] for one in listed(service, place) if one["id"] in of_mine} == {"dropped"}
        ),
    )
    left = {name for name in schemas_of(outside) if name.startswith(f"dbt_cloud_pr_{job}_")}
    assert left == {f"{mine}_by_hand", theirs, f"{theirs}_marketing"}
