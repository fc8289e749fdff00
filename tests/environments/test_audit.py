"""What changes of variables and projects tell the audit log."""

from __future__ import annotations

from accounts.audit import AuditEvent
from environments import variables
from environments.define import delete_project
from tests.factories import EnvironmentFactory, JobFactory, ProjectFactory


def told(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("pk"))


def test_many_values_set_at_once_are_one_event(db: None) -> None:
    place = EnvironmentFactory(name="Production")

    variables.set_values(place.project, "DBT_REGION", {"project": "eu", "Production": "us"})

    (event,) = told("environment_variable.changed")
    assert event.target_name == "DBT_REGION"
    assert event.differences["DBT_REGION (project) value"] == [None, "set"]
    assert event.differences["DBT_REGION (environment) value"] == [None, "set"]


def test_an_import_is_one_event(db: None) -> None:
    project = ProjectFactory()

    variables.import_values(project, {"DBT_A": "kept-out", "DBT_B": "kept-out"})

    (event,) = told("environment_variable.changed")
    assert event.target_name == "2 variables"
    assert event.project_id == project.pk
    assert "kept-out" not in str(event.differences)


def test_a_variable_that_is_deleted_with_all_its_values_is_one_event(db: None) -> None:
    place = EnvironmentFactory(name="Production")
    variables.set_values(place.project, "DBT_REGION", {"project": "eu", "Production": "us"})

    variables.delete_variable(place.project, "DBT_REGION")

    assert [event.target_name for event in told("environment_variable.removed")] == ["DBT_REGION"]


def test_a_new_name_is_told_with_the_old_one(db: None) -> None:
    project = ProjectFactory()
    variables.set_value(project, "DBT_OLD", "eu")

    variables.set_values(project, "DBT_OLD", {}, new_name="DBT_NEW")

    (event,) = told("environment_variable.changed")
    assert event.differences == {"name": ["DBT_OLD", "DBT_NEW"]}


def test_a_project_goes_with_its_jobs_and_environments(db: None) -> None:
    job = JobFactory()

    delete_project(job.project)

    for action in ("project.removed", "environment.removed", "job_definition.removed"):
        assert len(told(action)) == 1
