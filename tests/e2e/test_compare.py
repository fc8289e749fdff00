"""Compare changes through the whole service: the example's pull request against production."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.stack import EXAMPLE, Place, Stack, Warehouse
from tests.e2e.test_slim_ci import change, ci_job, coffee, repository_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e compare"),  # one service is enough
]

CHANGED = "models/staging/stg_products.sql"


def test_a_pull_request_is_told_what_its_change_does_to_productions_rows(
    service: Stack, make_place: Callable[..., Place], warehouse: Warehouse
) -> None:
    place = coffee(service, make_place, warehouse)
    production = service.ended(service.trigger(service.job(place, ["dbt build"])))
    assert production["is_success"], production["status_message"]
    # One product is left out, three are made up, and one costs something else.
    text = (EXAMPLE / CHANGED).read_text()
    source = "{{ source('office', 'raw_products') }}"
    made_up = "cast('2025-01-02' as date)"
    changed = text.replace(
        f"from {source}",
        f"""from (
    select product_id, product_name, category, priced_on,
        case when product_id = 1 then price_cents + 5 else price_cents end as price_cents
    from {source} where product_id <> 2
    union all select 901, 'One', 'tea', {made_up}, 300
    union all select 902, 'Two', 'tea', {made_up}, 300
    union all select 903, 'Three', 'tea', {made_up}, 300
) as products""",
    )
    assert changed != text
    sha = change(repository_of(service, place), "prices", **{CHANGED: changed})
    job = ci_job(service, place, ["dbt run --select state:modified"], run_compare_changes=True)

    run = service.ended(service.trigger(job, git_sha=sha, github_pull_request_id=12))

    assert run["is_success"], run["status_message"]
    step = next(step for step in run["run_steps"] if step["name"] == "Compare changes")
    shown = service.get(f"v2/runs/{run['id']}/extensions/")["compare_changes"]
    assert (shown["step"], shown["summary"]) == (step["index"], {"changed": 1})
    [model] = shown["models"]
    assert model["unique_id"] == "model.coffee_shop.stg_products"
    assert model["rows"] == {"before": 9, "after": 11, "added": 3, "removed": 1, "changed": 1}
    assert model["changed_columns"] == {"price": 1}
    assert f"dbt_cloud_pr_{job}_12" in model["after"]
    assert service.artifact(run["id"], shown["artifact"]).json()["models"] == [model]
    assert "rows changed by column: price in 1" in step["logs"]
