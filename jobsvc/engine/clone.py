"""The checkout seen from the supervisor: start its child, watch it, read its answer."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobsvc.engine import errors, names
from jobsvc.engine.addresses import Address, parse_address
from jobsvc.engine.environment import SYSTEM_PATH
from jobsvc.engine.plan import CheckoutPlan, RunPlan
from jobsvc.engine.ports import Ending
from jobsvc.engine.process import run_process
from jobsvc.engine.sandbox import Confinement
from jobsvc.engine.steplog import StepLog, open_plain_file
from jobsvc.engine.workspace import Workspace, write_private

KNOWN_HOSTS = "known_hosts"  # beside the workspaces, so that a host's key is kept across runs
ANSWER = "answer.json"
LONGEST_FILE = 1024**2  # bytes of an answer, or of known hosts
MEASURE_SECONDS = 2.0  # between two looks at how much there is on disk
BLOCK = 4096  # bytes; the least that a file or a directory counts

FAILURES: dict[str, type[errors.RunFailure]] = {
    failure.__name__: failure
    for failure in (
        errors.CommitNotFound,
        errors.HostKeyChanged,
        errors.NoSpaceLeft,
        errors.RefNotFound,
        errors.RepositoryRefused,
        errors.RepositoryUnreachable,
    )
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the child is asked for. All of it was checked before.

    Attributes:
        url: of the repository, without credentials.
        origin: of an http(s) url, the only place its credentials are sent to.
        allow: the one transport that git may use.
        directory: an empty directory for the checkout.
        answer: the file for an ``Answer``.
        key, known_hosts: files for ssh; ``key`` is empty without one.
    """

    url: str
    origin: str
    allow: str
    ref: str
    sha: str
    directory: str
    answer: str
    username: str = ""
    password: str = field(default="", repr=False)
    key: str = ""
    known_hosts: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of it: a commit, or a failure by the name of its class.

    Attributes:
        branch: the branch or tag that was asked for, else the remote's default branch.
    """

    sha: str = ""
    branch: str = ""
    failure: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Commit:
    """What was checked out. ``branch`` is the branch or tag it was found by; may be empty."""

    sha: str
    branch: str


class CutShort(Exception):
    """A step was ended because of the whole run: stopped, or out of time."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


def check_out(
    plan: RunPlan,
    workspace: Workspace,
    log: StepLog,
    *,
    should_stop: Callable[[], bool],
    seconds_left: float,
    on_isolated: Callable[[Mapping[str, int | bool]], None],
) -> Commit:
    """Put one commit's files into ``workspace.project``; nothing of a credential stays behind.

    Args:
        seconds_left: of the whole run; may be infinite.

    Raises:
        RepositoryAddressRefused, RefNotFound, CommitNotFound, RepositoryRefused,
        RepositoryUnreachable, CheckoutTooLarge, CheckoutTimedOut, IsolationMissing
        CutShort: the run was stopped or ran out of time.
    """
    wanted = plan.checkout
    address = parse_address(
        wanted.url, local_roots=wanted.local_roots, plain_http_hosts=wanted.plain_http_hosts
    )
    _check_names(wanted, address)
    try:
        return _start(
            plan,
            workspace,
            log,
            address,
            should_stop=should_stop,
            seconds_left=seconds_left,
            on_isolated=on_isolated,
        )
    finally:
        shutil.rmtree(workspace.git)


def _check_names(wanted: CheckoutPlan, address: Address) -> None:
    """Once more before git sees them: nothing in them can be an option or another ref's path."""
    if wanted.sha:
        try:
            names.check_sha(wanted.sha)
        except ValueError as error:
            raise errors.CommitNotFound(sha=wanted.sha, repository=address.url) from error
    if wanted.ref:
        try:
            names.check_ref(wanted.ref)
        except ValueError as error:
            raise errors.RefNotFound(ref=wanted.ref, repository=address.url) from error


def _start(
    plan: RunPlan,
    workspace: Workspace,
    log: StepLog,
    address: Address,
    *,
    should_stop: Callable[[], bool],
    seconds_left: float,
    on_isolated: Callable[[Mapping[str, int | bool]], None],
) -> Commit:
    wanted = plan.checkout
    hosts = _known_hosts(plan) if address.transport == "ssh" else ""
    request = _request(wanted, workspace, address, hosts)
    size = _SizeWatch(workspace.project, wanted.max_bytes)
    own_limit = wanted.timeout_seconds or float("inf")
    limit = min(own_limit, seconds_left)
    end = run_process(
        [sys.executable, "-P", "-m", "jobsvc.engine.checkout"],
        cwd=workspace.git,
        env={
            "PATH": SYSTEM_PATH,
            "HOME": str(workspace.git),
            "TMPDIR": str(workspace.git),
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(_lone_engine(workspace)),
        },
        confinement=Confinement(
            read_only=(
                sys.prefix,
                sys.base_prefix,
                str(Path(__file__).parent),
                *([address.path] if address.path else []),
                *plan.sandbox.read_only,
            ),
            read_write=(str(workspace.project), str(workspace.git)),
            ports=() if address.port is None else (address.port,),
            uid=workspace.uid,
            rlimits=plan.sandbox.rlimits,
            need=plan.sandbox.need,
        ),
        on_output=log.feed,
        should_stop=lambda: should_stop() or size.is_exceeded(),
        # Zero would be no limit at all; time that is already over still is one.
        timeout=0 if limit == float("inf") else max(limit, 0.001),
        grace=plan.stop_grace_seconds,
        stdin=json.dumps(dataclasses.asdict(request)).encode(),
        on_isolated=on_isolated,
    )
    if size.is_exceeded(now=True):
        raise errors.CheckoutTooLarge(repository=address.url, limit=_in_words(wanted.max_bytes))
    if end.ending is Ending.TIMED_OUT and own_limit <= seconds_left:
        raise errors.CheckoutTimedOut(repository=address.url, seconds=wanted.timeout_seconds)
    if end.ending in (Ending.STOPPED, Ending.TIMED_OUT):
        raise CutShort(end.ending)
    answer = _read_answer(workspace.git)
    if answer is not None and answer.failure in FAILURES:
        raise FAILURES[answer.failure](**answer.values)
    if end.exit_code != 0 or answer is None:
        raise errors.RepositoryUnreachable(
            repository=address.url,
            reason=f"git was ended in mid-work (status {end.exit_code})",
        )
    if address.transport == "ssh":
        _keep_known_hosts(plan, hosts, _left_by_child(workspace.git, KNOWN_HOSTS))
    return Commit(sha=answer.sha, branch=answer.branch)


def _request(
    wanted: CheckoutPlan, workspace: Workspace, address: Address, known_hosts: str
) -> Request:
    """What the child is asked for, with the files it names already in place."""
    key = ""
    if address.transport == "ssh":
        _write(workspace, KNOWN_HOSTS, known_hosts)
        if wanted.private_key:
            # ssh refuses a key whose last line does not end.
            key = _write(workspace, "key", wanted.private_key.strip() + "\n")
    return Request(
        url=address.url,
        origin=address.origin,
        allow=address.transport,
        ref=wanted.ref,
        sha=wanted.sha.lower(),
        directory=str(workspace.project),
        answer=str(workspace.git / ANSWER),
        username=wanted.username,
        password=wanted.password,
        key=key,
        known_hosts=str(workspace.git / KNOWN_HOSTS),
    )


def _write(workspace: Workspace, name: str, text: str) -> str:
    """A file for the checkout's child alone; its path."""
    path = workspace.git / name
    write_private(path, text)
    workspace.give(path)
    return str(path)


def _lone_engine(workspace: Workspace) -> Path:
    """A directory from which Python finds this engine and nothing else of the service.

    The child then needs no right to read the service's code or what lies beside it, and does
    not load Celery, which the package ``jobsvc`` does on import.
    """
    place = workspace.git / "python"
    package = place / "jobsvc"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "engine").symlink_to(Path(__file__).parent)
    if workspace.uid is not None:
        for path in (place, package, package / "__init__.py"):
            workspace.give(path)
    return place


def _read_answer(directory: Path) -> Answer | None:
    """What the child answered, or None if that is not an answer."""
    try:
        return Answer(**json.loads(_left_by_child(directory, ANSWER)))
    except (ValueError, TypeError):
        return None


def _left_by_child(directory: Path, name: str) -> bytes:
    """A file that the child wrote; empty if it is no plain file, cut where it is too long."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        file = open_plain_file(name, handle)
    finally:
        os.close(handle)
    if file is None:
        return b""
    with os.fdopen(file, "rb") as opened:
        return opened.read(LONGEST_FILE)


def _known_hosts(plan: RunPlan) -> str:
    """The keys of ssh hosts that earlier runs of this machine have seen."""
    known = Path(plan.workspaces) / KNOWN_HOSTS
    return known.read_text() if known.exists() else ""


def _keep_known_hosts(plan: RunPlan, before: str, after: bytes) -> None:
    """Remember the keys of hosts seen for the first time; what was known is never changed."""
    if new := after.removeprefix(before.encode()) if after.startswith(before.encode()) else b"":
        known = Path(plan.workspaces) / KNOWN_HOSTS
        with os.fdopen(os.open(known, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
            file.write(new)


class _SizeWatch:
    """Whether a directory has outgrown its limit; looks no more often than need be."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._next_look = 0.0
        self._exceeded = False

    def is_exceeded(self, *, now: bool = False) -> bool:
        if self._limit and not self._exceeded and (now or time.monotonic() >= self._next_look):
            self._exceeded = _size(self._directory, enough=self._limit + 1) > self._limit
            self._next_look = time.monotonic() + MEASURE_SECONDS
        return self._exceeded


def _size(directory: Path, *, enough: int) -> int:
    """Bytes on disk below ``directory``, each entry at least a block; counting ends at ``enough``.

    What vanishes while it is counted does not count.
    """
    total = 0
    waiting = [str(directory)]
    while waiting and total < enough:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    total += max(BLOCK, entry.stat(follow_symlinks=False).st_size)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


def _in_words(size: int) -> str:
    """A size for people: ``2.0 GiB``, ``512.0 MiB``."""
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.1f} MiB"
