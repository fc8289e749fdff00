"""Jobs in a file of YAML: out as dbt-jobs-as-code reads it, and in again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.audit import AuditEvent
from accounts.models import Grant
from environments.models import Environment, EnvironmentVariable
from jobsvc.console.jobs_file import Unreadable, read
from jobsvc.jobs.document import document_of
from jobsvc.jobs.models import Job
from tests.factories import (
    CompletionTriggerFactory,
    EnvironmentFactory,
    EnvironmentVariableFactory,
    JobFactory,
    UserFactory,
)

VisitorOf = Callable[..., Client]

# What dbt-jobs-as-code 1.22 asks of each job of a file.
ASKED_FOR = {
    "account_id",
    "project_id",
    "environment_id",
    "name",
    "settings",
    "run_generate_sources",
    "execute_steps",
    "generate_docs",
    "schedule",
    "triggers",
}


def url(environment: Environment, name: str = "job_import") -> str:
    project = environment.project
    return reverse(f"console:{name}", args=[project.account_id, project.pk])


def exported(visitor: Client, job: Job, *jobs: Job) -> str:
    answer = visitor.get(
        url(job.environment, "job_export"), {"job": [one.pk for one in (job, *jobs)]}
    )
    assert answer["Content-Type"].startswith("application/yaml")
    return str(answer.content.decode())


def imported(visitor: Client, environment: Environment, text: str) -> Any:
    """The answer to importing what was looked at first."""
    looked = visitor.post(url(environment), {"text": text, "then": "look"})
    assert looked.status_code == 200
    assert not looked.context["plan"].problems
    sent = {"text": text, "then": "import", "seal": looked.context["plan"].seal}
    return visitor.post(url(environment), sent)


def file_of(environment: Environment, **settings: Any) -> str:
    project = environment.project
    job = {
        "account_id": project.account_id,
        "project_id": project.pk,
        "environment_id": environment.pk,
        "name": "Nightly",
        "settings": {"threads": 4, "target_name": "prod"},
        "run_generate_sources": False,
        "generate_docs": False,
        "execute_steps": ["dbt build"],
        "schedule": {"cron": "0 2 * * *"},
        "triggers": {"schedule": True, "github_webhook": False},
        **settings,
    }
    return yaml.safe_dump({"jobs": {"nightly": job}}, sort_keys=False)


@pytest.fixture
def environment(db: None) -> Environment:
    return EnvironmentFactory()


# --- Out ---------------------------------------------------------------------------------


def test_a_file_says_all_that_dbt_jobs_as_code_asks_for(visitor_of: VisitorOf) -> None:
    trigger = CompletionTriggerFactory(job__name="Nightly [[nightly]]")
    EnvironmentVariableFactory(
        project=trigger.job.project,
        name="DBT_REGION",
        scope="job",
        job_definition_id=trigger.job_id,
        secrets={"value": "eu"},
    )

    file = yaml.safe_load(exported(visitor_of(trigger.job.account), trigger.job))

    job = file["jobs"]["nightly"]
    assert set(job) >= ASKED_FOR
    assert job["name"] == "Nightly"
    assert job["linked_id"] == trigger.job_id
    assert job["schedule"] == {"cron": "0 * * * *"}
    assert job["custom_environment_variables"] == [{"DBT_REGION": "eu"}]
    assert job["job_completion_trigger_condition"]["condition"]["job_id"] == trigger.upstream_id


def test_secrets_are_in_no_file(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    EnvironmentVariableFactory(
        project=job.project,
        name="DBT_ENV_SECRET_KEY",
        scope="job",
        job_definition_id=job.pk,
        secrets={"value": "hunter2"},
    )

    assert "hunter2" not in exported(visitor_of(job.account), job)


def test_only_chosen_jobs_of_the_project_are_in_it(visitor_of: VisitorOf) -> None:
    job, foreign = JobFactory(), JobFactory()
    JobFactory(environment=job.environment)
    visitor = visitor_of(job.account)

    assert list(yaml.safe_load(exported(visitor, job, foreign))["jobs"]) == [f"job-{job.pk}"]
    everything = visitor.get(url(job.environment, "job_export")).content
    assert len(yaml.safe_load(everything)["jobs"]) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scheduled": True, "timezone": "Europe/Berlin"},
        {"ci": True, "triggers_custom_branch_only": True},
        {"name": "Über: [x] {y} #z\u202e", "description": "- not: yaml"},
        {"extensions": {"tags": ["finance"], "steps": [{"name": "Build"}]}},
        {"name": "Kept [[kept-by-code]]", "dbt_version": "1.10.0"},
    ],
)
def test_what_was_exported_changes_nothing_when_it_is_imported(
    visitor_of: VisitorOf, fields: dict[str, Any]
) -> None:
    job = JobFactory(**fields)
    before = document_of(job)
    visitor = visitor_of(job.account)
    text = exported(visitor, job)

    looked = visitor.post(url(job.environment), {"text": text, "then": "look"})

    plan = looked.context["plan"]
    assert plan.problems == []
    settings = [one.place for planned in plan.jobs for one in planned.settings]
    # A file has the cron line alone, so how it was put together is lost: not what it means.
    assert [one for one in settings if not one.startswith(("schedule.date", "schedule.time"))] == []
    assert document_of(Job.objects.get()) == before


# --- In ----------------------------------------------------------------------------------


def test_a_new_job_is_shown_and_then_made(visitor_of: VisitorOf, environment: Environment) -> None:
    visitor = visitor_of(environment.project.account)
    text = file_of(environment, custom_environment_variables=[{"DBT_REGION": "eu"}])

    looked = visitor.post(url(environment), {"text": text, "then": "look"})
    assert "1 new, 0 changed, 1 in all." in looked.content.decode()
    assert not Job.objects.exists()

    imported(visitor, environment, text)
    job = Job.objects.get()
    assert (job.name, job.cron, job.job_type) == ("Nightly [[nightly]]", "0 2 * * *", "scheduled")
    assert EnvironmentVariable.objects.get(job_definition_id=job.pk).value == "eu"
    assert AuditEvent.objects.filter(action="job_definition.imported").exists()


def test_a_job_that_is_there_is_found_by_its_mark_and_changed(
    visitor_of: VisitorOf, environment: Environment
) -> None:
    job = JobFactory(environment=environment, name="Old name [[nightly]]", threads=2)
    EnvironmentVariableFactory(
        project=job.project, name="DBT_OLD", scope="job", job_definition_id=job.pk
    )
    visitor = visitor_of(job.account)
    text = file_of(environment, custom_environment_variables=[])

    page = visitor.post(url(environment), {"text": text, "then": "look"}).content.decode()
    assert "Threads" in page
    assert "DBT_OLD is taken away" in page
    imported(visitor, environment, text)

    job.refresh_from_db()
    assert (job.name, job.threads) == ("Nightly [[nightly]]", 4)
    assert not EnvironmentVariable.objects.exists()


def test_importing_again_changes_nothing(visitor_of: VisitorOf, environment: Environment) -> None:
    visitor = visitor_of(environment.project.account)
    imported(visitor, environment, file_of(environment))

    page = visitor.post(url(environment), {"text": file_of(environment)}).content.decode()

    assert "Everything is as the file has it" in page
    assert 'value="import"' not in page


def test_anchors_are_understood(visitor_of: VisitorOf, environment: Environment) -> None:
    text = f"""
anchors:
  usual: &usual
    environment_id: {environment.pk}
    execute_steps: [dbt build]
    triggers: {{schedule: false}}
jobs:
  one: {{<<: *usual, name: One}}
  two:
    <<: *usual
    name: Two
"""
    imported(visitor_of(environment.project.account), environment, text)

    assert [job.name for job in Job.objects.order_by("pk")] == ["One [[one]]", "Two [[two]]"]


def test_a_file_may_be_uploaded(visitor_of: VisitorOf, environment: Environment) -> None:
    file = SimpleUploadedFile("jobs.yml", file_of(environment).encode())

    looked = visitor_of(environment.project.account).post(url(environment), {"file": file})

    assert looked.context["plan"].new == 1
    assert "dbt build" in looked.content.decode()  # and stands in the field, to be imported


def test_what_changed_since_it_was_looked_at_is_shown_anew(
    visitor_of: VisitorOf, environment: Environment
) -> None:
    job = JobFactory(environment=environment, name="Nightly [[nightly]]")
    visitor = visitor_of(job.account)
    text = file_of(environment)
    seal = visitor.post(url(environment), {"text": text}).context["plan"].seal
    job.name = "Somebody's [[nightly]]"
    job.save()

    answer = visitor.post(url(environment), {"text": text, "then": "import", "seal": seal})

    assert "Nothing is done yet" in answer.content.decode()
    assert Job.objects.get().name == "Somebody's [[nightly]]"


@pytest.mark.parametrize(
    ("said", "place", "words"),
    [
        ({"settings": {"threads": 0}}, "threads:", "from 1"),
        ({"settings": {"threads": "lots"}}, "threads:", "whole number"),
        ({"execute_steps": ["rm -rf /"]}, "execute_steps:", "dbt"),
        ({"schedule": {"cron": "61 * * * *"}}, "schedule:", ""),
        ({"environment_id": 10**9}, "environment_id:", "no environment"),
        ({"account_id": 10**9}, "account_id:", "Change it to import here"),
        ({"project_id": "x"}, "project_id:", "Change it to import here"),
        ({"linked_id": 10**9}, "linked_id:", "no job"),
        ({"triggers": {"schedule": "{{ yes }}"}}, "schedule:", "true or false"),
        ({"naem": "x"}, "naem:", "no such setting"),
        ({"dbt_version": "0.1.0"}, "dbt_version:", ""),
        ({"extensions": {"tags": 3}}, "extensions:", ""),
        ({"extensions": [1]}, "extensions:", "object"),
        ({"custom_environment_variables": [{"region": "x"}]}, "custom_environment_variables:", ""),
        ({"custom_environment_variables": "x"}, "custom_environment_variables:", "list"),
        ({"custom_environment_variables": [{"DBT_A": None}]}, "custom_environment_variables:", ""),
        ({"deferring_job_definition_id": 10**9}, "deferring_job_definition_id:", "no job"),
        ({"name": "a\x00b"}, "nightly:", "NUL"),
        ({"environment_id": None}, "environment_id:", "needs"),
        ({"job_type": "adaptive", "name": ""}, "name:", "name"),
    ],
)
def test_each_refusal_is_told_at_its_line_and_nothing_is_done(
    visitor_of: VisitorOf, environment: Environment, said: Any, place: str, words: str
) -> None:
    text = file_of(environment, **said)
    visitor = visitor_of(environment.project.account)

    looked = visitor.post(url(environment), {"text": text, "then": "look"})

    [(line, identifier, sentence), *_more] = looked.context["plan"].problems
    assert identifier == "nightly"
    assert text.splitlines()[line - 1].strip().startswith(place)
    assert words in sentence
    assert f"Line {line}," in looked.content.decode()
    assert not Job.objects.exists()


def test_two_entries_of_one_job_are_refused(
    visitor_of: VisitorOf, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    text = f"jobs: {{a: {{linked_id: {job.pk}}}, b: {{linked_id: {job.pk}}}}}"

    looked = visitor_of(job.account).post(url(environment), {"text": text})

    assert "This is the same job as a" in looked.content.decode()


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [",
        "jobs:\n\t- x",
        "- 1",
        "just words",
        "jobs:",
        "jobs: {}",
        "jobs: 2026-99-99",
        "a: &a [*a]",
        "jobs: &a {x: *a}",
        "!!python/object/apply:os.system ['true']",
        "jobs: {? [1] : 2, ? {a: b} : 3}",
        "a: " + "9" * 5000,
        'jobs: {a: {name: "\\ud800"}}',
        'jobs: {a: {"\\ud800": 1}}',
        "[" * 5000,
        "\x00",
        "x" * (256 * 1024 + 1),
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n"
            for n in range(9)
        ),
    ],
)
def test_what_is_no_file_of_jobs_is_refused_with_its_line(
    visitor_of: VisitorOf, environment: Environment, text: str
) -> None:
    with pytest.raises(Unreadable):
        read(text)

    answer = visitor_of(environment.project.account).post(url(environment), {"text": text})
    assert answer.status_code == 200
    assert 'class="note error' in answer.content.decode()


def test_a_file_that_is_no_text_is_refused(visitor_of: VisitorOf, environment: Environment) -> None:
    file = SimpleUploadedFile("jobs.yml", b"\xff\xfe\x00")

    answer = visitor_of(environment.project.account).post(url(environment), {"file": file})

    assert "This file is no text in UTF-8." in answer.content.decode()


def test_who_may_not_change_jobs_imports_none(
    visitor_of: VisitorOf, environment: Environment
) -> None:
    runner = visitor_of(environment.project.account, "job_runner")

    assert runner.post(url(environment), {"text": file_of(environment)}).status_code == 403


def test_jobs_are_imported_only_where_the_visitor_may_change_them(
    environment: Environment,
) -> None:
    project = environment.project
    group = project.account.groups.create(name="Analysts")
    Grant.objects.create(
        group=group, permission_set="job_admin", project=project, environment=environment
    )
    member = project.account.memberships.create(user=UserFactory(), permission_set="")
    group.members.add(member)
    client = Client()
    client.force_login(member.user)
    elsewhere = EnvironmentFactory(project=project)
    theirs = JobFactory(environment=elsewhere)

    for text in (
        file_of(environment, environment_id=elsewhere.pk),
        file_of(environment, linked_id=theirs.pk),
        file_of(environment, deferring_environment_id=elsewhere.pk),
        file_of(environment, extensions={"upstream": {"jobs": [{"job_id": theirs.pk}]}}),
    ):
        assert client.post(url(environment), {"text": text}).context["plan"].problems
    assert client.post(url(environment), {"text": file_of(environment)}).context["plan"].new == 1
