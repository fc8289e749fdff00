"""What pages may cost: questions to the database, and bytes over the wire.

Every address of the console is walked, on the example data.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from jobsvc.management.example_data.seed import seed
from tests.console.seeded import addresses

RUNS = 1000
MOST_QUERIES = 15
MOST_CSS = 45 * 1024  # bytes of a page, as sent
MOST_JS = 35 * 1024
MOST_HTML = 40 * 1024
MOST_JS_OF_LINEAGE = MOST_JS + 17 * 1024
# These show one thing each that the example data has not.
NOT_THERE = {"calendar_feed", "docs_public", "run_docs_page", "log_tail", "job_badge"}


@dataclass(frozen=True)
class Walked:
    """A page, what it asked the database, and what it said."""

    name: str
    queries: list[str]
    text: str

    @property
    def is_part(self) -> bool:
        """Whether it is put into a page that is there already."""
        return "<html" not in self.text


@pytest.fixture
def pages(db: None, known_pages: list[Walked]) -> list[Walked]:
    """Every page that can be looked at, for an owner."""
    if not known_pages:
        known_pages += walk()
    return known_pages


@pytest.fixture(scope="module")
def known_pages() -> list[Walked]:
    """What the first test has walked is not walked again."""
    return []


def walk() -> Iterator[Walked]:
    made = seed(now(), runs=RUNS)
    client = Client()
    client.force_login(made.owner)
    client.get(reverse("console:account", args=[made.account.pk]))  # the session knows it now
    pages = list(addresses())
    client.get(dict(pages)["run_lineage"])  # the first look ever at a manifest works it out
    for name, url in pages:
        with CaptureQueriesContext(connection) as asked:
            answer = client.get(url)
        if answer.status_code == 200 and "text/html" in answer.get("Content-Type", ""):
            yield Walked(name, [one["sql"] for one in asked], answer.content.decode())
        elif answer.status_code == 404 and " of a " not in name:
            assert name in NOT_THERE, url


@cache
def weight_of(path: str) -> int:
    """Bytes of a static file as it is sent."""
    found = finders.find(path)
    assert found, path
    return len(gzip.compress(Path(str(found)).read_bytes()))


def test_no_page_asks_the_database_more_than_fifteen_times(pages: list[Walked]) -> None:
    over = {page.name: len(page.queries) for page in pages if len(page.queries) > MOST_QUERIES}

    assert len(pages) > 100
    assert over == {}


def test_no_page_sends_more_style_and_script_than_it_may(pages: list[Walked]) -> None:
    over = []
    for page in pages:
        css = re.findall(r'<link rel="stylesheet" href="/static/([^"]+)"', page.text)
        scripts = re.findall(r'<script src="/static/([^"]+)"', page.text)
        most = MOST_JS_OF_LINEAGE if "lineage" in page.name else MOST_JS
        weights = [sum(map(weight_of, css)), sum(map(weight_of, scripts))]
        assert page.is_part or (weights[0] and weights[1]), page.name
        if weights[0] > MOST_CSS or weights[1] > most:
            over.append((page.name, *weights))

    assert over == []


def test_no_page_is_heavier_than_a_picture_of_two_thousand_nodes_needs(
    pages: list[Walked],
) -> None:
    weights = {page.name: len(gzip.compress(page.text.encode())) for page in pages}
    over = {name: weight for name, weight in weights.items() if weight > MOST_HTML}

    assert over == {}
