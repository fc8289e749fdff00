"""What a message says: a subject, and the parts that templates and channels show.

All of it is read from rows and files that were masked when they were written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings

from accounts.invitations import text_of
from accounts.models import Invitation
from jobsvc.engine.ports import SKIPPED
from jobsvc.jobs.models import Job
from jobsvc.notifications.events import Standing, standing_of
from jobsvc.notifications.models import Delivery, Event
from jobsvc.notifications.outcome import NodeOutcome, outcomes_of
from jobsvc.runs import looks
from jobsvc.runs.logs import console_log
from jobsvc.runs.looks import Look, duration, look, look_of_node
from jobsvc.runs.models import Run, RunStep
from jobsvc.runs.pages import (
    page_of_account,
    page_of_invitation,
    page_of_job,
    page_of_retry,
    page_of_run,
)
from jobsvc.statuses import CancelReason, RunStatus

LONGEST_SUBJECT = 120  # characters, as people read it
LONGEST_LINE = 500  # characters of what a database or dbt says
MOST_LINES = 20  # of one node, or of a step's log
MOST_NODES = 10  # shown in full; the rest are counted

# What only messages say, beside the looks of runs.
TIMED_OUT = Look("⏱", "Timed out", "warn")
NOTICE = Look("!", "Notice", "warn")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that did not go well, as it is shown."""

    unique_id: str
    status: str
    lines: Sequence[str]

    @property
    def glyph(self) -> str:
        return look_of_node(self.status).glyph


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message, as its reader sees it.

    Attributes:
        headline: a sentence without its full stop.
        facts: name and value, in order.
        sentence: what is to be said beside that; may be empty.
        steps: name, word and what was said of it.
        log: the last lines of the step that failed, where no node names its reason.
        links: words and address; the first is the one that matters.
    """

    look: Look
    headline: str
    subject: str
    sentence: str = ""
    facts: Sequence[tuple[str, str]] = ()
    steps: Sequence[tuple[str, str, str]] = ()
    nodes: Sequence[Node] = ()
    more_nodes: int = 0
    log: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = field(default_factory=list)


# --- Of a run ----------------------------------------------------------------------------


def message_of_run(
    run: Run,
    *,
    standing: Standing | None = None,
    outcomes: Sequence[NodeOutcome] | None = None,
    nodes: Collection[str] = (),
) -> Message:
    """What is said of the end of ``run``.

    Args:
        standing, outcomes: where they are known already.
        nodes: only these are the reader's; empty for all.
    """
    standing = standing or standing_of(run)
    shown = list(outcomes_of(run) if outcomes is None else outcomes)
    if nodes:
        shown = [one for one in shown if one.unique_id in set(nodes)]
    headline = f"{run.job.name} {_verb(run, standing)}"
    return Message(
        look=_look(run),
        headline=one_line(headline),
        subject=_subject_of_run(run, headline, shown),
        sentence=_sentence(run, standing),
        facts=_facts(run, standing),
        steps=[_step(step) for step in run.steps.order_by("index")],
        nodes=[_node(one) for one in shown[:MOST_NODES]],
        more_nodes=max(0, len(shown) - MOST_NODES),
        log=[] if shown or run.status != RunStatus.ERROR else _last_words(run),
        links=_links_of_run(run),
    )


def _verb(run: Run, standing: Standing) -> str:
    if run.status == RunStatus.ERROR:
        return "failed"
    if run.status == RunStatus.CANCELLED:
        return "took too long" if run.cancel_reason == CancelReason.TIMEOUT else "was cancelled"
    if run.outcome == SKIPPED:
        return "built nothing"
    if standing.failures:
        return "works again"
    return "succeeded with warnings" if run.has_warnings else "succeeded"


def _look(run: Run) -> Look:
    if run.cancel_reason == CancelReason.TIMEOUT:
        return TIMED_OUT
    if run.outcome == SKIPPED and run.status == RunStatus.SUCCESS:
        return looks.SKIPPED
    return look(run)


def _subject_of_run(run: Run, headline: str, shown: Sequence[NodeOutcome]) -> str:
    reason = ""
    if run.status == RunStatus.ERROR or (shown and run.has_warnings):
        first = shown[0] if shown else None
        if first is not None:
            others = f" (and {len(shown) - 1} more)" if len(shown) > 1 else ""
            reason = f": {first.name}{others} \N{EN DASH} {first.gist}"
        elif run.status_message:
            reason = f": {run.status_message}"
    return shortened(f"[{run.environment.name}] {headline}{reason}")


def _sentence(run: Run, standing: Standing) -> str:
    said = []
    if run.status_message:
        said.append(run.status_message)
    if run.status == RunStatus.ERROR and standing.half_way:
        most = run.job.extended.deactivate_after
        said.append(
            f"It has failed {times(standing.failures)} in a row. After {most} failures the job is "
            "deactivated: repair it, or raise deactivate_after in its settings."
        )
    return clipped(" ".join(said), 4 * LONGEST_LINE)


def _facts(run: Run, standing: Standing) -> list[tuple[str, str]]:
    facts = [
        ("Project", f"{run.project.name} / {run.environment.name}"),
        (
            "Run",
            f"#{run.pk}, attempt {run.attempt_number}" if run.attempt_number > 1 else f"#{run.pk}",
        ),
        ("Started by", run.trigger.cause),
        ("Branch", run.git_branch or run.trigger.git_branch or ""),
        ("Commit", (run.git_sha or run.trigger.git_sha or "")[:12]),
        ("Pull request", f"#{number}" if (number := run.trigger.pull_request_id) else ""),
        ("Ended", moment(run.finished_at)),
        ("Took", _took(run)),
        ("dbt", run.dbt_version or ""),
        (_since_name(run), _since(run, standing)),
    ]
    return [(name, one_line(value)) for name, value in facts if value]


def _took(run: Run) -> str:
    if run.started_at is None or run.finished_at is None:
        return ""
    return duration(run.finished_at - run.started_at)


def _since_name(run: Run) -> str:
    return "Failing since" if run.status == RunStatus.ERROR else "Had failed since"


def _since(run: Run, standing: Standing) -> str:
    if standing.since is None or run.status == RunStatus.CANCELLED:
        return ""
    if standing.since.pk == run.pk:
        return "this run; the one before did not fail"
    count = times(standing.failures)
    return f"run #{standing.since.pk}, {moment(standing.since.finished_at)}; {count} in a row"


def _step(step: RunStep) -> tuple[str, str, str]:
    said = clipped(step.message, LONGEST_LINE) if step.status == RunStatus.ERROR else ""
    return one_line(step.label or step.name), step.status_humanized, said


def _node(outcome: NodeOutcome) -> Node:
    lines = [clipped(line, LONGEST_LINE) for line in outcome.lines[:MOST_LINES]]
    if left := len(outcome.lines) - MOST_LINES:
        lines += [f"… {left} more lines"] if left > 0 else []
    return Node(
        unique_id=one_line(outcome.unique_id),
        status=one_line(outcome.status),
        lines=lines,
    )


def _last_words(run: Run) -> list[str]:
    failed = run.steps.filter(status=RunStatus.ERROR).order_by("-index").first()
    if failed is None:
        return []
    try:
        text = console_log(failed)
    except OSError:
        return []  # its file is gone: what the run says of itself must do
    lines = [_ANSI.sub("", line).rstrip() for line in text.splitlines()]
    return [clipped(line, LONGEST_LINE) for line in lines if line][-MOST_LINES:]


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _links_of_run(run: Run) -> list[tuple[str, str]]:
    links = [("Open the run", page_of_run(run))]
    if run.status == RunStatus.ERROR:
        links.append(("Retry it", page_of_retry(run)))
    return links


# --- Of a job, and of none ---------------------------------------------------------------


def message_of_job(job: Job, event: Event, sentence: str) -> Message:
    """What is said of ``event``, which no run stands for."""
    headline = one_line(f"{job.name} {event.label}")
    facts = [("Project", one_line(f"{job.project.name} / {job.environment.name}"))]
    if job.cron:
        facts.append(("Schedule", one_line(f"{job.cron} {job.timezone}")))
    return Message(
        look=NOTICE,
        headline=headline,
        subject=shortened(f"[{job.environment.name}] {headline}"),
        sentence=clipped(sentence, 4 * LONGEST_LINE),
        facts=facts,
        links=[("Open the job", page_of_job(job))],
    )


def message_of_webhook(name: str, account_id: int, sentence: str) -> Message:
    """What is said of a webhook that was switched off because nothing arrived."""
    headline = one_line(f"The webhook {name} {Event.WEBHOOK_OFF.label}")
    return Message(
        look=NOTICE,
        headline=headline,
        subject=shortened(headline),
        sentence=clipped(sentence, 4 * LONGEST_LINE),
        links=[("Open the account", page_of_account(account_id))],
    )


def test_message(account_name: str) -> Message:
    """What is sent to see whether mail arrives."""
    return Message(
        look=looks.LOOKS[RunStatus.SUCCESS],
        headline="This is a test",
        subject=shortened(f"[{account_name}] A test: messages of jobsvc reach you"),
        sentence="Somebody asked for it, to see whether messages arrive. They do.",
        links=[("Open jobsvc", f"{settings.SITE_URL}/")],
    )


def message_of_invitation(invitation: Invitation) -> Message:
    """What is said to who is asked to join an account. Its link is made anew each time."""
    account, by = invitation.account.name, invitation.invited_by
    who = by.full_name if by else "Somebody who manages it"
    return Message(
        look=looks.LOOKS[RunStatus.SUCCESS],
        headline=one_line(f"You are invited to {account}"),
        subject=shortened(f"[{account}] You are invited to join on jobsvc"),
        sentence=clipped(
            f"{one_line(who)} asks you to join {one_line(account)}, where dbt jobs run. The link "
            f"is good until {moment(invitation.expires_at)}, once, and for this address alone.",
            4 * LONGEST_LINE,
        ),
        links=[("Join", page_of_invitation(text_of(invitation)))],
    )


def message_of(delivery: Delivery) -> Message:
    """What ``delivery`` says, read anew."""
    if delivery.event == Event.INVITATION:
        return message_of_invitation(Invitation.objects.get(pk=delivery.details["invitation"]))
    if delivery.run is not None:
        return message_of_run(delivery.run, nodes=delivery.details.get("nodes", ()))
    if delivery.event == Event.WEBHOOK_OFF:
        name, sentence = (str(delivery.details.get(key, "")) for key in ("webhook", "sentence"))
        return message_of_webhook(name, delivery.account_id, sentence)
    if delivery.job is not None:
        sentence = str(delivery.details.get("sentence", ""))
        return message_of_job(delivery.job, Event(delivery.event), sentence)
    return test_message(delivery.account.name)


def subject_of_digest(parts: Sequence[Delivery]) -> str:
    jobs = sorted({part.job.name for part in parts if part.job is not None})
    named = jobs[0] if len(jobs) == 1 else f"{len(jobs)} jobs"
    return shortened(f"[{parts[0].account.name}] {len(parts)} messages of {named}")


def likeness_of(event: Event, job: Job | None, outcomes: Sequence[NodeOutcome], text: str) -> str:
    """The same for messages of a job that say the same.

    Numbers in what a database says change from run to run, and are no other error.
    """
    said = [*sorted(one.unique_id for one in outcomes)]
    said += [outcomes[0].gist] if outcomes else [text]
    plain = re.sub(r"\d+", "0", said.pop())
    parts = (str(job.pk if job else 0), event, *said, plain)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


# --- Words -------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """``text`` without line ends, and without signs that are not seen."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def shortened(text: str, most: int = LONGEST_SUBJECT) -> str:
    """``text`` on one line, of at most ``most`` characters."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def clipped(text: str, most: int) -> str:
    """At most ``most`` characters of ``text``; its line ends and margins stay."""
    kept = "".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in text)
    return kept if len(kept) <= most else f"{kept[: most - 1]}…"


def moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC" if value else ""


def times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
