"""What follows from what a git host tells of a pull request: which jobs build it, and why not.

An event is first written down, unless what is known is newer; then each job is decided on its
own, under the pull request's lock, so that neither an older commit nor a closed pull request
starts a run after all. Every decision is kept as a ``Check`` and said in a sentence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from accounts.models import Token, User
from ci import filters, merges
from ci.changes import Changes
from ci.models import Check, Decision, PullRequest, PullRequestState
from ci.providers.base import Action, ProviderUnavailable, PullRequestEvent, PullRequestFacts
from ci.report import touch_check
from ci.schemas import doom_pull_request
from environments.models import Repository
from jobsvc.jobs.extensions import CI
from jobsvc.jobs.models import Job, JobQuerySet, JobType
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import Run, RunQuerySet
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import UNFINISHED, CancelReason, CauseCategory, State

logger = logging.getLogger(__name__)

GAVE_WAY = {CancelReason.SUPERSEDED, CancelReason.CLOSED}
NOTHING_RELEVANT = "It changes no file that concerns the job."
MOST_REPLACED = 50  # heads remembered that gave way within one second


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Why it is decided anew which jobs build a pull request.

    Attributes:
        action: the host's word; empty where a person asks.
        at: when that happened, by the host's clock; None where a person asks.
        reopened: it was closed until now.
        again: build the commit once more, whatever the job's filters say.
    """

    action: str = ""
    at: datetime | None = None
    reopened: bool = False
    again: bool = False
    user: User | None = None
    api_token: Token | None = None


@dataclass(frozen=True)
class Known:
    """A pull request as it is known once an event of it was written down.

    Attributes:
        was_open: until now, or nothing was known of it.
        is_late: what was known before is newer than what the event tells.
    """

    row: PullRequest
    was_open: bool = True
    is_late: bool = False

    @property
    def is_open(self) -> bool:
        return self.row.state == PullRequestState.OPEN


@dataclass(frozen=True)
class Ruling:
    """What is to become of a commit, for one job, and why.

    Attributes:
        is_last_word: it counts also where something was decided of the commit before.
    """

    decision: Decision
    why: str = ""
    is_last_word: bool = True


def take_event(event: PullRequestEvent, repository: Repository) -> list[str]:
    """Do what ``event`` asks for in ``repository``; what that was, in sentences.

    Safe to be done twice, and in any order with other events of the pull request.

    Raises:
        ProviderUnavailable: the host did not answer; what did not need it was done.
    """
    known = remember(event, repository)
    pull_request = known.row
    if not known.is_open and (event.action == Action.CLOSED or known.was_open):
        # Its closing may come later than what else happened to it since, or never.
        return [*close(pull_request), *merges.take_merged(pull_request)]
    if known.is_late and not _is_of_newest(event, pull_request):
        return ["It is older than what is known of the pull request, so nothing follows."]
    match event.action:
        case Action.CONVERTED_TO_DRAFT:
            return [
                "It is a draft now. Runs that are going on go on; new commits are built by jobs "
                "that build drafts."
            ]
        case Action.EDITED if not event.base_before:
            return ["Its base branch was not changed, so nothing follows."]
        case Action.UNLABELED:
            return ["A label was taken off it, so nothing follows."]
        case _:
            return decide(
                pull_request,
                Asking(
                    action=event.action,
                    at=event.pull_request.changed_at,
                    reopened=known.is_open and not known.was_open,
                ),
            )


# --- What is known of it -------------------------------------------------------------------


def remember(event: PullRequestEvent, repository: Repository) -> Known:
    """Write down what ``event`` tells, unless something newer is known."""
    facts = event.pull_request
    told = {
        "title": facts.title,
        "author": facts.author,
        "url": facts.url,
        "head_ref": facts.head_ref,
        "head_sha": facts.head_sha,
        "head_repository": facts.head_repository,
        "base_ref": facts.base_ref,
        "default_branch": facts.default_branch,
        "merge_commit_sha": facts.merge_sha,
        "is_fork": facts.is_fork,
        "is_draft": facts.is_draft,
        "labels": list(facts.labels),
        "state": state_of(facts),
        "changed_at": facts.changed_at,
    }
    with transaction.atomic():
        row, is_new = PullRequest.objects.select_for_update(no_key=True).get_or_create(
            repository=repository,
            number=facts.number,
            defaults={**told, "replaced_shas": _given_way(event, "")},
        )
        if is_new:
            return Known(row)
        was_open = row.state == PullRequestState.OPEN
        if is_outdated(event, row):
            return Known(row, was_open, is_late=True)
        replaced = row.replaced_shas if facts.changed_at == row.changed_at else []
        new = [sha for sha in _given_way(event, row.head_sha) if sha not in replaced]
        row.replaced_shas = [*replaced, *new][-MOST_REPLACED:]
        for name, value in told.items():
            setattr(row, name, value)
        row.save()
    return Known(row, was_open)


def is_outdated(event: PullRequestEvent, row: PullRequest) -> bool:
    """Whether ``row`` is what came after ``event``.

    The host's clock has whole seconds. Within one, a head that is known to have given way to
    another is the older, and so is one that came right after such a head; and what is closed
    was open before, unless it is said to be reopened.
    """
    facts = event.pull_request
    if facts.changed_at != row.changed_at:
        return facts.changed_at < row.changed_at
    if row.state != PullRequestState.OPEN and facts.is_open and event.action != Action.REOPENED:
        return True
    if row.head_sha in {facts.head_sha, event.head_before}:
        return False
    return facts.head_sha in row.replaced_shas or event.head_before in row.replaced_shas


def _is_of_newest(event: PullRequestEvent, row: PullRequest) -> bool:
    """Whether something happened to the commit that is the newest still, and may not have been
    looked at: another event, of a label say, was only quicker."""
    facts = event.pull_request
    is_open = row.state == PullRequestState.OPEN and facts.is_open
    return is_open and facts.head_sha == row.head_sha


def _given_way(event: PullRequestEvent, known_head: str) -> list[str]:
    """The heads that gave way to the one that ``event`` tells of."""
    return sorted({event.head_before, known_head} - {"", event.pull_request.head_sha})


def state_of(facts: PullRequestFacts) -> PullRequestState:
    if facts.is_open:
        return PullRequestState.OPEN
    return PullRequestState.MERGED if facts.is_merged else PullRequestState.CLOSED


# --- Its end -------------------------------------------------------------------------------


def close(pull_request: PullRequest) -> list[str]:
    """Cancel what is still building it, and let go of what was built."""
    said = []
    for run in unfinished_runs(pull_request):
        cancel_run(
            run,
            by=f"pull request #{pull_request.number}, which was closed",
            reason=CancelReason.CLOSED,
        )
        said.append(f"Cancelled run {run.pk} of job {run.job.name}.")
    if doomed := doom_pull_request(pull_request):
        said.append(f"{doomed} {'schema is' if doomed == 1 else 'schemas are'} to be dropped.")
    return said or ["It was closed; no run was building it."]


def unfinished_runs(pull_request: PullRequest) -> RunQuerySet:
    """Runs of the pull request that go on, wait, or are to be retried by themselves."""
    return (
        Run.objects.of_account(pull_request.repository.account_id)
        .filter(
            Q(status__in=UNFINISHED) | Q(will_retry_at__isnull=False),
            project__repository=pull_request.repository,
            job__job_type=JobType.CI,
            trigger__github_pull_request_id=pull_request.number,
        )
        .select_related("job")
        .order_by("pk")
    )


# --- What people ask for -------------------------------------------------------------------


class NotBuilt(Exception):
    """It cannot be approved, or built again, as it is. ``str(error)`` says why."""


def approve(
    pull_request: PullRequest,
    sha: str,
    *,
    by: str,
    user: User | None = None,
    api_token: Token | None = None,
) -> list[str]:
    """Let this very commit of a fork's pull request be built; what follows, in sentences.

    Args:
        by: who has read it, for people.

    Raises:
        NotBuilt: it is closed, is of no fork, or has another newest commit.
        ProviderUnavailable: it is approved, but the host did not answer.
    """
    _refuse_where_closed(pull_request)
    if not pull_request.is_fork:
        raise NotBuilt("It comes from no fork, so it needs no approval.")
    # Asked of the row as it is now: a push that came meanwhile is not what was read.
    approved = PullRequest.objects.filter(pk=pull_request.pk, head_sha=sha).update(
        approved_sha=sha, approved_by=by[:255]
    )
    if not approved:
        raise NotBuilt(
            f"Its newest commit is {pull_request.head_sha}, not {sha}. Read that, and approve it."
        )
    pull_request.refresh_from_db()
    return decide(pull_request, Asking(user=user, api_token=api_token))


def rerun(
    pull_request: PullRequest,
    jobs: Iterable[Job] | None = None,
    *,
    user: User | None = None,
    api_token: Token | None = None,
) -> list[str]:
    """Build the newest commit once more, by each of ``jobs`` or all; what follows, in sentences.

    Whatever the jobs' filters say; only the base branch and a fork's approval still count.

    Raises:
        NotBuilt: it is closed.
    """
    _refuse_where_closed(pull_request)
    return decide(pull_request, Asking(again=True, user=user, api_token=api_token), jobs)


def _refuse_where_closed(pull_request: PullRequest) -> None:
    if pull_request.state != PullRequestState.OPEN:
        raise NotBuilt("It is closed. Reopen it to have it built.")


# --- Which jobs build it -------------------------------------------------------------------


def jobs_of(repository: Repository) -> JobQuerySet:
    """The jobs that are told of pull requests of ``repository``."""
    return (
        Job.objects.active()
        .filter(
            Q(triggers_github_webhook=True) | Q(triggers_git_provider_webhook=True),
            job_type=JobType.CI,
            project__repository=repository,
            project__state=State.ACTIVE,
        )
        .select_related("account", "project", "environment")
        .order_by("pk")
    )


def decide(
    pull_request: PullRequest, asking: Asking, jobs: Iterable[Job] | None = None
) -> list[str]:
    """Decide for each job whether it builds the pull request's head; a sentence for each.

    A job that cannot be decided keeps no other from being decided.

    Raises:
        ProviderUnavailable: the host did not answer, which some job needs.
    """
    changes = Changes(pull_request)
    said: list[str] = []
    broken: list[Exception] = []
    for job in jobs_of(pull_request.repository) if jobs is None else jobs:
        try:
            said.append(_decide_one(job, pull_request, asking, changes))
        except Exception as error:
            if not isinstance(error, ProviderUnavailable):
                logger.exception("job %s could not be decided of %s", job.pk, pull_request)
            broken.append(error)
    if broken:
        raise broken[0]
    return said or [
        "No job of a project with this repository is started by pull requests. Turn "
        "triggers.github_webhook of a CI job on."
    ]


def _decide_one(job: Job, pull_request: PullRequest, asking: Asking, changes: Changes) -> str:
    try:
        ruling = rule(job, job.extended.ci, pull_request, asking, changes)
    except ValidationError as refused:
        ruling = Ruling(Decision.REFUSED, " ".join(refused.messages))
    return _keep(job, pull_request, ruling, asking)


def rule(
    job: Job, asked: CI, pull_request: PullRequest, asking: Asking, changes: Changes
) -> Ruling:
    """What the job's settings say of the pull request's head, the host being asked last.

    Raises:
        ProviderUnavailable
    """
    if asking.action and asking.action not in asked.actions:
        why = f"The job is not started by {asking.action}."
        return Ruling(Decision.PASSED_OVER, why, is_last_word=False)
    refusals: list[Callable[[], str | None]] = [
        lambda: filters.wrong_base(job, pull_request.base_ref, pull_request.default_branch),
        lambda: filters.from_fork(asked, pull_request),
    ]
    if not asking.again:
        refusals += [
            lambda: filters.draft(job, pull_request),
            lambda: filters.other_branch(asked, pull_request.head_ref),
            lambda: filters.labels(asked, pull_request.labels),
            lambda: _skipped(pull_request, changes),
        ]
    for refusal in refusals:
        if (refused := refusal()) is not None:
            return Ruling(Decision.PASSED_OVER, refused)
    note = ""
    if not asking.again and filters.asks_for_paths(job, asked):
        changed = changes.files
        if changed is None:
            note = f"Which files it changes could not be seen. {changes.why_unknown}"
        elif not filters.relevant(job, asked, changed.paths):
            if changed.is_complete:
                return Ruling(Decision.NOTHING_RELEVANT, NOTHING_RELEVANT)
            note = "It changes more files than the host lists, so it is built."
    if filters.lacks_approval(pull_request):
        return Ruling(
            Decision.NEEDS_APPROVAL,
            "It comes from a fork. Whoever may change jobs can read it and approve this commit.",
        )
    return Ruling(Decision.STARTED, note)


def _skipped(pull_request: PullRequest, changes: Changes) -> str | None:
    if words := filters.asks_to_skip(pull_request.title):
        return f"Its title says {words}."
    if words := filters.asks_to_skip(changes.message):
        return f"The message of its newest commit says {words}."
    return None


def _keep(job: Job, pull_request: PullRequest, ruling: Ruling, asking: Asking) -> str:
    """Write the ruling down and start what it starts, unless something newer came meanwhile."""
    with transaction.atomic():
        row = PullRequest.objects.select_for_update(no_key=True).get(pk=pull_request.pk)
        if row.head_sha != pull_request.head_sha:
            return f"Job {job.name}: a newer commit came meanwhile."
        if row.state != PullRequestState.OPEN:
            return f"Job {job.name}: it was closed meanwhile."
        check, is_new = Check.objects.get_or_create(
            pull_request=row,
            job=job,
            head_sha=row.head_sha,
            defaults={"decision": ruling.decision, "why": ruling.why},
        )
        said = ruling.why
        if ruling.decision == Decision.STARTED:
            said = _start(check, row, ruling.why, asking)
        elif not is_new and ruling.is_last_word and not check.attempts:
            check.decision, check.why = ruling.decision, ruling.why
            check.save()
        touch_check(check)
    return f"Job {job.name}: {said}"


def _start(check: Check, pull_request: PullRequest, note: str, asking: Asking) -> str:
    job = check.job
    if check.attempts and (why := why_not_again(check, pull_request, asking)):
        return why
    number = check.attempts + 1
    trigger = Trigger(
        cause=f"Pull request #{pull_request.number}: {pull_request.title}",
        cause_category=CauseCategory.CI,
        git_sha=pull_request.head_sha,
        git_branch=pull_request.head_ref,
        github_pull_request_id=pull_request.number,
        deduplication_key=f"github:{pull_request.pk}:{job.pk}:{check.head_sha}:{number}",
        user=asking.user,
        api_token=asking.api_token,
    )
    try:
        run = trigger_run(job, trigger)
    except ValidationError as refused:
        check.decision, check.why = Decision.REFUSED, " ".join(refused.messages)
        check.save()
        return check.why
    check.decision, check.why, check.run = Decision.STARTED, note, run
    check.attempts, check.asked_at = number, pull_request.changed_at
    check.save()
    return f"started run {run.pk}. {note}".rstrip()


def why_not_again(check: Check, pull_request: PullRequest, asking: Asking) -> str | None:
    """Why a commit that a run was started for gets no other one; None where it does.

    It does where somebody asks for that, where the pull request was reopened, and where its run
    gave way to another commit, or to a closing, that has been taken back.
    """
    run = check.run
    if run is not None and not run.is_finished and not run.cancel_requested_at:
        return f"run {run.pk} builds this commit already."
    at = asking.at or pull_request.changed_at
    is_later = check.asked_at is None or at > check.asked_at
    is_reopened = asking.action == Action.REOPENED and (is_later or asking.reopened)
    gave_way = run is not None and run.cancel_reason in GAVE_WAY
    if asking.again or is_reopened or (gave_way and is_later):
        return None
    return f"{'a run' if run is None else f'run {run.pk}'} was started for this commit before."
