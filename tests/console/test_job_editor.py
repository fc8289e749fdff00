"""The job editor: a form that does what the API does, and says why not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from environments.models import EnvironmentVariable, Project
from jobsvc.console.forms.job_steps import RULES
from jobsvc.jobs.models import CompletionTrigger, Job, JobType
from jobsvc.notifications.models import Notification
from jobsvc.runs.models import Run
from tests.factories import (
    CompletionTriggerFactory,
    EnvironmentFactory,
    EnvironmentVariableFactory,
    JobFactory,
    ProjectFactory,
    RunFactory,
)

VisitorOf = Callable[..., Client]


def url(job: Job, name: str = "job_settings") -> str:
    return reverse(f"console:{name}", args=[job.account_id, job.project_id, job.pk])


def new_url(project: Project, name: str = "job_new") -> str:
    return reverse(f"console:{name}", args=[project.account_id, project.pk])


def shown(visitor: Client, address: str) -> dict[str, Any]:
    """What a browser would send of the page at ``address``, if nothing was changed."""
    context = visitor.get(address).context
    form = context["form"]
    sent: dict[str, Any] = {"step": [], "step_was": [], "step_on_failure": []}
    sent |= {f"step_{name}": [] for name in RULES}
    forms = [form, context["tell"], form.after.management_form, *form.after.forms]
    forms += [context["variables"].management_form, *context["variables"].forms]
    for one in forms:
        for field in one:
            value = field.value()
            if isinstance(value, datetime):
                value = f"{value:%Y-%m-%dT%H:%M}"
            if value is not False and value not in (None, "", []):
                sent[field.html_name] = "on" if value is True else value
    for line in form.lines:
        sent["step"].append(line.command)
        sent["step_was"].append(line.was)
        sent["step_on_failure"].append(line.on_failure)
        for name in RULES:
            sent[f"step_{name}"].append(getattr(line, name) or "")
    return sent


def steps(*commands: str) -> dict[str, list[str]]:
    number = len(commands)
    return {
        "step": list(commands),
        "step_was": [""] * number,
        "step_on_failure": ["stop"] * number,
    }


def page(response: Any) -> str:
    text: str = response.content.decode()
    return text


# --- Saving ------------------------------------------------------------------------------


def test_a_new_job_is_made_from_a_template(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory(deployment_type="production")
    address = f"{new_url(environment.project)}?template=nightly"
    visitor = visitor_of(environment.project.account)

    response = visitor.post(address, shown(visitor, address))

    job = Job.objects.get()
    assert response["Location"] == url(job, "job")
    assert (job.name, job.execute_steps, job.cron) == ("Nightly build", ["dbt build"], "0 3 * * *")
    assert job.environment == environment
    assert job.job_type == JobType.SCHEDULED
    assert job.next_run_at is not None


def test_saving_says_when_the_job_starts_next(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)
    visitor = visitor_of(job.account)

    answer = visitor.post(url(job), shown(visitor, url(job)), follow=True)

    assert "is saved. It starts next in" in page(answer)


@pytest.mark.parametrize("template", ["nightly", "pull-request", "documentation"])
def test_each_template_is_good_to_be_saved(visitor_of: VisitorOf, template: str) -> None:
    environment = EnvironmentFactory()
    address = f"{new_url(environment.project)}?template={template}"
    visitor = visitor_of(environment.project.account)

    assert visitor.post(address, shown(visitor, address)).status_code == 302


def test_saving_without_a_change_changes_nothing(visitor_of: VisitorOf) -> None:
    job = JobFactory(
        scheduled=True,
        description="As it was",
        execute_steps=["dbt seed", "dbt  build   --select x"],
        threads=7,
        extensions={
            "schedule": {"active_from": "2026-01-01T00:00:00+00:00"},
            "steps": [{}, {"name": "Build", "timeout_seconds": 60}],
            "retry": {"max_retries": 2},
            "tags": ["finance"],
        },
    )
    CompletionTriggerFactory(job=job, upstream=JobFactory(environment=job.environment))
    before = Job.objects.filter(pk=job.pk).values().get()
    visitor = visitor_of(job.account)

    response = visitor.post(url(job), shown(visitor, url(job)))

    after = Job.objects.filter(pk=job.pk).values().get()
    assert response.status_code == 302
    assert {key for key in before if before[key] != after[key]} == {"updated_at"}
    assert CompletionTrigger.objects.get().is_dbt_field


def test_what_is_sent_is_what_is_saved(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    upstream = JobFactory(environment=job.environment)
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {
        "name": "Hourly",
        "triggers_schedule": "on",
        "schedule_kind": "every",
        "interval": "4",
        "minute": "15",
        "days": ["1", "2"],
        "timezone": "Europe/Berlin",
        "on_overlap": "skip",
        "max_retries": "3",
        "owners": "ana@example.com, bo@example.com",
        "after-0-job": upstream.pk,
        "after-0-statuses": ["10", "20"],
    }

    visitor.post(url(job), sent)

    job.refresh_from_db()
    assert (job.name, job.cron, job.timezone) == ("Hourly", "15 */4 * * 1,2", "Europe/Berlin")
    assert job.schedule is not None
    assert job.schedule["date"] == {"type": "days_of_week", "days": [1, 2]}
    assert job.extensions == {
        "queue": {"on_overlap": "skip"},
        "retry": {"max_retries": 3},
        "owners": ["ana@example.com", "bo@example.com"],
    }
    assert CompletionTrigger.objects.get().statuses == [10, 20]


def test_several_jobs_are_followed_at_once(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    first, second = JobFactory.create_batch(2, environment=job.environment)
    CompletionTriggerFactory(job=job, upstream=first)
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {
        "after-1-job": second.pk,
        "after-1-statuses": ["10"],
        "mode": "all",
    }

    visitor.post(url(job), sent)

    job.refresh_from_db()
    assert {one.upstream for one in CompletionTrigger.objects.all()} == {first, second}
    assert job.extensions["upstream"] == {
        "mode": "all",
        "jobs": [{"job_id": second.pk, "statuses": [10]}],
    }


def test_a_new_job_can_defer_to_itself(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()
    visitor = visitor_of(environment.project.account)
    address = f"{new_url(environment.project)}?template=nightly"

    visitor.post(address, shown(visitor, address) | {"defers_to": "self"})

    assert Job.objects.get().self_defers


def test_save_and_run_starts_a_run(visitor_of: VisitorOf, published: list[object]) -> None:
    job = JobFactory()
    visitor = visitor_of(job.account)

    response = visitor.post(url(job), shown(visitor, url(job)) | {"then": "run"})

    assert response["Location"].endswith(f"/runs/{Run.objects.get(job=job).pk}/")


def test_a_copy_keeps_what_the_form_does_not_show(visitor_of: VisitorOf) -> None:
    job = JobFactory(
        name="Nightly",
        scheduled=True,
        extensions={
            "schedule": {"active_from": "2026-01-01T00:00:00+00:00"},
            "pause": {"reason": "the warehouse moves"},
        },
    )
    visitor = visitor_of(job.account)
    address = f"{new_url(job.project)}?like={job.pk}"

    visitor.post(address, shown(visitor, address))

    copy = Job.objects.exclude(pk=job.pk).get()
    assert (copy.name, copy.cron) == ("Nightly (copy)", job.cron)
    assert copy.extensions == {"schedule": {"active_from": "2026-01-01T00:00:00+00:00"}}


def test_a_copy_has_the_variables_of_its_model_secrets_among_them(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    for name in ("DBT_REGION", "DBT_ENV_SECRET_KEY"):
        EnvironmentVariableFactory(
            project=job.project,
            name=name,
            scope="job",
            job_definition_id=job.pk,
            secrets={"value": f"the {name}"},
        )
    visitor = visitor_of(job.account)
    address = f"{new_url(job.project)}?like={job.pk}"
    assert "the DBT_ENV_SECRET_KEY" not in page(visitor.get(address))

    visitor.post(address, shown(visitor, address))

    copy = Job.objects.exclude(pk=job.pk).get()
    for one in (job, copy):
        values = EnvironmentVariable.objects.filter(job_definition_id=one.pk)
        assert {row.name: row.value for row in values} == {
            "DBT_REGION": "the DBT_REGION",
            "DBT_ENV_SECRET_KEY": "the DBT_ENV_SECRET_KEY",
        }


def test_what_is_left_out_of_a_copy_stays_with_its_model(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    EnvironmentVariableFactory(
        project=job.project, name="DBT_REGION", scope="job", job_definition_id=job.pk
    )
    visitor = visitor_of(job.account)
    address = f"{new_url(job.project)}?like={job.pk}"
    sent = shown(visitor, address) | {"variable-0-value": ""}

    visitor.post(address, sent)

    assert [row.job_definition_id for row in EnvironmentVariable.objects.all()] == [job.pk]


def test_a_copy_shows_each_trigger_that_it_keeps(visitor_of: VisitorOf) -> None:
    job = JobFactory(job_type="ci", triggers_git_provider_webhook=True)
    visitor = visitor_of(job.account)
    address = f"{new_url(job.project)}?like={job.pk}"
    assert 'name="triggers_git_provider_webhook"' in page(visitor.get(address))
    sent = shown(visitor, address)

    visitor.post(address, sent)
    del sent["triggers_git_provider_webhook"]
    visitor.post(address, sent | {"name": "Third"})

    copies = Job.objects.exclude(pk=job.pk).order_by("pk")
    assert [copy.triggers_git_provider_webhook for copy in copies] == [True, False]


# --- Rules of single commands, and dates -------------------------------------------------


def test_a_command_has_a_name_a_time_limit_and_retries_of_its_own(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=["dbt seed", "dbt build"])
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {
        "step_name": ["", "Build it"],
        "step_timeout": ["", "600"],
        "step_retries": ["", "2"],
        "step_delay": ["", "30"],
        "step_backoff": ["none", "linear"],
    }

    assert visitor.post(url(job), sent).status_code == 302

    step = Job.objects.get().extended.step(1)
    assert (step.name, step.timeout_seconds) == ("Build it", 600)
    assert step.retry is not None
    assert (step.retry.max_retries, step.retry.delay_seconds, step.retry.backoff) == (
        2,
        30,
        "linear",
    )
    assert Job.objects.get().extensions["steps"][0] == {}


def test_rules_that_the_form_does_not_show_stay_with_their_command(visitor_of: VisitorOf) -> None:
    steps_before = [{"retry": {"max_retries": 1, "jitter": "full"}}, {"name": "Second"}]
    job = JobFactory(execute_steps=["dbt seed", "dbt build"], extensions={"steps": steps_before})
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job))
    for name in ("step", "step_was", *(f"step_{rule}" for rule in RULES)):
        sent[name] = sent[name][::-1]

    visitor.post(url(job), sent)

    job.refresh_from_db()
    assert job.execute_steps == ["dbt build", "dbt seed"]
    assert job.extended.step(0).name == "Second"
    assert job.extensions["steps"][1]["retry"]["jitter"] == "full"


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("timeout", "-1"),
        ("timeout", "9" * 30),
        ("retries", "11"),
        ("retries", "two"),
        ("delay", "86401"),
        ("name", "a\x00b"),
        ("name", "x" * 256),
        ("backoff", "wild"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_at_its_command(
    visitor_of: VisitorOf, rule: str, value: str
) -> None:
    job = JobFactory()
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {f"step_{rule}": [value]}

    answer = visitor.post(url(job), sent)

    assert answer.status_code == 200
    assert answer.context["form"].lines[0].problem
    assert Job.objects.get().extensions == {}


def test_a_command_that_is_switched_off_stands_in_the_editor_and_in_no_run(
    visitor_of: VisitorOf, published: list[object]
) -> None:
    job = JobFactory(
        execute_steps=["dbt seed", "dbt run", "dbt test"],
        extensions={"steps": [{}, {"name": "Run it"}]},
    )
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {"step_on_failure": ["stop", "off", "stop"]}
    visitor.post(url(job), sent)

    job.refresh_from_db()
    assert job.execute_steps == ["dbt seed", "dbt test"]
    form = visitor.get(url(job)).context["form"]
    assert [(line.command, line.is_off) for line in form.lines] == [
        ("dbt seed", False),
        ("dbt run", True),
        ("dbt test", False),
    ]
    visitor.post(url(job, "run_now"))
    assert Run.objects.get().configuration["execute_steps"] == ["dbt seed", "dbt test"]

    visitor.post(url(job), shown(visitor, url(job)) | {"step_on_failure": ["stop"] * 3})
    job.refresh_from_db()
    assert job.execute_steps == ["dbt seed", "dbt run", "dbt test"]
    assert job.extended.step(1).name == "Run it"
    assert "steps_off" not in job.extensions


def test_a_command_that_is_off_may_be_half_written(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=["dbt build"])
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | steps("dbt build", "dbt ru --sele")

    assert visitor.post(url(job), sent).status_code == 200
    sent |= {"step_on_failure": ["stop", "off"]}
    assert visitor.post(url(job), sent).status_code == 302


def test_dates_of_a_schedule_are_of_its_own_zone(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True, timezone="Europe/Berlin")
    visitor = visitor_of(job.account)
    dates = {"active_from": "2026-12-24T06:00", "active_until": "2027-07-01T06:00"}

    assert visitor.post(url(job), shown(visitor, url(job)) | dates).status_code == 302

    kept = Job.objects.get().extensions["schedule"]
    assert kept["active_from"] == "2026-12-24T06:00:00+01:00"
    assert kept["active_until"] == "2027-07-01T06:00:00+02:00"
    assert 'value="2026-12-24T06:00"' in page(visitor.get(url(job)))


@pytest.mark.parametrize(
    "dates",
    [
        {"active_from": "soon"},
        {"active_from": "9999-12-31T23:59"},
        {"active_from": "0001-01-01T00:00"},
        {"active_from": "2027-01-02T00:00", "active_until": "2027-01-01T00:00"},
    ],
)
def test_dates_that_cannot_be_are_refused(visitor_of: VisitorOf, dates: dict[str, str]) -> None:
    job = JobFactory(scheduled=True)
    visitor = visitor_of(job.account)

    answer = visitor.post(url(job), shown(visitor, url(job)) | dates)

    assert answer.status_code == 200
    assert answer.context["problems"]
    assert "schedule" not in Job.objects.get().extensions


# --- Refusals ----------------------------------------------------------------------------


def test_what_is_wrong_is_said_at_its_field_and_above_with_a_link(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {"name": " ", "threads": "0"} | steps("dbt build", "rm -rf /")

    said = page(visitor.post(url(job), sent))

    assert "3 things to correct" in said
    assert '<a href="#id_name">Name</a>: Give the job a name.' in said
    assert '<a href="#step-2">Step 2</a>' in said
    assert 'id="id_threads"' in said
    assert 'value="rm -rf /"' in said
    assert Job.objects.get().execute_steps == ["dbt build"]


def test_a_circle_is_refused_with_its_path(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Load")
    follower = JobFactory(name="Build", environment=job.environment)
    CompletionTriggerFactory(job=follower, upstream=job)
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {"after-0-job": follower.pk, "after-0-statuses": ["10"]}

    said = page(visitor.post(url(job), sent))

    assert "Load → Build → Load" in said
    assert not CompletionTrigger.objects.filter(job=job).exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"schedule_kind": "cron", "cron": "61 * * * *"}, "is not a cron expression"),
        ({"schedule_kind": "cron", "cron": ""}, "is not a cron expression"),
        ({"schedule_kind": "hours", "hours": "6, 25"}, "Give hours from 0 to 23"),
        ({"schedule_kind": "every", "days": []}, "Choose one day or more"),
        ({"timezone": "Atlantis"}, "is not a time zone"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(
    visitor_of: VisitorOf, wrong: dict[str, Any], words: str
) -> None:
    job = JobFactory()
    visitor = visitor_of(job.account)

    response = visitor.post(
        url(job), shown(visitor, url(job)) | {"triggers_schedule": "on"} | wrong
    )

    assert words in page(response)
    assert not Job.objects.get().triggers_schedule


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"environment": "999999"}, "Select a valid choice"),
        ({"environment": ""}, "This field is required"),
        ({"kind": "ci"}, "Select a valid choice"),
        ({"defers_to": "job", "deferring_job": ""}, "Choose what the job defers to"),
        ({"target_name": "a b"}, "cannot be a target name"),
        ({"compare_changes_flags": "; rm"}, "compare"),
        ({"tags": "x" * 300}, "at most 255 characters"),
        ({"delay_seconds": "999999999999999999999"}, "less than or equal to"),
        ({"after-0-job": "999999"}, "Select a valid choice"),
        ({"dbt_version": "0.1"}, "Select a valid choice"),
    ],
)
def test_what_no_job_can_have_is_refused(
    visitor_of: VisitorOf, wrong: dict[str, Any], words: str
) -> None:
    job = JobFactory()
    visitor = visitor_of(job.account)

    response = visitor.post(url(job), shown(visitor, url(job)) | wrong)

    assert response.status_code == 200
    assert words in page(response)


def test_a_body_of_nothing_is_refused_and_no_server_error(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert "to correct" in page(visitor_of(job.account).post(url(job), {}))


def test_who_saves_second_sees_what_differs_and_chooses(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Nightly", threads=4)
    visitor = visitor_of(job.account)
    mine = shown(visitor, url(job)) | {"threads": "9"}
    visitor.post(url(job), shown(visitor, url(job)) | {"name": "Theirs"})

    response = visitor.post(url(job), mine)

    assert "somebody else saved this job" in page(response)
    assert ("Name", "Theirs", "Nightly") in response.context["differences"]
    job.refresh_from_db()
    assert (job.name, job.threads) == ("Theirs", 4)

    again = mine | {"seen": response.context["form"]["seen"].value()}
    assert visitor.post(url(job), again).status_code == 302
    job.refresh_from_db()
    assert (job.name, job.threads) == ("Nightly", 9)


# --- Steps -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "left"),
    [
        ("add", ["dbt seed", "dbt run", "dbt test", ""]),
        ("remove:1", ["dbt seed", "dbt test"]),
        ("up:2", ["dbt seed", "dbt test", "dbt run"]),
        ("down:0", ["dbt run", "dbt seed", "dbt test"]),
        ("up:0", ["dbt seed", "dbt run", "dbt test"]),
        ("duplicate:0", ["dbt seed", "dbt seed", "dbt run", "dbt test"]),
        ("remove:99", ["dbt seed", "dbt run", "dbt test"]),
    ],
)
def test_a_button_edits_the_commands_without_saving(
    visitor_of: VisitorOf, edit: str, left: list[str]
) -> None:
    job = JobFactory(execute_steps=["dbt seed", "dbt run", "dbt test"])
    visitor = visitor_of(job.account)

    response = visitor.post(url(job), shown(visitor, url(job)) | {"edit": edit})

    assert [line.command for line in response.context["form"].lines] == left
    assert Job.objects.get().execute_steps == ["dbt seed", "dbt run", "dbt test"]


def test_a_commands_settings_go_where_it_goes(visitor_of: VisitorOf) -> None:
    job = JobFactory(
        execute_steps=["dbt seed", "dbt run"], extensions={"steps": [{}, {"name": "Build"}]}
    )
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {
        "step": ["dbt run", "dbt seed"],
        "step_was": ["1", "0"],
        "step_name": ["Build", ""],
        "step_on_failure": ["warn", "stop"],
    }

    visitor.post(url(job), sent)

    job.refresh_from_db()
    assert job.extensions["steps"] == [{"name": "Build", "on_failure": "warn"}]


def test_what_is_typed_is_checked_without_saving(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | steps("dbt tset", "dbt test", "dbt build")

    said = page(visitor.post(url(job, "job_check"), sent, headers={"HX-Request": "true"}))

    assert 'id="said-1" class="said" hx-swap-oob="true"' in said
    assert "tset" in said
    assert 'id="said-2"' in said
    assert "Hint" in said or "Warning" in said
    assert Job.objects.get().execute_steps == ["dbt build"]


def test_a_job_that_is_not_named_yet_is_checked_too(visitor_of: VisitorOf) -> None:
    environment = EnvironmentFactory()
    visitor = visitor_of(environment.project.account)
    address = new_url(environment.project, "job_new_check")

    said = page(visitor.post(address, steps("dbt run", "nonsense")))
    with_place = page(
        visitor.post(address, steps("dbt test", "dbt run") | {"environment": environment.pk})
    )

    assert visitor.post(address, {}).status_code == 200
    assert "nonsense" not in said
    assert "Command 1." in with_place


# --- The schedule's preview --------------------------------------------------------------


def test_a_schedule_is_told_in_words_with_its_next_times(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    asked = {
        "triggers_schedule": "on",
        "schedule_kind": "cron",
        "cron": "30 1 * * *",
        "timezone": "America/New_York",
    }

    response = visitor_of(job.account).get(new_url(job.project, "schedule_preview"), asked)

    assert "01:30" in page(response)
    assert len(response.context["preview"].times) == 5
    assert "the clocks there go" in response.context["preview"].change


def test_a_schedule_that_is_too_quick_for_its_job_is_warned_of(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    for _ in range(6):
        RunFactory(
            job=job,
            succeeded=True,
            started_at=now() - timedelta(hours=3),
            dequeued_at=now() - timedelta(hours=3),
        )
    asked = {"triggers_schedule": "on", "schedule_kind": "cron", "cron": "0 * * * *", "job": job.pk}

    said = page(visitor_of(job.account).get(new_url(job.project, "schedule_preview"), asked))

    assert "they wait for each other" in said


@pytest.mark.parametrize("cron", ["", "x", "0 0 31 2 *", "* * * * * *", "\x00"])
def test_half_a_cron_says_what_it_lacks(visitor_of: VisitorOf, cron: str) -> None:
    job = JobFactory()
    asked = {"triggers_schedule": "on", "schedule_kind": "cron", "cron": cron}

    response = visitor_of(job.account).get(new_url(job.project, "schedule_preview"), asked)

    assert response.status_code == 200
    assert "errorlist" in page(response)


# --- Variables and mail ------------------------------------------------------------------


def test_a_value_of_the_job_alone_is_set_and_removed(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    EnvironmentVariableFactory(project=job.project, name="DBT_REGION", secrets={"value": "eu"})
    visitor = visitor_of(job.account)

    visitor.post(url(job), shown(visitor, url(job)) | {"variable-0-value": "us"})
    own = EnvironmentVariable.objects.get(job_definition_id=job.pk)
    assert (own.name, own.value) == ("DBT_REGION", "us")

    visitor.post(url(job), shown(visitor, url(job)) | {"variable-0-value": ""})
    assert not EnvironmentVariable.objects.filter(job_definition_id=job.pk).exists()


def test_a_secret_is_never_shown_and_stays_where_nothing_is_typed(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    EnvironmentVariableFactory(
        project=job.project,
        name="DBT_ENV_SECRET_KEY",
        scope="job",
        job_definition_id=job.pk,
        secrets={"value": "hunter2"},
    )
    visitor = visitor_of(job.account)

    assert "hunter2" not in page(visitor.get(url(job)))
    visitor.post(url(job), shown(visitor, url(job)))

    assert EnvironmentVariable.objects.get().value == "hunter2"
    visitor.post(url(job), shown(visitor, url(job)) | {"variable-0-remove": "on"})
    assert not EnvironmentVariable.objects.exists()


def test_a_variable_that_cannot_be_keeps_the_whole_job_unsaved(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="Before")
    visitor = visitor_of(job.account)
    sent = shown(visitor, url(job)) | {
        "name": "After",
        "variable-0-name": "REGION",
        "variable-0-value": "eu",
    }

    said = page(visitor.post(url(job), sent))

    assert "begins with DBT_" in said
    assert Job.objects.get().name == "Before"


def test_one_asks_to_be_told_and_asks_no_more(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    visitor = visitor_of(job.account)

    visitor.post(url(job), shown(visitor, url(job)) | {"tell_me": ["on_failure"]})
    rule = Notification.objects.get().rules.get()
    assert (rule.event, rule.scope, rule.scope_id) == ("failure", "job", job.pk)

    sent = shown(visitor, url(job))
    del sent["tell_me"]
    visitor.post(url(job), sent)
    assert not Notification.objects.get().rules.exists()


# --- Who may -----------------------------------------------------------------------------


def test_who_may_only_run_jobs_cannot_edit_them(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    operator = visitor_of(job.account, "job_runner")

    assert operator.get(url(job)).status_code == 403
    assert operator.get(new_url(job.project)).status_code == 403
    assert operator.post(url(job, "job_check"), {}).status_code == 403


def test_another_projects_job_is_none_of_this_one(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    other = JobFactory(environment__project__account=job.account)

    address = reverse("console:job_settings", args=[job.account_id, job.project_id, other.pk])

    assert visitor_of(job.account).get(address).status_code == 404


def test_a_template_or_a_job_that_is_not_there_is_no_page(visitor_of: VisitorOf) -> None:
    project = ProjectFactory()
    visitor = visitor_of(project.account)

    assert visitor.get(f"{new_url(project)}?template=none").status_code == 404
    assert visitor.get(f"{new_url(project)}?like=999999").status_code == 404


def test_the_editor_takes_as_many_queries_however_much_there_is(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory()
    for other in JobFactory.create_batch(8):
        EnvironmentFactory(project=job.project)
        JobFactory(environment__project__account=job.account)
        EnvironmentVariableFactory(project=job.project)
        assert other.account != job.account
    visitor = visitor_of(job.account)
    visitor.get(url(job))  # the session remembers the account from now on

    with django_assert_max_num_queries(15):
        visitor.get(url(job))
