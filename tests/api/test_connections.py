"""Connections on the wire: of an account, of a project, and their test."""

from __future__ import annotations

import socket

import pytest
from django.db import connection as database

from environments.models import Connection
from tests.factories import ConnectionFactory, EnvironmentFactory, ProjectFactory

KEYS = {
    "id",
    "account_id",
    "name",
    "adapter_version",
    "config",
    "is_ssh_tunnel_enabled",
    "private_link_endpoint_id",
    "oauth_configuration_id",
    "state",
    "created_at",
    "updated_at",
}
PROJECT_KEYS = {
    "id",
    "account_id",
    "project_id",
    "name",
    "type",
    "adapter_version",
    "details",
    "created_by_id",
    "created_by_service_token_id",
    "state",
    "created_at",
    "updated_at",
}
POSTGRES = {"hostname": "warehouse.example.com", "port": 5432, "dbname": "coffee"}
BIGQUERY = {
    "project_id": "coffee",
    "client_email": "a@example.com",
    "private_key": "BEGIN hunter2",
}


@pytest.fixture
def place(account):
    return f"/api/v3/accounts/{account.pk}/connections/"


@pytest.fixture
def project(account):
    return ProjectFactory(account=account, connection=None)


@pytest.fixture
def in_project(account, project):
    return f"/api/v3/accounts/{account.pk}/projects/{project.pk}/connections/"


@pytest.fixture
def made(api, place):
    """A PostgreSQL connection, as the answer to its creation."""
    body = {"name": "Warehouse", "adapter_version": "postgres_v0", "config": POSTGRES}
    return api.post(place, body).json()["data"]


@pytest.fixture
def own_database(settings, monkeypatch):
    """Settings that say: our own data is in PostgreSQL, on this machine."""
    ours = {"ENGINE": "django.db.backends.postgresql", "HOST": "", "PORT": ""}
    monkeypatch.setitem(settings.DATABASES, "default", settings.DATABASES["default"] | ours)
    settings.ALLOW_OWN_DATABASE_SERVER = False


def problem(answer):
    """The sentence of a 400."""
    assert answer.status_code == 400, answer.content
    return answer.json()["status"]["user_message"]


def stored() -> str:
    """Every connection's columns, raw."""
    with database.cursor() as cursor:
        cursor.execute("SELECT * FROM environments_connection")
        return str(cursor.fetchall())


def test_a_connection_has_every_key(api, place, made):
    assert set(made) >= KEYS
    assert set(api.get(f"{place}{made['id']}").json()["data"]) == KEYS


def test_a_listed_connection_says_how_many_environments_use_it(api, account, place):
    used = EnvironmentFactory(project__account=account).connection
    EnvironmentFactory(project__account=account, connection=used, state=2)

    listed = api.get(place).json()["data"]

    assert set(listed[0]) == KEYS | {"environment__count"}
    assert {one["id"]: one["environment__count"] for one in listed}[used.pk] == 1


def test_config_comes_back_as_posted(made):
    assert made["config"] == POSTGRES
    assert made["is_ssh_tunnel_enabled"] is False


def test_a_port_of_digits_becomes_a_number(api, place):
    body = {
        "name": "W",
        "adapter_version": "postgres_v0",
        "config": POSTGRES | {"port": "5432"},
    }

    assert api.post(place, body).json()["data"]["config"]["port"] == 5432


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("duckdb_v0", {"path": "coffee.duckdb"}),
        ("redshift_v0", POSTGRES | {"port": 5439}),
        ("snowflake_v0", {"account": "a", "database": "d", "warehouse": "w"}),
        ("bigquery_v1", BIGQUERY),
        ("databricks_v0", {"host": "h.example.com", "http_path": "/sql"}),
        ("trino_v0", {"host": "h.example.com", "port": 443}),
        ("athena_v0", {"region_name": "eu-central-1"}),
        ("custom_v0", {"type": "exasol", "dsn": "h.example.com:8563"}),
    ],
)
def test_every_kind_of_warehouse_can_be_made(api, place, version, config):
    answer = api.post(place, {"name": "W", "adapter_version": version, "config": config})

    assert answer.status_code == 201, answer.content
    assert answer.json()["data"]["adapter_version"] == version


def test_a_secret_field_is_neither_shown_nor_stored_in_clear(api, account, place, project):
    body = {"name": "W", "adapter_version": "bigquery_v0", "config": BIGQUERY}
    answer = api.post(place, body)
    pk = answer.json()["data"]["id"]
    project.connection_id = pk
    project.save()

    home = f"/api/v3/accounts/{account.pk}/projects/{project.pk}/"
    for shown in (answer, api.get(place), api.get(f"{place}{pk}/"), api.get(home)):
        assert "hunter2" not in shown.content.decode()
    assert "hunter2" not in stored()
    assert Connection.objects.get(pk=pk).secrets["private_key"] == "BEGIN hunter2"


def test_what_looks_like_a_secret_of_an_unknown_adapter_is_kept_as_one(api, place):
    config = {"type": "exasol", "password": "hunter2", "user": "ana"}
    body = {"name": "W", "adapter_version": "custom_v0", "config": config}

    answer = api.post(place, body)

    assert answer.json()["data"]["config"] == {"type": "exasol", "user": "ana"}
    assert "hunter2" not in stored()


def test_patch_merges_config_key_by_key(api, place, made):
    changed = api.patch(f"{place}{made['id']}/", {"config": {"dbname": "tea"}}).json()["data"]

    assert changed["config"] == POSTGRES | {"dbname": "tea"}
    assert changed["name"] == "Warehouse"


def test_patch_clears_what_is_null(api, place, made):
    changed = api.patch(f"{place}{made['id']}/", {"config": {"port": None}}).json()["data"]

    assert "port" not in changed["config"]


def test_patch_keeps_a_secret_it_does_not_name(api, place):
    body = {"name": "W", "adapter_version": "bigquery_v0", "config": BIGQUERY}
    pk = api.post(place, body).json()["data"]["id"]

    api.patch(f"{place}{pk}/", {"name": "Renamed", "config": {"location": "EU"}})

    row = Connection.objects.get()
    assert row.secrets["private_key"] == "BEGIN hunter2"
    assert row.config["location"] == "EU"


def test_the_adapter_cannot_be_changed(api, place, made):
    answer = api.patch(f"{place}{made['id']}/", {"adapter_version": "redshift_v0"})

    assert "adapter_version" in problem(answer)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"adapter_version": "oracle_v0"}, "adapter_version"),
        ({"adapter_version": None}, "adapter_version"),
        ({"config": None}, "config"),
        ({"config": []}, "config"),
        ({"config": {}}, "hostname"),
        ({"config": POSTGRES | {"port": 65536}}, "port"),
        ({"config": POSTGRES | {"retries": 11}}, "retries"),
        ({"config": POSTGRES | {"hostname": "https://h/"}}, "hostname"),
        ({"config": POSTGRES | {"nonsense": 1}}, "nonsense"),
        ({"is_ssh_tunnel_enabled": True}, "is_ssh_tunnel_enabled"),
    ],
)
def test_what_cannot_be_a_connection_is_refused_by_field(api, place, body, said):
    whole = {"name": "W", "adapter_version": "postgres_v0", "config": POSTGRES}

    assert said in problem(api.post(place, whole | body))


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/coffee.duckdb", "a/../../b", "~/x"])
def test_a_duckdb_file_stays_in_the_accounts_folder(api, place, path):
    body = {"name": "W", "adapter_version": "duckdb_v0", "config": {"path": path}}

    assert "path" in problem(api.post(place, body))


def test_the_server_of_our_own_data_is_refused(api, place, own_database):
    body = {"name": "W", "adapter_version": "postgres_v0"}

    for host in ("localhost", "127.0.0.1", "127.1", "2130706433", "0.0.0.0", "LOCALHOST."):
        answer = api.post(place, body | {"config": POSTGRES | {"hostname": host}})
        assert "own data" in problem(answer), host


def test_another_port_of_that_server_is_not_refused(api, place, own_database):
    config = POSTGRES | {"hostname": "localhost", "port": 5433}
    body = {"name": "W", "adapter_version": "postgres_v0", "config": config}

    assert api.post(place, body).status_code == 201


def test_the_server_of_our_own_data_can_be_allowed(api, place, own_database, settings):
    settings.ALLOW_OWN_DATABASE_SERVER = True
    config = POSTGRES | {"hostname": "localhost"}
    body = {"name": "W", "adapter_version": "postgres_v0", "config": config}

    assert api.post(place, body).status_code == 201


def test_a_connection_is_not_moved_to_our_own_server(api, place, made, own_database):
    answer = api.patch(f"{place}{made['id']}/", {"config": {"hostname": "localhost"}})

    assert "own data" in problem(answer)


def test_a_connection_in_use_is_not_deleted(api, account, place):
    environment = EnvironmentFactory(project__account=account)

    answer = api.delete(f"{place}{environment.connection_id}/")

    assert environment.name in problem(answer)


def test_an_unused_connection_is_deleted(api, place, made):
    answer = api.delete(f"{place}{made['id']}")

    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)
    assert api.get(f"{place}{made['id']}/").status_code == 404
    assert api.delete(f"{place}{made['id']}/").status_code == 404


def test_another_accounts_connection_does_not_exist(api, place, in_project):
    theirs = ConnectionFactory()

    for where in (place, in_project):
        assert api.get(f"{where}{theirs.pk}/").status_code == 404
        assert api.delete(f"{where}{theirs.pk}/").status_code == 404
    assert api.patch(f"{place}{theirs.pk}/", {"name": "x"}).status_code == 404


def test_who_may_only_change_jobs_cannot_change_connections(client_of, account, place, made):
    admin = client_of(account, "job_admin")

    assert admin.patch(f"{place}{made['id']}/", {"name": "x"}).status_code == 403
    assert admin.post(f"{place}test/", {}).status_code == 403


# --- of a project --------------------------------------------------------------------------


def test_a_projects_connection_has_every_key(api, in_project, project):
    body = {
        "id": None,
        "account_id": project.account_id,
        "project_id": project.pk,
        "name": "Warehouse",
        "type": "postgres",
        "state": 1,
        "details": POSTGRES | {"tunnel_enabled": False},
    }

    answer = api.post(in_project.rstrip("/"), body)

    assert answer.status_code == 201, answer.content
    made = answer.json()["data"]
    assert set(made) == PROJECT_KEYS
    assert (made["type"], made["details"], made["project_id"]) == ("postgres", POSTGRES, project.pk)


def test_other_warehouses_are_of_type_adapter(api, in_project):
    body = {
        "name": "Duck",
        "type": "adapter",
        "adapter_version": "duckdb_v0",
        "details": {"path": "coffee.duckdb"},
    }

    assert api.post(in_project, body).json()["data"]["type"] == "adapter"
    del body["adapter_version"]
    assert "adapter_version" in problem(api.post(in_project, body))


def test_both_views_show_the_same_rows(api, place, in_project, made):
    listed = api.get(in_project).json()["data"]
    one = api.get(f"{in_project}{made['id']}/").json()["data"]

    assert [row["id"] for row in listed] == [made["id"]]
    assert one["details"] == made["config"]


def test_another_projects_own_connection_does_not_exist(api, account, in_project):
    other = ConnectionFactory(account=account, project=ProjectFactory(account=account))

    assert api.get(f"{in_project}{other.pk}/").status_code == 404


def test_posting_replaces_details_and_keeps_secrets(api, in_project):
    made = api.post(
        in_project, {"name": "B", "type": "bigquery", "details": BIGQUERY | {"location": "EU"}}
    ).json()["data"]

    api.post(f"{in_project}{made['id']}/", {"details": {"project_id": "p", "client_email": "e"}})

    row = Connection.objects.get()
    assert row.config == {"project_id": "p", "client_email": "e"}
    assert row.secrets["private_key"] == "BEGIN hunter2"


def test_its_type_cannot_be_changed(api, in_project, made):
    answer = api.post(f"{in_project}{made['id']}/", {"type": "snowflake"})

    assert "type" in problem(answer)


# --- the test ------------------------------------------------------------------------------


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def try_out(api, place):
    """The test's data for these settings."""

    def ask(config, version="postgres_v0"):
        body = {"name": "W", "adapter_version": version, "config": config}
        answer = api.post(f"{place}test/", body)
        assert answer.status_code == 200
        assert set(answer.json()["data"]) == {"success", "message"}
        return answer.json()["data"]

    return ask


def test_a_port_that_answers_is_a_success(try_out, listening):
    said = try_out(POSTGRES | {"hostname": "127.0.0.1", "port": listening})

    assert said["success"] is True
    assert "Signing in was not tried" in said["message"]


def test_a_port_that_refuses_is_none(try_out):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    said = try_out(POSTGRES | {"hostname": "127.0.0.1", "port": port})

    assert said["success"] is False
    assert "refused" in said["message"]


def test_a_name_that_is_unknown_is_none(try_out):
    said = try_out(POSTGRES | {"hostname": "nowhere.invalid"})

    assert said["success"] is False
    assert "unknown" in said["message"]


def test_private_addresses_are_not_knocked_at_where_that_is_off(try_out, listening, settings):
    settings.ALLOW_PRIVATE_CONNECTION_TESTS = False

    answers = [
        try_out(POSTGRES | {"hostname": host, "port": port})
        for host in ("127.0.0.1", "localhost", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254")
        for port in (listening, 1)
    ]

    # Whether something listens there must not show.
    assert {answer["success"] for answer in answers} == {True}
    assert all("was not tested" in answer["message"] for answer in answers)


def test_our_own_database_is_not_knocked_at(try_out, own_database):
    said = try_out(POSTGRES | {"hostname": "127.0.0.1"})

    assert said["success"] is False
    assert "own data" in said["message"]


def test_settings_without_a_host_are_only_read(try_out):
    said = try_out({"path": "coffee.duckdb"}, "duckdb_v0")

    assert said["success"] is True
    assert "No server was asked" in said["message"]


@pytest.mark.parametrize(
    ("config", "version"), [({}, "postgres_v0"), ({"path": "/etc"}, "duckdb_v0"), ({}, "oracle")]
)
def test_settings_that_are_wrong_are_no_success(try_out, config, version):
    assert try_out(config, version)["success"] is False


def test_an_empty_body_is_answered_too(api, place):
    answer = api.post(f"{place}test")

    assert answer.status_code == 200
    assert answer.json()["data"]["success"] is False


def test_testing_saves_nothing(try_out):
    try_out({"path": "coffee.duckdb"}, "duckdb_v0")

    assert not Connection.objects.exists()
