"""One commit of a repository, in a confined child of its own: ``python -m jobsvc.engine.checkout``.

The child reads a ``clone.Request`` as JSON on standard input, tells what it does on standard
output, and leaves its answer as JSON in ``Request.answer``. Credentials come with the request
and go to git by environment variables alone: never in the URL, in argv or in the repository.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import git

from jobsvc.engine import names
from jobsvc.engine.clone import Answer, Request
from jobsvc.engine.errors import (
    CommitNotFound,
    HostKeyChanged,
    NoSpaceLeft,
    RefNotFound,
    RepositoryRefused,
    RepositoryUnreachable,
    RunFailure,
)

SLOW_BYTES = 1000  # bytes a second; slower than this for SLOW_SECONDS, and git gives up
SLOW_SECONDS = 20
CONNECT_SECONDS = 20  # ssh
COMMIT = "refs/jobsvc/commit"  # where a fetched branch or tag is put
LONGEST_REASON = 300  # characters of git's own words in a message

GONE = re.compile(r"not our ref|unadvertised object|no such remote ref|couldn't find remote ref")

# What git says, and what that means to a person. The first that is found counts.
REFUSALS: tuple[tuple[str, type[RunFailure], str], ...] = (
    (r"No space left on device", NoSpaceLeft, ""),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        HostKeyChanged,
        "",
    ),
    (
        r"could not read (?:Username|Password)|Authentication failed|Access denied"
        r"|Permission denied \(|returned error: 401|Invalid username or",
        RepositoryRefused,
        "{credentials}",
    ),
    (r"returned error: 403", RepositoryRefused, "it answered with status 403"),
    (
        r"Repository not found|repository '.*' not found|returned error: 404|could not be found",
        RepositoryRefused,
        "there is no such repository, or these credentials may not see it",
    ),
    (
        r"dubious ownership",
        RepositoryRefused,
        "its directory belongs to another user of the machine",
    ),
    (
        r"redirect|returned error: 30\d",
        RepositoryUnreachable,
        "it answered with a redirect, and redirects are not followed",
    ),
    (
        r"does not appear to be a git repository|not a git repository|is this a git repository"
        r"|not valid: ",
        RepositoryUnreachable,
        "there is no git repository at this address",
    ),
    (r"Could not resolve host", RepositoryUnreachable, "its host name is unknown"),
    (r"Connection refused|Failed to connect", RepositoryUnreachable, "nothing answers there"),
    (
        r"timed out|Operation too slow|Timeout",
        RepositoryUnreachable,
        "it answered too slowly or not at all",
    ),
    (
        r"SSL|certificate",
        RepositoryUnreachable,
        "its certificate cannot be verified, or TLS failed",
    ),
    (r"returned error: 5\d\d", RepositoryUnreachable, "it answered with a server error"),
)


class GitFailed(Exception):
    """git ended with an error; ``str(error)`` is what it wrote, never shown as it is."""


class Git:
    """git in one directory, with everything switched off that a repository could steer."""

    def __init__(self, request: Request) -> None:
        self._command = git.Git(request.directory)
        self._environment = environment(request)

    def run(self, *arguments: str) -> str:
        """What git wrote to standard output.

        Raises:
            GitFailed
        """
        status, output, error = self._command.execute(
            ["git", *arguments],
            env=self._environment,
            with_extended_output=True,
            with_exceptions=False,
        )
        if status:
            raise GitFailed(str(error) or f"git ended with status {status}")
        return str(output)

    def fetch(self, *arguments: str) -> None:
        """Fetch from the one URL, without tags that nobody asked for, submodules or a remote.

        Raises:
            GitFailed
        """
        self.run("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", *arguments)


def environment(request: Request) -> dict[str, str]:
    """git's environment: no configuration but this, and the credentials.

    Source: man git-config, ``GIT_CONFIG_COUNT``; man git, environment variables.
    """
    settings = [
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", str(SLOW_BYTES)),
        ("http.lowSpeedTime", str(SLOW_SECONDS)),
        ("core.hooksPath", "/dev/null"),
        ("core.symlinks", "false"),
        ("core.attributesFile", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("protocol.ext.allow", "never"),
        ("transfer.fsckObjects", "true"),
        ("submodule.recurse", "false"),
        ("credential.helper", ""),
        ("gc.auto", "0"),
        ("advice.detachedHead", "false"),
    ]
    if request.password and request.origin:
        # Any name will do for the tokens of most hosts, but not an empty one.
        pair = f"{request.username or 'x-access-token'}:{request.password}"
        header = f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"
        settings.append((f"http.{request.origin}.extraHeader", header))
    variables = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ALLOW_PROTOCOL": request.allow,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": ssh_command(request),
        "GIT_SSH_VARIANT": "ssh",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (name, value) in enumerate(settings):
        variables[f"GIT_CONFIG_KEY_{number}"] = name
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def ssh_command(request: Request) -> str:
    """ssh with this key, these known hosts and nothing from any configuration file.

    A host seen for the first time is accepted and remembered; a changed key is refused.
    """
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "ProxyCommand": "none",
        "ServerAliveInterval": "10",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": f'"{request.known_hosts}"',
    }
    command = ["ssh", "-F", "/dev/null"]
    command += ["-i", request.key] if request.key else []
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    return shlex.join(command)


def check_out(request: Request, say: Callable[[str], None]) -> Answer:
    """Fetch one commit and put its files into ``request.directory``, links as plain files.

    Raises:
        CommitNotFound, RefNotFound, RepositoryRefused, RepositoryUnreachable, HostKeyChanged,
        NoSpaceLeft
    """
    repository = Git(request)
    say(f"Cloning {request.url} …")
    try:
        repository.run("init", "--quiet", "--template=", "--initial-branch=main")
        if request.sha:
            sha, branch = _fetch_commit(repository, request, say), request.ref
        else:
            sha, branch = _fetch_ref(repository, request)
        say("Successfully cloned repository.")
        say(f"Checking out to {sha} …")
        repository.run("checkout", "--quiet", "--force", "--detach", sha)
        say(f"Successfully checked out to {sha}.")
        say(repository.run("log", "-1", "--format=HEAD is now at %h %s"))
    except GitFailed as failed:
        raise meaning_of(str(failed), request) from failed
    return Answer(sha=sha, branch=branch)


def _fetch_commit(repository: Git, request: Request, say: Callable[[str], None]) -> str:
    """Exactly ``request.sha``, by itself if the host hands it out, else out of all history."""
    try:
        repository.fetch("--depth=1", "--", request.url, request.sha)
    except GitFailed as failed:
        if not GONE.search(str(failed)):
            raise
        say(f"The host does not hand out {request.sha} by itself: fetching the whole history …")
        everything = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        repository.fetch("--", request.url, *everything)
    try:
        return repository.run("rev-parse", "--verify", "--quiet", f"{request.sha}^{{commit}}")
    except GitFailed as missing:
        raise CommitNotFound(sha=request.sha, repository=request.url) from missing


def _fetch_ref(repository: Git, request: Request) -> tuple[str, str]:
    """The head of a branch, else of a tag, else of the remote's default branch."""
    branch = request.ref or _default_branch(repository, request)
    for place in ("heads", "tags"):
        try:
            repository.fetch("--depth=1", "--", request.url, f"+refs/{place}/{branch}:{COMMIT}")
        except GitFailed as failed:
            if not GONE.search(str(failed)):
                raise
            continue
        return repository.run("rev-parse", "--verify", f"{COMMIT}^{{commit}}"), branch
    raise RefNotFound(repository=request.url, ref=branch)


def _default_branch(repository: Git, request: Request) -> str:
    """What the remote's HEAD points at."""
    listed = repository.run("ls-remote", "--symref", "--", request.url, "HEAD")
    pointed = re.match(r"ref: refs/heads/(\S+)\tHEAD", listed)
    try:
        names.check_ref(pointed[1] if pointed else "")
    except ValueError as error:
        raise RefNotFound(repository=request.url, ref="HEAD; it may be empty") from error
    return pointed[1] if pointed else ""


def meaning_of(error: str, request: Request) -> RunFailure:
    """What git's complaint means to a person, without its text where that could hold a secret."""
    if request.password or request.key:
        credentials = "the credentials were not accepted"
    else:
        credentials = "it asks for credentials, and none are set"
    for pattern, failure, reason in REFUSALS:
        if re.search(pattern, error, re.IGNORECASE):
            return failure(
                repository=request.url, reason=reason.replace("{credentials}", credentials)
            )
    said = [line for line in error.splitlines() if line.startswith(("fatal: ", "error: "))]
    words = said[-1][:LONGEST_REASON].rstrip(".") if said else "git ended with an error"
    return RepositoryUnreachable(repository=request.url, reason=words)


def main() -> int:
    """The child's whole life; its exit status is 0 once a commit is checked out."""
    request = Request(**json.load(sys.stdin))
    try:
        answer = check_out(request, lambda line: print(line, flush=True))  # noqa: T201 - its log
    except RunFailure as failure:
        answer = Answer(failure=type(failure).__name__, values=failure.values)
    Path(request.answer).write_text(json.dumps(dataclasses.asdict(answer)))
    return 1 if answer.failure else 0


if __name__ == "__main__":
    sys.exit(main())
