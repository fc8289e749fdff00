"""The launchpad: one run with other settings."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory
from tests.factories import JobFactory, MembershipFactory, RunFactory

VisitorOf = Callable[..., Client]
SHA = "1027c4d9e0" * 4

EVERYTHING = {
    "cause": "Try the new column",
    "steps_override": "dbt seed\r\n\r\n  dbt build --select fct_orders  \r\n",
    "git_branch": "feature/x",
    "git_sha": SHA,
    "schema_override": "scratch_ana",
    "target_name_override": "dev",
    "threads_override": "2",
    "dbt_version_override": "latest",
    "timeout_seconds_override": "0",
    "generate_docs_override": "false",
    "variables_override": "DBT_REGION=eu\nDBT_ENV_SECRET_KEY='hush hush'",
}


def pad(job: Job, query: str = "") -> str:
    return reverse("console:launch", args=[job.account_id, job.project_id, job.pk]) + query


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_the_jobs_own_values_stand_beside_empty_fields(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=["dbt build --select marts"], threads=7, timeout_seconds=600)

    page = text(visitor_of(job.account), pad(job))

    assert '<span class="value code">dbt build --select marts</span>' in page
    assert '<span class="value">7</span>' in page
    assert '<span class="value">600 s</span>' in page
    assert "No overrides" in page


def test_a_run_with_nothing_overridden_is_the_jobs_own(client: Client, db: None) -> None:
    job = JobFactory()
    member = MembershipFactory(account=job.account, permission_set="job_runner")
    client.force_login(member.user)

    response = client.post(pad(job), {"cause": "By hand"})

    run = Run.objects.get()
    assert response["Location"] == reverse(
        "console:run", args=[run.account_id, run.project_id, run.pk]
    )
    assert (run.trigger.cause, run.trigger.cause_category) == ("By hand", CauseCategory.UI)
    assert run.trigger.user == member.user
    assert run.trigger.steps_override is None
    assert run.trigger.threads_override is None
    assert run.configuration["execute_steps"] == job.execute_steps


def test_every_setting_can_be_overridden_for_one_run(visitor_of: VisitorOf) -> None:
    job = JobFactory(generate_docs=True, timeout_seconds=600)

    visitor_of(job.account).post(pad(job), EVERYTHING)

    run = Run.objects.get()
    had = run.configuration
    assert had["execute_steps"] == ["dbt seed", "dbt build --select fct_orders"]
    assert (had["git_branch"], had["git_sha"]) == ("feature/x", SHA)
    assert (had["schema_override"], had["target_name"]) == ("scratch_ana", "dev")
    assert (had["threads"], had["timeout_seconds"]) == (2, 0)
    assert (had["dbt_version"], had["generate_docs"]) == ("latest", False)
    assert run.trigger.variables_override == {
        "DBT_REGION": "eu",
        "DBT_ENV_SECRET_KEY": "hush hush",
    }
    job.refresh_from_db()
    assert (job.generate_docs, job.threads) == (True, 4)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cause", "", "This field is required."),
        ("steps_override", "dbt build; rm -rf /", "Step 1"),
        ("git_branch", "-x", "cannot be the name of a branch"),
        ("git_sha", "main", "is not a commit"),
        ("schema_override", "drop table", "cannot be a schema"),
        ("target_name_override", "../x", "cannot be a target name"),
        ("threads_override", "0", "greater than or equal to 1"),
        ("threads_override", "9" * 30, "less than or equal to"),
        ("timeout_seconds_override", "-1", "greater than or equal to 0"),
        ("dbt_version_override", "0.1", "0.1"),
        ("generate_docs_override", "maybe", "Select a valid choice"),
        ("variables_override", "no value", "Line 1 is not of the form NAME=value."),
        ("variables_override", "DBT_CLOUD_RUN_ID=1", "DBT_CLOUD_RUN_ID"),
        ("variables_override", "REGION=eu", "begins with DBT_"),
        ("variables_override", "DBT_X=\x00", "Null characters are not allowed."),
    ],
)
def test_what_is_refused_is_said_at_its_field_and_starts_nothing(
    visitor_of: VisitorOf, field: str, value: str, words: str
) -> None:
    job = JobFactory()

    response = visitor_of(job.account).post(pad(job), {"cause": "x", field: value})
    page = unescape(response.content.decode())

    assert response.status_code == 200
    at_field = page[page.index(f'<label for="id_{field}">') :].partition("</div>")[0]
    assert words in at_field
    assert f'<a href="#id_{field}">' in page
    assert not Run.objects.exists()


def test_a_job_without_commands_needs_some(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=[])
    visitor = visitor_of(job.account)

    page = visitor.post(pad(job), {"cause": "x"}).content.decode()

    assert "This run would have no commands" in page
    assert '<a href="#id_steps_override">' in page
    visitor.post(pad(job), {"cause": "x", "steps_override": "dbt build"})
    assert Run.objects.get().configuration["execute_steps"] == ["dbt build"]


# --- As a call ---------------------------------------------------------------------------


def test_the_call_in_curl_says_the_same_and_no_secret_and_starts_nothing(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()

    given = EVERYTHING | {"do": "curl", "cause": "Ana's try"}
    response = visitor_of(job.account).post(pad(job), given)
    page = response.content.decode()

    shown = re.search(r'<pre class="code" id="curl"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert shown is not None
    words = shlex.split(unescape(shown[1]).replace("\\\n", " "))
    assert words[:3] == ["curl", "-X", "POST"]
    assert words[3] == f"http://testserver/api/v2/accounts/{job.account_id}/jobs/{job.pk}/run/"
    body = json.loads(words[-1])
    assert body["cause"] == "Ana's try"
    assert body["steps_override"] == ["dbt seed", "dbt build --select fct_orders"]
    assert (body["threads_override"], body["timeout_seconds_override"]) == (2, 0)
    assert body["generate_docs_override"] is False
    assert body["extensions"]["variables"]["DBT_REGION"] == "eu"
    assert "hush" not in words[-1]
    assert not Run.objects.exists()


def test_the_call_that_is_shown_is_one_that_the_api_takes(
    visitor_of: VisitorOf, client_of: Callable[..., Client]
) -> None:
    job = JobFactory()
    given = EVERYTHING | {"do": "curl", "variables_override": "DBT_REGION=eu"}
    page = visitor_of(job.account).post(pad(job), given).content.decode()
    shown = re.search(r'<pre class="code" id="curl"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert shown is not None
    words = shlex.split(unescape(shown[1]).replace("\\\n", " "))

    answer = client_of(job.account).post(
        words[3].removeprefix("http://testserver"), json.loads(words[-1])
    )

    assert answer.status_code == 200
    assert Run.objects.get().configuration["schema_override"] == "scratch_ana"


# --- From a run --------------------------------------------------------------------------


def test_opened_from_a_run_it_is_filled_with_what_that_run_did_otherwise(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory(threads=4)
    trigger = Trigger(
        cause="x",
        cause_category=CauseCategory.API,
        git_branch="feature/x",
        steps_override=["dbt test"],
        schema_override="scratch",
        variables_override={"DBT_REGION": "eu west", "DBT_ENV_SECRET_KEY": "hush"},
    )
    run = trigger_run(job, trigger)
    Job.objects.filter(pk=job.pk).update(threads=8)

    page = unescape(text(visitor_of(job.account), pad(job, f"?from={run.pk}")))

    assert ">\ndbt test</textarea>" in page
    assert 'value="feature/x"' in page
    assert 'value="scratch"' in page
    assert re.search(r'name="threads_override" value="4"', page)
    assert 'DBT_REGION="eu west"' in page
    assert "hush" not in page
    assert "Its secret DBT_ENV_SECRET_KEY cannot be shown" in page
    assert "5 overrides: commands, branch, schema, threads, variables" in page


def test_a_run_of_a_pull_request_is_filled_in_with_its_own_schema(visitor_of: VisitorOf) -> None:
    job = JobFactory(ci=True)
    trigger = Trigger(cause="x", cause_category=CauseCategory.CI, github_pull_request_id=7)
    run = trigger_run(job, trigger)

    page = text(visitor_of(job.account), pad(job, f"?from={run.pk}"))

    assert f'value="dbt_cloud_pr_{job.pk}_7"' in page


@pytest.mark.parametrize("whose", ["another job's", "another account's"])
def test_only_runs_of_this_job_fill_it_in(visitor_of: VisitorOf, whose: str) -> None:
    job = JobFactory()
    sibling = JobFactory(environment=job.environment)
    run = RunFactory(job=sibling) if whose == "another job's" else RunFactory()

    assert visitor_of(job.account).get(pad(job, f"?from={run.pk}")).status_code == 404


# --- Who, and how much -------------------------------------------------------------------


def test_who_may_only_read_has_no_launchpad(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    viewer = visitor_of(job.account, "job_viewer")

    assert viewer.get(pad(job)).status_code == 403
    assert viewer.post(pad(job), {"cause": "x"}).status_code == 403
    assert not Run.objects.exists()
    job_page = reverse("console:job", args=[job.account_id, job.project_id, job.pk])
    assert pad(job) not in text(viewer, job_page)
    assert pad(job) in text(visitor_of(job.account, "job_runner"), job_page)


def test_a_deleted_job_has_no_launchpad(visitor_of: VisitorOf) -> None:
    job = JobFactory(state=2)

    assert visitor_of(job.account).get(pad(job)).status_code == 404


def test_a_run_that_would_wait_is_announced(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)

    page = text(visitor_of(run.account), pad(run.job))

    assert f">#{run.pk}</a> of this job is not over yet" in page


def test_the_launchpad_takes_few_queries(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = RunFactory(succeeded=True)
    visitor = visitor_of(run.account)
    text(visitor, pad(run.job))

    with django_assert_max_num_queries(15):
        text(visitor, pad(run.job, f"?from={run.pk}"))
