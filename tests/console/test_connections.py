"""Connections and projects, in the settings of the console."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from environments.models import Connection, Project, Repository
from jobsvc.statuses import State
from tests.factories import (
    ConnectionFactory,
    EnvironmentFactory,
    JobFactory,
    ProjectFactory,
    RepositoryFactory,
)

VisitorOf = Callable[..., Client]
POSTGRES = {
    "name": "Warehouse",
    "how-hostname": "db.example.com",
    "how-port": "5433",
    "how-dbname": "coffee",
}


def url(account: Account, name: str, *more: int) -> str:
    return reverse(f"console:{name}", args=[account.pk, *more])


def new(account: Account, version: str) -> str:
    return f"{url(account, 'connection_new')}?adapter={version}"


def test_a_connection_is_made_of_its_adapters_fields(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account)

    response = visitor.post(new(account, "postgres_v0"), POSTGRES)

    made = Connection.objects.get()
    assert response["Location"] == url(account, "connection", made.pk)
    assert made.adapter == "postgres"
    assert made.config == {"hostname": "db.example.com", "port": 5433, "dbname": "coffee"}
    assert "db.example.com" in visitor.get(url(account, "connections")).content.decode()


def test_each_kind_of_warehouse_has_a_form(visitor_of: VisitorOf, account: Account) -> None:
    visitor = visitor_of(account)
    kinds = visitor.get(url(account, "connection_new")).context["kinds"]

    for version, _title in kinds:
        assert visitor.get(new(account, version)).status_code == 200
    assert len(kinds) > 10


def test_a_kind_that_is_none_has_no_form(visitor_of: VisitorOf, account: Account) -> None:
    assert visitor_of(account).get(new(account, "oracle_v0")).status_code == 404


def test_fields_that_are_wrong_say_so(visitor_of: VisitorOf, account: Account) -> None:
    page = visitor_of(account).post(
        new(account, "postgres_v0"),
        {"name": "", "how-hostname": "https://db", "how-port": "99999", "how-dbname": ""},
    )

    assert set(page.context["form"].errors) == {"name"}
    assert set(page.context["how"].errors) == {"hostname", "port", "dbname"}
    assert not Connection.objects.exists()


def test_every_kind_of_field_reaches_the_connection(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account)

    visitor.post(
        new(account, "duckdb_v0"),
        {
            "name": "File",
            "how-path": "coffee.duckdb",
            "how-extensions": "httpfs\r\nicu\r\n",
            "how-settings": '{"threads": 2}',
        },
    )
    visitor.post(
        new(account, "snowflake_v0"),
        {
            "name": "Snow",
            "how-account": "ab12",
            "how-database": "COFFEE",
            "how-warehouse": "WH",
            "how-client_session_keep_alive": "true",
        },
    )

    file, snow = Connection.objects.order_by("name")
    assert file.config["extensions"] == ["httpfs", "icu"]
    assert file.config["settings"] == {"threads": 2}
    assert snow.config["client_session_keep_alive"] is True


def test_an_object_that_is_no_json_is_refused_at_its_field(
    visitor_of: VisitorOf, account: Account
) -> None:
    page = visitor_of(account).post(
        new(account, "duckdb_v0"),
        {"name": "File", "how-path": "coffee.duckdb", "how-settings": "threads: 2"},
    )

    assert page.context["how"].errors["settings"] == ["Give a JSON object."]


def test_secrets_of_a_connection_go_in_and_never_come_out(
    visitor_of: VisitorOf, account: Account
) -> None:
    row = ConnectionFactory(
        account=account,
        adapter="bigquery",
        adapter_version="bigquery_v0",
        config={"project_id": "coffee", "client_email": "ana@example.com"},
        secrets={"private_key": "hunter2"},
    )
    visitor = visitor_of(account)

    visitor.post(
        url(account, "connection_edit", row.pk),
        {
            "name": "Renamed",
            "how-project_id": "tea",
            "how-client_email": "ana@example.com",
            "how-private_key": "",
        },
    )

    row.refresh_from_db()
    assert (row.name, row.config["project_id"]) == ("Renamed", "tea")
    assert dict(row.secrets) == {"private_key": "hunter2"}
    for name in ("connection", "connection_edit"):
        assert "hunter2" not in visitor.get(url(account, name, row.pk)).content.decode()


def test_an_adapter_that_is_not_declared_is_written_as_yaml(
    visitor_of: VisitorOf, account: Account
) -> None:
    visitor = visitor_of(account)

    visitor.post(
        new(account, "athena_v0"),
        {
            "name": "Lake",
            "how-type": "athena",
            "how-further": "s3_staging_dir: s3://x\naws_secret_access_key: hunter2",
        },
    )
    row = Connection.objects.get()
    edit = url(account, "connection_edit", row.pk)
    shown = visitor.get(edit).content.decode()
    visitor.post(
        edit, {"name": "Lake", "how-type": "athena", "how-further": "aws_secret_access_key: null"}
    )

    assert row.config == {"type": "athena", "s3_staging_dir": "s3://x"}
    assert dict(row.secrets) == {"aws_secret_access_key": "hunter2"}
    assert "hunter2" not in shown
    row.refresh_from_db()
    assert (row.config, dict(row.secrets)) == ({"type": "athena"}, {})


def test_a_field_of_such_an_adapter_with_an_impossible_name_is_refused(
    visitor_of: VisitorOf, account: Account
) -> None:
    page = visitor_of(account).post(
        new(account, "custom_v0"),
        {"name": "Lake", "how-type": "athena", "how-further": "Bad-Name: 1"},
    )

    [sentence] = page.context["how"].errors["further"]
    assert sentence.startswith("Bad-Name: ")


def test_the_server_of_this_services_own_data_is_refused(
    visitor_of: VisitorOf, account: Account, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"ENGINE": "django.db.backends.postgresql", "HOST": "", "PORT": ""}
    monkeypatch.setitem(settings.DATABASES, "default", settings.DATABASES["default"] | ours)
    settings.ALLOW_OWN_DATABASE_SERVER = False

    page = visitor_of(account).post(
        new(account, "postgres_v0"),
        POSTGRES | {"how-hostname": "127.0.0.1", "how-port": ""},
    )

    assert "holds this service" in page.content.decode()
    assert not Connection.objects.exists()


@pytest.fixture
def port() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_test_says_whether_the_server_answers(
    visitor_of: VisitorOf, account: Account, settings: Any, port: int
) -> None:
    settings.ALLOW_PRIVATE_CONNECTION_TESTS = True
    settings.ALLOW_OWN_DATABASE_SERVER = True
    config = {"hostname": "127.0.0.1", "port": port, "dbname": "coffee"}
    row = ConnectionFactory(
        account=account, adapter="postgres", adapter_version="postgres_v0", config=config
    )

    page = visitor_of(account).post(url(account, "connection_test", row.pk), follow=True)

    assert f"127.0.0.1:{port} answers" in page.content.decode()


def test_a_connection_in_use_is_not_deleted_and_says_by_what(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory(name="Nights")
    account, row = environment.account, environment.connection
    visitor = visitor_of(account)

    question = visitor.get(url(account, "connection_delete", row.pk)).content.decode()
    answer = visitor.post(url(account, "connection_delete", row.pk), follow=True)

    row.refresh_from_db()
    assert "Nights" in question
    assert "is in use by Nights" in answer.content.decode()
    assert row.state == State.ACTIVE


def test_a_connection_that_nothing_uses_is_deleted(visitor_of: VisitorOf, account: Account) -> None:
    row = ConnectionFactory(account=account)

    visitor_of(account).post(url(account, "connection_delete", row.pk))

    row.refresh_from_db()
    assert row.state == State.DELETED


@pytest.mark.parametrize("name", ["edit", "test", "delete"])
def test_who_may_not_change_settings_cannot_change_a_connection(
    visitor_of: VisitorOf, account: Account, name: str
) -> None:
    row = ConnectionFactory(account=account)
    developer = visitor_of(account, "developer")

    assert developer.post(url(account, f"connection_{name}", row.pk)).status_code == 403
    assert "Edit" not in developer.get(url(account, "connection", row.pk)).content.decode()


def test_a_list_of_connections_takes_few_questions(
    visitor_of: VisitorOf, account: Account, django_assert_max_num_queries: Any
) -> None:
    for row in ConnectionFactory.create_batch(5, account=account):
        EnvironmentFactory(project__account=account, connection=row)
    visitor = visitor_of(account)

    with django_assert_max_num_queries(15):
        visitor.get(url(account, "connections"))


# --- Projects ----------------------------------------------------------------------------


def typed(**fields: Any) -> dict[str, Any]:
    """What the form of a project sends."""
    return {"name": "Shop", "remote_url": "https://github.com/example/shop.git"} | fields


def test_a_project_is_made_with_its_repository(visitor_of: VisitorOf, account: Account) -> None:
    visitor = visitor_of(account)

    response = visitor.post(
        url(account, "project_new"), typed(password="hunter2", dbt_project_subdirectory="dbt")
    )

    made = Project.objects.get()
    assert response["Location"] == url(account, "project_settings", made.pk)
    assert made.repository is not None
    assert made.repository.project == made
    assert made.repository.secrets["password"] == "hunter2"
    assert made.dbt_project_subdirectory == "dbt"
    page = visitor.get(response["Location"]).content.decode()
    assert "Make an environment" in page
    assert "hunter2" not in page


def test_a_repository_over_ssh_gets_a_deploy_key_to_copy(
    visitor_of: VisitorOf, account: Account
) -> None:
    page = visitor_of(account).post(
        url(account, "project_new"),
        typed(remote_url="git@github.com:example/shop.git"),
        follow=True,
    )

    assert "ssh-ed25519 " in page.content.decode()


def test_an_address_that_cannot_be_cloned_is_refused_and_nothing_is_made(
    visitor_of: VisitorOf, account: Account
) -> None:
    page = visitor_of(account).post(
        url(account, "project_new"), typed(remote_url="file:///etc/passwd")
    )

    assert "remote_url" in page.context["form"].errors
    assert not Project.objects.exists()


def test_two_projects_of_one_name_are_refused(visitor_of: VisitorOf, account: Account) -> None:
    ProjectFactory(account=account, name="Shop")

    page = visitor_of(account).post(url(account, "project_new"), typed())

    assert "Another project of this account has this name." in page.content.decode()


def test_a_repository_moves_to_another_host_without_its_token(
    visitor_of: VisitorOf, account: Account
) -> None:
    repository = RepositoryFactory(
        account=account, secrets={"username": "x", "password": "hunter2"}
    )
    project = ProjectFactory(account=account, repository=repository)

    visitor_of(account).post(
        url(account, "project_settings", project.pk),
        typed(remote_url="https://elsewhere.example/shop.git"),
    )

    repository.refresh_from_db()
    assert repository.remote_url == "https://elsewhere.example/shop.git"
    assert dict(repository.secrets) == {}


def test_a_repository_that_projects_share_is_left_to_the_other(
    visitor_of: VisitorOf, account: Account
) -> None:
    repository = RepositoryFactory(account=account)
    project, other = ProjectFactory.create_batch(2, account=account, repository=repository)

    visitor_of(account).post(url(account, "project_settings", project.pk), typed())

    project.refresh_from_db()
    other.refresh_from_db()
    assert other.repository == repository
    assert project.repository != repository
    assert Repository.objects.get(pk=repository.pk).remote_url == repository.remote_url


def test_saving_a_project_as_it_is_changes_nothing_of_its_repository(
    visitor_of: VisitorOf, account: Account
) -> None:
    repository = RepositoryFactory(
        account=account, secrets={"username": "x", "password": "hunter2"}
    )
    project = ProjectFactory(account=account, repository=repository, docs_job_id=None)

    visitor_of(account).post(
        url(account, "project_settings", project.pk),
        typed(name="Renamed", remote_url=repository.remote_url),
    )

    project.refresh_from_db()
    repository.refresh_from_db()
    assert (project.name, project.repository) == ("Renamed", repository)
    assert repository.secrets["password"] == "hunter2"


def test_a_project_is_deleted_by_its_name_with_what_is_in_it(visitor_of: VisitorOf) -> None:
    job = JobFactory(environment__project__name="Shop")
    project = job.project
    visitor = visitor_of(project.account)
    address = url(project.account, "project_delete", project.pk)

    wrong = visitor.post(address, {"name": "Shpo"}).content.decode()
    project.refresh_from_db()
    before = project.state
    visitor.post(address, {"name": "Shop"})

    project.refresh_from_db()
    job.refresh_from_db()
    assert "This is not its name." in wrong
    assert (before, project.state, job.state) == (State.ACTIVE, State.DELETED, State.DELETED)


def test_who_may_only_look_sees_projects_and_changes_none(
    visitor_of: VisitorOf, account: Account
) -> None:
    project = ProjectFactory(account=account)
    viewer = visitor_of(account, "job_viewer")

    listed = viewer.get(url(account, "projects")).content.decode()

    assert project.name in listed
    assert "New project" not in listed
    assert viewer.get(url(account, "project_settings", project.pk)).status_code == 403
