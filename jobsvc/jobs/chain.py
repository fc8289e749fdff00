"""What follows what: which jobs start a job by ending, and that none starts itself that way."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db.models import Q

from accounts import audit
from jobsvc.jobs.extensions import Extensions
from jobsvc.jobs.models import CompletionTrigger, Job
from jobsvc.statuses import State

DBT_FIELD, EXTENSION = "job_completion_trigger_condition", "extensions"


@dataclass(frozen=True)
class Completion:
    """Start after a run of ``upstream`` that ended with one of ``statuses``."""

    upstream: Job
    statuses: Sequence[int]


class Circle(ValidationError):
    """Jobs would start each other for ever. The words hold the path, such as "A → B → A"."""

    def __init__(self, field: str, path: Sequence[str]) -> None:
        super().__init__(
            {
                field: f"These jobs would start each other for ever: {' → '.join(path)}. "
                "Remove one of the triggers first."
            },
            code="circle",
        )


def set_triggers(job: Job, completion: Completion | None, extended: Extensions) -> None:
    """Write down what starts ``job``: dbt's own condition, and those of its extensions.

    Triggers that stay as they were keep their age, so what they already wait with is kept.
    To be called in a transaction that holds the account's lock.

    Raises:
        ValidationError: another account's job, a deleted one, a status that is not final; a CI
            job, which follows none.
        Circle: the job would, in the end, start itself.
    """
    wanted = _wanted(job, completion, extended)
    if wanted and job.is_ci:
        # Without a pull request it would build where production does.
        raise ValidationError(
            {
                _field_of(wanted[0]): "A CI job builds pull requests and cannot follow other "
                "jobs. Leave this out, or create a deploy job that follows them."
            }
        )
    for trigger in wanted:
        _check_upstream(trigger)
    _refuse_circle(job, wanted)
    there = {
        (trigger.upstream_id, trigger.is_dbt_field): trigger
        for trigger in CompletionTrigger.objects.filter(job=job)
    }
    kept = {(trigger.upstream_id, trigger.is_dbt_field) for trigger in wanted}
    gone = [trigger.pk for pair, trigger in there.items() if pair not in kept]
    CompletionTrigger.objects.filter(pk__in=gone).delete()
    _tell(job, there.values(), wanted)
    for trigger in wanted:
        before = there.get((trigger.upstream_id, trigger.is_dbt_field))
        if before is None:
            trigger.save()
        elif before.statuses != trigger.statuses:
            CompletionTrigger.objects.filter(pk=before.pk).update(statuses=trigger.statuses)


def _tell(
    job: Job, there: Iterable[CompletionTrigger], wanted: Iterable[CompletionTrigger]
) -> None:
    """Write down which jobs start ``job`` now and did not, or no longer do, or otherwise."""
    before, after = (
        {f"after job {one.upstream_id}": one.statuses for one in triggers}
        for triggers in (there, wanted)
    )
    differences = {
        name: [before.get(name), after.get(name)]
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }
    if differences:
        changed = "job_definition.changed"
        audit.record(changed, job, account_id=job.account_id, differences=differences)


def _wanted(
    job: Job, completion: Completion | None, extended: Extensions
) -> list[CompletionTrigger]:
    wanted = []
    if completion is not None:
        statuses = list(completion.statuses)
        wanted.append(CompletionTrigger(job=job, upstream=completion.upstream, statuses=statuses))
    listed = [entry.job_id for entry in extended.upstream.jobs]
    if twice := sorted(number for number in set(listed) if listed.count(number) > 1):
        raise _refused(f"upstream names job {twice[0]} twice. Give all its statuses in one place.")
    jobs = Job.objects.of_account(job.account_id).in_bulk(listed)
    for entry in extended.upstream.jobs:
        if entry.job_id not in jobs:
            raise _refused(f"This account has no job {entry.job_id}. Check the ids in upstream.")
        wanted.append(
            CompletionTrigger(
                job=job,
                upstream=jobs[entry.job_id],
                statuses=list(entry.statuses),
                is_dbt_field=False,
            )
        )
    return wanted


def _check_upstream(trigger: CompletionTrigger) -> None:
    """A job that was deleted after it was named may stay named: it starts nothing any more."""
    field, upstream = _field_of(trigger), trigger.upstream
    watched = Q(job=trigger.job, upstream=upstream, is_dbt_field=trigger.is_dbt_field)
    if upstream.account_id != trigger.job.account_id or (
        upstream.state != State.ACTIVE and not CompletionTrigger.objects.filter(watched).exists()
    ):
        raise ValidationError({field: f"This account has no job {upstream.pk}. Check the id."})
    if upstream.pk == trigger.job_id:
        raise ValidationError({field: "A job cannot start after itself. Name another job."})
    try:
        trigger.clean()
    except ValidationError as refused:
        raise ValidationError({field: refused.messages}) from refused


def _refuse_circle(job: Job, wanted: Iterable[CompletionTrigger]) -> None:
    before = _upstreams(job)
    for trigger in wanted:
        path = _path(trigger.upstream_id, job.pk, before)
        if path:
            names = dict(Job.objects.filter(pk__in=path).values_list("pk", "name"))
            names[job.pk] = job.name  # as it is about to be saved
            raise Circle(_field_of(trigger), [names[number] for number in [*path[::-1], job.pk]])


def _upstreams(job: Job) -> Mapping[int, list[int]]:
    """For each other job of the account those that start it, by their ids. One query."""
    edges = CompletionTrigger.objects.filter(
        job__account=job.account_id, job__state=State.ACTIVE, upstream__state=State.ACTIVE
    ).exclude(job=job)
    before = defaultdict(list)
    for follower, upstream in edges.order_by("pk").values_list("job_id", "upstream_id"):
        before[follower].append(upstream)
    return before


def _path(start: int, end: int, before: Mapping[int, list[int]]) -> list[int]:
    """The shortest way upstream from ``start`` to ``end``, with both; empty if there is none."""
    came_from: dict[int, int] = {start: start}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        if here == end:
            path = [here]
            while path[-1] != start:
                path.append(came_from[path[-1]])
            return path[::-1]
        for upstream in before.get(here, ()):
            if upstream not in came_from:
                came_from[upstream] = here
                waiting.append(upstream)
    return []


def _field_of(trigger: CompletionTrigger) -> str:
    return DBT_FIELD if trigger.is_dbt_field else EXTENSION


def _refused(words: str) -> ValidationError:
    return ValidationError({EXTENSION: words})
