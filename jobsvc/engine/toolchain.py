"""dbt versions: which are installed, with which adapters, and how each is started.

Every version lives in a virtual environment of its own. What is in one is read from its
metadata on disk; nothing of it is started to find out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobsvc.engine.errors import VersionUnavailable
from jobsvc.engine.plan import ToolchainPlan

# dbt Cloud's release tracks, and nothing at all: the newest that is installed.
NEWEST = frozenset({"", "latest", "versionless", "compatible", "extended", "stable"})

_PACKAGE = re.compile(r"(?P<name>[a-z0-9_.]+)-(?P<version>[^-]+)\.dist-info", re.IGNORECASE)
_SERIES = re.compile(
    r"(?:~=|==)?\s*(?P<series>\d+\.\d+)(?:\.x|\.\*|\.latest|(?:\.\d+)?-latest)?", re.IGNORECASE
)
_EXACT = re.compile(r"(?:==)?\s*(?P<version>\d+\.\d+\.\d+[a-z0-9.]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Installed:
    """One environment with dbt in it.

    Attributes:
        packages: distribution name, lower case with underscores, to version.
    """

    executable: Path
    packages: Mapping[str, str]

    @property
    def version(self) -> str:
        return self.packages["dbt_core"]

    @property
    def adapters(self) -> list[str]:
        """Types of warehouse, as a profile's ``type`` names them."""
        parts = {"core", "adapters", "common", "extractor", "protos", "semantic_interfaces"}
        names = (name.removeprefix("dbt_") for name in self.packages if name.startswith("dbt_"))
        return sorted(name.removesuffix("_community") for name in names if name not in parts)

    @property
    def order(self) -> tuple[bool, tuple[int, ...]]:
        """Newest last; a version that is not final comes before every final one."""
        numbers = tuple(int(number) for number in re.findall(r"\d+", self.version))
        return bool(re.fullmatch(r"[\d.]+", self.version)), numbers

    @property
    def read_only(self) -> tuple[str, ...]:
        """The environment itself and the Python it was made from."""
        root = self.executable.parent.parent
        directories = [str(root)]
        settings = root / "pyvenv.cfg"
        if settings.is_file():
            home = re.search(r"^home\s*=\s*(.+?)\s*$", settings.read_text(), re.MULTILINE)
            if home:
                # As written and as it really lies: either may be a link to the other.
                base = Path(home[1]).parent
                directories += [str(base), str(base.resolve())]
        return tuple(dict.fromkeys(directories))


class ExecutableToolchain:
    """The Toolchain port over environments on this machine.

    Args:
        installed: a name (its version, or any other word an administrator likes) to the
            absolute path of the environment's ``dbt`` command. Those that are not there, or
            have no dbt beside them, do not count.
    """

    def __init__(self, installed: Mapping[str, str]) -> None:
        self._installed = installed

    def all_installed(self) -> dict[str, Installed]:
        """What is there now, by the name it was given; read anew each time."""
        found = {}
        for name, executable in self._installed.items():
            packages = _packages(Path(executable))
            if "dbt_core" in packages:
                found[name] = Installed(Path(executable), packages)
        return found

    def resolve(self, version: str, adapters: Sequence[str]) -> ToolchainPlan:
        """The newest installed dbt that ``version`` names and that has all ``adapters``.

        ``version`` is a name from the settings, an exact version (``1.11.16``), a series
        (``1.11``, ``1.11.x``, ``~=1.11``, ``1.11.0-latest``) or a release track
        (``latest``, ``versionless``, ``compatible``, ``extended``).

        Raises:
            VersionUnavailable
        """
        every = self.all_installed()
        wanted = version.strip()
        named = [every[wanted]] if wanted in every else every.values()
        able = [
            one
            for one in named
            if (wanted in every or _matches(wanted, one.version))
            and set(adapters) <= set(one.adapters)
        ]
        if not able:
            raise VersionUnavailable(
                version=wanted or "(any version)",
                adapters=" and ".join(adapters) or "no adapter",
                installed="; ".join(
                    f"{one.version} with {', '.join(one.adapters) or 'no adapter'}"
                    for one in sorted(every.values(), key=lambda one: one.order, reverse=True)
                )
                or "nothing is installed yet",
            )
        chosen = max(able, key=lambda one: one.order)
        return ToolchainPlan(
            version=chosen.version,
            executable=str(chosen.executable),
            read_only=chosen.read_only,
        )


def _matches(wanted: str, version: str) -> bool:
    if wanted.lower() in NEWEST:
        return True
    if exact := _EXACT.fullmatch(wanted):
        return exact["version"] == version
    if series := _SERIES.fullmatch(wanted):
        return version.startswith(f"{series['series']}.")
    return False


def _packages(executable: Path) -> dict[str, str]:
    """Distributions installed beside ``executable``, from the names of their metadata."""
    if not executable.is_file():
        return {}
    site = executable.parent.parent.glob("lib/python3*/site-packages/*.dist-info")
    found = (_PACKAGE.fullmatch(entry.name) for entry in site)
    return {
        match["name"].lower().replace("-", "_").replace(".", "_"): match["version"]
        for match in found
        if match
    }
