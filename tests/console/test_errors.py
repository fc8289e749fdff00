"""Pages that say that something went wrong: plain, with a number, and a way back."""

from __future__ import annotations

import logging

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from jobsvc.console.request_id import InLogs, current
from jobsvc.urls import urlpatterns as all_of_them
from tests.factories import RunFactory


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("This is a bug.")


def suspicious(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.get_host())


urlpatterns = [path("broken", broken), path("suspicious", suspicious), *all_of_them]


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
