"""Jobs over the wire: what is posted comes back, and what is left out stays."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Account
from environments.models import Environment
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.statuses import State
from tests.conftest import JSONClient
from tests.factories import (
    CompletionTriggerFactory,
    EnvironmentFactory,
    EnvironmentVariableFactory,
    JobFactory,
    ProjectFactory,
    RunFactory,
)

# What jobs-as-code compares after it posted it; each must come back to the letter.
AS_CODE: dict[str, Any] = {
    "name": "nightly  [[identifier]]",
    "settings": {"threads": 6, "target_name": "production"},
    "execution": {"timeout_seconds": 3600},
    "deferring_job_definition_id": None,
    "deferring_environment_id": None,
    "run_generate_sources": True,
    "run_lint": True,
    "errors_on_lint_failure": False,
    "execute_steps": [
        "dbt run  --select 'tag:nightly'",
        'dbt test --vars \'{"a": "b c"}\'',
    ],
    "generate_docs": True,
    "schedule": {
        "cron": "0 */2  * * *",
        "date": {"type": "custom_cron", "cron": "0 */2  * * *"},
        "time": {"type": "every_hour", "interval": 1},
    },
    "triggers": {
        "github_webhook": False,
        "git_provider_webhook": False,
        "schedule": False,
        "on_merge": True,
        "custom_branch_only": False,
    },
    "description": " a  description with blanks ",
    "state": 1,
    "run_compare_changes": True,
    "compare_changes_flags": "--select state:modified --exclude tag:big",
    "job_type": "scheduled",
    "cost_optimization_features": [],
    "triggers_on_draft_pr": True,
    "job_completion_trigger_condition": None,
    "dbt_version": "1.10.x",
}


@pytest.fixture
def environment(account: Account) -> Environment:
    return EnvironmentFactory(project__account=account)


@pytest.fixture
def jobs(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}/jobs/"


@pytest.fixture
def minimal(environment: Environment) -> dict[str, Any]:
    return {
        "project_id": environment.project_id,
        "environment_id": environment.pk,
        "name": "a job",
        "execute_steps": ["dbt build"],
    }


def test_what_is_posted_comes_back_to_the_letter(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | AS_CODE).json()["data"]
    read = api.get(f"{jobs}{made['id']}/").json()["data"]

    assert {key: read[key] for key in AS_CODE} == AS_CODE


def test_a_whole_answer_can_be_posted_back_and_changes_nothing(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | AS_CODE).json()["data"]

    after = api.post(f"{jobs}{made['id']}/", made).json()["data"]

    assert {**after, "updated_at": ""} == {**made, "updated_at": ""}


def test_a_clone_of_an_answer_makes_a_second_job_of_a_derived_type(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | AS_CODE).json()["data"]
    for key in ("is_deferrable", "raw_dbt_version", "job_type"):
        del made[key]

    response = api.post(jobs, made | {"id": None, "name": "a clone"})

    assert response.status_code == 201
    assert response.json()["data"]["job_type"] == "merge"


def test_the_smallest_bodies_in_use_are_enough(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    dagsters = {**minimal, "description": "", "job_type": "other"}
    del dagsters["execute_steps"]

    assert api.post(jobs, minimal).status_code == 201
    assert api.post(jobs, dagsters).json()["data"]["execute_steps"] == []


def test_every_optional_field_may_be_null(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    plain = api.post(jobs, minimal).json()["data"]
    nulls = {key: None for key in plain if key not in minimal}

    response = api.post(jobs, minimal | nulls)

    changing = {"id", "created_at", "updated_at"}
    assert {
        key: value for key, value in response.json()["data"].items() if key not in changing
    } == {key: value for key, value in plain.items() if key not in changing}


def test_ids_may_be_digits(api: JSONClient, jobs: str, minimal: dict[str, Any]) -> None:
    texts = {key: str(minimal[key]) for key in ("project_id", "environment_id")}

    response = api.post(jobs, minimal | texts)

    assert response.json()["data"]["project_id"] == minimal["project_id"]


def test_what_an_update_leaves_out_keeps_its_value(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | AS_CODE).json()["data"]

    after = api.post(f"{jobs}{made['id']}/", {"name": "renamed"}).json()["data"]

    assert after == made | {"name": "renamed", "updated_at": after["updated_at"]}


def test_an_update_replaces_triggers_as_a_whole(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | AS_CODE).json()["data"]

    after = api.post(f"{jobs}{made['id']}/", {"triggers": {"schedule": True}}).json()["data"]

    assert [name for name, on in after["triggers"].items() if on] == ["schedule"]


def test_an_update_with_part_of_the_settings_keeps_the_rest(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | AS_CODE).json()["data"]

    after = api.post(f"{jobs}{made['id']}/", {"settings": {"threads": 2}}).json()["data"]

    assert after["settings"] == {"threads": 2, "target_name": "production"}


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("description", ""),
        ("dbt_version", None),
        ("execute_steps", []),
        ("settings", {"threads": 4, "target_name": "default"}),
        ("execution", {"timeout_seconds": 0}),
        ("generate_docs", False),
        ("errors_on_lint_failure", True),
        ("compare_changes_flags", "--select state:modified"),
        ("cost_optimization_features", []),
        ("job_completion_trigger_condition", None),
        ("job_type", "scheduled"),
    ],
)
def test_null_in_an_update_puts_a_field_back(
    field: str, default: Any, api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | AS_CODE).json()["data"]

    after = api.post(f"{jobs}{made['id']}/", {field: None}).json()["data"]

    assert after[field] == default


def test_flags_of_compare_changes_that_do_more_than_select_are_refused_at_their_field(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    answer = api.post(jobs, minimal | {"compare_changes_flags": "--select a --target prod"})

    assert answer.status_code == 400
    assert "compare_changes_flags" in answer.content.decode()
    assert "--target does more than select" in answer.content.decode()


@pytest.mark.parametrize(
    ("triggers", "job_type"),
    [
        ({"github_webhook": True, "schedule": True}, "ci"),
        ({"git_provider_webhook": True}, "ci"),
        ({"on_merge": True, "schedule": True}, "merge"),
        ({"schedule": True}, "scheduled"),
        ({}, "other"),
        ({"schedule": None}, "other"),
        (None, "other"),
    ],
)
def test_a_type_that_is_not_given_is_derived_from_the_triggers(
    triggers: Any, job_type: str, api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    body = minimal | {"triggers": triggers, "schedule": {"cron": "0 1 * * *"}}

    assert api.post(jobs, body).json()["data"]["job_type"] == job_type


def test_a_ci_job_stays_one(api: JSONClient, jobs: str, minimal: dict[str, Any]) -> None:
    made = api.post(jobs, minimal | {"job_type": "ci"}).json()["data"]

    response = api.post(f"{jobs}{made['id']}/", {"job_type": "other"})

    assert response.status_code == 400
    assert response.json()["status"]["user_message"].startswith("job_type")


def test_features_of_cost_are_not_for_ci_jobs(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    body = minimal | {"job_type": "ci", "cost_optimization_features": ["efficient_testing"]}

    assert api.post(jobs, body).status_code == 405


def test_a_ci_job_without_a_schedule_shows_none_and_others_show_the_default(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    ci = api.post(jobs, minimal | {"job_type": "ci", "schedule": None}).json()["data"]
    other = api.post(jobs, minimal).json()["data"]

    assert ci["schedule"] is None
    assert other["schedule"]["cron"] == "0 * * * *"
    assert other["next_run"] is None


def test_a_job_on_a_schedule_that_was_never_given_is_refused(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    assert api.post(jobs, minimal | {"triggers": {"schedule": True}}).status_code == 400


def test_a_time_zone_is_kept_and_the_next_run_follows_it(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    schedule = {"cron": "0 6 1 1 *", "timezone": "Asia/Kolkata"}
    body = minimal | {"triggers": {"schedule": True}, "schedule": schedule}

    made = api.post(jobs, body).json()["data"]

    assert made["schedule"]["timezone"] == "Asia/Kolkata"
    assert made["next_run"].endswith("-01-01 00:30:00.000000+00:00")


def test_a_job_may_defer_to_itself(api: JSONClient, jobs: str, minimal: dict[str, Any]) -> None:
    made = api.post(jobs, minimal).json()["data"]

    after = api.post(f"{jobs}{made['id']}/", {"deferring_job_definition_id": made["id"]})

    assert after.json()["data"]["deferring_job_definition_id"] == made["id"]


def test_a_job_defers_to_one_thing_only(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    other = api.post(jobs, minimal).json()["data"]
    both = {
        "deferring_job_definition_id": other["id"],
        "deferring_environment_id": minimal["environment_id"],
    }

    assert api.post(jobs, minimal | both).status_code == 400


def test_a_job_may_follow_another(api: JSONClient, jobs: str, minimal: dict[str, Any]) -> None:
    first = api.post(jobs, minimal).json()["data"]
    condition = {"condition": {"job_id": first["id"], "project_id": 1, "statuses": [20, 10]}}

    second = api.post(jobs, minimal | {"job_completion_trigger_condition": condition})

    assert second.json()["data"]["job_completion_trigger_condition"] == {
        "condition": {
            "job_id": first["id"],
            "project_id": first["project_id"],
            "statuses": [20, 10],
        }
    }


def test_what_a_job_follows_stays_where_an_update_does_not_name_it(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    trigger = CompletionTriggerFactory(job__environment=environment)

    api.post(f"{jobs}{trigger.job.pk}/", {"name": "renamed"})

    assert CompletionTrigger.objects.get().upstream == trigger.upstream


@pytest.mark.parametrize("nothing", [None, {}, {"condition": None}])
def test_nothing_to_follow_clears_what_was_followed(
    nothing: Any, api: JSONClient, jobs: str, environment: Environment
) -> None:
    trigger = CompletionTriggerFactory(job__environment=environment)

    after = api.post(f"{jobs}{trigger.job.pk}/", {"job_completion_trigger_condition": nothing})

    assert after.json()["data"]["job_completion_trigger_condition"] is None


@pytest.mark.parametrize("statuses", [[], [1], ["ten"], 10, None])
def test_a_job_follows_on_final_statuses_only(
    statuses: Any, api: JSONClient, jobs: str, environment: Environment
) -> None:
    first, second = JobFactory.create_batch(2, environment=environment)
    condition = {"condition": {"job_id": first.pk, "statuses": statuses}}

    response = api.post(f"{jobs}{second.pk}/", {"job_completion_trigger_condition": condition})

    assert response.status_code == 400


def test_a_job_cannot_follow_itself(api: JSONClient, jobs: str, environment: Environment) -> None:
    job = JobFactory(environment=environment)
    condition = {"condition": {"job_id": job.pk, "statuses": [10]}}

    response = api.post(f"{jobs}{job.pk}/", {"job_completion_trigger_condition": condition})

    assert response.status_code == 400


def test_an_environment_of_another_project_is_refused(
    api: JSONClient, jobs: str, minimal: dict[str, Any], account: Account
) -> None:
    other = ProjectFactory(account=account)

    response = api.post(jobs, minimal | {"project_id": other.pk})

    assert response.status_code == 400
    assert response.json()["status"]["user_message"].startswith("environment_id")


def test_a_job_that_is_refused_leaves_nothing_behind(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    condition = {"condition": {"job_id": 999, "statuses": [10]}}

    api.post(jobs, minimal | {"job_completion_trigger_condition": condition})

    assert Job.objects.count() == 0


def test_the_fourth_command_is_named_when_it_is_refused(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    steps = ["dbt seed", "dbt run", "dbt test", "dbt build --profiles-dir /etc"]

    response = api.post(jobs, minimal | {"execute_steps": steps})

    message = response.json()["status"]["user_message"]
    assert response.status_code == 400
    assert message.startswith("execute_steps")
    assert "4" in message


# --- Deletion ----------------------------------------------------------------------------


def test_delete_answers_200_with_the_job_in_state_2(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)

    response = api.delete(f"{jobs}{job.pk}/")

    assert (response.status_code, response.json()["data"]["state"]) == (200, 2)
    assert response.json()["data"]["id"] == job.pk


def test_posting_state_2_deletes_like_delete(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    whole = api.get(f"{jobs}{job.pk}/").json()["data"]

    response = api.post(f"{jobs}{job.pk}/", whole | {"state": 2})

    job.refresh_from_db()
    assert (response.status_code, job.state) == (200, State.DELETED)


@pytest.mark.parametrize(
    ("method", "rest"), [("get", ""), ("post", ""), ("delete", ""), ("post", "run/")]
)
def test_a_deleted_job_is_a_404(
    method: str, rest: str, api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment, state=State.DELETED)

    response = getattr(api, method)(f"{jobs}{job.pk}/{rest}")

    assert (response.status_code, response.json()["status"]["code"]) == (404, 404)


def test_the_runs_of_a_deleted_job_stay(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    run = RunFactory(job__environment=environment, succeeded=True)
    api.delete(f"{jobs}{run.job.pk}/")
    runs = jobs.replace("/jobs/", "/runs/")

    data = api.get(f"{runs}{run.pk}/?include_related=job").json()["data"]

    assert (data["job"]["id"], data["job"]["state"]) == (run.job.pk, 2)
    assert [one["id"] for one in api.get(runs).json()["data"]] == [run.pk]


# --- What is shown only where it is asked for ----------------------------------------------


def test_a_job_has_no_key_that_a_strict_client_does_not_know(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment, extensions={"a": 1})

    data = api.get(f"{jobs}{job.pk}/").json()["data"]

    assert not {"extensions", "custom_environment_variables", "timezone"} & set(data)


def test_extensions_are_taken_in_the_body_and_shown_where_asked_for(
    api: JSONClient, jobs: str, minimal: dict[str, Any]
) -> None:
    made = api.post(jobs, minimal | {"extensions": {"deactivate_after": 3}}).json()["data"]

    asked = api.get(f"{jobs}{made['id']}/?include_related=extensions").json()["data"]

    assert asked["extensions"] == {"deactivate_after": 3}


def test_extensions_have_an_address_of_their_own(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    old, new = {"deactivate_after": 3}, {"retry": {"max_retries": 2}}
    job = JobFactory(environment=environment, extensions=old)

    before = api.get(f"{jobs}{job.pk}/extensions/").json()["data"]
    after = api.post(f"{jobs}{job.pk}/extensions", new).json()["data"]

    job.refresh_from_db()
    assert (before, after, job.extensions) == (old, new, new)


def test_related_objects_of_a_job_are_null_until_asked_for(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    running = RunFactory(job__environment=environment, running=True)
    finished = RunFactory(job=running.job, succeeded=True)
    later = RunFactory(job=running.job)
    job = f"{jobs}{running.job.pk}/"
    names = ["account", "project", "environment", "most_recent_run", "most_recent_completed_run"]

    plain = api.get(job).json()["data"]
    asked = api.get(f"{job}?include_related={','.join(names)}").json()["data"]

    assert [plain[name] for name in names] == [None] * 5
    assert [asked[name]["id"] for name in names] == [
        environment.account.pk,
        environment.project_id,
        environment.pk,
        later.pk,
        finished.pk,
    ]
    assert asked["most_recent_run"]["job"] is None
    assert asked["environment"]["jobs"] is None


def test_a_jobs_variables_are_shown_masked_and_only_where_asked_for(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    for name, value in {"DBT_ENV_SECRET_KEY": "hunter2", "DBT_REGION": "west"}.items():
        EnvironmentVariableFactory(
            project=environment.project,
            name=name,
            scope="job",
            job_definition_id=job.pk,
            secrets={"value": value},
        )

    asked = api.get(f"{jobs}{job.pk}/?include_related=custom_environment_variables").json()["data"]

    shown = {one["name"]: one["display_value"] for one in asked["custom_environment_variables"]}
    assert shown == {"DBT_ENV_SECRET_KEY": "**********", "DBT_REGION": "west"}


def test_a_job_is_deferrable_once_a_run_of_it_left_artifacts(
    api: JSONClient, jobs: str, environment: Environment
) -> None:
    job = JobFactory(environment=environment)
    RunFactory(job=job, succeeded=True, artifacts_saved=False)
    before = api.get(f"{jobs}{job.pk}/").json()["data"]["is_deferrable"]
    RunFactory(job=job, succeeded=True)

    after = api.get(f"{jobs}{job.pk}/").json()["data"]["is_deferrable"]

    assert (before, after) == (False, True)
