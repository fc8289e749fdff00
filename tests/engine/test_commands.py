"""Which steps a job may have, and that they are read as dbt reads them."""

from __future__ import annotations

import ast
import json
import random
import runpy
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsvc.engine import commands, dbt_options
from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.errors import CommandRejected

ROOT = Path(__file__).resolve().parents[2]
DBT_PYTHON = ROOT / ".toolchains" / "dbt-1.11" / "bin" / "python"


def parse(step: str) -> DbtCommand:
    return DbtCommand.parse(step, index=2)


def refusal(step: str) -> str:
    with pytest.raises(CommandRejected) as rejected:
        parse(step)
    return str(rejected.value)


# Step, and the words that dbt is given.
ACCEPTED = {
    "dbt build": ["build"],
    "dbt  run   --select  a": ["run", "--select", "a"],
    " dbt run ": ["run"],
    "dbt 'parse'": ["parse"],
    "dbt run --select a b+ +c @d": ["run", "--select", "a", "b+", "+c", "@d"],
    "dbt run -s a b -x": ["run", "-s", "a", "b", "-x"],
    "dbt run -m a": ["run", "-m", "a"],
    "dbt run -sa": ["run", "-sa"],
    "dbt run -xqfsa b": ["run", "-xqfsa", "b"],
    "dbt run --select a,b": ["run", "--select", "a,b"],
    "dbt build --select 'fqn:*'": ["build", "--select", "fqn:*"],
    "dbt build --select fqn:*": ["build", "--select", "fqn:*"],
    'dbt build --select "state:modified+ tag:x"': ["build", "--select", "state:modified+ tag:x"],
    "dbt build --select state:modified+ --defer --state ./prod-artifacts": [
        "build", "--select", "state:modified+", "--defer", "--state", "./prod-artifacts",
    ],
    "dbt build --select result:fail --defer --state prod-artifacts": [
        "build", "--select", "result:fail", "--defer", "--state", "prod-artifacts",
    ],
    "dbt run --select 1+model+2 --exclude path:models/staging": [
        "run", "--select", "1+model+2", "--exclude", "path:models/staging",
    ],
    "dbt build --exclude config.materialized:snapshot": [
        "build", "--exclude", "config.materialized:snapshot",
    ],
    "dbt build '--indirect-selection cautious'": ["build", "--indirect-selection", "cautious"],
    "dbt test --select 'fqn:*' '--indirect-selection  cautious'": [
        "test", "--select", "fqn:*", "--indirect-selection", "cautious",
    ],
    "dbt run --vars '{\"day\": \"2024-01-01\", \"odd\": \"a;b|c&d>e`f$(g)\"}'": [
        "run", "--vars", '{"day": "2024-01-01", "odd": "a;b|c&d>e`f$(g)"}',
    ],
    'dbt run --vars "{\\"a\\": 1}"': ["run", "--vars", '{"a": 1}'],
    "dbt run --vars 'a: 1'": ["run", "--vars", "a: 1"],
    "dbt run --vars='{a: 1}'": ["run", "--vars={a: 1}"],
    "dbt run '--vars={a: b c}'": ["run", "--vars={a: b c}"],
    "dbt --warn-error build": ["--warn-error", "build"],
    "dbt build --warn-error": ["build", "--warn-error"],
    "dbt --warn-error-options '{\"error\": \"all\"}' run": [
        "--warn-error-options", '{"error": "all"}', "run",
    ],
    "dbt -d --no-partial-parse run --full-refresh": [
        "-d", "--no-partial-parse", "run", "--full-refresh",
    ],
    "dbt docs --quiet generate --no-compile": ["docs", "--quiet", "generate", "--no-compile"],
    "dbt docs generate --static": ["docs", "generate", "--static"],
    "dbt source freshness --select source:raw": ["source", "freshness", "--select", "source:raw"],
    "dbt source snapshot-freshness": ["source", "snapshot-freshness"],
    "dbt seed --full-refresh --show": ["seed", "--full-refresh", "--show"],
    "dbt snapshot": ["snapshot"],
    "dbt test --store-failures": ["test", "--store-failures"],
    "dbt compile --inline 'select 1; -- {{ ref(\"a\") }}'": [
        "compile", "--inline", 'select 1; -- {{ ref("a") }}',
    ],
    "dbt show --select a --limit -1 --output json": [
        "show", "--select", "a", "--limit", "-1", "--output", "json",
    ],
    "dbt ls --resource-type model --output name": [
        "ls", "--resource-type", "model", "--output", "name",
    ],
    "dbt list --output json --output-keys name unique_id": [
        "list", "--output", "json", "--output-keys", "name", "unique_id",
    ],
    "dbt run-operation grant --args '{role: reporter}'": [
        "run-operation", "grant", "--args", "{role: reporter}",
    ],
    "dbt clone --state state": ["clone", "--state", "state"],
    "dbt deps": ["deps"],
    "dbt deps --upgrade": ["deps", "--upgrade"],
    "dbt retry --threads 2": ["retry", "--threads", "2"],
    "dbt debug --connection": ["debug", "--connection"],
    "dbt clean": ["clean"],
    "dbt run --target prod --threads 8": ["run", "--target", "prod", "--threads", "8"],
    "dbt run -t prod": ["run", "-t", "prod"],
    "dbt run --event-time-start 2024-01-01 --event-time-end 2024-01-02": [
        "run", "--event-time-start", "2024-01-01", "--event-time-end", "2024-01-02",
    ],
    "dbt run --select größe": ["run", "--select", "größe"],
    "dbt run --select 'a b' --select c": ["run", "--select", "a b", "--select", "c"],
    "dbt build --resource-type Model test": ["build", "--resource-type", "Model", "test"],
    "dbt --no-send-anonymous-usage-stats build": ["--no-send-anonymous-usage-stats", "build"],
    "dbt build --no-defer --favor-state": ["build", "--no-defer", "--favor-state"],
}  # fmt: skip


@pytest.mark.parametrize("step", ACCEPTED)
def test_a_step_that_a_job_may_have_is_cut_into_the_words_for_dbt(step: str) -> None:
    assert list(parse(step).arguments) == ACCEPTED[step]


# Step, and what its refusal must say.
REFUSED = {
    # Shells and other programs.
    "": "runs dbt and nothing else",
    "   ": "runs dbt and nothing else",
    "rm -rf /": "runs dbt and nothing else",
    "DBT build": "runs dbt and nothing else",
    "/usr/bin/dbt build": "runs dbt and nothing else",
    "./dbt build": "runs dbt and nothing else",
    "'dbt build'": "runs dbt and nothing else",
    "X=1 dbt build": "runs dbt and nothing else",
    "sudo dbt build": "runs dbt and nothing else",
    "python -m dbt.cli.main build": "runs dbt and nothing else",
    "dbt run; rm -rf /": "`;` is a shell operator",
    "dbt run;": "`;` is a shell operator",
    "dbt run && dbt test": "`&` is a shell operator",
    "dbt run & ": "`&` is a shell operator",
    "dbt run || true": "`|` is a shell operator",
    "dbt ls | tee /tmp/x": "`|` is a shell operator",
    "dbt ls > /tmp/x": "`>` is a shell operator",
    "dbt ls < /etc/passwd": "`<` is a shell operator",
    "dbt run --select a;id": "`;` is a shell operator",
    "(dbt run)": "`(` is a shell operator",
    "dbt run --select $(id)": "no shell is involved",
    'dbt run --select "$(id)"': "no shell is involved",
    'dbt run --select "${HOME}"': "no shell is involved",
    "dbt run --select $HOME": "no shell is involved",
    "dbt run --select `id`": "no shell is involved",
    'dbt run --select "`id`"': "no shell is involved",
    "dbt run\nrm -rf /": "line break",
    "dbt run\r": "line break",
    "dbt run --vars 'a:\n 1'": "line break",
    "dbt run\x00": "invisible character",
    "dbt\trun": "invisible character",
    "dbt run --select \x1b[2Ja": "invisible character",
    "dbt run --select a\u200bb": "invisible character",
    "dbt run --select \u202eb": "invisible character",
    "dbt run --select \ud800": "invisible character",
    "dbt\u00a0run": "special blank",
    "dbt run # nightly": "no comment",
    "dbt run --select 'a": "is not closed",
    'dbt run --select "a': "is not closed",
    "dbt run \\": "ends in a backslash",
    # Letters and signs that only look right.
    "\u0501bt build": "only look like",
    "dbt b\u0443ild": "is not a dbt command",
    "dbt run \u2013select a": "only looks like a hyphen",
    "dbt run \u2014full-refresh": "only looks like a hyphen",
    "dbt run --select \u201ca b\u201d": "not a quotation mark",
    "dbt run --sel\u0435ct a": "has no option",
    # Commands.
    "dbt": "is not a whole command",
    "dbt docs": "is not a whole command",
    "dbt source": "is not a whole command",
    "dbt --quiet": "is not a whole command",
    "dbt init": "makes a new project",
    "dbt init shop --skip-profile-setup": "makes a new project",
    "dbt docs serve": "until it is stopped",
    "dbt docs --quiet serve --port 1": "until it is stopped",
    "dbt rpc": "is not a dbt command",
    "dbt sl list": "is not a dbt command",
    "dbt ./build": "is not a dbt command",
    "dbt run build": "takes no word `build`",
    "dbt run model_a": "takes no word `model_a`",
    "dbt run -": "takes no word `-`",
    "dbt run-operation": "needs the name of a macro",
    "dbt run-operation a b": "takes no word `b`",
    "dbt --version": "runs nothing",
    "dbt run --help": "runs nothing",
    "dbt -h": "runs nothing",
    # Options that are not dbt's, or not there.
    "dbt run --no-such-option": "has no option --no-such-option",
    "dbt run --sel a": "has no option --sel",
    "dbt run --": "has no option --",
    "dbt run -- --project-dir /x": "has no option --",
    "dbt run -Z": "has no option -Z",
    "dbt --select a run": "has no option --select",
    "dbt test --full-refresh": "has no option --full-refresh",
    "dbt run --select": "needs a value",
    "dbt run --select ''": "needs a value",
    "dbt run --select=": "needs a value",
    "dbt run --select --full-refresh": "needs a value",
    "dbt run --vars": "needs a value",
    "dbt run --fail-fast=true": "takes no value",
    "dbt --target a run --target b": "both before and after",
    "dbt run --indirect-selection reckless": "Choose one of: eager",
    "dbt build --resource-type model tables": "Choose one of: metric",
    "dbt run --threads many": "Give a whole number",
    "dbt run --threads 0": "from 1 to 256",
    "dbt run --threads 1000000": "from 1 to 256",
    "dbt run --threads \u0664": "Give a whole number",
    "dbt run --vars notadict": "not a YAML dictionary",
    "dbt run --vars '{a: '": "not a YAML dictionary",
    "dbt run --vars '[[[[{a: b}]]]]'": "not a YAML dictionary",
    "dbt run --target 'a b'": "cannot be a target name",
    "dbt run -t=prod": "cannot be a target name",
    # Options that name places of ours, or lead outside.
    "dbt run --project-dir /srv/other": "--project-dir is not allowed",
    "dbt run --project-dir=.": "--project-dir is not allowed",
    "dbt run --profiles-dir /srv": "--profiles-dir is not allowed",
    "dbt run '--profiles-dir /srv'": "--profiles-dir is not allowed",
    "dbt run --profile other": "--profile is not allowed",
    "dbt --profile other run": "--profile is not allowed",
    "dbt run --target-path /tmp": "--target-path is not allowed",
    "dbt run --log-path /tmp": "--log-path is not allowed",
    "dbt --log-path=/tmp run": "--log-path is not allowed",
    "dbt run --log-format json": "--log-format is not allowed",
    "dbt run --log-format-file text": "--log-format-file is not allowed",
    "dbt run --log-level-file none": "--log-level-file is not allowed",
    "dbt run --log-file-max-bytes 1": "--log-file-max-bytes is not allowed",
    "dbt run --record-timing-info /tmp/x": "--record-timing-info is not allowed",
    "dbt run -r /tmp/x": "-r is not allowed",
    "dbt run -r/tmp/x": "-r is not allowed",
    "dbt run -xr/tmp/x": "-r is not allowed",
    "dbt -xr/tmp/x run": "-r is not allowed",
    "dbt run --select a -xr/tmp/x": "-r is not allowed",
    "dbt run --no-write-json": "--no-write-json is not allowed",
    "dbt deps --add-package a@1": "--add-package is not allowed",
    "dbt deps --source git": "--source is not allowed",
    "dbt clean --no-clean-project-files-only": "outside the project",
    "dbt source freshness -o /tmp/x": "-o is not allowed",
    "dbt source freshness --output x.json": "--output is not allowed",
    "dbt run --state /srv/other": "leads out of the project",
    "dbt run --state ../other": "leads out of the project",
    "dbt run --state=a/../../other": "leads out of the project",
    "dbt run --state ~/other": "leads out of the project",
    "dbt run --defer-state /srv/other": "leads out of the project",
    "dbt run --deprecated-state x": "--deprecated-state is not allowed",
    "dbt run --partial-parse-file-path x": "--partial-parse-file-path is not allowed",
    "dbt run --upload-to-artifacts-ingest-api": "another service",
    "dbt run --send-anonymous-usage-stats": "no usage statistics",
    "dbt debug --config-dir": "--config-dir is not allowed",
    "dbt show --inline-direct 'select 1'": "--inline-direct is not allowed",
    # Too much.
    "dbt run --select " + "a " * 2100: "longer than 4096 characters",
}


@pytest.mark.parametrize("step", REFUSED)
def test_a_step_that_a_job_may_not_have_is_refused_with_the_reason(step: str) -> None:
    said = refusal(step)
    assert REFUSED[step] in said
    assert said.startswith("Step 2 (`")
    assert said.endswith(".")
    assert said.isprintable()


def test_a_refusal_names_the_step_and_says_what_to_write() -> None:
    assert refusal("dbt run; rm -rf /") == (
        "Step 2 (`dbt run; rm -rf /`): `;` is a shell operator, and no shell is involved. Write "
        "each dbt command as a step of its own, or put quotes around the value."
    )


def test_a_refusal_shows_a_long_step_only_in_part() -> None:
    assert len(refusal("rm " * 1000)) < 300


@pytest.mark.parametrize(
    ("step", "subcommand"),
    [
        ("dbt -q ls", "list"),
        ("dbt source snapshot-freshness", "source freshness"),
        ("dbt docs generate", "docs generate"),
        ("dbt --target prod build", "build"),
    ],
)
def test_a_command_is_known_by_one_name(step: str, subcommand: str) -> None:
    assert parse(step).subcommand == subcommand


def test_options_are_kept_by_their_meaning() -> None:
    command = parse("dbt build -s a b --select c --no-defer -xt prod --threads 2 --threads 4")
    assert command.options == {
        "select": ("a", "b", "c"),
        "defer": ("false",),
        "fail_fast": ("true",),
        "target": ("prod",),
        "threads": ("4",),
    }
    assert command.target == "prod"
    assert command.state is None


def test_a_step_says_which_state_it_compares_with() -> None:
    assert parse("dbt build --state ./prod-artifacts").state == "./prod-artifacts"


@pytest.mark.parametrize(
    ("step", "builds", "retryable", "takes_state"),
    [
        ("dbt build", True, True, True),
        ("dbt test", True, True, True),
        ("dbt retry", True, False, False),
        ("dbt compile", False, True, True),
        ("dbt docs generate", False, True, True),
        ("dbt run-operation x", False, True, False),
        ("dbt source freshness", False, False, True),
        ("dbt ls", False, False, True),
        ("dbt deps", False, False, False),
        ("dbt debug", False, False, False),
    ],
)
def test_a_command_says_what_it_is_good_for(
    step: str, builds: bool, retryable: bool, takes_state: bool
) -> None:
    command = parse(step)
    assert (command.builds, command.retryable, command.takes_state) == (
        builds,
        retryable,
        takes_state,
    )


def test_every_option_of_dbt_is_either_allowed_or_refused() -> None:
    known = {
        commands._setting(option) for options in dbt_options.COMMANDS.values() for option in options
    }
    assert known == commands.ALLOWED | set(commands.REFUSED)
    assert not commands.ALLOWED & set(commands.REFUSED)


def test_only_relative_state_folders_are_allowed_among_the_options_with_a_path() -> None:
    paths = {
        commands._setting(option)
        for options in dbt_options.COMMANDS.values()
        for option in options
        if option.value == "path"
    }
    assert paths & commands.ALLOWED == {"state", "defer_state"}


def test_the_table_of_options_is_that_of_the_installed_dbt() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "make_dbt_options.py"))
    read = script["render"](script["introspect"](str(DBT_PYTHON)))
    kept = Path(dbt_options.__file__).read_text()
    assert ast.dump(ast.parse(read)) == ast.dump(ast.parse(kept))


def test_what_can_be_retried_is_that_of_the_installed_dbt() -> None:
    said = _ask_dbt(
        "import json; from dbt.task.retry import TASK_DICT; print(json.dumps([*TASK_DICT]))"
    )
    assert {"docs generate" if name == "generate" else name for name in json.loads(said)} == (
        commands._RETRYABLE
    )


# --- The same reading as dbt's ---------------------------------------------------------------

# Reads argument lists from stdin as dbt would, and prints what was given, or why not.
READ_AS_DBT = r"""
import json, sys
import click
from click.core import ParameterSource
from dbt.cli.main import cli

def given(context):
    return {
        name: context.params[name]
        for name, source in context._parameter_source.items()
        if source is ParameterSource.COMMANDLINE
    }

def read(words):
    command, context, path, found = cli, None, [], {}
    while True:
        context = command.make_context(command.name, list(words), parent=context)
        for name, value in given(context).items():
            assert name not in found, name
            found[name] = value
        if not isinstance(command, click.Group):
            return " ".join(path), found
        name, command, words = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        path.append(name)

answers = []
for words in json.load(sys.stdin):
    try:
        path, found = read(words)
    except Exception as error:
        answers.append({"error": repr(error)})
    else:
        answers.append({"path": path, "given": {k: repr(v) for k, v in found.items()},
                        "select": list(found.get("select") or ())})
print(json.dumps(answers))
"""


def _ask_dbt(program: str, given: str = "") -> str:
    done = subprocess.run(
        [DBT_PYTHON, "-c", program],
        input=given,
        capture_output=True,
        check=True,
        text=True,
        env={"DBT_PROFILES_DIR": "."},
    )
    return done.stdout


def test_every_accepted_step_is_read_alike_by_dbt() -> None:
    parsed = [parse(step) for step in ACCEPTED]
    answers = json.loads(_ask_dbt(READ_AS_DBT, json.dumps([c.arguments for c in parsed])))
    for command, answer in zip(parsed, answers, strict=True):
        assert "error" not in answer, (command.text, answer)
        assert answer["given"].keys() - {"macro"} == command.options.keys(), command.text
        assert answer["select"] == list(command.options.get("select", ())), command.text


WORDS = """
    run build test docs generate source freshness ls retry a b -x -q -xq -t -s -sa -xsa -r
    -xr/tmp/x -tprod --target --target=prod --select --select=a --exclude -m --state --state=/x
    --threads 4 --threads=4 --full-refresh --no-defer --defer --limit -1 --project-dir
    --project-dir=/x --log-path --vars {} --vars={} -- - --indirect-selection eager
    --resource-type model --output-keys --output name --profile p -f -d -V
"""


@pytest.mark.parametrize("seed", range(2))
def test_no_words_are_read_otherwise_by_dbt(seed: int) -> None:
    chance, words = random.Random(seed), WORDS.split()
    accepted: list[DbtCommand] = []
    for _ in range(10_000):
        first = chance.choice([["run"], ["ls"], ["docs", "generate"], []])
        rest = chance.choices(words, k=chance.randint(0, 6))
        try:
            accepted.append(parse(shlex.join(["dbt", *first, *rest])))
        except CommandRejected:
            continue
    assert len(accepted) > 500
    answers = json.loads(_ask_dbt(READ_AS_DBT, json.dumps([c.arguments for c in accepted])))
    for command, answer in zip(accepted, answers, strict=True):
        assert "error" not in answer, (command.text, answer)
        assert answer["given"].keys() == command.options.keys(), command.text
        assert answer["select"] == list(command.options.get("select", ())), command.text


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), max_size=5))
def test_quoted_words_come_out_as_they_went_in(values: list[str]) -> None:
    words = ["dbt", "run", "--select", "x", *(f"a{value}" for value in values)]
    assert list(parse(shlex.join(words)).arguments) == words[1:]
