"""What of a dbt project's own files would lead out of its checkout, found before dbt reads them.

A path in ``dbt_project.yml`` can read, write or delete anywhere (``asset-paths`` makes ``dbt
docs generate`` delete a folder), and a package can be fetched by any program git knows. Each
such line is refused by its number. This is a linter: the sandbox is what holds.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from jobsvc.engine.errors import ProjectFileRefused

LARGEST_FILE = 512 * 1024  # bytes
DEEPEST = 100  # levels of nesting

# Read by dbt in these keys, with ``_`` for ``-`` as well.
_PATH_KEYS = frozenset(
    {
        "analysis-paths",
        "asset-paths",
        "clean-targets",
        "data-paths",
        "docs-paths",
        "function-paths",
        "log-path",
        "macro-paths",
        "model-paths",
        "packages-install-path",
        "seed-paths",
        "snapshot-paths",
        "source-paths",
        "target-path",
        "test-paths",
    }
)

# This service says where these are, so what the project computes for them has no effect.
_OVERRIDDEN = {"log-path", "target-path"}

# dbt joins these to its target directory, which lies outside the checkout.
_JOINED_TO_TARGET = {"asset-paths"}

_JINJA = re.compile(r"\{\{|\{%|\{#")
_HTTPS = re.compile(r"https://[^/\s-]\S*")
_SSH = re.compile(
    r"ssh://[^/\s-]\S*|[A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9.][A-Za-z0-9.-]*:[^:\s-]\S*"
)

# The same parser as dbt's own, where it was built; they differ in rare corners.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_project_files(project_dir: Path, checkout_dir: Path) -> None:
    """Refuse a project whose files name a place outside the checkout.

    Args:
        project_dir: the folder of ``dbt_project.yml``, in or below ``checkout_dir``.

    Raises:
        ProjectFileRefused: with the file, from the checkout's root, and the line.
    """
    project, checkout = project_dir.resolve(), checkout_dir.resolve()
    if not project.is_relative_to(checkout):
        raise ProjectFileRefused(
            file="dbt_project.yml", line=1, reason="its folder lies outside the repository"
        )
    checker = _Checker(project, checkout)
    checker.check("dbt_project.yml", checker.check_project)
    for name in ("packages.yml", "dependencies.yml", "package-lock.yml"):
        checker.check(name, checker.check_packages)


class _Reason(Exception):
    """Why a value cannot stay, without its file; the line is where the node is."""

    def __init__(self, node: yaml.Node | None, reason: str) -> None:
        self.line = node.start_mark.line + 1 if node is not None else 1
        super().__init__(reason)


class _Checker:
    def __init__(self, project: Path, checkout: Path) -> None:
        self._project = project
        self._checkout = checkout

    def check(self, name: str, judge: Any) -> None:
        """Read one file of the project, if it is there, and have ``judge`` look at it."""
        place = self._project / name
        try:
            root = _compose(place)
            if root is not None:
                judge(root)
        except _Reason as reason:
            file = place.relative_to(self._checkout).as_posix()
            raise ProjectFileRefused(file=file, line=reason.line, reason=reason) from None

    def check_project(self, root: yaml.Node) -> None:
        seen: set[str] = set()
        for key, value in _pairs(root):
            name = _text(key).replace("_", "-")
            if name not in _PATH_KEYS:
                continue
            if name in seen:
                raise _Reason(key, f"{name} is given twice, and only one of them would count")
            seen.add(name)
            for item in _items(value):
                self._check_path(name, item)

    def check_packages(self, root: yaml.Node) -> None:
        for key, value in _pairs(root):
            if _text(key) == "packages":
                for entry in _items(value):
                    self._check_package(entry)

    def _check_package(self, entry: yaml.Node) -> None:
        for key, value in _pairs(entry):
            name, text = _text(key), _text(value)
            if name == "local":
                self._check_path(name, value)
            elif name == "tarball" and not _HTTPS.fullmatch(_unjinja(text)):
                raise _Reason(value, f"tarball must be an https:// address, not `{_shown(text)}`")
            elif name == "git" and not (_HTTPS.fullmatch(_unjinja(text)) or _SSH.fullmatch(text)):
                raise _Reason(
                    value,
                    "git must be an https:// or ssh:// address (or user@host:path), not "
                    f"`{_shown(text)}`",
                )
            elif name in {"revision", "private", "package", "version"}:
                self._check_word(name, value)
            elif name == "subdirectory":
                self._check_word(name, value)
                if text.startswith("/") or ".." in text.split("/") or _JINJA.search(text):
                    raise _Reason(value, f"{name} `{_shown(text)}` leads out of the package")
            elif name == "name" and text and not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", text):
                raise _Reason(value, f"`{_shown(text)}` cannot be the name of a package")

    def _check_word(self, name: str, value: yaml.Node) -> None:
        """A value that stands alone on a command line of git."""
        for item in _items(value):
            text = _text(item).lstrip()
            if text.startswith("-"):
                raise _Reason(item, f"{name} `{_shown(text)}` would be taken for an option")
            if _JINJA.match(text):
                raise _Reason(item, f"{name} must begin with plain text, not with Jinja")

    def _check_path(self, name: str, node: yaml.Node) -> None:
        text = _text(node)
        if _JINJA.search(text):
            if name in _OVERRIDDEN:
                return
            raise _Reason(node, f"{name} must be a plain path, because Jinja cannot be judged here")
        if "\x00" in text:
            raise _Reason(node, f"{name} holds a NUL character")
        if text.startswith(("/", "~")):
            raise _Reason(node, f"{name} `{_shown(text)}` is not relative to the project")
        is_inside = (self._project / text).resolve().is_relative_to(self._checkout)
        if not is_inside or (name in _JOINED_TO_TARGET and ".." in text.split("/")):
            raise _Reason(node, f"{name} `{_shown(text)}` leads out of the repository")


def _compose(place: Path) -> yaml.Node | None:
    """The file as nodes with line numbers: no object is made of it, no alias is multiplied."""
    try:
        kind = place.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(kind.st_mode):
        raise _Reason(None, "it must be a regular file, not a link")
    if kind.st_size > LARGEST_FILE:
        raise _Reason(None, f"it is larger than {LARGEST_FILE // 1024} KiB")
    try:
        text = place.read_bytes().decode("utf-8")
        _check_depth(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as wrong:
        line = wrong.problem_mark.line + 1 if wrong.problem_mark else 1
        reason = _Reason(None, f"it is not valid YAML ({wrong.problem or 'unreadable'})")
        reason.line = line
        raise reason from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _Reason(None, "it cannot be read as YAML in UTF-8") from None
    return node


def _check_depth(text: str) -> None:
    """Refuse nesting that would exhaust the stack of the composer, which is recursive C."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _Reason(None, f"its YAML is nested more than {DEEPEST} levels deep")


def _pairs(node: yaml.Node, seen: set[int] | None = None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Every key and value of a mapping, doubled keys and merged mappings (``<<``) included."""
    seen = seen if seen is not None else set()
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in _items(value):
                yield from _pairs(merged, seen)
        else:
            yield key, value


def _items(node: yaml.Node) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _text(node: yaml.Node) -> str:
    """A scalar's text; a binary one is refused, since its text is not what dbt would see."""
    if not isinstance(node, yaml.ScalarNode):
        return ""
    if node.tag == "tag:yaml.org,2002:binary":
        raise _Reason(node, "it holds binary data where text is expected")
    return str(node.value)


def _unjinja(text: str) -> str:
    """An address with its Jinja taken as one word: a token may come from a variable."""
    return re.sub(r"\{\{.*?\}\}", "x", text)


def _shown(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "…"
