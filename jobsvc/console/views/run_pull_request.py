"""Of a run of a pull request: which one, why it was built, and what its git host was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ci.models import Check, CISchema, Report, RunSummary
from ci.report import reports_of
from ci.summary import Finding, Selected, Summary
from jobsvc.runs.models import Run

FINDINGS_SHOWN = 50
SCHEMAS_SHOWN = 20


@dataclass(frozen=True)
class PullRequestPart:
    """What a run's page says of its pull request.

    Attributes:
        schemas: what runs of this pull request and job made, and when that goes.
        summary: what the run came to, as its pull request is told; None until it has ended.
        url: of a page at the git host; empty where that is not known.
        branches: what is to be merged into what; None where that is not known.
    """

    number: int
    schema: str
    checks: Sequence[Check]
    reports: Sequence[Report]
    schemas: Sequence[CISchema] = ()
    summary: Summary | None = None
    title: str = ""
    url: str = ""
    author: str = ""
    branches: tuple[str, str] | None = None

    @property
    def is_known(self) -> bool:
        """Whether its host told of it, so that it has a page of ours."""
        return bool(self.checks)

    @property
    def selected(self) -> Selected | None:
        """How many nodes were modified, built and deferred; None where that is not known."""
        return self.summary.selected if self.summary else None

    @property
    def findings(self) -> Sequence[Finding]:
        """What linting found, of many the first."""
        found = self.summary.findings if self.summary else None
        return (found or ())[:FINDINGS_SHOWN]


def pull_request_of(run: Run) -> PullRequestPart | None:
    """What is known of the pull request of ``run``; None for any other run."""
    number = run.trigger.pull_request_id
    if number is None:
        return None
    schema = str(run.configuration.get("schema_override") or "")
    reports = reports_of([run]).get(run.pk, [])
    checks = list(Check.objects.filter(run=run).select_related("pull_request", "run__summary"))
    schemas = CISchema.objects.filter(
        account=run.account_id, job=run.job_id, pull_request_number=number
    )
    kept = _kept(checks)
    part = PullRequestPart(
        number,
        schema,
        checks,
        reports,
        schemas=list(schemas.order_by("-pk")[:SCHEMAS_SHOWN]),
        summary=Summary.kept(kept) if kept else None,
    )
    if not checks:
        return part
    pull_request = checks[0].pull_request
    return replace(
        part,
        title=pull_request.title,
        # It is the git host's word: no script is to hide in it.
        url=pull_request.url if pull_request.url.startswith(("https://", "http://")) else "",
        author=pull_request.author,
        branches=(pull_request.head_ref, pull_request.base_ref),
    )


def _kept(checks: Sequence[Check]) -> Mapping[str, Any] | None:
    """What is kept of what the run came to; only a run that a check started has any."""
    run = checks[0].run if checks else None
    try:
        return run.summary.content if run else None
    except RunSummary.DoesNotExist:
        return None
