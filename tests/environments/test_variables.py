"""Which value of a variable wins, what may be set, and what anybody sees of a secret."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from environments import variables
from environments.models import EnvironmentVariable, Project
from environments.variables import MASK, delete_variable, resolve, set_value, set_values, shown
from jobsvc.jobs.models import Job
from tests.factories import EnvironmentFactory, JobFactory, ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def job() -> Job:
    return JobFactory()


@pytest.fixture
def project(job: Job) -> Project:
    return job.project


def resolved(job: Job) -> dict[str, str]:
    return resolve(job.environment, job_definition_id=job.pk)


def test_a_project_value_reaches_every_job(job, project):
    set_value(project, "DBT_REGION", "north")

    assert resolved(job) == {"DBT_REGION": "north"}


def test_an_environment_value_wins_over_the_projects(job, project):
    set_value(project, "DBT_REGION", "north")
    set_value(project, "DBT_REGION", "south", environment=job.environment)

    assert resolved(job) == {"DBT_REGION": "south"}


def test_a_job_value_wins_over_the_environments(job, project):
    set_value(project, "DBT_REGION", "west", job_definition_id=job.pk)
    set_value(project, "DBT_REGION", "south", environment=job.environment)
    set_value(project, "DBT_REGION", "north")

    assert resolved(job) == {"DBT_REGION": "west"}


def test_another_environments_value_does_not_count(job, project):
    elsewhere = EnvironmentFactory(project=project)
    set_value(project, "DBT_REGION", "south", environment=elsewhere)

    assert resolved(job) == {}


def test_another_jobs_value_does_not_count(job, project):
    other = JobFactory(environment=job.environment)
    set_value(project, "DBT_REGION", "west", job_definition_id=other.pk)

    assert resolved(job) == {}


def test_another_projects_value_does_not_count(job):
    set_value(ProjectFactory(account=job.account), "DBT_REGION", "north")

    assert resolved(job) == {}


def test_a_run_is_given_the_secret_in_clear(job, project):
    set_value(project, "DBT_ENV_SECRET_KEY", "hunter2")

    assert resolved(job) == {"DBT_ENV_SECRET_KEY": "hunter2"}


def test_nobody_else_is_shown_a_secret(project):
    row = set_value(project, "DBT_ENV_SECRET_KEY", "hunter2")

    assert shown(row) == MASK


def test_no_value_stands_in_the_database_in_clear(project):
    set_value(project, "DBT_ENV_SECRET_KEY", "hunter2")
    set_value(project, "DBT_REGION", "plain-but-private")

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM environments_environmentvariable")
        raw = str(cursor.fetchall())
    assert "hunter2" not in raw
    assert "plain-but-private" not in raw


def test_the_mask_given_back_keeps_the_secret(job, project):
    set_value(project, "DBT_ENV_SECRET_KEY", "hunter2")

    set_value(project, "DBT_ENV_SECRET_KEY", MASK)

    assert resolved(job) == {"DBT_ENV_SECRET_KEY": "hunter2"}


def test_a_mask_with_no_secret_behind_it_is_refused(project):
    with pytest.raises(ValidationError, match="mask"):
        set_value(project, "DBT_ENV_SECRET_KEY", MASK)


def test_a_value_that_looks_like_the_mask_is_a_value_where_nothing_is_secret(job, project):
    set_value(project, "DBT_STARS", MASK)

    assert resolved(job) == {"DBT_STARS": MASK}


def test_setting_a_value_twice_leaves_one(project):
    first = set_value(project, "DBT_REGION", "north")

    assert set_value(project, "DBT_REGION", "south").pk == first.pk
    assert EnvironmentVariable.objects.get().value == "south"


@pytest.mark.parametrize(
    ("value", "text"),
    [("  two blanks  ", "  two blanks  "), (7, "7"), (1.5, "1.5"), (True, "true"), ("", "")],
)
def test_a_value_is_kept_as_the_text_it_was(job, project, value, text):
    set_value(project, "DBT_VALUE", value)

    assert resolved(job) == {"DBT_VALUE": text}


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "x" * (64 * 1024 + 1), "nul\0"])
def test_what_is_no_text_that_a_process_can_be_given_is_refused(project, value):
    with pytest.raises(ValidationError) as refused:
        set_value(project, "DBT_VALUE", value)

    assert "raw_value" in refused.value.message_dict


@pytest.mark.parametrize(
    "name",
    [
        "REGION",
        "dbt_region",
        "DBT_REGION-1",
        "PATH",
        "LD_PRELOAD",
        "DBT_CLOUD_RUN_ID",
        "DBT_PROFILES_DIR",
        "DBT_TARGET_PATH",
        "DBT_ENGINE_X",
        "DBT_ENV_SECRET_JOBSVC_PASSWORD",
        "DBT_É",
        "DBT_X\n",
        "",
    ],
)
def test_a_name_that_is_malformed_reserved_or_steers_something_is_refused(project, name):
    with pytest.raises(ValidationError) as refused:
        set_value(project, name, "x")

    assert "name" in refused.value.message_dict


def test_an_environment_of_another_project_is_refused(project):
    with pytest.raises(ValidationError) as refused:
        set_value(project, "DBT_REGION", "x", environment=EnvironmentFactory())

    assert "environment_id" in refused.value.message_dict


def test_a_job_of_another_project_is_refused(project):
    with pytest.raises(ValidationError) as refused:
        set_value(project, "DBT_REGION", "x", job_definition_id=JobFactory().pk)

    assert "job_definition_id" in refused.value.message_dict


def test_several_values_are_set_at_once(job, project):
    place = job.environment.name

    made = set_values(project, "DBT_REGION", {"project": "north", place: "south"})

    assert len(made) == 2
    assert resolved(job) == {"DBT_REGION": "south"}


def test_a_place_that_is_no_environment_leaves_nothing_changed(job, project):
    with pytest.raises(ValidationError):
        set_values(project, "DBT_REGION", {"project": "north", "nowhere": "south"})

    assert resolved(job) == {}


def test_an_empty_text_deletes_one_value_among_several(job, project):
    set_values(project, "DBT_REGION", {"project": "north", job.environment.name: "south"})

    set_values(project, "DBT_REGION", {job.environment.name: ""})

    assert resolved(job) == {"DBT_REGION": "north"}


def test_a_value_can_be_named_by_its_number(job, project):
    row = set_value(project, "DBT_REGION", "north")

    set_values(project, "DBT_REGION", {str(row.pk): "south"})

    assert resolved(job) == {"DBT_REGION": "south"}


def test_a_number_of_another_variable_is_refused(project):
    other = set_value(project, "DBT_OTHER", "north")

    with pytest.raises(ValidationError):
        set_values(project, "DBT_REGION", {str(other.pk): "south"})


def test_a_variable_is_renamed_with_all_of_its_values(job, project):
    set_value(project, "DBT_REGION", "north")
    set_value(project, "DBT_REGION", "west", job_definition_id=job.pk)

    set_values(project, "DBT_REGION", {}, new_name="DBT_AREA")

    assert resolved(job) == {"DBT_AREA": "west"}
    assert EnvironmentVariable.objects.filter(name="DBT_AREA").count() == 2


def test_a_secret_cannot_be_renamed_into_something_readable(project):
    set_value(project, "DBT_ENV_SECRET_KEY", "hunter2")

    with pytest.raises(ValidationError, match="secret"):
        set_values(project, "DBT_ENV_SECRET_KEY", {}, new_name="DBT_KEY")


def test_a_variable_is_not_renamed_over_another(project):
    set_value(project, "DBT_REGION", "north")
    set_value(project, "DBT_AREA", "south")

    with pytest.raises(ValidationError) as refused:
        set_values(project, "DBT_REGION", {}, new_name="DBT_AREA")

    assert "new_name" in refused.value.message_dict


def test_deleting_a_variable_deletes_jobs_values_too(job, project):
    set_value(project, "DBT_REGION", "north")
    set_value(project, "DBT_REGION", "west", job_definition_id=job.pk)

    assert delete_variable(project, "DBT_REGION") == 2
    assert resolved(job) == {}


def test_values_of_a_deleted_environment_are_not_listed(project):
    gone = EnvironmentFactory(project=project, state=2)
    EnvironmentVariable.objects.create(
        project=project,
        name="DBT_REGION",
        scope="environment",
        environment=gone,
        secrets={"value": "south"},
    )

    assert variables.by_environment(project) == {}


@pytest.mark.parametrize("schema", ['x"; drop', "9lives", ""])
def test_a_target_schema_is_one_that_a_warehouse_takes(project, schema):
    with pytest.raises(ValidationError, match="cannot be a schema"):
        set_value(project, "DBT_TARGET_SCHEMA", schema)
