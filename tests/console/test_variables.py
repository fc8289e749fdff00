"""The variables of a project, in the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from environments import dotenv
from environments.models import EnvironmentVariable, Project
from tests.factories import (
    EnvironmentFactory,
    EnvironmentVariableFactory,
    JobFactory,
    ProjectFactory,
    RunFactory,
    RunStepFactory,
)
from tests.manifests import entry, left, manifest_of

VisitorOf = Callable[..., Client]


def url(project: Project, name: str = "variables", *more: str) -> str:
    return reverse(f"console:{name}", args=[project.account_id, project.pk, *more])


def variable(project: Project, name: str, value: str, **places: Any) -> EnvironmentVariable:
    scope = "environment" if "environment" in places else "project"
    scope = "job" if "job_definition_id" in places else scope
    return EnvironmentVariableFactory(
        project=project, name=name, scope=scope, secrets={"value": value}, **places
    )


def values(project: Project) -> dict[tuple[str, str], str]:
    """Every value by its variable and scope."""
    rows = EnvironmentVariable.objects.filter(project=project)
    return {(row.name, row.scope): row.value for row in rows}


def test_the_matrix_shows_the_value_of_each_place_and_what_it_inherits(
    visitor_of: VisitorOf,
) -> None:
    project = ProjectFactory()
    night = EnvironmentFactory(project=project, name="Night")
    EnvironmentFactory(project=project, name="Day")
    variable(project, "DBT_REGION", "eu")
    variable(project, "DBT_REGION", "us", environment=night)

    page = visitor_of(project.account).get(url(project)).content.decode()

    assert "<bdi>us</bdi>" in page
    assert '<span class="inherited"><bdi>eu</bdi></span>' in page
    assert page.index("Day") < page.index("Night")


def test_the_matrix_shows_what_jobs_say_themselves(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Nightly build")
    variable(job.project, "DBT_REGION", "mars", job_definition_id=job.pk)

    page = visitor_of(job.account).get(url(job.project)).content.decode()

    assert "1 of their own" in page
    assert "mars" in page
    assert "Nightly build" in page


def test_the_matrix_takes_few_questions_however_much_there_is(
    visitor_of: VisitorOf, django_assert_max_num_queries: Any
) -> None:
    project = ProjectFactory()
    for environment in EnvironmentFactory.create_batch(5, project=project):
        job = JobFactory(environment=environment)
        for number in range(5):
            variable(project, f"DBT_{number}", "a", environment=environment)
            variable(project, f"DBT_{number}", "b", job_definition_id=job.pk)
    visitor = visitor_of(project.account)

    with django_assert_max_num_queries(15):
        visitor.get(url(project))


def test_a_secret_is_shown_nowhere(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    project = job.project
    variable(project, "DBT_ENV_SECRET_KEY", "hunter2")
    variable(project, "DBT_ENV_SECRET_KEY", "hunter2", job_definition_id=job.pk)
    visitor = visitor_of(project.account)

    for address in (
        url(project),
        url(project, "variable", "DBT_ENV_SECRET_KEY"),
        url(project, "variable_export"),
    ):
        answer = visitor.get(address)
        assert answer.status_code == 200
        assert "hunter2" not in answer.content.decode()


def test_a_variable_is_made_with_values_at_several_places(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    project, environment = job.project, job.environment

    response = visitor_of(project.account).post(
        url(project, "variable_new"),
        {
            "name": "DBT_REGION",
            "value_project": "eu",
            f"value_environment_{environment.pk}": "us",
            "job": str(job.pk),
            "job_value": "mars",
        },
    )

    assert response["Location"] == url(project)
    assert values(project) == {
        ("DBT_REGION", "project"): "eu",
        ("DBT_REGION", "environment"): "us",
        ("DBT_REGION", "job"): "mars",
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("REGION", "begins with DBT_"),
        ("DBT_region", "upper-case letters"),
        ("DBT_PROFILES_DIR", "steers dbt itself"),
        ("DBT_CLOUD_RUN_ID", "set by this service"),
        ("", "required"),
    ],
)
def test_a_name_that_cannot_be_is_refused_at_its_field(
    visitor_of: VisitorOf, name: str, says: str
) -> None:
    project = ProjectFactory()

    page = visitor_of(project.account).post(
        url(project, "variable_new"), {"name": name, "value_project": "x"}
    )

    assert says in " ".join(page.context["form"].errors["name"])
    assert values(project) == {}


def test_a_variable_that_is_there_is_not_made_anew(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    variable(project, "DBT_REGION", "eu")

    page = visitor_of(project.account).post(
        url(project, "variable_new"), {"name": "DBT_REGION", "value_project": "us"}
    )

    assert "has this variable already" in page.content.decode()
    assert values(project) == {("DBT_REGION", "project"): "eu"}


def test_a_variable_without_any_value_is_not_made(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()

    page = visitor_of(project.account).post(url(project, "variable_new"), {"name": "DBT_REGION"})

    assert "value_project" in page.context["form"].errors


def test_only_what_was_changed_is_set(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    environment = EnvironmentFactory(project=project)
    variable(project, "DBT_REGION", "set meanwhile")
    variable(project, "DBT_REGION", "us", environment=environment)
    field = f"value_environment_{environment.pk}"

    visitor_of(project.account).post(
        url(project, "variable", "DBT_REGION"),
        {
            "name": "DBT_REGION",
            "value_project": "as it was",
            "initial-value_project": "as it was",
            field: "ca\r\nnada",
            f"initial-{field}": "us",
        },
    )

    assert values(project) == {
        ("DBT_REGION", "project"): "set meanwhile",
        ("DBT_REGION", "environment"): "ca\nnada",
    }


def test_an_emptied_field_takes_its_value_away(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    project = job.project
    variable(project, "DBT_REGION", "eu")
    row = variable(project, "DBT_REGION", "mars", job_definition_id=job.pk)
    field = f"value_job_{row.pk}"

    visitor_of(project.account).post(
        url(project, "variable", "DBT_REGION"),
        {
            "name": "DBT_REGION",
            "value_project": "eu",
            "initial-value_project": "eu",
            field: "",
            f"initial-{field}": "mars",
        },
    )

    assert values(project) == {("DBT_REGION", "project"): "eu"}


def test_a_variable_gets_another_name_and_keeps_its_values(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    variable(project, "DBT_REGION", "eu")

    visitor_of(project.account).post(
        url(project, "variable", "DBT_REGION"),
        {"name": "DBT_PLACE", "value_project": "eu", "initial-value_project": "eu"},
    )

    assert values(project) == {("DBT_PLACE", "project"): "eu"}


def test_a_secret_cannot_be_given_a_name_that_shows_it(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    variable(project, "DBT_ENV_SECRET_KEY", "hunter2")

    page = visitor_of(project.account).post(
        url(project, "variable", "DBT_ENV_SECRET_KEY"), {"name": "DBT_KEY"}
    )

    [sentence] = page.context["form"].errors["name"]
    assert "A secret stays one" in sentence


def test_an_empty_secret_is_kept_and_a_tick_takes_it_away(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    environment = EnvironmentFactory(project=project)
    variable(project, "DBT_ENV_SECRET_KEY", "one")
    variable(project, "DBT_ENV_SECRET_KEY", "two", environment=environment)

    visitor_of(project.account).post(
        url(project, "variable", "DBT_ENV_SECRET_KEY"),
        {
            "name": "DBT_ENV_SECRET_KEY",
            "value_project": "",
            f"remove_value_environment_{environment.pk}": "on",
        },
    )

    assert values(project) == {("DBT_ENV_SECRET_KEY", "project"): "one"}


def test_a_variable_is_deleted_with_all_of_its_values_by_post_alone(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    variable(project, "DBT_REGION", "eu")
    variable(project, "DBT_REGION", "us", environment=EnvironmentFactory(project=project))
    visitor = visitor_of(project.account)
    address = url(project, "variable_delete", "DBT_REGION")

    question = visitor.get(address).content.decode()
    before = len(values(project))
    visitor.post(address)

    assert "default, 1 of environments" in question
    assert (before, len(values(project))) == (2, 0)


def test_a_variable_that_is_not_there_has_no_page(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()

    assert visitor_of(project.account).get(url(project, "variable", "DBT_X")).status_code == 404


@pytest.mark.parametrize("name", ["variable_new", "variable_import"])
def test_who_may_only_run_cannot_change_variables(visitor_of: VisitorOf, name: str) -> None:
    project = ProjectFactory()
    runner = visitor_of(project.account, "job_runner")

    assert runner.post(url(project, name)).status_code == 403
    assert "New variable" not in runner.get(url(project)).content.decode()


def test_lines_are_imported_at_the_place_that_was_chosen(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    environment = EnvironmentFactory(project=project)

    visitor_of(project.account).post(
        url(project, "variable_import"),
        {"place": environment.pk, "text": "# ours\r\nexport DBT_A=1 # one\r\nDBT_B='two words'"},
    )

    assert values(project) == {
        ("DBT_A", "environment"): "1",
        ("DBT_B", "environment"): "two words",
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("DBT_A=1\nPATH=/bin", "PATH: "),
        ("DBT_A=1\nhello", "Line 2 is not of the form NAME=value."),
        ("DBT_A=1\nDBT_A=2", "a second time"),
        ("DBT_A='x", "Line 1: the quote is not closed"),
        ("DBT_A='x' y", "behind the closing quote"),
        ("# nothing", "There is no NAME=value in it."),
        ("\n".join(f"DBT_{number}=x" for number in range(501)), "Import 500 at once"),
    ],
)
def test_of_lines_with_a_wrong_one_nothing_is_imported(
    visitor_of: VisitorOf, text: str, says: str
) -> None:
    project = ProjectFactory()

    page = visitor_of(project.account).post(url(project, "variable_import"), {"text": text})

    assert says in " ".join(page.context["form"].errors["text"])
    assert values(project) == {}


def test_an_environments_export_is_what_its_jobs_get(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    environment = EnvironmentFactory(project=project)
    variable(project, "DBT_A", "one")
    variable(project, "DBT_B", "two")
    variable(project, "DBT_B", "other words", environment=environment)

    answer = visitor_of(project.account).get(
        f"{url(project, 'variable_export')}?environment={environment.pk}"
    )

    assert answer["Content-Disposition"].startswith("attachment")
    assert answer.content.decode() == 'DBT_A=one\nDBT_B="other words"\n'


def test_an_export_of_an_environment_that_is_not_there_is_none(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()

    for asked in (EnvironmentFactory().pk, "x", "9" * 30):
        answer = visitor_of(project.account).get(
            f"{url(project, 'variable_export')}?environment={asked}"
        )
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "two words",
        'a "b" \\n c',
        "$HOME `x`",
        "a\nb\r\tc",
        "# no comment",
        "it's",
        " x ",
    ],
)
def test_what_is_written_is_read_back(value: str) -> None:
    assert dotenv.read(dotenv.written({"DBT_A": value, "DBT_B": "b"})) == {
        "DBT_A": value,
        "DBT_B": "b",
    }


# --- Where they are used -----------------------------------------------------------------------


def with_code(project: Project, *codes: str) -> int:
    """The id of a successful run of ``project`` whose nodes have ``codes``."""
    run = RunFactory(job__environment__project=project, succeeded=True)
    nodes = [entry(f"model.shop.m{n}", raw_code=code) for n, code in enumerate(codes)]
    macro = {"package_name": "shop", "macro_sql": "{{ env_var('DBT_OF_MACRO') }}"}
    left(RunStepFactory(run=run), manifest_of(*nodes, macros={"macro.shop.helper": macro}))
    return int(run.pk)


def test_what_reads_a_variable_is_listed_with_it(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    for name in ("DBT_REGION", "DBT_OF_MACRO", "DBT_IDLE", "DBT_ENV_SECRET_KEY"):
        variable(project, name, "x")
    run = with_code(project, "{{ env_var('DBT_REGION') }}", "select 1")

    page = visitor_of(project.account).get(url(project)).content.decode()

    assert url(project, "node", "model.shop.m0") in page
    assert "<bdi>shop.helper</bdi>" in page
    assert page.count(">unused</span>") == 1
    assert f"run #{run}</a>" in page


def test_what_the_code_reads_and_nobody_defined_can_be_made(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    with_code(project, "{{ env_var('DBT_NEW') }} {{ env_var('HOME') }}", "env_var('DBT_CLOUD_X')")
    visitor = visitor_of(project.account)

    page = visitor.get(url(project)).content.decode()
    form = visitor.get(f"{url(project, 'variable_new')}?name=DBT_NEW").content.decode()

    assert f"{url(project, 'variable_new')}?name=DBT_NEW" in page
    assert "<bdi>HOME</bdi></code> <span" in page
    assert "<bdi>DBT_CLOUD_X</bdi>" not in page
    assert 'value="DBT_NEW"' in form


def test_without_a_manifest_no_variable_is_called_unused(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    variable(project, "DBT_REGION", "x")

    page = visitor_of(project.account).get(url(project)).content.decode()

    assert ">unused</span>" not in page
    assert "Where they are used is told once a job of this project has succeeded" in page
