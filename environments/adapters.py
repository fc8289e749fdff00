"""Which warehouses there are: the fields of each, which of them are secret, and the profile
they make.

An adapter is data. A warehouse that is not declared here works as ``custom``, whose fields go
into the profile by their own names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Reserved for this service: jobsvc.engine.names refuses it to users.
SECRET_NAME = "DBT_ENV_SECRET_JOBSVC_{field}"  # noqa: S105 - a variable's name, not a secret

HIGHEST_PORT = 65535

# Credentials carry these, too, but they are settings of every adapter and have their own place.
_SETTINGS = frozenset({"schema", "default_schema", "target_name", "threads"})


@dataclass(frozen=True)
class Field:
    """One thing to be filled in.

    Attributes:
        name: the API's word for it.
        key: where it stands in the profile, ``keyfile_json.private_key`` for a nested one;
            empty where clients send it and dbt has no use for it.
        kind: ``text``, ``host``, ``port``, ``number``, ``boolean``, ``list`` or ``object``.
        choices: the only values accepted; none means any.
        most: the highest number accepted.
    """

    name: str
    key: str
    kind: str = "text"
    required: bool = False
    secret: bool = False
    choices: tuple[str, ...] = ()
    most: int | None = None


@dataclass(frozen=True)
class Adapter:
    """A kind of warehouse.

    Attributes:
        name: ``type`` in the profile.
        package: what must be installed beside dbt-core.
        versions: the API's words for it; the first is given to new connections.
        config: the fields of a connection; ``credentials``: those of who signs in.
        port: TCP port where the connection names none; None where no network is needed.
        schema_key: what the profile calls the schema.
        always: profile keys that no field sets.
        free: any field is accepted, and goes into the profile by its own name.
    """

    name: str
    title: str
    package: str
    versions: tuple[str, ...]
    config: tuple[Field, ...]
    credentials: tuple[Field, ...] = ()
    port: int | None = 443
    schema_key: str = "schema"
    always: Mapping[str, Any] | None = None
    free: bool = False

    def secret_names(self) -> frozenset[str]:
        """The fields, of connection and credentials, whose values are never shown."""
        return frozenset(f.name for f in (*self.config, *self.credentials) if f.secret)


_PASSWORD = Field("password", "password", secret=True)
_RETRIES = Field("retries", "retries", "number", most=10)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_POSTGRES_CONFIG = (
    Field("hostname", "host", "host", required=True),
    Field("port", "port", "port"),
    Field("dbname", "dbname", required=True),
    _RETRIES,
    Field("sslmode", "sslmode", choices=_SSL_MODES),
    Field("connect_timeout", "connect_timeout", "number", most=3600),
)

_BIGQUERY_CONFIG = (
    Field("deployment_env_auth_type", "", choices=("service-account-json",)),
    Field("project_id", "project", required=True),
    Field("private_key_id", "keyfile_json.private_key_id"),
    Field("private_key", "keyfile_json.private_key", required=True, secret=True),
    Field("client_email", "keyfile_json.client_email", required=True),
    Field("client_id", "keyfile_json.client_id"),
    Field("auth_uri", "keyfile_json.auth_uri"),
    Field("token_uri", "keyfile_json.token_uri"),
    Field("auth_provider_x509_cert_url", "keyfile_json.auth_provider_x509_cert_url"),
    Field("client_x509_cert_url", "keyfile_json.client_x509_cert_url"),
    Field("timeout_seconds", "job_execution_timeout_seconds", "number"),
    Field("job_execution_timeout_seconds", "job_execution_timeout_seconds", "number"),
    Field("priority", "priority", choices=("batch", "interactive")),
    Field("retries", "job_retries", "number"),
    Field("location", "location"),
    Field("maximum_bytes_billed", "maximum_bytes_billed", "number"),
    Field("execution_project", "execution_project"),
    Field("impersonate_service_account", "impersonate_service_account"),
    Field("job_retry_deadline_seconds", "job_retry_deadline_seconds", "number"),
    Field("job_creation_timeout_seconds", "job_creation_timeout_seconds", "number"),
    Field("scopes", "scopes", "list"),
    Field("gcs_bucket", "gcs_bucket"),
    Field("dataproc_region", "compute_region"),
    Field("dataproc_cluster_name", "dataproc_cluster_name"),
    Field("api_endpoint", "api_endpoint"),
    # For people who sign in by Google; a job signs in by its service account.
    Field("application_id", ""),
    Field("application_secret", "", secret=True),
)

_DECLARED = (
    Adapter(
        name="postgres",
        title="PostgreSQL",
        package="dbt-postgres",
        versions=("postgres_v0",),
        port=5432,
        always={"password": ""},  # dbt wants one even where the server asks for none
        config=_POSTGRES_CONFIG,
        credentials=(Field("username", "user", required=True), _PASSWORD),
    ),
    Adapter(
        name="redshift",
        title="Redshift",
        package="dbt-redshift",
        versions=("redshift_v0",),
        port=5439,
        config=(*_POSTGRES_CONFIG, Field("region", "region")),
        credentials=(
            Field("auth_type", "method", choices=("database",)),
            Field("username", "user", required=True),
            _PASSWORD,
        ),
    ),
    Adapter(
        name="snowflake",
        title="Snowflake",
        package="dbt-snowflake",
        versions=("snowflake_v0",),
        config=(
            Field("account", "account", required=True),
            Field("database", "database", required=True),
            Field("warehouse", "warehouse", required=True),
            Field("role", "role"),
            Field("client_session_keep_alive", "client_session_keep_alive", "boolean"),
            # For people who sign in by their browser; a job signs in by password or key.
            Field("allow_sso", "", "boolean"),
            Field("oauth_client_id", "", secret=True),
            Field("oauth_client_secret", "", secret=True),
        ),
        credentials=(
            Field("auth_type", "", choices=("password", "keypair")),
            Field("user", "user", required=True),
            Field("database", "database"),
            Field("warehouse", "warehouse"),
            Field("role", "role"),
            _PASSWORD,
            Field("private_key", "private_key", secret=True),
            Field("private_key_passphrase", "private_key_passphrase", secret=True),
        ),
    ),
    Adapter(
        name="bigquery",
        title="BigQuery",
        package="dbt-bigquery",
        versions=("bigquery_v0", "bigquery_v1"),
        schema_key="dataset",
        always={"method": "service-account-json", "keyfile_json.type": "service_account"},
        config=_BIGQUERY_CONFIG,
    ),
    Adapter(
        name="databricks",
        title="Databricks",
        package="dbt-databricks",
        versions=("databricks_v0",),
        config=(
            Field("host", "host", "host", required=True),
            Field("http_path", "http_path", required=True),
            Field("catalog", "catalog"),
            Field("client_id", "client_id"),
            Field("client_secret", "client_secret", secret=True),
            Field("scopes", "", "list"),
        ),
        credentials=(
            Field("auth_type", "auth_type", choices=("token", "oauth")),
            Field("token", "token", secret=True),
            Field("catalog", "catalog"),
            Field("client_id", "client_id"),
            Field("client_secret", "client_secret", secret=True),
        ),
    ),
    Adapter(
        name="spark",
        title="Apache Spark",
        package="dbt-spark",
        versions=("apache_spark_v0", "databricks_spark_v0"),
        config=(
            Field("host", "host", "host", required=True),
            Field("port", "port", "port"),
            Field("method", "method", choices=("http", "thrift", "odbc")),
            Field("cluster", "cluster"),
            Field("endpoint", "endpoint"),
            Field("driver", "driver"),
            Field("connect_timeout", "connect_timeout", "number"),
            Field("connect_retries", "connect_retries", "number"),
            Field("organization", "organization"),
            Field("user", "user"),
            Field("auth", "auth"),
            Field("kerberos_service_name", "kerberos_service_name"),
        ),
        credentials=(
            Field("user", "user"),
            _PASSWORD,
            Field("token", "token", secret=True),
        ),
    ),
    Adapter(
        name="trino",
        title="Trino",
        package="dbt-trino",
        versions=("trino_v0",),
        config=(
            Field("host", "host", "host", required=True),
            Field("port", "port", "port"),
            Field("method", "method", choices=("none", "ldap", "jwt")),
            Field("catalog", "database"),
            Field("http_scheme", "http_scheme", choices=("http", "https")),
        ),
        credentials=(
            Field("user", "user", required=True),
            Field("catalog", "database"),
            _PASSWORD,
            Field("jwt_token", "jwt_token", secret=True),
        ),
    ),
    Adapter(
        name="duckdb",
        title="DuckDB",
        package="dbt-duckdb",
        versions=("duckdb_v0",),
        port=None,
        config=(
            Field("path", "path", required=True),
            Field("extensions", "extensions", "list"),
            Field("settings", "settings", "object"),
        ),
    ),
    Adapter(
        name="custom",
        title="Another adapter",
        package="",
        versions=("custom_v0",),
        config=(Field("type", "type", required=True), Field("port", "port", "port")),
        free=True,
    ),
)

ADAPTERS: dict[str, Adapter] = {adapter.name: adapter for adapter in _DECLARED}

# The API knows these; their fields go into the profile by their own names.
_FREE_VERSIONS = {
    "athena_v0": "athena",
    "fabric_v0": "fabric",
    "salesforce_v0": "salesforce",
    "synapse_v0": "synapse",
    "teradata_v0": "teradata",
}

VERSIONS: dict[str, str] = {
    **{version: adapter.name for adapter in _DECLARED for version in adapter.versions},
    **dict.fromkeys(_FREE_VERSIONS, "custom"),
}

# The older API's words for kinds of warehouses; every other kind is an "adapter".
CONNECTION_TYPES = {"postgres", "redshift", "snowflake", "bigquery"}


def connection_type(adapter: str) -> str:
    """What the older API calls a connection to this kind of warehouse."""
    return adapter if adapter in CONNECTION_TYPES else "adapter"


def profile_type(adapter_version: str, config: Mapping[str, Any]) -> str:
    """``type`` of the profile: the adapter's name, or what a custom connection says it is."""
    name = VERSIONS[adapter_version]
    if name != "custom":
        return name
    return str(config.get("type") or _FREE_VERSIONS.get(adapter_version, ""))


def package(adapter: str, config: Mapping[str, Any]) -> str:
    """The Python package that a run of this connection needs beside dbt-core."""
    return ADAPTERS[adapter].package or f"dbt-{config['type']}"


def ports(adapter: str, config: Mapping[str, Any]) -> tuple[int, ...]:
    """The TCP ports that a run must be able to reach for this connection."""
    declared = ADAPTERS[adapter]
    if declared.port is None:
        return ()
    return (int(config.get("port") or declared.port),)


# --- Is it filled in rightly? --------------------------------------------------------------


def validate_config(adapter: str, config: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with a connection's fields, secret ones included: field to sentence."""
    return _validate(ADAPTERS[adapter], ADAPTERS[adapter].config, config)


def validate_credentials(adapter: str, credentials: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the fields of who signs in, secret ones included."""
    fields = {name: value for name, value in credentials.items() if name not in _SETTINGS}
    return _validate(ADAPTERS[adapter], ADAPTERS[adapter].credentials, fields)


def _validate(
    adapter: Adapter, fields: tuple[Field, ...], values: Mapping[str, Any]
) -> dict[str, str]:
    known = {field.name: field for field in fields}
    wrong: dict[str, str] = {}
    for name, value in values.items():
        if _is_absent(value):
            continue
        if name in known:
            sentence = _judge(known[name], value)
        elif adapter.free:
            sentence = _judge_free(name)
        else:
            has = ", ".join(known) or "none"
            sentence = f"{adapter.title} has no such field here. The fields are: {has}."
        if sentence:
            wrong[name] = sentence
    for field in fields:
        if field.required and _is_absent(values.get(field.name)):
            wrong[field.name] = f"{adapter.title} needs it. Fill it in."
    if adapter.name == "duckdb" and "path" in values and "path" not in wrong:
        try:
            check_duckdb_path(values["path"])
        except ValueError as refused:
            wrong["path"] = str(refused)
    return wrong


def _is_absent(value: object) -> bool:
    return value is None or value == ""


def _judge(field: Field, value: object) -> str:
    """One sentence on what is wrong with ``value``; empty if nothing is."""
    if field.kind in {"port", "number"}:
        return _judge_number(field, value)
    kind, words = {
        "boolean": (bool, "true or false"),
        "list": (list, "a list"),
        "object": (dict, "a JSON object"),
    }.get(field.kind, (str, "text"))
    if not isinstance(value, kind):
        return f"Give {words}."
    if isinstance(value, str):
        if "\x00" in value:
            return "It holds a NUL character. Take it out."
        if field.kind == "host" and not re.fullmatch(r"[A-Za-z0-9._:\-\[\]]{1,253}", value):
            return "Give the host's name or address alone, without https://, path or blank."
        if field.choices and value not in field.choices:
            return f"Choose one of: {', '.join(field.choices)}."
    return ""


def _judge_number(field: Field, value: object) -> str:
    # Clients send ports as text, too. A boolean is a number to Python, but not to us.
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,18}", str(value)):
        return "Give a whole number."
    lowest, highest = (1, HIGHEST_PORT) if field.kind == "port" else (0, field.most)
    number = int(str(value))
    if number < lowest or (highest is not None and number > highest):
        return f"Give a number from {lowest} to {highest}."
    return ""


def _judge_free(name: str) -> str:
    if re.fullmatch(r"[a-z_][a-z0-9_]{0,99}", name):
        return ""
    return "A profile's field has lower-case letters, digits and underscores."


def check_duckdb_path(path: str) -> None:
    """Refuse a DuckDB file that is not a plain relative name below the account's own folder.

    Raises:
        ValueError: with a sentence; ``:memory:`` is fine.
    """
    parts = path.split("/")
    if path != ":memory:" and not (
        len(path) <= 200
        and all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", part) for part in parts)
    ):
        raise ValueError(
            "Give a file name such as warehouse.duckdb, or :memory:. It is kept in a folder of "
            "your account, so it may not be absolute and may not hold `..`."
        )


# --- The profile ---------------------------------------------------------------------------


def profile_output(
    adapter: str,
    config: Mapping[str, Any],
    secrets: Mapping[str, Any],
    credentials: Mapping[str, Any],
    credential_secrets: Mapping[str, Any],
    *,
    schema: str,
    threads: int,
    extended_attributes: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The one output of a run's profile, and the secrets that it takes from the environment.

    What a later source says wins: connection, credentials, schema and threads, extended
    attributes (top-level keys only, as they are). No secret stands in the output: each is an
    ``env_var`` expression, which dbt also keeps from being read as a number.

    Args:
        config: for DuckDB, ``path`` must be the absolute one by now.

    Returns:
        the output's fields; environment variable name to secret value.
    """
    declared = ADAPTERS[adapter]
    output: dict[str, Any] = {"type": declared.name}
    environment: dict[str, str] = {}
    for key, value in (declared.always or {}).items():
        _put(output, key, value)
    for fields, plain, hidden in (
        (declared.config, config, secrets),
        (declared.credentials, credentials, credential_secrets),
    ):
        for field, value in _filled(declared, fields, plain):
            if field.key:
                _put(output, field.key, _as_kind(field, value))
        for field, value in _filled(declared, fields, hidden):
            if field.key:
                variable = SECRET_NAME.format(field=field.name.upper())
                environment[variable] = str(value)
                _put(output, field.key, f"{{{{ env_var('{variable}') }}}}")
    if not declared.free and any(field.kind == "port" for field in declared.config):
        output.setdefault("port", declared.port)
    output |= {declared.schema_key: schema, "threads": threads, **extended_attributes}
    return output, environment


def _filled(
    adapter: Adapter, fields: Iterable[Field], values: Mapping[str, Any]
) -> Iterable[tuple[Field, Any]]:
    known = {field.name: field for field in fields}
    for name, value in values.items():
        field = known.get(name) or (Field(name, name) if adapter.free else None)
        if field is not None and not _is_absent(value):
            yield field, value


def _as_kind(field: Field, value: Any) -> Any:
    return int(value) if field.kind in {"port", "number"} else value


def _put(output: dict[str, Any], key: str, value: Any) -> None:
    *outer, last = key.split(".")
    for part in outer:
        output = output.setdefault(part, {})
    output[last] = value
