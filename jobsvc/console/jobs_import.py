"""Import of a file of jobs: what it would do, to the letter, and then that.

The plan is made by doing it and taking it back, so no rule can be told otherwise than it holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.models import Membership
from accounts.roles import Action
from environments import variables
from environments.models import EnvironmentVariable, Project
from jobsvc.console.access import seen
from jobsvc.console.job_changes import Setting, in_words
from jobsvc.console.jobs_file import MARK, VARIABLES, Entry, identifier_of, read, without_mark
from jobsvc.jobs import extensions
from jobsvc.jobs.define import ChangedMeanwhile, define_job
from jobsvc.jobs.document import COMPLETION, document_of, put
from jobsvc.jobs.models import Job, JobQuerySet
from jobsvc.jobs.revisions import differences
from jobsvc.runs import toolchains


@dataclass
class Planned:
    """What becomes of one job of a file.

    Attributes:
        job: as it is, or would be; None of one that cannot be made.
        settings: that change; of a new job none.
        values: names of variables that are set or taken away.
    """

    entry: Entry
    job: Job | None = None
    is_new: bool = False
    settings: list[Setting] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.job.name if self.job is not None else self.entry.identifier

    @property
    def changes(self) -> bool:
        return self.is_new or bool(self.settings or self.values)


@dataclass(frozen=True)
class Plan:
    """What an import does, or would do.

    Attributes:
        seal: of the text and of the jobs as they are: another seal, another plan.
    """

    jobs: list[Planned]
    seal: str

    @property
    def problems(self) -> list[tuple[int, str, str]]:
        """The line, the identifier and the sentence of each refusal, in the file's order."""
        found = [
            (line, one.entry.identifier, sentence)
            for one in self.jobs
            for line, sentence in one.entry.problems
        ]
        return sorted(found)

    @property
    def new(self) -> int:
        return sum(1 for one in self.jobs if one.is_new)

    @property
    def changed(self) -> int:
        return sum(1 for one in self.jobs if one.changes and not one.is_new)


def import_jobs(
    text: str, project: Project, membership: Membership, *, seal: str | None = None
) -> tuple[Plan, bool]:
    """Make and change the jobs of ``project`` that the file ``text`` names; whether that is done.

    Nothing is done where anything is refused, or where the plan is another than ``seal`` is of.

    Args:
        seal: of the plan that somebody agreed to; None only plans.

    Raises:
        Unreadable: the text is no such file.
    """
    entries = read(text)
    with transaction.atomic():
        with audit.as_one("job_definition.imported", project.name):
            jobs = list(_jobs_of(project))
            made = _seal(text, jobs)
            plan = Plan([_apply(entry, project, jobs, membership) for entry in entries], made)
        _refuse_twice(plan.jobs)
        done = not plan.problems and seal == made
        if not done:
            transaction.set_rollback(True)
    return plan, done


def _jobs_of(project: Project) -> JobQuerySet:
    return (
        Job.objects.of_account(project.account_id)
        .active()
        .filter(project=project)
        .select_related("project", "environment__project", "account")
        .prefetch_related("completion_triggers__upstream")
        .order_by("pk")
    )


def _seal(text: str, jobs: Iterable[Job]) -> str:
    state = "".join(f"{job.pk}:{job.updated_at.isoformat()};" for job in jobs)
    return hashlib.sha256(f"{state}{text}".encode()).hexdigest()


def _refuse_twice(planned: Sequence[Planned]) -> None:
    seen: dict[int, str] = {}
    for one in planned:
        if one.job is None or one.is_new or one.job.pk is None:
            continue
        if one.job.pk in seen:
            one.entry.refuse("", f"This is the same job as {seen[one.job.pk]}. Leave one out.")
        seen.setdefault(one.job.pk, one.entry.identifier)


def _apply(entry: Entry, project: Project, jobs: Sequence[Job], membership: Membership) -> Planned:
    planned = Planned(entry)
    if entry.problems:
        return planned
    try:
        with transaction.atomic():
            _define(planned, project, jobs, membership)
            _set_values(planned, project)
    except ChangedMeanwhile:
        entry.refuse("", "Somebody saved this job just now. Look once more at what is changed.")
    except ValidationError as refused:
        for place, sentences in _by_place(refused).items():
            for sentence in sentences:
                entry.refuse(place, sentence)
    return planned


def _by_place(refused: ValidationError) -> Mapping[str, list[str]]:
    if not hasattr(refused, "error_dict"):
        return {"": refused.messages}
    # What full_clean calls by its column stands elsewhere in a file.
    named = {"threads": "settings", "target_name": "settings", "timeout_seconds": "execution"}
    named |= {"environment": "environment_id", "__all__": ""}
    return {named.get(place, place): told for place, told in refused.message_dict.items()}


def _define(
    planned: Planned, project: Project, jobs: Sequence[Job], membership: Membership
) -> None:
    entry = planned.entry
    _check_place(entry, project)
    there = _job_of(entry, jobs)
    planned.is_new = there is None
    job = deepcopy(there) if there else Job(account=project.account, project=project)
    before = document_of(job) if there else {}
    document = entry.document
    if there is None and "environment_id" not in document:
        raise ValidationError({"environment_id": "A new job needs one: give its id."})
    if there is None and "name" not in document:
        raise ValidationError({"name": "A new job needs a name."})
    completion = put(document, job)
    job.name = _marked(job.name, entry, there)
    planned.job = job
    _check_reach(job, there, completion.upstream if completion else None, membership)
    if job.dbt_version and (there is None or job.dbt_version != there.dbt_version):
        try:
            toolchains.check(job.dbt_version)
        except ValueError as refused:
            raise ValidationError({"dbt_version": str(refused)}) from refused
    if there is None and "job_type" not in document:
        job.job_type = "scheduled" if job.triggers_schedule else "other"
    define_job(job, completion=completion, as_read_at=there.updated_at if there else None)
    if there is not None:
        planned.settings = in_words(membership, differences(before, document_of(job)))


def _check_place(entry: Entry, project: Project) -> None:
    """The file says where its jobs belong, so that one of elsewhere changes nothing here."""
    for place, here in (("account_id", project.account_id), ("project_id", project.pk)):
        given = entry.settings.get(place, here)
        if str(given) != str(here):
            raise ValidationError(
                {place: f"This is {str(given)[:40]}, and here is {here}. Change it to import here."}
            )


def _job_of(entry: Entry, jobs: Sequence[Job]) -> Job | None:
    """The job that an entry speaks of: marked by its identifier, else linked; None of a new one."""
    marked = next((job for job in jobs if identifier_of(job.name) == entry.identifier), None)
    linked = entry.settings.get("linked_id")
    if marked is not None or linked is None:
        return marked
    found = next((job for job in jobs if str(job.pk) == str(linked)), None)
    if found is None:
        raise ValidationError(
            {
                "linked_id": f"The project has no job {str(linked)[:40]}. Take linked_id out to "
                "make a new job."
            }
        )
    return found


def _marked(name: str, entry: Entry, there: Job | None) -> str:
    """The name as it is kept: with the identifier that it has, or that a new job gets."""
    plain = without_mark(name)
    if there is None:
        return f"{plain} [[{entry.identifier}]]"
    mark = MARK.search(there.name)
    return f"{plain} [[{mark[1]}]]" if mark else plain


def _check_reach(job: Job, there: Job | None, upstream: Job | None, membership: Membership) -> None:
    """Refuse what the visitor may not change, and what they may not even see."""
    for row, place in ((there, "linked_id"), (job, "environment_id")):
        if row is not None and not membership.may(Action.WRITE_JOBS, row):
            raise ValidationError(
                {place: "You may not change jobs there. Ask an owner for a role that may."}
            )
    followed = {one.job_id for one in extensions.read(job.extensions).upstream.jobs}
    if there is not None:
        followed -= {one.upstream_id for one in there.completion_triggers.all()}
    rows = Job.objects.of_account(job.account_id).filter(pk__in=followed)
    if seen(membership, rows).count() < len(followed):
        raise ValidationError({"extensions": "upstream names a job that you may not see."})
    for named, place in (
        (job.deferring_job, "deferring_job_definition_id"),
        (job.deferring_environment, "deferring_environment_id"),
        (upstream, COMPLETION),
    ):
        if named is not None and not membership.may(Action.READ, named):
            raise ValidationError({place: "This account has none of this id that you may see."})


def _set_values(planned: Planned, project: Project) -> None:
    """Set the job's variables as the file has them; secrets, which no file has, stay."""
    job, given = planned.job, planned.entry.settings.get(VARIABLES)
    if job is None or given is None:
        return
    wanted = _values(given)
    rows = EnvironmentVariable.objects.filter(project=project, job_definition_id=job.pk)
    there = {row.name: row for row in rows}
    for name, value in wanted.items():
        had = there.get(name)
        try:
            variables.set_value(project, name, value, job_definition_id=job.pk)
        except ValidationError as refused:
            raise ValidationError({VARIABLES: refused.messages}) from refused
        now = EnvironmentVariable.objects.get(project=project, job_definition_id=job.pk, name=name)
        if had is None or had.value != now.value:
            planned.values.append(f"{name} is set")
    for name, row in there.items():
        if name not in wanted and not row.is_secret:
            variables.delete_value(row)
            planned.values.append(f"{name} is taken away")


def _values(given: Any) -> dict[str, Any]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ValidationError({VARIABLES: "Give a list of NAME: value."})
    wanted: dict[str, Any] = {}
    for one in given:
        for name, value in one.items():
            if not isinstance(name, str) or not isinstance(value, str | int | float | bool):
                raise ValidationError({VARIABLES: "Give each variable as NAME: value, a text."})
            wanted[name] = value
    return wanted
