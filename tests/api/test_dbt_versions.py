"""dbt versions on the wire: what there is, what is refused, and who names the version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accounts.models import Account
from environments.models import Environment
from tests.conftest import JSONClient
from tests.factories import EnvironmentFactory, JobFactory

REFUSED = ["1.12.0", "1.12.x", "2.0.1", "1.4.x", "newest", "git+https://x", "1.11.16;x"]


@pytest.fixture(autouse=True)
def installed(settings: Any, tmp_path: Path) -> None:
    """One dbt, 1.11.9 for DuckDB."""
    settings.TOOLCHAINS_DIR = tmp_path
    root = tmp_path / "dbt-1.11.9"
    for name in ("dbt_core-1.11.9", "dbt_duckdb-1.11.1"):
        (root / f"lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin" / "dbt").touch()


@pytest.fixture
def place(account: Account) -> str:
    return f"/api/v3/accounts/{account.pk}/dbt-versions/"


@pytest.fixture
def environment(account: Account) -> Environment:
    return EnvironmentFactory(project__account=account)


def test_it_says_what_is_installed_and_what_could_be(api: JSONClient, place: str) -> None:
    data = api.get(place).json()["data"]

    assert data["default"] == "latest"
    assert data["installed"] == [
        {
            "name": "dbt-1.11.9",
            "version": "1.11.9",
            "adapters": ["duckdb"],
            "is_hash_locked": None,
        }
    ]
    assert [one["series"] for one in data["installable"]] == ["1.11.x", "1.10.x", "1.9.x"]
    assert all(one["adapters"] == ["duckdb", "postgres"] for one in data["installable"])
    assert data["choices"][:5] == ["latest", "versionless", "compatible", "extended", "1.11.x"]
    assert "1.11.9" in data["choices"]


def test_every_choice_can_be_chosen(api: JSONClient, place: str) -> None:
    for version in api.get(place).json()["data"]["choices"]:
        assert api.post(place, {"default": version}).status_code == 200


def test_the_accounts_default_is_that_of_environments_that_name_none(
    api: JSONClient, place: str, account: Account, environment: Environment
) -> None:
    EnvironmentFactory(project=environment.project, dbt_version="1.9.x")
    api.post(place, {"default": "1.10.x"})

    rows = f"/api/v3/accounts/{account.pk}/environments/"
    assert [one["dbt_version"] for one in api.get(rows).json()["data"]] == ["1.10.x", "1.9.x"]
    found = api.get(f"{rows}?dbt_version=1.10.x").json()["data"]
    assert [one["id"] for one in found] == [environment.pk]


@pytest.mark.parametrize("version", REFUSED)
def test_no_job_environment_run_or_account_can_name_a_version_that_cannot_be(
    version: str, api: JSONClient, place: str, account: Account, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    base = f"/api/v2/accounts/{account.pk}/jobs/{job.pk}"
    project = f"/api/v3/accounts/{account.pk}/projects/{environment.project_id}"

    answers = [
        api.post(f"{base}/", {"dbt_version": version}),
        api.post(f"{base}/run/", {"dbt_version_override": version}),
        api.post(
            f"{project}/environments/{environment.pk}/", {"name": "x", "dbt_version": version}
        ),
        api.post(place, {"default": version}),
    ]

    assert [answer.status_code for answer in answers] == [400] * 4
    assert all("Choose one of: latest," in answer.content.decode() for answer in answers)


def test_a_version_that_no_index_was_asked_for_yet_is_taken(
    api: JSONClient, account: Account, environment: Environment
) -> None:
    job = JobFactory(environment=environment)

    answer = api.post(f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/", {"dbt_version": "1.10.5"})

    assert answer.json()["data"]["dbt_version"] == "1.10.5"
