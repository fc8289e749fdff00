"""GitHub, and GitHub Enterprise, as a git host.

Source: docs.github.com, "Webhook events and payloads", "Validating webhook deliveries", "REST API",
"Best practices for using the REST API" (rate limits), "Authenticating as a GitHub App".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import jwt
from django.conf import settings
from django.utils.dateparse import parse_datetime

from ci.providers.base import (
    Access,
    Action,
    Annotation,
    BadDelivery,
    BadSignature,
    ChangedFiles,
    CheckRun,
    CommitState,
    Event,
    Head,
    InstallationEvent,
    OtherEvent,
    Ping,
    ProviderRefused,
    ProviderUnavailable,
    PullRequestEvent,
    PullRequestFacts,
    PushEvent,
)
from jobsvc import outbound, strictjson

# What GitHub takes, in characters; it refuses what is longer with 422.
DESCRIPTION_LIMIT = 140
TEXT_LIMIT = 65_000
MESSAGE_LIMIT = 10_000  # of an annotation; GitHub: 64 KB
ANNOTATIONS_LIMIT = 50  # in one call; more are added by further ones
FILES_LIMIT = 3000  # of one pull request that GitHub lists
PAGE = 100  # rows asked for at a time
COMMENT_PAGES = 30  # of a pull request that are looked through for our own comment
DEADLINE = 20.0  # seconds for an answer
LARGEST_ANSWER = 32 * 1024**2  # bytes; a hundred files come with their patches
API_VERSION = "2022-11-28"
WAIT_SECONDS = 60.0  # where a limit was hit that names no time
LONGEST_WAIT = 3600.0  # seconds; GitHub's limits are by the hour
SHOWN = 300  # characters of GitHub's own words in a message

APP_TOKEN_SECONDS = 540  # GitHub takes at most ten minutes
CLOCK_SKEW_SECONDS = 60
RENEW_SECONDS = 300  # before its end an installation's token is renewed

SIGNATURE = re.compile(rb"sha256=([0-9a-f]{64})")
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98})/[A-Za-z0-9._-]{1,100}")
SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
LONGEST_REF = 255  # characters that are kept of a branch's or person's name
LONGEST_TITLE = 1000  # characters
LONGEST_URL = 1000  # characters
LONGEST_WORD = 100  # characters of a delivery's id, kind or action
LARGEST_NUMBER = 2**53


class NotSignedIn(ProviderRefused):
    """GitHub does not take the token, or no longer."""


class GitHub:
    """The adapter. It holds nothing; tokens of installations are shared by the process."""

    # --- Deliveries ------------------------------------------------------------------------

    def head_of(self, headers: Mapping[str, str]) -> Head:
        head = Head(
            delivery_id=headers.get("X-GitHub-Delivery", ""),
            event=headers.get("X-GitHub-Event", ""),
        )
        if not all(_is_word(word) for word in (head.delivery_id, head.event)):
            raise BadDelivery("X-GitHub-Delivery and X-GitHub-Event must say what is delivered.")
        return head

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> None:
        # Headers may hold anything, and compare_digest takes no text that is not ASCII.
        given = SIGNATURE.fullmatch(
            headers.get("X-Hub-Signature-256", "").encode("utf-8", "replace")
        )
        signed = [
            hmac.digest(secret.encode(), body, hashlib.sha256).hex().encode()
            for secret in secrets
            if secret
        ]
        if given is None or not any(hmac.compare_digest(given[1], one) for one in signed):
            raise BadSignature

    def read_event(self, event: str, body: bytes) -> Event:
        payload = _Payload(_load(body))
        installation_id = payload.maybe_number("installation", "id")
        if event == "pull_request" and payload.text("action") in set(Action):
            return _pull_request_event(payload, installation_id)
        if event == "push":
            return _push_event(payload, installation_id)
        repository = payload.maybe_text("repository", "full_name")[:LONGEST_REF]
        if event == "ping":
            return Ping(repository=repository, installation_id=installation_id)
        action = payload.maybe_text("action")[:LONGEST_WORD]
        if event == "installation" and installation_id is not None:
            return InstallationEvent(
                action=action,
                installation_id=installation_id,
                login=payload.maybe_text("installation", "account", "login")[:LONGEST_REF],
            )
        return OtherEvent(action=action, repository=repository, installation_id=installation_id)

    # --- Questions -------------------------------------------------------------------------

    def changed_files(self, access: Access, number: int) -> ChangedFiles:
        rows = list(_pages(access, f"/pulls/{number}/files", FILES_LIMIT // PAGE))
        names = [row.get(key) for row in rows for key in ("filename", "previous_filename")]
        return ChangedFiles(
            paths=tuple(dict.fromkeys(name for name in names if isinstance(name, str))),
            is_complete=len(rows) < FILES_LIMIT,
        )

    def commit_message(self, access: Access, sha: str) -> str:
        return _Payload(_call(access, "GET", f"/commits/{sha}")).maybe_text("commit", "message")

    # --- Reports ---------------------------------------------------------------------------

    def set_commit_status(
        self,
        access: Access,
        sha: str,
        state: CommitState,
        *,
        context: str,
        description: str,
        target_url: str,
    ) -> None:
        body = {
            "state": state,
            "context": context,
            "description": _cut(description, DESCRIPTION_LIMIT),
            "target_url": target_url,
        }
        _call(access, "POST", f"/statuses/{sha}", body)

    def create_check_run(self, access: Access, check: CheckRun) -> int:
        (body,) = _check_bodies(replace(check, annotations=()))
        return _id_of(_call(access, "POST", "/check-runs", body))

    def update_check_run(self, access: Access, check_id: int, check: CheckRun) -> None:
        for body in _check_bodies(check):
            _call(access, "PATCH", f"/check-runs/{check_id}", body)

    def find_comment(self, access: Access, number: int, marker: str) -> int | None:
        for row in _pages(access, f"/issues/{number}/comments", COMMENT_PAGES):
            # Anybody may write our marker into a comment of their own.
            if marker in str(row.get("body")) and _is_ours(access, _Payload(row)):
                return _id_of(row)
        return None

    def create_comment(self, access: Access, number: int, body: str) -> int:
        made = _call(access, "POST", f"/issues/{number}/comments", {"body": _cut(body, TEXT_LIMIT)})
        return _id_of(made)

    def update_comment(self, access: Access, comment_id: int, body: str) -> None:
        _call(access, "PATCH", f"/issues/comments/{comment_id}", {"body": _cut(body, TEXT_LIMIT)})


# --- Reading what strangers sent -----------------------------------------------------------


class _Payload:
    """GitHub's JSON, of which nothing is taken for granted."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise BadDelivery("The delivery is not a JSON object.")
        self._value: dict[str, Any] = value

    def find(self, *path: str) -> Any:
        """What stands at ``path``, or None."""
        value: Any = self._value
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def text(self, *path: str) -> str:
        if not isinstance(value := self.find(*path), str) or not value:
            raise BadDelivery(f"The delivery has no text at {'.'.join(path)}.")
        return value

    def maybe_text(self, *path: str) -> str:
        return value if isinstance(value := self.find(*path), str) else ""

    def number(self, *path: str) -> int:
        if (value := self.maybe_number(*path)) is None:
            raise BadDelivery(f"The delivery has no number at {'.'.join(path)}.")
        return value

    def maybe_number(self, *path: str) -> int | None:
        value = self.find(*path)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return value if is_number and 0 < value < LARGEST_NUMBER else None

    def name(self, *path: str) -> str:
        """``owner/name`` of a repository; it goes into addresses."""
        if not NAME.fullmatch(value := self.text(*path)) or value.endswith(("/.", "/..")):
            raise BadDelivery(f"The delivery names no repository at {'.'.join(path)}.")
        return value

    def sha(self, *path: str) -> str:
        if not SHA.fullmatch(value := self.text(*path)):
            raise BadDelivery(f"The delivery names no commit at {'.'.join(path)}.")
        return value

    def maybe_sha(self, *path: str) -> str:
        return value if SHA.fullmatch(value := self.maybe_text(*path)) else ""

    def ref(self, *path: str) -> str:
        value = self.text(*path)
        if len(value) > LONGEST_REF or not value.isprintable():
            raise BadDelivery(f"The delivery names no branch at {'.'.join(path)}.")
        return value

    def switch(self, *path: str) -> bool:
        return self.find(*path) is True

    def moment(self, *path: str) -> datetime:
        try:
            value = parse_datetime(self.text(*path))
            if value is not None and value.tzinfo is not None:
                return value.astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # no such day, or one that no calendar has
        raise BadDelivery(f"The delivery has no time at {'.'.join(path)}.")


def _load(body: bytes) -> Any:
    """The JSON of a delivery; GitHub's older default puts it into a form."""
    try:
        if body.startswith(b"payload="):
            fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=4)
            body = fields["payload"][0].encode("utf-8")
        return strictjson.read(body)
    except strictjson.NotKeepable as error:
        raise BadDelivery(str(error)) from error
    except (ValueError, KeyError) as error:
        raise BadDelivery("The delivery's form holds no payload.") from error


def _pull_request_event(payload: _Payload, installation_id: int | None) -> PullRequestEvent:
    facts = _facts(_Payload(payload.find("pull_request")))
    if facts.repository.lower() != payload.name("repository", "full_name").lower():
        raise BadDelivery("The pull request is not of the repository that the delivery names.")
    return PullRequestEvent(
        action=Action(payload.text("action")),
        pull_request=facts,
        base_before=payload.maybe_text("changes", "base", "ref", "from")[:LONGEST_REF],
        head_before=payload.maybe_sha("before"),
        installation_id=installation_id,
    )


def _facts(payload: _Payload) -> PullRequestFacts:
    labels = payload.find("labels")
    rows = [row for row in labels if isinstance(row, dict)] if isinstance(labels, list) else []
    base, head = payload.name("base", "repo", "full_name"), ""
    if payload.find("head", "repo") is not None:  # a fork may have been deleted since
        head = payload.name("head", "repo", "full_name")
    page = payload.maybe_text("html_url")
    is_merged = payload.switch("merged")
    return PullRequestFacts(
        repository=base,
        number=payload.number("number"),
        title=payload.maybe_text("title")[:LONGEST_TITLE],
        author=payload.maybe_text("user", "login")[:LONGEST_REF],
        url=page if page.startswith(f"{settings.GITHUB_URL}/") and len(page) <= LONGEST_URL else "",
        head_ref=payload.ref("head", "ref"),
        head_sha=payload.sha("head", "sha"),
        head_repository=head,
        base_ref=payload.ref("base", "ref"),
        is_fork=head.lower() != base.lower(),
        is_draft=payload.switch("draft"),
        is_open=payload.text("state") == "open",
        is_merged=is_merged,
        labels=tuple(name for row in rows if isinstance(name := row.get("name"), str)),
        merge_sha=payload.sha("merge_commit_sha") if is_merged else "",
        changed_at=payload.moment("updated_at"),
        default_branch=payload.maybe_text("base", "repo", "default_branch")[:LONGEST_REF],
    )


def _push_event(payload: _Payload, installation_id: int | None) -> PushEvent:
    ref = payload.ref("ref")
    is_deletion = payload.switch("deleted")
    return PushEvent(
        repository=payload.name("repository", "full_name"),
        ref=ref,
        branch=ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else "",
        sha="" if is_deletion else payload.sha("after"),
        is_deletion=is_deletion,
        before=payload.maybe_sha("before"),
        is_forced=payload.switch("forced"),
        default_branch=payload.maybe_text("repository", "default_branch")[:LONGEST_REF],
        installation_id=installation_id,
    )


def _is_word(text: str) -> bool:
    return (
        0 < len(text) <= LONGEST_WORD and text.isascii() and text.isprintable() and " " not in text
    )


# --- Writing -------------------------------------------------------------------------------


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _check_bodies(check: CheckRun) -> Iterator[dict[str, Any]]:
    """The calls that show ``check``: each brings a part of its annotations."""
    status: dict[str, str] = {"status": check.state}
    if check.state.is_over:
        status = {"status": "completed", "conclusion": check.state}
    for start in range(0, max(1, len(check.annotations)), ANNOTATIONS_LIMIT):
        part = check.annotations[start : start + ANNOTATIONS_LIMIT]
        output: dict[str, Any] = {
            "title": _cut(check.title, LONGEST_REF),
            "summary": _cut(check.summary, TEXT_LIMIT),
            "annotations": [_annotation(one) for one in part],
        }
        if check.text:
            output["text"] = _cut(check.text, TEXT_LIMIT)
        yield {
            "name": check.name,
            "head_sha": check.sha,
            "details_url": check.url,
            "output": output,
            **status,
        }


def _annotation(annotation: Annotation) -> dict[str, Any]:
    return {
        "path": annotation.path,
        "start_line": max(1, annotation.start_line),
        "end_line": max(1, annotation.start_line, annotation.end_line),
        "annotation_level": annotation.level,
        "message": _cut(annotation.message, MESSAGE_LIMIT) or "-",
        **({"title": _cut(annotation.title, LONGEST_REF)} if annotation.title else {}),
    }


# --- The wire ------------------------------------------------------------------------------


def _call(access: Access, method: str, path: str, body: object = None) -> Any:
    """GitHub's answer to a request about a repository, as Python values.

    Raises:
        ProviderUnavailable, ProviderRefused
    """
    try:
        return _ask(method, f"/repos/{access.repository}{path}", access.token, body)
    except NotSignedIn as refused:
        if not access.is_app:
            raise
        _tokens.forget(access.token)
        raise ProviderUnavailable("GitHub no longer takes the App's token.") from refused


def _pages(access: Access, path: str, most: int) -> Iterator[dict[str, Any]]:
    """The rows of up to ``most`` pages of a list."""
    for page in range(1, most + 1):
        rows = _call(access, "GET", f"{path}?per_page={PAGE}&page={page}")
        if not isinstance(rows, list):
            raise ProviderUnavailable("GitHub's answer cannot be read.")
        yield from (row for row in rows if isinstance(row, dict))
        if len(rows) < PAGE:
            return


def _is_ours(access: Access, comment: _Payload) -> bool:
    if access.is_app:
        by = comment.find("performed_via_github_app", "id")
        return str(by) == settings.GITHUB_APP_ID
    me = _Payload(_ask("GET", "/user", access.token)).text("login")
    return comment.maybe_text("user", "login") == me


def _id_of(row: Any) -> int:
    found = row.get("id") if isinstance(row, dict) else None
    if not isinstance(found, int):
        raise ProviderUnavailable("GitHub's answer cannot be read.")
    return found


def _ask(method: str, path: str, token: str, body: object = None) -> Any:
    try:
        answer = outbound.send(
            method,
            f"{settings.GITHUB_API_URL}{path}",
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": API_VERSION,
            },
            body=b"" if body is None else json.dumps(body).encode(),
            deadline=DEADLINE,
            largest=LARGEST_ANSWER,
        )
    except outbound.NoAnswer as error:
        raise ProviderUnavailable(f"GitHub did not answer: {error}") from error
    except outbound.AddressRefused as error:
        raise ProviderRefused(f"GitHub cannot be asked: {error}") from error
    try:
        value = strictjson.read(answer.body) if answer.body.strip() else None
    except strictjson.NotKeepable:
        value = None
    _raise_unless_done(answer, value)
    if value is None:
        raise ProviderUnavailable("GitHub's answer cannot be read.")
    return value


def _raise_unless_done(answer: outbound.Answer, value: Any) -> None:
    """Turn what GitHub says no with into our words.

    Source: docs.github.com, "Rate limits for the REST API", Exceeding the rate limit.
    """
    if answer.status < 300:
        return
    said = str(value.get("message", "")) if isinstance(value, dict) else ""
    said = _cut("".join(c for c in said if c.isprintable()), SHOWN).rstrip(".")
    words = f"GitHub answered {answer.status}{f': {said}' if said else ''}."
    if answer.status >= 500 or answer.status == 408:
        raise ProviderUnavailable(words, _wait(answer))
    is_limit = (
        "retry-after" in answer.headers
        or answer.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in said.lower()
    )
    if answer.status == 429 or (answer.status == 403 and is_limit):
        raise ProviderUnavailable(words, _wait(answer) or WAIT_SECONDS)
    if answer.status < 400:
        raise ProviderRefused(
            f"{words} The repository was renamed or moved. Correct its address here."
        )
    if answer.status == 401:
        raise NotSignedIn(f"{words} Check the token, or the settings of the GitHub App.")
    raise ProviderRefused(words, is_missing=answer.status in {404, 410})


def _wait(answer: outbound.Answer) -> float | None:
    """How many seconds GitHub asks us to wait."""
    after = answer.headers.get("retry-after", "")
    reset = answer.headers.get("x-ratelimit-reset", "")
    if after.isdecimal():
        seconds = float(after)
    elif answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        seconds = float(reset) - time.time()
    else:
        return None
    return min(max(seconds, 1.0), LONGEST_WAIT)


# --- The App -------------------------------------------------------------------------------


class _Tokens:
    """Tokens of installations, until shortly before their end; of this process alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...], tuple[str, float]] = {}

    def get(self, key: tuple[str, ...]) -> str | None:
        with self._lock:
            token, renew_at = self._kept.get(key, ("", 0.0))
        return token if time.time() < renew_at else None

    def keep(self, key: tuple[str, ...], token: str, ends_at: float) -> None:
        with self._lock:
            self._kept = {k: v for k, v in self._kept.items() if v[1] > time.time()}
            self._kept[key] = (token, ends_at - RENEW_SECONDS)

    def forget(self, token: str) -> None:
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] != token}


_tokens = _Tokens()


def is_app_set_up() -> bool:
    return bool(settings.GITHUB_APP_ID and settings.GITHUB_APP_PRIVATE_KEY)


def installation_token(
    installation_id: int, repository: str, permissions: Mapping[str, str] | None = None
) -> str:
    """A token for one repository of an installation of our App.

    Args:
        repository: ``owner/name``; GitHub refuses it where the installation does not cover it.
        permissions: at most these (``{"contents": "read"}``); None: all that the App has.

    Raises:
        ProviderUnavailable, ProviderRefused
    """
    # Not kept across a change of the App, its key or its server.
    app = f"{settings.GITHUB_API_URL} {settings.GITHUB_APP_ID} {settings.GITHUB_APP_PRIVATE_KEY}"
    key = (app, str(installation_id), repository.lower(), json.dumps(permissions))
    if (kept := _tokens.get(key)) is not None:
        return kept
    body: dict[str, Any] = {"repositories": [repository.partition("/")[2]]}
    if permissions is not None:
        body["permissions"] = permissions
    path = f"/app/installations/{installation_id}/access_tokens"
    answer = _ask("POST", path, _app_token(), body)
    try:
        payload = _Payload(answer)
        token, ends_at = payload.text("token"), payload.moment("expires_at").timestamp()
    except BadDelivery as error:
        raise ProviderUnavailable("GitHub's answer cannot be read.") from error
    _tokens.keep(key, token, ends_at)
    return token


def _app_token() -> str:
    """Who we are as an App: signed by its key, for the next minutes."""
    moment = int(time.time())
    claims = {
        "iat": moment - CLOCK_SKEW_SECONDS,
        "exp": moment + APP_TOKEN_SECONDS - CLOCK_SKEW_SECONDS,
        "iss": settings.GITHUB_APP_ID,
    }
    try:
        return jwt.encode(claims, settings.GITHUB_APP_PRIVATE_KEY, algorithm="RS256")
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise ProviderRefused(
            "The GitHub App's key is no RSA key. Correct JOBSVC_GITHUB_APP_PRIVATE_KEY."
        ) from error
