"""Makes the environment of a dbt version: once, whole, and where every run can share it.

Installing is uv's work; which index it asks is what uv is configured to ask on this machine.
An environment is made beside the others under a name that nobody looks at and renamed when it
is whole, so none is ever seen half-made. A lock file for each keeps two from making the same
one: whoever comes second waits, and finds it made.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobsvc.engine import leftovers, sandbox
from jobsvc.engine.errors import IndexUnreachable, VersionNotBuilt
from jobsvc.engine.ports import Ending
from jobsvc.engine.process import run_process
from jobsvc.engine.sandbox import Confinement
from jobsvc.engine.toolchain import (
    ExecutableToolchain,
    Installed,
    Lock,
    Wanted,
    in_words,
    read_locks,
)

BUILD_SECONDS = 600  # for one environment; the watchdog gives a run 15 minutes to start
LOOK_SECONDS = 0.2  # between two looks at whether another's building is over
LONGEST_REASON = 400  # characters of what uv said
KEPT_OUTPUT = 64 * 1024  # bytes of what uv said
NOT_FETCHED = "Failed to fetch"  # uv's words where the index did not answer
MARKER = "jobsvc.json"  # in an environment made here: what it holds

# What uv may know of the worker's own environment; the rest is none of its business.
_PASSED_ON = re.compile(
    r"PATH|HOME|LANG|NETRC|XDG_CONFIG_(?:HOME|DIRS)|UV_.*|SSL_CERT_(?:FILE|DIR)"
    r"|(?:https?|all|no)_proxy",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"`)]+", re.IGNORECASE)
_DRAWN = re.compile(r"[\u00d7\u2500-\u257f\u25b6]+")  # what uv draws a tree of causes with


class Stopped(Exception):
    """Somebody asked for the run to stop while its dbt was being made or waited for."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where and how environments are made.

    Attributes:
        directory: holds all of them; everybody who runs dbt can read it.
        locks: holds ``dbt-*.txt``.
        uv: the command.
        python: the interpreter that environments are made from.
        packages_may_build: whether a package without a wheel may run its own build; its code
            then runs as the caller, so only an administrator should say so.
    """

    directory: Path
    locks: Path
    uv: Path
    python: Path = Path(sys.executable)
    packages_may_build: bool = False

    def build(
        self, wanted: Wanted, adapters: Sequence[str], *, should_stop: Callable[[], bool]
    ) -> Installed:
        """The environment with that dbt and all ``adapters``: another's, or one made now.

        Blocks for as long as uv takes, or another's uv: seconds with a warm cache, up to
        ``BUILD_SECONDS``. Call it from the process's main thread.

        Args:
            wanted: a track is the newest version that has a lock.
            should_stop: called several times a second all the while; what it raises is raised.

        Raises:
            VersionNotBuilt: uv could not; its own words are in the sentence. Of its kind,
                IndexUnreachable where the next try may well succeed.
            Stopped
        """
        lock = self._lock_for(wanted)
        if wanted.is_track and lock:
            wanted = Wanted(lock.series, lock.version)
        adapters = sorted(set(adapters))
        try:
            with self._alone(wanted, adapters, should_stop) as place:
                return self._made_meanwhile(wanted, adapters, lock) or self._make(
                    place, wanted, adapters, lock, should_stop
                )
        except OSError as error:
            raise self._failure(wanted, adapters, f"{error.strerror or error}") from error

    def toolchain(self) -> ExecutableToolchain:
        """What there is in the directory now."""
        return installed_in(self.directory)

    def _lock_for(self, wanted: Wanted) -> Lock | None:
        locks = read_locks(self.locks)
        return next((lock for lock in locks if wanted.fits(lock.version)), None)

    def _made_meanwhile(
        self, wanted: Wanted, adapters: Sequence[str], lock: Lock | None
    ) -> Installed | None:
        """What whoever held the lock file before has made: never older than the lock's."""
        version = lock.version if lock else wanted.exact
        return self.toolchain().find(version, adapters) if version else None

    @contextmanager
    def _alone(
        self, wanted: Wanted, adapters: Sequence[str], should_stop: Callable[[], bool]
    ) -> Iterator[Path]:
        """Hold this environment's lock file; yields the place to make it in, an empty directory."""
        name = "-".join([wanted.exact or wanted.series, *adapters])
        locks = self.directory / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        handle = os.open(locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        place = self.directory / f".making-{name}"
        try:
            while not _taken(handle):
                if should_stop():
                    raise Stopped
                time.sleep(LOOK_SECONDS)
            leftovers.remove_tree(place)  # of a maker that was killed
            place.mkdir()
            yield place
        finally:
            if _taken(handle):  # by this process: it cannot be taken from another
                leftovers.remove_tree(place)
            os.close(handle)

    def _make(
        self,
        place: Path,
        wanted: Wanted,
        adapters: Sequence[str],
        lock: Lock | None,
        should_stop: Callable[[], bool],
    ) -> Installed:
        locked = lock is not None and set(adapters) <= set(lock.adapters)
        if locked and lock:
            packages = ["--require-hashes", "--requirement", str(lock.path.resolve())]
        else:
            version = lock.version if lock else wanted.exact or f"{wanted.series}.*"
            packages = [f"dbt-core=={version}", *map(package_of, adapters)]
        if not self.packages_may_build:
            packages.append("--no-build")
        python = str(place / "bin" / "python")
        for arguments in (
            ["venv", "--relocatable", "--no-project", "--python", str(self.python), str(place)],
            # Compiled now, because a run may only read it: else every command would do it anew.
            ["pip", "install", "--compile-bytecode", "--python", python, *packages],
        ):
            said = bytearray()
            end = run_uv(self, arguments, said, should_stop)
            if end is Ending.STOPPED:
                raise Stopped
            if end is Ending.TIMED_OUT:
                reason = f"it took more than {BUILD_SECONDS} seconds"
                raise self._failure(wanted, adapters, reason, IndexUnreachable)
            if end is not Ending.SUCCESS:
                words = said.decode(errors="replace")
                kind = IndexUnreachable if NOT_FETCHED in words else VersionNotBuilt
                raise self._failure(wanted, adapters, reason_in(words), kind)
        made = ExecutableToolchain({"": str(place / "bin" / "dbt")}).find("", adapters)
        if made is None or not wanted.fits(made.version):
            raise self._failure(wanted, adapters, "what was installed is not what was asked for")
        (place / MARKER).write_text(
            json.dumps(
                {"version": made.version, "adapters": made.adapters, "hash_locked": locked},
                indent=2,
            )
        )
        _let_everybody_read(place)
        return self._put(place, made)

    def _put(self, place: Path, made: Installed) -> Installed:
        """Give a whole environment its name."""
        final = self.directory / "-".join([f"dbt-{made.version}", *made.adapters])
        try:
            place.rename(final)
        except OSError:
            if not (final / MARKER).is_file():
                raise
            # Asked for in other words, it was made by another: that one is as good.
        return Installed(final / "bin" / "dbt", made.packages)

    def _failure(
        self,
        wanted: Wanted,
        adapters: Sequence[str],
        reason: str,
        kind: type[VersionNotBuilt] = VersionNotBuilt,
    ) -> VersionNotBuilt:
        return kind(
            version=wanted.exact or (f"{wanted.series}.x" if wanted.series else "(any version)"),
            adapters=in_words(adapters),
            reason=reason.strip().rstrip("."),
            installed=self.toolchain().listed(),
        )


def installed_in(directory: Path) -> ExecutableToolchain:
    """The environments in ``directory``, each by its folder's name; half-made ones are not seen."""
    return ExecutableToolchain(
        {
            executable.parent.parent.name: str(executable)
            for executable in sorted(directory.glob("[!.]*/bin/dbt"))
        }
    )


def is_hash_locked(installed: Installed) -> bool | None:
    """Whether it was made from a lock; None if it was not made here."""
    try:
        marker = json.loads((installed.executable.parent.parent / MARKER).read_text())
    except (OSError, ValueError):
        return None
    return bool(marker["hash_locked"])


def package_of(adapter: str) -> str:
    """``dbt-postgres`` of ``postgres``."""
    return f"dbt-{adapter.replace('_', '-')}"


def run_uv(
    workshop: Workshop,
    arguments: Sequence[str],
    said: bytearray,
    should_stop: Callable[[], bool],
) -> Ending:
    """Run uv; the end of what it says is left in ``said``.

    It may read whatever the caller can, but write only where environments are made.
    """
    cache = Path(os.environ.get("UV_CACHE_DIR") or workshop.directory / ".cache")
    scratch = workshop.directory / ".tmp"
    for directory in (cache, scratch):
        directory.mkdir(parents=True, exist_ok=True)

    def keep(piece: bytes) -> None:
        said.extend(piece)
        del said[:-KEPT_OUTPUT]

    with sandbox.adopting_orphans():
        end = run_process(
            [
                str(workshop.uv),
                *("--system-certs", "--quiet", "--no-python-downloads", "--color=never"),
                *arguments,
            ],
            cwd=workshop.directory,
            env=_environment(os.environ)
            | {
                "UV_CACHE_DIR": str(cache),
                "TMPDIR": str(scratch),
                # Else uv's own interpreter finds what is made for those of runs.
                "PYTHONPATH": "",
            },
            confinement=Confinement(
                read_only=("/",), read_write=(str(workshop.directory), str(cache)), ports=None
            ),
            on_output=keep,
            should_stop=should_stop,
            timeout=BUILD_SECONDS,
        )
    return end.ending


def reason_in(said: str) -> str:
    """What uv said, on one line, shortened, and without addresses: they may hold a password."""
    lines = [" ".join(_DRAWN.sub(" ", line).split()) for line in said.splitlines()]
    text = " ".join(line for line in lines if line and not line.startswith("hint:"))
    text = _ADDRESS.sub("<address>", text).removeprefix("error: ").replace(" cause: ", ": ")
    if not text:
        return "uv did not say why"
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1].rstrip()}…"


def _environment(of_ours: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in of_ours.items() if _PASSED_ON.fullmatch(name)}


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _let_everybody_read(root: Path) -> None:
    """Runs have user ids of their own, and uv was started with files closed to others."""
    for path, _directories, files in os.walk(root):
        Path(path).chmod(0o755)
        mode = 0o755 if Path(path) == root / "bin" else 0o644
        for name in files:
            entry = Path(path, name)
            if not entry.is_symlink():
                entry.chmod(mode)
