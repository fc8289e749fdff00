"""Lint: SQLFluff on the files that a pull request changed, before anything is built.

What the project says to SQLFluff counts. What it leaves open is told in the place where
SQLFluff looks last, the settings of its user: the dialect of the warehouse, and Jinja alone to
read templates with, which takes a fraction of the time that dbt takes. A file that Jinja cannot
read without the project's macros is read again with dbt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from jobsvc.engine.aside import Aside, AsideEnd, Found
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.listing import READS, listed, nodes_of
from jobsvc.engine.plan import FailureClass, RunPlan
from jobsvc.engine.ports import Ending
from jobsvc.engine.profiles import PROFILE_NAME
from jobsvc.engine.results import last_words

ARTIFACT = "lint.json"
NAMED = 5  # findings in the sentence; the rest are counted
AT_ONCE = 500  # files of one start of SQLFluff, so that its answer stays within bounds

# Snapshots are not linted (docs.getdbt.com, "Continuous integration"); macros are no statements.
LINTED = ("model", "test", "analysis")
KEYS = ("unique_id", "original_file_path")

# SQLFluff's word where it is not the adapter's own.
DIALECTS: Mapping[str, str] = {
    "fabric": "tsql",
    "fabricspark": "sparksql",
    "spark": "sparksql",
    "sqlserver": "tsql",
    "starburst": "trino",
    "synapse": "tsql",
}
NAMESAKES = frozenset(
    {
        *("athena", "bigquery", "clickhouse", "databricks", "db2", "doris", "duckdb", "exasol"),
        *("greenplum", "hive", "impala", "materialize", "mysql", "oracle", "postgres", "redshift"),
        *("snowflake", "sqlite", "starrocks", "teradata", "trino", "vertica"),
    }
)

SETTINGS = """\
[sqlfluff]
dialect = {dialect}
templater = {templater}
"""

# A project's settings for dbt's templater are those of its people's machines.
OURS = """\
[sqlfluff:templater:dbt]
project_dir = {project}
profiles_dir = {profiles}
profile = {profile}
target = {target}
"""

CANNOT_READ = "TMP"  # SQLFluff's code for a template that its templater cannot render


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """One thing that SQLFluff found.

    Attributes:
        path: from the root of the repository.
        line, column: from 1.
        severity: ``error``, or ``warning`` where the project asks for no more.
    """

    path: str
    line: int
    column: int
    code: str
    description: str
    severity: str


class LintFailed(Exception):
    """There is no answer. ``str(error)`` says why, and what to do about it where we know."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def lint(aside: Aside) -> Found:
    """Lint the changed SQL files of the project: all of them where there is no state.

    What it comes to for the run is for the step's policy to say.
    """
    try:
        files = _changed(aside)
        findings = sorted(_findings(aside, files))
    except LintFailed as failed:
        return Found(
            ending=Ending.ERROR,
            message=str(failed),
            exit_code=failed.exit_code,
            failure_class=FailureClass.DBT_ERROR,
        )
    for line in _table(findings):
        aside.say(line)
    message = _sentence(findings, len(files))
    aside.say(message)
    has_errors = any(finding.severity == "error" for finding in findings)
    return Found(
        ending=Ending.ERROR if has_errors else Ending.SUCCESS,
        message=message,
        exit_code=1 if has_errors else 0,
        has_warnings=bool(findings),
        failure_class=FailureClass.DBT_ERROR if has_errors else None,
        files={ARTIFACT: _artifact(findings, len(files))},
    )


# --- Which files --------------------------------------------------------------------------------


def _changed(aside: Aside) -> list[str]:
    """The SQL files whose text is not that of the state, from the project's directory.

    Raises:
        LintFailed: dbt cannot read the project.
    """
    compares = "state:modified.body," if aside.plan.state else ""
    options = {
        "select": (f"{compares}package:this",),
        "resource_types": LINTED,
        **_read_as_built(aside.plan),
    }
    end = listed(aside, options, KEYS)
    if end.exit_code != 0 or end.is_cut:
        aside.say(end.output.rstrip())
        raise LintFailed(
            f"dbt ended with status {end.exit_code}: {last_words(end.output)}", end.exit_code
        )
    found = {str(node.get("original_file_path")) for node in nodes_of(end.output)}
    return sorted(path for path in found if _is_ours(aside.project, path))


def _read_as_built(plan: RunPlan) -> dict[str, tuple[str, ...]]:
    """The options by which the first command that builds has dbt read the project.

    Without its variables a project may not be readable at all.
    """
    for step in plan.steps:
        if step.command:
            command = DbtCommand.parse(step.command, index=step.index)
            if command.builds:
                return {name: command.options[name] for name in READS if name in command.options}
    return {}


def _is_ours(project: Path, path: str) -> bool:
    """Whether this is a file of the checkout, as the project was when it was checked out."""
    parts = PurePosixPath(path)
    return (
        parts.suffix == ".sql"
        and not parts.is_absolute()
        and ".." not in parts.parts
        and (project / path).is_file()
    )


# --- What is found --------------------------------------------------------------------------------


def _findings(aside: Aside, files: Sequence[str]) -> list[Finding]:
    """What SQLFluff says of ``files``.

    Raises:
        LintFailed
    """
    if not files:
        return []
    if not Path(aside.plan.toolchain.executable).with_name("sqlfluff").exists():
        raise LintFailed(
            f"SQLFluff is not installed with dbt {aside.plan.toolchain.version}. Ask your "
            "administrator to install sqlfluff beside it, or set run_lint to false."
        )
    findings = _said_of(aside, files, templater="jinja")
    unread = sorted({finding.path for finding in findings if finding.code == CANNOT_READ})
    if not unread:
        return _from_root(aside, findings)
    kept = [finding for finding in findings if finding.path not in unread]
    aside.say(f"Reading {len(unread)} of {len(files)} files with dbt, for the macros they use.")
    try:
        kept += _said_of(aside, unread, templater="dbt")
    except LintFailed as failed:
        aside.say(f"dbt could not read them: {failed} What their macros make was left out.")
        kept += [one for one in findings if one.path in unread and one.code != CANNOT_READ]
    return _from_root(aside, kept)


def _said_of(aside: Aside, files: Sequence[str], *, templater: str) -> list[Finding]:
    """What SQLFluff says of ``files`` by the project's settings, else with this templater.

    Raises:
        LintFailed
    """
    home = aside.hand(
        ".sqlfluff", SETTINGS.format(dialect=_dialect(aside.plan), templater=templater)
    ).parent
    ours = aside.hand(
        "ours.cfg",
        OURS.format(
            project=aside.project,
            profiles=aside.profiles,
            profile=PROFILE_NAME,
            target=aside.plan.profile.target_name,
        ),
    )
    flags = ("--format", "github-annotation", "--annotation-level", "failure", "--nocolor")
    found: list[Finding] = []
    for start in range(0, len(files), AT_ONCE):
        end = aside.run(
            [
                *("sqlfluff", "lint", *flags, "--disable-progress-bar", "--config", str(ours)),
                *("--", *files[start : start + AT_ONCE]),
            ],
            variables={"HOME": str(home)},
        )
        found += _read(aside, end)
    return found


def _dialect(plan: RunPlan) -> str:
    adapter = str(plan.profile.output.get("type", ""))
    return DIALECTS.get(adapter, adapter if adapter in NAMESAKES else "ansi")


def _read(aside: Aside, end: AsideEnd) -> list[Finding]:
    """The findings in what SQLFluff said; what else it said goes into the step's log.

    Raises:
        LintFailed: it said none, and did not end as one that found none.
    """
    answer: object = None
    said = []
    for line in end.output.splitlines():
        found = _list_in(line)
        if found is None:
            said.append(line)
        else:
            answer = found
    for line in filter(None, map(str.strip, said)):
        aside.say(line)
    if end.exit_code < 0:
        raise LintFailed(
            f"SQLFluff was killed by signal {-end.exit_code}; the worker may be short of memory.",
            end.exit_code,
        )
    if end.is_cut:
        raise LintFailed(
            "SQLFluff found more than can be kept. Let fewer of its rules count at first.",
            end.exit_code,
        )
    if end.exit_code not in (0, 1) or not isinstance(answer, list):
        words = last_words("\n".join(_after_traceback(said))) or "it said nothing."
        raise LintFailed(
            f"SQLFluff ended with status {end.exit_code}: {words} "
            "Look at the project's .sqlfluff, and at the step's log.",
            end.exit_code,
        )
    return [_finding(entry) for entry in answer if isinstance(entry, dict)]


def _after_traceback(said: Sequence[str]) -> Sequence[str]:
    """What a program died of, without how it got there; all that it said if it did not."""
    if not any(line.startswith("Traceback ") for line in said):
        return said
    indented = [number for number, line in enumerate(said) if line.startswith("  ")]
    return said[max(indented, default=-1) + 1 :]


def _list_in(line: str) -> list[object] | None:
    if line.startswith("["):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    return None


def _finding(entry: Mapping[str, object]) -> Finding:
    code, _colon, description = str(entry.get("message", "")).partition(": ")
    return Finding(
        path=str(entry.get("file", "")),
        line=_number(entry.get("start_line")),
        column=_number(entry.get("start_column")),
        code=code,
        description=" ".join(description.split()),
        severity="warning" if entry.get("annotation_level") == "notice" else "error",
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def _from_root(aside: Aside, findings: Iterable[Finding]) -> list[Finding]:
    root = PurePosixPath(aside.plan.checkout.subdirectory or ".")
    return [replace(one, path=str(root / one.path)) for one in findings]


# --- In words -------------------------------------------------------------------------------------


def _table(findings: Sequence[Finding]) -> list[str]:
    lines = []
    path = ""
    for one in findings:
        if one.path != path:
            path = one.path
            lines.append(path)
        place = f"{one.line}:{one.column}"
        note = " (warning)" if one.severity == "warning" else ""
        lines.append(f"  {place:>8}  {one.code:<5} {one.description}{note}")
    return lines


def _sentence(findings: Sequence[Finding], files: int) -> str:
    if not files:
        return "No SQL file was changed."
    if not findings:
        return f"SQLFluff found nothing in {_counted(files, 'file')}."
    named = [f"{one.path}:{one.line} {one.code}" for one in findings[:NAMED]]
    if len(findings) > NAMED:
        named.append(f"and {len(findings) - NAMED} more")
    found_in = len({finding.path for finding in findings})
    return (
        f"{_counted(len(findings), 'finding')} in {_counted(found_in, 'file')}: {', '.join(named)}."
    )


def _counted(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def _artifact(findings: Sequence[Finding], files: int) -> str:
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps(
        {"checked_at": moment, "files": files, "findings": [asdict(one) for one in findings]}
    )
