"""A job as one document, in the shape of the API: written out, and put back on a job.

It holds what a save decides, and nothing that a job lives through: no next run, no counts. What a
document leaves out stays as the job has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from environments.models import Environment, Project
from jobsvc.engine.names import check_target
from jobsvc.jobs.chain import Completion
from jobsvc.jobs.models import CompletionTrigger, Job, JobType
from jobsvc.statuses import FINISHED, State

Reader = Callable[[Any], Any]

COMPLETION = "job_completion_trigger_condition"
LARGEST = 2**31 - 1  # what a column of whole numbers holds
NEEDED = ("project", "environment")  # columns that are never empty
COST_FEATURES = ("state_aware_orchestration", "efficient_testing", "dbt_state")


class Unreadable(ValueError):
    """A value that is not what its place holds; the text says what it must be."""


# --- Readers -----------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise Unreadable("Give a text.")
    return value


def _name(value: Any) -> str:
    if not _text(value).strip():
        raise Unreadable("Give the job a name.")
    return str(value)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text_or_empty(value: Any) -> str:
    return "" if value is None else _text(value)


def _target(value: Any) -> str:
    try:
        check_target(_text(value))
    except Unreadable:
        raise
    except ValueError as refused:
        raise Unreadable(str(refused)) from refused
    return str(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unreadable("Give true or false.")
    return value


def _switch_or_off(value: Any) -> bool:
    return False if value is None else _switch(value)


def _switch_or_none(value: Any) -> bool | None:
    return None if value is None else _switch(value)


def _number(value: Any) -> int:
    """A whole number, or one that a file has between quotes."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        raise Unreadable(f"Give a whole number from 0 to {LARGEST}.")
    return value


def _one_or_more(value: Any) -> int:
    if not _number(value):
        raise Unreadable(f"Give a whole number from 1 to {LARGEST}.")
    return _number(value)


def _number_or_none(value: Any) -> int | None:
    return None if value is None else _number(value)


def _steps(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise Unreadable("Give a list of dbt commands.")
    return [_text(step) for step in value]


def _type(value: Any) -> str:
    if value not in JobType.values:
        raise Unreadable(f"Choose one of {', '.join(JobType.values)}.")
    return str(value)


def _features(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(one in COST_FEATURES for one in value):
        raise Unreadable(f"Give a list of some of {', '.join(COST_FEATURES)}.")
    return value


# The places of a document that are columns of a job, each with how it is read.
COLUMNS: dict[str, tuple[str, Reader]] = {
    "name": ("name", _name),
    "description": ("description", _text_or_empty),
    "job_type": ("job_type", _type),
    "dbt_version": ("dbt_version", _text_or_none),
    "execute_steps": ("execute_steps", _steps),
    "execution.timeout_seconds": ("timeout_seconds", _number),
    "settings.threads": ("threads", _one_or_more),
    "settings.target_name": ("target_name", _target),
    "generate_docs": ("generate_docs", _switch),
    "run_generate_sources": ("run_generate_sources", _switch),
    "run_lint": ("run_lint", _switch_or_off),
    "errors_on_lint_failure": ("errors_on_lint_failure", _switch),
    "run_compare_changes": ("run_compare_changes", _switch_or_off),
    "compare_changes_flags": ("compare_changes_flags", _text),
    "cost_optimization_features": ("cost_optimization_features", _features),
    "force_node_selection": ("force_node_selection", _switch_or_none),
    "triggers.schedule": ("triggers_schedule", _switch_or_off),
    "triggers.github_webhook": ("triggers_github_webhook", _switch_or_off),
    "triggers.git_provider_webhook": ("triggers_git_provider_webhook", _switch_or_off),
    "triggers.on_merge": ("triggers_on_merge", _switch_or_off),
    "triggers.custom_branch_only": ("triggers_custom_branch_only", _switch_or_off),
    "triggers_on_draft_pr": ("triggers_on_draft_pr", _switch_or_off),
    "lifecycle_webhooks": ("lifecycle_webhooks", _switch),
}


# --- Writing -----------------------------------------------------------------------------


def document_of(job: Job) -> dict[str, Any]:
    """What ``job`` is, as the API would show it. Its completion trigger is read anew."""
    triggers = CompletionTrigger.objects.filter(job=job.pk, is_dbt_field=True)
    return document_with(job, triggers.select_related("upstream").first())


def document_with(job: Job, trigger: CompletionTrigger | None) -> dict[str, Any]:
    """The same, where the trigger of dbt's own field is known."""
    document: dict[str, Any] = {
        "project_id": job.project_id,
        "environment_id": job.environment_id,
    }
    for place, (column, _reader) in COLUMNS.items():
        _set(document, place, getattr(job, column))
    return document | {
        "deferring_job_definition_id": job.deferring_job_id,
        "deferring_environment_id": job.deferring_environment_id,
        "schedule": _schedule_of(job),
        COMPLETION: _completion_of(trigger),
        "extensions": job.extensions,
        "deactivated": job.deactivated,
        "state": int(job.state),
    }


def _schedule_of(job: Job) -> dict[str, Any] | None:
    if job.schedule is None and not job.cron:
        return None
    shown = {**(job.schedule or {}), "cron": job.cron}
    return shown if job.timezone == "UTC" else shown | {"timezone": job.timezone}


def _completion_of(trigger: CompletionTrigger | None) -> dict[str, Any] | None:
    if trigger is None:
        return None
    return {
        "condition": {
            "job_id": trigger.upstream_id,
            "project_id": trigger.upstream.project_id,
            "statuses": trigger.statuses,
        }
    }


def flat(document: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each place of a document by its dotted name, with what it holds; lists stay whole."""
    for key, value in document.items():
        place = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{place}.")
        else:
            yield place, value


# --- Reading -----------------------------------------------------------------------------


def put(document: Mapping[str, Any], job: Job) -> Completion | None:
    """Put what ``document`` says on ``job``, which has its account; return what it is to follow.

    Nothing is saved: that is ``define_job``'s, which judges the rest.

    Raises:
        ValidationError: keyed by the dotted names of the places that cannot be read, or that
            name what the account has not, or no longer.
    """
    problems: dict[str, str] = {}
    for place, (column, reader) in COLUMNS.items():
        try:
            found, value = _get(document, place)
            if found:
                setattr(job, column, reader(value))
        except Unreadable as refused:
            problems[place] = str(refused)
    if "dbt_version" in document:
        job.raw_dbt_version = job.dbt_version
    account = job.account_id
    projects: QuerySet[Any] = Project.objects.of_account(account)
    environments: QuerySet[Any] = Environment.objects.of_account(account).select_related("project")
    jobs: QuerySet[Any] = Job.objects.of_account(account)
    for place, column, rows, word in (
        ("project_id", "project", projects, "project"),
        ("environment_id", "environment", environments, "environment"),
        ("deferring_environment_id", "deferring_environment", environments, "environment"),
        ("deferring_job_definition_id", "deferring_job", jobs, "job"),
    ):
        if place in document:
            try:
                row = _row(document[place], rows, word, needed=column in NEEDED)
                setattr(job, column, row)
            except Unreadable as refused:
                problems[place] = str(refused)
    if "schedule" in document:
        try:
            _put_schedule(document["schedule"], job)
        except Unreadable as refused:
            problems["schedule"] = str(refused)
    if "extensions" in document:
        job.extensions = document["extensions"]  # define_job reads them strictly
    completion = None
    try:
        completion = _completion(document, job)
    except Unreadable as refused:
        problems[COMPLETION] = str(refused)
    if problems:
        raise ValidationError(problems)
    return completion


def _row(value: Any, rows: QuerySet[Any], word: str, *, needed: bool) -> Any:
    pk = _number_or_none(value)
    if pk is None and needed:
        raise Unreadable(f"A job needs its {word}: give its id.")
    if pk is None:
        return None
    row = rows.filter(pk=pk, state=State.ACTIVE).first()
    if row is None:
        raise Unreadable(f"This account has no {word} {pk} (any more). Name one that is there.")
    return row


def _put_schedule(value: Any, job: Job) -> None:
    if value is None:
        job.schedule, job.cron, job.timezone = None, "", "UTC"
        return
    if not isinstance(value, Mapping) or not isinstance(value.get("cron"), str):
        raise Unreadable("Give a schedule with its cron, such as cron: 0 6 * * 1-5.")
    cron, zone = _text(value["cron"]), _text(value.get("timezone") or "UTC")
    date = value.get("date") or {"type": "custom_cron", "cron": cron}
    time = value.get("time") or {"type": "every_hour", "interval": 1}
    if not isinstance(date, Mapping) or not isinstance(time, Mapping):
        raise Unreadable("Leave date and time out: the cron line says it all.")
    job.schedule = {"cron": cron, "date": dict(date), "time": dict(time)}
    if zone != "UTC":
        job.schedule["timezone"] = zone
    job.cron, job.timezone = cron, zone


def _completion(document: Mapping[str, Any], job: Job) -> Completion | None:
    if COMPLETION not in document:
        before = job.completion_trigger if job.pk else None
        return Completion(before.upstream, before.statuses) if before else None
    given = document[COMPLETION]
    if given is None:
        return None
    condition = given.get("condition") if isinstance(given, Mapping) else None
    if not isinstance(condition, Mapping):
        raise Unreadable("Give a condition with job_id, project_id and statuses, or null.")
    upstream = Job.objects.of_account(job.account_id).filter(pk=_number(condition.get("job_id")))
    statuses = condition.get("statuses", sorted(FINISHED))
    found = upstream.first()
    if found is None:
        raise Unreadable("This account has no such job (any more). Name one that is there.")
    if not isinstance(statuses, list) or not all(isinstance(one, int) for one in statuses):
        raise Unreadable("Give statuses as a list of some of 10, 20 and 30.")
    return Completion(found, [int(one) for one in statuses])


def _get(document: Mapping[str, Any], place: str) -> tuple[bool, Any]:
    """Whether ``document`` says something of ``place``, and what."""
    here: Any = document
    for key in place.split("."):
        if not isinstance(here, Mapping):
            raise Unreadable(f"{place.partition('.')[0]} holds {key} and its like, each a key.")
        if key not in here:
            return False, None
        here = here[key]
    return True, here


def _set(document: dict[str, Any], place: str, value: Any) -> None:
    *outer, last = place.split(".")
    here = document
    for key in outer:
        here = here.setdefault(key, {})
    here[last] = value
