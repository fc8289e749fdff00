"""Writes jobsvc/engine/dbt_options.py from the command line of an installed dbt.

    python scripts/make_dbt_options.py .toolchains/dbt-1.11/bin/python > dbt_options.py

What dbt accepts is read from dbt itself, in its own environment, so that a step is judged by
the options dbt will really see.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

# Run by dbt's own Python. Prints {"version", "commands": {path: [option]}, "environment": [name]}.
INTROSPECTION = r"""
import importlib.metadata, json
import click
from dbt.cli.main import cli
from dbt.cli.option_types import ChoiceTuple, SampleType, YAML
from dbt.cli.options import MultiOption
from dbt.env_vars import KNOWN_ENGINE_ENV_VARS

def value_of(option):
    kind = option.type
    if isinstance(option, MultiOption): return "words"
    if option.is_flag: return ""
    if isinstance(kind, click.Path): return "path"
    if isinstance(kind, click.types.IntParamType): return "number"
    if isinstance(kind, YAML): return "mapping"
    return "text"

def read(option):
    return {
        "name": option.name,
        "on": sorted(name for name in option.opts if name.strip()),
        "off": sorted(name for name in option.secondary_opts if name.strip()),
        "value": value_of(option),
        "choices": list(option.type.choices) if isinstance(option.type, click.Choice) else [],
        "hidden": option.hidden,
    }

def walk(command, path):
    yield " ".join(path), command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, [*path, name])

environment, elsewhere, commands = set(), set(), {}
for path, command in walk(cli, []):
    options = [p for p in command.params if isinstance(p, click.Option)]
    commands[path] = sorted(map(read, options), key=lambda option: option["on"])
    for option in options:
        names = option.envvar or []
        # No job serves documentation: DBT_HOST is free for a warehouse's address.
        kept = elsewhere if path == "docs serve" else environment
        kept.update([names] if isinstance(names, str) else names)
for known in KNOWN_ENGINE_ENV_VARS:
    environment.update({known.name, known.old_name} - {None} - (elsewhere - environment))
print(json.dumps({
    "version": importlib.metadata.version("dbt-core"),
    "commands": commands,
    "environment": sorted(environment),
}))
"""

HEADER = '''\
"""What dbt's own command line accepts, read from dbt-core {version}. Generated; do not edit.

Made by ``scripts/make_dbt_options.py``; a test compares it with the installed dbt.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One option of one command.

    Attributes:
        name: dbt's own for it; options of one name are one setting.
        on: the spellings that take ``value``, or switch it on; ``-x`` or ``--fail-fast``.
        off: the spellings that switch it off.
        value: "" for a switch, else ``text``, ``number``, ``path``, ``mapping`` (YAML) or
            ``words``, which takes every word up to the next that begins with ``-``.
        choices: the only values accepted, in any case of letters; none means any.
        hidden: not shown by dbt's help.
    """

    name: str
    on: tuple[str, ...]
    off: tuple[str, ...] = ()
    value: str = ""
    choices: tuple[str, ...] = ()
    hidden: bool = False


'''


def introspect(python: str) -> dict[str, Any]:
    """What the dbt of that Python says of itself."""
    done = subprocess.run([python, "-c", INTROSPECTION], capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def _literal(option: dict[str, Any]) -> str:
    parts = [repr(option["name"]), repr(tuple(option["on"]))]
    for key in ("off", "choices"):
        if option[key]:
            parts.append(f"{key}={tuple(option[key])!r}")
    parts += [f"value={option['value']!r}"] if option["value"] else []
    parts += ["hidden=True"] if option["hidden"] else []
    return f"Option({', '.join(parts)})"


def render(read: dict[str, Any]) -> str:
    """The module's source, before formatting."""
    commands = read["commands"]
    common = [option for option in commands[""] if all(option in of for of in commands.values())]
    lines = [HEADER.format(version=read["version"])]
    lines += [f"VERSION = {read['version']!r}\n\n"]
    lines += ["# Accepted by dbt itself and by every command.\nCOMMON = (\n"]
    lines += [f"    {_literal(option)},\n" for option in common]
    lines += [')\n\n# Words after ``dbt`` ("" for none) to the options accepted there.\n']
    lines += ["COMMANDS: dict[str, tuple[Option, ...]] = {\n"]
    for path, options in sorted(commands.items()):
        lines += [f"    {path!r}: (\n        *COMMON,\n"]
        lines += [f"        {_literal(option)},\n" for option in options if option not in common]
        lines += ["    ),\n"]
    lines += ["}\n\n# Every environment variable that steers a command of a job.\n"]
    lines += ["ENVIRONMENT = frozenset(\n    {\n"]
    lines += [f"        {name!r},\n" for name in read["environment"]]
    lines += ["    }\n)\n"]
    return "".join(lines)


if __name__ == "__main__":
    formatted = subprocess.run(
        ["ruff", "format", "--stdin-filename", "dbt_options.py", "-"],
        input=render(introspect(sys.argv[1])),
        capture_output=True,
        check=True,
        text=True,
    )
    sys.stdout.write(formatted.stdout)
