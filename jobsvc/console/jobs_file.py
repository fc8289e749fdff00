"""Jobs as a YAML file: the one that dbt-jobs-as-code reads and writes, in and out.

The file is a mapping ``jobs`` of an identifier to a job's settings, by the API's names. A job's
name ends in ``[[identifier]]`` where it is kept by such a file; ``linked_id`` names a job that is
not. What this service offers beyond dbt Cloud stands beside that, and dbt-jobs-as-code passes over
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from environments.models import EnvironmentVariable
from jobsvc.jobs.document import COMPLETION, document_with
from jobsvc.jobs.models import Job, JobType

LARGEST = 256 * 1024  # characters of a file
MOST_JOBS = 200
MOST_NODES = 50_000  # of a file, each alias counted as what it stands for

MARK = re.compile(r"\s*\[\[([*:a-zA-Z0-9_-]+)\]\]")
SURROGATE = re.compile("[\ud800-\udfff]")  # halves of characters, which nothing can store
IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]{1,100}")
VARIABLES = "custom_environment_variables"
TRIGGERS = ("github_webhook", "git_provider_webhook", "schedule", "on_merge")
# The places of a job's document that dbt-jobs-as-code knows, in its own order.
KNOWN = (
    "dbt_version",
    "name",
    "settings",
    "execution",
    "deferring_job_definition_id",
    "deferring_environment_id",
    "run_generate_sources",
    "run_lint",
    "errors_on_lint_failure",
    "execute_steps",
    "generate_docs",
    "schedule",
    "triggers",
    "description",
    "run_compare_changes",
    "compare_changes_flags",
    "job_type",
    "triggers_on_draft_pr",
    COMPLETION,
)
OURS = ("cost_optimization_features", "force_node_selection", "lifecycle_webhooks", "extensions")
PLACES = ("linked_id", "account_id", "project_id", "environment_id")
PASSED_OVER = ("id", "identifier", "state")  # that dbt-jobs-as-code may write
NO_SCHEDULE = "0 * * * *"  # of a job that has none, which dbt-jobs-as-code asks for
WITHOUT_SCHEDULE = {JobType.CI, JobType.MERGE}


def identifier_of(name: str) -> str:
    """The identifier at the end of a job's name; empty where a file does not keep it."""
    found = MARK.search(name)
    return found[1].rpartition(":")[2] if found else ""


def without_mark(name: str) -> str:
    return MARK.sub("", name)


# --- Out ---------------------------------------------------------------------------------


def written(jobs: Sequence[Job], values: Iterable[EnvironmentVariable]) -> str:
    """The file of ``jobs``, whose triggers are fetched. Values of secrets are left out.

    Args:
        values: of variables, of these jobs.
    """
    of_jobs: dict[int | None, list[dict[str, str]]] = {}
    for row in values:
        if not row.is_secret:
            of_jobs.setdefault(row.job_definition_id, []).append({row.name: row.value})
    listed: dict[str, Any] = {}
    for job in jobs:
        key = identifier_of(job.name)
        listed[key if key and key not in listed else f"job-{job.pk}"] = _entry(
            job, of_jobs.get(job.pk, [])
        )
    text: str = yaml.safe_dump({"jobs": listed}, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _entry(job: Job, values: list[dict[str, str]]) -> dict[str, Any]:
    document = document_with(job, job.completion_trigger)
    entry: dict[str, Any] = {
        "linked_id": job.pk,
        "account_id": job.account_id,
        "project_id": job.project_id,
        "environment_id": job.environment_id,
    }
    entry |= {place: document[place] for place in KNOWN}
    entry["name"] = without_mark(job.name)
    entry["triggers"] = {name: document["triggers"][name] for name in TRIGGERS}
    if job.triggers_custom_branch_only:
        entry["triggers"]["custom_branch_only"] = True
    entry["schedule"] = _schedule(job)
    usual = document_with(Job(), None)
    entry |= {place: document[place] for place in OURS if document[place] != usual[place]}
    if "extensions" in entry:
        entry["extensions"] = {
            key: part for key, part in entry["extensions"].items() if key != "pause"
        }
    return entry | {VARIABLES: values}


def _schedule(job: Job) -> dict[str, str] | None:
    if not job.cron:
        return None if job.job_type in WITHOUT_SCHEDULE else {"cron": NO_SCHEDULE}
    zone = {} if job.timezone == "UTC" else {"timezone": job.timezone}
    return {"cron": job.cron, **zone}


# --- In ----------------------------------------------------------------------------------


class Unreadable(ValueError):
    """A file that is none; the text says why, ``line`` where, from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Entry:
    """One job of a file.

    Attributes:
        lines: dotted places to the lines that they stand in, from 1.
        problems: what is wrong with it: the line and a sentence each.
    """

    identifier: str
    line: int
    settings: dict[str, Any]
    lines: dict[str, int]
    problems: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, place: str, sentence: str) -> None:
        """Say what is wrong at ``place``, or at the nearest place around it that has a line."""
        words = place
        while place and place not in self.lines:
            place = place.rpartition(".")[0]
        self.problems.append(
            (self.lines.get(place, self.line), f"{words}: {sentence}" if words else sentence)
        )

    @property
    def document(self) -> dict[str, Any]:
        """What it says of the job, for ``jobs.document.put``."""
        said = {
            place: value
            for place, value in self.settings.items()
            if place in {*KNOWN, *OURS, "environment_id"}
        }
        schedule, triggers = said.get("schedule"), said.get("triggers")
        if isinstance(schedule, Mapping):
            # As dbt-jobs-as-code has it, the cron line alone says when.
            said["schedule"] = {key: schedule.get(key) for key in ("cron", "timezone")}
            starts = isinstance(triggers, Mapping) and triggers.get("schedule")
            if schedule.get("cron") == NO_SCHEDULE and not starts:
                said["schedule"] = None
        return said


def read(text: str) -> list[Entry]:
    """The jobs of a file, each with what can be said of it without looking at any other.

    Raises:
        Unreadable: it is no such file.
    """
    if len(text) > LARGEST:
        raise Unreadable(f"This is more than {LARGEST // 1024} KB. Import fewer jobs at once.")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _measure(root)
        content = yaml.constructor.SafeConstructor().construct_document(root) if root else None
    except yaml.MarkedYAMLError as wrong:
        line = wrong.problem_mark.line + 1 if wrong.problem_mark else 1
        raise Unreadable(f"This is no YAML: {wrong.problem or wrong.context}.", line) from wrong
    except yaml.YAMLError as wrong:  # a character that no YAML may hold
        raise Unreadable("This is no YAML: it holds characters that cannot be shown.") from wrong
    except (ValueError, OverflowError, RecursionError) as wrong:
        if isinstance(wrong, Unreadable):
            raise
        raise Unreadable(
            "This is no YAML that can be read: a value in it makes no sense."
        ) from wrong
    jobs = content.get("jobs") if isinstance(content, dict) else None
    if not isinstance(jobs, dict) or not jobs:
        raise Unreadable("There are no jobs in it. Give a mapping called jobs.")
    if len(jobs) > MOST_JOBS:
        raise Unreadable(f"These are {len(jobs)} jobs. Import {MOST_JOBS} at once at most.")
    lines = dict(_lines_of(root))
    return [_read_entry(key, value, lines) for key, value in jobs.items()]


def _read_entry(key: Any, value: Any, lines: Mapping[str, int]) -> Entry:
    identifier, head = str(key)[:200], f"jobs.{key}."
    own = {place.removeprefix(head): at for place, at in lines.items() if place.startswith(head)}
    entry = Entry(identifier, lines.get(head[:-1], 1), {}, own)
    if not IDENTIFIER.fullmatch(identifier):
        entry.refuse("", "Name the job by letters, digits, - and _, such as nightly-build.")
    if not isinstance(value, dict):
        entry.refuse("", "Give the job's settings, each by its name.")
        return entry
    entry.settings = {str(name): part for name, part in value.items()}
    known = {*KNOWN, *OURS, *PLACES, *PASSED_OVER, VARIABLES}
    for name in entry.settings:
        if name not in known:
            entry.refuse(name[:100], "A job has no such setting. Take it out, or mend its name.")
    if any("\x00" in text for text in _texts(value)):
        entry.refuse("", "A text holds a NUL character, which nothing can store. Take it out.")
    return entry


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _lines_of(node: yaml.Node | None, place: str = "", deep: int = 4) -> Iterator[tuple[str, int]]:
    """The line of each key of a file, by its dotted place."""
    if isinstance(node, yaml.MappingNode) and deep:
        for key, value in node.value:
            here = f"{place}.{key.value}" if place else str(key.value)
            yield here, key.start_mark.line + 1
            yield from _lines_of(value, here, deep - 1)


def _measure(root: yaml.Node | None) -> None:
    """Refuse a file whose aliases blow it up, or whose texts are none, before anything is made
    of it.

    Raises:
        Unreadable
    """
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_:
            raise Unreadable("An alias in it stands for itself.", node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode) and SURROGATE.search(node.value):
            raise Unreadable(
                "This is no YAML: it holds characters that cannot be shown.",
                node.start_mark.line + 1,
            )
        open_.add(id(node))
        total = 1
        if isinstance(node, yaml.MappingNode):
            total += sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(map(size, node.value))
        if total > MOST_NODES:
            raise Unreadable("It holds too much, or its aliases do.", node.start_mark.line + 1)
        open_.remove(id(node))
        sizes[id(node)] = total
        return total

    if root is not None:
        size(root)
