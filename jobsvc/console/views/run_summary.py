"""What a run came to so far: what failed and since when, what is being built, what is near it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet, Subquery

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.views.run_header import RETRIED
from jobsvc.engine.events import RUNNING
from jobsvc.engine.results import FAILED
from jobsvc.runs.looks import Look, look_of_node
from jobsvc.runs.models import NodeResult, Run, RunStep, RunTrigger
from jobsvc.statuses import RunStatus

SLOWEST = 5  # nodes
JUST_ENDED = 5  # nodes
AT_WORK = 30  # nodes shown as being built
FAILED_SHOWN = 500  # failed nodes read, to be told by what they say
BOXES = 20  # different errors shown; the rest are on the page of results
NAMED = 8  # nodes named of one error
WARNED_SHOWN = 30
LOOKED_BACK = 50  # earlier runs in which a failed node is looked for
SAME_COMMIT = 5  # runs
RELATED = 20  # runs shown of each kind

WARNED = "warn"
SKIPPED = "skipped"
TESTS = {"test", "unit_test"}
# What ended without anything to say of the node: neither of these begins or ends a row of failures.
SAYS_NOTHING = {SKIPPED, RUNNING, "cancelled", "reused", "no-op"}


@dataclass
class Failure:
    """One error, and the nodes that met it.

    Attributes:
        since: the first run in the row of failures that this run ends; None if that is this one.
        in_a_row: how many earlier runs it failed in.
    """

    message: str
    nodes: list[NodeResult] = field(default_factory=list)
    since: int | None = None
    in_a_row: int = 0

    @property
    def named(self) -> Sequence[NodeResult]:
        return self.nodes[:NAMED]

    @property
    def others(self) -> int:
        return len(self.nodes) - len(self.named)


@dataclass(frozen=True)
class Tally:
    """How many nodes came to one status, in the look of that."""

    status: str
    look: Look
    number: int


@dataclass(frozen=True)
class Progress:
    """How far a run that goes on has come.

    Attributes:
        expected: nodes that the job's last successful run had; 0 where there was none.
    """

    done: int
    expected: int
    at_work: Sequence[NodeResult]
    just_ended: Sequence[NodeResult]


@dataclass(frozen=True)
class Related:
    """Another run, and what it is to this one."""

    words: str
    run: Run


@dataclass(frozen=True)
class Summary:
    """What became of a run's nodes.

    Attributes:
        headline: what failed, in words; empty where nothing did.
        number: of all nodes.
        again: how many nodes a retry would repeat, by the id of their step.
    """

    headline: str
    failures: Sequence[Failure]
    other_failures: int
    tallies: Sequence[Tally]
    number: int
    slowest: Sequence[NodeResult]
    warned: Sequence[NodeResult]
    other_warned: int
    again: Mapping[int, int]


def summary_of(run: Run) -> Summary:
    """What became of the nodes of ``run``: three queries, however many there are."""
    nodes = NodeResult.objects.filter(run=run)
    counts, by_status, again = Counter[tuple[str, str]](), Counter[str](), Counter[int]()
    for step, status, kind, number in (
        nodes.values("step", "status", "resource_type")
        .annotate(number=Count("pk"))
        .values_list("step", "status", "resource_type", "number")
    ):
        counts[status, kind] += number
        by_status[status] += number
        again[step] += number if status in RETRIED else 0
    notable = _notable(nodes) if counts else []
    failed = [node for node in notable if node.status in FAILED]
    warned = [node for node in notable if node.status == WARNED]
    ended = [node for node in notable if node.took is not None]
    failures = _by_message(failed)
    _since(run, failures[:BOXES])
    return Summary(
        headline=headline(counts),
        failures=failures[:BOXES],
        other_failures=len(failures[BOXES:]),
        tallies=_tallies(by_status),
        number=by_status.total(),
        slowest=sorted(ended, key=_length, reverse=True)[:SLOWEST],
        warned=warned[:WARNED_SHOWN],
        other_warned=by_status[WARNED] - len(warned[:WARNED_SHOWN]),
        again=again,
    )


def _notable(nodes: QuerySet[NodeResult]) -> list[NodeResult]:
    """What failed, what warned, and what took longest."""
    took = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())
    longest = (
        nodes.filter(started_at__isnull=False, finished_at__isnull=False)
        .annotate(length=took)
        .order_by("-length")
        .values("pk")[:SLOWEST]
    )
    telling = nodes.filter(status__in=[*FAILED, WARNED]).order_by("pk").values("pk")[:FAILED_SHOWN]
    return list(
        nodes.filter(Q(pk__in=Subquery(longest)) | Q(pk__in=Subquery(telling)))
        .select_related("step")
        .order_by("pk")
    )


def _length(node: NodeResult) -> float:
    return node.took.total_seconds() if node.took else 0.0


def headline(counts: Mapping[tuple[str, str], int]) -> str:
    """``1 model and 2 tests failed, 6 nodes skipped downstream``; empty where nothing failed.

    Args:
        counts: (status, type) to how many nodes.
    """
    failed = Counter[str]()
    for (status, kind), number in counts.items():
        if status in FAILED:
            failed["test" if kind in TESTS else kind or "node"] += number
    if not failed:
        return ""
    kinds = [_counted(number, kind) for kind, number in sorted(failed.items())]
    skipped = sum(number for (status, _kind), number in counts.items() if status == SKIPPED)
    words = f"{', '.join(kinds[:-1])} and {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    return f"{words} failed" + (f", {_counted(skipped, 'node')} skipped" if skipped else "")


def _counted(number: int, kind: str) -> str:
    words = kind.replace("_", " ")
    return f"{number} {words}{'' if number == 1 else 's'}"


def _tallies(by_status: Counter[str]) -> list[Tally]:
    order = {"err": 0, "warn": 1, "run": 2, "ok": 3, "mut": 4}
    tallies = [Tally(status, look_of_node(status), number) for status, number in by_status.items()]
    return sorted(tallies, key=lambda tally: (order[tally.look.tone], tally.status))


def _by_message(failed: Sequence[NodeResult]) -> list[Failure]:
    found: dict[str, Failure] = {}
    for node in failed:
        message = node.message.strip() or "dbt says nothing of it."
        found.setdefault(message, Failure(message)).nodes.append(node)
    return list(found.values())


def _since(run: Run, failures: Sequence[Failure]) -> None:
    """Find out since which run each of ``failures`` goes on, by its first node: one query."""
    wanted = {failure.nodes[0].unique_id for failure in failures}
    if not wanted:
        return
    rows = failures_in_a_row(run, wanted)
    for failure in failures:
        earlier = rows[failure.nodes[0].unique_id]
        failure.in_a_row = len(earlier)
        failure.since = earlier[-1] if earlier else None


def failures_in_a_row(run: Run, unique_ids: Collection[str]) -> dict[str, list[int]]:
    """For each node the runs before ``run`` in which it failed without a success in between.

    Of a pull request's run only runs of the same pull request count. Newest first; a run in
    which nothing was said of a node is passed over.
    """
    before = Run.objects.filter(
        job=run.job_id, concurrency_key=run.concurrency_key, pk__lt=run.pk
    ).order_by("-pk")
    found: dict[str, list[int]] = {unique_id: [] for unique_id in unique_ids}
    over = set()
    for unique_id, earlier, status in (
        NodeResult.objects.filter(
            run__in=before.values("pk")[:LOOKED_BACK], unique_id__in=unique_ids
        )
        .exclude(status__in=SAYS_NOTHING)
        .order_by("-run", "-step__index")
        .values_list("unique_id", "run_id", "status")
    ):
        if unique_id in over or earlier in found[unique_id]:
            continue
        if status in FAILED:
            found[unique_id].append(earlier)
        else:
            over.add(unique_id)
    return found


def progress_of(run: Run, summary: Summary) -> Progress | None:
    """How far ``run`` has come; None where none of its nodes has begun."""
    if not summary.number:
        return None
    nodes = NodeResult.objects.filter(run=run).defer("message").select_related("step")
    last = (
        Run.objects.filter(job=run.job_id, status=RunStatus.SUCCESS, pk__lt=run.pk)
        .order_by("-pk")
        .values("pk")[:1]
    )
    at_work = list(nodes.filter(status=RUNNING).order_by("started_at", "pk")[:AT_WORK])
    running = sum(tally.number for tally in summary.tallies if tally.status == RUNNING)
    ended = nodes.filter(finished_at__isnull=False).order_by("-finished_at", "-pk")
    return Progress(
        done=summary.number - running,
        expected=NodeResult.objects.filter(run__in=last).count(),
        at_work=at_work,
        just_ended=list(ended[:JUST_ENDED]),
    )


def place_in_line(run: Run) -> int:
    """How many runs of the account that wait were queued before ``run``, and this one: from 1."""
    return Run.objects.queued().filter(account=run.account_id, pk__lte=run.pk).count()


def related_runs(run: Run, membership: Membership) -> list[Related]:
    """Retries, what started ``run`` and what it started, and runs of the same commit: one query."""
    runs = Run.objects.of_account(run.account_id)
    named = [run.retrying_run_id, run.trigger.caused_by_run_id, run.deferring_run_id]
    wanted = [
        runs.filter(pk__in=[number for number in named if number]),
        # Of its account anyway: asked for that as well, SQLite goes through all of the account.
        Run.objects.filter(retrying_run=run),
        runs.filter(pk__in=RunTrigger.objects.filter(caused_by_run=run).values("run")),
    ]
    if run.git_sha:
        same = runs.filter(project=run.project_id, git_sha=run.git_sha)
        newest = same.exclude(pk=run.pk).order_by("-pk").values("pk")[:SAME_COMMIT]
        wanted.append(runs.filter(pk__in=Subquery(newest)))
    first, *others = (one.select_related("job", "trigger").order_by() for one in wanted)
    found = {other.pk: other for other in first.union(*others, all=True)}
    related = [
        Related(_what_it_is(run, other), other)
        for other in found.values()
        if membership.may(Action.READ, other)
    ]
    return sorted(related, key=lambda one: -one.run.pk)[:RELATED]


def _what_it_is(run: Run, other: Run) -> str:
    if other.retrying_run_id == run.pk:
        return "Retried this run"
    if other.pk == run.retrying_run_id:
        return "Retried by this run"
    if other.pk == run.trigger.caused_by_run_id:
        return "Its end started this run"
    if other.pk == run.deferring_run_id:
        return "This run deferred to it"
    if other.trigger.caused_by_run_id == run.pk:
        return "Started by this run's end"
    return "Of the same commit"


def unexplained(steps: Sequence[RunStep], summary: Summary) -> list[RunStep]:
    """The steps that failed with a message, and of which no failed node tells why."""
    told = {node.step_id for failure in summary.failures for node in failure.nodes}
    return [
        step
        for step in steps
        if step.status == RunStatus.ERROR and step.message and step.pk not in told
    ]
