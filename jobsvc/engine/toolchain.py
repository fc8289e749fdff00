"""dbt versions: which there are, with which adapters, and how each is started.

Every version lives in a virtual environment of its own. What is in one is read from its
metadata on disk; nothing of it is started to find out. Those that are not there yet, but whose
every package is pinned in a lock, can be made (``jobsvc.engine.toolchain_build``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobsvc.engine.errors import VersionUnavailable
from jobsvc.engine.plan import ToolchainPlan

# dbt Cloud's release tracks: here each is the newest there is.
TRACKS = ("latest", "versionless", "compatible", "extended", "stable")
NEWEST = frozenset({"", *TRACKS})

# Series after the newest lock: why they are not here.
_LATER = (
    "dbt 1.12 needs a package whose installation downloads a program from elsewhere than the "
    "package index, and what dbt 2 writes cannot be compared with what dbt 1 writes"
)

# Packages called dbt-something that are no adapters.
_PARTS = frozenset(
    {
        "adapters",
        "common",
        "core",
        "core_experimental_parser",
        "extractor",
        "protos",
        "semantic_interfaces",
    }
)
_PINNED = re.compile(r"^dbt-(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)", re.MULTILINE)
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
        names = (name.removeprefix("dbt_") for name in self.packages if name.startswith("dbt_"))
        return sorted(name.removesuffix("_community") for name in names if name not in _PARTS)

    @property
    def series(self) -> str:
        return series_of(self.version)

    @property
    def order(self) -> tuple[bool, tuple[int, ...], int]:
        """Newest last, of equals the one with fewest adapters; a version that is not final
        comes before every final one."""
        final = bool(re.fullmatch(r"[\d.]+", self.version))
        return final, numbers_of(self.version), -len(self.adapters)

    @property
    def plan(self) -> ToolchainPlan:
        return ToolchainPlan(
            version=self.version, executable=str(self.executable), read_only=self.read_only
        )

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


@dataclass(frozen=True)
class Lock:
    """A file that pins a dbt version, its adapters and all they need, each with its hashes."""

    path: Path
    version: str
    adapters: tuple[str, ...]

    @property
    def series(self) -> str:
        return series_of(self.version)


@dataclass(frozen=True)
class Wanted:
    """What a version's text asks for.

    Attributes:
        series: ``1.11``; empty for a track, which takes any.
        exact: ``1.11.16``; empty for a series or a track.
    """

    series: str = ""
    exact: str = ""

    @property
    def is_track(self) -> bool:
        return not self.series

    def fits(self, version: str) -> bool:
        """Whether ``version``, such as ``1.11.16``, is one of those asked for."""
        if self.exact:
            return version == self.exact
        return self.is_track or series_of(version) == self.series


def numbers_of(version: str) -> tuple[int, ...]:
    """``1.11.16`` as (1, 11, 16), to be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def series_of(version: str) -> str:
    """``1.11`` of ``1.11.16``."""
    return ".".join(version.split(".")[:2])


def read_version(text: str) -> Wanted | None:
    """What ``text`` asks for: an exact version (``1.11.16``), a series (``1.11``, ``1.11.x``,
    ``~=1.11``, ``1.11.0-latest``) or a release track; None if it has none of their forms."""
    text = text.strip()
    if text.lower() in NEWEST:
        return Wanted()
    if exact := _EXACT.fullmatch(text):
        return Wanted(series_of(exact["version"]), exact["version"])
    if series := _SERIES.fullmatch(text):
        return Wanted(series["series"])
    return None


def read_locks(directory: Path) -> list[Lock]:
    """The locks ``dbt-*.txt`` in ``directory``, newest first."""
    locks = []
    for path in directory.glob("dbt-*.txt"):
        pinned = {
            match["name"].replace("-", "_"): match["version"]
            for match in _PINNED.finditer(path.read_text())
        }
        if "core" in pinned:
            locks.append(Lock(path, pinned["core"], tuple(sorted(set(pinned) - _PARTS))))
    return sorted(locks, key=lambda lock: numbers_of(lock.version), reverse=True)


def check_version(text: str, *, installed: Mapping[str, Installed], locks: Sequence[Lock]) -> None:
    """Refuse a version that no run could ever have here.

    An exact version of a series that has a lock passes: whether it was ever released is only
    known to the package index, which is asked when a run needs it.

    Raises:
        ValueError: a sentence, and the versions that there are.
    """
    wanted = read_version(text)
    if text.strip() in installed or (wanted and wanted.is_track):
        return
    series = {lock.series for lock in locks}
    if wanted and wanted.series in series:
        return
    if wanted and any(wanted.fits(one.version) for one in installed.values()):
        return
    choices = ", ".join(choices_of(installed, locks))
    if wanted is None:
        raise ValueError(f"{text!r} is no dbt version. Choose one of: {choices}.")
    later = locks and numbers_of(wanted.series) > numbers_of(locks[0].series)
    reason = f": {_LATER}" if later else ""
    raise ValueError(f"dbt {text.strip()} is not to be had here{reason}. Choose one of: {choices}.")


def choices_of(installed: Mapping[str, Installed], locks: Sequence[Lock]) -> list[str]:
    """Versions to choose from, each as it would be typed: tracks, series, exact ones."""
    series = {lock.series for lock in locks} | {one.series for one in installed.values()}
    exact = {lock.version for lock in locks} | {one.version for one in installed.values()}
    return [
        *TRACKS[:4],
        *(f"{one}.x" for one in sorted(series, key=numbers_of, reverse=True)),
        *sorted(exact, key=numbers_of, reverse=True),
    ]


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

    def find(self, version: str, adapters: Sequence[str]) -> Installed | None:
        """The newest installed dbt that ``version`` names and that has all ``adapters``.

        Args:
            version: a name from the settings, or what ``read_version`` reads.
        """
        every = self.all_installed()
        name, wanted = version.strip(), read_version(version)
        if name in every:
            named = [every[name]]
        else:
            named = [one for one in every.values() if wanted and wanted.fits(one.version)]
        able = [one for one in named if set(adapters) <= set(one.adapters)]
        return max(able, key=lambda one: one.order, default=None)

    def resolve(self, version: str, adapters: Sequence[str]) -> ToolchainPlan:
        """How to start what ``find`` finds.

        Raises:
            VersionUnavailable: it finds nothing.
        """
        found = self.find(version, adapters)
        if found is None:
            raise VersionUnavailable(
                version=version.strip() or "(any version)",
                adapters=in_words(adapters),
                installed=self.listed(),
            )
        return found.plan

    def listed(self) -> str:
        """What is installed, newest first, in words."""
        every = sorted(self.all_installed().values(), key=lambda one: one.order, reverse=True)
        return (
            "; ".join(
                f"{one.version} with {', '.join(one.adapters) or 'no adapter'}" for one in every
            )
            or "nothing is installed yet"
        )


def in_words(adapters: Sequence[str]) -> str:
    """``duckdb and postgres``, for a sentence."""
    return " and ".join(adapters) or "no adapter"


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
