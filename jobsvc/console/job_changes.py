"""What the saves of a job changed, in the words of its editor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain, pairwise, zip_longest
from typing import Any

from django.urls import reverse

from accounts.models import Membership
from environments.models import Environment
from jobsvc.console.access import seen
from jobsvc.console.forms.job import JobForm, api_name_of
from jobsvc.console.pictures.trend import Mark
from jobsvc.jobs.models import Job, JobRevision, Saving
from jobsvc.jobs.revisions import Difference, differences
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus, State

# What people call the places of a document that the editor's fields do not say.
OTHER_WORDS = {
    "project_id": "Project",
    "execute_steps": "Commands",
    "cost_optimization_features": "Cost optimization features",
    "force_node_selection": "Force node selection",
    "lifecycle_webhooks": "Lifecycle webhooks",
    "deferring_job_definition_id": "Defers to job",
    "deferring_environment_id": "Defers to environment",
    "schedule.date.type": "Kind of days",
    "schedule.date.cron": "Cron, as it was given",
    "schedule.time.type": "Kind of times",
    "job_completion_trigger_condition.condition.job_id": "Starts after job",
    "job_completion_trigger_condition.condition.statuses": "Starts when it ends in",
    "extensions.upstream.jobs": "Starts after jobs, too",
    "extensions.steps": "Rules of single commands, in their order",
    "extensions.steps_off": "Commands that are switched off",
    "extensions.pause.reason": "Why it is paused",
    "extensions.pause.until": "Paused until",
    "deactivated": "Switched off",
    "state": "State",
}
WORDS = {
    api_name_of(name): str(field.label)
    for name, field in JobForm.base_fields.items()
    if field.label
} | OTHER_WORDS
ENVIRONMENT_IDS = ("environment_id", "deferring_environment_id")
JOB_IDS = ("deferring_job_definition_id", "job_completion_trigger_condition.condition.job_id")
HIDDEN = {"job_completion_trigger_condition.condition.project_id"}  # the job's name says it
STATES = {State.ACTIVE.value: "active", State.DELETED.value: "deleted"}
WAYS_IN = {"console": "in the console", "api": "through the API", "admin": "in the admin"}


@dataclass(frozen=True)
class Line:
    """One line of a value; ``mark`` is - where it went, + where it came, else empty."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Setting:
    """One setting that a save changed; ``place`` is what the API calls it."""

    words: str
    place: str
    before: list[Line]
    after: list[Line]


@dataclass(frozen=True)
class Change:
    """One save; its first has nothing before it, and so no settings that differ."""

    revision: JobRevision
    is_first: bool
    settings: list[Setting]

    @property
    def who(self) -> str:
        """Who saved it and from where, such as ``ana@example.com in the console``."""
        revision = self.revision
        if revision.saving == Saving.BASELINE:
            return ""
        name = revision.actor_name or "jobsvc itself"
        if revision.actor_kind == "token":
            name = f"the token {name}"
        return f"{name} {WAYS_IN.get(revision.source, '')}".strip()


def changes_of(membership: Membership, revisions: Sequence[JobRevision]) -> list[Change]:
    """Each of ``revisions``, newest first, as its difference from the next one of them.

    The last, which has none, is only one where it is the job's first.
    """
    after = [(one, before) for one, before in zip_longest(revisions, revisions[1:])]
    found = [shown(before.document, one.document) if before else [] for one, before in after]
    names = _names(membership, chain.from_iterable(found))
    return [
        Change(one, before is None, [_setting(difference, names) for difference in some])
        for (one, before), some in zip(after, found, strict=True)
        if before is not None or one.number == 1
    ]


def shown(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The differences of two documents that tell people something."""
    return [one for one in differences(before, after) if one.place not in HIDDEN]


def in_words(membership: Membership, found: Sequence[Difference]) -> list[Setting]:
    """Differences in the words of the editor."""
    names = _names(membership, found)
    return [_setting(one, names) for one in found if one.place not in HIDDEN]


def marks_of(job: Job, runs: Sequence[Run]) -> dict[int, list[Mark]]:
    """What was different from one of ``runs``, oldest first, to the next: the job's settings, or
    the version of dbt that was had. By the id of the first run that had it."""
    found: dict[int, list[Mark]] = {}
    if len(runs) < 2:
        return found
    saves = job.revisions.exclude(saving=Saving.BASELINE).filter(
        created_at__gt=runs[0].created_at, created_at__lte=runs[-1].created_at
    )
    saved = list(saves.order_by("number").values_list("number", "created_at"))
    address = reverse("console:job_changes", args=[job.account_id, job.project_id, job.pk])
    for before, run in pairwise(runs):
        some = [number for number, at in saved if before.created_at < at <= run.created_at]
        marks = []
        if some:
            told = f"change{'s' if len(some) > 1 else ''} {', '.join(map(str, some))}"
            url = f"{address}?before={some[-1] + 1}#change-{some[-1]}"
            marks.append(Mark("settings", f"Settings changed before run {run.pk}: {told}", url))
        if before.dbt_version and run.dbt_version and before.dbt_version != run.dbt_version:
            words = f"dbt {before.dbt_version} became {run.dbt_version} with run {run.pk}"
            marks.append(Mark("dbt", words))
        if marks:
            found[run.pk] = marks
    return found


def _names(membership: Membership, found: Iterable[Difference]) -> dict[tuple[str, int], str]:
    """The names of what differences name by ids, of those that the visitor may see."""
    some = list(found)
    names: dict[tuple[str, int], str] = {}
    models: list[tuple[tuple[str, ...], Any]] = [(ENVIRONMENT_IDS, Environment), (JOB_IDS, Job)]
    for places, model in models:
        ids = {
            value
            for one in some
            if one.place in places
            for value in (one.before, one.after)
            if value
        }
        if ids:
            rows = seen(membership, model.objects.of_account(membership.account_id))
            known = rows.filter(pk__in=ids).values_list("pk", "name")
            names |= {(place, pk): name for pk, name in known for place in places}
    return names


def _setting(one: Difference, names: Mapping[tuple[str, int], str]) -> Setting:
    before, after = (_lines(one.place, value, names) for value in (one.before, one.after))
    same = SequenceMatcher(a=before, b=after, autojunk=False).get_matching_blocks()
    several = max(len(before), len(after)) > 1  # or the columns say it all
    kept = [{block.a + n for block in same for n in range(block.size)}]
    kept += [{block.b + n for block in same for n in range(block.size)}]
    marked = [
        [Line(text, mark if several and n not in there else "") for n, text in enumerate(lines)]
        for lines, mark, there in zip((before, after), "-+", kept, strict=True)
    ]
    return Setting(WORDS.get(one.place, one.place), one.place, *marked)


def _lines(place: str, value: Any, names: Mapping[tuple[str, int], str]) -> list[str]:
    if value is None or value in ("", [], {}):
        return []
    if place.endswith("condition.statuses"):
        value = ", ".join(RunStatus(one).label.lower() for one in value)
    elif place == "state":
        value = STATES.get(value, value)
    elif isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, int) and (place, value) in names:
        value = f"{names[place, value]} (#{value})"
    if isinstance(value, list):
        return [_part(one) for one in value]
    return str(value).splitlines()


def _part(value: Any) -> str:
    """One part of a list; of an object what it says, as ``name: Build, timeout_seconds: 60``."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return json.dumps(value)
    said = [f"{key}: {one if isinstance(one, str) else _part(one)}" for key, one in value.items()]
    return ", ".join(said) or "—"
