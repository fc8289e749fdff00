"""A GitHub on loopback: its REST API, real git over HTTP behind it, and a hand that sends webhooks.

It keeps what it was told, in order, and fails when it is told to::

    with fake_github(tmp_path) as github:
        shop = github.create_repository("acme/shop")
        number = shop.open("blue", **{"models/a.sql": "select 1"})
        assert github.states(shop.pulls[number].head_sha) == ["pending", "success"]
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.installation import ROOT

EXAMPLE = ROOT / "examples" / "coffee_shop"
APP_ID = "271828"
STATES = {"error", "failure", "pending", "success"}
HOOK_SECONDS = 10  # GitHub waits no longer for a receiver
SLOWLY = 0.2  # seconds between the bytes of an answer that drips


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request to the API, with what was answered; ``at`` by the wall clock."""

    at: datetime
    method: str
    path: str
    body: Any
    token: str
    status: int


@dataclass(kw_only=True)
class Fault:
    """What the next calls meet instead of an answer."""

    route: re.Pattern[str]
    left: int
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "Server Error"
    hang: bool = False
    drip: bool = False


@dataclass(kw_only=True)
class Delivery:
    """A webhook's delivery, which may be sent again as it was."""

    id: str
    event: str
    body: bytes
    statuses: list[int] = field(default_factory=list)


@dataclass(kw_only=True)
class Pull:
    """A pull request."""

    number: int
    title: str
    branch: str
    base: str
    head_sha: str
    head_repository: str
    author: str = "ana"
    draft: bool = False
    state: str = "open"
    merged: bool = False
    merge_sha: str = ""
    labels: list[str] = field(default_factory=list)
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Repository:
    """A repository: bare, as the host has it, and a clone in which people work."""

    def __init__(self, github: FakeGitHub, full_name: str, source: Path) -> None:
        self.github, self.full_name = github, full_name
        self.bare = github.directory / "git" / f"{full_name}.git"
        self.work = github.directory / "work" / full_name
        self.pulls: dict[int, Pull] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.check_runs: dict[int, dict[str, Any]] = {}
        # Where its webhook goes, and what it is signed with; neither: nothing is sent.
        self.hook_url, self.hook_secret = "", ""
        self.bare.parent.mkdir(parents=True, exist_ok=True)
        _git(github.directory, "init", "-q", "--bare", "-b", "main", str(self.bare))
        _git(self.bare, "config", "uploadpack.allowAnySHA1InWant", "true")
        shutil.copytree(source, self.work)
        _git(self.work, "init", "-q", "-b", "main")
        _git(self.work, "remote", "add", "origin", str(self.bare))
        self._commit("first")
        _git(self.work, "push", "-q", "origin", "main")

    @property
    def clone_url(self) -> str:
        return f"{self.github.url}/{self.full_name}.git"

    @property
    def head(self) -> str:
        """The commit that ``main`` points at."""
        return _git(self.bare, "rev-parse", "main")

    # --- What people do --------------------------------------------------------------------

    def push(self, branch: str, message: str = "Change", **files: str | None) -> str:
        """Commit ``files`` (path to text; None deletes) to ``branch``, push, tell; the sha.

        A branch that is not there begins at ``main``.
        """
        known = _git(self.bare, "branch", "--list", branch)
        before = _git(self.bare, "rev-parse", branch) if known else "0" * 40
        _git(self.work, "checkout", "-q", *([branch] if known else ["-B", branch, "origin/main"]))
        for name, text in files.items():
            place = self.work / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink() if text is None else place.write_text(text)
        sha = self._commit(message)
        _git(self.work, "push", "-q", "origin", branch)
        self._tell_push(branch, before, sha, message)
        for pull in self.pulls.values():
            if pull.branch == branch and pull.state == "open":
                pull.head_sha = sha
                self._tell(pull, "synchronize", before=before, after=sha)
        return sha

    def open(
        self,
        branch: str,
        *,
        base: str = "main",
        draft: bool = False,
        title: str = "A change",
        number: int = 0,
        fork: str = "",
        labels: tuple[str, ...] = (),
        **files: str | None,
    ) -> int:
        """Push ``files`` to ``branch`` and open a pull request of it; its number.

        Args:
            fork: ``owner/name`` that the branch is said to be of.
        """
        sha = self.push(branch, title, **files)
        number = number or max(self.pulls, default=0) + 1
        self.pulls[number] = pull = Pull(
            number=number,
            title=title,
            branch=branch,
            base=base,
            head_sha=sha,
            head_repository=fork or self.full_name,
            draft=draft,
            labels=list(labels),
        )
        self._tell(pull, "opened")
        return number

    def to_draft(self, number: int) -> None:
        self._change(number, "converted_to_draft", draft=True)

    def ready(self, number: int) -> None:
        self._change(number, "ready_for_review", draft=False)

    def close(self, number: int) -> None:
        self._change(number, "closed", state="closed")

    def reopen(self, number: int) -> None:
        self._change(number, "reopened", state="open")

    def label(self, number: int, name: str) -> None:
        pull = self.pulls[number]
        pull.labels.append(name)
        self._tell(pull, "labeled", label={"name": name})

    def rebase(self, number: int, base: str) -> None:
        """Have the pull request go into another branch."""
        pull = self.pulls[number]
        before, pull.base = pull.base, base
        self._tell(pull, "edited", changes={"base": {"ref": {"from": before}}})

    def merge(self, number: int) -> str:
        """Merge it by a merge commit; that commit's sha."""
        pull = self.pulls[number]
        before = _git(self.bare, "rev-parse", pull.base)
        _git(self.work, "checkout", "-q", "-B", pull.base, f"origin/{pull.base}")
        message = f"Merge pull request #{number} from {pull.branch}"
        _git(self.work, "merge", "-q", "--no-ff", "-m", message, pull.head_sha)
        sha = _git(self.work, "rev-parse", "HEAD")
        _git(self.work, "push", "-q", "origin", pull.base)
        pull.merge_sha, pull.state, pull.merged = sha, "closed", True
        self._tell_push(pull.base, before, sha, message)
        self._tell(pull, "closed")
        return sha

    def delete_branch(self, branch: str) -> None:
        before = _git(self.bare, "rev-parse", branch)
        _git(self.work, "push", "-q", "origin", "--delete", branch)
        self._tell_push(branch, before, "0" * 40, "")

    def changed_files(self, pull: Pull) -> list[str]:
        base = f"{pull.merge_sha}^1" if pull.merged else pull.base
        listed = _git(self.bare, "diff", "--name-only", f"{base}...{pull.head_sha}")
        return listed.splitlines()

    # --- Telling ---------------------------------------------------------------------------

    def payload(self, number: int, action: str, **more: Any) -> dict[str, Any]:
        """What a ``pull_request`` delivery says, shaped as GitHub shapes it."""
        return {
            "action": action,
            "number": number,
            "pull_request": self.pull_object(self.pulls[number]),
            "repository": self.repository_object(self.full_name),
            "sender": _user("ana"),
            **more,
        }

    def _change(self, number: int, action: str, **changes: Any) -> None:
        pull = self.pulls[number]
        for name, value in changes.items():
            setattr(pull, name, value)
        self._tell(pull, action)

    def _tell(self, pull: Pull, action: str, **more: Any) -> None:
        pull.updated_at = datetime.now(UTC)
        _git(self.bare, "update-ref", f"refs/pull/{pull.number}/head", pull.head_sha)
        self.github.deliver(self, "pull_request", self.payload(pull.number, action, **more))

    def _tell_push(self, branch: str, before: str, after: str, message: str) -> None:
        deleted = after == "0" * 40
        commit = {
            "id": after,
            "message": message,
            "timestamp": _time(datetime.now(UTC)),
            "author": {"name": "Ana", "email": "ana@example.com", "username": "ana"},
            "added": [],
            "removed": [],
            "modified": [],
        }
        self.github.deliver(
            self,
            "push",
            {
                "ref": f"refs/heads/{branch}",
                "before": before,
                "after": after,
                "created": before == "0" * 40,
                "deleted": deleted,
                "forced": False,
                "base_ref": None,
                "compare": f"{self.github.url}/{self.full_name}/compare/{before}...{after}",
                "commits": [] if deleted else [commit],
                "head_commit": None if deleted else commit,
                "repository": self.repository_object(self.full_name),
                "pusher": {"name": "ana", "email": "ana@example.com"},
                "sender": _user("ana"),
            },
        )

    def pull_object(self, pull: Pull) -> dict[str, Any]:
        page = f"{self.github.url}/{self.full_name}/pull/{pull.number}"
        api = f"{self.github.api_url}/repos/{self.full_name}"
        over = _time(pull.updated_at) if pull.state == "closed" else None
        return {
            "url": f"{api}/pulls/{pull.number}",
            "id": 279147437 + pull.number,
            "html_url": page,
            "number": pull.number,
            "state": pull.state,
            "locked": False,
            "title": pull.title,
            "user": _user(pull.author),
            "body": None,
            "created_at": _time(pull.updated_at),
            "updated_at": _time(pull.updated_at),
            "closed_at": over,
            "merged_at": over if pull.merged else None,
            "merge_commit_sha": pull.merge_sha or None,
            "labels": [{"id": 1, "name": name, "color": "d73a4a"} for name in pull.labels],
            "statuses_url": f"{api}/statuses/{pull.head_sha}",
            "head": {
                "label": f"{pull.head_repository.partition('/')[0]}:{pull.branch}",
                "ref": pull.branch,
                "sha": pull.head_sha,
                "user": _user(pull.head_repository.partition("/")[0]),
                "repo": self.repository_object(pull.head_repository),
            },
            "base": {
                "label": f"{self.full_name.partition('/')[0]}:{pull.base}",
                "ref": pull.base,
                "sha": _git(self.bare, "rev-parse", pull.base),
                "user": _user(self.full_name.partition("/")[0]),
                "repo": self.repository_object(self.full_name),
            },
            "author_association": "MEMBER",
            "draft": pull.draft,
            "merged": pull.merged,
            "mergeable": None,
            "commits": 1,
            "changed_files": len(self.changed_files(pull)),
        }

    def repository_object(self, full_name: str) -> dict[str, Any]:
        owner, _, name = full_name.partition("/")
        return {
            "id": int(hashlib.sha256(full_name.encode()).hexdigest()[:7], 16),
            "name": name,
            "full_name": full_name,
            "private": True,
            "owner": _user(owner),
            "html_url": f"{self.github.url}/{full_name}",
            "fork": full_name != self.full_name,
            "url": f"{self.github.api_url}/repos/{full_name}",
            "clone_url": f"{self.github.url}/{full_name}.git",
            "default_branch": "main",
        }

    def _commit(self, message: str) -> str:
        _git(self.work, "add", "-A")
        _git(self.work, "commit", "-q", "--allow-empty", "-m", message)
        return _git(self.work, "rev-parse", "HEAD")


class FakeGitHub:
    """The host. ``url`` is where its pages and repositories are, ``api_url`` its REST API."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.token = f"github_pat_{secrets.token_hex(20)}"  # a person's, good for everything
        self.login = "jobsvc-robot"  # that person
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.installations: dict[int, str] = {}  # id → the owner whose repositories it covers
        self.app_tokens: dict[str, dict[str, Any]] = {}
        self.token_seconds = 3600  # that an installation's token lasts
        self.repositories: dict[str, Repository] = {}
        self.calls: list[Call] = []
        self.deliveries: list[Delivery] = []
        # How a delivery reaches its receiver; a test without one gives a function of its own.
        self.post: Callable[[str, dict[str, str], bytes], int] = _post
        self.closing = threading.Event()
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._ids = iter(range(1001, 10**9))
        handler = type("Handler", (_Handler,), {"github": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.api_url = f"{self.url}/api/v3"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def private_key(self) -> str:
        """The App's, as GitHub hands it out."""
        return self.key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ).decode()

    def settings(self, *, as_app: bool = False) -> dict[str, str]:
        """The environment variables of a service whose GitHub this is."""
        app = {
            "JOBSVC_GITHUB_APP_ID": APP_ID,
            "JOBSVC_GITHUB_APP_PRIVATE_KEY": self.private_key.replace("\n", "\\n"),
        }
        return {
            "JOBSVC_GITHUB_URL": self.url,
            "JOBSVC_GITHUB_API_URL": self.api_url,
            "JOBSVC_OUTBOUND_NETWORKS": "127.0.0.0/8",
            "JOBSVC_GIT_PLAIN_HTTP_HOSTS": "127.0.0.1",
            **(app if as_app else {}),
        }

    def use_in(self, settings: Any, *, as_app: bool = False) -> None:
        """Make this the GitHub of a test in this process (pytest-django's ``settings``)."""
        settings.GITHUB_URL, settings.GITHUB_API_URL = self.url, self.api_url
        settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
        settings.GIT_PLAIN_HTTP_HOSTS = ["127.0.0.1"]
        settings.GITHUB_APP_ID = APP_ID if as_app else ""
        settings.GITHUB_APP_PRIVATE_KEY = self.private_key if as_app else ""

    def install(self, owner: str) -> int:
        """Install the App for an owner's repositories; the installation's id."""
        number = 50_000_000 + len(self.installations)
        self.installations[number] = owner
        return number

    def create_repository(
        self, full_name: str = "acme/coffee", source: Path = EXAMPLE
    ) -> Repository:
        self.repositories[full_name] = made = Repository(self, full_name, source)
        return made

    # --- What was told ---------------------------------------------------------------------

    def calls_to(self, route: str) -> list[Call]:
        """Calls whose ``METHOD path`` the pattern is found in, in order."""
        return [call for call in self.calls if re.search(route, f"{call.method} {call.path}")]

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        """The commit statuses that were accepted of a commit, in order."""
        return [
            call.body for call in self.calls_to(f"POST .*/statuses/{sha}") if call.status == 201
        ]

    def states(self, sha: str, context: str = "") -> list[str]:
        return [status["state"] for status in self.statuses(sha) if context in status["context"]]

    # --- Failing ---------------------------------------------------------------------------

    def fail(self, route: str, *, times: int = 1, **fault: Any) -> None:
        """Have the next ``times`` calls to ``route`` (as in ``calls_to``) fail.

        Args:
            fault: fields of ``Fault``; a 500 where none is given.
        """
        with self.lock:
            self._faults.append(Fault(route=re.compile(route), left=times, **fault))

    def limit(self, route: str, *, times: int = 1, seconds: int = 1) -> None:
        """A primary limit: 429 that says when to come back."""
        self.fail(
            route,
            times=times,
            status=429,
            headers={"Retry-After": str(seconds)},
            message="API rate limit exceeded",
        )

    def limit_secondary(self, route: str, *, times: int = 1) -> None:
        """The other limit: 403, and nothing but words."""
        self.fail(
            route,
            times=times,
            status=403,
            message="You have exceeded a secondary rate limit. Please wait a few minutes.",
        )

    def heal(self) -> None:
        with self.lock:
            self._faults.clear()

    def fault_of(self, route: str) -> Fault | None:
        with self.lock:
            for fault in self._faults:
                if fault.left and fault.route.search(route):
                    fault.left -= 1
                    return fault
        return None

    # --- Webhooks --------------------------------------------------------------------------

    def deliver(self, repository: Repository, event: str, payload: dict[str, Any]) -> Delivery:
        """Send a webhook as GitHub does; the delivery, which can be sent again."""
        owner = repository.full_name.partition("/")[0]
        for number, covered in self.installations.items():
            if covered == owner:
                payload = payload | {"installation": {"id": number, "node_id": "MDIz"}}
        body = json.dumps(payload).encode()
        delivery = Delivery(id=str(uuid.uuid4()), event=event, body=body)
        self.deliveries.append(delivery)
        if repository.hook_url:
            self.redeliver(repository, delivery)
        return delivery

    def redeliver(self, repository: Repository, delivery: Delivery) -> int:
        """Send it, once more; what the receiver answered."""
        headers = signed(delivery.event, delivery.body, repository.hook_secret, delivery.id)
        status = self.post(repository.hook_url, headers, delivery.body)
        delivery.statuses.append(status)
        return status

    def ping(self, repository: Repository) -> int:
        """What GitHub sends when a webhook is set up; what was answered."""
        delivery = self.deliver(
            repository,
            "ping",
            {
                "zen": "Keep it logically awesome.",
                "hook_id": 109948940,
                "hook": {"type": "Repository", "id": 109948940, "active": True},
                "repository": repository.repository_object(repository.full_name),
                "sender": _user("ana"),
            },
        )
        return delivery.statuses[-1]

    # --- The API ---------------------------------------------------------------------------

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        """What the API answers to ``path`` (below ``/api/v3``, with its query)."""
        place, _, query = path.partition("?")
        if found := re.fullmatch(r"/app/installations/(\d+)/access_tokens", place):
            return self._installation_token(int(found[1]), token, body)
        about = self.app_tokens.get(token)
        if token != self.token and (about is None or about["ends"] < time.time()):
            return 401, {"message": "Bad credentials"}
        if place == "/user":
            if about is not None:
                return 403, {"message": "Resource not accessible by integration"}
            return 200, _user(self.login)
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)", place)
        repository = self.repositories.get(found[1]) if found else None
        if found is None or repository is None or not self.may_see(token, repository.full_name):
            return 404, {"message": "Not Found"}
        wanted = {name: values[-1] for name, values in parse_qs(query).items()}
        with self.lock:
            for wanted_method, pattern, action in ROUTES:
                matched = re.fullmatch(pattern, found[2])
                if method == wanted_method and matched:
                    ask = Ask(
                        github=self,
                        repository=repository,
                        token=token,
                        found=matched,
                        body=body,
                        query=wanted,
                    )
                    return action(ask)
        return 404, {"message": "Not Found"}

    def may_see(self, token: str, full_name: str, permission: str = "") -> bool:
        if token == self.token:
            return True
        about = self.app_tokens.get(token)
        if about is None or about["ends"] < time.time() or full_name not in about["repositories"]:
            return False
        return not permission or about["permissions"] is None or permission in about["permissions"]

    def next_id(self) -> int:
        return next(self._ids)

    def _installation_token(self, number: int, token: str, body: Any) -> tuple[int, Any]:
        public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        try:
            claims = jwt.decode(token, public, algorithms=["RS256"], issuer=APP_ID)
        except jwt.PyJWTError:
            return 401, {"message": "A JSON web token could not be decoded"}
        if claims["exp"] - claims["iat"] > 600:
            return 401, {"message": "'Expiration time' claim ('exp') is too far in the future"}
        owner = self.installations.get(number)
        if owner is None:
            return 404, {"message": "Not Found"}
        names = [f"{owner}/{name}" for name in (body or {}).get("repositories", [])]
        if any(name not in self.repositories for name in names):
            return 422, {"message": "There is at least one repository that does not exist"}
        made = f"ghs_{secrets.token_hex(18)}"
        ends = time.time() + self.token_seconds
        self.app_tokens[made] = {
            "repositories": set(names) or {n for n in self.repositories if n.startswith(owner)},
            "permissions": (body or {}).get("permissions"),
            "ends": ends,
        }
        return 201, {
            "token": made,
            "expires_at": _time(datetime.fromtimestamp(ends, UTC)),
            "permissions": (body or {}).get("permissions") or {"checks": "write"},
        }


def signed(event: str, body: bytes, secret: str, delivery_id: str = "") -> dict[str, str]:
    """The headers that GitHub sends with ``body``."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": delivery_id or str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "109948940",
        "X-Hub-Signature": f"sha1={hmac.digest(secret.encode(), body, 'sha1').hex()}",
        "X-Hub-Signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}",
    }


@contextmanager
def fake_github(directory: Path) -> Iterator[FakeGitHub]:
    github = FakeGitHub(directory)
    github.start()
    try:
        yield github
    finally:
        github.stop()


# --- What the API does ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call: of whom, about what, with what the route's pattern found."""

    github: FakeGitHub
    repository: Repository
    token: str
    found: re.Match[str]
    body: Any
    query: Mapping[str, str]


def _set_status(ask: Ask) -> tuple[int, Any]:
    if ask.body.get("state") not in STATES or len(ask.body.get("description") or "") > 140:
        return 422, {"message": "Validation Failed"}
    if not _has_commit(ask.repository, ask.found[1]):
        return 422, {"message": f"No commit found for SHA: {ask.found[1]}"}
    return 201, {"id": ask.github.next_id(), **ask.body}


def _write_check_run(ask: Ask) -> tuple[int, Any]:
    if ask.token not in ask.github.app_tokens:
        return 403, {"message": "You must authenticate via a GitHub App."}
    output = ask.body.get("output", {})
    if len(output.get("annotations", [])) > 50 or len(output.get("summary", "")) > 65535:
        return 422, {"message": "Invalid request."}
    if ask.found.re.groups == 0:
        if not _has_commit(ask.repository, ask.body["head_sha"]):
            return 422, {"message": "No commit found for SHA"}
        number = ask.github.next_id()
        check = ask.repository.check_runs[number] = {"id": number, "output": {"annotations": []}}
    elif (number := int(ask.found[1])) in ask.repository.check_runs:
        check = ask.repository.check_runs[number]
    else:
        return 404, {"message": "Not Found"}
    # Annotations are added to those that are there; all else takes the place of what was.
    output = {
        **check["output"],
        **output,
        "annotations": [*check["output"]["annotations"], *output.get("annotations", [])],
    }
    check.update(ask.body, output=output)
    return (201 if ask.found.re.groups == 0 else 200), check


def _comments(ask: Ask) -> tuple[int, Any]:
    rows = [row for row in ask.repository.comments.values() if row["number"] == int(ask.found[1])]
    return 200, _page(rows, ask.query)


def _create_comment(ask: Ask) -> tuple[int, Any]:
    if len(ask.body["body"]) > 65536:
        return 422, {"message": "Body is too long"}
    is_app = ask.token in ask.github.app_tokens
    row = {
        "id": ask.github.next_id(),
        "number": int(ask.found[1]),
        "body": ask.body["body"],
        "user": _user("jobsvc[bot]" if is_app else ask.github.login),
        "performed_via_github_app": {"id": int(APP_ID)} if is_app else None,
    }
    ask.repository.comments[row["id"]] = row
    return 201, row


def _update_comment(ask: Ask) -> tuple[int, Any]:
    row = ask.repository.comments.get(int(ask.found[1]))
    if row is None:
        return 404, {"message": "Not Found"}
    row["body"] = ask.body["body"]
    return 200, row


def _pull_files(ask: Ask) -> tuple[int, Any]:
    pull = ask.repository.pulls.get(int(ask.found[1]))
    if pull is None:
        return 404, {"message": "Not Found"}
    names = ask.repository.changed_files(pull)
    return 200, _page([{"filename": name, "status": "modified"} for name in names], ask.query)


def _commit(ask: Ask) -> tuple[int, Any]:
    if not _has_commit(ask.repository, ask.found[1]):
        return 422, {"message": f"No commit found for SHA: {ask.found[1]}"}
    message = _git(ask.repository.bare, "log", "-1", "--format=%B", ask.found[1])
    return 200, {"sha": ask.found[1], "commit": {"message": message}}


ROUTES: tuple[tuple[str, str, Callable[[Ask], tuple[int, Any]]], ...] = (
    ("POST", r"/statuses/([0-9a-f]{40})", _set_status),
    ("POST", r"/check-runs", _write_check_run),
    ("PATCH", r"/check-runs/(\d+)", _write_check_run),
    ("GET", r"/issues/(\d+)/comments", _comments),
    ("POST", r"/issues/(\d+)/comments", _create_comment),
    ("PATCH", r"/issues/comments/(\d+)", _update_comment),
    ("GET", r"/pulls/(\d+)/files", _pull_files),
    ("GET", r"/commits/([0-9a-f]{40})", _commit),
)


def _page(rows: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
    return rows[(page - 1) * size : page * size]


def _user(login: str) -> dict[str, Any]:
    return {"login": login, "id": 21031067, "type": "User", "site_admin": False}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _has_commit(repository: Repository, sha: str) -> bool:
    looked = subprocess.run(
        ["git", "cat-file", "-e", f"{sha}^{{commit}}"],
        cwd=repository.bare,
        capture_output=True,
        check=False,
    )
    return looked.returncode == 0


def _git(place: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=place, check=True, capture_output=True, text=True
    ).stdout.strip()


def _post(url: str, headers: dict[str, str], body: bytes) -> int:
    return requests.post(url, data=body, headers=headers, timeout=HOOK_SECONDS).status_code


# --- HTTP ----------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    github: FakeGitHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        path = self.path.removeprefix("/api/v3")
        if path == self.path:
            self._git()
            return
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        body = json.loads(raw) if raw else None
        fault = self.github.fault_of(f"{self.command} {path}")
        if fault is None:
            status, answer = self.github.answer(self.command, path, token, body)
        else:
            status, answer = fault.status, {"message": fault.message}
        self.github.calls.append(
            Call(
                at=datetime.now(UTC),
                method=self.command,
                path=path,
                body=body,
                token=token,
                status=status,
            )
        )
        if fault is not None and fault.hang:
            self.github.closing.wait()
            return
        self._send(status, json.dumps(answer).encode(), fault)

    do_POST = do_PATCH = do_GET

    def _send(self, status: int, body: bytes, fault: Fault | None) -> None:
        self.send_response(status)
        for name, value in (fault.headers if fault else {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault is None or not fault.drip:
            self.wfile.write(body)
            return
        for byte in body:
            if self.github.closing.wait(SLOWLY):
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return

    def _git(self) -> None:
        """git's own server, as a CGI, for who brings a token that may read the repository."""
        parts = urlsplit(self.path)
        full_name = "/".join(parts.path.lstrip("/").split("/")[:2]).removesuffix(".git")
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        pair = base64.b64decode(given).decode() if scheme.lower() == "basic" else ""
        token = pair.partition(":")[2]
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.github.may_see(token, full_name, "contents"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="GitHub"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        done = subprocess.run(
            ["git", "http-backend"],
            input=raw,
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.github.directory / "git"),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(raw)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": "token",
                "REMOTE_ADDR": "127.0.0.1",
            },
        ).stdout
        head, _, body = done.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
