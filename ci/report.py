"""Telling a git host how things stand: rows that say what is due, and posting what is true then.

A run's move marks its reports as due and no more; nothing that happens here delays a run or fails
it. Whoever posts a report first claims it by moving ``due_at`` to when it would be given up for
lost. Then it asks the database what is true, posts that unless it was posted already, and takes
``due_at`` away, unless the report was touched meanwhile. So two workers never post the same report
at once, one that was only asleep has its older words overwritten, and what a broker or a worker
loses is found again by ``sweep``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, DateTimeField, Exists, F, OuterRef, Q, Value, When
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils.timezone import now

from ci.access import NoAccess, access_to, full_name_of, installation_of
from ci.comment import marker_of
from ci.models import Check, Report, ReportKind, RunSummary, StatusContext
from ci.providers.base import (
    Access,
    GitProvider,
    ProviderRefused,
    ProviderUnavailable,
    provider_for,
)
from ci.providers.github import is_app_set_up
from ci.truth import DECIDED, check_run_of, comment_of, sha_of, status_of, told_of
from ci.words import LONGEST_NAME, plain
from environments.models import Project, Repository
from jobsvc import bell
from jobsvc.engine.patience import delay_before
from jobsvc.engine.plan import Backoff, Jitter, RetryPlan
from jobsvc.jobs import extensions
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run, RunTransition
from jobsvc.statuses import FINISHED, CauseCategory, State

logger = logging.getLogger(__name__)

POST = "ci.tasks.post_report"
HOST = "github"  # the one that is told of runs
CLAIM = timedelta(minutes=2)  # longer than the requests of one report take, as a rule
MOST_AT_ONCE = 200  # runs that one sweep marks, and reports that it rings for
UNTOLD = timedelta(hours=24)  # moves that are older are told to nobody any more
# Waits of ten seconds, thirty … ten minutes: together a day.
PATIENCE = RetryPlan(
    max_retries=145,
    delay_seconds=10,
    backoff=Backoff.EXPONENTIAL,
    max_delay_seconds=600,
    jitter=Jitter.NONE,
)
JITTER = 0.2  # of a wait, at most, is added by chance
OUR_FAULT = (
    "It could not be posted because of a problem in this service. If that goes on, tell your "
    "administrator."
)


class NothingToReport(Exception):
    """No git host is told of the run: ``str(error)`` says why."""


# --- What is due ---------------------------------------------------------------------------------


def touch_run(run: Run) -> None:
    """There is news of ``run``: mark what is told of it as due."""
    if not Run.objects.filter(told_of(), pk=run.pk).exists():
        return
    with transaction.atomic():
        moves = RunTransition.objects.filter(run=run).order_by("-pk")
        newest = moves.values_list("pk", flat=True).first() or 0
        RunSummary.objects.get_or_create(run=run)
        RunSummary.objects.filter(run=run).update(transition=newest, touched_at=Now())
        for kind, about in _about_run(run):
            _touch(run.project.repository, kind, **about)


def touch_check(check: Check) -> None:
    """A commit of a pull request was decided on: tell its job's status, and the comment's readers.

    A decision that started a run is told by the run; one that nobody is told of leaves all as
    it is.
    """
    if check.decision not in DECIDED:
        return
    pull_request = check.pull_request
    repository = pull_request.repository
    if not full_name_of(repository.remote_url):
        return
    with transaction.atomic():
        _touch(repository, ReportKind.STATUS, job=check.job, sha=check.head_sha)
        if _of_comment(repository.pk, pull_request.number).exists():
            _touch(repository, ReportKind.COMMENT, number=pull_request.number)


def report_again(run: Run) -> list[Report]:
    """Post what is true of ``run`` once more, though it was posted, or given up, before.

    Raises:
        NothingToReport
    """
    with transaction.atomic():
        touch_run(run)
        due = [report.pk for report in reports_of([run]).get(run.pk, ())]
        Report.objects.filter(pk__in=due).update(posted="", attempts=0, error="", due_at=Now())
    if not due:
        raise NothingToReport(
            "This run is told to no git host. Only runs of a GitHub pull request, or of a merge "
            "into a branch there, are."
        )
    return list(Report.objects.filter(pk__in=due).order_by("pk"))


def reports_of(runs: Sequence[Run]) -> dict[int, list[Report]]:
    """What is told of each of ``runs``, by id; the comment is of its whole pull request."""
    about = [run for run in runs if _may_be_told_of(run)]
    if not about:
        return {}
    places = _repositories(about)
    commits = Q(
        job__in={run.job_id for run in about}, sha__in={sha_of(run) for run in about} - {""}
    )
    comments = Q(
        repository__in={place for place in places.values() if place},
        number__in={run.trigger.github_pull_request_id for run in about} - {None},
    )
    told: dict[tuple[int | None, object], list[Report]] = {}
    for report in Report.objects.filter(commits | comments).order_by("pk"):
        of_comment = (report.repository_id, report.number)
        key = of_comment if report.number is not None else (report.job_id, report.sha)
        told.setdefault(key, []).append(report)
    return {
        run.pk: [
            *told.get((run.job_id, sha_of(run)), ()),
            *told.get((places[run.project_id], run.trigger.github_pull_request_id), ()),
        ]
        for run in about
    }


def _repositories(runs: Sequence[Run]) -> dict[int, int | None]:
    """The repository of each run's project, by the project's id; none is asked for twice."""
    read = Run._meta.get_field("project").is_cached
    known = {run.project_id: run.project.repository_id for run in runs if read(run)}
    missing = {run.project_id for run in runs} - known.keys()
    if missing:
        known |= dict(Project.objects.filter(pk__in=missing).values_list("pk", "repository"))
    return known


def _may_be_told_of(run: Run) -> bool:
    """``told_of``, as far as it can be said without a query."""
    causes = {CauseCategory.MERGE, CauseCategory.RERUN}
    return run.trigger.github_pull_request_id is not None or run.trigger.cause_category in causes


def _about_run(run: Run) -> list[tuple[ReportKind, dict[str, Any]]]:
    """What is to be told of ``run``: each a kind of report, and what that is about."""
    repository = run.project.repository
    if repository is None or not full_name_of(repository.remote_url):
        return []
    told: list[tuple[ReportKind, dict[str, Any]]] = []
    if sha := sha_of(run):
        told.append((ReportKind.STATUS, {"job": run.job, "sha": sha}))
        if is_app_set_up() and installation_of(repository) is not None:
            told.append((ReportKind.CHECK_RUN, {"job": run.job, "sha": sha}))
    number = run.trigger.github_pull_request_id
    if number and run.job.is_ci and extensions.read(run.job.extensions).ci.comment:
        told.append((ReportKind.COMMENT, {"number": number}))
    return told


def _of_comment(repository_id: int, number: int) -> Any:
    return Report.objects.filter(repository=repository_id, kind=ReportKind.COMMENT, number=number)


def _touch(repository: Repository | None, kind: ReportKind, **about: Any) -> None:
    report, _made = Report.objects.get_or_create(repository=repository, kind=kind, **about)
    rows = Report.objects.filter(pk=report.pk)
    rows.update(touched=F("touched") + 1, updated_at=Now())
    # One that waits for its next try goes on waiting: then it will tell this, too.
    rows.filter(due_at=None).update(due_at=Now(), attempts=0)
    bell.ring(POST, report.pk)


# --- Posting -------------------------------------------------------------------------------------


def post(report_id: int) -> None:
    """Post a report that is due, if nobody else does."""
    report = _claim(report_id)
    if report is None:
        return
    if report.attempts > PATIENCE.max_retries + 1:
        _settle(report, error=OUR_FAULT)  # whoever posts it does not live to say why
        return
    try:
        _tell(report)
    except ProviderUnavailable as error:
        _put_off(report, str(error), error.retry_after)
    except (NoAccess, ProviderRefused) as refused:
        _settle(report, error=str(refused))
    except Exception:
        logger.exception("report %s met a bug", report.pk)
        _try_later(report, OUR_FAULT)
    else:
        _settle(report, error="")


def sweep() -> None:
    """Mark and ring again for what was lost, and for what is to be tried once more."""
    for run in Run.objects.filter(pk__in=_untold()).order_by("pk"):
        try:
            touch_run(run)
        except Exception:
            logger.exception("nobody could be told of run %s", run.pk)
    # One that always fails puts the others off: it comes after those that never did.
    due = Report.objects.filter(due_at__lte=Now()).order_by("attempts", "due_at")
    for report_id in list(due.values_list("pk", flat=True)[:MOST_AT_ONCE]):
        bell.publish(POST, report_id)


def prune(moment: datetime) -> int:
    """Forget reports that nothing was new about for as long as runs are kept; how many."""
    if settings.KEEP_RUNS_DAYS <= 0:
        return 0
    end = moment - timedelta(days=settings.KEEP_RUNS_DAYS)
    return Report.objects.filter(updated_at__lt=end, due_at=None).delete()[0]


def _untold() -> list[int]:
    """Runs whose newest moves, or what was written of them since their end, marked nothing.

    Asked from the newest moves on, by their age: the runs of all time are many more.
    """
    known = RunSummary.objects.filter(run=OuterRef("run"), transition__gte=OuterRef("pk"))
    written_since = Q(run__status__in=FINISHED, run__summary__touched_at__lt=F("run__updated_at"))
    moves = RunTransition.objects.filter(
        told_of("run__"), ~Exists(known) | written_since, created_at__gte=now() - UNTOLD
    )
    runs = moves.order_by("run").values_list("run", flat=True).distinct()
    return list(runs[:MOST_AT_ONCE])


def _claim(report_id: int) -> Report | None:
    """The report, if it is due and this call was first; while it is posted it is not due."""
    claimed = Report.objects.filter(pk=report_id, due_at__lte=Now()).update(
        due_at=Now() + CLAIM, attempts=F("attempts") + 1
    )
    if not claimed:
        return None
    return Report.objects.select_related("repository", "job__project").get(pk=report_id)


def _settle(report: Report, *, error: str) -> None:
    """The report was posted, or nobody will take it: it is not due, unless it was touched since."""
    posted = {"posted": report.posted, "posted_at": report.posted_at} if not error else {}
    settled = Report.objects.filter(pk=report.pk, attempts=report.attempts).update(
        **posted,
        due_at=Case(
            When(touched=report.touched, then=Value(None)),
            default=Now(),
            output_field=DateTimeField(),
        ),
        attempts=0,
        error=error,
        updated_at=Now(),
    )
    if not settled:
        # This call took so long that another one posted meanwhile; whose words are seen now?
        Report.objects.filter(pk=report.pk).update(posted="", due_at=Now())
    if Report.objects.filter(pk=report.pk, due_at__lte=Now()).exists():
        bell.publish(POST, report.pk)


def _put_off(report: Report, error: str, retry_after: float | None) -> None:
    """The host does not answer: what else would ask the same of it waits, too."""
    until = _try_later(report, error, retry_after or 0)
    others = Report.objects.filter(repository=report.repository_id, due_at__lt=until)
    if retry_after is None:
        others = others.filter(kind=report.kind)
    others.exclude(pk=report.pk).update(due_at=until)


def _try_later(report: Report, error: str, seconds: float = 0) -> CombinedExpression:
    """Try again, after ``seconds`` or later, for a day at most. Returns from when on."""
    wait = delay_before(PATIENCE, report.attempts, chance=random.random)
    wait *= 1 + JITTER * random.random()  # noqa: S311 - spreads requests, hides nothing
    until = Now() + timedelta(seconds=max(wait, seconds))
    is_last = report.attempts > PATIENCE.max_retries
    Report.objects.filter(pk=report.pk, attempts=report.attempts).update(
        due_at=None if is_last else until, error=error, updated_at=Now()
    )
    return until


# --- To the host ---------------------------------------------------------------------------------


def _tell(report: Report) -> None:
    """Post what is true of ``report`` now, unless that stands there already.

    Raises:
        NoAccess, ProviderUnavailable, ProviderRefused
    """
    tell = {
        ReportKind.STATUS: _tell_status,
        ReportKind.CHECK_RUN: _tell_check_run,
        ReportKind.COMMENT: _tell_comment,
    }
    tell[ReportKind(report.kind)](report)


def _tell_status(report: Report) -> None:
    standing = status_of(_job_of(report), report.sha)
    if standing is None:
        return
    said = {
        "context": _context(report),
        "description": standing.description,
        "target_url": standing.page,
    }
    if digest := _news(report, standing.state, said):
        host, access = _host_of(report)
        host.set_commit_status(access, report.sha, standing.state, **said)
        _was_posted(report, digest)


def _tell_check_run(report: Report) -> None:
    check = check_run_of(_job_of(report), report.sha, name=f"{_context(report)} results")
    if check is None:
        return
    if digest := _news(report, asdict(check)):
        host, access = _host_of(report)
        if not access.is_app:
            return
        # A new one for what is new: the host would add its annotations to the old one's.
        report.external_id = host.create_check_run(access, check)
        if check.annotations:
            host.update_check_run(access, report.external_id, check)
        _keep_id(report)
        _was_posted(report, digest)


def _tell_comment(report: Report) -> None:
    if report.number is None:
        raise TypeError("a comment is of a pull request")
    is_there = report.external_id is not None
    body = comment_of(report.repository, report.number, is_there=is_there)
    if body is None:
        return
    if digest := _news(report, body):
        host, access = _host_of(report)
        if not _update_comment(host, access, report, body):
            report.external_id = host.create_comment(access, report.number, body)
            _keep_id(report)
        _was_posted(report, digest)


def _update_comment(host: GitProvider, access: Access, report: Report, body: str) -> bool:
    """Put ``body`` into the comment that is there; False where none is, or not any more."""
    if report.number is None:
        raise TypeError("a comment is of a pull request")
    if report.external_id is None:
        # It may have been made by a worker that did not live to say so.
        marker = marker_of(report.repository, report.number)
        report.external_id = host.find_comment(access, report.number, marker)
        if report.external_id is None:
            return False
        _keep_id(report)
    try:
        host.update_comment(access, report.external_id, body)
    except ProviderRefused as refused:
        if refused.is_missing:
            return False
        raise
    return True


def _host_of(report: Report) -> tuple[GitProvider, Access]:
    return provider_for(HOST), access_to(report.repository)


def _job_of(report: Report) -> Job:
    if report.job is None:
        raise TypeError(f"a {report.kind} is of a job")
    return report.job


def _news(report: Report, *said: Any) -> str:
    """The digest of ``said``; empty if that is what was posted last."""
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return "" if digest == report.posted else digest


def _was_posted(report: Report, digest: str) -> None:
    report.posted, report.posted_at = digest, now()


def _keep_id(report: Report) -> None:
    Report.objects.filter(pk=report.pk).update(external_id=report.external_id)


# --- Names ---------------------------------------------------------------------------------------


def _context(report: Report) -> str:
    """The name of the commit statuses of a job: its own, and for good, once it has been given.

    Of two jobs of the same name the later one's has its number, too; what a deleted job had is
    free again, for those who make their jobs anew.
    """
    job, repository = _job_of(report), full_name_of(report.repository.remote_url) or ""
    given = StatusContext.objects.filter(job=job, repository_name=repository.lower()).first()
    if given is not None:
        return given.context
    name = plain(f"dbt/{job.project.name}/{job.name}", LONGEST_NAME)
    names = StatusContext.objects.filter(repository_name=repository.lower(), context=name)
    names.filter(job__state=State.DELETED).delete()
    for context in (name, f"{name} ({job.pk})"):
        try:
            with transaction.atomic():
                row, _made = StatusContext.objects.get_or_create(
                    job=job, repository_name=repository.lower(), defaults={"context": context}
                )
        except IntegrityError:
            continue  # another job's
        return row.context
    raise RuntimeError(f"no name is left for the statuses of job {job.pk}")
