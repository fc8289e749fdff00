"""What is unwise about a job: dbt's best practices as findings, each with a code and a way out.

Pure: a rule reads the job it is handed and ``Facts``, and asks no database. A rule that cannot
know says nothing. None of it keeps a job from being saved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from itertools import islice, pairwise

from environments.models import DeploymentType
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.errors import CommandRejected
from jobsvc.jobs import schedule
from jobsvc.jobs.extensions import StepPolicy, WhenNoState
from jobsvc.jobs.models import Job, JobType
from jobsvc.jobs.selection import Project, select, worked_on

HOUR = 3600  # seconds
LONGEST_CI = HOUR
LONGEST_INCREMENTAL = 2 * HOUR
LONGEST_BUILD = 8 * HOUR
CLOSE_TO_TIMEOUT = 0.9  # of the timeout
HARD_TO_READ = 7  # what a cron expression may cost its reader; see ``_reading_cost``
TIMES_LOOKED_AT = 50  # of a schedule, to find its shortest interval
LONGEST_SHOWN = 80  # characters of a step in a message

TIMEOUT = "execution.timeout_seconds"

MAKES_MODELS = {"build", "run"}
MAKES_TABLES = {"build", "run", "seed", "snapshot"}
JUDGES_DATA = {"build", "test"}
NEEDS_NO_PACKAGES = {"clean", "debug", "deps"}
NEEDS_NO_TARGET = {"clean", "deps"}  # dbt does not look at their --target
# Without a selection these leave nothing unselected whose relation could be production's.
NEVER_DEFERS = {"build", "list", "seed", "source freshness"}

_COMPARES = re.compile(r"@?[0-9]*\+?(?P<method>state|result|source_status)(?:\.[\w.]+)?:")
_OF_NO_TABLE = re.compile(r"(?:source:|unit_test:|test_type:unit\b|resource_type:unit_test\b)[^+]*")


class Severity(StrEnum):
    """What comes of it: the run fails, it does what nobody wants, or it could be better."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One piece of advice.

    Attributes:
        code: stable, for machines and for people who search.
        field: the API's name of what to change.
        step: the execute step it is about, from 1; None is the job.
        message: what is wrong, a sentence.
        fix: what to do, a sentence.
    """

    code: str
    severity: Severity
    field: str
    step: int | None
    message: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a job beside its own settings. The defaults are "nothing known".

    Attributes:
        now: aware.
        usual_seconds: nine in ten of its latest successful runs took no longer.
        follows_jobs: it starts when another job's run ends.
        has_state: what it defers to has a run whose artifacts can be used.
        project: as a manifest tells of it, which ``source`` names for people.
        longest_run_seconds: after which this server ends any run.
    """

    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    usual_seconds: int | None = None
    follows_jobs: bool = False
    has_state: bool | None = None
    project: Project | None = None
    source: str = "the newest manifest"
    longest_run_seconds: int | None = None


def advise(job: Job, facts: Facts) -> list[Finding]:
    """All there is to say about ``job``, the gravest first, then in the order of its steps."""
    case = _Case(job, facts)
    found = [Finding(code=rule.__name__, **vars(said)) for rule in RULES for said in rule(case)]
    gravity = list(Severity)
    return sorted(found, key=lambda one: (gravity.index(one.severity), one.step or 0))


# --- A job as the rules see it -----------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    number: int  # from 1
    command: DbtCommand
    on_failure: StepPolicy

    @property
    def does(self) -> str:
        return self.command.subcommand

    @property
    def shown(self) -> str:
        text = self.command.text
        return f"`{text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + '…'}`"

    @property
    def terms(self) -> tuple[str, ...]:
        """What follows ``--select``, under either of its names."""
        return (*self.words("select"), *self.words("models"))

    @property
    def selection(self) -> tuple[tuple[str, ...], ...]:
        """What is selected and left out, whatever the order of the words."""
        others = ("exclude", "selector", "resource_types", "exclude_resource_types")
        return tuple(tuple(sorted(words)) for words in (self.terms, *map(self.words, others)))

    @property
    def compares_by(self) -> set[str]:
        """``state``, ``result``, ``source_status``: what of an earlier run its selection needs."""
        terms = (*self.terms, *self.words("exclude"))
        parts = [part for term in terms for part in term.split(",")]
        return {found["method"] for part in parts if (found := _COMPARES.match(part))}

    def words(self, name: str) -> tuple[str, ...]:
        return self.command.options.get(name, ())

    def has(self, switch: str) -> bool:
        return self.words(switch) == ("true",)


class _Case:
    def __init__(self, job: Job, facts: Facts) -> None:
        self.job, self.facts = job, facts
        self.steps: list[_Step] = []
        self.rejected: list[tuple[int, str]] = []
        extended = job.extended
        for number, text in enumerate(job.execute_steps, start=1):
            try:
                command = DbtCommand.parse(text, index=number)
            except CommandRejected as rejected:
                self.rejected.append((number, str(rejected)))
            else:
                policy = extended.step(number - 1).on_failure
                self.steps.append(_Step(number, command, policy))

    @property
    def defers(self) -> bool:
        job = self.job
        return job.deferring_job_id is not None or job.deferring_environment_id is not None

    @property
    def deferral_field(self) -> str:
        if self.job.deferring_job_id is not None:
            return "deferring_job_definition_id"
        return "deferring_environment_id"

    @property
    def is_scheduled(self) -> bool:
        return self.job.triggers_schedule and bool(self.job.cron)

    @property
    def is_for_pull_requests(self) -> bool:
        job = self.job
        return job.is_ci or job.triggers_github_webhook or job.triggers_git_provider_webhook

    def that(self, *commands: str) -> list[_Step]:
        return [step for step in self.steps if step.does in commands]

    def before(self, step: _Step, commands: Collection[str]) -> list[_Step]:
        return [one for one in self.that(*commands) if one.number < step.number]

    def after(self, step: _Step, commands: Collection[str]) -> list[_Step]:
        return [one for one in self.that(*commands) if one.number > step.number]

    def selects(self, step: _Step) -> bool:
        """Whether the step narrows what it works on; leaving something out does not count."""
        project = self.facts.project
        by_default = project is not None and project.has_default_selector
        return bool(step.terms or step.words("selector")) or by_default

    def builds_all(self, step: _Step) -> bool:
        return step.does == "build" and not any(step.selection) and not self.selects(step)

    def models_read(self, resource_type: str) -> bool | None:
        """Whether some model reads a seed, or a snapshot; None where that is not known."""
        if self.facts.project is None:
            return None
        nodes = self.facts.project.nodes
        return any(
            parent in nodes and nodes[parent].resource_type == resource_type
            for node in nodes.values()
            if node.resource_type == "model"
            for parent in node.parents
        )


@dataclass(frozen=True)
class _Said:
    """What a rule says: a finding without its code, which is the rule's name."""

    severity: Severity
    message: str
    fix: str
    step: int | None = None
    field: str = "execute_steps"


Rule = Callable[[_Case], Iterator[_Said]]

_error = partial(_Said, Severity.ERROR)
_warning = partial(_Said, Severity.WARNING)
_hint = partial(_Said, Severity.HINT)


# --- Steps that cannot work --------------------------------------------------------------------


def invalid_step(case: _Case) -> Iterator[_Said]:
    for number, message in case.rejected:
        yield _error(message, "Change the step: with it, every run fails.", number)


def wrong_target(case: _Case) -> Iterator[_Said]:
    own = case.job.target_name
    for step in case.steps:
        target = step.command.target
        if target not in {None, own} and step.does not in NEEDS_NO_TARGET:
            yield _error(
                f"A run has one target, here `{own}`, so that `--target {target}` fails.",
                f"Take `--target {target}` out, or set settings.target_name to {target}.",
                step.number,
            )


def state_without_deferral(case: _Case) -> Iterator[_Said]:
    if case.defers:
        return
    for step in case.steps:
        folder = step.command.state or next(iter(step.words("defer_state")), None)
        needs = [f"{method}:" for method in sorted(step.compares_by)]
        needs += ["--defer"] if step.has("defer") else []
        if not step.command.takes_state:
            continue
        if folder:
            yield _warning(
                f"The folder `{folder}` is empty unless the repository has it, for this job "
                "defers to nothing.",
                "Set deferring_environment_id to production, and the folder will hold its state.",
                step.number,
                "deferring_environment_id",
            )
        elif needs:
            yield _error(
                f"There is nothing that `{' and '.join(needs)}` in step {step.number} could "
                "compare with, so that dbt fails.",
                "Set deferring_environment_id, most often to the production environment.",
                step.number,
                "deferring_environment_id",
            )


def source_status_without_freshness(case: _Case) -> Iterator[_Said]:
    for step in case.steps:
        looked = case.job.run_generate_sources or case.before(step, {"source freshness"})
        if "source_status" in step.compares_by and not looked:
            yield _error(
                f"{step.shown} compares how fresh the sources are, which the run has not looked "
                "at by then.",
                "Set run_generate_sources, or put the step `dbt source freshness` before it.",
                step.number,
                "run_generate_sources",
            )


def missing_deps(case: _Case) -> Iterator[_Said]:
    """Every run installs the packages before its first step; only ``dbt clean`` undoes that."""
    packages = case.facts.project.packages if case.facts.project else None
    if packages is not None and not packages:
        return
    named = f" ({', '.join(sorted(packages))})" if packages else ""
    say = _warning if packages else _hint
    for clean in case.that("clean"):
        later = [one for one in case.steps if one.number > clean.number]
        following = [one for one in later if one.does not in NEEDS_NO_PACKAGES]
        if following and not any(
            one.does == "deps" and one.number < following[0].number for one in later
        ):
            yield say(
                f"Step {clean.number} deletes the packages{named} where clean-targets name their "
                f"folder, and {following[0].shown} fails without them.",
                f"Put `dbt deps` after step {clean.number}, or take `dbt clean` out: every run "
                "has a fresh checkout.",
                following[0].number,
            )


# --- The order of steps ------------------------------------------------------------------------


def test_before_build(case: _Case) -> Iterator[_Said]:
    for step in case.that("test"):
        later = [one for one in case.after(step, MAKES_MODELS) if not case.builds_all(one)]
        if later and not case.before(step, MAKES_MODELS) and not _tests_no_table(step):
            yield _warning(
                f"{step.shown} tests what an earlier run built, for step {later[0].number} builds "
                "only after it.",
                f"Move it after step {later[0].number}, or let one `dbt build` do both.",
                step.number,
            )


def seed_after_build(case: _Case) -> Iterator[_Said]:
    if case.models_read("seed") is False:
        return
    for step in case.that("seed"):
        earlier = [one for one in case.before(step, MAKES_MODELS) if not case.builds_all(one)]
        if earlier:
            yield _warning(
                f"{step.shown} comes after step {earlier[0].number}, whose models read the seeds "
                "of the run before.",
                f"Move it before step {earlier[0].number}, or let one `dbt build` do both.",
                step.number,
            )


def snapshot_after_build(case: _Case) -> Iterator[_Said]:
    """Snapshots come first, unless they are taken of models alone; a manifest tells."""
    are_read = case.models_read("snapshot")
    if are_read is False:
        return
    say = _warning if are_read else _hint
    for step in case.that("snapshot"):
        earlier = [one for one in case.before(step, MAKES_MODELS) if not case.builds_all(one)]
        if earlier:
            yield say(
                f"A model of step {earlier[0].number} that reads a snapshot sees it as it was "
                f"before {step.shown}.",
                f"Move it before step {earlier[0].number}, or use `dbt build`, which knows the "
                "order.",
                step.number,
            )


def docs_before_build(case: _Case) -> Iterator[_Said]:
    for step in case.that("docs generate"):
        if later := case.after(step, MAKES_TABLES):
            yield _warning(
                f"The documentation describes the tables as they were before step "
                f"{later[0].number}.",
                "Take the step out and set generate_docs, which comes after all steps.",
                step.number,
            )


def deps_not_first(case: _Case) -> Iterator[_Said]:
    for step in case.that("deps"):
        earlier = [one for one in case.steps if one.number < step.number]
        using = [one for one in earlier if one.does not in NEEDS_NO_PACKAGES]
        if using and not case.before(step, {"clean", "deps"}):
            yield _hint(
                f"{step.shown} comes after step {using[0].number}, which has used the packages.",
                "Make it the first step, or take it out: every run installs the packages before "
                "its first step.",
                step.number,
            )


# --- Work done twice ---------------------------------------------------------------------------


def repeated_deps(case: _Case) -> Iterator[_Said]:
    for first, second in pairwise(case.that("deps")):
        if not any(first.number < clean.number < second.number for clean in case.that("clean")):
            yield _hint(
                f"The packages are installed again, as in step {first.number}.",
                "Take the step out.",
                second.number,
            )


def double_work(case: _Case) -> Iterator[_Said]:
    """``dbt build`` seeds, snapshots, runs and tests; a step of these on the same is in vain."""
    for step in case.that("run", "test", "seed", "snapshot"):
        covering = [
            build
            for build in case.that("build")
            if (case.builds_all(build) or build.selection == step.selection)
            and build.words("vars") == step.words("vars")
            and not build.has("empty")
        ]
        if covering and not step.has("full_refresh"):
            yield _warning(
                f"{step.shown} does again what {covering[0].shown} of step "
                f"{covering[0].number} does.",
                "Take the step out: `dbt build` seeds, snapshots, runs and tests in the right "
                "order.",
                step.number,
            )


def repeated_step(case: _Case) -> Iterator[_Said]:
    first: dict[tuple[str, ...], int] = {}
    for step in case.steps:
        seen = first.setdefault(step.command.arguments, step.number)
        if seen != step.number and step.does not in NEEDS_NO_PACKAGES:
            yield _warning(
                f"{step.shown} is step {seen} over again.", "Take the step out.", step.number
            )


def use_build(case: _Case) -> Iterator[_Said]:
    for run in case.that("run") if not case.that("build") else ():
        alike = [one for one in case.steps if one.selection == run.selection]
        done = [one.does for one in alike if one.does in {"seed", "snapshot", "run", "test"}]
        if any(one.does == "test" and one.number > run.number for one in alike):
            build = re.sub(r"\brun\b", "build", run.command.text, count=1)
            yield _hint(
                "Models are tested only when all are built, so that bad data has got further by "
                "then.",
                f"Write `{build}` in place of {_listed(sorted(set(done), key=done.index))}: it "
                "tests each model before others read it.",
                run.number,
            )


def docs_twice(case: _Case) -> Iterator[_Said]:
    for step in case.that("docs generate") if case.job.generate_docs else ():
        yield _warning(
            "The documentation is generated twice: by this step and by generate_docs.",
            "Take the step out; what generate_docs adds comes last and cannot fail the run.",
            step.number,
        )


def freshness_twice(case: _Case) -> Iterator[_Said]:
    for step in case.that("source freshness") if case.job.run_generate_sources else ():
        if not any(step.selection):
            yield _hint(
                "The freshness of sources is looked at twice: by this step and by "
                "run_generate_sources.",
                "Keep the step if stale sources are to end the run, else run_generate_sources.",
                step.number,
                "run_generate_sources",
            )


# --- What steps select -------------------------------------------------------------------------


def selects_nothing(case: _Case) -> Iterator[_Said]:
    project = case.facts.project
    for step in case.steps:
        if project is None or not (step.terms or step.words("exclude")):
            continue
        empty = [term for term in step.terms if select(project, [term]) == frozenset()]
        if worked_on(project, step.command) == frozenset():
            told = f"{step.shown} finds nothing to work on"
        elif empty:
            told = f"{' and '.join(f'`{term}`' for term in empty)} in step {step.number} is nothing"
        else:
            continue
        yield _warning(
            f"{told}, by {case.facts.source}; dbt calls that a success.",
            "Correct the name, tag or path; `dbt list` with the same selection shows what it "
            "finds.",
            step.number,
        )


def unknown_selector(case: _Case) -> Iterator[_Said]:
    project = case.facts.project
    for step in case.steps:
        for name in step.words("selector"):
            if project is not None and name not in project.selectors:
                known = ", ".join(sorted(project.selectors))
                yield _warning(
                    f"There is no selector `{name}` in selectors.yml, by {case.facts.source}.",
                    f"Use one of: {known}." if known else "Define it in selectors.yml.",
                    step.number,
                )


def full_refresh_on_schedule(case: _Case) -> Iterator[_Said]:
    for step in case.that("build", "run") if case.is_scheduled else ():
        if step.has("full_refresh"):
            yield _warning(
                "Every scheduled run drops the incremental models and builds them anew from all "
                "data.",
                "Take --full-refresh out, and give it by steps_override to the one run that needs "
                "it.",
                step.number,
            )


def goes_on_after_failed_tests(case: _Case) -> Iterator[_Said]:
    if case.job.is_ci or case.job.environment.deployment_type == DeploymentType.STAGING:
        return
    for step in case.steps:
        warns = step.on_failure == StepPolicy.WARN
        goes_on = step.on_failure == StepPolicy.CONTINUE and step is not case.steps[-1]
        if step.does in JUDGES_DATA and (warns or goes_on):
            effect = "the run counts as a success" if warns else "the run goes on"
            yield _warning(
                f"Where a test of {step.shown} fails, {effect}, and bad data gets further.",
                "Set the step's on_failure to stop, and give the tests that may fail the severity "
                "warn.",
                step.number,
                "extensions.steps",
            )


# --- CI and deferral ---------------------------------------------------------------------------


def ci_without_deferral(case: _Case) -> Iterator[_Said]:
    if case.job.is_ci and not case.defers:
        yield _warning(
            "This CI job has nothing to compare a pull request with, so that it cannot build only "
            "what changed.",
            "Set deferring_environment_id to production, and select `state:modified+`.",
            field="deferring_environment_id",
        )


def ci_defers_to_itself(case: _Case) -> Iterator[_Said]:
    if case.job.is_ci and case.job.self_defers:
        yield _warning(
            "This CI job compares with its own last run: another pull request's, in a schema that "
            "may be gone.",
            "Set deferring_environment_id to production instead.",
            field="deferring_job_definition_id",
        )


def full_build_in_ci(case: _Case) -> Iterator[_Said]:
    for step in case.that("build", "run", "test") if case.job.is_ci else ():
        if not case.selects(step):
            yield _warning(
                f"{step.shown} works on the whole project for every commit of a pull request.",
                f"Write `dbt {step.does} --select state:modified+`, and defer to production.",
                step.number,
            )


def deferral_unused(case: _Case) -> Iterator[_Said]:
    job = case.job
    used = job.run_lint or job.run_compare_changes or any(map(_uses_state, case.steps))
    if case.defers and not used and not job.is_ci and not case.rejected:
        yield _hint(
            "This job defers, and no step of it has a use for that: they leave nothing unselected.",
            f"Select with `state:modified+` or the like, or set {case.deferral_field} to null.",
            field=case.deferral_field,
        )


def no_state_yet(case: _Case) -> Iterator[_Said]:
    is_strict = case.job.job_type in {JobType.CI, JobType.MERGE}
    wanted = case.job.extended.deferral.when_no_state
    fails = wanted == WhenNoState.FAIL or (wanted is None and is_strict)
    if case.defers and case.facts.has_state is False and fails:
        yield _warning(
            "What this job defers to has had no successful run, and without one each run of this "
            "job fails.",
            "Let a run there succeed, or set extensions.deferral.when_no_state to build_all.",
            field=case.deferral_field,
        )


# --- When, and how long ------------------------------------------------------------------------


def schedule_shorter_than_run(case: _Case) -> Iterator[_Said]:
    usual = case.facts.usual_seconds
    if usual is None or not case.is_scheduled:
        return
    gaps = [after - before for before, after in pairwise(_next_times(case, case.job.cron))]
    interval = int(min(gaps).total_seconds()) if gaps else usual
    if usual > interval:
        yield _warning(
            f"Runs are due every {_duration(interval)}, and one in ten takes longer than "
            f"{_duration(usual)}: they wait for each other, and some are dropped.",
            f"Leave more than {_duration(usual)} between runs, or let each do less.",
            field="schedule",
        )


def several_purposes(case: _Case) -> Iterator[_Said]:
    starts = {
        "pull requests": case.is_for_pull_requests,
        "a schedule": case.is_scheduled,
        "merges": case.job.triggers_on_merge,
        "the end of other jobs": case.facts.follows_jobs,
    }
    purposes = [name for name, on in starts.items() if on]
    say = _warning if case.is_for_pull_requests else _hint
    if len(purposes) > 1:
        yield say(
            f"This job is started by {_listed(purposes)}: what is good for one is not for the "
            "others, and its history mixes them.",
            "Make a job for each purpose.",
            field="triggers",
        )


def unreadable_cron(case: _Case) -> Iterator[_Said]:
    cron = case.job.cron
    if _is_written_by_hand(case) and _reading_cost(cron) > HARD_TO_READ:
        shorter = " ".join(map(_shortened, cron.split()))
        means_the_same = shorter != cron and _next_times(case, shorter) == _next_times(case, cron)
        yield _hint(
            f"Few people can say when `{cron}` comes round.",
            (f"Write `{shorter}`, which is the same, or choose" if means_the_same else "Choose")
            + " a simpler rhythm, such as `0 6 * * *` or `*/30 * * * *`.",
            field="schedule.cron",
        )


def either_day(case: _Case) -> Iterator[_Said]:
    cron = case.job.cron
    if _is_written_by_hand(case):
        _minute, _hour, of_month, _month, of_week = cron.split()
        if not of_month.startswith("*") and not of_week.startswith("*"):
            yield _hint(
                f"`{cron}` comes round on the days {of_month} of the month and on each day "
                f"{of_week} of the week, not only where both agree.",
                "Set one of the two to `*`, unless this is what you want.",
                field="schedule.cron",
            )


def ci_without_timeout(case: _Case) -> Iterator[_Said]:
    if case.job.is_ci and case.job.timeout_seconds == 0:
        yield _warning(
            "A CI run that hangs keeps its pull request waiting, for this job has no timeout.",
            "Set 1800 to 3600 seconds.",
            field=TIMEOUT,
        )


def timeout_beyond_limit(case: _Case) -> Iterator[_Said]:
    limit, timeout = case.facts.longest_run_seconds, case.job.timeout_seconds
    if limit is not None and timeout > limit:
        yield _warning(
            f"The timeout of {_duration(timeout)} never comes: this server ends every run after "
            f"{_duration(limit)}.",
            f"Set at most {limit} seconds.",
            field=TIMEOUT,
        )


def timeout_long(case: _Case) -> Iterator[_Said]:
    timeout, advised = case.job.timeout_seconds, _longest_advised(case)
    if timeout > advised:
        yield _hint(
            f"A run that hangs is noticed only after {_duration(timeout)}.",
            f"Set at most {advised} seconds for a job of this kind.",
            field=TIMEOUT,
        )


def timeout_too_short(case: _Case) -> Iterator[_Said]:
    timeout, usual = case.job.timeout_seconds, case.facts.usual_seconds
    if usual is not None and timeout > 0 and usual > timeout * CLOSE_TO_TIMEOUT:
        yield _warning(
            f"One run in ten takes longer than {_duration(usual)}, and the timeout comes after "
            f"{_duration(timeout)}.",
            f"Set at least {2 * usual} seconds, or let the run do less.",
            field=TIMEOUT,
        )


# The name of a rule is the code of what it finds, and part of the API.
RULES: tuple[Rule, ...] = (
    invalid_step,
    wrong_target,
    state_without_deferral,
    source_status_without_freshness,
    missing_deps,
    test_before_build,
    seed_after_build,
    snapshot_after_build,
    docs_before_build,
    deps_not_first,
    repeated_deps,
    double_work,
    repeated_step,
    use_build,
    docs_twice,
    freshness_twice,
    selects_nothing,
    unknown_selector,
    full_refresh_on_schedule,
    goes_on_after_failed_tests,
    ci_without_deferral,
    ci_defers_to_itself,
    full_build_in_ci,
    deferral_unused,
    no_state_yet,
    schedule_shorter_than_run,
    several_purposes,
    unreadable_cron,
    either_day,
    ci_without_timeout,
    timeout_beyond_limit,
    timeout_long,
    timeout_too_short,
)


# --- What several rules ask --------------------------------------------------------------------


def _tests_no_table(step: _Step) -> bool:
    """Whether its tests are of sources, or of a model's logic: no step builds what they read."""
    return step.words("resource_types") == ("unit_test",) or (
        bool(step.terms) and all(map(_OF_NO_TABLE.fullmatch, step.terms))
    )


def _uses_state(step: _Step) -> bool:
    if not step.command.takes_state:
        return step.does == "retry"
    leaves_out = any(step.selection) or step.does not in NEVER_DEFERS
    return bool(step.compares_by) or (leaves_out and step.words("defer") != ("false",))


def _next_times(case: _Case, cron: str) -> list[datetime]:
    """The next times of ``cron`` in the job's zone; none where it cannot be read."""
    times = schedule.times(cron, after=case.facts.now, timezone=case.job.timezone)
    try:
        return list(islice(times, TIMES_LOOKED_AT))
    except schedule.BadSchedule:
        return []


def _is_written_by_hand(case: _Case) -> bool:
    """Whether a person wrote the cron; what was made of picked days and hours nobody reads."""
    date = (case.job.schedule or {}).get("date") or {}
    return (
        case.is_scheduled
        and len(case.job.cron.split()) == schedule.FIELDS
        and date.get("type", "custom_cron") in {"custom_cron", "interval_cron"}
    )


def _reading_cost(cron: str) -> int:
    """How much a reader keeps in mind: 1 for each value, 1 more for a range, and for a step."""
    items = [item for part in cron.split() for item in part.split(",") if item != "*"]
    return sum(1 + ("-" in item) + ("/" in item) for item in items)


def _shortened(part: str) -> str:
    """A field that lists evenly spaced numbers as a range with a step; any other unchanged."""
    items = part.split(",")
    if len(items) < 3 or not all(item.isdecimal() for item in items):
        return part
    numbers = sorted(map(int, items))
    steps = {after - before for before, after in pairwise(numbers)}
    if len(steps) > 1 or 0 in steps:
        return part
    return f"{numbers[0]}-{numbers[-1]}" + ("" if steps == {1} else f"/{steps.pop()}")


def _longest_advised(case: _Case) -> int:
    """Seconds: CI answers soon, an incremental update takes no longer than a build of all."""
    if case.job.is_ci:
        return LONGEST_CI
    making = case.that(*MAKES_MODELS)
    is_incremental = bool(making) and all(
        step.terms and all("config.materialized:incremental" in term for term in step.terms)
        for step in making
    )
    return LONGEST_INCREMENTAL if is_incremental else LONGEST_BUILD


def _duration(seconds: int) -> str:
    """As people say it: 90 seconds, 45 minutes, 2.5 hours."""
    units = {"hour": HOUR, "minute": 60, "second": 1}
    name = next((name for name, unit in units.items() if seconds >= 2 * unit), "second")
    number = f"{seconds / units[name]:.1f}".removesuffix(".0")
    return f"{number} {name}s"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
