"""Projects on the wire, in both versions."""

from __future__ import annotations

import pytest

from environments.models import Environment, Project
from jobsvc.jobs.models import Job
from tests.factories import (
    ConnectionFactory,
    EnvironmentFactory,
    JobFactory,
    ProjectFactory,
    RepositoryFactory,
    RunFactory,
)

KEYS = {
    "id",
    "account_id",
    "name",
    "description",
    "connection_id",
    "repository_id",
    "semantic_layer_config_id",
    "dbt_project_subdirectory",
    "docs_job_id",
    "freshness_job_id",
    "type",
    "default_version",
    "state",
    "created_at",
    "updated_at",
    "connection",
    "repository",
    "environments",
    "group_permissions",
    "docs_job",
    "freshness_job",
    "fusion_readiness",
}


@pytest.fixture
def place(account):
    return f"/api/v3/accounts/{account.pk}/projects/"


@pytest.fixture
def project(account):
    return ProjectFactory(account=account)


def problem(answer):
    """The sentence of a 400."""
    assert answer.status_code == 400, answer.content
    return answer.json()["status"]["user_message"]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_project_has_every_key(api, account, project, version):
    answer = api.get(f"/api/{version}/accounts/{account.pk}/projects/{project.pk}/")

    assert set(answer.json()["data"]) == KEYS


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_list_has_every_key(api, account, project, version):
    answer = api.get(f"/api/{version}/accounts/{account.pk}/projects")

    assert set(answer.json()["data"][0]) == KEYS
    assert answer.json()["extra"]["pagination"] == {"count": 1, "total_count": 1}


def test_a_single_project_shows_its_connection_and_repository_unasked(api, place, project):
    shown = api.get(f"{place}{project.pk}/").json()["data"]

    assert {"id", "name", "type", "adapter_version", "details"} <= set(shown["connection"])
    assert shown["repository"]["full_name"] == "example/coffee_shop"


def test_a_list_shows_them_only_when_asked(api, place, project):
    shown = api.get(place).json()["data"][0]
    asked = api.get(f'{place}?include_related=["repository","connection"]').json()["data"][0]

    assert shown["connection"] is None and shown["repository"] is None
    assert asked["connection"]["id"] == project.connection_id
    assert asked["repository"]["id"] == project.repository_id


def test_its_environments_are_shown_when_asked(api, place, project):
    environment = EnvironmentFactory(project=project, deployment_type="production")
    EnvironmentFactory(project=project, state=2)

    shown = api.get(f"{place}{project.pk}/?include_related=environments").json()["data"]

    assert shown["environments"] == [
        {
            "id": environment.pk,
            "name": environment.name,
            "type": "deployment",
            "deployment_type": "production",
        }
    ]
    assert api.get(f"{place}{project.pk}/").json()["data"]["environments"] is None


def test_its_docs_job_is_shown_when_asked(api, place, project):
    job = JobFactory(environment__project=project)
    Project.objects.update(docs_job_id=job.pk)

    shown = api.get(f"{place}{project.pk}/?include_related=docs_job").json()["data"]

    assert shown["docs_job"]["name"] == job.name


def test_projects_are_found_by_part_of_their_name(api, account, place):
    wanted = ProjectFactory(account=account, name="Coffee shop")
    ProjectFactory(account=account, name="Tea house")

    found = api.get(f"{place}?name__icontains=coffee&limit=100&order_by=name").json()["data"]

    assert [one["id"] for one in found] == [wanted.pk]


def test_the_smallest_body_makes_a_project(api, account, place):
    answer = api.post(place, {"name": "Coffee", "account_id": account.pk})

    assert answer.status_code == answer.json()["status"]["code"] == 201
    made = answer.json()["data"]
    assert set(made) == KEYS
    assert (made["name"], made["description"], made["type"], made["state"]) == ("Coffee", "", 0, 1)
    assert made["repository_id"] is made["connection_id"] is None


def test_a_new_project_shows_its_connection_unasked(api, account, place):
    connection = ConnectionFactory(account=account)

    made = api.post(place, {"name": "Coffee", "connection_id": connection.pk}).json()["data"]

    assert made["connection"]["id"] == connection.pk


def test_a_project_is_made_without_the_last_slash(api, place):
    assert api.post(place.rstrip("/"), {"name": "Coffee", "id": None}).status_code == 201


def test_unknown_and_read_only_keys_are_ignored(api, place):
    body = {"name": "Coffee", "created_at": None, "connection": {"id": 0}, "nonsense": [1]}

    assert api.post(place, body).status_code == 201


def test_an_empty_description_is_kept(api, place):
    made = api.post(place, {"name": "Coffee", "description": ""}).json()["data"]

    assert made["description"] == ""


def test_an_update_that_leaves_the_repository_out_detaches_it(api, place, project):
    answer = api.post(f"{place}{project.pk}/", {"name": project.name})

    assert answer.status_code == 200
    assert answer.json()["data"]["repository_id"] is None


def test_an_update_that_leaves_the_connection_out_keeps_it(api, place, project):
    answer = api.post(f"{place}{project.pk}/", {"name": project.name})

    assert answer.json()["data"]["connection_id"] == project.connection_id


def test_an_update_keeps_the_repository_it_names(api, place, project):
    body = {"name": "Renamed", "repository_id": project.repository_id}

    changed = api.post(f"{place}{project.pk}", body).json()["data"]

    assert (changed["name"], changed["repository_id"]) == ("Renamed", project.repository_id)


def test_null_puts_a_field_back_to_its_default(api, place, account):
    project = ProjectFactory(account=account, description="Long", type=1)

    changed = api.post(f"{place}{project.pk}/", {"description": None, "type": None}).json()["data"]

    assert (changed["description"], changed["type"]) == ("", 0)


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": None}, {"name": "x" * 256}])
def test_a_project_needs_a_name(api, place, body):
    assert "name" in problem(api.post(place, body))


def test_a_name_is_taken_once_in_an_account(api, place, project):
    assert "name" in problem(api.post(place, {"name": project.name}))


def test_another_account_may_use_the_name(api, place):
    theirs = ProjectFactory()

    assert api.post(place, {"name": theirs.name}).status_code == 201


def test_a_deleted_projects_name_is_free_again(api, place, project):
    api.delete(f"{place}{project.pk}/")

    assert api.post(place, {"name": project.name}).status_code == 201


@pytest.mark.parametrize(
    "path", ["/a", "a/", "./a", "~/a", "a/../b", "..", "a b?", "a#b", "a:b", "a@b", "$a", "-a"]
)
def test_a_subdirectory_that_could_lead_out_is_refused(api, place, path):
    sentence = problem(api.post(place, {"name": "Coffee", "dbt_project_subdirectory": path}))

    assert "dbt_project_subdirectory" in sentence


def test_a_plain_subdirectory_is_kept(api, place):
    body = {"name": "Coffee", "dbt_project_subdirectory": "analytics/dbt"}

    assert api.post(place, body).json()["data"]["dbt_project_subdirectory"] == "analytics/dbt"


@pytest.mark.parametrize(
    ("field", "theirs"),
    [
        ("connection_id", lambda: ConnectionFactory().pk),
        ("repository_id", lambda: RepositoryFactory().pk),
        ("docs_job_id", lambda: JobFactory().pk),
        ("freshness_job_id", lambda: JobFactory().pk),
    ],
)
def test_another_accounts_object_in_a_body_is_as_good_as_missing(
    api, place, project, field, theirs
):
    foreign, missing = theirs(), 999_999_999

    said = problem(api.post(f"{place}{project.pk}/", {field: foreign}))
    said_of_missing = problem(api.post(f"{place}{project.pk}/", {field: missing}))

    assert field in said
    assert said.replace(str(foreign), "N") == said_of_missing.replace(str(missing), "N")


def test_a_repository_of_another_project_is_refused(api, account, place, project):
    other = RepositoryFactory(account=account, project=ProjectFactory(account=account))

    body = {"repository_id": other.pk}

    assert "repository_id" in problem(api.post(f"{place}{project.pk}/", body))


def test_a_docs_job_of_another_project_is_refused(api, account, place, project):
    other = JobFactory(environment__project__account=account)

    assert "docs_job_id" in problem(api.post(f"{place}{project.pk}/", {"docs_job_id": other.pk}))


def test_an_id_that_contradicts_the_path_is_refused(api, place, project):
    assert "account_id" in problem(api.post(place, {"name": "x", "account_id": 999_999}))
    assert "id" in problem(api.post(f"{place}{project.pk}/", {"id": project.pk + 1}))


def test_ids_may_be_digits(api, place, project):
    body = {"id": str(project.pk), "repository_id": str(project.repository_id)}

    assert api.post(f"{place}{project.pk}/", body).status_code == 200


def test_delete_answers_with_the_object(api, place, project):
    answer = api.delete(f"{place}{project.pk}/")

    assert answer.status_code == 200
    assert (answer.json()["data"]["id"], answer.json()["data"]["state"]) == (project.pk, 2)


def test_posting_state_2_deletes(api, place, project):
    answer = api.post(f"{place}{project.pk}/", {"name": project.name, "state": 2})

    assert answer.json()["data"]["state"] == 2
    assert api.get(f"{place}{project.pk}/").status_code == 404


def test_a_deleted_project_is_gone_from_the_list_unless_asked_for(api, place, project):
    api.delete(f"{place}{project.pk}/")

    assert api.get(place).json()["data"] == []
    assert len(api.get(f"{place}?state=2").json()["data"]) == 1
    assert api.delete(f"{place}{project.pk}/").status_code == 404


def test_deleting_a_project_deletes_its_environments_and_jobs(api, place, project):
    job = JobFactory(environment__project=project)

    api.delete(f"{place}{project.pk}/")

    assert Environment.objects.get(pk=job.environment_id).state == 2
    assert Job.objects.get(pk=job.pk).state == 2


def test_deleting_a_project_leaves_others_alone(api, account, place, project):
    other = JobFactory(environment__project__account=account)

    api.delete(f"{place}{project.pk}/")

    assert Job.objects.get(pk=other.pk).state == 1
    assert Environment.objects.get(pk=other.environment_id).state == 1


def test_runs_of_a_deleted_project_stay_readable(api, account, place, project):
    run = RunFactory(job__environment__project=project, succeeded=True)

    api.delete(f"{place}{project.pk}/")

    answer = api.get(f"/api/v2/accounts/{account.pk}/runs/{run.pk}/")
    assert answer.status_code == 200


def test_another_accounts_project_does_not_exist(api, account, place):
    theirs = ProjectFactory()

    for method in (api.get, api.post, api.delete):
        assert method(f"{place}{theirs.pk}/").status_code == 404
    assert Project.objects.get(pk=theirs.pk).state == 1


def test_who_may_only_run_jobs_cannot_change_projects(client_of, account, place, project):
    runner = client_of(account, "job_runner")

    assert runner.post(place, {"name": "x"}).status_code == 403
    assert runner.delete(f"{place}{project.pk}/").status_code == 403
    assert runner.get(f"{place}{project.pk}/").status_code == 200


def test_version_2_only_reads(api, account, project):
    place = f"/api/v2/accounts/{account.pk}/projects/{project.pk}/"

    assert api.post(place, {"name": "x"}).status_code == 405
    assert api.delete(place).status_code == 405
