"""What only the git host knows of a pull request, asked once and only where a job needs it."""

from __future__ import annotations

import logging
from functools import cached_property

from ci.access import NoAccess, access_to
from ci.models import PullRequest
from ci.providers.base import Access, ChangedFiles, ProviderRefused, provider_for

logger = logging.getLogger(__name__)


class Changes:
    """Of one pull request and its head as they were when this was made.

    What asks the host raises ProviderUnavailable where it does not answer.

    Attributes:
        why_unknown: why the host says nothing to us; a sentence, empty where it does.
    """

    def __init__(self, pull_request: PullRequest) -> None:
        self._pull_request = pull_request
        self._provider = provider_for("github")
        self.why_unknown = ""

    @cached_property
    def files(self) -> ChangedFiles | None:
        """The changed files; None where we cannot know them."""
        if self._access is None:
            return None
        try:
            return self._provider.changed_files(self._access, self._pull_request.number)
        except ProviderRefused as refused:
            self.why_unknown = str(refused)
            return None

    @cached_property
    def message(self) -> str:
        """What the author of the newest commit wrote; empty where we cannot know it."""
        if self._access is None:
            return ""
        try:
            return self._provider.commit_message(self._access, self._pull_request.head_sha)
        except ProviderRefused as refused:
            logger.info("no message of the head of %s: %s", self._pull_request, refused)
            return ""

    @cached_property
    def _access(self) -> Access | None:
        try:
            return access_to(self._pull_request.repository)
        except (NoAccess, ProviderRefused) as refused:
            self.why_unknown = str(refused)
            return None
