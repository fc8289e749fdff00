"""Schemas that pull requests' runs built: written down by exact name, dropped when of no more use.

A schema is dropped only if a run wrote down that it may build it, its name is the one that this
service made up for the pull request (``dbt_cloud_pr_<job>_<number>``) or goes on from that with
an underscore, and nobody else calls it theirs. What merely looks alike stays: no pattern is ever
put to a warehouse.

It is due when its pull request is closed, and otherwise once no run has used it for
``JOBSVC_CI_SCHEMA_TTL_DAYS``, which is all there is for pull requests that no git host tells us
of. Who drops schemas first claims their rows by a lease, and looks whether a run of the pull
request is going on or waits; while one does, nothing is dropped. A run that comes while a
warehouse is being asked ends the asking, and takes the claim away, so that what it builds anew
is never written down as dropped. A run needs longer to check its commit out than the asking needs
to end.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet
from django.utils.timezone import now

from ci.models import (
    CISchema,
    CISchemaState,
    NotedRun,
    PullRequest,
    PullRequestState,
)
from environments.models import Credentials, EnvironmentVariable, ExtendedAttributes
from environments.variables import TARGET_SCHEMA
from jobsvc import bell
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.patience import delay_before
from jobsvc.engine.plan import Backoff, RetryPlan
from jobsvc.engine.state import MANIFEST
from jobsvc.engine.warehouse import DROP_SCHEMAS, BrokenOff
from jobsvc.jobs.models import Job, JobType
from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.models import Run, RunQuerySet
from jobsvc.runs.plan import NoConnection, connection_of
from jobsvc.runs.warehouse import LONGEST_SECONDS, ask_warehouse
from jobsvc.statuses import FINISHED, UNFINISHED

logger = logging.getLogger(__name__)

DROP = "ci.tasks.drop_schemas"
LEASE = timedelta(seconds=LONGEST_SECONDS + 60)
LOOK_SECONDS = 2.0  # between two looks, while a warehouse is asked, whether a run has come
IN_USE = timedelta(minutes=1)  # until somebody looks again whether the run is over
UNNOTED = timedelta(days=7)  # runs that ended longer ago are not looked for any more
MOST_AT_ONCE = 200  # runs, or drops, that one sweep looks after
LARGEST_MANIFEST = 64 * 1024**2  # bytes
LONGEST_NAME = 255  # characters
# Waits of one minute, three, seven … six hours, and then every six hours.
PATIENCE = RetryPlan(delay_seconds=60, backoff=Backoff.EXPONENTIAL, max_delay_seconds=6 * 3600)
MOST_DOUBLED = 12  # beyond this the wait is the longest anyhow

OPEN_ROWS = (CISchemaState.KEPT, CISchemaState.DOOMED, CISchemaState.FAILED)
UP_TO_YOU = "What becomes of it is up to you."
OUR_FAULT = (
    "It could not be dropped because of a problem in this service. If that goes on, tell your "
    "administrator."
)

_KEYS = ("schema", "dataset")  # what profiles call it
_PLAIN = re.compile(r"[\w$@. -]+")  # as jobsvc.engine.inside.warehouse has it


# --- Writing down -------------------------------------------------------------------------------


def note_run(run: Run) -> None:
    """Write down which schemas ``run`` has to itself, and until when they are of use.

    Called when it moves; safe to repeat, late, and in any order. A run that never started has
    built nothing, and only keeps what is there for as long as it waits.
    """
    number, prefix = run.trigger.pull_request_id, run.configuration.get("schema_override")
    if number is None or not prefix or not run.job.is_ci:
        return
    over = run.is_finished and run.will_retry_at is None
    with transaction.atomic():
        Job.objects.select_for_update(no_key=True).get(pk=run.job_id)
        if NotedRun.objects.filter(run=run).exists():
            return  # an older word of it, or the same once more
        if run.dequeued_at is not None:
            _write_down(run, number, prefix)
        rows = CISchema.objects.filter(job=run.job_id, pull_request_number=number)
        if over:
            NotedRun.objects.create(run=run)
            if not _runs_in(run.account_id, prefix).exists():
                _let_go(rows)
                ring_for_due(now(), rows)
        elif not run.is_finished:
            _keep(rows)


def _write_down(run: Run, number: int, prefix: str) -> None:
    """One row for each schema that ``run`` may have built."""
    try:
        connection = connection_of(run)
    except NoConnection:
        return  # it has reached no warehouse
    named = {(str(database), str(schema)) for database, schema in run.built_schemas}
    if run.is_finished and not named:
        named = set(_named_by_manifest(run))
    own = {(place, name) for place, name in named if _is_within(name, prefix)}
    if not any(name.casefold() == prefix.casefold() for _place, name in own):
        own.add(("", prefix))
    for database, schema in sorted(own):
        if max(len(database), len(schema)) > LONGEST_NAME:
            continue  # no warehouse has such names
        row = _row_of(connection.pk, database, schema)
        if row is None:
            row = CISchema.objects.create(
                account_id=run.account_id,
                job_id=run.job_id,
                environment_id=run.environment_id,
                connection=connection,
                pull_request_number=number,
                is_native=run.trigger.github_pull_request_id is not None,
                prefix=prefix,
                database=database,
                schema=schema,
            )
        _claim_for(row, run, number, database)


def _row_of(connection_id: int, database: str, schema: str) -> CISchema | None:
    """The row of this schema; one without a database is of the same, in the profile's own."""
    rows = CISchema.objects.filter(connection=connection_id, schema=schema)
    exact = rows.filter(database=database).first()
    if exact is not None or not database:
        return exact or rows.order_by("pk").first()
    return rows.filter(database="").first()


def _claim_for(row: CISchema, run: Run, number: int, database: str) -> None:
    """Let ``row`` be of ``run``'s pull request, unless it is another's already."""
    row.database = row.database or database
    is_same = (row.job_id, row.pull_request_number) == (run.job_id, number)
    if is_same:
        row.environment_id, row.prefix = run.environment_id, run.configuration["schema_override"]
        row.last_run_id = max(run.pk, row.last_run_id or 0)
        row.is_native = row.is_native or run.trigger.github_pull_request_id is not None
    if row.state == CISchemaState.DROPPED:
        row.state, row.dropped_at, row.attempts, row.error = CISchemaState.KEPT, None, 0, ""
    shared = (
        f"Pull request {row.pull_request_number} of job {row.job_id} and pull request {number} "
        f"of job {run.job_id} both build in it. {UP_TO_YOU}"
    )
    refusal = refusal_of(row) if is_same else shared
    if row.state != CISchemaState.REFUSED and refusal:
        row.state, row.error = CISchemaState.REFUSED, refusal
        row.due_at = row.lease_until = None
    row.save()


def _keep(rows: QuerySet[CISchema]) -> None:
    """A run uses them, or will: whoever is about to drop them is not to."""
    rows.filter(state__in=OPEN_ROWS).update(
        state=CISchemaState.KEPT,
        due_at=None,
        lease_until=None,
        attempts=0,
        error="",
        updated_at=now(),
    )


def _let_go(rows: QuerySet[CISchema]) -> None:
    """The last run is over: they are of use while the pull request is open, and for a while."""
    at = now()
    open_rows = rows.filter(state__in=OPEN_ROWS)
    open_rows.filter(lease_until=None).update(
        state=CISchemaState.KEPT, due_at=_end_of_use(at), updated_at=at
    )
    _doom(open_rows.filter(_is_closed()), at)


def _end_of_use(moment: datetime) -> datetime | None:
    """When a schema that nobody uses from ``moment`` on is to be dropped; None for never."""
    days = settings.CI_SCHEMA_TTL_DAYS
    return moment + timedelta(days=days) if days > 0 else None


def _is_within(name: str, prefix: str) -> bool:
    """Whether a run of this prefix has the schema to itself. Case is as the warehouse folds it."""
    folded, own = name.casefold(), prefix.casefold()
    return folded == own or folded.startswith(f"{own}_")


def _named_by_manifest(run: Run) -> Iterable[tuple[str, str]]:
    """Where its manifest says it builds: for a run that died before it had written that down."""
    file = open_artifact(run, MANIFEST)
    if file is None:
        return
    with file:
        text = file.read(LARGEST_MANIFEST + 1)
    try:
        nodes = json.loads(text)["nodes"].values() if len(text) <= LARGEST_MANIFEST else ()
        yield from {(str(node.get("database") or ""), str(node["schema"])) for node in nodes}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return  # a job could write anything under that name


# --- Whose it is ---------------------------------------------------------------------------------


def refusal_of(row: CISchema) -> str:
    """Why this schema is never dropped; empty where it may be."""
    made_up = f"dbt_cloud_pr_{row.job_id}_{row.pull_request_number}"
    if row.prefix != made_up:
        return (
            f"Its run was told to build in {row.prefix}. Only {made_up} and what goes on from "
            f"that name are ever dropped. {UP_TO_YOU}"
        )
    if not _is_within(row.schema, row.prefix):
        return f"Its name does not go on from {row.prefix}. {UP_TO_YOU}"
    if not all(_PLAIN.fullmatch(name) for name in (row.database, row.schema) if name):
        return f"Its name has characters that are not put into SQL. {UP_TO_YOU}"
    for name in _named_in_settings(row.account_id):
        if _is_within(name, row.prefix) and _is_within(row.schema, name):
            return (
                f"Credentials or variables of this account name {name} as the schema to build "
                "in, so it is not the pull request's alone."
            )
    return ""


def _named_in_settings(account_id: int) -> set[str]:
    """Every schema that something other than a pull request builds in."""
    credentials = Credentials.objects.of_account(account_id).active()
    variables = EnvironmentVariable.objects.of_account(account_id).filter(name=TARGET_SCHEMA)
    attributes = ExtendedAttributes.objects.of_account(account_id).active()
    named = {row.default_schema for row in credentials} | {row.value for row in variables}
    named |= {str(row.extended_attributes.get(key, "")) for row in attributes for key in _KEYS}
    return named - {""}


# --- Letting go ----------------------------------------------------------------------------------


def doom_pull_request(pull_request: PullRequest) -> int:
    """It was closed: its schemas are due, as soon as no run uses them. Returns how many.

    Cancel its runs first; whatever they still build until they are gone is due as well.
    """
    rows = CISchema.objects.filter(
        is_native=True,
        pull_request_number=pull_request.number,
        job__project__repository=pull_request.repository_id,
        state__in=OPEN_ROWS,
    )
    with transaction.atomic():
        doomed = _doom(rows, now())
        ring_for_due(now(), rows)
    return doomed


def may_go(rows: Iterable[CISchema]) -> list[CISchema]:
    """Those of ``rows`` that somebody can have dropped: no run uses them, they are nobody else's.

    Of what a run uses only that run's end decides.
    """
    found = [row for row in rows if row.state in OPEN_ROWS]
    users = _users(found)
    return [row for row in found if (row.account_id, row.prefix) not in users]


def ask_to_drop(rows: Iterable[CISchema]) -> list[CISchema]:
    """Somebody wants ``rows`` gone: those that may go are due. Returns them."""
    going = may_go(rows)
    wanted = CISchema.objects.filter(pk__in=[row.pk for row in going], state__in=OPEN_ROWS)
    with transaction.atomic():
        _doom(wanted, now())
        ring_for_due(now(), wanted)
    return going


def of_no_use(rows: QuerySet[CISchema], moment: datetime) -> QuerySet[CISchema]:
    """Those of ``rows`` that are dropped by themselves, now or when it is tried again."""
    kept = Q(state=CISchemaState.KEPT)
    doomed = Q(state__in=(CISchemaState.DOOMED, CISchemaState.FAILED))
    return rows.filter(doomed | kept & (_is_closed() | Q(due_at__lte=moment) & ~_is_open()))


def why(row: CISchema) -> str:
    """Why a schema is still there, or is not, in a sentence."""
    return whys([row])[row.pk]


def whys(rows: Sequence[CISchema]) -> dict[int, str]:
    """``why`` of each, by id; in three queries, where the jobs' projects are read already."""
    users = _users(rows)
    pull_requests = PullRequest.objects.filter(
        repository__in={row.job.project.repository_id for row in rows},
        number__in={row.pull_request_number for row in rows},
        state=PullRequestState.OPEN,
    )
    opened = set(pull_requests.values_list("repository", "number"))
    return {
        row.pk: _why(
            row,
            run=users.get((row.account_id, row.prefix)),
            is_open=row.is_native
            and (row.job.project.repository_id, row.pull_request_number) in opened,
        )
        for row in rows
    }


def _users(rows: Sequence[CISchema]) -> dict[tuple[int, str], int]:
    """The first run that builds, or will, in the schemas of an account and a prefix."""
    runs = _going_on().filter(
        account__in={row.account_id for row in rows},
        configuration__schema_override__in=sorted({row.prefix for row in rows}),
    )
    found = runs.order_by("-pk").values_list("account", "configuration__schema_override", "pk")
    return {(account, prefix): run for account, prefix, run in found}


def _why(row: CISchema, *, run: int | None, is_open: bool) -> str:
    if row.state == CISchemaState.DROPPED:
        return f"It was dropped on {row.dropped_at:%Y-%m-%d at %H:%M} UTC."
    if row.state == CISchemaState.REFUSED:
        return row.error
    if run is not None:
        return f"Run {run} uses it. It is looked at again once that is over."
    if row.state == CISchemaState.FAILED:
        return f"It could not be dropped and is tried again. {row.error}"
    if row.state == CISchemaState.DOOMED:
        return "It is to be dropped."
    until = f" until {row.due_at:%Y-%m-%d at %H:%M} UTC" if row.due_at and not is_open else ""
    kept = "Its pull request is open." if is_open else f"It is kept{until}."
    return f"{kept} It is dropped once that is closed." if row.is_native else kept


def _doom(rows: QuerySet[CISchema], at: datetime) -> int:
    doomed = rows.exclude(state=CISchemaState.FAILED).update(
        state=CISchemaState.DOOMED, due_at=at, updated_at=at
    )
    return doomed + rows.filter(state=CISchemaState.FAILED).update(due_at=at, updated_at=at)


def _pull_requests() -> QuerySet[PullRequest]:
    return PullRequest.objects.filter(
        repository=OuterRef("job__project__repository"), number=OuterRef("pull_request_number")
    )


def _is_open() -> Q:
    return Q(Exists(_pull_requests().filter(state=PullRequestState.OPEN)), is_native=True)


def _is_closed() -> Q:
    return Q(Exists(_pull_requests().exclude(state=PullRequestState.OPEN)), is_native=True)


def _is_of(row: CISchema, state: PullRequestState) -> bool:
    pull_requests = PullRequest.objects.filter(
        repository=row.job.project.repository_id, number=row.pull_request_number, state=state
    )
    return row.is_native and pull_requests.exists()


def _runs_in(account_id: int, prefix: str) -> RunQuerySet:
    """Runs that build in the schema, or will."""
    return _going_on().of_account(account_id).filter(configuration__schema_override=prefix)


def _going_on() -> RunQuerySet:
    return Run.objects.filter(Q(status__in=UNFINISHED) | Q(will_retry_at__isnull=False))


# --- Dropping ------------------------------------------------------------------------------------


def sweep(moment: datetime) -> None:
    """Write down runs that nobody did, and drop what is due; forget what has long been dropped."""
    for run in _unnoted(moment):
        try:
            note_run(run)
        except Exception:
            logger.exception("the schemas of run %s could not be written down", run.pk)
    unused = CISchema.objects.filter(state=CISchemaState.KEPT, due_at__gt=moment)
    _doom(unused.filter(_is_closed()), moment)
    ring_for_due(moment, CISchema.objects.all())
    if settings.KEEP_DELIVERIES_DAYS > 0:
        end = moment - timedelta(days=settings.KEEP_DELIVERIES_DAYS)
        CISchema.objects.filter(state=CISchemaState.DROPPED, dropped_at__lt=end).delete()


def _unnoted(moment: datetime) -> list[Run]:
    runs = Run.objects.filter(
        status__in=FINISHED,
        finished_at__gt=moment - UNNOTED,
        will_retry_at=None,
        job__job_type=JobType.CI,
        noted=None,
    ).exclude(
        trigger__github_pull_request_id=None,
        trigger__gitlab_merge_request_id=None,
        trigger__azure_pull_request_id=None,
        trigger__non_native_pull_request_id=None,
    )
    return list(runs.select_related("job", "trigger").order_by("pk")[:MOST_AT_ONCE])


def ring_for_due(moment: datetime, rows: QuerySet[CISchema]) -> None:
    """Ring once for each pull request that has schemas to be dropped now."""
    due = rows.filter(_may_be_claimed(moment)).order_by()
    firsts = due.values("job", "pull_request_number", "connection", "environment").annotate(
        first=Min("pk")
    )
    for row_id in sorted(firsts.values_list("first", flat=True))[:MOST_AT_ONCE]:
        bell.ring(DROP, row_id)


def drop(row_id: int, moment: datetime) -> list[CISchema]:
    """Drop a schema and its pull request's others that are due, unless they are of use.

    Safe to call twice, late, or for what is gone. Returns the rows that this dealt with.
    """
    rows = _claim(row_id, moment)
    rows = [row for row in rows if not _is_held_back(row, moment)]
    if not rows:
        return []
    first = rows[0]
    try:
        answer = ask_warehouse(
            first.environment,
            first.connection,
            DROP_SCHEMAS,
            {"schemas": [[row.database, row.schema] for row in rows], "dry_run": False},
            schema=first.prefix,
            job_id=first.job_id,
            should_stop=_Looks(partial(_runs_in, first.account_id, first.prefix)),
        )
        ends = [(what, error) for _database, _schema, what, error in answer["schemas"]]
    except BrokenOff:
        _put_off(rows)
        return rows
    except RunFailure as failure:
        ends = [("failed", str(failure))] * len(rows)
    except Exception:
        logger.exception("schemas of pull request %s were not dropped", first.pull_request_number)
        ends = [("failed", OUR_FAULT)] * len(rows)
    for row, (what, error) in zip(rows, ends, strict=True):
        _write_end(row, error if what == "failed" else "")
    return rows


class _Looks:
    """Whether a run has come that needs the schemas; asked often, looked up now and then."""

    def __init__(self, runs: partial[RunQuerySet]) -> None:
        self._runs, self._next, self._has_come = runs, 0.0, False

    def __call__(self) -> bool:
        if not self._has_come and time.monotonic() >= self._next:
            self._has_come = self._runs().exists()
            self._next = time.monotonic() + LOOK_SECONDS
        return self._has_come


def _may_be_claimed(moment: datetime) -> Q:
    free = Q(lease_until=None) | Q(lease_until__lte=moment)
    return free & Q(due_at__lte=moment, state__in=OPEN_ROWS)


def _claim(row_id: int, moment: datetime) -> list[CISchema]:
    """The row and those that are dropped with it, each this caller's until its lease is over."""
    first = CISchema.objects.filter(_may_be_claimed(moment), pk=row_id).first()
    if first is None:
        return []
    together = CISchema.objects.filter(
        _may_be_claimed(moment),
        job=first.job_id,
        pull_request_number=first.pull_request_number,
        connection=first.connection_id,
        environment=first.environment_id,
    ).select_related("job__project", "environment__project", "connection")
    lease = moment + LEASE
    claimed = []
    for row in together.order_by("pk"):
        same = CISchema.objects.filter(pk=row.pk, lease_until=row.lease_until, due_at=row.due_at)
        if same.filter(_may_be_claimed(moment)).update(lease_until=lease):
            row.lease_until = lease
            claimed.append(row)
    return claimed


def _is_held_back(row: CISchema, moment: datetime) -> bool:
    """Whether a claimed schema stays for now, or for ever; then it is let go of."""
    if _runs_in(row.account_id, row.prefix).exists():
        _put_off([row])
        return True
    if row.state == CISchemaState.KEPT and _is_of(row, PullRequestState.OPEN):
        _held(row).update(due_at=_end_of_use(moment), lease_until=None)
        return True
    if refusal := refusal_of(row):
        _held(row).update(state=CISchemaState.REFUSED, error=refusal, due_at=None, lease_until=None)
        return True
    return False


def _put_off(rows: Sequence[CISchema]) -> None:
    """A run uses them: look again soon, should nobody tell when it is over."""
    for row in rows:
        _held(row).update(due_at=now() + IN_USE, lease_until=None, updated_at=now())


def _write_end(row: CISchema, error: str) -> None:
    """What became of a claimed schema, unless a run has taken it back meanwhile."""
    at = now()
    if not error:
        _held(row).update(
            state=CISchemaState.DROPPED,
            dropped_at=at,
            due_at=None,
            lease_until=None,
            error="",
            updated_at=at,
        )
        return
    wait = delay_before(PATIENCE, min(row.attempts + 1, MOST_DOUBLED), chance=lambda: 1)
    _held(row).update(
        state=CISchemaState.FAILED,
        attempts=F("attempts") + 1,
        error=error,
        due_at=at + timedelta(seconds=wait),
        lease_until=None,
        updated_at=at,
    )


def _held(row: CISchema) -> QuerySet[CISchema]:
    return CISchema.objects.filter(pk=row.pk, lease_until=row.lease_until)
