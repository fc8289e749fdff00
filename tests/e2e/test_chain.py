"""Jobs that start each other, through the whole service: broker, worker, a real dbt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.stack import Place, Stack, duckdb_warehouse, wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e chain"),  # one service is enough
]

SECONDS = 240  # for a run of a chain to be there and to end


def after(job: int, *statuses: int) -> dict[str, Any]:
    return {"condition": {"job_id": job, "statuses": list(statuses)}}


def runs_of(service: Stack, job: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get(f"v2/runs/?job_definition_id={job}")
    return found


def ended_by_itself(service: Stack, job: int) -> dict[str, Any]:
    """The run of ``job`` that nobody triggered, once it is complete."""
    [run] = wait_until(f"job {job} is started", lambda: runs_of(service, job), SECONDS)
    return service.ended(run["id"], SECONDS)


def test_a_chain_runs_to_its_end_by_itself(
    service: Stack, make_place: Callable[..., Place]
) -> None:
    place = make_place(duckdb_warehouse(), **{"tests/never_right.sql": "select 1 as wrong"})
    well = ["dbt parse"]
    first = service.job(place, well, name="Load")
    fails = service.job(
        place,
        ["dbt test --select never_right"],
        name="Check",
        job_completion_trigger_condition=after(first, 10),
    )
    report = service.job(place, well, job_completion_trigger_condition=after(fails, 10))
    repair = service.job(place, well, job_completion_trigger_condition=after(fails, 20))
    upstream = {"mode": "all", "jobs": [{"job_id": first}, {"job_id": repair}]}
    last = service.job(place, well, extensions={"upstream": upstream})

    begun = service.ended(service.trigger(first), SECONDS)
    checked, repaired, closed = (ended_by_itself(service, job) for job in (fails, repair, last))

    assert begun["status_humanized"] == "Success", begun["status_message"]
    assert checked["trigger"]["cause"] == f"Triggered by run {begun['id']} of job Load"
    assert checked["trigger"]["cause_category"] == "job completion"
    ends = [run["status_humanized"] for run in (checked, repaired, closed)]
    assert ends == ["Error", "Success", "Success"]
    assert runs_of(service, report) == []
    assert [len(runs_of(service, job)) for job in (first, fails, repair, last)] == [1] * 4
    assert service.get(f"v2/jobs/{fails}/")["run_failure_count"] == 1
