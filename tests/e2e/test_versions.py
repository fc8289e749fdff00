"""dbt versions side by side, and one run's own variables: the service as it is, and real dbt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.e2e.stack import (
    EXAMPLE,
    Place,
    Stack,
    Warehouse,
    duckdb_warehouse,
    make_repository,
    postgres_warehouse,
    stack,
)
from tests.installation import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e versions"),  # one service is enough
]

SECRET = "one-run-only-7319"
SAYS_SECRET = "{{ config(materialized='view') }}\nselect 1 as id -- {{ env_var('DBT_SAID') }}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service, with no dbt yet: each is installed when a run needs it."""
    directory = tmp_path_factory.mktemp("versions")
    with stack(
        "postgresql",
        directory / "data",
        JOBSVC_TOOLCHAINS_DIR=str(directory / "toolchains"),
        UV_CACHE_DIR=str(ROOT / ".toolchains" / ".cache"),
    ) as made:
        yield made


@pytest.fixture
def warehouse() -> Iterator[tuple[Warehouse, str]]:
    with postgres_warehouse() as made:
        yield made


def in_words_of_1_9(value: Any) -> Any:
    """A part of a YAML file without what dbt 1.9 does not know yet."""
    if isinstance(value, list):
        return [in_words_of_1_9(item) for item in value]
    if not isinstance(value, dict):
        return value
    known = {key: in_words_of_1_9(item) for key, item in value.items()}
    if isinstance(known.get("arguments"), dict):  # of a test; a macro's are a list
        known |= known.pop("arguments")
    for group in known.get("groups", []):
        group.pop("description", None)
        group.pop("config", None)
    for exposure in known.get("exposures", []):
        exposure.pop("config", None)
    return known


def the_example_for_1_9() -> dict[str, str]:
    """The files of the example that 1.9 would read otherwise: path to text."""
    project = (EXAMPLE / "dbt_project.yml").read_text()
    files = {"dbt_project.yml": re.sub(r'">=1\.10\.0"', '">=1.9.0"', project)}
    for folder in ("models", "seeds", "snapshots", "macros"):
        for path in (EXAMPLE / folder).rglob("*.yml"):
            plain = in_words_of_1_9(yaml.safe_load(path.read_text()))
            files[str(path.relative_to(EXAMPLE))] = yaml.safe_dump(plain, sort_keys=False)
    return files


def place_of(service: Stack, name: str, warehouse: Warehouse, **files: str) -> Place:
    repository = service.service.data / "repositories" / name
    return service.place(make_repository(repository, **files), warehouse, name)


def environments_made(service: Stack) -> list[str]:
    directory = Path(service.service.settings["JOBSVC_TOOLCHAINS_DIR"])
    return sorted(path.name for path in directory.glob("[!.]*"))


def schemas_of(address: str, table: str) -> list[str]:
    """The schemas of a PostgreSQL database that have ``table``."""
    with psycopg.connect(address) as database:
        rows = database.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = %s ORDER BY 1",
            [table],
        )
        return [row[0] for row in rows]


def test_three_minor_versions_run_the_example_side_by_side(
    service: Stack, warehouse: tuple[Warehouse, str]
) -> None:
    made, address = warehouse
    place = place_of(service, "three", made)
    old = place_of(service, "three-of-1-9", made, **the_example_for_1_9())
    runs = {
        "1.9.": service.trigger(
            service.job(old, ["dbt build"], dbt_version="1.9.x"), schema_override="of_1_9"
        ),
        "1.10.": service.trigger(
            service.job(place, ["dbt build"], dbt_version="1.11.x"),
            schema_override="of_1_10",
            dbt_version_override="1.10.x",
        ),
        "1.11.": service.trigger(
            service.job(place, ["dbt build"], name="newest"), schema_override="of_1_11"
        ),
    }

    ended = {series: service.ended(run) for series, run in runs.items()}

    for series, run in ended.items():
        assert run["status_humanized"] == "Success", run["status_message"]
        assert run["dbt_version"].startswith(series)
        manifest = service.artifact(run["id"], "manifest.json").json()
        assert manifest["metadata"]["dbt_version"] == run["dbt_version"]
    assert schemas_of(address, "shop_days") == ["of_1_10", "of_1_11", "of_1_9"]
    versions = service.get("v3/dbt-versions/")
    assert {one["version"] for one in versions["installed"]} >= {
        run["dbt_version"] for run in ended.values()
    }
    assert all(one["is_hash_locked"] for one in versions["installed"])


def test_two_runs_that_need_the_same_version_at_once_have_it_installed_once(
    service: Stack,
) -> None:
    place = place_of(service, "twice", duckdb_warehouse())
    before = environments_made(service)
    jobs = [
        service.job(place, ["dbt parse"], name=f"job {number}", dbt_version="1.11.10")
        for number in (1, 2)
    ]

    runs = [service.ended(service.trigger(job)) for job in jobs]

    assert [run["dbt_version"] for run in runs] == ["1.11.10", "1.11.10"]
    assert {run["status_humanized"] for run in runs} == {"Success"}
    assert set(environments_made(service)) - set(before) == {"dbt-1.11.10-duckdb"}


def test_a_version_that_was_never_released_fails_the_run_in_the_installers_words(
    service: Stack,
) -> None:
    place = place_of(service, "never", duckdb_warehouse())
    job = service.job(place, ["dbt parse"], dbt_version="1.10.99")

    run = service.ended(service.trigger(job))

    assert run["status_humanized"] == "Error"
    assert run["dbt_version"] is None
    assert "there is no version of dbt-core==1.10.99" in run["status_message"]


def test_a_version_that_nobody_could_have_is_refused_with_the_choices(service: Stack) -> None:
    place = place_of(service, "refused", duckdb_warehouse())
    job = service.job(place, ["dbt parse"])

    answers = [
        service.http.post(
            f"{service.url}/api/v2/accounts/{service.account}/jobs/{job}/{path}", json=body
        )
        for path, body in (
            ("run/", {"dbt_version_override": "1.99.x"}),
            ("", {"dbt_version": "1.12.0"}),
        )
    ]

    for answer in answers:
        assert answer.status_code == 400
        assert "Choose one of: latest, versionless, compatible, extended, 1.11.x" in answer.text


def test_one_runs_own_schema_is_that_runs_alone(
    service: Stack, warehouse: tuple[Warehouse, str]
) -> None:
    made, address = warehouse
    place = place_of(service, "one-off", made)
    job = service.job(place, ["dbt seed --select raw_shops"])

    one_off = service.ended(
        service.trigger(job, extensions={"variables": {"DBT_TARGET_SCHEMA": "one_off"}})
    )
    assert one_off["status_humanized"] == "Success", one_off["status_message"]
    assert schemas_of(address, "raw_shops") == ["one_off"]

    usual = service.ended(service.trigger(job))

    assert usual["status_humanized"] == "Success", usual["status_message"]
    assert schemas_of(address, "raw_shops") == ["analytics", "one_off"]


def test_one_runs_own_secret_is_kept_out_of_all_it_leaves(service: Stack) -> None:
    place = place_of(
        service, "secret", duckdb_warehouse(), **{"models/staging/said.sql": SAYS_SECRET}
    )
    job = service.job(place, ["dbt compile --select said"])

    # The plain one says it, too: what is kept out is the text, wherever it stands.
    variables = {"DBT_ENV_SECRET_TOKEN": SECRET, "DBT_SAID": f"token={SECRET}"}
    run = service.trigger(job, extensions={"variables": variables})

    ended = service.ended(run)
    assert ended["status_humanized"] == "Success", ended["status_message"]
    shown = service.get(f"v2/runs/{run}/?include_related=extensions")["extensions"]["variables"]
    assert shown == {"DBT_ENV_SECRET_TOKEN": "**********", "DBT_SAID": f"token={SECRET}"}
    assert SECRET not in str(service.run(run))
    assert SECRET not in service.artifact(run, "manifest.json").text


def test_a_retired_version_is_removed_by_command(service: Stack) -> None:
    service.service.manage("dbt_versions", "install", "1.10.5", "--adapter", "duckdb")
    assert "dbt-1.10.5-duckdb" in service.service.manage("dbt_versions", "list")

    service.service.manage("dbt_versions", "remove", "dbt-1.10.5-duckdb")

    assert "dbt-1.10.5-duckdb" not in environments_made(service)
