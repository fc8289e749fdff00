"""Which addresses are cloned, what is checked out, and where credentials never appear."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobsvc.engine import checkout, clone
from jobsvc.engine.addresses import parse_address, shown
from jobsvc.engine.errors import (
    CheckoutTimedOut,
    CheckoutTooLarge,
    CommitNotFound,
    HostKeyChanged,
    RefNotFound,
    RepositoryAddressRefused,
    RepositoryRefused,
    RepositoryUnreachable,
    RunFailure,
)
from jobsvc.engine.plan import RunPlan
from jobsvc.engine.ports import Ending
from jobsvc.engine.steplog import StepLog
from jobsvc.engine.workspace import Workspace

TOKEN = "ghp_Zx81TokenThatMustNotBeSeen"
SOMETHING_ELSE = "0" * 40


# --- Addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://github.com/acme/shop.git", "https://github.com/acme/shop.git"),
        ("HTTPS://GitHub.com/acme/shop", "https://github.com/acme/shop"),
        ("https://git.example.com:8443/a%20b/c.git", "https://git.example.com:8443/a%20b/c.git"),
        ("ssh://git@example.com/acme/shop.git", "ssh://git@example.com/acme/shop.git"),
        ("ssh://example.com:2222/shop.git", "ssh://example.com:2222/shop.git"),
        ("git@github.com:acme/shop.git", "git@github.com:acme/shop.git"),
        ("https://[2001:DB8::1]/shop.git", "https://[2001:db8::1]/shop.git"),
    ],
)
def test_an_address_of_https_or_ssh_is_put_together_anew(given: str, used: str) -> None:
    assert parse_address(given).url == used


@pytest.mark.parametrize(
    "given",
    [
        "",
        "-uhttps://example.com/x",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c id",
        "ext::https://example.com/x",
        "fd::17/x",
        "file:///etc",
        "/etc",
        "../other",
        "shop.git",
        "http://example.com/shop.git",
        "git://example.com/shop.git",
        "ftp://example.com/shop.git",
        "https://",
        "https:///shop.git",
        "https://example.com",
        "https://example.com/",
        f"https://{TOKEN}@example.com/shop.git",
        f"https://user:{TOKEN}@example.com/shop.git",
        "https://@example.com/shop.git",
        "https://example.com/shop.git?token=x",
        "https://example.com/shop.git#main",
        "https://example.com:99999/shop.git",
        "https://example.com:x/shop.git",
        "https://example.com/a\nb",
        "https://example.com/a%0ab",
        "https://example.com/a%00b",
        "https://example.com/a b",
        "https://exa mple.com/x",
        "https://-oProxyCommand=x/y",
        "https://example.com\\@evil.example/x",
        "https://ⓔxample.com/x",
        "ssh://-oProxyCommand=touch%20x/y",
        "ssh://git:password@example.com/x",
        "ssh://-l@example.com/x",
        "-oProxyCommand=x:y",
        "git@-oProxyCommand=x:y",
        "git@example.com:-x",
        "git@example.com::x",
        "git@exa mple.com:x",
        "https://example.com/" + "x" * 1000,
    ],
)
def test_any_other_address_is_refused(given: str) -> None:
    with pytest.raises(RepositoryAddressRefused):
        parse_address(given)


def test_a_refusal_does_not_repeat_a_credential() -> None:
    with pytest.raises(RepositoryAddressRefused) as refusal:
        parse_address(f"https://user:{TOKEN}/@example.com/shop.git?token={TOKEN}")

    assert TOKEN not in str(refusal.value)
    assert "example.com/shop.git" in str(refusal.value)


def test_a_local_repository_is_cloned_only_from_below_an_allowed_folder(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    (allowed / "shop.git").mkdir(parents=True)
    (allowed / "out").symlink_to(tmp_path)

    inside = parse_address((allowed / "shop.git").as_uri(), local_roots=[str(allowed)])

    assert inside.path == str(allowed / "shop.git")
    for outside in (allowed / ".." / "other", allowed / "out" / "other"):
        with pytest.raises(RepositoryAddressRefused):
            parse_address(f"file://{outside}", local_roots=[str(allowed)])


def test_an_address_without_tls_is_allowed_for_named_hosts_only() -> None:
    address = parse_address("http://localhost:8080/a.git", plain_http_hosts=["localhost"])
    assert address.port == 8080

    with pytest.raises(RepositoryAddressRefused):
        parse_address("http://localhost.example/a.git", plain_http_hosts=["localhost"])


def test_a_shown_address_has_no_line_break_and_an_end() -> None:
    assert shown("a\nb") == "a\N{REPLACEMENT CHARACTER}b"
    assert len(shown("x" * 5000)) < 300


# --- What is checked out ------------------------------------------------------------------------


@dataclass
class Checkout:
    """Checks out into a workspace of its own, and remembers what was logged."""

    plan_of: Callable[..., RunPlan]
    logged: list[str] = field(default_factory=list)
    count: int = 0

    def __call__(
        self,
        repository: Any,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        read_only: tuple[str, ...] = (),
        **wanted: Any,
    ) -> clone.Commit:
        plan = self.plan_of(repository, checkout=wanted, sandbox={"read_only": read_only})
        self.known_hosts = Path(plan.workspaces) / "known_hosts"
        self.count += 1
        self.workspace = Workspace.create(Path(plan.workspaces) / f"run-1-{self.count}")
        log = StepLog(self.logged.append, secrets=[], limit=10**6)
        try:
            return clone.check_out(
                plan,
                self.workspace,
                log,
                should_stop=should_stop,
                seconds_left=60,
                on_isolated=lambda layers: None,
            )
        finally:
            log.close()

    @property
    def log(self) -> str:
        return "".join(self.logged)

    def read(self, path: str) -> str:
        return (self.workspace.project / path).read_text()

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.workspace.project,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def files(self) -> Iterator[Path]:
        """Every file of the workspace."""
        return (path for path in self.workspace.root.rglob("*") if path.is_file())


@pytest.fixture
def check_out(plan_of: Callable[..., RunPlan]) -> Checkout:
    return Checkout(plan_of)


def test_without_a_ref_the_default_branch_is_checked_out(repository, check_out) -> None:
    sha = repository.commit({"a": "main"}, branch="trunk")
    repository.commit({"a": "other"}, branch="side")
    repository.in_bare("symbolic-ref", "HEAD", "refs/heads/trunk")

    commit = check_out(repository)

    assert commit == clone.Commit(sha=sha, branch="trunk")
    assert check_out.read("a") == "main"


def test_a_branch_is_checked_out_by_name(repository, check_out) -> None:
    repository.commit({"a": "main"})
    sha = repository.commit({"a": "feature"}, branch="feature/x")

    commit = check_out(repository, ref="feature/x")

    assert commit == clone.Commit(sha=sha, branch="feature/x")
    assert check_out.read("a") == "feature"


def test_an_annotated_tag_is_checked_out_by_name(repository, check_out) -> None:
    sha = repository.commit({"a": "released"})
    repository.git("tag", "--annotate", "--message", "one", "v1")
    repository.git("push", "--quiet", "origin", "v1")
    repository.commit({"a": "later"})

    assert check_out(repository, ref="v1").sha == sha
    assert check_out.read("a") == "released"


def test_a_commit_wins_over_the_branch(repository, check_out) -> None:
    old = repository.commit({"a": "old"})
    repository.commit({"a": "new"})

    commit = check_out(repository, ref="main", sha=old.upper())

    assert commit == clone.Commit(sha=old, branch="main")
    assert check_out.read("a") == "old"


def test_a_commit_of_a_fork_that_only_its_pull_request_holds_is_checked_out(
    repository, check_out
) -> None:
    repository.commit({"a": "ours"})
    sha = repository.commit({"a": "theirs"}, branch="fork")
    repository.in_bare("update-ref", "refs/pull/2/head", sha)
    repository.in_bare("branch", "--quiet", "-D", "fork")

    assert check_out(repository, ref="theirs/main", sha=sha).sha == sha
    assert check_out.read("a") == "theirs"


def test_only_the_one_commit_is_fetched(repository, check_out) -> None:
    for text in "abc":
        repository.commit({"a": text})

    check_out(repository)

    assert check_out.git("rev-list", "--all", "--count") == "1"


def test_the_log_reads_like_dbt_clouds(repository, check_out) -> None:
    sha = repository.commit({"a": ""})

    check_out(repository)

    assert check_out.log.splitlines() == [
        f"Cloning {repository.url} …",
        "Successfully cloned repository.",
        f"Checking out to {sha} …",
        f"Successfully checked out to {sha}.",
        f"HEAD is now at {sha[:7]} Change the shop",
    ]


def test_a_commit_that_is_gone_is_not_replaced_by_the_branch(repository, check_out) -> None:
    repository.commit({"a": "kept"})
    gone = repository.commit({"a": "gone"})
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    repository.git("push", "--quiet", "--force", "origin", "main")
    repository.in_bare("reflog", "expire", "--expire=now", "--all")
    repository.in_bare("gc", "--quiet", "--prune=now")

    with pytest.raises(CommitNotFound, match=gone):
        check_out(repository, ref="main", sha=gone)

    assert not (check_out.workspace.project / "a").exists()


def test_a_sha_that_is_a_file_is_no_commit(repository, check_out) -> None:
    repository.commit({"a": "text"})
    blob = repository.git("rev-parse", "HEAD:a")

    with pytest.raises(CommitNotFound):
        check_out(repository, sha=blob)


@pytest.mark.parametrize("ref", ["nowhere", "--upload-pack=touch x", "a b", "+refs/heads/main:x"])
def test_a_ref_that_is_not_there_is_named(repository, check_out, ref) -> None:
    repository.commit({"a": ""})

    with pytest.raises(RefNotFound, match="no branch or tag named"):
        check_out(repository, ref=ref)


@pytest.mark.parametrize("sha", ["HEAD", "main", "abc123", "--all"])
def test_a_sha_is_a_whole_commit_id_and_nothing_else(repository, check_out, sha) -> None:
    repository.commit({"a": ""})

    with pytest.raises(CommitNotFound):
        check_out(repository, sha=sha)


def test_an_empty_repository_has_no_branch(repository, check_out) -> None:
    with pytest.raises(RefNotFound, match="empty"):
        check_out(repository)


def test_links_of_the_repository_become_plain_files(repository, check_out) -> None:
    repository.commit({"a": ""})
    link = repository.bare.parent / "tree" / "models"
    link.symlink_to("/etc")
    repository.commit({})

    check_out(repository)

    assert not any(path.is_symlink() for path in check_out.workspace.project.rglob("*"))
    assert check_out.read("models") == "/etc"


def test_a_submodule_is_not_fetched(repository, check_out) -> None:
    repository.commit({"a": ""})
    repository.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", repository.url, "sub"
    )
    repository.commit({})

    check_out(repository)

    assert list((check_out.workspace.project / "sub").iterdir()) == []


def test_an_address_without_a_repository_is_named(repository, check_out) -> None:
    (repository.bare.parent / "empty").mkdir()

    with pytest.raises(RepositoryUnreachable, match="there is no git repository"):
        check_out(repository, url=(repository.bare.parent / "empty").as_uri())


def test_a_repository_of_another_folder_of_this_machine_is_out_of_reach(
    repository, check_out, tmp_path
) -> None:
    repository.commit({"a": ""})

    with pytest.raises(RepositoryAddressRefused):
        check_out(repository, local_roots=(str(tmp_path / "else"),))


def test_a_checkout_larger_than_its_limit_ends(repository, check_out) -> None:
    repository.commit({"big": os.urandom(300_000).hex()})

    with pytest.raises(CheckoutTooLarge, match=r"larger than 0\.1 MiB"):
        check_out(repository, max_bytes=100_000)


def test_a_checkout_is_stopped_when_the_run_is(repository, check_out) -> None:
    repository.commit({"a": ""})

    with pytest.raises(clone.CutShort) as cut:
        check_out(repository, should_stop=lambda: True)

    assert cut.value.ending is Ending.STOPPED


# --- Over the network ---------------------------------------------------------------------------


@dataclass
class GitServer:
    """A git host on loopback; ``answer`` may take a request over before git sees it."""

    folder: Path
    answer: Callable[[BaseHTTPRequestHandler], bool] = lambda request: False
    protocol: str = "version=2"
    password: str = ""
    requests: list[str] = field(default_factory=list)
    processes: set[str] = field(default_factory=set)
    port: int = 0

    def url(self, name: str = "shop.git") -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def authorized(self, request: BaseHTTPRequestHandler) -> bool:
        pair = base64.b64encode(f"deploy:{self.password}".encode()).decode()
        return not self.password or request.headers.get("Authorization") == f"Basic {pair}"

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        self._look_at_processes()
        if self.answer(request):
            return
        if not self.authorized(request):
            request.send_response(401)
            request.send_header("WWW-Authenticate", "Basic realm=git")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        self._git(request)

    def _look_at_processes(self) -> None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.processes.add(entry.read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue

    def _git(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        done = subprocess.run(
            ["git", "http-backend"],
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.protocol,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": request.command,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            },
            input=body,
            capture_output=True,
            check=True,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        request.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def serving(server: GitServer) -> Iterator[GitServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.handle(self)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Say nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.port = listening.server_address[1]
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        listening.shutdown()


@pytest.fixture
def server(repository) -> Iterator[GitServer]:
    with serving(GitServer(repository.bare.parent)) as started:
        yield started


def over_http(server: GitServer, **wanted: Any) -> dict[str, Any]:
    return {"url": server.url(), "plain_http_hosts": ("127.0.0.1",), **wanted}


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    def answer(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return True

    return answer


def test_a_repository_is_fetched_with_a_password(repository, server, check_out) -> None:
    sha = repository.commit({"a": "secured"})
    server.password = TOKEN

    commit = check_out(repository, **over_http(server, username="deploy", password=TOKEN))

    assert commit == clone.Commit(sha=sha, branch="main")


def test_a_password_is_in_no_file_log_or_process_list(repository, server, check_out) -> None:
    repository.commit({"a": "secured"})
    server.password = TOKEN
    hidden = base64.b64encode(f"deploy:{TOKEN}".encode()).decode()

    check_out(repository, **over_http(server, username="deploy", password=TOKEN))

    assert any("git" in line and "fetch" in line for line in server.processes)
    for secret in (TOKEN, hidden):
        assert secret not in check_out.log
        assert not any(secret in line for line in server.processes)
        assert not any(secret.encode() in path.read_bytes() for path in check_out.files())
    assert "extraHeader" not in check_out.read(".git/config")


def test_the_checkouts_private_folder_is_gone_afterwards(repository, server, check_out) -> None:
    repository.commit({"a": ""})

    check_out(repository, **over_http(server))

    assert not check_out.workspace.git.exists()


def test_a_wrong_password_is_refused_without_being_repeated(repository, server, check_out) -> None:
    repository.commit({"a": ""})
    server.password = "right"

    with pytest.raises(RepositoryRefused, match="the credentials were not accepted") as failure:
        check_out(repository, **over_http(server, username="deploy", password=TOKEN))

    assert TOKEN not in str(failure.value) + check_out.log


def test_missing_credentials_are_told_apart_from_wrong_ones(repository, server, check_out) -> None:
    repository.commit({"a": ""})
    server.password = "right"

    with pytest.raises(RepositoryRefused, match="none are set"):
        check_out(repository, **over_http(server))


@pytest.mark.parametrize(
    ("code", "failure", "words"),
    [
        (403, RepositoryRefused, "status 403"),
        (404, RepositoryRefused, "no such repository"),
        (500, RepositoryUnreachable, "a server error"),
        (503, RepositoryUnreachable, "a server error"),
    ],
)
def test_what_a_host_answers_becomes_a_sentence(
    repository, server, check_out, code, failure, words
) -> None:
    server.answer = status(code)

    with pytest.raises(failure, match=words) as raised:
        check_out(repository, **over_http(server, password=TOKEN))

    assert TOKEN not in str(raised.value) + check_out.log


def test_a_redirect_is_not_followed(repository, server, check_out) -> None:
    repository.commit({"a": ""})
    with serving(GitServer(repository.bare.parent)) as elsewhere:
        target = f"{elsewhere.url()}/info/refs?service=git-upload-pack"
        server.answer = status(302, Location=target)

        with pytest.raises(RepositoryUnreachable, match="redirects are not followed") as raised:
            check_out(repository, **over_http(server, password=TOKEN))

    assert elsewhere.requests == []
    assert TOKEN not in str(raised.value) + check_out.log


def test_a_host_that_never_answers_costs_no_more_than_the_limit(
    repository, server, check_out
) -> None:
    def drip(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"0")
                time.sleep(0.1)
        except OSError:
            return True

    server.answer = drip
    began = time.monotonic()

    with pytest.raises(CheckoutTimedOut, match="longer than 1 seconds"):
        check_out(repository, **over_http(server, timeout_seconds=1))

    assert time.monotonic() - began < 5


def test_a_closed_port_is_told_in_words(repository, check_out) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/shop.git"

        with pytest.raises(RepositoryUnreachable, match="nothing answers there"):
            check_out(repository, url=url, plain_http_hosts=("127.0.0.1",))


def test_a_commit_that_the_host_hides_is_found_in_the_history(
    repository, server, check_out
) -> None:
    old = repository.commit({"a": "old"})
    repository.commit({"a": "new"})
    server.protocol = ""

    commit = check_out(repository, **over_http(server, sha=old))

    assert commit.sha == old
    assert check_out.read("a") == "old"
    assert "fetching the whole history" in check_out.log


def test_a_hidden_commit_that_is_gone_is_not_found(repository, server, check_out) -> None:
    repository.commit({"a": "new"})
    server.protocol = ""

    with pytest.raises(CommitNotFound, match=SOMETHING_ELSE):
        check_out(repository, **over_http(server, sha=SOMETHING_ELSE))


# --- ssh ----------------------------------------------------------------------------------------

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0IGtleSBtYXRlcmlhbA==\n-----END-----"


def test_an_ssh_key_is_a_private_file_only_while_git_works(repository, check_out) -> None:
    seen: list[tuple[int, str]] = []

    def look(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        key = check_out.workspace.git / "key"
        seen.append((key.stat().st_mode & 0o777, key.read_text()))
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=look, args=(listening,), daemon=True).start()
        url = f"ssh://git@127.0.0.1:{listening.getsockname()[1]}/shop.git"
        with pytest.raises(RunFailure):
            check_out(repository, url=url, private_key=KEY)

    assert seen == [(0o600, f"{KEY}\n")]
    assert not any(b"c2VjcmV0" in path.read_bytes() for path in check_out.files())


SSH = """\
#!/bin/sh
# Stands in for ssh: meets a host, then runs the command here, as the host would.
for part; do
  case $part in UserKnownHostsFile=*) hosts=$(echo "${part#*=}" | tr -d '"') ;; esac
  command=$part
done
MEET
exec sh -c "$command"
"""
MEET = 'grep -q ^example.com "$hosts" || echo \'example.com ssh-ed25519 NEW\' >> "$hosts"'
FORGE = "echo 'example.com ssh-ed25519 FORGED' > \"$hosts\""


@pytest.fixture
def over_ssh(repository, tmp_path, monkeypatch) -> Callable[[str], dict[str, Any]]:
    """Put the stand-in in place of ssh; what to give a checkout then."""

    def stand_in(meet: str) -> dict[str, Any]:
        place = tmp_path / "bin"
        place.mkdir()
        (place / "ssh").write_text(SSH.replace("MEET", meet))
        (place / "ssh").chmod(0o755)
        monkeypatch.setattr(clone, "SYSTEM_PATH", f"{place}:{clone.SYSTEM_PATH}")
        return {
            "url": f"git@example.com:{repository.bare}",
            "read_only": (str(place), str(repository.bare)),
        }

    return stand_in


def test_a_repository_is_fetched_over_ssh(repository, check_out, over_ssh) -> None:
    sha = repository.commit({"a": "over ssh"})

    assert check_out(repository, private_key=KEY, **over_ssh(MEET)).sha == sha
    assert check_out.read("a") == "over ssh"


def test_a_hosts_key_is_kept_for_later_runs(repository, check_out, over_ssh) -> None:
    repository.commit({"a": ""})
    wanted = over_ssh(MEET)

    check_out(repository, **wanted)
    check_out(repository, **wanted)

    assert check_out.known_hosts.read_text() == "example.com ssh-ed25519 NEW\n"
    assert check_out.known_hosts.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_known_is_never_replaced(repository, check_out, over_ssh, tmp_path) -> None:
    repository.commit({"a": ""})
    known = tmp_path / "workspaces" / "known_hosts"
    known.write_text("example.com ssh-ed25519 OLD\n")

    check_out(repository, **over_ssh(FORGE))

    assert known.read_text() == "example.com ssh-ed25519 OLD\n"


def request_for(**changes: Any) -> clone.Request:
    return clone.Request(
        **{
            "url": "ssh://git@example.com/shop.git",
            "origin": "",
            "allow": "ssh",
            "ref": "",
            "sha": "",
            "directory": "/nowhere",
            "answer": "/nowhere/answer",
            "known_hosts": "/run 1/known_hosts",
            **changes,
        }
    )


def test_ssh_reads_no_configuration_and_remembers_hosts_of_its_own(tmp_path) -> None:
    key = tmp_path / "a key"
    key.write_text(KEY)
    command = checkout.ssh_command(request_for(key=str(key)))

    options = subprocess.run(
        ["sh", "-c", f"{command} -G example.com"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert "userknownhostsfile /run 1/known_hosts" in [line.replace('"', "") for line in options]
    assert "stricthostkeychecking accept-new" in options
    assert f"identityfile {key}" in options
    assert "batchmode yes" in options


def test_credentials_are_sent_to_no_other_host() -> None:
    variables = checkout.environment(
        request_for(url="https://example.com/a.git", origin="https://example.com/", password=TOKEN)
    )

    keys = [value for name, value in variables.items() if name.startswith("GIT_CONFIG_KEY_")]
    assert "http.https://example.com/.extraHeader" in keys


@pytest.mark.parametrize(
    ("said", "failure", "words"),
    [
        ("fatal: write error: No space left on device", RunFailure, "no disk space left"),
        ("Host key verification failed.", HostKeyChanged, "ssh key"),
        ("git@example.com: Permission denied (publickey).", RepositoryRefused, "none are set"),
        ("ERROR: Repository not found.", RepositoryRefused, "no such repository"),
        ("fatal: detected dubious ownership in repository", RepositoryRefused, "another user"),
        ("Could not resolve host: nowhere", RepositoryUnreachable, "unknown"),
        ("SSL certificate problem: self signed", RepositoryUnreachable, "certificate"),
        ("Operation too slow. Less than 1000 bytes/sec", RepositoryUnreachable, "too slowly"),
        ("warning: x\nfatal: the moon is full.", RepositoryUnreachable, "the moon is full"),
        ("", RepositoryUnreachable, "git ended with an error"),
    ],
)
def test_what_git_says_becomes_a_sentence(said, failure, words) -> None:
    meaning = checkout.meaning_of(said, request_for())

    assert isinstance(meaning, failure)
    assert words in str(meaning)
