"""Whether a pull request is one that a job builds. Nothing here asks a database or a host.

Each rule answers None, or says in one sentence why the job leaves the pull request alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from glob import escape

from ci.models import PullRequest
from jobsvc.jobs.extensions import CI, Forks
from jobsvc.jobs.models import Job

SKIP_WORDS = ("[skip ci]", "[skip dbt]")
EVERYTHING_BELOW = "**"


def branch_of(job: Job, default_branch: str) -> str:
    """The branch that the job's environment builds: what pull requests are to be merged into."""
    return job.environment.branch or default_branch


def wrong_base(job: Job, base_ref: str, default_branch: str) -> str | None:
    """dbt Cloud's rule: only pull requests into the branch of the job's environment are built."""
    environment = job.environment
    if job.triggers_custom_branch_only and not environment.branch:
        return (
            "The job builds only pull requests into a custom branch, and its environment "
            f"{environment.name} names none."
        )
    wanted = branch_of(job, default_branch)
    if base_ref == wanted:
        return None
    return f"It is to be merged into {base_ref}; the job builds what goes into {wanted}."


def draft(job: Job, pull_request: PullRequest) -> str | None:
    if not pull_request.is_draft or job.triggers_on_draft_pr:
        return None
    return "It is a draft; the job does not build drafts."


def from_fork(asked: CI, pull_request: PullRequest) -> str | None:
    """A fork's code would run with the credentials of this account's warehouse."""
    if not pull_request.is_fork or asked.forks == Forks.WITH_APPROVAL:
        return None
    return "It comes from a fork; the job does not build forks."


def lacks_approval(pull_request: PullRequest) -> bool:
    """Whether it comes from a fork and nobody said that this very commit may be built."""
    return pull_request.is_fork and pull_request.approved_sha != pull_request.head_sha


def other_branch(asked: CI, head_ref: str) -> str | None:
    if not asked.head_branches or any(matches(glob, head_ref) for glob in asked.head_branches):
        return None
    return f"Its branch {head_ref} is none of those the job asks for."


def labels(asked: CI, worn: Iterable[str]) -> str | None:
    """Labels are compared as the host does, whatever their case."""
    there = {label.casefold() for label in worn}
    if asked.labels_any and not there & {label.casefold() for label in asked.labels_any}:
        return f"It has none of the labels that the job asks for: {', '.join(asked.labels_any)}."
    if refused := [label for label in asked.labels_none if label.casefold() in there]:
        return f"It has the label {refused[0]}, with which the job builds none."
    return None


def asks_to_skip(text: str) -> str | None:
    """The words in a title or a commit's message by which people ask for no run."""
    return next((words for words in SKIP_WORDS if words in text.casefold()), None)


def wanted_paths(job: Job, asked: CI) -> Sequence[str]:
    """Globs of what concerns the job; none where everything does."""
    if asked.paths:
        return asked.paths
    subdirectory = (job.project.dbt_project_subdirectory or "").strip("/")
    return (escape(subdirectory),) if subdirectory else ()


def asks_for_paths(job: Job, asked: CI) -> bool:
    """Whether it has to be known which files were changed."""
    return bool(wanted_paths(job, asked) or asked.paths_ignore)


def relevant(job: Job, asked: CI, changed: Iterable[str]) -> bool:
    """Whether one of the changed files concerns the job."""
    wanted = wanted_paths(job, asked)
    return any(
        (not wanted or any(covers(glob, path) for glob in wanted))
        and not any(covers(glob, path) for glob in asked.paths_ignore)
        for path in changed
    )


def covers(glob: str, path: str) -> bool:
    """Whether ``glob`` names ``path``, or a folder that it is in."""
    return _match([*glob.strip("/").split("/"), EVERYTHING_BELOW], path.split("/"))


def matches(glob: str, name: str) -> bool:
    """Whether ``name`` is one of those that ``glob`` stands for, from its beginning to its end.

    ``*``, ``?`` and ``[…]`` stay within what slashes part; ``**`` goes beyond.
    """
    return _match(glob.split("/"), name.split("/"))


def _match(glob: Sequence[str], parts: Sequence[str]) -> bool:
    # Which beginnings of ``glob`` stand for what was read so far: its length times that of the
    # name is all it can cost, however many stars somebody wrote.
    reached = _past_stars(glob, {0})
    for part in parts:
        step = {place for place in reached if place < len(glob) and glob[place] == EVERYTHING_BELOW}
        step |= {
            place + 1
            for place in reached
            if place < len(glob)
            and glob[place] != EVERYTHING_BELOW
            and fnmatchcase(part, glob[place])
        }
        reached = _past_stars(glob, step)
    return len(glob) in reached


def _past_stars(glob: Sequence[str], places: set[int]) -> set[int]:
    """``places``, and those behind each ``**`` that may stand for nothing."""
    found = set(places)
    for place in range(len(glob)):
        if place in found and glob[place] == EVERYTHING_BELOW:
            found.add(place + 1)
    return found
