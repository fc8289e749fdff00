"""The filters of the list of runs: read from the address, applied, and said in words.

Which of them the database can follow by an index decides how they are applied: job, status,
environment and dates first; what must be looked for in each run (words, branch, what started
it, who did) only in the newest ``LOOKED_THROUGH`` of those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest

from accounts.models import Membership
from environments.models import Environment
from jobsvc.console.access import seen
from jobsvc.console.asked import TODAY, moment, number
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import ACTIVE, CauseCategory, RunStatus

LOOKED_THROUGH = 10_000  # runs
LONGEST_WORD = 100  # characters that are looked for
NAMES = ("job", "status", "env", "trigger", "branch", "since", "until", "q", "by")
MOST_TRIED = 4  # filters left out one by one to say which of them emptied the list
ME = "me"

STATUSES: dict[str, tuple[str, Q]] = {
    "queued": ("Queued", Q(status=RunStatus.QUEUED)),
    "running": ("Running", Q(status__in=ACTIVE)),
    "success": ("Success", Q(status=RunStatus.SUCCESS)),
    "warnings": ("Success with warnings", Q(status=RunStatus.SUCCESS, has_warnings=True)),
    "error": ("Error", Q(status=RunStatus.ERROR)),
    "cancelled": ("Cancelled", Q(status=RunStatus.CANCELLED)),
}
TRIGGERS: dict[str, tuple[str, CauseCategory]] = {
    "schedule": ("Schedule", CauseCategory.SCHEDULED),
    "person": ("A person, here", CauseCategory.UI),
    "api": ("API", CauseCategory.API),
    "pull-request": ("Pull request", CauseCategory.CI),
    "merge": ("Merge", CauseCategory.MERGE),
    "job": ("Another job's end", CauseCategory.JOB_COMPLETION),
    "retry": ("Retry", CauseCategory.RERUN),
}


@dataclass(frozen=True)
class Chip:
    """One filter that is set, and the address without it."""

    words: str
    without: str


@dataclass(frozen=True)
class Preset:
    words: str
    given: tuple[tuple[str, str], ...]

    @property
    def query(self) -> str:
        return f"?{urlencode(self.given)}" if self.given else ""

    def is_of(self, filters: RunFilters) -> bool:
        return dict(self.given) == filters.given


PRESETS = (
    Preset("All", ()),
    Preset("Failed today", (("status", "error"), ("since", TODAY))),
    Preset("Mine", (("by", ME),)),
    Preset("Running", (("status", "running"),)),
    Preset("Pull requests", (("trigger", "pull-request"),)),
)


@dataclass(frozen=True)
class RunFilters:
    """What of the address can be used.

    Attributes:
        given: name to the text of the address, in the order of ``NAMES``.
        problems: a sentence for each text that cannot be read, and is left out.
    """

    given: dict[str, str]
    user_id: int
    job: Job | None = None
    environment: Environment | None = None
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.given)

    @property
    def is_of_one_job(self) -> bool:
        """Whether the job is all that is asked for."""
        return list(self.given) == ["job"]

    @property
    def dates(self) -> dict[str, str]:
        """What the two fields for dates show."""
        return {
            name: f"{found:%Y-%m-%d}"
            for name in ("since", "until")
            if (found := moment(self.given.get(name, "")))
        }

    def query(self, *, before: int | None = None) -> str:
        """``?job=3&status=error``; empty where nothing is asked for."""
        pairs = dict(self.given) | ({"before": str(before)} if before else {})
        return f"?{urlencode(pairs)}" if pairs else ""

    def without(self, *names: str) -> RunFilters:
        left = {name: text for name, text in self.given.items() if name not in names}
        return replace(self, given=left)

    def chips(self) -> list[Chip]:
        """Each filter in words, in the order of the form."""
        return [Chip(self._said(name), self.without(name).query() or "?") for name in self.given]

    def of(
        self, runs: QuerySet[Run], *, before: int | None = None, down_to: int | None = None
    ) -> QuerySet[Run]:
        """Those of ``runs`` that are asked for, newest first.

        Args:
            down_to: the oldest run to look at, as ``further`` has it.
        """
        wanted = self._indexed(before) & self._looked_for()
        if down_to is not None:
            wanted &= Q(pk__gte=down_to)
        return runs.filter(wanted).order_by("-pk")

    def further(self, runs: QuerySet[Run], *, before: int | None) -> int | None:
        """The run before which none of ``runs`` was looked through yet; None where all were."""
        if not self._looked_for():
            return None
        last = runs.filter(self._indexed(before)).order_by("-pk").values_list("pk", flat=True)
        return next(iter(last[LOOKED_THROUGH - 1 : LOOKED_THROUGH]), None)

    def emptied_by(self, runs: QuerySet[Run]) -> list[Chip]:
        """The filters any of which, left out, would leave some of ``runs`` to show; all where
        none alone is."""
        names = list(self.given)[:MOST_TRIED] if len(self.given) > 1 else []
        found = {name for name in names if self.without(name)._has_some(runs)}
        return [
            chip
            for name, chip in zip(self.given, self.chips(), strict=True)
            if name in found or not found
        ]

    def _has_some(self, runs: QuerySet[Run]) -> bool:
        """Whether any of the first runs to look through is asked for."""
        newest = runs.filter(self._indexed(None)).order_by("-pk").values("pk")[:LOOKED_THROUGH]
        return runs.filter(self._looked_for(), pk__in=newest).exists()

    def _indexed(self, before: int | None) -> Q:
        wanted = Q(pk__lt=before) if before else Q()
        if "job" in self.given:
            wanted &= Q(job=self.job)
        if "env" in self.given:
            wanted &= Q(environment=self.environment)
        if "status" in self.given:
            wanted &= STATUSES[self.given["status"]][1]
        if since := moment(self.given.get("since", "")):
            wanted &= Q(created_at__gte=since)
        if until := moment(self.given.get("until", ""), end=True):
            wanted &= Q(created_at__lt=until)
        return wanted

    def _looked_for(self) -> Q:
        wanted = Q()
        if "trigger" in self.given:
            wanted &= Q(trigger__cause_category=TRIGGERS[self.given["trigger"]][1])
        if "by" in self.given:
            wanted &= Q(trigger__user=self.user_id)
        if branch := self.given.get("branch"):
            wanted &= Q(git_branch=branch) | Q(git_branch=None, trigger__git_branch=branch)
        for word in self.given.get("q", "").split():
            wanted &= _holds(word)
        return wanted

    def _said(self, name: str) -> str:
        text = self.given[name]
        return {
            "job": f"Job {self.job}",
            "status": f"Status {STATUSES.get(text, ('', None))[0]}",
            "env": f"Environment {self.environment}",
            "trigger": f"Started by: {TRIGGERS.get(text, ('', None))[0]}",
            "branch": f"Branch {text}",
            "since": f"Since {text}",
            "until": f"Until {text}",
            "q": f"“{text}”",
            "by": "Started by me",
        }[name]


def read(request: HttpRequest, membership: Membership) -> RunFilters:
    """The filters of the address. A job or an environment that is not the account's is a 404."""
    texts = {name: request.GET.get(name, "").strip()[:LONGEST_WORD] for name in NAMES}
    given = {name: text.replace("\0", "") for name, text in texts.items() if text}
    jobs = seen(membership, Job.objects.of_account(membership.account_id))
    job = _named(request, "job", jobs, given)
    environments = seen(membership, Environment.objects.of_account(membership.account_id))
    environment = _named(request, "env", environments, given)
    problems = []
    for name, known in (("status", STATUSES), ("trigger", TRIGGERS), ("by", {ME})):
        if name in given and given[name] not in known:
            words = ", ".join(known)
            problems.append(f"“{given.pop(name)}” is no {name} to filter by. Use {words}.")
    for name in ("since", "until"):
        if name in given and moment(given[name]) is None:
            problems.append(f"“{given.pop(name)}” is no date. Write it like 2026-11-21.")
    return RunFilters(given, membership.user_id, job, environment, tuple(problems))


def choices(membership: Membership) -> dict[str, Any]:
    """What the form's selects offer."""
    account_id = membership.account_id
    jobs = seen(membership, Job.objects.of_account(account_id).active()).order_by("name", "pk")
    environments = seen(membership, Environment.objects.of_account(account_id).active())
    return {
        "statuses": [(value, words) for value, (words, _) in STATUSES.items()],
        "triggers": [(value, words) for value, (words, _) in TRIGGERS.items()],
        "jobs": jobs.only("pk", "name"),
        "environments": environments.select_related("project").order_by("project__name", "name"),
    }


def _named(request: HttpRequest, name: str, rows: QuerySet[Any], given: dict[str, str]) -> Any:
    pk = number(request, name)
    if pk is None:
        given.pop(name, None)
        return None
    row = rows.filter(pk=pk).first()
    if row is None:
        raise Http404
    return row


def _holds(word: str) -> Q:
    """Whether a run's number, job, cause, branch, commit or message has ``word``."""
    text = word.removeprefix("#")
    wanted = Q(pk=int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else Q()
    if word.startswith("#") and wanted:
        return wanted
    return (
        wanted
        | Q(job__name__icontains=word)
        | Q(trigger__cause__icontains=word)
        | Q(git_branch__icontains=word)
        | Q(git_sha__istartswith=word)
        | Q(status_message__icontains=word)
    )
