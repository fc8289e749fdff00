"""How things stand now: what a git host is to be told of a commit and of a pull request.

Asked anew each time something is posted, so that whichever task comes last tells what is true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q

from ci.comment import Told, check_summary, comment, marker_of
from ci.models import Check, Decision, RunSummary
from ci.providers.base import Annotation, CheckRun, CheckState, CommitState, Level
from ci.summary import Summary, summarised
from ci.words import LONGEST_DESCRIPTION, code, naming, number_of, plain
from environments.models import Repository
from jobsvc.engine.plan import FailureClass, StepKind
from jobsvc.engine.ports import SKIPPED
from jobsvc.jobs import extensions
from jobsvc.jobs.models import Job, JobType
from jobsvc.runs.looks import duration
from jobsvc.runs.models import Run, RunQuerySet, RunStep
from jobsvc.runs.pages import page_of_job, page_of_run
from jobsvc.statuses import UNFINISHED, CancelReason, CauseCategory, RunStatus

SHORTEST_SHA = 40  # digits; what is shorter names no commit for sure, and the host refuses it
SHOWN_SHA = 8

# Who cancelled is nobody's business on a page that the world may read.
CANCELLED = {
    CancelReason.USER: "cancelled",
    CancelReason.TIMEOUT: "timed out",
    CancelReason.SUPERSEDED: "superseded by a newer commit",
    CancelReason.OVER_SCHEDULED: "superseded by a newer run",
    CancelReason.CLOSED: "cancelled, for the pull request was closed",
    CancelReason.SKIPPED: "not started, for another run of the job was not over",
}
DECIDED = {
    Decision.NOTHING_RELEVANT: (CommitState.SUCCESS, "nothing relevant changed"),
    Decision.NEEDS_APPROVAL: (CommitState.PENDING, "waiting for an approval"),
    Decision.REFUSED: (CommitState.ERROR, "could not be started"),
}
SIGNS = {
    CommitState.PENDING: "🟡",
    CommitState.SUCCESS: "✅",
    CommitState.FAILURE: "❌",
    CommitState.ERROR: "⚠️",
}
CHECKED = {
    CommitState.SUCCESS: CheckState.SUCCESS,
    CommitState.FAILURE: CheckState.FAILURE,
    CommitState.ERROR: CheckState.CANCELLED,
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a job stands with a commit.

    Attributes:
        label: in our own words alone, to go on after the job's name.
        message: what else is known, in anybody's words.
        page: of ours, that says more.
        description: one line for a commit status; anybody's words, too.
    """

    state: CommitState
    label: str
    page: str
    message: str = ""
    details: str = ""

    @property
    def description(self) -> str:
        words = self.details or f"{self.label[0].upper()}{self.label[1:]}."
        return plain(words, LONGEST_DESCRIPTION)


# --- Which runs ----------------------------------------------------------------------------------


def told_of(run: str = "") -> Q:
    """The runs that a git host is told of: those of its pull requests, and of merges.

    Args:
        run: the way to the run from the rows that are filtered, such as ``run__``.
    """
    again = {f"{run}trigger__cause_category": CauseCategory.RERUN}
    return (
        Q(**{f"{run}trigger__github_pull_request_id__isnull": False})
        | Q(**{f"{run}trigger__cause_category": CauseCategory.MERGE})
        | Q(**again, **{f"{run}job__job_type": JobType.MERGE})
    )


def sha_of(run: Run) -> str:
    """The commit that ``run`` is of; empty while that is not known for sure."""
    sha = str(run.git_sha or run.configuration.get("git_sha") or "")
    return sha if len(sha) >= SHORTEST_SHA else ""


def newest_run(job: Job, sha: str) -> Run | None:
    """The run that speaks for ``job`` on the commit ``sha``."""
    unknown = Q(git_sha=None) | Q(git_sha="")
    of_commit = Q(git_sha=sha) | (unknown & Q(configuration__git_sha=sha))
    return _runs().filter(of_commit, job=job).first()


def _runs() -> RunQuerySet:
    related = ("job", "project", "trigger", "deferring_run")
    return Run.objects.filter(told_of()).select_related(*related).order_by("-pk")


def summary_of(run: Run) -> Summary | None:
    """What a run that is over came to; read from its files the first time, then kept."""
    if not run.is_finished:
        return None
    kept = RunSummary.objects.filter(run=run).values_list("content", flat=True).first()
    if kept is None:
        kept = summarised(run)
        RunSummary.objects.filter(run=run).update(content=kept)
    return Summary.kept(kept)


# --- A commit ------------------------------------------------------------------------------------


def status_of(job: Job, sha: str) -> Standing | None:
    """What the commit status of ``job`` on ``sha`` is to show; None where nothing is to be said."""
    run = newest_run(job, sha)
    if run is not None:
        return standing_of_run(run)
    decided = Check.objects.filter(job=job, head_sha=sha, decision__in=DECIDED)
    check = decided.order_by("-updated_at").first()
    return standing_of_check(check) if check else None


def standing_of_check(check: Check) -> Standing:
    """What follows from a decision that started no run."""
    state, label = DECIDED[Decision(check.decision)]
    refused = check.decision == Decision.REFUSED
    return Standing(
        state=state,
        label=label,
        page=page_of_job(check.job),
        message=check.why if refused else "",
        details=f"Could not be started: {check.why}" if refused else "",
    )


def standing_of_run(run: Run) -> Standing:
    page = page_of_run(run)
    if run.status == RunStatus.QUEUED:
        return Standing(state=CommitState.PENDING, label="waiting for its turn", page=page)
    if run.status in UNFINISHED:
        return Standing(state=CommitState.PENDING, label="running", page=page)
    if run.status == RunStatus.CANCELLED:
        label = CANCELLED[CancelReason(run.cancel_reason or CancelReason.USER)]
        return Standing(state=CommitState.ERROR, label=label, page=page)
    if run.status == RunStatus.SUCCESS:
        return _passed(run, page)
    if run.will_retry_at is not None:
        label = f"failed, tried again at {run.will_retry_at:%H:%M} UTC"
        return Standing(state=CommitState.PENDING, label=label, page=page)
    return _failed(run, page)


def _passed(run: Run, page: str) -> Standing:
    label = "passed with warnings" if run.has_warnings else "passed"
    if run.outcome == SKIPPED:
        label = "nothing to do"
    total = sum((summary_of(run) or Summary()).counts.values())
    details = f"{label.capitalize()}: {number_of(total, 'node')}." if total else ""
    return Standing(state=CommitState.SUCCESS, label=label, page=page, details=details)


def _failed(run: Run, page: str) -> Standing:
    """Told apart: whether the project is to blame, or what it runs on."""
    steps = RunStep.objects.filter(run=run, status=RunStatus.ERROR)
    at_work = steps.exclude(kind__in=[StepKind.CLONE, StepKind.PROFILE, StepKind.DEPS]).exists()
    is_the_projects = run.failure_class == FailureClass.DBT_ERROR or (
        not run.failure_class and at_work
    )
    summary = summary_of(run) or Summary()
    details = run.status_message.partition("\n")[0]
    if summary.failed:
        start = f"{number_of(summary.failed_count, 'node')} failed"
        details = naming(start, [node.name for node in summary.failed])
    return Standing(
        state=CommitState.FAILURE if is_the_projects else CommitState.ERROR,
        label="failed" if is_the_projects else "could not be carried out",
        page=page,
        message="" if summary.failed else run.status_message,
        details=details,
    )


# --- A check run ---------------------------------------------------------------------------------


def check_run_of(job: Job, sha: str, name: str) -> CheckRun | None:
    """What is to stand in the check run of ``job`` on ``sha``; None before a run of it is over."""
    run = newest_run(job, sha)
    if run is None or not run.is_finished:
        return None
    standing = standing_of_run(run)
    if standing.state not in CHECKED:
        return None
    state = CHECKED[standing.state]
    if run.cancel_reason == CancelReason.TIMEOUT:
        state = CheckState.TIMED_OUT
    elif run.status == RunStatus.ERROR:
        state = CheckState.FAILURE
    return CheckRun(
        name=name,
        sha=sha,
        state=state,
        url=standing.page,
        title=standing.description,
        summary=check_summary(_told(run, standing)),
        annotations=tuple(_annotations(run, summary_of(run) or Summary())),
    )


def _annotations(run: Run, summary: Summary) -> Iterator[Annotation]:
    folder = (run.project.dbt_project_subdirectory or "").strip("/")
    for node in summary.failed:
        if node.path:
            yield Annotation(
                path=f"{folder}/{node.path}" if folder else node.path,
                start_line=1,
                end_line=1,
                level=Level.FAILURE,
                title=plain(f"{node.name}: {node.status}"),
                message=node.message,
            )
    for finding in summary.findings or ():
        if finding.path:
            yield Annotation(
                path=finding.path,
                start_line=finding.line,
                end_line=finding.line,
                level=Level.WARNING,
                title=plain(f"SQLFluff {finding.code}"),
                message=finding.description,
            )


# --- A pull request ------------------------------------------------------------------------------


def comment_of(repository: Repository, number: int, *, is_there: bool) -> str | None:
    """The comment of a pull request; None where there is nothing to be said in one.

    It begins once a run has come to an end of its own: people are mailed what a comment says
    first, and that is to be worth it. From then on it is kept up to date.

    Args:
        is_there: whether it has begun.
    """
    told: list[tuple[Standing, Told]] = []
    for job in _jobs_that_comment(repository):
        run = _runs().filter(job=job, trigger__github_pull_request_id=number).first()
        check = _newer_check(repository, job, number, run)
        if check is not None:
            standing = standing_of_check(check)
            told.append((standing, _told_of_check(check, standing)))
        elif run is not None:
            standing = standing_of_run(run)
            told.append((standing, _told(run, standing)))
            is_there |= run.status in {RunStatus.SUCCESS, RunStatus.ERROR}
    if not told or not is_there:
        return None
    states = [standing.state for standing, _job in told]
    return comment(
        marker_of(repository, number), _heading(states), [of_job for _standing, of_job in told]
    )


def is_to_be_summed_up(repository: Repository, number: int) -> bool:
    """Whether a run that its comment tells of is over and not read from its files yet.

    That takes long: it is left to whoever posts the comment, and nobody waits for it.
    """
    newest = [
        _runs().filter(job=job, trigger__github_pull_request_id=number).first()
        for job in _jobs_that_comment(repository)
    ]
    over = {run.pk for run in newest if run is not None and run.is_finished}
    return RunSummary.objects.filter(run__in=over, content__isnull=False).count() < len(over)


def _jobs_that_comment(repository: Repository) -> list[Job]:
    jobs = Job.objects.active().filter(
        account=repository.account_id, project__repository=repository, job_type=JobType.CI
    )
    return [
        job
        for job in jobs.select_related("project").order_by("name", "pk")
        if extensions.read(job.extensions).ci.comment
    ]


def _newer_check(repository: Repository, job: Job, number: int, run: Run | None) -> Check | None:
    """What was decided of the newest commit, where that started no run and came after ``run``."""
    checks = Check.objects.filter(
        job=job, pull_request__repository=repository, pull_request__number=number
    )
    check = checks.select_related("job").order_by("-updated_at").first()
    if check is None or check.decision not in DECIDED:
        return None
    return check if run is None or run.created_at < check.updated_at else None


def _heading(states: list[CommitState]) -> str:
    bad = sum(state in {CommitState.FAILURE, CommitState.ERROR} for state in states)
    open_ones = states.count(CommitState.PENDING)
    if bad:
        return f"dbt: {bad} of {number_of(len(states), 'job')} did not pass"
    if open_ones:
        return f"dbt: {open_ones} of {number_of(len(states), 'job')} not over yet"
    return f"dbt: {number_of(len(states), 'job')} passed"


def _told(run: Run, standing: Standing) -> Told:
    facts = []
    if sha := sha_of(run):
        facts.append(f"commit {code(sha[:SHOWN_SHA])}")
    if run.finished_at and run.started_at:
        facts.append(duration(run.finished_at - run.started_at))
    if run.dbt_version:
        facts.append(f"dbt {code(run.dbt_version, 60)}")
    if schema := run.configuration.get("schema_override"):
        facts.append(f"schema {code(schema)}")
    return Told(
        job=run.job.name,
        sign=SIGNS[standing.state],
        state=standing.label,
        message=standing.message,
        link=standing.page,
        link_text=f"Run {run.pk}",
        facts=facts,
        summary=summary_of(run),
    )


def _told_of_check(check: Check, standing: Standing) -> Told:
    return Told(
        job=check.job.name,
        sign=SIGNS[standing.state],
        state=standing.label,
        message=standing.message,
        link=standing.page,
        link_text="The job",
        facts=[f"commit {code(check.head_sha[:SHOWN_SHA])}"],
    )
