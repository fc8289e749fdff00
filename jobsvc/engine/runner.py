"""One run from an empty directory to its outcome: checkout, profile, then each dbt step.

Runs in the run's own supervisor process, in its main thread, and knows nothing of who asked.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from filecmp import cmp
from functools import partial
from pathlib import Path

from jobsvc.engine import artifacts, clone, compare, guard, lint, names, results, sandbox
from jobsvc.engine.aside import Aside, AsideEnd, Found
from jobsvc.engine.attempts import keep_trying, together
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.environment import child_confinement, child_environment
from jobsvc.engine.errors import (
    CommandRejected,
    NoSpaceLeft,
    OutsideSchema,
    ProjectNotFound,
    RunFailure,
)
from jobsvc.engine.events import EventLog
from jobsvc.engine.failures import class_of_failure, class_of_step
from jobsvc.engine.plan import FailureClass, OnFailure, RunPlan, StepKind, StepPlan
from jobsvc.engine.ports import (
    SKIPPED,
    CollectedFile,
    Ending,
    NodeEvent,
    Outcome,
    Recorder,
    StepEnd,
    Stream,
)
from jobsvc.engine.process import ProcessEnd, run_process
from jobsvc.engine.profiles import write_profile
from jobsvc.engine.projectfiles import check_project_files
from jobsvc.engine.redact import Redactor
from jobsvc.engine.results import RUN_RESULTS, NodeResult
from jobsvc.engine.state import State, in_words
from jobsvc.engine.steplog import FollowedFile, StepLog
from jobsvc.engine.workspace import StepDirectories, Workspace, write_private

DEBUG_LOG = "dbt.log"
SOURCES = "sources.json"
OWN_FILES = (lint.ARTIFACT, compare.ARTIFACT)  # no dbt writes these: a project would forge them
RETRY = "dbt retry"
TICK = 0.5  # seconds between two looks at whether to go on waiting
INFINITE = float("inf")
# Bytes kept, at the least, of what a program says that a step starts beside its command: a
# listing of 30,000 nodes is all there.
LONGEST_ASIDE = 8 * 1024**2


def run(plan: RunPlan, recorder: Recorder) -> Outcome:
    """Carry out ``plan``, telling ``recorder`` everything as it happens.

    The workspace is ``workspace_of(plan)``; it is made here and left for the caller to remove.
    Every step of the plan is ended exactly once, in order; those not reached, as skipped.

    Raises:
        LeaseLost: as the recorder raised it; nothing more is recorded then.
        FileExistsError: the workspace is there already.
    """
    return _Run(plan, recorder).carry_out()


def workspace_of(plan: RunPlan) -> Path:
    """Where the run has its workspace: a name that no other attempt has."""
    return Path(plan.workspaces) / f"run-{plan.run_id}-{plan.attempt}"


def secrets_of(plan: RunPlan) -> list[str]:
    """Every value that must not leave the run, wherever the plan holds it."""
    checkout = plan.checkout
    values = {*plan.secrets, *plan.profile.secrets.values()}
    return sorted(filter(None, values | {checkout.password, checkout.private_key}))


class _Run:
    """The state of one run while it goes on."""

    def __init__(self, plan: RunPlan, recorder: Recorder) -> None:
        self._plan = plan
        self._recorder = recorder
        self._started = time.monotonic()
        self._secrets = secrets_of(plan)
        self._commit = clone.Commit(sha="", branch="")
        self._earlier: StepDirectories | None = None
        self._retryable_results: Path | None = None
        self._sources: Path | None = None  # what the last step found that asked how fresh they are
        self._to_resume: dict[int, Path] = {}  # by step: results that `dbt retry` can go on from
        self._invocations: Counter[int] = Counter()  # of dbt, by step
        self._stale: dict[int, list[str]] = {}  # by step: sources found too old
        self._tried: dict[int, StepEnd] = {}  # by step: what its attempts so far left
        self._failed: list[Outcome] = []  # of steps whose failure let the run go on
        self._built: set[str] = set()  # nodes, by id
        self._has_warnings = False
        self._isolation_is_told = False
        self._is_guarded = False  # where the run builds has been looked at
        self._is_refused = False  # and is not where it may

    def carry_out(self) -> Outcome:
        outcome = self._check_commands()
        if outcome is None:
            outcome = self._make_workspace()
        for step in self._plan.steps:
            outcome = outcome or self._has_to_end_before(step)
            if outcome is not None:
                self._recorder.step_ended(StepEnd(index=step.index, ending=Ending.SKIPPED))
                continue
            self._recorder.step_started(step.index)
            end = self._end_of(step)
            self._recorder.step_ended(end)
            self._has_warnings |= end.has_warnings
            outcome = self._outcome_of(step, end)
            if step.kind is StepKind.PROFILE and outcome is None:
                self._recorder.workspace_ready(
                    git_sha=self._commit.sha, git_branch=self._commit.branch
                )
        return replace(outcome or self._outcome_of_all(), has_warnings=self._has_warnings)

    def _check_commands(self) -> Outcome | None:
        """Read every command before anything is started, however it was read when saved."""
        try:
            self._commands = {
                step.index: DbtCommand.parse(step.command, index=step.index)
                for step in self._plan.steps
                if step.command
            }
        except CommandRejected as rejected:
            return Outcome(ending=Ending.ERROR, message=str(rejected))
        return None

    def _make_workspace(self) -> Outcome | None:
        uid = self._plan.sandbox.uid if sandbox.available()["uid"] else None
        try:
            with _full_disk_in_words():
                self._workspace = Workspace.create(workspace_of(self._plan), uid=uid)
        except NoSpaceLeft as failure:
            return Outcome(ending=Ending.ERROR, message=str(failure))
        return None

    def _has_to_end_before(self, step: StepPlan) -> Outcome | None:
        if self._recorder.should_stop():
            return Outcome(
                ending=Ending.STOPPED, message=f"Stopped before step {step.index}: {step.name}."
            )
        if self._seconds_left() <= 0:
            return self._out_of_time(f"before step {step.index}: {step.name}")
        return None

    def _end_of(self, step: StepPlan) -> StepEnd:
        logs = [
            StepLog(
                partial(self._recorder.output, step.index, stream),
                secrets=self._secrets,
                limit=self._plan.log_limit_bytes,
            )
            for stream in (Stream.CONSOLE, Stream.DEBUG, Stream.EVENTS)
        ]
        log, *of_dbt = logs
        if step.resume_from:
            self._to_resume[step.index] = Path(step.resume_from)
            self._note_built(results.read_results(Path(step.resume_from)))
        end = keep_trying(
            step.retry,
            partial(self._try, step, log, of_dbt),
            wait=self._wait,
            say=lambda line: log.say(self._masked(line)),
        )
        for each in logs:
            each.close()
        return end

    def _try(
        self, step: StepPlan, log: StepLog, of_dbt: Sequence[StepLog], attempt: int
    ) -> StepEnd:
        log.recent = ""  # what an earlier attempt said does not tell why this one failed
        try:
            with _full_disk_in_words():
                return self._carry_out_step(step, log, of_dbt, attempt)
        except RunFailure as failure:
            message = self._masked(str(failure))
            log.say(message)
            return StepEnd(
                index=step.index,
                ending=Ending.ERROR,
                message=message,
                failure_class=class_of_failure(failure),
            )
        except clone.CutShort as cut:
            return StepEnd(
                index=step.index, ending=cut.ending, message=self._why_cut(cut.ending, step)
            )

    def _wait(self, seconds: float) -> Ending | None:
        """Let time pass between two attempts; how the step ends if it is cut short."""
        over = time.monotonic() + seconds
        while (left := over - time.monotonic()) > 0:
            if self._recorder.should_stop():
                return Ending.STOPPED
            if self._seconds_left() <= 0:
                return Ending.TIMED_OUT
            time.sleep(min(left, TICK))
        return None

    def _carry_out_step(
        self, step: StepPlan, log: StepLog, of_dbt: Sequence[StepLog], attempt: int
    ) -> StepEnd:
        match step.kind:
            case StepKind.CLONE:
                if attempt > 1:
                    self._workspace.clear_checkout()
                self._commit = clone.check_out(
                    self._plan,
                    self._workspace,
                    log,
                    should_stop=self._recorder.should_stop,
                    seconds_left=self._seconds_left(),
                    on_isolated=self._tell_isolation,
                )
            case StepKind.PROFILE:
                self._write_profile(log)
                note = self._masked(self._plan.toolchain.note)
                return StepEnd(index=step.index, ending=Ending.SUCCESS, message=note)
            case StepKind.LINT:
                return self._as_end(step, lint.lint(self._aside(step, log)))
            case StepKind.COMPARE:
                return self._as_end(step, compare.compare(self._aside(step, log)))
            case _:
                return self._invoke_dbt(step, log, of_dbt)
        return StepEnd(index=step.index, ending=Ending.SUCCESS)

    def _write_profile(self, log: StepLog) -> None:
        """The profile, and a look at what the project would do with its paths.

        Raises:
            ProjectNotFound, ProjectFileRefused
        """
        profile = self._plan.profile
        # Of an attempt before this one.
        (self._workspace.profile / "profiles.yml").unlink(missing_ok=True)
        log.say(f"Creating the profile from connection {profile.connection_name} …")
        self._workspace.show(write_profile(profile, self._workspace.profile))
        kind = profile.output.get("type", "an unnamed type")
        log.say(f"Successfully created the profile: target {profile.target_name}, {kind}.")
        dbt = self._plan.toolchain
        log.say(self._masked(f"Using dbt {dbt.version}. {dbt.note}".rstrip()))
        check_project_files(self._project(), self._workspace.project)
        self._state = State(self._plan.state, self._workspace, self._project())
        self._state.set_up(self._commands.values(), log.say)

    def _project(self) -> Path:
        """The dbt project's directory, inside the checkout.

        Raises:
            ProjectNotFound: it is not there, or a step's own code has removed it.
        """
        place = self._workspace.project
        if subdirectory := self._plan.checkout.subdirectory:
            try:
                names.check_subdirectory(subdirectory)
            except ValueError as error:
                raise ProjectNotFound(place=f"the folder {subdirectory}") from error
            place /= subdirectory
        if not (place / "dbt_project.yml").is_file():
            raise ProjectNotFound(
                place=f"the folder {subdirectory}" if subdirectory else "the root"
            )
        return place

    def _invoke_dbt(self, step: StepPlan, log: StepLog, of_dbt: Sequence[StepLog]) -> StepEnd:
        """One attempt of a dbt step: from where the last one failed where dbt can, else whole.

        An attempt to go on that comes to nothing never counts: the step had failed, so there
        is something to do, and the whole of it is done.
        """
        if self._plan.schema_prefix and not self._is_guarded and self._commands[step.index].builds:
            try:
                self._guard(step, log)
            except guard.CannotLook as failed:
                return self._cannot_look(step, log, failed.end)
        if step.index in self._to_resume:
            log.say("Going on with `dbt retry` from the nodes that had failed or were skipped.")
            end = self._run_dbt(step, DbtCommand.parse(RETRY, index=step.index), log, of_dbt)
            if not _came_to_nothing(end):
                command = end.effective_command or RETRY
                end = replace(end, resumed=True, effective_command=command)
                if before := self._tried.get(step.index):
                    end = together(before, end)
                self._tried[step.index] = end
                return end
            log.say("`dbt retry` could not go on from there: the step runs from its start.")
            del self._to_resume[step.index]
        end = self._run_dbt(step, self._commands[step.index], log, of_dbt)
        self._tried[step.index] = end
        return end

    def _guard(self, step: StepPlan, log: StepLog) -> None:
        """Before the first command that builds, look where all of them would.

        Raises:
            OutsideSchema: one would build outside the schema that this run has to itself.
            CannotLook
        """
        commands = [one for one in self._commands.values() if one.builds]
        try:
            schemas = guard.check(self._aside(step, log), commands)
        except OutsideSchema:
            self._is_refused = True
            raise
        self._recorder.will_build(schemas)
        self._is_guarded = True

    def _cannot_look(self, step: StepPlan, log: StepLog, end: AsideEnd) -> StepEnd:
        """The end of a building step before which dbt failed to say what it would build.

        The step itself would have failed of the same: a project that dbt cannot read.
        """
        log.say(end.output.rstrip())
        message = self._message(
            step, ProcessEnd(ending=Ending.ERROR, exit_code=end.exit_code), [], end.output
        )
        return StepEnd(
            index=step.index,
            ending=Ending.ERROR,
            exit_code=end.exit_code,
            message=message,
            failure_class=class_of_step(
                Ending.ERROR,
                end.exit_code,
                warehouse=str(self._plan.profile.output.get("type", "")),
                results=[],
                words=results.last_words(end.output),
            ),
        )

    def _aside(self, step: StepPlan, log: StepLog) -> _Aside:
        return _Aside(self, step, log)

    def _as_end(self, step: StepPlan, found: Found) -> StepEnd:
        """The end of a step of the service's own, its files kept."""
        self._invocations[step.index] += 1
        kept = artifacts.keep(
            found.files,
            self._workspace.artifacts / f"own-{step.index}-{self._invocations[step.index]}",
            secrets=self._secrets,
        )
        return StepEnd(
            index=step.index,
            ending=found.ending,
            exit_code=found.exit_code,
            message=self._masked(found.message),
            artifacts=kept,
            failure_class=found.failure_class,
            has_warnings=found.has_warnings,
        )

    def _run_dbt(
        self, step: StepPlan, command: DbtCommand, log: StepLog, of_dbt: Sequence[StepLog]
    ) -> StepEnd:
        self._invocations[step.index] += 1
        earlier = self._to_resume.get(step.index) or self._retryable_results
        directories = self._workspace.step(step.index, self._invocations[step.index])
        self._take_over(directories, earlier if command.subcommand == "retry" else None)
        finds_sources = command.subcommand == "source freshness"
        if self._sources is not None and command.takes_state and not finds_sources:
            # What `source_status:` compares with the state is looked for in the target directory.
            self._hand_over(self._sources, directories.target / SOURCES)
        debug, records = of_dbt
        events = EventLog(debug, records, lambda event: self._tell_node(step, event))
        followed = FollowedFile(
            directories.logs, DEBUG_LOG, events, limit=self._plan.log_limit_bytes
        )

        def should_stop() -> bool:
            followed.pump()
            return self._recorder.should_stop()

        arguments = effective_arguments(command, self._state)
        effective = in_words(arguments) if arguments != command.arguments else ""
        if effective:
            log.say(f"Running `{effective}`.")
        limit = min(step.timeout_seconds or INFINITE, self._seconds_left())
        process_end = run_process(
            [self._plan.toolchain.executable, *arguments],
            cwd=self._project(),
            env=self._environment(command, directories),
            confinement=child_confinement(self._plan, self._workspace, directories),
            on_output=log.feed,
            should_stop=should_stop,
            # Zero would be no limit at all; time that is already over still is one.
            timeout=0 if limit == INFINITE else max(limit, 0.001),
            grace=self._plan.stop_grace_seconds,
            on_isolated=self._tell_isolation,
        )
        followed.close()
        events.close()
        collected = artifacts.collect(
            directories.target,
            self._workspace.artifacts / directories.target.parent.name,
            secrets=self._secrets,
        )
        if collected.passed_over:
            log.say(
                "Files of the target directory that were not kept, being links, too large, too "
                f"many or oddly named: {collected.passed_over}."
            )
        files = [
            kept
            for kept in collected.files
            # Where `dbt retry` did not get as far as to write any, these are the earlier results.
            if not (kept.path == RUN_RESULTS and earlier and cmp(kept.file, earlier, shallow=False))
            and not (kept.path == SOURCES and not finds_sources)
            and kept.path not in OWN_FILES
        ]
        end = self._end_of_dbt(step, command, process_end, files, log.recent)
        return replace(end, effective_command=effective)

    def _end_of_dbt(
        self,
        step: StepPlan,
        command: DbtCommand,
        process_end: ProcessEnd,
        files: Sequence[CollectedFile],
        console: str,
    ) -> StepEnd:
        by_path = {kept.path: kept.file for kept in files}
        found = [
            result
            for name in (RUN_RESULTS, SOURCES)
            if name in by_path
            for result in results.read_results(by_path[name])
        ]
        if command.retryable and RUN_RESULTS in by_path:
            self._retryable_results = by_path[RUN_RESULTS]
        if command.builds:
            self._note_built(found)
        can_resume = command.retryable or command.subcommand == "retry"
        # Only of a step that came to its own end do the results name every node.
        if can_resume and process_end.exit_code == 1 and any(one.failed for one in found):
            self._to_resume[step.index] = by_path[RUN_RESULTS]
        self._stale[step.index] = results.stale_sources(found)
        if SOURCES in by_path:
            self._sources = by_path[SOURCES]
        failure = class_of_step(
            process_end.ending,
            process_end.exit_code,
            warehouse=str(self._plan.profile.output.get("type", "")),
            results=found,
            words=results.last_words(console),
        )
        return StepEnd(
            index=step.index,
            ending=process_end.ending,
            exit_code=process_end.exit_code,
            message=self._message(step, process_end, found, console),
            artifacts=files,
            failure_class=failure,
            has_warnings=any(result.status == "warn" for result in found),
        )

    def _note_built(self, found: Sequence[NodeResult]) -> None:
        """A node that was skipped is what it was before."""
        self._built |= {one.unique_id for one in found if one.status == "success"}
        self._built -= {one.unique_id for one in found if one.failed}

    def _take_over(self, directories: StepDirectories, earlier_results: Path | None) -> None:
        """Put what earlier invocations left where this one looks for it."""
        if self._earlier is not None:
            self._workspace.carry_parse(self._earlier, directories)
        self._earlier = directories
        if earlier_results is not None:
            # In a target directory of its own, dbt would find no earlier results to go on from.
            self._hand_over(earlier_results, directories.target / RUN_RESULTS)

    def _hand_over(self, file: Path, copy: Path) -> None:
        shutil.copyfile(file, copy)
        self._workspace.give(copy)

    def _environment(
        self, command: DbtCommand | None, directories: StepDirectories
    ) -> dict[str, str]:
        variables = child_environment(self._plan, self._workspace, directories)
        if command is not None and command.subcommand == "clean":
            # By default dbt cleans its target directory, and refuses one outside the project.
            variables["DBT_TARGET_PATH"] = "target"
        return variables

    def _run_aside(
        self,
        step: StepPlan,
        log: StepLog,
        argv: Sequence[str],
        variables: Mapping[str, str],
        *,
        say: bool,
    ) -> AsideEnd:
        self._invocations[step.index] += 1
        directories = self._workspace.step(step.index, self._invocations[step.index])
        self._take_over(directories, None)
        said = bytearray()
        cut = 0

        def on_output(piece: bytes) -> None:
            nonlocal cut
            said.extend(piece)
            if len(said) > 2 * LONGEST_ASIDE:
                cut += len(said) - LONGEST_ASIDE
                del said[:-LONGEST_ASIDE]
            if say:
                log.feed(piece)

        limit = min(step.timeout_seconds or INFINITE, self._seconds_left())
        end = run_process(
            [_program(argv[0], self._plan.toolchain.executable), *argv[1:]],
            cwd=self._project(),
            env=self._environment(None, directories) | dict(variables),
            confinement=child_confinement(self._plan, self._workspace, directories),
            on_output=on_output,
            should_stop=self._recorder.should_stop,
            timeout=0 if limit == INFINITE else max(limit, 0.001),
            grace=self._plan.stop_grace_seconds,
            on_isolated=self._tell_isolation,
        )
        if end.ending in {Ending.STOPPED, Ending.TIMED_OUT}:
            raise clone.CutShort(end.ending)
        return AsideEnd(
            ending=end.ending,
            exit_code=end.exit_code,
            output=self._masked(said.decode(errors="replace")),
            target=directories.target,
            is_cut=cut > 0,
        )

    def _message(
        self, step: StepPlan, end: ProcessEnd, found: Sequence[NodeResult], console: str
    ) -> str:
        """A sentence on how a dbt step ended; empty if there is nothing to say."""
        match end.ending:
            case Ending.SUCCESS:
                return "" if found else results.nothing_to_do(console)
            case Ending.ERROR if end.exit_code < 0:
                return (
                    f"dbt was killed by signal {-end.exit_code}; the worker may be short of memory."
                )
            case Ending.ERROR:
                failed = results.failed_nodes(found) if end.exit_code == 1 else ""
                return failed or f"dbt ended with status {end.exit_code}: " + (
                    results.last_words(console) or "it said nothing; see its debug log."
                )
            case _:
                return self._why_cut(end.ending, step)

    def _why_cut(self, ending: Ending, step: StepPlan) -> str:
        if ending is Ending.STOPPED:
            return "Stopped before it had finished."
        if self._seconds_left() <= 0:
            return f"Stopped: the run's limit of {self._plan.timeout_seconds} seconds was reached."
        return f"Stopped: it took longer than its limit of {step.timeout_seconds} seconds."

    def _outcome_of(self, step: StepPlan, end: StepEnd) -> Outcome | None:
        """What a step's end means for the run; None if the run goes on."""
        where = f"step {step.index}: {step.name}"
        if end.ending is Ending.STOPPED:
            return Outcome(ending=Ending.STOPPED, message=f"Stopped in {where}.")
        if end.ending is Ending.TIMED_OUT and self._seconds_left() <= 0:
            return self._out_of_time(f"in {where}")
        if end.ending is Ending.SUCCESS:
            return None
        failed = self._failure_of(step, end)
        stale = self._stale.get(step.index)
        # No step's policy makes a success of a run that may not build.
        match OnFailure.STOP if self._is_refused else step.on_failure:
            case OnFailure.WARN:
                self._has_warnings = True
            case OnFailure.CONTINUE:
                self._failed.append(failed)
            case OnFailure.SKIP_RUN if stale and end.exit_code == 1:
                return Outcome(
                    ending=Ending.SUCCESS,
                    message=f"Skipped: {results.stale_in_words(stale)}. Nothing was built, as the "
                    "job asks for where its sources are stale.",
                    detail=SKIPPED,
                )
            case _:
                return failed
        return None

    def _failure_of(self, step: StepPlan, end: StepEnd) -> Outcome:
        if end.ending is Ending.TIMED_OUT:
            return Outcome(
                ending=Ending.TIMED_OUT,
                message=f"Step {step.index} took longer than its limit of "
                f"{step.timeout_seconds} seconds: {step.name}. Raise the limit, or let the "
                "step do less.",
                failure_class=end.failure_class,
            )
        tries = len(end.attempts)
        return Outcome(
            ending=Ending.ERROR,
            message=f"Step {step.index} failed{f' after {tries} attempts' if tries > 1 else ''}: "
            f"{step.name}. {end.message}",
            failure_class=end.failure_class,
        )

    def _outcome_of_all(self) -> Outcome:
        """What a run comes to that no step has ended."""
        if not self._failed:
            return Outcome(ending=Ending.SUCCESS)
        first = self._failed[0]
        number = len(self._failed)
        others = f" So did {number - 1} more of its steps." if number > 1 else ""
        return Outcome(
            ending=Ending.ERROR,
            message=f"{first.message.rstrip('.')}.{others} The other steps ran all the same.",
            failure_class=first.failure_class,
        )

    def _out_of_time(self, where: str) -> Outcome:
        return Outcome(
            ending=Ending.TIMED_OUT,
            message=f"The run took longer than its limit of {self._plan.timeout_seconds} seconds "
            f"and was stopped {where}. Raise the job's timeout, or let it do less.",
            failure_class=FailureClass.TIMEOUT,
        )

    def _seconds_left(self) -> float:
        if not self._plan.timeout_seconds:
            return INFINITE
        return self._started + self._plan.timeout_seconds - time.monotonic()

    def _tell_node(self, step: StepPlan, event: NodeEvent) -> None:
        self._recorder.node(step.index, replace(event, message=self._masked(event.message)))

    def _tell_isolation(self, layers: Mapping[str, int | bool]) -> None:
        if not self._isolation_is_told:
            self._isolation_is_told = True
            self._recorder.isolated(layers)

    def _masked(self, text: str) -> str:
        redactor = Redactor(self._secrets)
        return redactor.feed(text.encode()) + redactor.flush()


class _Aside(Aside):
    """Programs beside a step's command, in the step's confinement and time."""

    def __init__(self, run: _Run, step: StepPlan, log: StepLog) -> None:
        self.plan, self.state, self.project = run._plan, run._state, run._project()
        self.profiles = run._workspace.profile
        self.built = frozenset(run._built)
        self._run, self._step, self._log = run, step, log

    @property
    def seconds_left(self) -> float:
        return self._run._seconds_left()

    def say(self, line: str) -> None:
        self._log.say(self._run._masked(line))

    def hand(self, name: str, text: str) -> Path:
        file = self._run._workspace.aside(self._step.index) / name
        file.unlink(missing_ok=True)  # of an attempt before this one
        write_private(file, text)
        self._run._workspace.show(file)
        return file

    def pass_on(self, end: AsideEnd, name: str) -> Path | None:
        workspace, source = self._run._workspace, end.target / name
        if source.is_symlink() or not source.is_file():
            return None
        file = source.rename(workspace.aside(self._step.index) / name)
        workspace.show(file)
        return file

    def run(
        self,
        argv: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        say: bool = False,
    ) -> AsideEnd:
        return self._run._run_aside(self._step, self._log, argv, variables or {}, say=say)


def _came_to_nothing(end: StepEnd) -> bool:
    """Whether ``dbt retry`` ran no node, and trying it again would not help."""
    if any(results.read_results(kept.file) for kept in end.artifacts if kept.path == RUN_RESULTS):
        return False
    return end.ending is Ending.SUCCESS or end.failure_class is FailureClass.DBT_ERROR


def _program(name: str, dbt: str) -> str:
    """The absolute path of a program of the toolchain that has this ``dbt``."""
    return dbt if name == "dbt" else name if "/" in name else str(Path(dbt).with_name(name))


@contextmanager
def _full_disk_in_words() -> Iterator[None]:
    """Turn the system's error for a full disk into ours.

    Raises:
        NoSpaceLeft
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceLeft() from error


def effective_arguments(command: DbtCommand, state: State) -> tuple[str, ...]:
    """What dbt is really given for a command as typed.

    Documentation is always one static page: the other kind loads its data by scripts that a
    page under a strict content policy may not run.
    """
    arguments = state.arguments(command)
    is_static = command.options.get("static", ("false",))[-1] == "true"
    if command.subcommand != "docs generate" or is_static:
        return arguments
    return (*arguments, "--static")
