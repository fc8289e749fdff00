"""What the jobs did in ninety days: runs in the order they were queued, and what is known of them.

Rows are written in bulk, as if all of it had happened. The moves of a run are told already, so
that no sweep of a service that is started on them tells anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from random import Random
from typing import Any

from accounts.models import User
from ci.models import NotedRun, RunSummary
from jobsvc.engine.plan import StepKind
from jobsvc.jobs.models import CompletionTrigger, Job, JobType
from jobsvc.management.example_data import rows
from jobsvc.management.example_data.places import Habit, Places, slug_of
from jobsvc.management.example_data.rows import Row
from jobsvc.notifications.models import Event, Told, ToldOfJob
from jobsvc.runs.models import LogChunk, Run, RunStep, RunTransition, RunTrigger
from jobsvc.runs.steps import steps_of
from jobsvc.runs.trigger import Trigger, configuration_of
from jobsvc.statuses import CancelReason, CauseCategory, RunStatus

DAYS = 90
BATCH = 2000  # rows of one statement, where the database takes so many
IN_DETAIL = 3000  # of the newest runs: their steps and moves
WITH_LOGS = 300  # of the newest runs
KEEPS_FAILING = 0.4  # the share of failures that another failure follows
LONGEST_SHARE = 0.45  # of the time from one run of a job to its next
DBT = "1.11.16"
DATABASE_ERROR = (
    "Database Error in model fct_orders (models/marts/orders/fct_orders.sql)\n"
    '  column "amount_usd" does not exist\n'
    "  LINE 41:   sum(amount_usd) as revenue"
)
WHY = (  # as the engine says it of dbt's results
    "Step 4 failed: 1 node failed: model.{slug}.fct_orders (Database Error in model fct_orders "
    '(models/marts/orders/fct_orders.sql): column "amount_usd" does not exist)'
)
FEWEST = 5  # runs of a job
PULL_REQUESTS = 40  # of each project
FIRST_NUMBER = 100


@dataclass(frozen=True, slots=True)
class Past:
    """One run that was: when it was queued, and how it went."""

    habit: Habit
    queued_at: datetime
    waited: timedelta
    took: timedelta
    status: RunStatus
    warned: bool


@dataclass(frozen=True)
class Writing:
    """What triggers are made of.

    Attributes:
        person: who starts what nothing else does.
        moment: now.
        upstreams: the job that each follows, by its id.
        latest: the id of each job's newest run so far, by the job's.
    """

    person: User
    moment: datetime
    upstreams: Mapping[int, Job]
    latest: dict[int, int] = field(default_factory=dict)


def write(places: Places, number: int, moment: datetime, random: Random) -> list[Run]:
    """About ``number`` runs that ended before ``moment``; returns the newest, oldest first."""
    pasts = _pasts(places.habits, number, moment, random)
    configurations = {habit.job.pk: _configuration(habit.job) for habit in places.habits}
    writing = Writing(places.people[0], moment, _upstreams(places.habits))
    newest: list[Run] = []
    for place in range(0, len(pasts), BATCH):
        some = pasts[place : place + BATCH]
        made = [_run(past, configurations[past.habit.job.pk], moment, random) for past in some]
        ids = rows.write(Run, made)
        numbered = list(zip(some, ids, strict=True))
        started = [_trigger(past, pk, writing) for past, pk in numbered]
        rows.write(RunTrigger, started)
        pulled = [{"run_id": pk} for past, pk in numbered if past.habit.job.is_ci]
        rows.write(NotedRun, pulled)
        if place + BATCH > len(pasts) - IN_DETAIL:
            newest += map(_known, some, ids, made)
    newest = newest[-IN_DETAIL:]
    _write_moves(newest)
    _write_steps(newest)
    _write_jobs(places.habits, writing.latest)
    return newest


def pull_request_of(moment: datetime, now: datetime) -> int:
    """The number of the pull request that was worked on at ``moment``."""
    share = 1 - (now - moment) / timedelta(days=DAYS)
    return FIRST_NUMBER + min(PULL_REQUESTS - 1, max(0, int(share * PULL_REQUESTS)))


# --- What was -------------------------------------------------------------------------------


def _pasts(habits: Sequence[Habit], number: int, moment: datetime, random: Random) -> list[Past]:
    """All runs of all jobs, first queued first."""
    a_day = sum(habit.per_day for habit in habits)
    pasts: list[Past] = []
    for habit in habits:
        share = max(FEWEST, round(number * habit.per_day / a_day))
        pasts += _of_habit(habit, share, moment, random)
    pasts.sort(key=attrgetter("queued_at"))
    return pasts


def _of_habit(habit: Habit, number: int, moment: datetime, random: Random) -> Iterator[Past]:
    # A job that was given up has not run in its last days.
    ends = moment - timedelta(days=4) if habit.deactivated else moment
    gap = timedelta(days=DAYS) / number
    longest = gap * LONGEST_SHARE
    failing = False
    for place in range(number):
        waited = timedelta(seconds=random.choice((2, 3, 4, 5, 9, 30)))
        usual = timedelta(minutes=habit.minutes) * (0.85 + 0.3 * random.random() ** 3)
        took = min(usual, longest)
        # The last one ended some minutes ago, not in this second.
        queued_at = ends - gap * (number - place - 0.4 * random.random()) + gap * 0.1
        failing = random.random() < (KEEPS_FAILING if failing else habit.fails)
        if number - place <= max(habit.ends_failing, 1):
            failing = habit.ends_failing > 0
        status = RunStatus.ERROR if failing else RunStatus.SUCCESS
        if not failing and random.random() < 0.01 and place < number - 1:
            status = RunStatus.CANCELLED
        if status != RunStatus.SUCCESS:
            took *= 0.2 + 0.5 * random.random()
        yield Past(habit, queued_at, waited, took, status, random.random() < 0.06)


def _configuration(job: Job) -> dict[str, Any]:
    return configuration_of(job, Trigger(cause="", cause_category=CauseCategory.API))


def _run(past: Past, configuration: dict[str, Any], now: datetime, random: Random) -> Row:
    job, begun = past.habit.job, past.queued_at + past.waited
    ended = begun + past.took
    succeeded, failed = (past.status == one for one in (RunStatus.SUCCESS, RunStatus.ERROR))
    number = pull_request_of(past.queued_at, now) if job.is_ci else None
    message = "Cancelled by ana.ferreira@example.com." if not succeeded else ""
    return {
        "account_id": job.account_id,
        "project_id": job.project_id,
        "environment_id": job.environment_id,
        "job_id": job.pk,
        "status": past.status,
        "status_message": WHY.format(slug=slug_of(job.project)) if failed else message,
        "cancel_reason": CancelReason.USER if past.status == RunStatus.CANCELLED else "",
        "failure_class": "dbt_error" if failed else "",
        "configuration": configuration,
        "concurrency_key": f"job:{job.pk}" + (f":pr:{number}" if number else ""),
        "takes_slot": not job.is_ci,
        "token": 1,
        "attempts": 1,
        "worker": "worker-1",
        "git_branch": f"feature-{number}" if number else "main",
        "git_sha": f"{random.getrandbits(160):040x}",
        "dbt_version": DBT,
        "artifacts_saved": succeeded,
        "has_docs_generated": succeeded and job.generate_docs,
        "has_sources_generated": succeeded and job.run_generate_sources,
        "has_warnings": succeeded and past.warned,
        "followed_at": ended,
        "should_start_at": past.queued_at if job.triggers_schedule else None,
        "created_at": past.queued_at,
        "updated_at": ended,
        "dequeued_at": begun,
        "started_at": begun,
        "finished_at": ended,
    }


def _known(past: Past, pk: int, row: Row) -> Run:
    """A run that was written, with what it belongs to."""
    run, job = Run(pk=pk, **row), past.habit.job
    run.account, run.project, run.environment, run.job = (
        job.account,
        job.project,
        job.environment,
        job,
    )
    return run


def _trigger(past: Past, pk: int, writing: Writing) -> Row:
    job = past.habit.job
    made: Row = {
        "run_id": pk,
        "created_at": past.queued_at,
        "github_pull_request_id": None,
        "caused_by_run_id": None,
        "user_id": None,
    }
    if job.triggers_schedule:
        made |= {"cause": "scheduled", "cause_category": CauseCategory.SCHEDULED}
    elif job.is_ci:
        number = pull_request_of(past.queued_at, writing.moment)
        made["cause"] = f"Pull request #{number}: {title_of(number)}"
        made |= {"cause_category": CauseCategory.CI, "github_pull_request_id": number}
    elif job.job_type == JobType.MERGE:
        made |= {"cause": "Push to main", "cause_category": CauseCategory.MERGE}
    elif (upstream := writing.upstreams.get(job.pk)) and (
        before := writing.latest.get(upstream.pk)
    ):
        made["cause"] = f"Triggered by run {before} of job {upstream.name}"
        made |= {"cause_category": CauseCategory.JOB_COMPLETION, "caused_by_run_id": before}
    else:
        person = writing.person
        made |= {"cause": f"Started by {person.full_name}", "cause_category": CauseCategory.UI}
        made["user_id"] = person.pk
    writing.latest[job.pk] = pk
    return made


def _upstreams(habits: Sequence[Habit]) -> dict[int, Job]:
    """The job that each follows, by its id."""
    jobs = [habit.job.pk for habit in habits]
    found = CompletionTrigger.objects.filter(job__in=jobs).select_related("upstream")
    return {one.job_id: one.upstream for one in found}


def title_of(number: int) -> str:
    """What the pull request of this number does."""
    verbs = ("Add", "Repair", "Rename", "Speed up", "Document")
    things = ("the refunds of a day", "stock by shop", "currency rates", "loyalty levels")
    return f"{verbs[number % len(verbs)]} {things[number % len(things)]}"


# --- What is known of the newest --------------------------------------------------------------


def _write_moves(runs: Sequence[Run]) -> None:
    moves = [move for run in runs for move in _moves(run)]
    ids = rows.write(RunTransition, moves)
    numbered = list(zip(moves, ids, strict=True))
    rows.write(
        Told, [{"transition_id": pk, "created_at": move["created_at"]} for move, pk in numbered]
    )
    last = {move["run_id"]: pk for move, pk in numbered}
    reported = (JobType.CI, JobType.MERGE)
    rows.write(
        RunSummary,
        [
            {"run_id": run.pk, "transition": last[run.pk]}
            for run in runs
            if run.job.job_type in reported
        ],
    )


def _moves(run: Run) -> Iterator[Row]:
    went = (
        (None, RunStatus.QUEUED, run.created_at),
        (RunStatus.QUEUED, RunStatus.STARTING, run.dequeued_at),
        (RunStatus.STARTING, RunStatus.RUNNING, run.started_at),
        (RunStatus.RUNNING, RunStatus(run.status), run.finished_at),
    )
    for before, after, moment in went:
        yield {
            "run_id": run.pk,
            "from_status": before,
            "to_status": after,
            "message": run.status_message if after == run.status else "",
            "created_at": moment or run.created_at,
            "reacted_at": moment,
        }


def _write_steps(runs: Sequence[Run]) -> None:
    steps = [step for run in runs for step in _steps(run)]
    ids = rows.write(RunStep, steps)
    with_logs = {run.pk for run in runs[-WITH_LOGS:]}
    rows.write(
        LogChunk,
        [
            {"step_id": pk, "stream": stream, "offset": 0, "text": say(step)}
            for step, pk in zip(steps, ids, strict=True)
            if step["run_id"] in with_logs and not step["skipped"]
            for stream, say in LOGS.items()
        ],
    )


def _steps(run: Run) -> Iterator[Row]:
    """Its steps: each of the service's own takes three seconds, the first command the rest."""
    plans = steps_of(run, "warehouse")
    begun, ended = run.dequeued_at, run.finished_at
    if begun is None or ended is None:
        return
    over = False
    for plan in plans:
        works = plan.kind == StepKind.COMMAND
        until = ended if works else min(begun + timedelta(seconds=3), ended)
        went = RunStatus(run.status) if works else RunStatus.SUCCESS
        failed = went == RunStatus.ERROR and not over
        yield {
            "run_id": run.pk,
            "index": plan.index,
            "name": plan.name,
            "kind": plan.kind,
            "command": plan.command,
            "on_failure": plan.on_failure,
            "builds": works,
            "status": RunStatus.CANCELLED if over else went,
            "skipped": over,
            "started_at": None if over else begun,
            "finished_at": None if over else until,
            "exit_code": None if over else int(failed),
            "message": "dbt build ended with exit code 1." if failed else "",
            "created_at": run.created_at,
            "updated_at": ended,
        }
        over = over or went != RunStatus.SUCCESS
        begun = until


def _said_by(step: Row) -> str:
    at = f"{step['started_at']:%H:%M:%S}"
    lines = [f"{at}  Running with dbt={DBT}", f"{at}  Registered adapter: postgres=1.10.0"]
    lines += [f"{at}  {n} of 40 OK created sql view model shops.stg_{n}" for n in range(1, 41)]
    if step["status"] == RunStatus.ERROR:
        lines += [f"{at}  \x1b[31m{line}\x1b[0m" for line in DATABASE_ERROR.split("\n")]
    lines.append(f"{at}  Done. PASS=38 WARN=1 ERROR={step['exit_code']} SKIP=0 TOTAL=40")
    return "\n".join(lines) + "\n"


def _recorded_by(step: Row) -> str:
    """The same as ``_said_by``, as the engine keeps dbt's events."""
    level = "error" if step["status"] == RunStatus.ERROR else "info"
    records = [
        {"ts": f"{step['started_at']:%Y-%m-%dT%H:%M:%SZ}", "level": level, "text": line[10:]}
        for line in _said_by(step).splitlines()
    ]
    return "".join(f"{json.dumps(record)}\n" for record in records)


LOGS = {"console": _said_by, "debug": _said_by, "events": _recorded_by}


def _write_jobs(habits: Sequence[Habit], latest: Mapping[int, int]) -> None:
    """What the jobs came to by their runs."""
    for habit in habits:
        failures = habit.ends_failing
        reason = None
        if habit.deactivated:
            reason = (
                f"The last {failures} runs of this job failed, up to run "
                f"{latest[habit.job.pk]}, so it is no longer started by itself. Repair it, "
                "then run it or save its settings."
            )
            ToldOfJob.objects.create(job=habit.job, event=Event.DEACTIVATED, about=reason)
        Job.objects.filter(pk=habit.job.pk).update(
            run_failure_count=failures,
            deactivated=habit.deactivated,
            deactivation_reason=reason,
        )
