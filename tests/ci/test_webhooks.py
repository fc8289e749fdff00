"""The door that GitHub knocks on: who is let in, what is answered, and nothing done twice."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from ci import deliveries
from ci.hooks import OVERLAP, close_hook, set_secret
from ci.models import GitHubInstallation, Verdict, WebhookDelivery
from ci.tasks import sweep
from ci.webhooks import github_repository
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from tests.ci.payloads import NAME, REMOTE, Hooked, pull_request, read_all, reference, signature
from tests.factories import AccountFactory, JobFactory, RepositoryFactory

pytestmark = pytest.mark.django_db

NOBODYS_KEY = "00000000-0000-4000-8000-000000000000"
APP_SECRET = "the-apps-own"


@pytest.fixture(autouse=True)
def quiet(published: list[tuple[Any, ...]]) -> None:
    """No broker is needed."""


@pytest.fixture
def job() -> Job:
    return JobFactory(ci=True, environment__project__repository__remote_url=REMOTE)


@pytest.fixture
def door(job: Job) -> Hooked:
    return Hooked.up(job.project.repository)


@pytest.fixture
def app(settings: Any) -> Any:
    """Delivers as the GitHub App does."""
    settings.GITHUB_APP_WEBHOOK_SECRETS = [APP_SECRET]

    def post(event: str, payload: dict[str, Any], secret: str = APP_SECRET) -> Any:
        body = json.dumps(payload).encode()
        headers = {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": "d-1",
            "X-Hub-Signature-256": signature(secret, body),
        }
        return Client().post(
            "/webhooks/github/app", body, content_type="application/json", headers=headers
        )

    return post


def decision() -> str:
    return WebhookDelivery.objects.latest("pk").decision


# --- Who is let in ---------------------------------------------------------------------------


def test_a_signed_delivery_is_accepted_before_anything_follows(
    door: Hooked, published: list[tuple[Any, ...]], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = door.post("pull_request", pull_request("opened"))

    assert answer.status_code == 202
    assert published == [("read_delivery", WebhookDelivery.objects.get().pk)]
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "signed",
    [
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        "sha256=" + "é" * 64,
        "rubbish",
        "sha256=" + "0" * 100_000,
    ],
    ids=["missing", "empty", "wrong", "not ascii", "rubbish", "long"],
)
def test_a_signature_that_does_not_fit_is_401(door: Hooked, signed: str) -> None:
    answer = door.post("pull_request", pull_request("opened"), **{"X-Hub-Signature-256": signed})

    assert answer.status_code == 401
    assert not WebhookDelivery.objects.exists()


def test_a_truncated_signature_is_401(door: Hooked) -> None:
    body = json.dumps(pull_request("opened")).encode()
    half = signature(door.secret, body)[:-1]

    assert door.post("pull_request", body, **{"X-Hub-Signature-256": half}).status_code == 401


def test_a_signature_by_sha_1_is_401(door: Hooked) -> None:
    body = json.dumps(pull_request("opened")).encode()
    weak = "sha1=" + hmac.new(door.secret.encode(), body, hashlib.sha1).hexdigest()

    for header in ("X-Hub-Signature", "X-Hub-Signature-256"):
        headers = {"X-Hub-Signature-256": "", header: weak}
        assert door.post("pull_request", body, **headers).status_code == 401


def test_a_body_that_was_written_anew_is_401(door: Hooked) -> None:
    payload = pull_request("opened")
    signed = signature(door.secret, json.dumps(payload).encode())
    body = json.dumps(payload, indent=1).encode()

    assert door.post("pull_request", body, **{"X-Hub-Signature-256": signed}).status_code == 401


def test_a_bad_signature_is_found_before_anything_is_parsed(door: Hooked) -> None:
    answer = door.post("pull_request", b"{" * 1000, **{"X-Hub-Signature-256": "sha256=0"})

    assert answer.status_code == 401


def test_an_address_that_is_nobodys_answers_as_a_bad_signature_does(door: Hooked) -> None:
    body = json.dumps(pull_request("opened")).encode()
    wrong = door.post("pull_request", body, **{"X-Hub-Signature-256": "sha256=" + "0" * 64})
    door.hook.key = NOBODYS_KEY

    unknown = door.post("pull_request", body)

    assert (unknown.status_code, unknown.content) == (wrong.status_code, wrong.content)
    numbers = [dict(answer.headers).pop("X-Request-ID") for answer in (unknown, wrong)]
    assert len(set(numbers)) == 2  # of each request its own; they tell nothing
    told, known = (
        {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}
        for answer in (unknown, wrong)
    )
    assert told == known


def test_an_address_that_is_nobodys_compares_as_many_signatures(
    door: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    digest = hmac.digest

    def counted(key: bytes, message: bytes, kind: Any) -> bytes:
        compared.append(key)
        return digest(key, message, kind)

    monkeypatch.setattr(hmac, "digest", counted)
    door.post("ping", reference("ping"))
    known = len(compared)
    door.hook.key = NOBODYS_KEY
    door.post("ping", reference("ping"))

    assert (known, len(compared) - known) == (2, 2)


def test_the_hook_of_a_deleted_repository_is_nobodys(door: Hooked) -> None:
    repository = door.hook.repository
    repository.state = 2
    repository.save()

    assert door.post("pull_request", pull_request("opened")).status_code == 401


def test_an_app_without_a_secret_lets_nobody_in(app: Any, settings: Any) -> None:
    settings.GITHUB_APP_WEBHOOK_SECRETS = [""]

    assert app("ping", reference("ping"), secret="").status_code == 401


def test_a_body_of_10_mb_is_refused(door: Hooked) -> None:
    answer = door.post("push", b'{"a": "' + b"x" * 10_000_000 + b'"}')

    assert answer.status_code == 413
    assert not WebhookDelivery.objects.exists()


def test_a_body_may_be_as_long_as_the_setting_says(door: Hooked, settings: Any) -> None:
    settings.WEBHOOK_MAX_BYTES = 1024

    answers = [door.post("push", b"x" * length).status_code for length in (1024, 1025)]

    assert answers == [400, 413]


def test_a_body_that_is_longer_than_it_says_is_not_read_on(door: Hooked, settings: Any) -> None:
    settings.WEBHOOK_MAX_BYTES = 1024
    request = RequestFactory().generic("POST", "/", b"x" * 5000)
    request.META["CONTENT_LENGTH"] = "10"

    assert github_repository(request, door.hook.key).status_code == 413
    assert len(request.read()) == 5000 - 1025


def test_no_token_of_a_form_is_asked_for(door: Hooked) -> None:
    door.client = Client(enforce_csrf_checks=True)

    assert door.post("ping", reference("ping")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[]",
        b'{"a": ' * 2000 + b"1" + b"}" * 2000,
        b'{"action": "opened\\u0000"}',
        b'{"action": "\\ud800"}',
        '{"action": "opened"}'.encode("utf-16"),
        b'{"action": "opened", "pull_request": []}',
        b"payload=%7B%22action%22%3A%22created%22%7D&x=a\x00b",
    ],
)
def test_what_cannot_be_read_is_400(door: Hooked, body: bytes) -> None:
    answer = door.post("pull_request", body)

    assert answer.status_code == 400
    assert json.loads(answer.content)["message"]
    assert not WebhookDelivery.objects.exists()


@pytest.mark.parametrize("header", ["X-GitHub-Event", "X-GitHub-Delivery"])
def test_a_delivery_that_does_not_say_what_it_is_is_400(door: Hooked, header: str) -> None:
    assert door.post("ping", reference("ping"), **{header: "x" * 101}).status_code == 400


@pytest.mark.parametrize("event", ["ping", "issues", "pull_request", "installation"])
def test_words_of_any_length_are_kept_as_far_as_a_column_has_room(door: Hooked, event: str) -> None:
    long = {"action": "x" * 3000, "repository": {"full_name": "y" * 3000}}

    door.post(event, long | {"installation": {"id": 1, "account": {"login": "z" * 3000}}})

    WebhookDelivery.objects.get().clean_fields()


def test_only_a_post_is_answered(door: Hooked) -> None:
    assert door.client.get(f"/webhooks/github/{door.hook.key}").status_code == 405


# --- Secrets ---------------------------------------------------------------------------------


def test_a_secret_is_good_for_an_hour_after_it_was_changed(door: Hooked) -> None:
    set_secret(door.hook.repository)

    assert door.post("pull_request", pull_request("opened")).status_code == 202


def test_an_hour_after_it_was_changed_a_secret_is_good_no_more(door: Hooked) -> None:
    hook, _secret = set_secret(door.hook.repository)
    hook.previous_until = now() - timedelta(seconds=1)
    hook.save()

    assert timedelta(hours=1) == OVERLAP
    assert door.post("pull_request", pull_request("opened")).status_code == 401


def test_the_secret_before_the_last_two_is_good_no_more(door: Hooked) -> None:
    set_secret(door.hook.repository)
    set_secret(door.hook.repository)

    assert door.post("pull_request", pull_request("opened")).status_code == 401


def test_a_door_that_was_closed_is_opened_by_the_new_secret_alone(door: Hooked) -> None:
    close_hook(door.hook)

    hook, secret = set_secret(door.hook.repository)

    assert hook.previous_until is None
    assert door.post("ping", reference("ping")).status_code == 401
    assert Hooked(hook, secret).post("ping", reference("ping")).status_code == 200


def test_one_repositorys_secret_opens_no_others_door(door: Hooked) -> None:
    other = Hooked.up(RepositoryFactory(remote_url=REMOTE))
    other.secret = door.secret

    assert other.post("pull_request", pull_request("opened")).status_code == 401


def test_a_delivery_of_another_repository_is_refused_in_words(door: Hooked, job: Job) -> None:
    payload = json.loads(json.dumps(pull_request("opened")).replace(NAME, "mallory/shop"))

    assert door.post("pull_request", payload).status_code == 202
    read_all()

    assert WebhookDelivery.objects.get().verdict == Verdict.REFUSED
    assert "mallory/shop" in decision()
    assert not Run.objects.exists()


# --- Once ------------------------------------------------------------------------------------


def test_the_same_delivery_five_times_starts_one_run(door: Hooked) -> None:
    answers = []
    for _time in range(5):
        answer = door.post("pull_request", pull_request("opened"), delivery="once")
        answers.append(answer.status_code)
        read_all()

    assert answers == [202, 200, 200, 200, 200]
    assert Run.objects.count() == 1


def test_the_same_body_as_another_delivery_starts_nothing_more(door: Hooked) -> None:
    for _time in range(3):
        door.post("pull_request", pull_request("synchronize"))
        read_all()

    assert Run.objects.count() == 1
    assert WebhookDelivery.objects.count() == 3


@pytest.mark.parametrize("action", ["opened", "reopened"])
def test_a_replayed_body_starts_nothing_after_its_run_was_cancelled(
    door: Hooked, action: str
) -> None:
    for at, done in enumerate(["opened", "closed", "reopened"]):
        door.post("pull_request", pull_request(done, at=at))
        read_all()
    runs = Run.objects.count()

    door.post("pull_request", pull_request(action, at=["opened", "", "reopened"].index(action)))
    read_all()

    assert Run.objects.count() == runs == 2


def test_two_repositories_may_have_deliveries_of_one_id(door: Hooked) -> None:
    other = Hooked.up(RepositoryFactory(remote_url=REMOTE))

    answers = [one.post("ping", reference("ping"), delivery="x") for one in (door, other)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert WebhookDelivery.objects.count() == 2


# --- Kept ------------------------------------------------------------------------------------


def test_a_ping_is_answered_and_kept(door: Hooked) -> None:
    answer = door.post("ping", reference("ping"))

    assert answer.status_code == 200
    assert WebhookDelivery.objects.get().verdict == Verdict.DONE


def test_an_event_of_no_use_is_kept_with_that_in_words(door: Hooked) -> None:
    payload = {"action": "created", "repository": {"full_name": NAME}}

    assert door.post("issues", payload).status_code == 202
    read_all()

    assert decision() == "Nothing here follows from issues created."


def test_a_delivery_keeps_what_came_and_what_followed(door: Hooked, job: Job) -> None:
    door.post("pull_request", pull_request("opened"), delivery="abc")
    read_all()

    kept = WebhookDelivery.objects.get()
    assert (kept.account_id, kept.delivery_id) == (job.account_id, "abc")
    assert (kept.event, kept.action, kept.repository_name) == ("pull_request", "opened", NAME)
    assert kept.decision == f"Job {job.name}: started run {Run.objects.get().pk}."
    assert json.loads(kept.body)["number"] == 2


def test_a_form_is_read_as_well(door: Hooked) -> None:
    body = b"payload=%7B%22action%22%3A%22created%22%7D"

    assert door.post("issues", body).status_code == 202


def test_old_deliveries_are_removed(door: Hooked, settings: Any) -> None:
    settings.KEEP_DELIVERIES_DAYS = 30
    door.post("ping", reference("ping"))
    door.post("ping", reference("ping"))
    first = WebhookDelivery.objects.earliest("pk")
    WebhookDelivery.objects.filter(pk=first.pk).update(received_at=now() - timedelta(days=31))

    sweep()

    assert WebhookDelivery.objects.count() == 1


def test_old_deliveries_are_removed_without_being_read(door: Hooked, settings: Any) -> None:
    settings.KEEP_DELIVERIES_DAYS = 30
    door.post("ping", reference("ping"))

    with CaptureQueriesContext(connection) as asked:
        assert deliveries.prune(now() + timedelta(days=31)) == 1

    assert not any("body" in query["sql"] for query in asked)


# --- Read ------------------------------------------------------------------------------------


def test_a_delivery_whose_message_was_lost_is_found_by_the_sweep(
    door: Hooked, published: list[tuple[Any, ...]]
) -> None:
    door.post("pull_request", pull_request("opened"))

    sweep()

    assert ("read_delivery", WebhookDelivery.objects.get().pk) in published


def test_a_delivery_that_somebody_reads_is_read_by_nobody_else(door: Hooked) -> None:
    door.post("pull_request", pull_request("opened"))
    kept = WebhookDelivery.objects.get()
    WebhookDelivery.objects.filter(pk=kept.pk).update(due_at=now() + deliveries.LEASE)

    deliveries.read(kept.pk, now())

    assert not Run.objects.exists()


def test_a_delivery_whose_reader_died_is_read_after_a_while(door: Hooked) -> None:
    door.post("pull_request", pull_request("opened"))
    kept = WebhookDelivery.objects.get()
    WebhookDelivery.objects.filter(pk=kept.pk).update(due_at=now() + deliveries.LEASE, attempts=1)

    deliveries.read(kept.pk, now() + deliveries.LEASE)

    assert Run.objects.count() == 1


def test_a_delivery_that_nobody_lives_to_read_is_given_up_in_words(door: Hooked) -> None:
    door.post("pull_request", pull_request("opened"))
    WebhookDelivery.objects.update(attempts=deliveries.MOST_ATTEMPTS)

    read_all()

    kept = WebhookDelivery.objects.get()
    assert (kept.verdict, kept.due_at) == (Verdict.FAILED, None)
    assert "Deliver it again" in kept.decision
    assert not Run.objects.exists()


def test_a_bug_is_tried_again_and_given_up_in_words(
    door: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise KeyError("password=hunter2")

    monkeypatch.setattr("ci.pull_requests.take_event", broken)
    door.post("pull_request", pull_request("opened"))
    kept = WebhookDelivery.objects.get()

    moment, pauses = now(), []
    for _time in range(deliveries.MOST_ATTEMPTS):
        deliveries.read(kept.pk, moment)
        kept.refresh_from_db()
        if kept.due_at is not None:
            pauses.append(kept.due_at - now())
            moment = kept.due_at

    assert pauses == sorted(pauses)
    assert len(pauses) == deliveries.MOST_ATTEMPTS - 1
    assert kept.verdict == Verdict.FAILED
    assert "8 times" in kept.decision
    assert "hunter2" not in kept.decision


def test_what_is_delivered_again_by_us_is_a_delivery_of_its_own(door: Hooked) -> None:
    door.post("ping", reference("ping"))

    again = deliveries.redeliver(WebhookDelivery.objects.get())
    read_all()

    again.refresh_from_db()
    assert (again.verdict, again.decision) == (Verdict.DONE, deliveries.REACHED)


@pytest.mark.parametrize("ref", ["--upload-pack=x", "a..b", "a b", "-", "x\x7f"])
def test_a_hostile_branch_starts_nothing(door: Hooked, ref: str) -> None:
    door.post("pull_request", pull_request("opened", ref=ref))
    read_all()

    assert not Run.objects.exists()


# --- The App ---------------------------------------------------------------------------------


def with_installation(payload: dict[str, Any], number: int = 1) -> dict[str, Any]:
    return payload | {"installation": {"id": number}}


def test_the_apps_delivery_is_of_the_account_that_has_the_installation(app: Any, job: Job) -> None:
    GitHubInstallation.objects.create(account=job.account, installation_id=1, login="Codertocat")

    assert app("pull_request", with_installation(pull_request("opened"))).status_code == 202
    read_all()

    assert Run.objects.get().job == job
    assert WebhookDelivery.objects.get().account == job.account


def test_an_installation_that_no_account_has_is_kept_and_starts_nothing(app: Any, job: Job) -> None:
    assert app("pull_request", with_installation(pull_request("opened"))).status_code == 202
    read_all()

    assert decision().startswith("No account has the installation 1.")
    assert not Run.objects.exists()


def test_the_app_speaks_for_no_other_account_of_the_same_repository(app: Any, job: Job) -> None:
    GitHubInstallation.objects.create(account=AccountFactory(), installation_id=1, login="x")

    app("pull_request", with_installation(pull_request("opened")))
    read_all()

    assert decision().startswith(f"The account has no repository {NAME}. Give a project")
    assert not Run.objects.exists()


def test_app_and_webhook_of_one_repository_start_one_run(app: Any, door: Hooked, job: Job) -> None:
    GitHubInstallation.objects.create(account=job.account, installation_id=1, login="Codertocat")

    door.post("pull_request", pull_request("opened"))
    app("pull_request", with_installation(pull_request("opened")))
    read_all()

    assert Run.objects.count() == 1


# --- What GitHub really sends ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "event", "status", "says", "runs"),
    [
        ("ping", "ping", 200, "This address is reached, and its secret is right.", 0),
        ("pull_request-opened.with-organization", "pull_request", 202, "started run", 1),
        ("pull_request-synchronize", "pull_request", 202, "started run", 1),
        ("pull_request-reopened", "pull_request", 202, "started run", 1),
        (
            "pull_request-ready_for_review.with-installation",
            "pull_request",
            202,
            "started run",
            1,
        ),
        ("pull_request-converted_to_draft", "pull_request", 202, "It is a draft now.", 0),
        ("pull_request-closed", "pull_request", 202, "It was closed; no run was building it.", 0),
        ("push", "push", 202, "refs/tags/simple-tag was deleted, so nothing follows.", 0),
        (
            "push-with-installation",
            "push",
            202,
            "refs/tags/simple-tag was deleted, so nothing follows.",
            0,
        ),
    ],
)
def test_a_reference_delivery_is_decided(
    door: Hooked, name: str, event: str, status: int, says: str, runs: int
) -> None:
    payload = reference(name)
    if event == "ping":
        payload["repository"]["full_name"] = NAME

    answer = door.post(event, payload)
    read_all()

    assert answer.status_code == status
    assert says in decision()
    assert Run.objects.count() == runs
