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

from jobsvc.engine.commands import DbtCommand
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory
from tests.factories import (
    JobFactory,
    MembershipFactory,
    NodeResultFactory,
    RunFactory,
    RunStepFactory,
)
from tests.manifests import chain, left

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

    assert "will wait for run" in page
    assert f">#{run.pk}</a> of this job" in page


def test_the_launchpad_takes_few_queries(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run = RunFactory(succeeded=True)
    visitor = visitor_of(run.account)
    text(visitor, pad(run.job))

    with django_assert_max_num_queries(15):
        text(visitor, pad(run.job, f"?from={run.pk}"))


# --- What it would build -----------------------------------------------------------------


def with_manifest(**job: object) -> Job:
    """A job whose environment has a manifest of three models, which took 60 seconds each."""
    run = RunFactory(succeeded=True, job=JobFactory(**job), artifacts_saved=True)
    step = RunStepFactory(run=run, index=1)
    left(step, chain("raw", "clean", "fct"))
    for name in ("raw", "clean", "fct"):
        unique_id = f"model.shop.{name}"
        NodeResultFactory(step=step, name=name, unique_id=unique_id, status="success", seconds=60)
    return run.job


def previewed(visitor: Client, job: Job, **given: str) -> str:
    response = visitor.post(pad(job), {"cause": "x", "do": "preview"} | given)
    assert response.status_code == 200
    page = unescape(response.content.decode())
    return page[page.index('id="preview"') :]


def test_a_preview_names_the_nodes_and_starts_nothing(visitor_of: VisitorOf) -> None:
    job = with_manifest(execute_steps=["dbt build"], threads=2)
    before = Run.objects.count()

    shown = previewed(visitor_of(job.account), job, selector="clean+")

    assert "2 nodes: 2 models" in shown
    assert '<li class="code">fct</li>' in shown
    assert '<li class="code">raw</li>' not in shown
    assert "about <b>1 m 0 s</b>" in shown
    assert Run.objects.count() == before


def test_without_a_selector_the_jobs_own_commands_are_previewed(visitor_of: VisitorOf) -> None:
    job = with_manifest(execute_steps=["dbt run --select fct", "dbt run-operation grant"])

    shown = previewed(visitor_of(job.account), job)

    assert "1 node: 1 model" in shown
    assert "known once dbt reads it" in shown


def test_a_selection_of_nothing_says_so(visitor_of: VisitorOf) -> None:
    job = with_manifest(execute_steps=["dbt build"])

    assert "No node is selected." in previewed(visitor_of(job.account), job, selector="nowhere")


def test_an_environment_without_a_manifest_has_no_preview(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    assert "Nothing is known of its nodes yet." in previewed(visitor_of(job.account), job)


def test_a_selector_takes_the_place_of_what_the_commands_select(visitor_of: VisitorOf) -> None:
    steps = ["dbt seed", "dbt build --select marts --exclude slow", "dbt run-operation grant"]
    job = JobFactory(execute_steps=steps)

    given = {"cause": "x", "selector": "fct_orders+ tag:nightly", "full_refresh": "on"}
    visitor_of(job.account).post(pad(job), given)

    assert Run.objects.get().configuration["execute_steps"] == [
        "dbt seed --select fct_orders+ tag:nightly --full-refresh",
        "dbt build --select fct_orders+ tag:nightly --full-refresh",
        "dbt run-operation grant",
    ]


@pytest.mark.parametrize(
    ("steps", "given", "words"),
    [
        (["dbt run-operation x"], {"selector": "a"}, "None of the commands can do so."),
        (["dbt test"], {"full_refresh": "on"}, "None of the commands can do so."),
        (["dbt build"], {"selector": "--vars {}"}, "--vars is an option, not a node."),
        (["dbt build"], {"selector": "a\x00"}, "Null characters are not allowed."),
    ],
)
def test_a_selection_that_cannot_be_is_refused(
    visitor_of: VisitorOf, steps: list[str], given: dict[str, str], words: str
) -> None:
    job = JobFactory(execute_steps=steps)

    response = visitor_of(job.account).post(pad(job), {"cause": "x", **given})

    assert words in unescape(response.content.decode())
    assert not Run.objects.exists()


@pytest.mark.parametrize("selector", ["a;b", "$(touch x)", "'", '"', "a|b", "☃", "@a,+b"])
def test_no_selector_breaks_the_page_or_gets_out_of_its_option(
    visitor_of: VisitorOf, selector: str
) -> None:
    job = JobFactory(execute_steps=["dbt build"])

    response = visitor_of(job.account).post(pad(job), {"cause": "x", "selector": selector})

    assert response.status_code in {200, 302}
    for run in Run.objects.all():
        [step] = run.configuration["execute_steps"]
        assert DbtCommand.parse(step, index=1).options == {"select": tuple(selector.split())}


# --- Saving it, and who may --------------------------------------------------------------


def test_what_was_tried_is_saved_as_a_new_job_by_the_editor(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=["dbt build"], threads=4)
    visitor = visitor_of(job.account)
    given = {"cause": "x", "do": "job", "selector": "fct", "threads_override": "9"}

    response = visitor.post(pad(job), given, follow=True)
    page = unescape(response.content.decode())

    assert response.resolver_match is not None
    assert response.resolver_match.view_name == "console:job_new"
    assert "dbt build --select fct" in page
    assert 'name="threads" value="9"' in page
    job.refresh_from_db()
    assert (job.execute_steps, job.threads) == (["dbt build"], 4)


def test_who_may_not_change_jobs_is_not_offered_a_new_one(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    runner = visitor_of(job.account, "job_runner")

    assert "Save as new job" not in text(runner, pad(job))
    assert "Save as new job" in text(visitor_of(job.account), pad(job))


def test_variables_in_production_are_for_who_may_change_jobs(visitor_of: VisitorOf) -> None:
    job = JobFactory(environment__deployment_type="production")
    runner = visitor_of(job.account, "job_runner")

    assert "are for who may change jobs there" in text(runner, pad(job))
    runner.post(pad(job), {"cause": "x", "variables_override": "DBT_REGION=eu"})

    assert Run.objects.get().trigger.variables_override == {}


def test_branches_of_late_runs_are_offered(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    RunFactory(job=job, succeeded=True, git_branch="feature/x")

    assert '<option value="feature/x">' in text(visitor_of(job.account), pad(job))
