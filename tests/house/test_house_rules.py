"""Rules of this house that no linter has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("jobsvc", "accounts", "environments")
RUN_MODEL, RUN_DOOR, RUN_TASKS = (
    f"jobsvc/runs/{name}.py" for name in ("models", "trigger", "tasks")
)
# Made-up runs that nothing carries out: a past of 90 days, written in bulk to be looked at.
EXAMPLE_DATA = "jobsvc/management/example_data/"
MAKES_ROWS = {"create", "bulk_create", "get_or_create", "update_or_create"}
LINES_OF_A_TASK = 10
TOP_LEVEL = {
    *("accounts", "benchmarks", "ci", "constraints", "docs", "environments", "examples"),
    *("jobsvc", "scripts", "tests"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "NOTICE", "README.md"),
    *("docker-compose.yml", "manage.py", "pyproject.toml"),
}
# Parts of names, so that this file does not hold what it looks for.
REGISTRIES = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|yarnpkg[.]com|proxy[.]golang|crates[.]io"
    r"|rubygems[.]org|(?:quay|ghcr|gcr|docker)[.]io|conda[.]anaconda",
    re.IGNORECASE,
)
OUTSIDE = re.compile(r"[.][.]/shared|[/]work(?!\w)/")
EXCUSE = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[\w, -]+\])?)"
    r"(?P<rest>[^\n]*)"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that git has, and every one it would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(
        path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()
    )


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(*rooms: str) -> tuple[tuple[str, ast.Module], ...]:
    """Name and syntax tree of every Python file in ``rooms``, migrations apart."""
    files = chain.from_iterable(sorted((ROOT / room).rglob("*.py")) for room in rooms)
    return tuple(
        (name_of(file), ast.parse(file.read_text()))
        for file in files
        if "migrations" not in file.parts
    )


def texts() -> Iterator[tuple[str, str]]:
    """Name and content of every tracked text file."""
    for path in tracked():
        try:
            yield name_of(path), path.read_text()
        except UnicodeDecodeError:
            continue


def found_in_texts(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def test_every_run_is_made_at_the_one_door() -> None:
    doors = []
    for name, tree in parsed(*PRODUCT):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if is_name(called, "Run"):
                doors.append(name)
            if isinstance(called, ast.Attribute) and called.attr in MAKES_ROWS:
                rows = called.value
                if isinstance(rows, ast.Attribute) and is_name(rows.value, "Run"):
                    doors.append(name)
    assert [door for door in doors if not door.startswith(EXAMPLE_DATA)] == [RUN_DOOR]


def test_a_runs_status_is_written_by_move_to_alone() -> None:
    assigned, updated = [], []
    for name, tree in parsed("jobsvc/runs", "jobsvc/api", "jobsvc/console", "jobsvc/jobs"):
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    assigned += [
                        (name, function.name)
                        for target in targets
                        if isinstance(target, ast.Attribute)
                        and target.attr == "status"
                        and isinstance(target.value, ast.Name)
                        and target.value.id in {"run", "self"}
                    ]
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    of_runs = any(is_name(part, "Run") for part in ast.walk(node.func))
                    named = {keyword.arg for keyword in node.keywords}
                    if node.func.attr == "update" and of_runs and "status" in named:
                        updated.append((name, function.name))
    assert {place for place in assigned if place[0] != "jobsvc/runs/record.py"} <= {
        (RUN_MODEL, "move_to")
    }
    assert updated == [(RUN_MODEL, "move_to")]


def test_no_run_is_saved_whole() -> None:
    saved = [
        name
        for name, tree in parsed(*PRODUCT)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "save"
        and is_name(node.func.value, "run")
    ]
    assert saved == []


def test_a_task_is_ten_lines_at_most() -> None:
    tree = dict(parsed("jobsvc"))[RUN_TASKS]
    tasks = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert tasks
    long = {
        task.name: lines
        for task in tasks
        if (lines := (task.end_lineno or 0) - task.lineno + 1) > LINES_OF_A_TASK
    }
    assert long == {}


def test_no_import_hides_inside_a_function() -> None:
    hidden = [
        f"{name}:{node.lineno}"
        for name, tree in parsed(*PRODUCT, "scripts", "tests")
        if not name.startswith("tests/canary/project/")  # an attacker's code
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


# Sign-ins, second factors and who is in a group are told by no other means, whoever changes them;
# what follows there is a line in the audit log, and nothing else.
HEARS = "accounts/heard.py"


def test_nothing_happens_by_a_signal_of_django() -> None:
    signals = [
        f"{name}:{node.lineno}"
        for name, tree in parsed(*PRODUCT)
        if name != HEARS
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.ImportFrom)
            and node.module is not None
            and (node.module == "django.dispatch" or node.module.endswith(".signals"))
            and not node.module.startswith("celery.")
        )
        or (isinstance(node, ast.Call) and is_name(node.func, "Signal"))
    ]
    assert signals == []


def test_the_floors_hold() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_package_registry_is_named() -> None:
    assert found_in_texts(REGISTRIES) == []


def test_nothing_is_read_from_outside_the_repository() -> None:
    assert found_in_texts(OUTSIDE) == []


def test_every_silenced_check_says_why() -> None:
    silent = []
    for name, text in texts():
        if not name.endswith(".py"):
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            excuses = list(EXCUSE.finditer(line))
            if excuses and len(re.findall(r"[A-Za-z']{2,}", excuses[-1]["rest"])) < 2:
                silent.append(f"{name}:{number}: {line.strip()}")
    assert silent == []


def test_the_top_level_holds_what_it_should() -> None:
    there = {name_of(path).partition("/")[0] for path in tracked()}
    assert {name for name in there if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("LICENSE", "Apache License"),
        ("NOTICE", "jobsvc"),
        ("README.md", "make demo"),
        ("CHANGELOG.md", "0.1"),
        ("CONTRIBUTING.md", "make test"),
    ],
)
def test_the_papers_are_there(file: str, says: str) -> None:
    assert says in (ROOT / file).read_text()


@pytest.mark.parametrize("target", ["demo", "up", "test", "check", "doctor", "lock"])
def test_make_knows(target: str) -> None:
    planned = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert planned.returncode == 0, planned.stderr


def pins_of(file: str) -> dict[str, list[Requirement]]:
    """Package name to its pinned requirements; more than one where systems differ."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints" / file).read_text().splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            pinned = Requirement(line.removesuffix("\\"))
            pins.setdefault(pinned.name.lower().replace("_", "-"), []).append(pinned)
    return pins


@pytest.mark.parametrize(
    ("file", "extra"), [("server.txt", ""), ("dev.txt", ""), ("dev.txt", "dev")]
)
def test_what_is_pinned_is_what_is_asked_for(file: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["optional-dependencies"][extra] if extra else project["dependencies"]
    pins = pins_of(file)
    missing = []
    for wanted in map(Requirement, asked):
        versions = [
            specifier.version
            for pin in pins.get(wanted.name.lower().replace("_", "-"), [])
            for specifier in pin.specifier
        ]
        if not any(wanted.specifier.contains(version) for version in versions):
            missing.append(f"{wanted} is pinned to {versions or 'nothing'}; run: make lock")
    assert missing == []


@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / "constraints").glob("*.txt")))
def test_every_pinned_package_has_its_hashes_and_no_address(file: str) -> None:
    text = (ROOT / "constraints" / file).read_text()
    assert "://" not in text
    pins = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert pins
    assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


def test_the_tools_agree_with_the_server_on_every_package() -> None:
    server, tools = pins_of("server.txt"), pins_of("dev.txt")
    apart = {
        name: (pins, tools.get(name))
        for name, pins in server.items()
        if {str(pin.specifier) for pin in pins}
        != {str(pin.specifier) for pin in tools.get(name, [])}
    }
    assert apart == {}


def test_the_guide_for_operators_names_every_setting() -> None:
    setting = re.compile(r"JOBSVC_[A-Z]+(?:_[A-Z]+)*(?![A-Z_])")
    read = set(setting.findall((ROOT / "jobsvc/settings.py").read_text()))
    told = set(setting.findall((ROOT / "docs/operations.md").read_text()))
    composed = set(setting.findall((ROOT / "docker-compose.yml").read_text()))
    assert read - told == set()
    assert told - read - composed == set()
