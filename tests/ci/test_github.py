"""The adapter of GitHub, against a GitHub on loopback."""

from __future__ import annotations

import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from ci.providers.base import (
    Access,
    Annotation,
    BadDelivery,
    BadSignature,
    CheckRun,
    CheckState,
    CommitState,
    InstallationEvent,
    Level,
    OtherEvent,
    Ping,
    ProviderRefused,
    ProviderUnavailable,
    PullRequestEvent,
    PushEvent,
    provider_for,
)
from tests.ci.payloads import reference
from tests.fakes.github import FakeGitHub, Repository, signed

HOST = provider_for("github")
BODY = b'{"zen": "Keep it logically awesome."}'
SECRET = "a secret of the hook"


@pytest.fixture
def shop(github: FakeGitHub, tmp_path: Any) -> Repository:
    """A repository with little in it."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "README.md").write_text("A shop.")
    return github.create_repository("acme/shop", source=tmp_path / "source")


@pytest.fixture
def access(github: FakeGitHub) -> Access:
    return Access(repository="acme/shop", token=github.token)


@pytest.fixture
def as_app(github: FakeGitHub, shop: Repository, settings: Any) -> Access:
    from_github = github.install("acme")
    github.use_in(settings, as_app=True)
    github.app_tokens["ghs_app"] = {
        "repositories": {"acme/shop"},
        "permissions": None,
        "ends": float("inf"),
    }
    assert from_github
    return Access(repository="acme/shop", token="ghs_app", is_app=True)


# --- Signatures ----------------------------------------------------------------------------


def test_a_delivery_that_is_signed_with_one_of_the_secrets_is_genuine() -> None:
    headers = signed("ping", BODY, SECRET)

    HOST.verify(headers, BODY, [SECRET])
    HOST.verify(headers, BODY, ["the next one", SECRET])


def test_the_signature_of_githubs_own_example_is_taken() -> None:
    # docs.github.com, "Validating webhook deliveries", Testing the webhook payload validation.
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    HOST.verify(
        {"X-Hub-Signature-256": signature}, b"Hello, World!", ["It's a Secret to Everybody"]
    )


def _hex(kind: str = "sha256", secret: str = SECRET, body: bytes = BODY) -> str:
    return hmac.digest(secret.encode(), body, kind).hex()


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        _hex(),
        f"sha256={_hex()[:-1]}",
        f"sha256={_hex()}0",
        f"sha256={_hex()}\n",
        f"sha256={_hex().upper()}",
        f"SHA256={_hex()}",
        f"sha256= {_hex()}",
        f"sha256={_hex(secret='another')}",
        f"sha256={_hex(secret='')}",
        f"sha256={_hex(body=BODY + b' ')}",
        f"sha1={_hex('sha1')}",
        f"sha256={_hex('sha1')}",
        f"sha256={'é' * 64}",
        f"sha256={'0' * 63}\N{SNOWMAN}",
        "sha256=\ud800",
        f"sha256={_hex()}, sha256={_hex()}",
    ],
)
def test_any_other_signature_is_not(signature: str) -> None:
    with pytest.raises(BadSignature):
        HOST.verify({"X-Hub-Signature-256": signature}, BODY, [SECRET])


def test_a_sha1_signature_alone_is_not_taken() -> None:
    headers = signed("ping", BODY, SECRET)
    del headers["X-Hub-Signature-256"]

    with pytest.raises(BadSignature):
        HOST.verify(headers, BODY, [SECRET])


@pytest.mark.parametrize("secrets", [[], [""]])
def test_without_a_secret_nothing_is_genuine(secrets: list[str]) -> None:
    with pytest.raises(BadSignature):
        HOST.verify(signed("ping", BODY, ""), BODY, secrets)


@pytest.mark.parametrize("name", ["X-GitHub-Delivery", "X-GitHub-Event"])
@pytest.mark.parametrize("value", [None, "", "two words", "é", "a" * 101])
def test_a_delivery_says_in_its_headers_what_it_is(name: str, value: str | None) -> None:
    headers = signed("ping", BODY, SECRET)
    headers.pop(name)

    with pytest.raises(BadDelivery):
        HOST.head_of(headers if value is None else headers | {name: value})


# --- Events --------------------------------------------------------------------------------


def read(event: str, payload: Any) -> Any:
    return HOST.read_event(event, json.dumps(payload).encode())


def test_a_pull_request_is_read() -> None:
    event = read("pull_request", reference("pull_request-opened.with-organization"))

    assert isinstance(event, PullRequestEvent)
    assert (event.action, event.repository) == ("opened", "Codertocat/Hello-World")
    facts = event.pull_request
    assert (facts.number, facts.author, facts.labels) == (2, "Codertocat", ("bug",))
    assert (facts.head_ref, facts.base_ref) == ("changes", "master")
    assert facts.head_sha == "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
    assert (facts.is_fork, facts.is_draft, facts.is_open) == (False, False, True)
    assert facts.changed_at.isoformat() == "2019-05-15T15:20:33+00:00"


@pytest.mark.parametrize("repo", [None, {"full_name": "stranger/Hello-World"}])
def test_a_fork_is_told_even_where_it_was_deleted(repo: Any) -> None:
    payload = reference("pull_request-synchronize")
    payload["pull_request"]["head"]["repo"] = repo

    assert read("pull_request", payload).pull_request.is_fork


def test_a_pull_request_that_got_another_base_says_which_it_had() -> None:
    payload = reference("pull_request-synchronize") | {"action": "edited"}
    payload["changes"] = {"base": {"ref": {"from": "release"}}}

    assert read("pull_request", payload).base_before == "release"


def test_a_pushed_branch_and_a_deleted_tag_are_told_apart() -> None:
    deleted = reference("push")
    moved = deleted | {"ref": "refs/heads/feature/#1", "deleted": False, "after": "a" * 40}

    assert read("push", deleted) == PushEvent(
        repository="Codertocat/Hello-World",
        ref="refs/tags/simple-tag",
        branch="",
        sha="",
        is_deletion=True,
        before=deleted["before"],
        default_branch="master",
    )
    assert (read("push", moved).branch, read("push", moved).sha) == ("feature/#1", "a" * 40)


def test_what_concerns_nobody_is_still_named() -> None:
    payload = reference("pull_request-synchronize") | {"action": "assigned"}

    assert read("pull_request", payload) == OtherEvent(
        action="assigned", repository="Codertocat/Hello-World", installation_id=1
    )
    assert read("ping", reference("ping")) == Ping(repository="Octocoders/Hello-World")


def test_an_installation_of_the_app_is_read() -> None:
    payload = {"action": "created", "installation": {"id": 7, "account": {"login": "acme"}}}

    assert read("installation", payload) == InstallationEvent(
        action="created", installation_id=7, login="acme"
    )


def test_a_delivery_in_a_form_is_read_as_its_payload() -> None:
    body = urlencode({"payload": json.dumps(reference("pull_request-closed"))}).encode()

    assert HOST.read_event("pull_request", body).action == "closed"


BROKEN = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"{",
    b"\xff\xfe",
    b"\x00",
    b"payload=",
    b"payload=%FF",
    b"payload=1&payload",
    b"[" * 100_000,
    b'{"action":' * 100_000,
    b'{"action": "opened", "number": NaN}',
    b'{"action": "open\\u0000ed"}',
    b'{"action": "\\ud800"}',
    b'{"action": ["opened"]}',
    b'{"action": "opened", "pull_request": []}',
    b'{"number": 1e999}',
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("event", ["pull_request", "push"])
def test_what_is_no_delivery_is_refused_in_words(event: str, body: bytes) -> None:
    with pytest.raises(BadDelivery) as refused:
        HOST.read_event(event, body)
    assert str(refused.value).endswith(".")


HOSTILE: list[Any] = [
    None, [], {}, 0, -1, True, "", 1.5, "\N{SNOWMAN}" * 5000, {"a": {"b": []}}, "../..", 2**70,
]  # fmt: skip


def _places(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where anything stands in the part of a payload that is read."""
    if not isinstance(value, dict) or len(path) > 3:
        return [path] if path else []
    return [path] * bool(path) + [
        place for key, part in value.items() for place in _places(part, (*path, key))
    ]


@pytest.mark.parametrize("name", ["pull_request-synchronize", "pull_request-closed", "push"])
def test_nothing_that_stands_anywhere_in_a_delivery_is_worse_than_unreadable(name: str) -> None:
    event = name.partition("-")[0]
    for place in _places(reference(name)):
        for value in HOSTILE:
            payload = reference(name)
            inner = payload
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            try:
                read(event, payload)
            except BadDelivery as refused:
                assert str(refused)


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-02",
        "2026-03-02T12:00:00",
        "2026-13-02T12:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_moment_of_the_calendar_is_refused(moment: str) -> None:
    payload = reference("pull_request-synchronize")
    payload["pull_request"]["updated_at"] = moment

    with pytest.raises(BadDelivery, match="no time at updated_at"):
        read("pull_request", payload)


@pytest.mark.parametrize(
    "name", ["acme/../../user", "acme/shop?x", "acme", "acme/shop/x", "acme/..", "a b/c", "/x"]
)
def test_a_name_that_would_lead_elsewhere_in_an_address_is_refused(name: str) -> None:
    payload = reference("pull_request-synchronize")
    payload["repository"]["full_name"] = name
    payload["pull_request"]["base"]["repo"]["full_name"] = name

    with pytest.raises(BadDelivery):
        read("pull_request", payload)


def test_a_pull_request_of_another_repository_than_the_deliverys_is_refused() -> None:
    payload = reference("pull_request-synchronize")
    payload["pull_request"]["base"]["repo"]["full_name"] = "acme/shop"

    with pytest.raises(BadDelivery, match="not of the repository"):
        read("pull_request", payload)


# --- Questions -----------------------------------------------------------------------------


def test_all_changed_files_are_listed_page_by_page(
    github: FakeGitHub, shop: Repository, access: Access
) -> None:
    number = shop.open("many", **{f"models/m{place:03}.sql": "select 1" for place in range(205)})

    changed = HOST.changed_files(access, number)

    assert (len(changed.paths), changed.is_complete) == (205, True)
    assert len(github.calls_to(r"GET .*/files")) == 3


def test_a_commits_message_is_asked_for(shop: Repository, access: Access) -> None:
    number = shop.open("blue", title="Paint it [skip ci]", **{"a.sql": "select 1"})

    assert HOST.commit_message(access, shop.pulls[number].head_sha) == "Paint it [skip ci]"


# --- Reports -------------------------------------------------------------------------------


def set_status(access: Access, sha: str, description: str = "Fine") -> None:
    HOST.set_commit_status(
        access,
        sha,
        CommitState.SUCCESS,
        context="dbt/shop/ci",
        description=description,
        target_url="https://jobs.example/runs/1/",
    )


def test_a_status_is_set_however_long_its_description(
    github: FakeGitHub, shop: Repository, access: Access
) -> None:
    set_status(access, shop.head, "long " * 100)

    (status,) = github.statuses(shop.head)
    assert (status["state"], status["context"]) == ("success", "dbt/shop/ci")
    assert len(status["description"]) == 140
    assert status["target_url"] == "https://jobs.example/runs/1/"


def check(sha: str, state: CheckState, **fields: Any) -> CheckRun:
    return CheckRun(
        name="dbt ci", sha=sha, state=state, url="https://jobs.example/", title="T", **fields
    )


def test_a_check_run_is_made_and_updated_with_all_its_annotations(
    shop: Repository, as_app: Access
) -> None:
    remarks = [
        Annotation(
            path=f"m{place}.sql", start_line=0, end_line=0, level=Level.WARNING, message="Hm"
        )
        for place in range(120)
    ]
    made = HOST.create_check_run(as_app, check(shop.head, CheckState.IN_PROGRESS, summary="…"))
    done = check(
        shop.head, CheckState.FAILURE, summary="x" * 70_000, text="all", annotations=remarks
    )
    HOST.update_check_run(as_app, made, done)

    shown = shop.check_runs[made]
    assert (shown["status"], shown["conclusion"]) == ("completed", "failure")
    assert [one["path"] for one in shown["output"]["annotations"]] == [one.path for one in remarks]
    assert shown["output"]["annotations"][0]["start_line"] == 1


def test_a_token_may_make_no_check_run(shop: Repository, access: Access) -> None:
    with pytest.raises(ProviderRefused, match="GitHub App"):
        HOST.create_check_run(access, check(shop.head, CheckState.QUEUED, summary=""))


def test_our_own_comment_is_found_and_not_somebody_elses(
    github: FakeGitHub, shop: Repository, access: Access
) -> None:
    number = shop.open("blue", **{"a.sql": "select 1"})
    for place in range(130):
        other = HOST.create_comment(access, number, f"<!-- ours --> copied {place}")
        shop.comments[other]["user"] = {"login": "stranger"}
    assert HOST.find_comment(access, number, "<!-- ours -->") is None
    made = HOST.create_comment(access, number, "<!-- ours --> first")

    assert HOST.find_comment(access, number, "<!-- ours -->") == made
    HOST.update_comment(access, made, "<!-- ours --> second")
    assert shop.comments[made]["body"] == "<!-- ours --> second"


def test_the_apps_own_comment_is_found(shop: Repository, as_app: Access, access: Access) -> None:
    number = shop.open("blue", **{"a.sql": "select 1"})
    HOST.create_comment(access, number, "<!-- ours --> by a person")
    made = HOST.create_comment(as_app, number, "<!-- ours --> by the App")

    assert HOST.find_comment(as_app, number, "<!-- ours -->") == made


# --- Saying no -----------------------------------------------------------------------------


def test_a_server_error_may_be_tried_again(
    github: FakeGitHub, shop: Repository, access: Access
) -> None:
    github.fail("POST .*/statuses/", status=502)

    with pytest.raises(ProviderUnavailable, match="502") as error:
        set_status(access, shop.head)
    assert error.value.retry_after is None
    set_status(access, shop.head)
    assert github.states(shop.head) == ["success"]


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ({"status": 429, "headers": {"Retry-After": "17"}}, 17),
        ({"status": 403, "headers": {"Retry-After": "9"}}, 9),
        ({"status": 503, "headers": {"Retry-After": "5"}}, 5),
        ({"status": 429}, 60),
        ({"status": 403, "message": "You have exceeded a secondary rate limit"}, 60),
        ({"status": 429, "headers": {"Retry-After": "99999999999999999999"}}, 3600),
        ({"status": 429, "headers": {"Retry-After": "soon"}}, 60),
        (
            {"status": 403, "headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}},
            1,
        ),
    ],
)
def test_a_limit_says_how_long_to_wait(
    github: FakeGitHub, shop: Repository, access: Access, fault: Any, seconds: float
) -> None:
    github.fail("POST .*/statuses/", **fault)

    with pytest.raises(ProviderUnavailable) as error:
        set_status(access, shop.head)
    assert error.value.retry_after == seconds


@pytest.mark.parametrize("status", [401, 403, 404, 410, 422, 301])
def test_a_no_is_final_and_in_githubs_words(
    github: FakeGitHub, shop: Repository, access: Access, status: int
) -> None:
    github.fail("POST .*/statuses/", status=status, message="Because we said so")

    with pytest.raises(ProviderRefused, match="Because we said so") as refused:
        set_status(access, shop.head)
    assert refused.value.is_missing == (status in {404, 410})
    assert github.token not in str(refused.value)


def test_a_github_that_hangs_or_drips_is_not_waited_for(
    github: FakeGitHub, shop: Repository, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci.providers.github.DEADLINE", 0.5)
    for fault in ({"hang": True}, {"drip": True, "status": 200}):
        github.fail("POST .*/statuses/", **fault)
        with pytest.raises(ProviderUnavailable, match="did not answer"):
            set_status(access, shop.head)


def test_a_github_inside_that_the_operator_did_not_list_is_not_asked(
    github: FakeGitHub, shop: Repository, access: Access, settings: Any
) -> None:
    settings.OUTBOUND_NETWORKS = []

    with pytest.raises(ProviderRefused, match="JOBSVC_OUTBOUND_NETWORKS"):
        set_status(access, shop.head)
    assert github.calls == []
