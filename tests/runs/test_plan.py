"""A run's plan: where everything is, every secret by env_var only, a sentence for what lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from environments.models import Environment
from environments.variables import set_value
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.plan import RunPlan, ToolchainPlan
from jobsvc.runs import plan as planning
from jobsvc.runs.models import PULL_REQUEST_FIELDS, Run
from jobsvc.runs.plan import automatic_variables, connection_of, plan_run
from jobsvc.runs.steps import steps_of
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory
from tests.factories import (
    ConnectionFactory,
    CredentialsFactory,
    EnvironmentFactory,
    ExtendedAttributesFactory,
    JobFactory,
    RepositoryFactory,
)
from tests.runs.conftest import BY_API

pytestmark = pytest.mark.django_db

DBT = ToolchainPlan(version="1.11.16", executable="/toolchains/dbt-1.11/bin/dbt")
PASSWORD, GIT_TOKEN, SECRET = "correct-horse", "ghp_battery", "staple-1234"


@pytest.fixture(autouse=True)
def directories(settings: Any, tmp_path: Path) -> None:
    settings.WORKSPACES_DIR = tmp_path / "workspaces"
    settings.WAREHOUSES_DIR = tmp_path / "warehouses"


@pytest.fixture
def warehouse() -> Environment:
    """A PostgreSQL environment: a connection, and credentials with a password."""
    environment = EnvironmentFactory()
    account = environment.project.account
    environment.connection = ConnectionFactory(
        account=account,
        name="Warehouse",
        adapter="postgres",
        adapter_version="postgres_v0",
        config={"hostname": "db.example.com", "port": 5433, "dbname": "shop"},
    )
    environment.credentials = CredentialsFactory(
        project=environment.project,
        type="postgres",
        adapter="postgres",
        adapter_version="postgres_v0",
        default_schema="analytics",
        config={"username": "loader"},
        secrets={"password": PASSWORD},
    )
    environment.save()
    return environment


def run_in(environment: Environment, **overrides: Any) -> Run:
    return trigger_run(JobFactory(environment=environment), replace(BY_API, **overrides))


def planned(run: Run) -> RunPlan:
    return plan_run(run, steps_of(run, connection_of(run).name), toolchain=DBT)


# --- Secrets --------------------------------------------------------------------------------


def test_a_password_stands_in_the_profile_as_an_expression_only(warehouse: Environment) -> None:
    profile = planned(run_in(warehouse)).profile

    assert profile.output["password"] == "{{ env_var('DBT_ENV_SECRET_JOBSVC_PASSWORD') }}"
    assert profile.secrets == {"DBT_ENV_SECRET_JOBSVC_PASSWORD": PASSWORD}
    assert PASSWORD not in json.dumps(dict(profile.output))


def test_every_secret_is_listed_for_masking(warehouse: Environment) -> None:
    project = warehouse.project
    project.repository = RepositoryFactory(
        account=project.account, secrets={"username": "x", "password": GIT_TOKEN}
    )
    project.save()
    set_value(project, "DBT_ENV_SECRET_API", SECRET)
    set_value(project, "DBT_PLAIN", "shown")

    assert sorted(planned(run_in(warehouse)).secrets) == sorted([PASSWORD, GIT_TOKEN, SECRET])


def test_a_deploy_key_is_listed_for_masking(warehouse: Environment) -> None:
    project = warehouse.project
    project.repository = RepositoryFactory(
        account=project.account, secrets={"private_key": "-----BEGIN KEY-----"}
    )
    project.save()

    plan = planned(run_in(warehouse))

    assert plan.checkout.private_key in plan.secrets


def test_nothing_secret_is_kept_with_the_run(warehouse: Environment) -> None:
    set_value(warehouse.project, "DBT_ENV_SECRET_API", SECRET)
    run = run_in(warehouse)
    planned(run)

    row = json.dumps(Run.objects.filter(pk=run.pk).values().get(), default=str)
    assert PASSWORD not in row
    assert SECRET not in row


def test_a_plan_does_not_show_its_secrets_when_it_is_printed(warehouse: Environment) -> None:
    set_value(warehouse.project, "DBT_ENV_SECRET_API", SECRET)

    printed = repr(planned(run_in(warehouse)))

    assert PASSWORD not in printed
    assert SECRET not in printed


# --- The warehouse ----------------------------------------------------------------------------


def test_the_profile_says_where_and_as_whom(warehouse: Environment) -> None:
    output = planned(run_in(warehouse, threads_override=3)).profile.output

    assert {name: output[name] for name in ("type", "host", "port", "dbname", "user")} == {
        "type": "postgres",
        "host": "db.example.com",
        "port": 5433,
        "dbname": "shop",
        "user": "loader",
    }
    assert (output["schema"], output["threads"]) == ("analytics", 3)


def test_an_overridden_schema_and_target_win(warehouse: Environment) -> None:
    profile = planned(
        run_in(warehouse, schema_override="dbt_ana", target_name_override="ci")
    ).profile

    assert (profile.output["schema"], profile.target_name) == ("dbt_ana", "ci")


@pytest.mark.parametrize("scope", ["project", "environment", "job", "run"])
def test_a_variable_at_any_scope_names_the_schema(warehouse: Environment, scope: str) -> None:
    job = JobFactory(environment=warehouse)
    if scope != "run":
        set_value(
            warehouse.project,
            "DBT_TARGET_SCHEMA",
            "elsewhere",
            environment=warehouse if scope == "environment" else None,
            job_definition_id=job.pk if scope == "job" else None,
        )
    given = {"DBT_TARGET_SCHEMA": "elsewhere"} if scope == "run" else {}
    one, other = (
        trigger_run(job, replace(BY_API, variables_override=values)) for values in (given, {})
    )

    assert planned(one).profile.output["schema"] == "elsewhere"
    later = planned(other).profile.output["schema"]
    assert later == ("analytics" if scope == "run" else "elsewhere")


def test_the_triggers_schema_wins_over_the_variable(warehouse: Environment) -> None:
    run = run_in(
        warehouse, schema_override="ana", variables_override={"DBT_TARGET_SCHEMA": "elsewhere"}
    )

    assert planned(run).profile.output["schema"] == "ana"


def test_extended_attributes_win_over_the_connection(warehouse: Environment) -> None:
    warehouse.extended_attributes = ExtendedAttributesFactory(
        project=warehouse.project, extended_attributes={"dbname": "other", "role": "reader"}
    )

    output = planned(run_in(warehouse)).profile.output

    assert (output["dbname"], output["role"], output["host"]) == (
        "other",
        "reader",
        "db.example.com",
    )


@pytest.mark.parametrize(
    ("attributes", "ports"),
    [({}, (22, 80, 443, 5433)), ({"port": 6000}, (22, 80, 443, 6000))],
)
def test_the_children_may_reach_the_web_and_the_warehouse(
    warehouse: Environment, attributes: dict[str, Any], ports: tuple[int, ...]
) -> None:
    warehouse.extended_attributes = ExtendedAttributesFactory(
        project=warehouse.project, extended_attributes=attributes
    )

    assert planned(run_in(warehouse)).sandbox.ports == ports


def test_the_environments_connection_wins_over_the_projects(warehouse: Environment) -> None:
    assert connection_of(run_in(warehouse)).name == "Warehouse"


def test_without_one_the_projects_connection_is_used() -> None:
    environment = EnvironmentFactory(connection=None)

    assert connection_of(run_in(environment)) == environment.project.connection


# --- DuckDB files stay in their account's folder -----------------------------------------------


def duckdb_plan(path: str | None, attributes: dict[str, Any] | None = None) -> tuple[Run, RunPlan]:
    environment = EnvironmentFactory()
    environment.connection.config = {} if path is None else {"path": path}
    environment.connection.save()
    if attributes is not None:
        environment.extended_attributes = ExtendedAttributesFactory(
            project=environment.project, extended_attributes=attributes
        )
    run = run_in(environment)
    return run, planned(run)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("coffee.duckdb", "coffee.duckdb"),
        ("marts/coffee.duckdb", "marts/coffee.duckdb"),
        (None, "warehouse.duckdb"),
    ],
)
def test_a_duckdb_file_lies_in_its_accounts_folder(
    settings: Any, path: str | None, file: str
) -> None:
    run, plan = duckdb_plan(path)

    folder = settings.WAREHOUSES_DIR / str(run.account_id)
    assert plan.profile.output["path"] == str(folder / file)
    assert plan.sandbox.read_write == (str(folder),)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_two_accounts_have_two_folders() -> None:
    (_one, first), (_other, second) = duckdb_plan("coffee.duckdb"), duckdb_plan("coffee.duckdb")

    assert first.profile.output["path"] != second.profile.output["path"]


def test_duckdb_may_stay_in_memory() -> None:
    assert duckdb_plan(":memory:")[1].profile.output["path"] == ":memory:"


def test_a_pull_requests_schema_wins_over_extended_attributes(warehouse: Environment) -> None:
    warehouse.extended_attributes = ExtendedAttributesFactory(
        project=warehouse.project, extended_attributes={"schema": "analytics"}
    )
    job = JobFactory(environment=warehouse, ci=True)

    run = trigger_run(job, replace(BY_API, github_pull_request_id=2))
    run.environment = warehouse

    assert planned(run).profile.output["schema"] == f"dbt_cloud_pr_{job.pk}_2"


@pytest.mark.parametrize("field", PULL_REQUEST_FIELDS)
def test_a_pull_requests_run_has_a_schema_to_itself(warehouse: Environment, field: str) -> None:
    job = JobFactory(environment=warehouse, ci=True)

    plan = planned(trigger_run(job, replace(BY_API, **{field: 2})))

    assert (plan.schema_prefix, plan.guard) == (f"dbt_cloud_pr_{job.pk}_2", True)


def test_the_schema_of_a_pull_request_is_known_though_nothing_guards_it(
    warehouse: Environment,
) -> None:
    job = JobFactory(environment=warehouse, ci=True, extensions={"ci": {"schema_guard": "off"}})

    plan = planned(trigger_run(job, replace(BY_API, github_pull_request_id=2)))

    assert (plan.schema_prefix, plan.guard) == (f"dbt_cloud_pr_{job.pk}_2", False)


@pytest.mark.parametrize(("job_type", "number"), [("ci", None), ("other", 2), ("merge", 2)])
def test_any_other_run_has_no_schema_to_itself(
    warehouse: Environment, job_type: str, number: int | None
) -> None:
    job = JobFactory(environment=warehouse, job_type=job_type)
    trigger = replace(BY_API, schema_override="trial", github_pull_request_id=number)

    assert planned(trigger_run(job, trigger)).schema_prefix == ""


def test_extended_attributes_name_a_file_in_the_accounts_folder_too(settings: Any) -> None:
    run, plan = duckdb_plan("coffee.duckdb", {"path": "tea.duckdb"})

    assert plan.profile.output["path"] == str(
        settings.WAREHOUSES_DIR / str(run.account_id) / "tea.duckdb"
    )


@pytest.mark.parametrize("path", ["/etc/passwd", "../2/coffee.duckdb", "a/../../2/b", "~/x", ""])
@pytest.mark.parametrize("by", ["connection", "extended attributes"])
def test_no_duckdb_file_leads_out_of_the_accounts_folder(path: str, by: str) -> None:
    with pytest.raises(planning.WarehouseRefused, match="Give a file name such as"):
        if by == "connection":
            duckdb_plan(path)
        else:
            duckdb_plan("coffee.duckdb", {"path": path})


def test_duckdb_needs_no_network_of_its_own() -> None:
    assert duckdb_plan("coffee.duckdb")[1].sandbox.ports == (22, 80, 443)


def test_duckdb_needs_no_credentials() -> None:
    environment = EnvironmentFactory(credentials=None)

    assert planned(run_in(environment)).profile.output["schema"] == "main"


# --- What lacks, or is refused, is said in a sentence --------------------------------------------


def sentence(run: Run) -> str:
    with pytest.raises(RunFailure) as failure:
        planned(run)
    return str(failure.value)


def test_a_project_without_a_repository() -> None:
    environment = EnvironmentFactory(project__repository=None, project__name="Coffee")

    assert sentence(run_in(environment)) == (
        "The project Coffee has no repository. Add one in the project's settings, then retry the "
        "run."
    )


def test_an_environment_without_a_connection() -> None:
    environment = EnvironmentFactory(name="Production", project__connection=None)

    assert sentence(run_in(environment)) == (
        "The environment Production has no connection. Choose a connection in the environment's "
        "settings, then retry the run."
    )


def test_an_environment_without_credentials(warehouse: Environment) -> None:
    warehouse.name, warehouse.credentials = "Production", None

    assert sentence(run_in(warehouse)) == (
        "The environment Production has no credentials. Add credentials in the environment's "
        "settings, then retry the run."
    )


def test_a_port_that_is_no_number(warehouse: Environment) -> None:
    warehouse.extended_attributes = ExtendedAttributesFactory(
        project=warehouse.project, extended_attributes={"port": "{{ env_var('DBT_PORT') }}"}
    )

    assert sentence(run_in(warehouse)) == (
        "The connection Warehouse cannot be used: the port in the extended attributes is not a "
        "number. Correct the connection, then retry the run."
    )


@pytest.mark.parametrize("by", ["connection", "extended attributes"])
def test_a_warehouse_that_is_our_own_server(
    warehouse: Environment, settings: Any, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    ours = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": 5432}
    monkeypatch.setitem(settings.DATABASES, "default", ours)
    if by == "connection":
        assert warehouse.connection is not None
        warehouse.connection.config = {"hostname": "localhost", "port": 5432, "dbname": "jobsvc"}
        warehouse.connection.save()
    else:
        warehouse.extended_attributes = ExtendedAttributesFactory(
            project=warehouse.project, extended_attributes={"host": "127.0.0.1", "port": 5432}
        )

    assert "the server that holds this service's own data" in sentence(run_in(warehouse))


# --- Code, limits ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("custom", "asked", "ref"),
    [(None, None, ""), ("main", None, "main"), ("main", "feature", "feature")],
)
def test_the_asked_branch_wins_over_the_environments(
    warehouse: Environment, custom: str | None, asked: str | None, ref: str
) -> None:
    warehouse.use_custom_branch, warehouse.custom_branch = custom is not None, custom

    assert planned(run_in(warehouse, git_branch=asked)).checkout.ref == ref


def test_a_commit_and_a_subdirectory_are_handed_on(warehouse: Environment) -> None:
    warehouse.project.dbt_project_subdirectory = "analytics/dbt"
    checkout = planned(run_in(warehouse, git_sha="a" * 40)).checkout

    assert (checkout.sha, checkout.subdirectory) == ("a" * 40, "analytics/dbt")


@pytest.mark.parametrize(("asked", "limit"), [(0, 3600), (60, 60), (9999, 3600)])
def test_a_runs_time_has_a_limit_that_no_job_can_raise(
    warehouse: Environment, settings: Any, asked: int, limit: int
) -> None:
    settings.RUN_MAX_SECONDS = 3600

    assert planned(run_in(warehouse, timeout_seconds_override=asked)).timeout_seconds == limit


def test_each_attempt_has_a_workspace_of_its_own(warehouse: Environment) -> None:
    run = run_in(warehouse)
    Run.objects.claim(run.pk, worker="w1")
    run.refresh_from_db()

    plan = planned(run)

    assert (plan.run_id, plan.attempt) == (run.pk, 1)


def test_a_plan_survives_the_way_to_the_supervisor(warehouse: Environment) -> None:
    plan = planned(run_in(warehouse))

    assert RunPlan.from_json(plan.to_json()) == plan


# --- Variables -------------------------------------------------------------------------------


def test_the_strongest_scope_wins(warehouse: Environment) -> None:
    job = JobFactory(environment=warehouse)
    project = warehouse.project
    for name, environment, of_job in (
        ("DBT_A", None, None),
        ("DBT_B", None, None),
        ("DBT_B", warehouse, None),
        ("DBT_C", None, None),
        ("DBT_C", warehouse, None),
        ("DBT_C", None, job.pk),
    ):
        value = "job" if of_job else "environment" if environment else "project"
        set_value(project, name, value, environment=environment, job_definition_id=of_job)

    given = planned(trigger_run(job, BY_API)).environment

    assert {name: given[name] for name in ("DBT_A", "DBT_B", "DBT_C")} == {
        "DBT_A": "project",
        "DBT_B": "environment",
        "DBT_C": "job",
    }


def test_a_runs_own_variables_win_and_are_for_it_alone(warehouse: Environment) -> None:
    job = JobFactory(environment=warehouse)
    set_value(warehouse.project, "DBT_A", "job", job_definition_id=job.pk)
    one = trigger_run(
        job,
        replace(BY_API, variables_override={"DBT_A": 7, "DBT_ENV_SECRET_B": SECRET}),
    )
    other = trigger_run(job, BY_API)

    assert planned(one).environment["DBT_A"] == "7"
    assert SECRET in planned(one).secrets
    assert planned(other).environment["DBT_A"] == "job"
    assert "DBT_ENV_SECRET_B" not in planned(other).environment


def test_values_of_other_jobs_and_environments_do_not_count(warehouse: Environment) -> None:
    other = EnvironmentFactory(project=warehouse.project)
    other_job = JobFactory(environment=warehouse)
    set_value(warehouse.project, "DBT_A", "other", environment=other)
    set_value(warehouse.project, "DBT_B", "other", job_definition_id=other_job.pk)

    given = planned(run_in(warehouse)).environment

    assert "DBT_A" not in given
    assert "DBT_B" not in given


def test_every_run_can_read_about_itself(warehouse: Environment) -> None:
    warehouse.name, warehouse.deployment_type = "Production", "production"
    run = run_in(warehouse)

    assert automatic_variables(run) == {
        "DBT_CLOUD_ACCOUNT_ID": str(run.account_id),
        "DBT_CLOUD_PROJECT_ID": str(run.project_id),
        "DBT_CLOUD_ENVIRONMENT_ID": str(run.environment_id),
        "DBT_CLOUD_JOB_ID": str(run.job_id),
        "DBT_CLOUD_RUN_ID": str(run.pk),
        "DBT_CLOUD_RUN_REASON": "test",
        "DBT_CLOUD_RUN_REASON_CATEGORY": "other",
        "DBT_ENV_CUSTOM_ENV_DBT_CLOUD_ACCOUNT_ID": str(run.account_id),
        "DBT_ENV_CUSTOM_ENV_DBT_CLOUD_PROJECT_ID": str(run.project_id),
        "DBT_ENV_CUSTOM_ENV_DBT_CLOUD_ENVIRONMENT_ID": str(run.environment_id),
        "DBT_ENV_CUSTOM_ENV_DBT_CLOUD_JOB_ID": str(run.job_id),
        "DBT_ENV_CUSTOM_ENV_DBT_CLOUD_RUN_ID": str(run.pk),
        "DBT_ENV_CUSTOM_ENV_DBT_CLOUD_RUN_REASON": "test",
        "DBT_ENV_CUSTOM_ENV_DBT_CLOUD_RUN_REASON_CATEGORY": "other",
        "DBT_ENV": "prod",
        "DBT_CLOUD_ENVIRONMENT_NAME": "Production",
        "DBT_CLOUD_ENVIRONMENT_TYPE": "prod",
        "DBT_CLOUD_INVOCATION_CONTEXT": "prod",
    }


def test_a_pull_requests_run_can_read_about_it(warehouse: Environment) -> None:
    run = trigger_run(
        JobFactory(environment=warehouse, ci=True),
        Trigger(
            cause="PR 7",
            cause_category=CauseCategory.CI,
            github_pull_request_id=7,
            git_sha="a" * 40,
        ),
    )

    given = automatic_variables(run)

    assert (given["DBT_CLOUD_PR_ID"], given["DBT_CLOUD_GIT_SHA"]) == ("7", "a" * 40)
    assert given["DBT_CLOUD_RUN_REASON_CATEGORY"] == "github_pull_request"
    assert given["DBT_CLOUD_INVOCATION_CONTEXT"] == "ci"


@pytest.mark.parametrize(
    ("category", "given", "word"),
    [
        (CauseCategory.SCHEDULED, {}, "scheduled"),
        (CauseCategory.CI, {}, "github_pull_request"),
        (CauseCategory.CI, {"github_pull_request_id": 7}, "github_pull_request"),
        (CauseCategory.CI, {"gitlab_merge_request_id": 7}, "gitlab_merge_request"),
        (CauseCategory.API, {"gitlab_merge_request_id": 7}, "gitlab_merge_request"),
        (CauseCategory.CI, {"azure_pull_request_id": 7}, "azure_pull_request"),
        (CauseCategory.CI, {"non_native_pull_request_id": 7}, "other"),
        (CauseCategory.API, {}, "other"),
        (CauseCategory.MERGE, {}, "other"),
        (CauseCategory.JOB_COMPLETION, {}, "other"),
    ],
)
def test_every_cause_has_dbt_clouds_word(
    warehouse: Environment, category: CauseCategory, given: dict[str, int], word: str
) -> None:
    run = trigger_run(
        JobFactory(environment=warehouse), Trigger(cause="why", cause_category=category, **given)
    )

    assert automatic_variables(run)["DBT_CLOUD_RUN_REASON_CATEGORY"] == word
