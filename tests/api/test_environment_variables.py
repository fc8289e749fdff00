"""Environment variables on the wire: exactly what the clients read."""

from __future__ import annotations

import pytest

from environments.models import EnvironmentVariable
from environments.variables import MASK
from tests.factories import (
    EnvironmentFactory,
    EnvironmentVariableFactory,
    JobFactory,
    ProjectFactory,
)

KEYS = {
    "id",
    "account_id",
    "project_id",
    "name",
    "type",
    "environment_id",
    "job_definition_id",
    "user_id",
    "display_value",
    "state",
    "created_at",
    "updated_at",
}


@pytest.fixture
def job(account):
    return JobFactory(environment__project__account=account, environment__name="Production")


@pytest.fixture
def place(account, job):
    return f"/api/v3/accounts/{account.pk}/projects/{job.project_id}/environment-variables/"


@pytest.fixture
def of_job(api, place, job):
    """What ``job/`` says of the job."""
    return lambda: api.get(f"{place}job/?job_definition_id={job.pk}").json()["data"]


@pytest.fixture
def override(api, account, place, job):
    """Sets a job's value as the clients do."""

    def send(name, value, **more):
        body = {
            "id": None,
            "account_id": account.pk,
            "project_id": job.project_id,
            "name": name,
            "type": "job",
            "job_definition_id": job.pk,
            "raw_value": value,
            "display_value": None,
        }
        return api.post(place, body | more)

    return send


def problem(answer):
    """The sentence of a 400."""
    assert answer.status_code == 400, answer.content
    return answer.json()["status"]["user_message"]


def bulk(api, place, **values):
    """Makes DBT_REGION with these values."""
    return api.post(f"{place}bulk/", {"env_var": {"new_name": "DBT_REGION", **values}})


def test_environment_lists_scopes_that_are_set(api, place, job):
    EnvironmentFactory(project=job.project, name="Staging")
    bulk(api, place, project="north", Production="south")

    shown = api.get(f"{place}environment/").json()["data"]

    of_project = EnvironmentVariable.objects.get(scope="project")
    of_environment = EnvironmentVariable.objects.get(scope="environment")
    assert shown == {
        "environments": ["project", "Production", "Staging"],
        "variables": {
            "DBT_REGION": {
                "project": {"id": of_project.pk, "value": "north"},
                "Production": {"id": of_environment.pk, "value": "south"},
            }
        },
    }


def test_environment_is_served_without_the_last_slash(api, place):
    assert api.get(f"{place}environment").json()["data"]["variables"] == {}


def test_job_leaves_out_scopes_that_are_not_set(api, place, of_job):
    bulk(api, place, project="north")

    assert set(of_job()["DBT_REGION"]) == {"project"}


def test_job_shows_all_three_scopes(api, place, of_job, override):
    bulk(api, place, project="north", Production="south")
    made = override("DBT_REGION", "west").json()["data"]

    shown = of_job()["DBT_REGION"]

    assert {scope: one["value"] for scope, one in shown.items()} == {
        "project": "north",
        "environment": "south",
        "job": "west",
    }
    assert shown["job"]["id"] == made["id"]


def test_job_shows_the_value_of_the_jobs_own_environment(api, place, job, of_job):
    EnvironmentFactory(project=job.project, name="Staging")
    bulk(api, place, Staging="elsewhere")

    assert of_job() == {"DBT_REGION": {}}


def test_job_leaves_out_what_only_other_jobs_have(place, job, of_job):
    EnvironmentVariableFactory(
        project=job.project,
        scope="job",
        job_definition_id=JobFactory(environment=job.environment).pk,
    )

    assert of_job() == {}


@pytest.mark.parametrize("query", ["", "?job_definition_id="])
def test_job_without_a_number_shows_the_project(api, place, query):
    bulk(api, place, project="north")

    shown = api.get(f"{place}job/{query}")

    assert set(shown.json()["data"]["DBT_REGION"]) == {"project"}


def test_job_of_another_project_or_none_is_404_and_never_400(api, account, place):
    other = JobFactory(environment__project__account=account)

    for pk in (other.pk, JobFactory().pk, 999_999, "abc"):
        assert api.get(f"{place}job/?job_definition_id={pk}").status_code == 404


def test_user_shows_what_everybody_has(api, place):
    bulk(api, place, project="north")

    shown = api.get(f"{place}user/?user_id=7").json()["data"]

    assert shown["DBT_REGION"]["project"]["value"] == "north"
    assert "user" not in shown["DBT_REGION"]


def test_an_override_has_every_key(override):
    answer = override("DBT_REGION", "west")

    assert answer.status_code == 201
    made = answer.json()["data"]
    assert set(made) == KEYS
    assert (made["type"], made["display_value"], made["state"]) == ("job", "west", 1)


def test_an_override_needs_no_project_value(override, of_job):
    override("DBT_NEW", "west")

    assert set(of_job()["DBT_NEW"]) == {"job"}


def test_an_override_that_exists_is_changed(override, of_job):
    first = override("DBT_REGION", "west").json()["data"]

    again = override("DBT_REGION", "east").json()["data"]

    assert again["id"] == first["id"]
    assert of_job()["DBT_REGION"]["job"]["value"] == "east"


@pytest.mark.parametrize("value", [" with blanks ", "7", "true", "", "häß\tlich", '{"a": 1}'])
def test_a_value_comes_back_exactly_as_posted(override, of_job, value):
    override("DBT_VALUE", value)

    assert of_job()["DBT_VALUE"]["job"]["value"] == value


def test_posting_to_a_value_changes_it(api, place, override, of_job):
    made = override("DBT_REGION", "west").json()["data"]

    answer = api.post(f"{place}{made['id']}", made | {"raw_value": "east"})

    assert answer.status_code == 200
    assert answer.json()["data"]["display_value"] == "east"
    assert of_job()["DBT_REGION"]["job"]["value"] == "east"


def test_posting_null_deletes_the_override(api, place, override, of_job):
    made = override("DBT_REGION", "west").json()["data"]

    answer = api.post(f"{place}{made['id']}/", made | {"raw_value": None})

    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)
    assert of_job() == {}


def test_delete_answers_with_the_variable(api, place, override, of_job):
    made = override("DBT_REGION", "west").json()["data"]

    answer = api.delete(f"{place}{made['id']}/")

    assert answer.status_code == 200
    assert answer.json()["data"]["id"] == made["id"]
    assert of_job() == {}
    assert api.delete(f"{place}{made['id']}/").status_code == 404


def test_a_value_is_not_renamed_alone(api, place, override):
    made = override("DBT_REGION", "west").json()["data"]

    answer = api.post(f"{place}{made['id']}/", {"name": "DBT_AREA", "raw_value": "x"})

    assert "name" in problem(answer)


def test_project_and_environment_values_can_be_set_one_by_one(api, place, job, of_job):
    api.post(place, {"name": "DBT_A", "type": "project", "raw_value": "p"})
    api.post(
        place,
        {
            "name": "DBT_A",
            "type": "environment",
            "environment_id": job.environment_id,
            "raw_value": "e",
        },
    )

    shown = of_job()["DBT_A"]

    assert (shown["project"]["value"], shown["environment"]["value"]) == ("p", "e")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "REGION"}, "name"),
        ({"name": "dbt_region"}, "name"),
        ({"name": "DBT_CLOUD_JOB_ID"}, "name"),
        ({"name": "DBT_PROFILES_DIR"}, "name"),
        ({"name": None}, "name"),
        ({"raw_value": None}, "raw_value"),
        ({"raw_value": ["a"]}, "raw_value"),
        ({"job_definition_id": None}, "job_definition_id"),
        ({"type": "user"}, "type"),
        ({"type": "global"}, "type"),
        ({"type": "environment"}, "environment_id"),
    ],
)
def test_what_cannot_be_set_is_refused_by_field(override, body, field):
    sent = {"name": "DBT_REGION", "raw_value": "x"} | body

    answer = override(sent.pop("name"), sent.pop("raw_value"), **sent)

    assert field in problem(answer)


def test_another_accounts_job_in_a_body_is_as_good_as_missing(override):
    said = problem(override("DBT_A", "x", job_definition_id=JobFactory().pk))
    said_of_missing = problem(override("DBT_A", "x", job_definition_id=999_999_999))

    assert "job_definition_id" in said
    assert said == said_of_missing


def test_another_projects_environment_in_a_body_is_refused(api, account, place):
    other = EnvironmentFactory(project__account=account)
    body = {"name": "DBT_A", "type": "environment", "environment_id": other.pk, "raw_value": "x"}

    assert "environment_id" in problem(api.post(place, body))


def test_bulk_post_says_which_values_are_new(api, place):
    answer = bulk(api, place, project="north", Production="south")

    made = list(EnvironmentVariable.objects.order_by("pk").values_list("pk", flat=True))
    assert answer.status_code == 201
    assert set(answer.json()["data"]) == {"message", "new_var_ids"}
    assert answer.json()["data"]["new_var_ids"] == made


@pytest.mark.parametrize(
    "body",
    [
        [{"env_var": {"new_name": "DBT_A", "project": "1"}}],
        [{"new_name": "DBT_A", "project": "1"}],
        {"env_var": [{"new_name": "DBT_A", "project": "1"}]},
        {"env_var": {"name": "DBT_A", "project": "1"}},
    ],
)
def test_bulk_post_takes_lists_too(api, place, of_job, body):
    assert api.post(f"{place}bulk/", body).status_code == 201
    assert of_job()["DBT_A"]["project"]["value"] == "1"


@pytest.mark.parametrize("method", ["put", "post"])
def test_bulk_changes_values_by_number_and_by_name(api, place, of_job, method):
    bulk(api, place, project="north")
    row = EnvironmentVariable.objects.get()
    body = {"env_vars": {"name": "DBT_REGION", str(row.pk): "n2", "Production": "s2"}}

    answer = getattr(api, method)(f"{place}bulk", body)

    assert answer.status_code == 200
    assert len(answer.json()["data"]["new_var_ids"]) == 1
    shown = of_job()["DBT_REGION"]
    assert (shown["project"]["value"], shown["environment"]["value"]) == ("n2", "s2")


def test_bulk_put_deletes_a_value_that_is_empty(api, place, of_job):
    bulk(api, place, project="north", Production="south")

    api.put(f"{place}bulk/", {"env_vars": {"name": "DBT_REGION", "Production": ""}})

    assert set(of_job()["DBT_REGION"]) == {"project"}


def test_bulk_put_renames(api, place, of_job):
    bulk(api, place, project="north")

    api.put(f"{place}bulk/", {"env_vars": {"name": "DBT_REGION", "new_name": "DBT_AREA"}})

    assert set(of_job()) == {"DBT_AREA"}


def test_bulk_delete_takes_the_variable_away(api, place, of_job):
    bulk(api, place, project="north", Production="south")

    answer = api.delete(f"{place}bulk/", {"name": "DBT_REGION"})

    assert answer.status_code == 200
    assert answer.json()["status"]["is_success"] is True
    assert of_job() == {}
    assert api.delete(f"{place}bulk/", {"name": "DBT_REGION"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("post", {"env_var": {"new_name": "DBT_A", "nowhere": "1"}}),
        ("post", {"env_var": {"new_name": "A", "project": "1"}}),
        ("post", {"env_var": {"project": "1"}}),
        ("post", {"env_var": "DBT_A"}),
        ("post", ["DBT_A"]),
        ("put", {"env_vars": {"project": "1"}}),
        ("put", {"env_vars": []}),
        ("put", {}),
        ("put", {"env_vars": {"name": "DBT_A", "new_name": "DBT_B"}}),
        ("delete", {}),
        ("delete", {"name": 7}),
    ],
)
def test_bulk_refuses_what_it_cannot_read(api, place, method, body):
    answer = getattr(api, method)(f"{place}bulk/", body)

    assert answer.status_code == 400
    assert not EnvironmentVariable.objects.exists()


def test_a_secret_is_masked_in_every_answer(api, place, job, override):
    name = "DBT_ENV_SECRET_KEY"
    made = override(name, "hunter2")
    pk = made.json()["data"]["id"]

    answers = [
        made,
        api.post(f"{place}{pk}/", {"raw_value": "hunter2"}),
        api.post(f"{place}bulk/", {"env_var": {"new_name": name, "project": "hunter2"}}),
        api.put(f"{place}bulk/", {"env_vars": {"name": name, "Production": "hunter2"}}),
        api.get(f"{place}environment/"),
        api.get(f"{place}job/?job_definition_id={job.pk}"),
        api.delete(f"{place}{pk}/"),
    ]
    for answer in answers:
        assert answer.status_code < 300
        assert "hunter2" not in answer.content.decode()
    assert made.json()["data"]["display_value"] == MASK


def test_the_mask_posted_back_keeps_the_secret(api, place, override):
    pk = override("DBT_ENV_SECRET_KEY", "hunter2").json()["data"]["id"]

    api.post(f"{place}{pk}/", {"raw_value": MASK})

    assert EnvironmentVariable.objects.get().value == "hunter2"


def test_another_projects_value_does_not_exist(api, account, place):
    foreign = [
        EnvironmentVariableFactory(),
        EnvironmentVariableFactory(project=ProjectFactory(account=account)),
    ]
    for row in foreign:
        assert api.post(f"{place}{row.pk}/", {"raw_value": "x"}).status_code == 404
        assert api.delete(f"{place}{row.pk}/").status_code == 404
        assert EnvironmentVariable.objects.filter(pk=row.pk).exists()


def test_who_may_change_jobs_may_change_variables(client_of, account, place, job):
    body = {
        "name": "DBT_A",
        "type": "job",
        "job_definition_id": job.pk,
        "raw_value": "x",
    }

    assert client_of(account, "job_runner").post(place, body).status_code == 403
    assert client_of(account, "job_admin").post(place, body).status_code == 201
