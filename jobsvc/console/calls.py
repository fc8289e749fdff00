"""What a page shows and does, as calls of the API: for each address the calls that do the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from django.urls import ResolverMatch

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.statuses import ACTIVE, RunStatus

TOKEN = "$JOBSVC_TOKEN"  # noqa: S105 - where a token is to be put, never one
NEWEST = {"order_by": "-id", "limit": 50}
# Of the runs page, what the API calls it and how it says it.
STATUSES = {
    "queued": [RunStatus.QUEUED],
    "running": sorted(ACTIVE),
    "success": [RunStatus.SUCCESS],
    "error": [RunStatus.ERROR],
    "cancelled": [RunStatus.CANCELLED],
}
RUNS_ASKED = {"job": "job_definition_id", "env": "environment_id"}


@dataclass(frozen=True)
class Call:
    """A call of the API.

    Attributes:
        words: what it does.
        path: below the account, with the names of the page's address in braces.
        may: what somebody must be allowed to do for it to be of use to them.
    """

    words: str
    method: str
    path: str
    query: Mapping[str, object] | None = None
    body: Mapping[str, Any] | None = None
    may: Action = Action.READ


@dataclass(frozen=True)
class Shown:
    """A call with its address filled in, as somebody copies it."""

    words: str
    curl: str


def _get(words: str, path: str, **query: object) -> Call:
    return Call(words, "GET", path, query)


def _post(words: str, path: str, may: Action, **body: Any) -> Call:
    return Call(words, "POST", path, body=body, may=may)


def _delete(words: str, path: str, may: Action) -> Call:
    return Call(words, "DELETE", path, may=may)


_JOB, _RUN = "v2/jobs/{job_id}/", "v2/runs/{run_id}/"
_PROJECT = "v3/projects/{project_id}/"
_ENVIRONMENTS = f"{_PROJECT}environments/"
_ENVIRONMENT = f"{_ENVIRONMENTS}{{environment_id}}/"
_PULL = f"{_PROJECT}pull-requests/{{number}}/"
_VARIABLES = f"{_PROJECT}environment-variables/environment/"
_REPOSITORY = "v2/repositories/{repository_id}/"
_CONNECTION = "v3/connections/{connection_id}/"
_NOTIFICATION = "v2/notifications/{notification_id}/"
_WEBHOOK = "v3/webhooks/subscription/{webhook_id}/"

_RUNS = _get("These runs", "v2/runs/", **NEWEST)
_JOBS = _get("These jobs", "v2/jobs/", project_id="{project_id}")
_ONE_JOB = _get("This job", _JOB)
_RUN_NOW = _post("Run it", f"{_JOB}run/", Action.RUN, cause="By hand, through the API")
_ONE_RUN = _get("This run", _RUN, include_related="run_steps,trigger,job")
_CANCEL = _post("Cancel it", f"{_RUN}cancel/", Action.RUN)
_RETRY = _post("Retry it from where it failed", f"{_RUN}retry/", Action.RUN)
_ARTIFACTS = _get("What it left", f"{_RUN}artifacts/")
_STEPS = _get("Its steps with their logs", _RUN, include_related="run_steps,debug_logs")
_NEW_JOB = _post(
    "Make a job",
    "v2/jobs/",
    Action.WRITE_JOBS,
    project_id="{project_id}",
    environment_id=1,
    name="Nightly",
    execute_steps=["dbt build"],
)

CALLS: dict[str, tuple[Call, ...]] = {
    "account": (_get("The newest runs", "v2/runs/", **NEWEST),),
    "setup": (_get("Your projects", "v3/projects/"), _get("Your jobs", "v2/jobs/")),
    "queue": (_get("Runs that wait or are at work", "v2/runs/", status__in="1,2,3"),),
    "schedule": (_get("What is planned", "v2/schedules/"),),
    "runs": (_RUNS,),
    "cancel_queued": (_get("Runs that wait", "v2/runs/", status=1),),
    "jobs": (_JOBS, _NEW_JOB),
    "job_new": (_NEW_JOB,),
    "job": (_ONE_JOB, _RUN_NOW),
    "job_runs": (_get("These runs", "v2/runs/", job_definition_id="{job_id}", **NEWEST), _RUN_NOW),
    "job_settings": (_ONE_JOB, _post("Change it", _JOB, Action.WRITE_JOBS, name="Another name")),
    "job_changes": (_ONE_JOB,),
    "job_delete": (_delete("Delete it", _JOB, Action.WRITE_JOBS),),
    "job_pause": (
        _get("Its schedule", f"{_JOB}schedule/"),
        _post("Pause it", f"{_JOB}pause/", Action.WRITE_JOBS, reason="A holiday"),
        _post("Resume it", f"{_JOB}resume/", Action.WRITE_JOBS),
    ),
    "launch": (
        _post(
            "Run it with other settings",
            f"{_JOB}run/",
            Action.RUN,
            cause="By hand, through the API",
            threads_override=8,
        ),
    ),
    "run": (_ONE_RUN, _CANCEL, _RETRY),
    "run_cancel": (_CANCEL,),
    "run_retry": (_get("What a retry would do", f"{_RUN}retry/"), _RETRY),
    "run_logs": (_STEPS,),
    "run_timing": (_ONE_RUN,),
    "run_lineage": (_ARTIFACTS,),
    "run_results": (_ARTIFACTS,),
    "run_config": (_get("What it was set to", f"{_RUN}extensions/"), _ONE_RUN),
    "run_docs": (_ARTIFACTS,),
    "artifacts": (_ARTIFACTS,),
    "environments": (_get("These environments", _ENVIRONMENTS),),
    "environment": (_get("This environment", _ENVIRONMENT),),
    "environment_edit": (
        _get("This environment", _ENVIRONMENT),
        _post("Change it", _ENVIRONMENT, Action.WRITE_SETTINGS, name="Another name"),
    ),
    "environment_delete": (_delete("Delete it", _ENVIRONMENT, Action.WRITE_SETTINGS),),
    "variables": (_get("These variables", _VARIABLES),),
    "variable": (_get("All variables of the project", _VARIABLES),),
    "pulls": (_get("These pull requests", f"{_PROJECT}pull-requests/"),),
    "pull": (_get("This pull request", _PULL),),
    "pull_rerun": (_post("Check it again", f"{_PULL}rerun/", Action.RUN),),
    "pull_approve": (_post("Let it run", f"{_PULL}approve/", Action.RUN),),
    "projects": (_get("These projects", "v3/projects/"),),
    "project_new": (_post("Make a project", "v3/projects/", Action.WRITE_SETTINGS, name="Shop"),),
    "project_settings": (_get("This project", _PROJECT),),
    "project_delete": (_delete("Delete it", _PROJECT, Action.WRITE_SETTINGS),),
    "connections": (_get("These connections", "v3/connections/"),),
    "connection": (_get("This connection", _CONNECTION),),
    "connection_edit": (_get("This connection", _CONNECTION),),
    "connection_delete": (_delete("Delete it", _CONNECTION, Action.WRITE_SETTINGS),),
    "repositories": (_get("These repositories", "v2/repositories/"),),
    "repository": (_get("This repository", _REPOSITORY),),
    "tokens": (Call("The service tokens", "GET", "v3/service-tokens/", may=Action.WRITE_ACCOUNT),),
    "members": (_get("These members", "v3/users/"),),
    "notifications": (_get("These notifications", "v2/notifications/"),),
    "notification": (
        _get("This notification", _NOTIFICATION),
        _post("Send a test", f"{_NOTIFICATION}test/", Action.WRITE_ACCOUNT),
    ),
    "notification_edit": (_get("This notification", _NOTIFICATION),),
    "notification_delete": (_delete("Delete it", _NOTIFICATION, Action.WRITE_ACCOUNT),),
    "notification_deliveries": (_get("What was told", "v2/notifications/deliveries/"),),
    "webhooks": (
        Call("These webhooks", "GET", "v3/webhooks/subscriptions/", may=Action.WRITE_ACCOUNT),
    ),
    "webhook": (Call("This webhook", "GET", _WEBHOOK, may=Action.WRITE_ACCOUNT),),
    "webhook_edit": (Call("This webhook", "GET", _WEBHOOK, may=Action.WRITE_ACCOUNT),),
    "webhook_delete": (_delete("Delete it", _WEBHOOK, Action.WRITE_ACCOUNT),),
}


def calls_of(request: HttpRequest, membership: Membership) -> list[Shown]:
    """The calls that do what this page does, of those that this member may make somewhere."""
    match = request.resolver_match
    if match is None:
        return []
    project_id = match.kwargs.get("project_id")
    return [
        Shown(call.words, _curl(call, request, match))
        for call in CALLS.get(match.url_name or "", ())
        if membership.access.may_somewhere(call.may, project_id)
    ]


def _curl(call: Call, request: HttpRequest, match: ResolverMatch) -> str:
    names = {name: str(value) for name, value in match.kwargs.items()}
    version, _slash, rest = call.path.format(**names).partition("/")
    address = f"{request.scheme}://{request.get_host()}/api/{version}"
    address += f"/accounts/{names['account_id']}/{rest}"
    query = {name: str(value).format(**names) for name, value in (call.query or {}).items()}
    if match.url_name == "runs":
        query |= _asked(request.GET)
    if query:
        address += f"?{urlencode(query, safe=',')}"
    parts = ["curl", f'--header "Authorization: Token {TOKEN}"']
    if call.method != "GET":
        parts[0] = f"curl --request {call.method}"
    if call.body is not None:
        body = json.dumps({name: _filled(value, names) for name, value in call.body.items()})
        parts += ['--header "Content-Type: application/json"', f"--data {shlex.quote(body)}"]
    return " \\\n  ".join([*parts, shlex.quote(address)])


def _filled(value: object, names: Mapping[str, str]) -> object:
    """A value of a body; one that is named in braces is a number of the address."""
    if isinstance(value, str) and value.startswith("{"):
        return int(value.format(**names))
    return value


def _asked(given: QueryDict) -> dict[str, str]:
    """What the filters of the runs page are in the API, where it has them."""
    query = {
        api: str(given[name])
        for name, api in RUNS_ASKED.items()
        if given.get(name, "").isascii() and given.get(name, "").isdigit()
    }
    if numbers := STATUSES.get(given.get("status", "")):
        query["status__in"] = ",".join(str(int(number)) for number in numbers)
    return query
