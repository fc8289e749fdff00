"""Credentials on the wire, of every kind, and extended attributes."""

from __future__ import annotations

import pytest
from django.db import connection as database

from environments.models import Credentials
from environments.variables import MASK
from tests.factories import CredentialsFactory, EnvironmentFactory, ProjectFactory

COMMON = {
    "id",
    "account_id",
    "project_id",
    "type",
    "adapter_version",
    "threads",
    "target_name",
    "state",
    "created_at",
    "updated_at",
}
POSTGRES = {
    "type": "postgres",
    "username": "ana",
    "password": "hunter2",
    "default_schema": "analytics",
    "threads": 8,
    "target_name": "prod",
}
SNOWFLAKE = {
    "type": "snowflake",
    "auth_type": "keypair",
    "user": "ana",
    "schema": "analytics",
    "role": "loader",
    "private_key": "BEGIN hunter2",
    "private_key_passphrase": "hunter22",
}


def field(value, **metadata):
    """One field of ``credential_details``, as Terraform sends it."""
    return {"metadata": {"label": "", "field_type": "text", "encrypt": False} | metadata} | {
        "value": value
    }


DATABRICKS = {
    "type": "adapter",
    "adapter_version": "databricks_v0",
    "credential_details": {
        "fields": {
            "auth_type": field("token"),
            "token": field("hunter2", encrypt=True),
            "schema": field("analytics"),
            "target_name": field("prod"),
            "threads": field(6, field_type="number"),
        },
        "field_order": [],
    },
}


@pytest.fixture
def project(account):
    return ProjectFactory(account=account)


@pytest.fixture
def place(account, project):
    return f"/api/v3/accounts/{account.pk}/projects/{project.pk}/credentials/"


def problem(answer):
    """The sentence of a 400."""
    assert answer.status_code == 400, answer.content
    return answer.json()["status"]["user_message"]


def stored() -> str:
    """Every credential's columns, raw."""
    with database.cursor() as cursor:
        cursor.execute("SELECT * FROM environments_credentials")
        return str(cursor.fetchall())


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (POSTGRES, {"username", "default_schema"}),
        (POSTGRES | {"type": "redshift"}, {"username", "default_schema", "auth_type"}),
        (SNOWFLAKE, {"auth_type", "user", "schema", "database", "role", "warehouse"}),
        ({"type": "bigquery", "schema": "analytics"}, {"schema"}),
        (DATABRICKS, {"credential_details", "unencrypted_credential_details"}),
    ],
)
def test_credentials_have_the_keys_of_their_kind(api, place, body, keys):
    answer = api.post(place, {"id": None, "state": 1} | body)

    assert answer.status_code == 201, answer.content
    made = answer.json()["data"]
    assert set(made) == COMMON | keys
    assert set(api.get(f"{place}{made['id']}/").json()["data"]) == COMMON | keys
    assert set(api.get(place).json()["data"][0]) == COMMON | keys


def test_what_was_posted_comes_back(api, place):
    made = api.post(place, POSTGRES).json()["data"]

    for name in ("username", "default_schema", "threads", "target_name", "type"):
        assert made[name] == POSTGRES[name]


def test_threads_and_target_have_defaults(api, place):
    made = api.post(place, {"type": "bigquery", "schema": "analytics"}).json()["data"]

    assert (made["threads"], made["target_name"]) == (4, "default")


def test_duckdb_has_a_schema_and_nothing_to_sign_in_with(api, place):
    body = {
        "type": "adapter",
        "adapter_version": "duckdb_v0",
        "credential_details": {"fields": {"schema": field("main")}},
    }

    made = api.post(place, body).json()["data"]

    assert made["unencrypted_credential_details"] == {
        "schema": "main",
        "target_name": "default",
        "threads": 4,
    }


def test_details_say_what_each_field_is(api, place):
    details = api.post(place, DATABRICKS).json()["data"]["credential_details"]

    assert set(details) == {"fields", "field_order"}
    assert set(details["field_order"]) == set(details["fields"])
    assert set(details["fields"]["token"]["metadata"]) == {
        "label",
        "description",
        "field_type",
        "encrypt",
        "overrideable",
        "options",
        "validation",
    }
    assert details["fields"]["token"]["metadata"]["encrypt"] is True
    assert details["fields"]["schema"]["value"] == "analytics"
    assert details["fields"]["threads"]["value"] == 6


@pytest.mark.parametrize("body", [POSTGRES, SNOWFLAKE, DATABRICKS])
def test_a_secret_is_neither_shown_nor_stored_in_clear(api, account, place, body):
    made = api.post(place, body)
    pk = made.json()["data"]["id"]
    EnvironmentFactory(project_id=Credentials.objects.get().project_id, credentials_id=pk)
    environments = f"/api/v3/accounts/{account.pk}/environments/?include_related=credentials"

    answers = [
        made,
        api.get(place),
        api.get(f"{place}{pk}/?include_related=[adapter]"),
        api.patch(f"{place}{pk}/", {"threads": 2}),
        api.get(environments),
        api.post(f"{place}{pk}/", body),
    ]
    for answer in answers:
        assert answer.status_code < 300
        assert "hunter2" not in answer.content.decode()
    assert "hunter2" not in stored()


def test_encrypted_fields_are_masked(api, place):
    made = api.post(place, DATABRICKS).json()["data"]

    assert made["credential_details"]["fields"]["token"]["value"] == MASK
    assert "token" not in made["unencrypted_credential_details"]


def test_a_field_of_an_unknown_adapter_is_secret_where_it_says_so(api, place):
    body = {
        "type": "adapter",
        "adapter_version": "athena_v0",
        "credential_details": {
            "fields": {"work": field("plain"), "pin": field("hunter2", encrypt=True)}
        },
    }

    made = api.post(place, body).json()["data"]

    assert made["unencrypted_credential_details"]["work"] == "plain"
    assert "hunter2" not in stored()


def test_post_replaces_and_keeps_the_secrets_it_does_not_name(api, place):
    pk = api.post(place, SNOWFLAKE).json()["data"]["id"]

    changed = api.post(f"{place}{pk}/", {"type": "snowflake", "user": "bo"}).json()["data"]

    assert (changed["user"], changed["role"], changed["schema"]) == ("bo", None, "")
    assert Credentials.objects.get().secrets["private_key"] == "BEGIN hunter2"


def test_patch_merges(api, place):
    pk = api.post(place, SNOWFLAKE).json()["data"]["id"]

    changed = api.patch(f"{place}{pk}/", {"user": "bo"}).json()["data"]

    assert (changed["user"], changed["role"], changed["schema"]) == ("bo", "loader", "analytics")


def test_patch_merges_the_fields_of_details(api, place):
    pk = api.post(place, DATABRICKS).json()["data"]["id"]

    body = {"credential_details": {"fields": {"schema": field("other")}}}
    changed = api.patch(f"{place}{pk}/", body).json()["data"]

    assert changed["unencrypted_credential_details"]["schema"] == "other"
    assert changed["unencrypted_credential_details"]["auth_type"] == "token"
    assert changed["threads"] == 6
    assert Credentials.objects.get().secrets["token"] == "hunter2"


def test_the_mask_posted_back_keeps_the_secret(api, place):
    made = api.post(place, DATABRICKS).json()["data"]

    answer = api.post(f"{place}{made['id']}/", made)

    assert answer.status_code == 200, answer.content
    assert Credentials.objects.get().secrets["token"] == "hunter2"


def test_a_new_secret_replaces_the_old(api, place):
    pk = api.post(place, POSTGRES).json()["data"]["id"]

    api.patch(f"{place}{pk}/", {"password": " correct horse "})

    assert Credentials.objects.get().secrets["password"] == " correct horse "


def test_a_null_clears_a_secret(api, place):
    pk = api.post(place, POSTGRES).json()["data"]["id"]

    api.patch(f"{place}{pk}/", {"password": None})

    assert "password" not in Credentials.objects.get().secrets


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"type": "oracle"}, "type"),
        ({"type": None}, "type"),
        ({"type": "adapter"}, "adapter_version"),
        ({"type": "adapter", "adapter_version": "oracle_v0"}, "adapter_version"),
        ({"username": ""}, "username"),
        ({"threads": 0}, "threads"),
        ({"threads": 10**12}, "threads"),
        ({"type": "snowflake", "user": "ana", "auth_type": "sso"}, "auth_type"),
        (DATABRICKS | {"credential_details": {"fields": []}}, "credential_details"),
        (DATABRICKS | {"credential_details": {"fields": {"nonsense": field("x")}}}, "nonsense"),
        (DATABRICKS | {"credential_details": {"fields": {"threads": field("x")}}}, "threads"),
        (DATABRICKS | {"credential_details": {"fields": {"schema": field(["x"])}}}, "schema"),
        (DATABRICKS | {"credential_details": {"fields": {"token": field({})}}}, "token"),
    ],
)
def test_what_cannot_be_credentials_is_refused_by_field(api, place, body, said):
    assert said in problem(api.post(place, POSTGRES | body))


def test_the_type_cannot_be_changed(api, place):
    pk = api.post(place, POSTGRES).json()["data"]["id"]

    assert "type" in problem(api.post(f"{place}{pk}/", POSTGRES | {"type": "redshift"}))


def test_credentials_in_use_are_not_deleted(api, account):
    environment = EnvironmentFactory(project__account=account)
    place = f"/api/v3/accounts/{account.pk}/projects/{environment.project_id}/credentials/"

    answer = api.delete(f"{place}{environment.credentials_id}/")

    assert environment.name in problem(answer)


def test_unused_credentials_are_deleted(api, place):
    pk = api.post(place, POSTGRES).json()["data"]["id"]

    answer = api.delete(f"{place}{pk}/")

    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)
    assert api.get(f"{place}{pk}/").status_code == 404


def test_another_projects_credentials_do_not_exist(api, account, place):
    for row in (CredentialsFactory(), CredentialsFactory(project__account=account)):
        assert api.get(f"{place}{row.pk}/").status_code == 404
        assert api.patch(f"{place}{row.pk}/", {"threads": 1}).status_code == 404
        assert api.delete(f"{place}{row.pk}/").status_code == 404


def test_who_may_only_change_jobs_cannot_change_credentials(client_of, account, place):
    assert client_of(account, "job_admin").post(place, POSTGRES).status_code == 403


# --- extended attributes -------------------------------------------------------------------

KEYS = {
    "id",
    "account_id",
    "project_id",
    "extended_attributes",
    "state",
    "created_at",
    "updated_at",
}


@pytest.fixture
def attributes(account, project):
    return f"/api/v3/accounts/{account.pk}/projects/{project.pk}/extended-attributes/"


def test_extended_attributes_have_every_key(api, attributes):
    answer = api.post(attributes, {"extended_attributes": {"sslmode": "require"}})

    assert answer.status_code == 201
    assert set(answer.json()["data"]) == KEYS
    one = api.get(f"{attributes}{answer.json()['data']['id']}").json()["data"]
    assert one["extended_attributes"] == {"sslmode": "require"}


@pytest.mark.parametrize("method", ["post", "patch"])
def test_both_ways_to_update_replace_the_object(api, attributes, method):
    pk = api.post(attributes, {"extended_attributes": {"a": 1}}).json()["data"]["id"]

    changed = getattr(api, method)(f"{attributes}{pk}/", {"extended_attributes": {"b": [2]}})

    assert changed.json()["data"]["extended_attributes"] == {"b": [2]}


@pytest.mark.parametrize(
    "body", [None, {}, {"extended_attributes": [1]}, {"extended_attributes": "a"}]
)
def test_extended_attributes_are_an_object(api, attributes, body):
    assert "extended_attributes" in problem(api.post(attributes, body))


def test_extended_attributes_have_4096_bytes_at_most(api, attributes):
    body = {"extended_attributes": {"a": "x" * 4096}}

    assert "4096" in problem(api.post(attributes, body))


def test_extended_attributes_in_use_are_not_deleted(api, account, project, attributes):
    pk = api.post(attributes, {"extended_attributes": {}}).json()["data"]["id"]
    environment = EnvironmentFactory(project=project, extended_attributes_id=pk)

    assert environment.name in problem(api.delete(f"{attributes}{pk}/"))
    environment.delete()
    assert api.delete(f"{attributes}{pk}/").json()["data"]["state"] == 2
