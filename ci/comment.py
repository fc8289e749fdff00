"""The one comment of a pull request, and the text of a check run, in Markdown.

Nothing of a stranger's stands in it but as code (``ci.words``).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings

from ci.summary import Built, ComparedModel, FailedNode, Finding, Summary
from ci.words import block, code, number_of, word
from environments.models import Repository

LARGEST = 65_000  # bytes; GitHub refuses more than 65,536 characters
MOST_JOBS = 50  # told of in full; the rest are counted
# How many nodes of a list are shown, the most that fits.
LENGTHS = (20, 8, 3, 1, 0)
MESSAGE = {"characters": 1_500, "lines": 12}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is told of one job.

    Attributes:
        sign: a picture of ``state``, for those who skim.
        state: in our own words, to go on after the job's name.
        link: a page of this service.
        message: what else is known of it, in anybody's words.
        facts: small things worth knowing, each already Markdown.
    """

    job: str
    sign: str
    state: str
    link: str
    link_text: str
    message: str = ""
    facts: Sequence[str] = ()
    summary: Summary | None = None


def marker_of(repository: Repository, number: int) -> str:
    """What the comment begins with, by which it is found again. Nobody else can know it before.

    It differs from one installation of this service to another.
    """
    about = f"comment of repository {repository.pk}, pull request {number}"
    digest = hmac.new(settings.SECRET_KEY.encode(), about.encode(), hashlib.sha256).hexdigest()
    return f"<!-- jobsvc:{digest[:32]} -->"


def comment(marker: str, heading: str, jobs: Sequence[Told]) -> str:
    """The comment, as long as may be: of each list, as many as fit."""
    for most in LENGTHS:
        text = _comment(marker, heading, jobs, most)
        if len(text.encode()) <= LARGEST:
            return text
    return f"{marker}\n{heading}\n"


def check_summary(told: Told) -> str:
    """The text of a check run: what the comment has for the job, without its heading."""
    for most in LENGTHS:
        text = "\n\n".join(_body(told, most))
        if len(text.encode()) <= LARGEST:
            return text
    return told.state


def _comment(marker: str, heading: str, jobs: Sequence[Told], most: int) -> str:
    parts = [f"{marker}\n### {heading}"]
    for told in jobs[:MOST_JOBS]:
        parts += [f"#### {told.sign} {code(told.job)}: {told.state}", *_body(told, most)]
    if (left := len(jobs) - MOST_JOBS) > 0:
        parts.append(f"And {number_of(left, 'more job')}.")
    return "\n\n".join(parts) + "\n"


def _body(told: Told, most: int) -> list[str]:
    """Paragraphs."""
    parts = [" · ".join([f"[{told.link_text}]({told.link})", *told.facts])]
    if told.message.strip() and most:
        parts.append(block(told.message, **MESSAGE))
    summary = told.summary
    if summary is None:
        return parts
    lines = [*_counts(summary), *_selected(summary)]
    if lines:
        parts.append("\n".join(f"- {line}" for line in lines))
    parts += _failed(summary, most)
    parts += _why(summary, most)
    parts += _lint(summary, most)
    parts += _comparison(summary, most)
    return parts


def _counts(summary: Summary) -> list[str]:
    if not summary.counts:
        return []
    total = sum(summary.counts.values())
    each = ", ".join(
        f"{number:,} {word(status)}"
        for status, number in sorted(summary.counts.items(), key=lambda one: (-one[1], one[0]))
    )
    return [f"{number_of(total, 'node')}: {each}"]


def _selected(summary: Summary) -> list[str]:
    found = summary.selected
    if found is None:
        return []
    parts = [f"modified: {found.modified:,}", f"downstream: {found.downstream:,}"]
    if found.others:
        parts.append(f"others: {found.others:,}")
    return [", ".join([*parts, f"deferred: {found.deferred:,}"])]


def _failed(summary: Summary, most: int) -> list[str]:
    if not summary.failed_count:
        return []
    shown = summary.failed[:most]
    parts = [paragraph for node in shown for paragraph in _failed_node(node)]
    if left := summary.failed_count - len(shown):
        parts.append(f"And {number_of(left, 'more failed node')}." if shown else "")
    return [part for part in parts if part]


def _failed_node(node: FailedNode) -> list[str]:
    where = f", {code(node.path)}" if node.path else ""
    told = [f"**Failed:** {code(node.name)} ({word(node.kind)}{where})"]
    return [*told, block(node.message, **MESSAGE)] if node.message.strip() else told


def _why(summary: Summary, most: int) -> list[str]:
    found = summary.selected
    if found is None or not found.built:
        return []
    left = found.modified + found.downstream - len(found.built[:most])
    return _folded("Why these nodes were built", map(_reason, found.built[:most]), left)


def _reason(node: Built) -> str:
    if node.differs:
        return f"{code(node.name)}: {', '.join(node.differs)}"
    return f"{code(node.name)}: downstream of {', '.join(map(code, node.below))}"


def _lint(summary: Summary, most: int) -> list[str]:
    if summary.findings is None:
        return []
    if not summary.finding_count:
        return ["Lint: nothing found."]
    shown = summary.findings[:most]
    title = f"Lint: {number_of(summary.finding_count, 'finding')}"
    return _folded(title, map(_finding, shown), summary.finding_count - len(shown))


def _finding(found: Finding) -> str:
    place = code(f"{found.path}:{found.line}:{found.column}")
    return f"{place} {code(found.code)}: {code(found.description, 300)}"


def _folded(title: str, lines: Iterable[str], left: int) -> list[str]:
    """A list that is shown when somebody asks for it; ``left`` more are not in it."""
    shown = [f"- {line}" for line in lines]
    if not shown:
        return [f"{title}."]
    if left > 0:
        shown.append(f"- and {left:,} more")
    return [f"<details><summary>{title}</summary>", "\n".join(shown), "</details>"]


def _comparison(summary: Summary, most: int) -> list[str]:
    found = summary.comparison
    if found is None:
        return []
    if not found.models:
        return [f"Compare changes: {code(found.note, 300)}"]
    shown = found.models[:most]
    title = f"Compare changes: {number_of(found.count, 'model')} with something to tell"
    return _folded(title, map(_compared, shown), found.count - len(shown))


def _compared(model: ComparedModel) -> str:
    parts = [f"{code(model.name)}: {word(model.status)}"]
    if any(number is not None for number in model.rows.values()):
        parts.append(f"rows {_rows(model.rows)}")
    if model.columns:
        parts.append(f"columns {', '.join(map(code, model.columns))}")
    if model.changed:
        told = (f"{code(name)} in {_shown(number)}" for name, number in model.changed.items())
        parts.append(f"changed values: {', '.join(told)}")
    if model.message:
        parts.append(code(model.message, 300))
    return "; ".join(parts)


def _rows(rows: Mapping[str, int | None]) -> str:
    """For example ``before 10, after 12, added 3, removed 1``."""
    known = ((name, rows.get(name)) for name in ("before", "after", "added", "removed", "changed"))
    return ", ".join(f"{name} {number:,}" for name, number in known if number is not None)


def _shown(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
