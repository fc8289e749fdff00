"""What this service asks of a git host, in our words; settings.GIT_PROVIDERS names the adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string


class BadSignature(Exception):
    """The delivery is not from who it says it is. Nothing of it was read."""


class BadDelivery(Exception):
    """The delivery is signed, but cannot be read. ``str(error)`` says what is wrong with it."""


class ProviderUnavailable(Exception):
    """The host did not answer, or asked us to come back later. Trying again may help.

    Attributes:
        retry_after: seconds that the host asked us to wait; None where it named none.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class ProviderRefused(Exception):
    """The host said no, and will say it again: a bad token, an unknown repository or commit.

    Attributes:
        is_missing: what was asked for is not there (any more), or we may not see it.
    """

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        self.is_missing = is_missing
        super().__init__(message)


# --- What a host tells us ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a delivery's headers say of it.

    Attributes:
        delivery_id: the host's own; the same when it is delivered again.
        event: the host's word for its kind.
    """

    delivery_id: str
    event: str


class Action(StrEnum):
    """What happened to a pull request, of what concerns us."""

    OPENED = "opened"
    SYNCHRONIZE = "synchronize"
    REOPENED = "reopened"
    READY_FOR_REVIEW = "ready_for_review"
    CONVERTED_TO_DRAFT = "converted_to_draft"
    EDITED = "edited"
    LABELED = "labeled"
    UNLABELED = "unlabeled"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True)
class PullRequestFacts:
    """A pull request as its host sees it.

    Attributes:
        repository: ``owner/name`` that it is to be merged into.
        url: of its page.
        head_repository: ``owner/name``; of a deleted fork empty.
        merge_sha: the commit that merging it made; empty while it is not merged.
        changed_at: by the host's clock.
        default_branch: of its repository.
    """

    repository: str
    number: int
    title: str
    author: str
    url: str
    head_ref: str
    head_sha: str
    head_repository: str
    base_ref: str
    is_fork: bool
    is_draft: bool
    is_open: bool
    is_merged: bool
    labels: tuple[str, ...]
    merge_sha: str
    changed_at: datetime
    default_branch: str = ""


@dataclass(frozen=True, kw_only=True)
class PullRequestEvent:
    """Something happened to a pull request.

    Attributes:
        base_before: the base branch until now, where ``EDITED`` changed it; else empty.
        head_before: the head until now, where ``SYNCHRONIZE`` tells of another; else empty.
        installation_id: of the host's App, where that was told.
    """

    action: Action
    pull_request: PullRequestFacts
    base_before: str = ""
    head_before: str = ""
    installation_id: int | None = None

    @property
    def repository(self) -> str:
        return self.pull_request.repository


@dataclass(frozen=True, kw_only=True)
class PushEvent:
    """A branch or a tag was moved, made or taken away.

    Attributes:
        branch: empty where it is a tag that was pushed.
        sha: its head now; empty where it was deleted.
        before: its head until now; zeros where it is new.
        is_forced: the head until now is not among what led to this one.
        default_branch: of the repository.
    """

    repository: str
    ref: str
    branch: str
    sha: str
    is_deletion: bool
    before: str = ""
    is_forced: bool = False
    default_branch: str = ""
    installation_id: int | None = None
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class Ping:
    """The hook was set up, and says so."""

    repository: str = ""
    installation_id: int | None = None
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class InstallationEvent:
    """The host's App was installed, removed, suspended … by ``login``."""

    action: str
    installation_id: int
    login: str
    repository: str = ""


@dataclass(frozen=True, kw_only=True)
class OtherEvent:
    """Nothing here follows from it."""

    action: str = ""
    repository: str = ""
    installation_id: int | None = None


Event = PullRequestEvent | PushEvent | Ping | InstallationEvent | OtherEvent


@dataclass(frozen=True, kw_only=True)
class ChangedFiles:
    """``is_complete`` is False where the host lists no more of them than these."""

    paths: tuple[str, ...]
    is_complete: bool


# --- What we tell a host -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who we are at the host, for one repository (``ci.access.access_to``).

    Attributes:
        repository: ``owner/name``.
        is_app: whether we are the host's App, which may do more than a token.
    """

    repository: str
    token: str = field(repr=False)
    is_app: bool = False


class CommitState(StrEnum):
    """What a commit status shows."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


class CheckState(StrEnum):
    """How far a check is, and how it ended."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    TIMED_OUT = "timed_out"
    ACTION_REQUIRED = "action_required"

    @property
    def is_over(self) -> bool:
        return self not in {CheckState.QUEUED, CheckState.IN_PROGRESS}


class Level(StrEnum):
    NOTICE = "notice"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A remark beside lines (from 1) of a file; ``path`` begins at the repository's root."""

    path: str
    start_line: int
    end_line: int
    level: Level
    message: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckRun:
    """A check beside a commit, with room for text.

    Attributes:
        name: the same for a job on every commit.
        summary, text: GitHub-flavoured Markdown, cut to what the host takes.
        annotations: the host adds them to those that are there, so give each once.
    """

    name: str
    sha: str
    state: CheckState
    url: str
    title: str
    summary: str
    text: str = ""
    annotations: Sequence[Annotation] = ()


class GitProvider(Protocol):
    """A git host. What asks it raises ProviderUnavailable or ProviderRefused."""

    def head_of(self, headers: Mapping[str, str]) -> Head:
        """What a delivery's headers (whatever their letters' case) say of it.

        Raises:
            BadDelivery
        """

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> None:
        """Check that whoever sent ``body`` knows one of ``secrets``; nothing is parsed.

        Raises:
            BadSignature
        """

    def read_event(self, event: str, body: bytes) -> Event:
        """Read a delivery that was verified.

        Args:
            event: ``Head.event``.

        Raises:
            BadDelivery
        """

    def changed_files(self, access: Access, number: int) -> ChangedFiles:
        """What a pull request changes, from the repository's root; a renamed file by both names."""

    def commit_message(self, access: Access, sha: str) -> str:
        """What a commit's author wrote."""

    def set_commit_status(
        self,
        access: Access,
        sha: str,
        state: CommitState,
        *,
        context: str,
        description: str,
        target_url: str,
    ) -> None:
        """Show ``state`` beside the commit. Posting the same thing twice is harmless."""

    def create_check_run(self, access: Access, check: CheckRun) -> int:
        """Make a check run and return the host's id of it. Only an App may.

        Its annotations are left out: with them it takes several calls, of which the last may
        fail. ``update_check_run`` brings them.
        """

    def update_check_run(self, access: Access, check_id: int, check: CheckRun) -> None:
        """Show what is true now in a check run that we made."""

    def find_comment(self, access: Access, number: int, marker: str) -> int | None:
        """The id of our own comment of a pull request that holds ``marker``."""

    def create_comment(self, access: Access, number: int, body: str) -> int:
        """Comment a pull request, in Markdown, and return the host's id of it."""

    def update_comment(self, access: Access, comment_id: int, body: str) -> None:
        """Put ``body`` in place of what a comment of ours says."""


def provider_for(kind: str) -> GitProvider:
    return cast("GitProvider", import_string(settings.GIT_PROVIDERS[kind])())
