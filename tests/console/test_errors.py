"""Pages that say that something went wrong: plain, with a number, and a way back."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from jobsvc.console.request_id import InLogs, current
from jobsvc.urls import handler400, handler429, handler500
from jobsvc.urls import urlpatterns as all_of_them
from tests.factories import MembershipFactory, RunFactory

__all__ = ["handler400", "handler429", "handler500"]  # Django looks for them beside the addresses


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("This is a bug.")


def suspicious(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.get_host())


def away(request: HttpRequest) -> HttpResponse:
    raise OperationalError("could not connect to server: the password of postgres is hunter2")


def without_a_table(request: HttpRequest) -> HttpResponse:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM a_table_to_come")
    return HttpResponse()


urlpatterns = [
    path("broken", broken),
    path("api/broken", broken),
    path("suspicious", suspicious),
    path("api/suspicious", suspicious),
    path("away", away),
    path("api/away", away),
    path("table", without_a_table),
    path("api/table", without_a_table),
    *all_of_them,
]


@pytest.fixture
def visitor() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/nowhere", 404, "There is no such page"),
        ("/broken", 500, "The service made a mistake"),
    ],
)
@override_settings(ROOT_URLCONF=__name__)
def test_an_error_has_a_number_and_a_way_back(
    visitor: Client, address: str, status: int, words: str
) -> None:
    answer = visitor.get(address)

    page = answer.content.decode()
    assert answer.status_code == status
    assert words in page
    assert f"Request {answer['X-Request-ID']}" in page
    assert 'href="/"' in page
    assert "bug" not in page


@override_settings(ROOT_URLCONF=__name__)
def test_what_is_not_understood_has_a_page(visitor: Client) -> None:
    answer = visitor.get("/suspicious", headers={"host": "evil.example"})

    assert answer.status_code == 400
    assert f"Request {answer['X-Request-ID']}" in answer.content.decode()


def test_a_form_from_elsewhere_is_refused_in_words(db: None) -> None:
    answer = Client(enforce_csrf_checks=True).post("/theme", {"theme": "dark"})

    page = answer.content.decode()
    assert answer.status_code == 403
    assert "That was not done" in page
    assert f"Request {answer['X-Request-ID']}" in page


def test_each_request_has_a_number_of_its_own(visitor: Client, db: None) -> None:
    numbers = {visitor.get("/nowhere")["X-Request-ID"] for _time in range(3)}

    assert len(numbers) == 3
    sent = visitor.get("/nowhere", headers={"X-Request-ID": "mine"})
    assert sent["X-Request-ID"] != "mine"


def test_a_line_of_the_log_says_which_request_it_is_about() -> None:
    line = logging.LogRecord("jobsvc", logging.INFO, "", 0, "said", None, None)
    token = current.set("0123456789abcdef")
    InLogs().filter(line)
    current.reset(token)

    assert logging.Formatter("%(name)s%(request_id)s %(message)s").format(line) == (
        "jobsvc [0123456789abcdef] said"
    )


def test_the_api_answers_an_error_in_its_envelope(client: Client, db: None) -> None:
    run = RunFactory()

    answer = client.get(f"/api/v2/accounts/{run.account_id}/runs/{run.pk}/")

    assert answer.status_code == 401
    assert answer.json()["status"]["is_success"] is False
    assert answer["X-Request-ID"]


@override_settings(ROOT_URLCONF=__name__)
def test_a_database_that_is_away_is_said_to_be_so(visitor: Client, db: None) -> None:
    answer = visitor.get("/away")

    page = answer.content.decode()
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "The database cannot be reached just now" in page
    assert f"Request {answer['X-Request-ID']}" in page
    assert 'href="/"' in page
    assert "hunter2" not in page


@override_settings(ROOT_URLCONF=__name__)
def test_tables_that_are_still_to_come_are_an_update(visitor: Client, db: None) -> None:
    MigrationRecorder(connection).record_unapplied("accounts", "0001_initial")

    answer = visitor.get("/table")

    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert "The service is being updated" in answer.content.decode()


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/api/broken", 500, "a problem of its own"),
        ("/api/away", 503, "The database cannot be reached just now"),
        ("/api/nowhere", 404, "There is nothing at this address"),
    ],
)
def test_the_api_answers_what_broke_in_its_envelope(
    visitor: Client, db: None, address: str, status: int, words: str
) -> None:
    answer = visitor.get(address)

    told = answer.json()["status"]
    assert (answer.status_code, told["code"], told["is_success"]) == (status, status, False)
    assert words in told["user_message"]
    assert answer["X-Request-ID"]


@override_settings(ROOT_URLCONF=__name__)
def test_the_api_answers_what_is_not_understood_in_its_envelope(visitor: Client) -> None:
    answer = visitor.get("/api/suspicious", headers={"host": "evil.example"})

    assert (answer.status_code, answer.json()["status"]["code"]) == (400, 400)


def test_who_tries_too_often_is_told_how_long_to_wait(visitor: Client, db: None) -> None:
    cache.clear()
    person = MembershipFactory().user
    for _time in range(40):  # thirty a minute are taken
        answer = visitor.post("/accounts/login/", {"login": person.email, "password": "wrong"})
        if answer.status_code == 429:
            break
    cache.clear()

    page = answer.content.decode()
    assert (answer.status_code, answer["Retry-After"]) == (429, "300")
    assert "Wait 5 minutes and try again" in page
    assert f"Request {answer['X-Request-ID']}" in page


@pytest.mark.parametrize("address", ["/nowhere", "/suspicious"])
@override_settings(ROOT_URLCONF=__name__)
def test_a_page_of_an_error_asks_the_database_nothing(
    visitor: Client, db: None, django_assert_num_queries: Any, address: str
) -> None:
    host = "evil.example" if address == "/suspicious" else "testserver"
    with django_assert_num_queries(0):
        visitor.get(address, headers={"host": host})
