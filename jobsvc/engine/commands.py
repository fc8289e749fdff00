"""A step's text and the dbt command it is: what a job may run, and what it may not.

Judged as dbt itself will read it: the text is cut into words once, the words are read by the
options that dbt's own command line has (``dbt_options``), and exactly those words are run.
No shell is involved. This is a courtesy to people and a first fence; a dbt project is code,
and what confines it is the sandbox.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from jobsvc.engine.dbt_options import COMMANDS, Option
from jobsvc.engine.errors import CommandRejected
from jobsvc.engine.names import check_target

LONGEST_STEP = 4096  # characters
SHOWN = 80  # characters of a step in a message
MOST_THREADS = 256

# dbt's other names for the same command.
_SAME = {"ls": "list", "source snapshot-freshness": "source freshness"}

_NEVER = {
    "init": "it makes a new project, and a job has one",
    "docs serve": "it serves pages until it is stopped, so the run would never end",
}

# The results of these are the run's own; those of compile, docs or run-operation are not.
_BUILDS = {"build", "clone", "retry", "run", "seed", "snapshot", "test"}

_RETRYABLE = {
    "build",
    "clone",
    "compile",
    "docs generate",
    "run",
    "run-operation",
    "seed",
    "snapshot",
    "test",
}

_TAKES_STATE = {
    "build",
    "clone",
    "compile",
    "docs generate",
    "list",
    "run",
    "seed",
    "show",
    "snapshot",
    "source freshness",
    "test",
}

# Options by which nodes are selected, and that change nothing else.
SELECTS = frozenset(
    {"select", "models", "exclude", "selector", "resource_types", "exclude_resource_types"}
)

# Every option is in one of these two, by dbt's name for it; a test sees to it. An option that
# a later dbt brings is refused until someone has read what it does.
ALLOWED = frozenset(
    {
        "args",
        "cache_selected_only",
        "clean_project_files_only",
        "compile",
        "connection",
        "debug",
        "defer",
        "defer_state",
        "empty",
        "empty_catalog",
        "event_time_end",
        "event_time_start",
        "exclude",
        "exclude_resource_types",
        "export_saved_queries",
        "fail_fast",
        "favor_state",
        "full_refresh",
        "include_saved_query",
        "indirect_selection",
        "inline",
        "introspect",
        "limit",
        "lock",
        "log_cache_events",
        "log_level",
        "models",
        "output",
        "output_keys",
        "partial_parse",
        "populate_cache",
        "print",
        "printer_width",
        "quiet",
        "resource_types",
        "sample",
        "select",
        "selector",
        "send_anonymous_usage_stats",
        "show",
        "show_all_deprecations",
        "single_threaded",
        "sqlparse",
        "state",
        "static",
        "static_parser",
        "store_failures",
        "target",
        "threads",
        "upgrade",
        "use_colors",
        "use_experimental_parser",
        "use_fast_test_edges",
        "vars",
        "version_check",
        "warn_error",
        "warn_error_options",
        "write_json",
    }
)

_OURS = "this service decides where that is"
_LOGS = "this service reads dbt's logs and sets their form"
_INTERNAL = "it is internal to dbt"
_OLD = "dbt takes it from the environment only, and only for old settings"
_NO_STEP = "it prints something and runs nothing"

REFUSED: Mapping[str, str] = {
    "add_package": "it rewrites packages.yml; add the package in the repository",
    "browser": _NEVER["docs serve"],
    "config_dir": _NO_STEP,
    "deprecated_defer": _OLD,
    "deprecated_favor_state": _OLD,
    "deprecated_print": _OLD,
    "deprecated_state": _OLD,
    "host": _NEVER["docs serve"],
    "inject_ephemeral_ctes": _INTERNAL,
    "inline_direct": _INTERNAL,
    "log_file_max_bytes": _LOGS,
    "log_format": _LOGS,
    "log_format_file": _LOGS,
    "log_level_file": _LOGS,
    "log_path": _OURS,
    "macro_debugging": _INTERNAL,
    "output_path": "it writes a file anywhere; read sources.json from the run's artifacts",
    "partial_parse_file_diff": _INTERNAL,
    "partial_parse_file_path": _OURS,
    "port": _NEVER["docs serve"],
    "profile": "a run has one profile, made from its environment's connection",
    "profiles_dir": _OURS,
    "project_dir": "set the project's subdirectory instead",
    "record_timing_info": "it writes a file anywhere",
    "show_resource_report": _INTERNAL,
    "skip_profile_setup": _NEVER["init"],
    "source": "it belongs to --add-package",
    "target_path": _OURS,
    "upload_to_artifacts_ingest_api": "it sends the run's artifacts to another service",
    "use_colors_file": _LOGS,
    "version": _NO_STEP,
}

# Allowed one way only: (dbt's name, switched on) to why not.
_REFUSED_WAY = {
    ("clean_project_files_only", False): "it deletes files outside the project",
    ("send_anonymous_usage_stats", True): "this server sends no usage statistics",
    ("write_json", False): "the run's results and artifacts are read from these files",
}

_HELP = {"-h", "--help"}
_HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_QUOTES = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02\uff07"
_OPERATORS = ";|&<>()`"


@dataclass(frozen=True)
class DbtCommand:
    """One dbt command of a job, read and found fit to run.

    Attributes:
        text: as typed.
        arguments: the words after ``dbt``, as they are handed to it.
        subcommand: in dbt's first spelling: ``build``, ``list``, ``docs generate``.
        options: dbt's name of each option given, to its values; a switch has ``true`` or
            ``false``, and of a setting given twice the last value counts, as in dbt.
    """

    text: str
    arguments: tuple[str, ...]
    subcommand: str
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, step: str, *, index: int) -> DbtCommand:
        """The command that ``step`` is.

        Args:
            index: the step's number in its job, from 1, for the message.

        Raises:
            CommandRejected: a job may not run it; the sentence names the step and what to do.
        """
        try:
            _check_text(step)
            words = _as_clients_mean(_words(step))
            reading = _Reading(words)
            reading.read()
        except _Refused as refused:
            raise CommandRejected(f"Step {index} (`{_shown(step)}`): {refused}") from None
        return cls(
            text=step,
            arguments=tuple(words[1:]),
            subcommand=_SAME.get(reading.path, reading.path),
            options=reading.options,
        )

    @property
    def builds(self) -> bool:
        """Whether its ``run_results.json`` says what happened to the project's nodes."""
        return self.subcommand in _BUILDS

    @property
    def retryable(self) -> bool:
        """Whether ``dbt retry`` can go on from its failure."""
        return self.subcommand in _RETRYABLE

    @property
    def takes_state(self) -> bool:
        """Whether it can compare with, or defer to, an earlier state."""
        return self.subcommand in _TAKES_STATE

    @property
    def target(self) -> str | None:
        """The target named by ``--target``, which the caller compares with the job's."""
        return self._last("target")

    @property
    def state(self) -> str | None:
        """The relative folder named by ``--state``."""
        return self._last("state")

    def _last(self, name: str) -> str | None:
        values = self.options.get(name)
        return values[-1] if values else None


def read_selection(flags: str) -> Mapping[str, tuple[str, ...]]:
    """The options that ``flags`` (``--select state:modified``) are, of ``dbt list``.

    Raises:
        CommandRejected: they are none, or do more than select; the sentences say what to do.
    """
    try:
        _check_text(flags)
        reading = _Reading(_as_clients_mean(["dbt", "list", *_words(flags)]))
        reading.read()
        for name in reading.options:
            if name not in SELECTS:
                shown = f"--{name.replace('_', '-')}"
                raise _Refused(f"{shown} does more than select. Take it out.")
    except _Refused as refused:
        raise CommandRejected(f"`{_shown(flags)}`: {refused}") from None
    return reading.options


class _Refused(Exception):
    """Two sentences: what is wrong, what to do."""


def _shown(step: str) -> str:
    visible = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in step[:SHOWN])
    return visible.strip() + ("…" if len(step) > SHOWN else "")


# --- Text to words ---------------------------------------------------------------------------


def _check_text(step: str) -> None:
    if len(step) > LONGEST_STEP:
        raise _Refused(
            f"it is longer than {LONGEST_STEP} characters. Use a selector of selectors.yml, or "
            "several steps."
        )
    for character in step:
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
            raise _Refused(
                f"it holds a line break or an invisible character (U+{ord(character):04X}). "
                "Write the command on one line, in visible characters."
            )


def _words(step: str) -> list[str]:
    """Cut a step into words by the shell's rules of quoting, and refuse what a shell would do."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    characters = deque(step)
    while characters:
        character = characters.popleft()
        following = characters[0] if characters else ""
        if character == quote:
            quote = ""
        elif quote == "'":
            word = (word or "") + character
        elif character == "\\" and (not quote or following in {'"', "\\"}):
            if not characters:
                raise _Refused("it ends in a backslash. Take it out.")
            word = (word or "") + characters.popleft()
        elif character == "`" or (character == "$" and _expands(following, quoted=bool(quote))):
            raise _Refused(
                f"`{character}{following}` would be replaced by a shell, and no shell is involved. "
                "Use env_var() in the project, or single quotes if you mean the characters."
            )
        elif quote:
            word = (word or "") + character
        elif character in "'\"":
            quote, word = character, word or ""
        elif character == " ":
            words += [] if word is None else [word]
            word = None
        else:
            _refuse_unquoted(character, begins_word=word is None)
            word = (word or "") + character
    if quote:
        raise _Refused(f"a quotation mark ({quote}) is not closed. Close it.")
    return words + ([] if word is None else [word])


def _expands(following: str, *, quoted: bool) -> bool:
    return following in {"(", "{"} or (
        not quoted and following != "" and (following.isalnum() or following in "_?$!@*#-'\"")
    )


def _refuse_unquoted(character: str, *, begins_word: bool) -> None:
    if character in _OPERATORS:
        raise _Refused(
            f"`{character}` is a shell operator, and no shell is involved. Write each dbt command "
            "as a step of its own, or put quotes around the value."
        )
    if character == "#" and begins_word:
        raise _Refused("a step has no comment. Put what follows `#` into the job's description.")
    if character in _QUOTES:
        raise _Refused(f"{character} is not a quotation mark of a command. Use ' or \".")
    if begins_word and character in _HYPHENS:
        raise _Refused(f"{character} only looks like a hyphen. Write options with `--`.")
    if character.isspace():
        raise _Refused("it holds a special blank. Use plain blanks between the words.")


def _as_clients_mean(words: list[str]) -> list[str]:
    """Part an option from its value where a client quoted both as one word."""
    parted: list[str] = []
    for word in words:
        option, blank, value = word.partition(" ")
        if blank and option.startswith("--") and "=" not in option:
            parted += [option, *filter(None, [value.strip()])]
        else:
            parted.append(word)
    return parted


# --- Words to a command ------------------------------------------------------------------------


class _Reading:
    """Reads words as dbt's parser (click) does; what click would read otherwise is refused."""

    def __init__(self, words: list[str]) -> None:
        self.path = ""
        self.options: dict[str, tuple[str, ...]] = {}
        self._given_at: dict[str, str] = {}
        self._rest = deque(words)
        self._macro = False

    def read(self) -> None:
        """Read every word.

        Raises:
            _Refused: with what is wrong and what to do.
        """
        program = self._rest.popleft() if self._rest else ""
        if program != "dbt":
            if not program.isascii():
                raise _Refused(
                    f"`{program}` holds letters that only look like those of `dbt`. Type it anew."
                )
            raise _Refused(
                "a step runs dbt and nothing else. Begin it with `dbt`, as in `dbt build`."
            )
        while self._rest:
            word = self._rest.popleft()
            if word.startswith("--"):
                self._long(word)
            elif word.startswith("-") and word != "-":
                self._cluster(word)
            else:
                self._word(word)
        self._whole()

    def _word(self, word: str) -> None:
        """A word that is no option: the next part of the command's name, or a macro."""
        if self.path in {"", "docs", "source"}:
            path = f"{self.path} {word}".strip()
            if path in _NEVER:
                raise _Refused(f"`dbt {path}` cannot be a step: {_NEVER[path]}. Take it out.")
            if path not in COMMANDS:
                raise _Refused(
                    f"`dbt {path}` is not a dbt command that a job may run. "
                    f"Choose one of: {', '.join(_choices())}."
                )
            self.path = path
        elif self.path == "run-operation" and not self._macro:
            self._macro = True
        else:
            raise _Refused(
                f"`dbt {self.path}` takes no word `{word}` here. Write `--select {word}` if you "
                "mean nodes, and quotes around a value that holds blanks."
            )

    def _whole(self) -> None:
        if self.path in {"", "docs", "source"}:
            raise _Refused(
                f"`{f'dbt {self.path}'.strip()}` is not a whole command. "
                f"Choose one of: {', '.join(_choices())}."
            )
        if self.path == "run-operation" and not self._macro:
            raise _Refused("`dbt run-operation` needs the name of a macro. Write it after it.")

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self._find(name)
        if equals and not option.value:
            raise _Refused(f"{name} takes no value. Write {name} alone.")
        if equals:
            self._give(option, name, value)
        else:
            self._switch_or_take(option, name)

    def _cluster(self, word: str) -> None:
        """``-x``, ``-xq``, ``-sa``, ``-xsa``: switches, and at most one value at the end."""
        for place, letter in enumerate(word[1:], start=2):
            name = f"-{letter}"
            option = self._find(name)
            if option.value and word[place:]:
                self._give(option, name, word[place:])
                return
            self._switch_or_take(option, name)

    def _find(self, name: str) -> Option:
        if name in _HELP:
            raise _Refused(f"{name} is not allowed: {_NO_STEP}. Take it out.")
        for option in COMMANDS[self.path]:
            if name in option.on or name in option.off:
                break
        else:
            raise _Refused(
                f"`dbt {self.path}".rstrip() + f"` has no option {name}. See `dbt --help`, and "
                "write options after the command."
            )
        reason = REFUSED.get(_setting(option)) or _REFUSED_WAY.get(
            (option.name, name not in option.off)
        )
        if reason or _setting(option) not in ALLOWED:
            raise _Refused(f"{name} is not allowed: {reason or _INTERNAL}. Take it out.")
        return option

    def _switch_or_take(self, option: Option, name: str) -> None:
        if not option.value:
            self._note(option, "false" if name in option.off else "true")
            return
        number = option.value == "number" and self._rest and self._rest[0][1:].isdecimal()
        if not self._rest or (self._rest[0].startswith("-") and not number):
            dashed = f", as {name}=VALUE if it begins with `-`" if name.startswith("--") else ""
            raise _Refused(f"{name} needs a value. Write it after {name}{dashed}.")
        self._give(option, name, self._rest.popleft())

    def _give(self, option: Option, name: str, value: str) -> None:
        values = [value]
        if option.value == "words":
            values = value.split(" ")
            while self._rest and not self._rest[0].startswith("-"):
                values.append(self._rest.popleft())
        for one in filter(None, values):
            _check_value(option, name, one)
        if not any(values):
            raise _Refused(f"{name} needs a value. Write it after {name}.")
        if option.value == "words":
            values = [*self.options.get(option.name, ()), *values]
        self._note(option, *filter(None, values))

    def _note(self, option: Option, *values: str) -> None:
        if self._given_at.setdefault(option.name, self.path) != self.path:
            raise _Refused(
                f"{option.on[0]} is given both before and after the command. Give it once."
            )
        self.options[option.name] = values


def _setting(option: Option) -> str:
    """dbt's name for the option, save for ``--output FILE``, which it calls ``output`` too."""
    return "output_path" if (option.name, option.value) == ("output", "path") else option.name


def _choices() -> list[str]:
    groups = {"", "docs", "source"}
    return sorted(path for path in COMMANDS if path not in {*groups, *_NEVER, *_SAME})


def _check_value(option: Option, name: str, value: str) -> None:
    """Refuse a value that dbt would refuse, or that leads out of the checkout."""
    if option.choices and value.lower() not in option.choices:
        raise _Refused(f"{name} cannot be `{value}`. Choose one of: {', '.join(option.choices)}.")
    if option.value == "number" and not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise _Refused(f"{name} cannot be `{value}`. Give a whole number.")
    if option.name == "threads" and not 1 <= int(value) <= MOST_THREADS:
        raise _Refused(f"{name} cannot be {value}. Give a number from 1 to {MOST_THREADS}.")
    if option.value == "path" and (
        value.startswith(("/", "~", "-")) or "\\" in value or ".." in value.split("/")
    ):
        raise _Refused(
            f"{name} cannot be `{value}`: it leads out of the project. Give a relative path "
            "without `..`."
        )
    if option.value == "mapping" and not _is_mapping(value):
        raise _Refused(
            f"{name} is not a YAML dictionary. Put single quotes around it: "
            f'{name} \'{{"key": "value"}}\'.'
        )
    if option.name == "target":
        try:
            check_target(value)
        except ValueError as refused:
            raise _Refused(str(refused)) from None


def _is_mapping(text: str) -> bool:
    try:
        # Composed, not loaded: no object is made of it, and no alias is followed.
        return isinstance(yaml.compose(text, Loader=yaml.SafeLoader), yaml.MappingNode)
    except (yaml.YAMLError, RecursionError):
        return False
