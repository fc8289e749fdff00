"""Every answer has one shape, errors too; what cannot be read is refused with a remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings as django_settings

from accounts.models import Account
from jobsvc.api import parsers
from tests.conftest import JSONClient, client_with
from tests.factories import EnvironmentFactory, JobFactory, ProjectFactory


@pytest.fixture
def jobs(account: Account) -> str:
    return f"/api/v2/accounts/{account.pk}/jobs/"


@pytest.fixture
def trigger(account: Account) -> str:
    job = JobFactory(environment__project__account=account)
    return f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/run/"


def send(client: JSONClient, url: str, raw: bytes | str, content_type: str = "application/json"):
    return client.generic("POST", url, raw, content_type=content_type)


def message(response: Any) -> str:
    return str(response.json()["status"]["user_message"])


def test_an_answer_is_enveloped(api: JSONClient, account: Account) -> None:
    response = api.get(f"/api/v2/accounts/{account.pk}/")

    body = response.json()
    assert set(body) == {"status", "data"}
    assert body["status"] == {
        "code": 200,
        "is_success": True,
        "user_message": "Success!",
        "developer_message": "",
    }


def test_an_unknown_address_below_api_is_a_404_in_the_envelope() -> None:
    response = client_with().get("/api/v2/nothing/here")

    assert response.status_code == 404
    assert response.json()["status"]["code"] == 404
    assert response.json()["data"] is None


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    method: str, api: JSONClient, jobs: str
) -> None:
    response = getattr(api, method)(jobs)

    assert response.status_code == 405
    assert "GET, POST" in message(response)


def test_one_form_of_a_path_does_as_well_as_the_other(api: JSONClient, trigger: str) -> None:
    with_slash, without = api.post(trigger), api.post(trigger.rstrip("/"))

    assert (with_slash.status_code, without.status_code) == (200, 200)


@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/plain", "application/xml", ""])
def test_the_envelope_comes_whatever_is_accepted(accept: str, api: JSONClient, jobs: str) -> None:
    response = api.get(jobs, HTTP_ACCEPT=accept)

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize("raw", [b"", b"null", b"  \n ", b"{}", b"\xef\xbb\xbf{}"])
def test_nothing_blanks_and_null_are_no_arguments(
    raw: bytes, api: JSONClient, trigger: str
) -> None:
    response = send(api, trigger, raw)

    assert response.status_code == 200
    assert response.json()["data"]["trigger"]["cause"] == "Triggered via API"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=nonsense",
        "text/plain",
        "application/x-www-form-urlencoded",  # what `curl -d '{…}'` says
        "application/octet-stream",
    ],
)
def test_json_is_read_whatever_it_is_called(
    content_type: str, api: JSONClient, trigger: str
) -> None:
    response = send(api, trigger, '{"cause": "käse"}', content_type)

    assert response.json()["data"]["trigger"]["cause"] == "käse"


def test_a_form_is_read_too(api: JSONClient, trigger: str) -> None:
    response = send(
        api, trigger, "cause=by+form&threads_override=2", "application/x-www-form-urlencoded"
    )

    trigger_of_run = response.json()["data"]["trigger"]
    assert (trigger_of_run["cause"], trigger_of_run["threads_override"]) == ("by form", 2)


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"{'cause': 1}",
        b"[1, 2]",
        b'"text"',
        b"7",
        b"true",
        b"\xff\xfe\xfa",
        b'{"cause": NaN}',
        b'{"cause": 1e999}',
        b'{"cause": ' + b"9" * 5000 + b"}",
        b'{"cause": "a\\u0000b"}',
        b'{"a\\u0000b": 1}',
        b'{"cause": "\\ud800"}',
        b"[" * 70 + b"]" * 70,
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_object_that_can_be_kept_is_a_400(
    raw: bytes, api: JSONClient, trigger: str
) -> None:
    response = send(api, trigger, raw)

    assert response.status_code == 400
    assert response.json()["data"] is None
    assert message(response).startswith(("The body", "The form"))


def test_a_body_that_is_too_large_is_a_413(api: JSONClient, trigger: str, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000

    response = send(api, trigger, json.dumps({"cause": "x" * 1000}))

    assert (response.status_code, message(response)) == (413, parsers.TooLarge.default_detail)


def test_a_body_may_nest_as_deep_as_the_limit(api: JSONClient, trigger: str) -> None:
    deep = b'{"unknown":' * 63 + b"{}" + b"}" * 63

    assert send(api, trigger, deep).status_code == 200


def test_a_missing_field_is_named_with_what_to_do(api: JSONClient, jobs: str) -> None:
    response = api.post(jobs, {"name": "a job"})

    assert response.status_code == 400
    assert message(response) == "project_id is missing. Add it to the body."
    assert "environment_id is missing." in response.json()["status"]["developer_message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"settings": {"threads": 0}}, "settings.threads"),
        ({"settings": {"target_name": ""}}, "settings.target_name"),
        ({"settings": {"target_name": "a b"}}, "settings.target_name"),
        ({"settings": "fast"}, "settings"),
        ({"execution": {"timeout_seconds": -1}}, "execution.timeout_seconds"),
        ({"execution": {"timeout_seconds": 10**30}}, "execution.timeout_seconds"),
        ({"execute_steps": "dbt build"}, "execute_steps"),
        ({"execute_steps": ["rm -rf /"]}, "execute_steps"),
        ({"execute_steps": [["dbt build"]]}, "execute_steps"),
        ({"job_type": "unheard of"}, "job_type"),
        ({"cost_optimization_features": ["magic"]}, "cost_optimization_features"),
        ({"dbt_version": "git+https://x"}, "dbt_version"),
        ({"environment_id": 10**19}, "environment_id"),
        ({"environment_id": "three"}, "environment_id"),
        ({"generate_docs": "perhaps"}, "generate_docs"),
        ({"schedule": "daily"}, "schedule"),
        ({"schedule": {"cron": "61 * * * *"}}, "schedule"),
        ({"job_completion_trigger_condition": {"condition": {"job_id": 1}}}, "job_completion"),
        ({"extensions": {"a": "x" * 20_000}}, "extensions"),
    ],
)
def test_an_error_begins_with_its_fields_name(
    body: dict[str, Any], field: str, api: JSONClient, account: Account
) -> None:
    job = JobFactory(environment__project__account=account)

    response = api.post(f"/api/v2/accounts/{account.pk}/jobs/{job.pk}/", body)

    assert response.status_code == 400
    assert message(response).startswith(field)


@pytest.mark.parametrize("number", [0, 2**63 - 1, 2**63, 10**18, 10**30, 10**400])
@pytest.mark.parametrize("kind", ["jobs", "runs", "steps", "users", "projects", "environments"])
def test_an_id_of_any_size_is_a_404(
    kind: str, number: int, api: JSONClient, account: Account
) -> None:
    response = api.get(f"/api/v2/accounts/{account.pk}/{kind}/{number}/")

    assert (response.status_code, response.json()["status"]["code"]) == (404, 404)


def test_a_bug_is_a_500_in_the_envelope_without_its_words(
    api: JSONClient, trigger: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(*_arguments: Any) -> None:
        raise KeyError("password=hunter2")

    monkeypatch.setattr("jobsvc.api.v2.jobs.trigger_run", fail)

    response = api.post(trigger, {"cause": "x"})

    assert response.status_code == 500
    assert response.json()["data"] is None
    assert "hunter2" not in response.content.decode()
    assert "hunter2" in caplog.text


def test_what_is_still_used_cannot_go(
    api: JSONClient, trigger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ProjectFactory()

    def remove(*_arguments: Any) -> None:
        project.account.delete()

    monkeypatch.setattr("jobsvc.api.v2.jobs.trigger_run", remove)

    assert api.post(trigger).status_code == 409


def test_no_setting_makes_the_api_redirect() -> None:
    assert django_settings.APPEND_SLASH is False


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"name": ["x"]}, "name is not a text. Write it in quotes."),
        ({"project_id": "x"}, "project_id is not a whole number. Write it in digits."),
        ({"generate_docs": 7}, "generate_docs is neither true nor false. Write one of these."),
        ({"settings": []}, "settings: Give an object, in braces."),
        ({"execute_steps": "x"}, "execute_steps is not a list. Write it in square brackets."),
        (
            {"job_type": "x"},
            'job_type: "x" is not a valid choice. Choose one that /api/docs/ names.',
        ),
        (
            {"execute_steps": ["dbt deps", ""]},
            "execute_steps: Step 2 (``): a step runs dbt and nothing else. "
            "Begin it with `dbt`, as in `dbt build`.",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_what_to_do(
    part: dict[str, Any], sentence: str, api: JSONClient, account: Account, jobs: str
) -> None:
    environment = EnvironmentFactory(project__account=account)
    body = {"project_id": environment.project_id, "environment_id": environment.pk, "name": "x"}

    response = api.post(jobs, body | part)

    assert response.status_code == 400
    assert message(response) == sentence
