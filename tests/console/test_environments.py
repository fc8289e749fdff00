"""The environments of a project, in the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.audit import AuditEvent
from accounts.models import Account
from environments.models import Credentials, Environment
from jobsvc.statuses import State
from tests.factories import (
    ConnectionFactory,
    CredentialsFactory,
    EnvironmentFactory,
    EnvironmentVariableFactory,
    JobFactory,
    ProjectFactory,
    RunFactory,
    RunStepFactory,
)
from tests.manifests import entry, left, manifest_of

VisitorOf = Callable[..., Client]
POSTGRES = {
    "adapter": "postgres",
    "adapter_version": "postgres_v0",
    "config": {"hostname": "127.0.0.1", "port": 1, "dbname": "coffee"},
}


def of_project(environment: Environment, name: str) -> str:
    return reverse(f"console:{name}", args=[environment.project.account_id, environment.project_id])


def url(environment: Environment, name: str = "environment") -> str:
    project = environment.project
    return reverse(f"console:{name}", args=[project.account_id, project.pk, environment.pk])


def typed(**fields: Any) -> dict[str, Any]:
    """What the form of an environment sends."""
    return {"name": "Production", "kind": "production", "branch": ""} | fields


def signed_in_with(environment: Environment, secrets: dict[str, str]) -> Environment:
    """``environment`` on PostgreSQL, with credentials that hold ``secrets``."""
    account = environment.project.account
    environment.connection = ConnectionFactory(account=account, **POSTGRES)
    environment.credentials = CredentialsFactory(
        project=environment.project,
        type="postgres",
        adapter="postgres",
        adapter_version="postgres_v0",
        config={"username": "ana"},
        secrets=secrets,
    )
    environment.save()
    return environment


def test_the_list_says_of_each_environment_what_it_is_and_when_it_last_worked(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory(environment__name="Nights", environment__deployment_type="production")
    run = RunFactory(job=job, succeeded=True)
    RunFactory(job=job, failed=True)
    environment = job.environment

    page = visitor_of(job.account).get(of_project(environment, "environments")).content.decode()

    assert "Nights" in page
    assert '<span class="pill warn">Production</span>' in page
    assert str(environment.connection) in page
    assert f">#{run.pk}</a>" in page


def test_the_list_takes_few_questions_however_many_there_are(
    visitor_of: VisitorOf, django_assert_max_num_queries: Any
) -> None:
    project = ProjectFactory()
    for environment in EnvironmentFactory.create_batch(8, project=project):
        RunFactory(job=JobFactory(environment=environment), succeeded=True)
    visitor = visitor_of(project.account)

    with django_assert_max_num_queries(15):
        visitor.get(of_project(environment, "environments"))


def test_a_project_without_environments_says_what_one_is(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    address = reverse("console:environments", args=[project.account_id, project.pk])

    page = visitor_of(project.account).get(address).content.decode()

    assert "This project has no environment yet." in page
    assert "Make the first one" in page


def test_who_may_only_look_finds_no_way_to_change_one(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()
    viewer = visitor_of(environment.account, "job_viewer")

    page = viewer.get(url(environment)).content.decode()
    listed = viewer.get(of_project(environment, "environments")).content.decode()

    assert not {"Edit", "Delete", "Test", "New environment"} & set(
        (page + listed).replace("<", ">").split(">")
    )


@pytest.mark.parametrize("name", ["edit", "credentials", "test", "delete"])
def test_who_may_not_change_settings_cannot_by_address(visitor_of: VisitorOf, name: str) -> None:
    environment = EnvironmentFactory()
    developer = visitor_of(environment.account, "developer")

    assert developer.post(url(environment, f"environment_{name}")).status_code == 403


def test_an_environment_is_made_and_its_credentials_are_asked_for_next(
    visitor_of: VisitorOf,
) -> None:
    project = ProjectFactory()
    address = reverse("console:environment_new", args=[project.account_id, project.pk])

    response = visitor_of(project.account).post(
        address,
        typed(
            connection=project.connection.pk,
            branch="release",
            extended_attributes="search_path: coffee\nretries: 3",
        ),
    )

    made = Environment.objects.get(project=project)
    assert response["Location"] == url(made, "environment_credentials")
    assert (made.type, made.deployment_type) == ("deployment", "production")
    assert (made.branch, made.connection) == ("release", project.connection)
    assert made.extended_attributes is not None
    assert made.extended_attributes.extended_attributes == {"search_path": "coffee", "retries": 3}


def test_what_a_verb_refuses_is_said_at_its_field(visitor_of: VisitorOf) -> None:
    there = EnvironmentFactory(deployment_type="production")
    environment = EnvironmentFactory(project=there.project)

    page = visitor_of(environment.account).post(
        url(environment, "environment_edit"), typed(branch="-x")
    )

    assert page.context["form"].errors["branch"] == [
        "'-x' cannot be the name of a branch or a tag. Write it as `git branch` shows it."
    ]
    assert page.content.decode().count("autofocus") == 1


def test_two_environments_of_one_name_are_refused(visitor_of: VisitorOf) -> None:
    there = EnvironmentFactory()
    environment = EnvironmentFactory(project=there.project)

    page = visitor_of(environment.account).post(
        url(environment, "environment_edit"), typed(name=there.name, kind="general")
    )

    assert "Another environment of this project has this name." in page.content.decode()


def test_an_environment_that_jobs_run_in_stays_one_for_jobs(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Nightly build")

    page = visitor_of(job.account).post(
        url(job.environment, "environment_edit"), typed(kind="development")
    )

    [sentence] = page.context["form"].errors["kind"]
    assert "Nightly build" in sentence


def test_what_the_form_does_not_show_stays(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory(supports_docs=True, dbt_version="", raw_dbt_version="latest")
    credentials = environment.credentials

    visitor_of(environment.account).post(
        url(environment, "environment_edit"),
        typed(connection=environment.connection_id, kind="general"),
    )

    environment.refresh_from_db()
    assert environment.supports_docs
    assert environment.raw_dbt_version == "latest"
    assert environment.credentials == credentials


def test_another_accounts_connection_is_none_to_choose(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()

    page = visitor_of(environment.account).post(
        url(environment, "environment_edit"), typed(connection=ConnectionFactory().pk)
    )

    assert "connection" in page.context["form"].errors


def test_credentials_for_another_warehouse_are_let_go_and_asked_for_anew(
    visitor_of: VisitorOf,
) -> None:
    environment = EnvironmentFactory()
    other = ConnectionFactory(account=environment.account, **POSTGRES)

    response = visitor_of(environment.account).post(
        url(environment, "environment_edit"), typed(connection=other.pk)
    )

    environment.refresh_from_db()
    assert environment.credentials is None
    assert response["Location"] == url(environment, "environment_credentials")


def test_attributes_that_another_environment_shares_are_left_to_it(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()
    visitor = visitor_of(environment.account)
    edit = url(environment, "environment_edit")
    visitor.post(edit, typed(extended_attributes="role: reader"))
    environment.refresh_from_db()
    shared = environment.extended_attributes
    other = EnvironmentFactory(project=environment.project, extended_attributes=shared)

    visitor.post(edit, typed(extended_attributes="role: writer"))

    environment.refresh_from_db()
    other.refresh_from_db()
    assert environment.extended_attributes is not None
    assert other.extended_attributes is not None
    assert environment.extended_attributes.extended_attributes == {"role": "writer"}
    assert other.extended_attributes.extended_attributes == {"role": "reader"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x", "without anchors"),
        ("- one", "name: value"),
        ("a: [1", "This is not YAML"),
        ("since: 2026-01-01", "Put 2026-01-01 into quotes."),
        ("1: a", "Put the name 1 into quotes."),
        ('a: "\\0"', "NUL"),
        ("a: .inf", "too large"),
        ("[" * 5000, "YAML"),
        ("a: " + "x" * 5000, "4096 bytes"),
    ],
)
def test_what_cannot_be_kept_over_a_profile_is_refused_at_its_field(
    visitor_of: VisitorOf, text: str, says: str
) -> None:
    environment = EnvironmentFactory()

    page = visitor_of(environment.account).post(
        url(environment, "environment_edit"), typed(extended_attributes=text)
    )

    [sentence] = page.context["form"].errors["extended_attributes"]
    assert says in sentence


def test_credentials_go_in_and_never_come_out(visitor_of: VisitorOf) -> None:
    environment = signed_in_with(EnvironmentFactory(), {})
    visitor = visitor_of(environment.account)
    address = url(environment, "environment_credentials")

    visitor.post(
        address,
        {
            "who-username": "bean",
            "who-password": "hunter2 ",
            "schema": "gold",
            "threads": "8",
            "target_name": "prod",
        },
    )

    row = Credentials.objects.get(pk=environment.credentials_id)
    assert (row.config, dict(row.secrets)) == ({"username": "bean"}, {"password": "hunter2 "})
    assert (row.default_schema, row.threads, row.target_name) == ("gold", 8, "prod")
    for page in (address, url(environment)):
        shown = visitor.get(page).content.decode()
        assert "bean" in shown
        assert "hunter2" not in shown


def test_an_empty_secret_keeps_what_is_there_and_a_tick_removes_it(visitor_of: VisitorOf) -> None:
    environment = signed_in_with(EnvironmentFactory(), {"password": "hunter2"})
    visitor = visitor_of(environment.account)
    address = url(environment, "environment_credentials")
    fields = {"who-username": "ana", "schema": "gold", "threads": "4", "target_name": "default"}

    visitor.post(address, fields)
    kept = dict(Credentials.objects.get(pk=environment.credentials_id).secrets)
    visitor.post(address, fields | {"who-remove-password": "on"})
    left = dict(Credentials.objects.get(pk=environment.credentials_id).secrets)

    assert (kept, left) == ({"password": "hunter2"}, {})


def test_credentials_that_lack_something_say_so_and_show_no_secret(visitor_of: VisitorOf) -> None:
    environment = signed_in_with(EnvironmentFactory(), {})

    page = visitor_of(environment.account).post(
        url(environment, "environment_credentials"),
        {"who-password": "hunter2", "schema": "", "threads": "0", "target_name": "default"},
    )

    assert page.context["who"].errors["username"] == ["PostgreSQL needs it. Fill it in."]
    assert set(page.context["where"].errors) == {"schema", "threads"}
    assert "hunter2" not in page.content.decode()


def test_an_environment_without_any_gets_credentials_of_its_own(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory(credentials=None)

    response = visitor_of(environment.account).post(
        url(environment, "environment_credentials"),
        {"schema": "gold", "threads": "4", "target_name": "default"},
    )

    environment.refresh_from_db()
    assert response["Location"] == url(environment)
    assert environment.credentials is not None
    assert (environment.credentials.type, environment.credentials.adapter) == ("adapter", "duckdb")


def test_an_adapter_that_is_not_declared_takes_fields_of_any_name(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory(credentials=None)
    environment.connection = ConnectionFactory(
        account=environment.account,
        adapter="custom",
        adapter_version="custom_v0",
        config={"type": "clickhouse"},
    )
    environment.save()

    visitor_of(environment.account).post(
        url(environment, "environment_credentials"),
        {
            "who-further": "user: ana\npassword: hunter2\nsecure: true",
            "schema": "gold",
            "threads": "4",
            "target_name": "default",
        },
    )

    environment.refresh_from_db()
    assert environment.credentials is not None
    assert environment.credentials.config == {"user": "ana", "secure": True}
    assert dict(environment.credentials.secrets) == {"password": "hunter2"}


def test_without_a_connection_it_is_asked_for_before_credentials(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory(project__connection=None, connection=None, credentials=None)

    response = visitor_of(environment.account).get(url(environment, "environment_credentials"))

    assert response["Location"] == url(environment, "environment_edit")


def test_a_test_says_what_was_tried_and_what_was_not(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()

    page = visitor_of(environment.account).post(url(environment, "environment_test"), follow=True)

    assert "The settings are complete." in page.content.decode()
    assert "Signing in was not tried" in page.content.decode()


def test_a_test_of_a_warehouse_that_nobody_signs_in_to_fails(visitor_of: VisitorOf) -> None:
    environment = signed_in_with(EnvironmentFactory(), {})
    environment.credentials = None
    environment.save()

    page = visitor_of(environment.account).post(url(environment, "environment_test"), follow=True)

    assert "does not say who signs in" in page.content.decode()


def test_an_environment_that_jobs_use_is_not_deleted_and_says_which(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Nightly build")
    visitor = visitor_of(job.account)
    address = url(job.environment, "environment_delete")

    question = visitor.get(address).content.decode()
    visitor.post(address)

    job.environment.refresh_from_db()
    assert "cannot be deleted" in question
    assert "Nightly build" in question
    assert job.environment.state == State.ACTIVE


def test_an_environment_that_nothing_uses_is_deleted_by_post_alone(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()
    EnvironmentVariableFactory(
        project=environment.project, scope="environment", environment=environment
    )
    visitor = visitor_of(environment.account)
    address = url(environment, "environment_delete")

    question = visitor.get(address).content.decode()
    environment.refresh_from_db()
    before = environment.state
    visitor.post(address)

    environment.refresh_from_db()
    assert "Its 1 value of variables" in question
    assert (before, environment.state) == (State.ACTIVE, State.DELETED)
    assert visitor.get(url(environment)).status_code == 404


def test_a_page_of_an_environment_says_which_jobs_use_it(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Nightly build")
    JobFactory(
        name="Check",
        environment__project=job.project,
        deferring_environment=job.environment,
    )

    page = visitor_of(job.account).get(url(job.environment)).content.decode()

    assert "Nightly build" in page
    assert "defers to it" in page


def test_a_name_that_is_markup_is_shown_as_text(visitor_of: VisitorOf, account: Account) -> None:
    environment = EnvironmentFactory(project__account=account, name="<script>x</script>")

    for address in (url(environment), of_project(environment, "environments")):
        assert "<script>x" not in visitor_of(account).get(address).content.decode()


# --- The newest manifest -----------------------------------------------------------------------


def test_the_newest_manifest_is_counted_by_type(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True))
    left(
        step,
        manifest_of(
            entry("model.shop.a"), entry("model.shop.b"), entry("test.shop.t", "model.shop.a")
        ),
    )

    page = visitor_of(step.run.account).get(url(step.run.environment)).content.decode()

    assert f"run #{step.run_id}</a>" in page
    assert "<li>2 models</li><li>1 test</li>" in page
    assert url(step.run.environment, "environment_lineage") in page


def test_the_page_takes_few_queries_with_all_that_it_shows(
    visitor_of: VisitorOf,
    signed_in: Environment,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    run = RunFactory(job=JobFactory(environment=signed_in), succeeded=True)
    left(RunStepFactory(run=run), manifest_of(entry("model.shop.a")))
    visitor = visitor_of(run.account)
    visitor.get(url(signed_in))

    with django_assert_max_num_queries(15):
        assert "1 model</li>" in visitor.get(url(signed_in)).content.decode()


def test_without_a_manifest_it_is_told_what_brings_one(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()

    page = visitor_of(environment.project.account).get(url(environment)).content.decode()

    assert "None yet: a job that succeeds here leaves one" in page


@pytest.mark.parametrize("name", ["run", "runs", "jobs", "job", "queue", "account", "schedule"])
def test_a_production_environment_is_marked_wherever_it_is_named(
    visitor_of: VisitorOf, name: str
) -> None:
    job = JobFactory(
        environment__name="Ours", environment__deployment_type="production", scheduled=True
    )
    run = RunFactory(job=job, running=True)
    known = {
        "run": [run.account_id, run.project_id, run.pk],
        "job": [run.account_id, run.project_id, job.pk],
        "jobs": [run.account_id, run.project_id],
    }

    address = reverse(f"console:{name}", args=known.get(name, [run.account_id]))
    page = visitor_of(run.account).get(address).content.decode()

    assert '<bdi>Ours</bdi> <span class="pill warn prod"' in page


# --- Rotating ----------------------------------------------------------------------------------


@pytest.fixture
def signed_in(db: None) -> Environment:
    return signed_in_with(EnvironmentFactory(), {"password": "old-one-123"})


def rotate(client: Client, environment: Environment, **given: str) -> str:
    fields = {f"new-{name}": value for name, value in given.items()}
    response = client.post(url(environment, "environment_rotate"), fields, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def test_a_rotated_secret_replaces_the_old_one_and_nothing_else(
    visitor_of: VisitorOf, signed_in: Environment
) -> None:
    page = rotate(visitor_of(signed_in.project.account), signed_in, password="new-one-456")

    credentials = Credentials.objects.get(pk=signed_in.credentials_id)
    assert credentials.secrets == {"password": "new-one-456"}
    assert credentials.config == {"username": "ana"}
    assert "by the new password" in page
    assert "new-one-456" not in page


def test_that_a_secret_was_rotated_is_on_record_without_its_value(
    visitor_of: VisitorOf, signed_in: Environment
) -> None:
    rotate(visitor_of(signed_in.project.account), signed_in, password="new-one-456")

    event = AuditEvent.objects.get(action="credentials.rotate")
    assert "password" in event.differences
    assert "one-" not in str(event.differences)


def test_nothing_given_rotates_nothing(visitor_of: VisitorOf, signed_in: Environment) -> None:
    page = rotate(visitor_of(signed_in.project.account), signed_in, password="")

    assert "Give the new value of at least one secret." in page
    credentials = Credentials.objects.get(pk=signed_in.credentials_id)
    assert credentials.secrets == {"password": "old-one-123"}


def test_the_form_shows_no_secret(visitor_of: VisitorOf, signed_in: Environment) -> None:
    visitor = visitor_of(signed_in.project.account)

    page = visitor.get(url(signed_in, "environment_rotate")).content.decode()

    assert "New password" in page
    assert "old-one-123" not in page


def test_a_secret_with_nul_is_refused_at_its_field(
    visitor_of: VisitorOf, signed_in: Environment
) -> None:
    page = rotate(visitor_of(signed_in.project.account), signed_in, password="a\0b")

    assert "Null characters are not allowed." in page


def test_without_secrets_there_is_nothing_to_rotate(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()
    visitor = visitor_of(environment.project.account)

    response = visitor.get(url(environment, "environment_rotate"), follow=True)

    assert "There is none to rotate." in response.content.decode()


def test_who_may_not_change_settings_rotates_nothing(
    visitor_of: VisitorOf, signed_in: Environment
) -> None:
    visitor = visitor_of(signed_in.project.account, "job_viewer")

    assert visitor.post(url(signed_in, "environment_rotate")).status_code == 403
