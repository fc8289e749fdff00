"""Environments on the wire, in both versions."""

from __future__ import annotations

import pytest

from environments.models import Environment
from tests.factories import (
    ConnectionFactory,
    CredentialsFactory,
    EnvironmentFactory,
    ExtendedAttributesFactory,
    JobFactory,
    ProjectFactory,
    RunFactory,
)

KEYS = {
    "id",
    "account_id",
    "project_id",
    "name",
    "type",
    "deployment_type",
    "dbt_version",
    "raw_dbt_version",
    "use_custom_branch",
    "custom_branch",
    "supports_docs",
    "connection_id",
    "credentials_id",
    "extended_attributes_id",
    "primary_profile_id",
    "enable_model_query_history",
    "enable_dbt_state",
    "is_deferrable",
    "state",
    "created_at",
    "updated_at",
    "project",
    "connection",
    "credentials",
    "repository",
    "jobs",
    "custom_environment_variables",
}
ONLY_V2 = {"repository_id", "dbt_project_subdirectory", "created_by_id"}


@pytest.fixture
def environment(account):
    return EnvironmentFactory(project__account=account)


@pytest.fixture
def place(account, environment):
    return f"/api/v3/accounts/{account.pk}/projects/{environment.project_id}/environments/"


@pytest.fixture
def whole_account(account):
    return f"/api/v3/accounts/{account.pk}/environments/"


def problem(answer):
    """The sentence of a 400."""
    assert answer.status_code == 400, answer.content
    return answer.json()["status"]["user_message"]


def test_an_environment_has_every_key(api, place, environment):
    assert set(api.get(f"{place}{environment.pk}/").json()["data"]) == KEYS


def test_version_2_has_a_few_more(api, account, environment):
    shown = api.get(f"/api/v2/accounts/{account.pk}/environments/{environment.pk}")

    assert set(shown.json()["data"]) == KEYS | ONLY_V2
    assert shown.json()["data"]["repository_id"] == environment.project.repository_id


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_accounts_list_holds_all_projects_environments(api, account, environment, version):
    other = EnvironmentFactory(project__account=account)

    found = api.get(f"/api/{version}/accounts/{account.pk}/environments/").json()["data"]

    assert [one["id"] for one in found] == [environment.pk, other.pk]


def test_a_projects_list_holds_its_own(api, account, place, environment):
    EnvironmentFactory(project__account=account)

    found = api.get(place).json()["data"]

    assert [one["id"] for one in found] == [environment.pk]
    assert set(found[0]) == KEYS


def test_jobs_and_variables_are_null_and_never_lists(api, place, environment):
    JobFactory(environment=environment)
    asked = "?include_related=jobs,custom_environment_variables"

    shown = api.get(f"{place}{environment.pk}/{asked}").json()["data"]

    assert shown["jobs"] is None
    assert shown["custom_environment_variables"] is None


def test_related_objects_are_null_unless_asked_for(api, place, environment):
    plain = api.get(f"{place}{environment.pk}/").json()["data"]
    asked = api.get(
        f"{place}{environment.pk}/?include_related=[project,connection,credentials,repository]"
    ).json()["data"]

    for name in ("project", "connection", "credentials", "repository"):
        assert plain[name] is None
        assert asked[name]["id"]


def test_credentials_in_an_environment_hold_numbers_and_texts_only(api, place, environment):
    shown = api.get(f"{place}{environment.pk}/?include_related=credentials").json()["data"]

    assert all(type(value) in (int, str) for value in shown["credentials"].values())


def test_it_is_deferrable_once_a_run_left_artifacts(api, place, environment):
    job = JobFactory(environment=environment)
    before = api.get(f"{place}{environment.pk}/").json()["data"]["is_deferrable"]
    RunFactory(job=job, succeeded=True)

    after = api.get(f"{place}{environment.pk}/").json()["data"]["is_deferrable"]

    assert (before, after) == (False, True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=Prod", ["Prod"]),
        ("name__icontains=ro", ["Prod"]),
        ("type=development", ["Dev"]),
        ('deployment_type__in=["production","staging"]', ["Prod"]),
        ("dbt_version=1.11.16", ["Prod"]),
        ('dbt_version__in=["latest"]', ["Dev"]),
        ("project_id=", ["Prod", "Dev"]),
        ("project_id=999999", []),
        ("nonsense=1", ["Prod", "Dev"]),
    ],
)
def test_environments_are_found_by(api, account, whole_account, query, found):
    project = ProjectFactory(account=account)
    EnvironmentFactory(
        project=project, name="Prod", deployment_type="production", dbt_version="1.11.16"
    )
    EnvironmentFactory(project=project, name="Dev", type="development")

    listed = api.get(f"{whole_account}?{query}").json()["data"]

    assert [one["name"] for one in listed if one["project_id"] == project.pk] == found


def test_name_and_type_make_an_environment(api, place):
    answer = api.post(place.rstrip("/"), {"name": "Staging", "type": "deployment"})

    assert answer.status_code == answer.json()["status"]["code"] == 201
    made = answer.json()["data"]
    assert set(made) == KEYS
    assert made["dbt_version"] == "latest"
    assert (made["use_custom_branch"], made["supports_docs"]) == (False, False)
    assert made["deployment_type"] is None


def test_nested_zero_values_are_ignored(api, place):
    body = {
        "id": None,
        "name": "Staging",
        "type": "deployment",
        "project": {"id": 0, "name": ""},
        "jobs": None,
        "created_at": None,
        "custom_environment_variables": "",
    }

    assert api.post(place, body).status_code == 201


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("versionless", "latest"),
        ("latest", "latest"),
        ("", "latest"),
        (None, "latest"),
        ("1.11.16", "1.11.16"),
        ("1.9.0-latest", "1.9.0-latest"),
    ],
)
def test_a_dbt_version_is_stored_as(api, place, typed, stored):
    made = api.post(place, {"name": "Staging", "dbt_version": typed}).json()["data"]

    assert made["dbt_version"] == stored
    assert made["raw_dbt_version"] == (typed or None)


def test_a_version_that_is_an_address_is_refused(api, place):
    body = {"name": "Staging", "dbt_version": "git+https://example.com/dbt"}

    assert "dbt_version" in problem(api.post(place, body))


def test_a_post_is_a_full_replacement(api, account, place, environment):
    attributes = ExtendedAttributesFactory(project=environment.project)
    Environment.objects.update(extended_attributes=attributes, deployment_type="staging")

    changed = api.post(
        f"{place}{environment.pk}/", {"name": environment.name, "type": "deployment"}
    ).json()["data"]

    for field in (
        "credentials_id",
        "connection_id",
        "extended_attributes_id",
        "deployment_type",
        "primary_profile_id",
    ):
        assert changed[field] is None


def test_a_post_keeps_what_it_names(api, place, environment):
    body = {
        "name": "Renamed",
        "type": "deployment",
        "connection_id": environment.connection_id,
        "credentials_id": str(environment.credentials_id),
        "deployment_type": "production",
    }

    changed = api.post(f"{place}{environment.pk}", body).json()["data"]

    assert changed["name"] == "Renamed"
    assert changed["connection_id"] == environment.connection_id
    assert changed["credentials_id"] == environment.credentials_id
    assert changed["deployment_type"] == "production"


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": None}])
def test_an_environment_needs_a_name(api, place, body):
    assert "name" in problem(api.post(place, {"type": "deployment"} | body))


def test_a_name_is_taken_once_in_a_project(api, place, environment):
    assert "name" in problem(api.post(place, {"name": environment.name}))


@pytest.mark.parametrize("name", ["project", "name", "new_name"])
def test_a_name_that_variables_are_listed_by_is_refused(api, place, name):
    assert "name" in problem(api.post(place, {"name": name}))


def test_an_empty_deployment_type_is_refused(api, place):
    assert "deployment_type" in problem(api.post(place, {"name": "x", "deployment_type": ""}))


@pytest.mark.parametrize("kind", ["production", "staging"])
def test_a_project_has_one_environment_of_a_deployment_type(api, place, kind):
    api.post(place, {"name": "One", "deployment_type": kind})

    assert "deployment type" in problem(api.post(place, {"name": "Two", "deployment_type": kind}))


def test_a_project_has_one_development_environment(api, place):
    api.post(place, {"name": "One", "type": "development"})

    assert "development" in problem(api.post(place, {"name": "Two", "type": "development"}))


def test_a_custom_branch_must_be_named(api, place):
    assert "branch" in problem(api.post(place, {"name": "x", "use_custom_branch": True}))


@pytest.mark.parametrize("branch", ["--upload-pack=x", "a..b", "a b", "-x", "refs/heads/.lock"])
def test_a_branch_that_git_could_take_for_something_else_is_refused(api, place, branch):
    body = {"name": "x", "use_custom_branch": True, "custom_branch": branch}

    assert "custom_branch" in problem(api.post(place, body))


@pytest.mark.parametrize(
    ("field", "theirs"),
    [
        ("connection_id", lambda: ConnectionFactory().pk),
        ("credentials_id", lambda: CredentialsFactory().pk),
        ("extended_attributes_id", lambda: ExtendedAttributesFactory().pk),
        ("primary_profile_id", lambda: 7),
    ],
)
def test_another_accounts_object_in_a_body_is_as_good_as_missing(api, place, field, theirs):
    foreign, missing = theirs(), 999_999_999

    said = problem(api.post(place, {"name": "x", field: foreign}))
    said_of_missing = problem(api.post(place, {"name": "x", field: missing}))

    assert field in said
    assert said.replace(str(foreign), "N") == said_of_missing.replace(str(missing), "N")


@pytest.mark.parametrize(
    ("field", "factory"),
    [
        ("credentials_id", CredentialsFactory),
        ("extended_attributes_id", ExtendedAttributesFactory),
    ],
)
def test_another_projects_object_in_a_body_is_refused(api, account, place, field, factory):
    other = factory(project__account=account)

    assert field in problem(api.post(place, {"name": "x", field: other.pk}))


def test_credentials_of_another_kind_than_the_connection_are_refused(
    api, account, place, environment
):
    postgres = ConnectionFactory(account=account, adapter="postgres", adapter_version="postgres_v0")
    body = {
        "name": "x",
        "connection_id": postgres.pk,
        "credentials_id": environment.credentials_id,
    }

    said = problem(api.post(place, body))

    assert "credentials_id" in said
    assert "DuckDB" in said and "PostgreSQL" in said


def test_a_deleted_connection_is_refused(api, account, place):
    gone = ConnectionFactory(account=account, state=2)

    assert "connection_id" in problem(api.post(place, {"name": "x", "connection_id": gone.pk}))


def test_an_unused_environment_is_deleted(api, place, environment):
    answer = api.delete(f"{place}{environment.pk}/")

    assert answer.status_code == 200
    assert answer.json()["data"]["state"] == 2
    assert api.get(f"{place}{environment.pk}/").status_code == 404
    assert api.delete(f"{place}{environment.pk}/").status_code == 404


def test_an_environment_is_deleted_at_the_account_too(api, whole_account, environment):
    answer = api.delete(f"{whole_account}{environment.pk}")

    assert answer.status_code == 200
    assert answer.json()["data"]["state"] == 2


def test_posting_state_2_deletes(api, place, environment):
    body = {"name": environment.name, "state": 2}

    assert api.post(f"{place}{environment.pk}/", body).json()["data"]["state"] == 2


def test_an_environment_that_active_jobs_use_is_not_deleted(api, place, environment):
    job = JobFactory(environment=environment)

    for answer in (
        api.delete(f"{place}{environment.pk}/"),
        api.post(f"{place}{environment.pk}/", {"state": 2}),
    ):
        assert job.name in problem(answer)
    assert Environment.objects.get(pk=environment.pk).state == 1


def test_an_environment_that_a_job_defers_to_is_not_deleted(api, place, environment):
    elsewhere = EnvironmentFactory(project=environment.project)
    job = JobFactory(environment=elsewhere, deferring_environment=environment)

    assert job.name in problem(api.delete(f"{place}{environment.pk}/"))


def test_deleted_jobs_hold_no_environment(api, place, environment):
    JobFactory(environment=environment, state=2)

    assert api.delete(f"{place}{environment.pk}/").status_code == 200


def test_an_environment_with_jobs_stays_a_deployment_environment(api, place, environment):
    JobFactory(environment=environment)

    body = {"name": environment.name, "type": "development"}

    assert "type" in problem(api.post(f"{place}{environment.pk}/", body))


def test_another_accounts_environment_does_not_exist(api, account, place, whole_account):
    theirs = EnvironmentFactory()
    base = f"/api/v3/accounts/{account.pk}/projects/{theirs.project_id}/environments/"

    for where in (place, whole_account, base):
        assert api.get(f"{where}{theirs.pk}/").status_code == 404
        assert api.delete(f"{where}{theirs.pk}/").status_code == 404
    assert api.post(base, {"name": "x"}).status_code == 404
    assert Environment.objects.get(pk=theirs.pk).state == 1


def test_another_projects_environment_does_not_exist(api, account, place):
    other = EnvironmentFactory(project__account=account)

    assert api.get(f"{place}{other.pk}/").status_code == 404


def test_who_may_only_run_jobs_cannot_change_environments(client_of, account, place, environment):
    runner = client_of(account, "job_runner")

    assert runner.post(place, {"name": "x"}).status_code == 403
    assert runner.delete(f"{place}{environment.pk}/").status_code == 403


def test_a_page_costs_the_same_number_of_queries_however_long(
    api, account, whole_account, django_assert_max_num_queries
):
    for _ in range(8):
        EnvironmentFactory(project__account=account)

    asked = f"{whole_account}?include_related=project,connection,credentials,repository"
    with django_assert_max_num_queries(8):
        assert len(api.get(asked).json()["data"]) == 8
