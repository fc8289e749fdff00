"""What a run was told to do, with what, and in what that differs from a run before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.models import Membership
from environments.variables import masked, resolve
from jobsvc.console.access import member_of_account
from jobsvc.console.views.run_header import run_of, run_page
from jobsvc.runs.models import Run
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
    since_success = request.GET.get("with") == SUCCESS
    earlier = Run.objects.filter(job=run.job_id, pk__lt=run.pk).select_related("environment")
    if since_success:
        earlier = earlier.filter(status=RunStatus.SUCCESS)
    other = earlier.order_by("-pk").first()
    settings = _settings(run, other)
    repository = run.project.repository
    context: dict[str, Any] = {
        "tab": "config",
        "other": other,
        "since_success": since_success,
        "settings": settings,
        "changed": [setting for setting in settings if setting.differs],
        "repository": repository.remote_url if repository else "",
        "own_variables": sorted(masked(run.trigger.variables_override).items()),
        "variables": sorted(masked(resolve(run.environment, job_definition_id=run.job_id)).items()),
        "layers": sorted(run.isolation.items()),
    }
    return run_page(request, membership, "console/run_config.html", run, context)


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
