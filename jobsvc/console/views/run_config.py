"""What a run was told to do, with what, and in what that differs from a run before it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.models import Membership
from environments.models import Environment
from environments.variables import MASK, masked, resolve
from jobsvc.console.access import member_of_account, seen
from jobsvc.console.git_pages import commit_page, commits_between
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.profiles import PROFILE_NAME
from jobsvc.runs.logs import beginning
from jobsvc.runs.models import Run
from jobsvc.runs.plan import profile_of
from jobsvc.statuses import RunStatus

LABELS = {
    "execute_steps": "Commands",
    "threads": "Threads",
    "target_name": "Target name",
    "timeout_seconds": "Time limit, in seconds (0: none)",
    "generate_docs": "Generate docs",
    "run_generate_sources": "Source freshness",
    "dbt_version": "dbt version asked for",
    "schema_override": "Schema in place of the environment's",
    "job_schema": "Schema, as the job's variable names it",
    "git_branch": "Branch asked for",
    "git_sha": "Commit asked for",
    "deferring_job_definition_id": "Defers to job",
    "deferring_environment_id": "Defers to environment",
    "run_lint": "Lint",
    "errors_on_lint_failure": "Lint findings stop the run",
    "run_compare_changes": "Compare changes",
    "compare_changes_flags": "Flags of comparing",
    "extensions": "Extensions",
    "left_out": "Steps a retry leaves out",
}
BEGINNING = 16 * 1024  # bytes of a log in which dbt names its adapter
ADAPTER = re.compile(r"Registered adapter: ([a-z0-9_]{1,40})=([0-9a-z.+-]{1,40})")
# Attributes are free text: who writes a password into them had better not see it here.
SECRET_KEY = re.compile("pass|pwd|secret|token|key", re.IGNORECASE)
SUCCESS = "success"  # of ?with=: the last run before it that succeeded


@dataclass(frozen=True)
class Setting:
    """One line: what this run had, and what the other had."""

    words: str
    value: str
    before: str
    differs: bool


@require_safe
@member_of_account()
def run_config(
    request: HttpRequest, membership: Membership, project_id: int, run_id: int
) -> HttpResponse:
    """The frozen settings of a run. ``?with=success`` compares with the last that succeeded."""
    run = run_of(membership, project_id, run_id)
    run.environment = Environment.objects.select_related(
        "connection", "project__connection", "credentials", "extended_attributes"
    ).get(pk=run.environment_id)
    since_success = request.GET.get("with") == SUCCESS
    earlier = seen(membership, Run.objects.filter(job=run.job_id, pk__lt=run.pk))
    earlier = earlier.select_related("environment")
    if since_success:
        earlier = earlier.filter(status=RunStatus.SUCCESS)
    other = earlier.order_by("-pk").first()
    settings = _settings(run, other)
    repository = run.project.repository
    remote = repository.remote_url if repository else ""
    variables = resolve(run.environment, job_definition_id=run.job_id)
    context: dict[str, Any] = {
        "tab": "config",
        "other": other,
        "since_success": since_success,
        "settings": settings,
        "changed": [setting for setting in settings if setting.differs],
        "repository": remote,
        "commit": commit_page(remote, run.git_sha or ""),
        "commits": commits_between(remote, other.git_sha or "", run.git_sha or "") if other else "",
        "adapter": _adapter(run),
        "profile": _profile(run, variables | run.trigger.variables_override),
        "own_variables": sorted(masked(run.trigger.variables_override).items()),
        "variables": sorted(masked(variables).items()),
        "layers": sorted(run.isolation.items()),
    }
    return run_page(request, membership, "console/run_config.html", run, context)


def _adapter(run: Run) -> str:
    """``duckdb 1.10.0``, as dbt says at the beginning of a step; empty where it never did."""
    step = run.steps.filter(builds=True, started_at__isnull=False).order_by("index").first()
    if step is None:
        return ""
    try:
        said = ADAPTER.search(beginning(step, BEGINNING))
    except FileNotFoundError:
        return ""
    return f"{said[1]} {said[2]}" if said else ""


def _profile(run: Run, variables: Mapping[str, str]) -> str:
    """The profile as a file, with blanks for what is secret; or why there can be none now."""
    try:
        plan = profile_of(run, variables)
    except RunFailure as failure:
        return str(failure)
    output = _blanked(plan.output)
    target = {"target": plan.target_name, "outputs": {plan.target_name: output}}
    return yaml.safe_dump({PROFILE_NAME: target}, sort_keys=False, allow_unicode=True)


def _blanked(value: Any, key: str = "") -> Any:
    """``value`` without what is secret by how it is called, wherever it was written down."""
    if isinstance(value, Mapping):
        return {str(name): _blanked(one, str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_blanked(one, key) for one in value]
    if SECRET_KEY.search(key) and value and "env_var(" not in str(value):
        return MASK
    return value


def _settings(run: Run, other: Run | None) -> list[Setting]:
    mine, theirs = _facts(run), _facts(other) if other else {}
    names = [*mine, *(name for name in theirs if name not in mine)]
    return [
        Setting(
            words=name,
            value=mine.get(name, ""),
            before=theirs.get(name, ""),
            differs=other is not None and mine.get(name, "") != theirs.get(name, ""),
        )
        for name in names
    ]


def _facts(run: Run) -> dict[str, str]:
    """By their labels; what is not set is left empty."""
    facts: dict[str, object] = {
        "Commit": run.git_sha,
        "Branch": run.git_branch,
        "dbt version": run.dbt_version,
        "Environment": run.environment.name,
    }
    known = [key for key in LABELS if key in run.configuration]
    unknown = [key for key in run.configuration if key not in LABELS]
    facts |= {LABELS.get(key, key): run.configuration[key] for key in [*known, *unknown]}
    return {words: _shown(value) for words, value in facts.items()}


def _shown(value: object) -> str:
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n".join(_shown(part) for part in value)
    if isinstance(value, dict):
        return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return str(value)
