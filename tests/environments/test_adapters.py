"""Each adapter's fields, and the profile that they make for dbt."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from environments.adapters import (
    ADAPTERS,
    VERSIONS,
    check_duckdb_path,
    package,
    ports,
    profile_output,
    profile_type,
    validate_config,
    validate_credentials,
)
from jobsvc.engine.names import check_variable_name, is_secret_name
from tests.installation import POSTGRES_URL, ROOT

DBT = Path(os.environ.get("JOBSVC_TEST_DBT", ROOT / ".toolchains" / "dbt-1.11" / "bin" / "dbt"))

POSTGRES = {"hostname": "db.example.com", "port": 5433, "dbname": "shop"}

# What a connection and its credentials may look like, as (config, credentials).
FILLED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "postgres": (POSTGRES, {"username": "ann", "password": "x"}),
    "redshift": (POSTGRES, {"username": "ann", "password": "x", "auth_type": "database"}),
    "snowflake": (
        {"account": "a1", "database": "D", "warehouse": "W", "allow_sso": False, "role": None},
        {"auth_type": "keypair", "user": "ann", "private_key": "k", "role": "R"},
    ),
    "bigquery": (
        {"project_id": "p", "private_key": "k", "client_email": "a@p", "timeout_seconds": 300},
        {},
    ),
    "databricks": ({"host": "h.example.com", "http_path": "/sql/1"}, {"token": "t"}),
    "spark": ({"host": "h.example.com", "method": "thrift"}, {"user": "ann"}),
    "trino": ({"host": "h.example.com", "catalog": "c"}, {"user": "ann", "password": "x"}),
    "duckdb": ({"path": "shop.duckdb", "extensions": ["json"], "settings": {"threads": 1}}, {}),
    "custom": ({"type": "athena", "region_name": "eu"}, {"aws_profile_name": "x"}),
}


def output_of(adapter: str, **changes: Any) -> tuple[dict[str, Any], dict[str, str]]:
    config, credentials = FILLED[adapter]
    hidden = ADAPTERS[adapter].secret_names()
    given: dict[str, Any] = {
        "config": {name: value for name, value in config.items() if name not in hidden},
        "secrets": {name: value for name, value in config.items() if name in hidden},
        "credentials": {k: v for k, v in credentials.items() if k not in hidden},
        "credential_secrets": {k: v for k, v in credentials.items() if k in hidden},
        "schema": "analytics",
        "threads": 4,
        "extended_attributes": {},
    }
    given |= changes
    return profile_output(
        adapter,
        given.pop("config"),
        given.pop("secrets"),
        given.pop("credentials"),
        given.pop("credential_secrets"),
        **given,
    )


# --- Fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_an_adapter_needs_is_enough(adapter: str) -> None:
    config, credentials = FILLED[adapter]
    assert validate_config(adapter, config) == {}
    assert validate_credentials(adapter, credentials) == {}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_an_adapter_needs_is_asked_for_when_it_is_left_out(adapter: str) -> None:
    needed = {field.name for field in ADAPTERS[adapter].config if field.required}
    assert needed
    assert validate_config(adapter, {}).keys() == needed
    assert validate_config(adapter, dict.fromkeys(needed)).keys() == needed
    assert validate_config(adapter, dict.fromkeys(needed, "")).keys() == needed


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("port", 0, "from 1 to 65535"),
        ("port", 65536, "from 1 to 65535"),
        ("port", "http", "whole number"),
        ("port", 54.5, "whole number"),
        ("port", True, "whole number"),
        ("port", [5432], "whole number"),
        ("retries", 11, "from 0 to 10"),
        ("retries", -1, "whole number"),
        ("hostname", "https://db.example.com", "host's name"),
        ("hostname", "db.example.com/x", "host's name"),
        ("hostname", "db example", "host's name"),
        ("hostname", 5, "Give text"),
        ("dbname", {"a": 1}, "Give text"),
        ("dbname", "a\x00b", "NUL"),
        ("sslmode", "maybe", "Choose one of: disable"),
        ("host", "db.example.com", "no such field"),
    ],
)
def test_a_wrong_value_is_named_with_a_sentence(field: str, value: object, said: str) -> None:
    wrong = validate_config("postgres", {**POSTGRES, field: value})
    assert wrong.keys() == {field}
    assert said in wrong[field]
    assert wrong[field].endswith(".")


@pytest.mark.parametrize(
    ("adapter", "field", "value"),
    [
        ("snowflake", "client_session_keep_alive", "yes"),
        ("bigquery", "scopes", "a,b"),
        ("duckdb", "settings", []),
        ("duckdb", "path", "/srv/other.duckdb"),
        ("duckdb", "path", 5),
        ("custom", "Region-Name", "eu"),
    ],
)
def test_values_of_other_kinds_are_checked_as_well(adapter: str, field: str, value: object) -> None:
    wrong = validate_config(adapter, {**FILLED[adapter][0], field: value})
    assert wrong.keys() == {field}


def test_a_port_may_come_as_text() -> None:
    assert validate_config("postgres", {**POSTGRES, "port": "5433"}) == {}
    output, _ = output_of("postgres", config={**POSTGRES, "port": "5433"})
    assert output["port"] == 5433


def test_credentials_may_carry_what_belongs_to_every_adapter() -> None:
    given = {"username": "ann", "default_schema": "s", "threads": 4, "target_name": "prod"}
    assert validate_credentials("postgres", given) == {}


@pytest.mark.parametrize("path", ["shop.duckdb", "team/shop.duckdb", ":memory:", "a-b_c.db"])
def test_a_duckdb_file_has_a_plain_relative_name(path: str) -> None:
    check_duckdb_path(path)


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "./a", "a//b", "~/a", ".hidden", "md:x", "s3://b/x", "a b", "-x",
     "a\n", "a?x=1", "x" * 201],
)  # fmt: skip
def test_a_duckdb_file_cannot_lie_anywhere_else(path: str) -> None:
    with pytest.raises(ValueError, match="Give a file name"):
        check_duckdb_path(path)


def test_every_version_of_the_api_has_its_adapter() -> None:
    assert VERSIONS["postgres_v0"] == "postgres"
    assert VERSIONS["bigquery_v1"] == "bigquery"
    assert VERSIONS["apache_spark_v0"] == VERSIONS["databricks_spark_v0"] == "spark"
    assert VERSIONS["athena_v0"] == VERSIONS["custom_v0"] == "custom"
    assert set(VERSIONS.values()) == set(ADAPTERS)


def test_a_custom_connection_says_which_adapter_it_means() -> None:
    assert profile_type("duckdb_v0", {}) == "duckdb"
    assert profile_type("custom_v0", {"type": "clickhouse"}) == "clickhouse"
    assert profile_type("athena_v0", {}) == "athena"
    assert package("custom", {"type": "clickhouse"}) == "dbt-clickhouse"
    assert package("postgres", {}) == "dbt-postgres"


def test_ports_are_those_that_a_run_must_reach() -> None:
    assert ports("postgres", {"port": 6543}) == (6543,)
    assert ports("postgres", {"port": "6543"}) == (6543,)
    assert ports("postgres", {"port": None}) == (5432,)
    assert ports("redshift", {}) == (5439,)
    assert ports("snowflake", {}) == ports("bigquery", {}) == (443,)
    assert ports("duckdb", {}) == ()


# --- The profile -------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_no_secret_stands_in_a_profile(adapter: str) -> None:
    config, credentials = FILLED[adapter]
    hidden = ADAPTERS[adapter].secret_names()
    secrets = {name: f"hidden-{name}" for name in {**config, **credentials} if name in hidden}
    output, environment = output_of(
        adapter,
        secrets={k: v for k, v in secrets.items() if k in config},
        credential_secrets={k: v for k, v in secrets.items() if k in credentials},
    )
    assert "hidden-" not in json.dumps(output)
    assert sorted(environment.values()) == sorted(secrets.values())
    for variable in environment:
        assert is_secret_name(variable)
        assert f"{{{{ env_var('{variable}') }}}}" in json.dumps(output)
        with pytest.raises(ValueError, match="set by this service"):
            check_variable_name(variable)


def test_a_postgres_profile_has_the_keys_of_dbt() -> None:
    assert output_of("postgres") == (
        {
            "type": "postgres",
            "host": "db.example.com",
            "port": 5433,
            "dbname": "shop",
            "user": "ann",
            "password": "{{ env_var('DBT_ENV_SECRET_JOBSVC_PASSWORD') }}",
            "schema": "analytics",
            "threads": 4,
        },
        {"DBT_ENV_SECRET_JOBSVC_PASSWORD": "x"},
    )


def test_a_bigquery_profile_nests_its_key_file() -> None:
    output, environment = output_of("bigquery")
    assert output == {
        "type": "bigquery",
        "method": "service-account-json",
        "project": "p",
        "job_execution_timeout_seconds": 300,
        "keyfile_json": {
            "type": "service_account",
            "client_email": "a@p",
            "private_key": "{{ env_var('DBT_ENV_SECRET_JOBSVC_PRIVATE_KEY') }}",
        },
        "dataset": "analytics",
        "threads": 4,
    }
    assert environment == {"DBT_ENV_SECRET_JOBSVC_PRIVATE_KEY": "k"}


def test_credentials_win_over_the_connection() -> None:
    config = {"account": "a1", "database": "D", "warehouse": "W", "role": "READER"}
    output, _ = output_of("snowflake", config=config)
    assert output["role"] == "R"
    assert "allow_sso" not in output and "auth_type" not in output


def test_extended_attributes_replace_top_level_keys_as_they_are() -> None:
    extended = {
        "threads": 16,
        "host": "elsewhere",
        "keepalives_idle": 10,
        "password": "{{ env_var('DBT_ENV_SECRET_MINE') }}",
    }
    output, _ = output_of("postgres", extended_attributes=extended)
    assert output == {**output, **extended}
    assert output["port"] == 5433


def test_any_other_adapter_gets_its_fields_by_their_own_names() -> None:
    output, environment = output_of(
        "custom",
        config={"type": "clickhouse", "host": "h", "port": 8443, "secure": True},
        credentials={"user": "ann"},
        credential_secrets={"password": "x"},
    )
    assert output == {
        "type": "clickhouse",
        "host": "h",
        "port": 8443,
        "secure": True,
        "user": "ann",
        "password": "{{ env_var('DBT_ENV_SECRET_JOBSVC_PASSWORD') }}",
        "schema": "analytics",
        "threads": 4,
    }
    assert environment == {"DBT_ENV_SECRET_JOBSVC_PASSWORD": "x"}


def test_a_custom_connection_without_a_port_gets_none() -> None:
    assert "port" not in output_of("custom")[0]


# --- With the real dbt -------------------------------------------------------------------------

READ_PROFILES = r"""
import argparse, json, os, sys
from dbt.config.profile import Profile
from dbt.config.renderer import ProfileRenderer
from dbt.flags import set_from_args
from dbt_common.context import set_invocation_context

set_from_args(argparse.Namespace(), None)
read = []
for output, environment in json.load(sys.stdin):
    set_invocation_context(environment)
    profiles = {"jobsvc": {"target": "default", "outputs": {"default": output}}}
    profile = Profile.from_raw_profiles(profiles, "jobsvc", ProfileRenderer({}))
    read.append(profile.credentials.to_dict())
print(json.dumps(read))
"""


def as_dbt_reads(*made: tuple[dict[str, Any], dict[str, str]]) -> list[dict[str, Any]]:
    """The credentials that dbt makes of each profile and its environment."""
    done = subprocess.run(
        [DBT.parent / "python", "-c", READ_PROFILES],
        input=json.dumps(made),
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_dbt_reads_a_password_as_the_text_that_it_is() -> None:
    passwords = ["12345", "007", "1e3", "true", "null", "{{ x }}", "a'b\"c", "line\nbreak", "ü"]
    made = [output_of("postgres", credential_secrets={"password": one}) for one in passwords]
    assert [credentials["pass"] for credentials in as_dbt_reads(*made)] == passwords


def test_dbt_reads_names_that_look_like_numbers_as_text() -> None:
    config = {**POSTGRES, "dbname": "2024"}
    made = output_of("postgres", config=config, credentials={"username": "007"}, schema="_1")
    [read] = as_dbt_reads(made)
    assert (read["database"], read["user"], read["schema"]) == ("2024", "007", "_1")


def show_one(tmp_path: Path, output: dict[str, Any], environment: dict[str, str]) -> str:
    """Have the real dbt ask the warehouse for a number."""
    (tmp_path / "dbt_project.yml").write_text("name: probe\nprofile: jobsvc\n")
    profile = {"jobsvc": {"target": "default", "outputs": {"default": output}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profile))
    done = subprocess.run(
        [DBT, "--no-send-anonymous-usage-stats", "show", "--inline", "select 40 + 2 as n"],
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dbt_works_with_a_duckdb_profile(tmp_path: Path) -> None:
    config = {"path": str(tmp_path / "shop.duckdb"), "settings": {"preserve_insertion_order": True}}
    output, environment = output_of("duckdb", config=config)
    assert re.search(r"\b42\b", show_one(tmp_path, output, environment))
    assert (tmp_path / "shop.duckdb").exists()


@pytest.mark.services
@pytest.mark.parametrize("secrets", [{"password": "12345"}, {}], ids=["password", "no password"])
def test_dbt_works_with_a_postgres_profile(tmp_path: Path, secrets: dict[str, str]) -> None:
    server = urlsplit(POSTGRES_URL)
    output, environment = output_of(
        "postgres",
        config={
            "hostname": server.hostname,
            "port": server.port or 5432,
            "dbname": server.path.removeprefix("/"),
        },
        credentials={"username": server.username},
        credential_secrets={"password": server.password} if server.password else secrets,
    )
    assert re.search(r"\b42\b", show_one(tmp_path, output, environment))
