"""Of a run of a pull request: which one, why it was built, and what its git host was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ci.models import Check, Report
from ci.report import reports_of
from jobsvc.runs.models import Run


@dataclass(frozen=True)
class PullRequestPart:
    """What a run's page says of its pull request.

    Attributes:
        url: of a page at the git host; empty where that is not known.
        branches: what is to be merged into what; None where that is not known.
    """

    number: int
    schema: str
    checks: Sequence[Check]
    reports: Sequence[Report]
    title: str = ""
    url: str = ""
    author: str = ""
    branches: tuple[str, str] | None = None

    @property
    def is_known(self) -> bool:
        """Whether its host told of it, so that it has a page of ours."""
        return bool(self.checks)


def pull_request_of(run: Run) -> PullRequestPart | None:
    """What is known of the pull request of ``run``; None for any other run."""
    number = run.trigger.pull_request_id
    if number is None:
        return None
    schema = str(run.configuration.get("schema_override") or "")
    reports = reports_of([run]).get(run.pk, [])
    checks = list(Check.objects.filter(run=run).select_related("pull_request"))
    if not checks:
        return PullRequestPart(number, schema, checks, reports)
    pull_request = checks[0].pull_request
    return PullRequestPart(
        number,
        schema,
        checks,
        reports,
        title=pull_request.title,
        # It is the git host's word: no script is to hide in it.
        url=pull_request.url if pull_request.url.startswith(("https://", "http://")) else "",
        author=pull_request.author,
        branches=(pull_request.head_ref, pull_request.base_ref),
    )
