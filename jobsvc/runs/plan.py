"""A claimed run becomes a plan: where its code, warehouse, dbt, variables and secrets are.

The only place that opens secrets. What it returns is handed to the run's supervisor and is
never stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from environments import adapters
from environments.define import check_not_our_own_database
from environments.models import Connection, Credentials, Environment, Repository
from environments.variables import TARGET_SCHEMA, resolve
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.names import is_secret_name
from jobsvc.engine.plan import (
    CheckoutPlan,
    ComparePlan,
    ProfilePlan,
    RunPlan,
    SandboxPlan,
    StepPlan,
    ToolchainPlan,
    WarehousePlan,
)
from jobsvc.jobs import extensions
from jobsvc.jobs.extensions import Extensions, SchemaGuard
from jobsvc.runs.models import Run, RunTrigger
from jobsvc.statuses import CauseCategory

WEB_PORTS = (22, 80, 443)  # what `dbt deps` and most warehouses need
WAREHOUSE_SECONDS = 300  # for one question to a warehouse outside of any run
STATED_IN_ARTIFACTS = "DBT_ENV_CUSTOM_ENV_"  # dbt copies these into metadata.env of its files

TYPES = {"production": "prod", "staging": "staging", None: ""}


class NothingToCheckOut(RunFailure):
    template = "The project {project} has no repository."
    remedy = "Add one in the project's settings, then retry the run."


class NoConnection(RunFailure):
    template = "The environment {environment} has no connection."
    remedy = "Choose a connection in the environment's settings, then retry the run."


class NoCredentials(RunFailure):
    template = "The environment {environment} has no credentials."
    remedy = "Add credentials in the environment's settings, then retry the run."


class WarehouseRefused(RunFailure):
    template = "The connection {connection} cannot be used: {reason}."
    remedy = "Correct the connection, then retry the run."


def connection_of(run: Run) -> Connection:
    """The connection that ``run`` uses: its environment's, else its project's.

    Raises:
        NoConnection
    """
    connection = run.environment.effective_connection
    if connection is None:
        raise NoConnection(environment=run.environment.name)
    return connection


def plan_run(
    run: Run, steps: Sequence[StepPlan], *, toolchain: ToolchainPlan, uid: int | None = None
) -> RunPlan:
    """All that the engine needs to carry ``run`` out, by what is true now.

    Args:
        toolchain: the dbt it gets (``jobsvc.runs.toolchains.ready``).
        uid: the user id its children get, where this worker gives them one.

    Raises:
        RunFailure: something is missing or refused; the sentence says what.
    """
    connection = connection_of(run)
    variables = resolve(run.environment, job_definition_id=run.job_id)
    variables |= run.trigger.variables_override
    configuration = run.configuration
    profile = _profile(
        run.environment,
        connection,
        variables,
        schema=configuration["schema_override"] or "",
        threads=configuration["threads"],
        target_name=configuration["target_name"],
    )
    checkout = _checkout(run)
    return RunPlan(
        run_id=run.pk,
        attempt=run.attempts,
        workspaces=str(settings.WORKSPACES_DIR),
        checkout=checkout,
        profile=profile,
        toolchain=toolchain,
        sandbox=_sandbox(connection, profile, uid),
        steps=tuple(steps),
        environment=variables | automatic_variables(run),
        secrets=_secrets(variables, profile, checkout.password, checkout.private_key),
        timeout_seconds=min(
            configuration["timeout_seconds"] or settings.RUN_MAX_SECONDS, settings.RUN_MAX_SECONDS
        ),
        stop_grace_seconds=settings.STOP_GRACE_SECONDS,
        schema_prefix=_schema_prefix(run),
        guard=_extended(run).ci.schema_guard is SchemaGuard.STOP,
        compare=_compare(run),
    )


def profile_of(run: Run, variables: Mapping[str, str]) -> ProfilePlan:
    """The profile that ``run`` would get now; its secrets are apart, and only named in it.

    Args:
        variables: of its environment, its job and the run itself, by name.

    Raises:
        RunFailure: something is missing or refused; the sentence says what.
    """
    return _profile(
        run.environment,
        connection_of(run),
        variables,
        schema=run.configuration.get("schema_override") or "",
        threads=run.configuration.get("threads") or 1,
        target_name=run.configuration.get("target_name") or "default",
    )


def plan_warehouse(
    environment: Environment,
    connection: Connection,
    *,
    name: str,
    schema: str,
    job_id: int,
    toolchain: ToolchainPlan,
    uid: int | None = None,
) -> WarehousePlan:
    """All that the engine needs to ask a warehouse something outside of any run.

    Args:
        name: of the workspace; none is ever used again.
        schema: the profile's own.
        job_id: the job whose variables the profile may name.

    Raises:
        RunFailure: something is missing or refused; the sentence says what.
    """
    variables = resolve(environment, job_definition_id=job_id)
    profile = _profile(
        environment, connection, variables, schema=schema, threads=1, target_name="default"
    )
    return WarehousePlan(
        name=name,
        workspaces=str(settings.WORKSPACES_DIR),
        profile=profile,
        toolchain=toolchain,
        sandbox=_sandbox(connection, profile, uid),
        environment=variables,
        secrets=_secrets(variables, profile),
        timeout_seconds=WAREHOUSE_SECONDS,
        stop_grace_seconds=settings.STOP_GRACE_SECONDS,
    )


def _secrets(variables: Mapping[str, str], profile: ProfilePlan, *others: str) -> tuple[str, ...]:
    secret_values = [value for name, value in variables.items() if is_secret_name(name)]
    values = (*secret_values, *profile.secrets.values(), *others)
    return tuple(value for value in values if value)


def _schema_prefix(run: Run) -> str:
    """The schema that a pull request's run has to itself; empty for any other run."""
    if run.trigger.pull_request_id is None or not run.job.is_ci:
        return ""
    return str(run.configuration["schema_override"] or "")


def _compare(run: Run) -> ComparePlan | None:
    if not run.configuration.get("run_compare_changes"):
        return None
    return ComparePlan(
        flags=run.configuration["compare_changes_flags"],
        keep_rows=_extended(run).compare.keep_rows,
    )


def _extended(run: Run) -> Extensions:
    return extensions.read(run.configuration.get("extensions", {}))


def automatic_variables(run: Run) -> dict[str, str]:
    """What every run can read about itself, as dbt Cloud names it; also stamped into artifacts.

    Source: docs.getdbt.com, "Environment variables", Special environment variables.
    """
    trigger, environment = run.trigger, run.environment
    about = {
        "DBT_CLOUD_ACCOUNT_ID": str(run.account_id),
        "DBT_CLOUD_PROJECT_ID": str(run.project_id),
        "DBT_CLOUD_ENVIRONMENT_ID": str(run.environment_id),
        "DBT_CLOUD_JOB_ID": str(run.job_id),
        "DBT_CLOUD_RUN_ID": str(run.pk),
        "DBT_CLOUD_RUN_REASON": trigger.cause,
        "DBT_CLOUD_RUN_REASON_CATEGORY": _reason_category(trigger),
    }
    stamped = {f"{STATED_IN_ARTIFACTS}{name}": value for name, value in about.items()}
    kind = TYPES[environment.deployment_type]
    return (
        about
        | stamped
        | {
            "DBT_ENV": "prod",
            "DBT_CLOUD_ENVIRONMENT_NAME": environment.name,
            "DBT_CLOUD_ENVIRONMENT_TYPE": kind,
            "DBT_CLOUD_INVOCATION_CONTEXT": "ci" if run.job.is_ci else kind or "prod",
        }
        | ({"DBT_CLOUD_PR_ID": str(trigger.pull_request_id)} if trigger.pull_request_id else {})
        | ({"DBT_CLOUD_GIT_SHA": trigger.git_sha} if trigger.git_sha else {})
    )


def _reason_category(trigger: RunTrigger) -> str:
    """dbt Cloud's word for why a run exists; it has none for a completion or a merge."""
    if trigger.cause_category == CauseCategory.SCHEDULED:
        return "scheduled"
    if trigger.gitlab_merge_request_id:
        return "gitlab_merge_request"
    if trigger.azure_pull_request_id:
        return "azure_pull_request"
    if trigger.non_native_pull_request_id:
        return "other"
    by_pull_request = trigger.github_pull_request_id or trigger.cause_category == CauseCategory.CI
    return "github_pull_request" if by_pull_request else "other"


def _checkout(run: Run) -> CheckoutPlan:
    repository: Repository | None = run.project.repository
    if repository is None:
        raise NothingToCheckOut(project=run.project.name)
    secrets = repository.secrets
    username, password = secrets.get("username", ""), secrets.get("password", "")
    if (signed_in := settings.CLONE_CREDENTIALS.get(repository.git_clone_strategy)) is not None:
        username, password = import_string(signed_in)(repository)
    return CheckoutPlan(
        url=repository.remote_url,
        ref=run.configuration["git_branch"] or run.environment.branch,
        sha=run.configuration["git_sha"] or "",
        subdirectory=run.project.dbt_project_subdirectory or "",
        username=username,
        password=password,
        private_key=secrets.get("private_key", ""),
        local_roots=tuple(settings.GIT_LOCAL_ROOTS),
        plain_http_hosts=tuple(settings.GIT_PLAIN_HTTP_HOSTS),
        timeout_seconds=settings.CHECKOUT_TIMEOUT_SECONDS,
    )


def _profile(
    environment: Environment,
    connection: Connection,
    variables: Mapping[str, str],
    *,
    schema: str,
    threads: int,
    target_name: str,
) -> ProfilePlan:
    """The profile of ``environment`` on ``connection``.

    Args:
        schema: wins over the environment's own, wherever that is said; may be empty.

    Raises:
        NoCredentials, WarehouseRefused
    """
    credentials: Credentials | None = environment.credentials
    if credentials is None and connection.adapter != "duckdb":
        raise NoCredentials(environment=environment.name)
    try:
        output, secret_environment = _output(
            environment,
            connection,
            schema=schema
            or variables.get(TARGET_SCHEMA)
            or (credentials.default_schema if credentials else "")
            or "main",
            threads=threads,
        )
    except ValueError as refused:
        raise WarehouseRefused(
            connection=connection.name, reason=str(refused).rstrip(".")
        ) from refused
    if schema:
        output[adapters.ADAPTERS[connection.adapter].schema_key] = schema
    return ProfilePlan(
        connection_name=connection.name,
        target_name=target_name,
        output=output,
        secrets=secret_environment,
    )


def _output(
    environment: Environment, connection: Connection, *, schema: str, threads: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields of the profile's one output, and the secrets that it names.

    Raises:
        ValueError: the connection, or an attribute over it, is not allowed.
    """
    credentials: Credentials | None = environment.credentials
    config = dict(connection.config)
    extended = environment.extended_attributes
    attributes = dict(extended.extended_attributes) if extended else {}
    if not str(attributes.get("port", 0)).isdecimal():
        raise ValueError("the port in the extended attributes is not a number")
    if connection.adapter == "duckdb":
        config["path"] = attributes.pop("path", config.get("path", "warehouse.duckdb"))
        config["path"] = duckdb_path(connection.account_id, config["path"])
    output, secret_environment = adapters.profile_output(
        connection.adapter,
        config,
        connection.secrets,
        credentials.config if credentials else {},
        credentials.secrets if credentials else {},
        schema=schema,
        threads=threads,
        extended_attributes=attributes,
    )
    check_not_our_own_database(connection.adapter, output)
    return output, secret_environment


def warehouse_directory(account_id: int) -> Path:
    """Where the DuckDB files of an account lie: its runs can read and write here, no others."""
    return Path(settings.WAREHOUSES_DIR) / str(account_id)


def duckdb_path(account_id: int, name: str) -> str:
    """The absolute path of a DuckDB file that a connection names.

    Raises:
        ValueError: it would lie outside the account's directory.
    """
    adapters.check_duckdb_path(name)
    return name if name == ":memory:" else str(warehouse_directory(account_id) / name)


def _sandbox(connection: Connection, profile: ProfilePlan, uid: int | None) -> SandboxPlan:
    read_write: list[str] = []
    if connection.adapter == "duckdb":
        place = warehouse_directory(connection.account_id)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if uid is not None:
            _give(place, uid)
        read_write.append(str(place))
    return SandboxPlan(
        need=tuple(settings.ISOLATION_NEED),
        ports=tuple(sorted({*WEB_PORTS, *adapters.ports(connection.adapter, profile.output)})),
        read_write=tuple(read_write),
        uid=uid,
        rlimits={"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 4096},
    )


def _give(directory: Path, uid: int) -> None:
    """Let this run's user id write where earlier runs of its account, with others, have written.

    Names are taken relative to an open directory and links are not followed: a run of the same
    account may be at work there, and what it puts in the way must lead nowhere else.
    """
    for _path, _directories, files, here in os.fwalk(directory):
        os.chown(here, uid, uid)
        for name in files:
            os.chown(name, uid, uid, dir_fd=here, follow_symlinks=False)
