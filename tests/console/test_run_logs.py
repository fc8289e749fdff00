"""The logs of a run's steps: which are open, which lines are shown, and searching them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from jobsvc.console.ansi import coloured
from jobsvc.runs.models import LogChunk, Run, RunStep
from jobsvc.statuses import RunStatus
from tests.factories import RunFactory, RunStepFactory

VisitorOf = Callable[..., Client]


def url(run: Run, query: str = "", name: str = "run_logs") -> str:
    return reverse(f"console:{name}", args=[run.account_id, run.project_id, run.pk]) + f"?{query}"


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def says(step: RunStep, words: str, stream: str = "console") -> None:
    LogChunk.objects.create(step=step, stream=stream, offset=0, text=words)


def step_of(run: Run, index: int, status: RunStatus, words: str) -> RunStep:
    step: RunStep = RunStepFactory(
        run=run, index=index, status=status, started_at=now(), finished_at=now()
    )
    says(step, words)
    return step


def numbered(number: int) -> str:
    return "".join(f"word {n}\n" for n in range(1, number + 1))


@pytest.fixture
def run(db: None) -> Run:
    """Its fourth step failed, the one before went well."""
    run: Run = RunFactory(failed=True)
    step_of(run, 3, RunStatus.SUCCESS, "three went well\n")
    step_of(run, 4, RunStatus.ERROR, "four began\nfour broke\n")
    return run


def lines_in(page: str, step: int) -> list[int]:
    return [int(number) for number in re.findall(rf'id="step-{step}-L(\d+)"', page)]


def test_what_failed_is_open_and_the_rest_is_folded(visitor_of: VisitorOf, run: Run) -> None:
    page = text(visitor_of(run.account), url(run))

    assert "four broke" in page
    assert "three went well" not in page


def test_a_folded_step_is_opened_by_an_address(visitor_of: VisitorOf, run: Run) -> None:
    visitor = visitor_of(run.account)
    assert 'href="?open=3&amp;open=4#step-3"' in text(visitor, url(run))

    page = text(visitor, url(run, "open=3&open=4"))

    assert "three went well" in page
    assert "four broke" in page


def test_all_steps_can_be_folded(visitor_of: VisitorOf, run: Run) -> None:
    visitor = visitor_of(run.account)
    assert 'href="?open=none#step-4"' in text(visitor, url(run))

    assert "four broke" not in text(visitor, url(run, "open=none"))


def test_of_a_run_that_went_well_what_it_built_is_open(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    build = step_of(run, 4, RunStatus.SUCCESS, "built\n")
    RunStep.objects.filter(pk=build.pk).update(builds=True)
    step_of(run, 5, RunStatus.SUCCESS, "documented\n")

    page = text(visitor_of(run.account), url(run))

    assert "<span>built</span>" in page
    assert "<span>documented</span>" not in page


def test_each_line_has_an_address(visitor_of: VisitorOf, run: Run) -> None:
    page = text(visitor_of(run.account), url(run))

    assert '<div class="line" id="step-4-L2"><a href="#step-4-L2" tabindex="-1">2</a>' in page


def test_of_a_long_log_the_beginning_and_the_end_are_shown(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    step_of(run, 4, RunStatus.ERROR, numbered(1500))

    page = text(visitor_of(run.account), url(run))

    assert lines_in(page, 4) == [*range(1, 201), *range(701, 1501)]
    assert "Show the 500 lines between" in page


def test_the_lines_between_are_one_link_away(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    step_of(run, 4, RunStatus.ERROR, numbered(1500))
    visitor = visitor_of(run.account)
    [link] = re.findall(r'<p class="gap"><a id="[^"]+" href="([^"#]+)#', text(visitor, url(run)))

    page = text(visitor, url(run, link.lstrip("?").replace("&amp;", "&")))

    assert lines_in(page, 4) == list(range(1, 1501))


def test_a_line_far_inside_is_found_by_its_address(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    step_of(run, 4, RunStatus.ERROR, numbered(9000))

    shown = lines_in(text(visitor_of(run.account), url(run, "at=4-5000")), 4)

    assert 5000 in shown
    assert shown == sorted(set(shown))
    assert len(shown) < 3100


@pytest.mark.parametrize(
    "query", ["at=4-999999999", "at=9-1", "at=x", "open=x", "open=99999999", "at=4-0", "stream=x"]
)
def test_an_address_of_nothing_is_no_error(visitor_of: VisitorOf, run: Run, query: str) -> None:
    assert "Log of step" in text(visitor_of(run.account), url(run, f"{query}&open=4"))


def test_the_debug_log_is_shown_in_its_place(visitor_of: VisitorOf, run: Run) -> None:
    says(run.steps.get(index=4), "what dbt says to itself\n", stream="debug")
    visitor = visitor_of(run.account)

    page = text(visitor, url(run, "stream=debug"))

    assert "what dbt says to itself" in page
    assert "four broke" not in page


def test_either_log_is_downloaded_whole(visitor_of: VisitorOf, run: Run) -> None:
    says(run.steps.get(index=4), "what dbt says to itself\n", stream="debug")
    visitor = visitor_of(run.account)

    console = visitor.get(url(run, "step=4", name="log_tail"))
    debug = visitor.get(url(run, "step=4&stream=debug", name="log_tail"))

    assert console.content == b"four began\nfour broke\n"
    assert debug.content == b"what dbt says to itself\n"


# --- Searching ---------------------------------------------------------------------------


def test_a_search_counts_the_lines_of_all_steps_and_leads_to_each(
    visitor_of: VisitorOf, run: Run
) -> None:
    says_more = step_of(run, 5, RunStatus.SUCCESS, "nothing\nit BROKE again\n")

    page = text(visitor_of(run.account), url(run, "q=broke"))

    assert "2 lines with “broke”." in page
    assert 'href="?q=broke&amp;hit=1#step-4-L2"' in page
    assert f'href="?q=broke&amp;hit=2#step-{says_more.index}-L2"' in page
    assert "<mark>BROKE</mark>" in page


def test_what_is_searched_for_is_words_not_a_pattern(visitor_of: VisitorOf, run: Run) -> None:
    page = text(visitor_of(run.account), url(run, "q=.*"))

    assert "0 lines with" in page


def test_a_search_that_finds_much_shows_the_first_and_counts_all(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    step_of(run, 4, RunStatus.ERROR, numbered(900))

    page = text(visitor_of(run.account), url(run, "q=word"))

    assert "900 lines with “word”; the first 200 are shown." in page
    assert page.count("<mark>") == 200


def test_the_words_of_a_search_are_never_markup(visitor_of: VisitorOf, run: Run) -> None:
    step_of(run, 5, RunStatus.SUCCESS, "a <script>alert(1)</script>\n")

    page = text(visitor_of(run.account), url(run, "q=<script>alert"))

    assert "<script>alert" not in page
    assert "<mark>&lt;script&gt;alert</mark>" in page


# --- What is in the lines ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[32mOK\x1b[0m built", '<span class="ansi-green">OK</span> built'),
        ("\x1b[1;31mERROR", '<span class="ansi-red">ERROR</span>'),
        ("\x1b[91mbright\x1b[39m", '<span class="ansi-red">bright</span>'),
        ("\x1b[38;5;196mmany colours\x1b[m", "many colours"),
        ("\x1b[31m<b>\x1b[0m", '<span class="ansi-red">&lt;b&gt;</span>'),
        ("\x1b]8;;javascript:alert(1)\x1b\\here\x1b]8;;\x1b\\", "here"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("safe\u202etxt.exe", "safetxt.exe"),
    ],
)
def test_colours_are_kept_and_every_other_code_is_not(said: str, shown: str) -> None:
    assert coloured(said) == shown


def test_a_line_without_end_is_cut_and_says_so(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    step_of(run, 4, RunStatus.ERROR, "x" * 1_000_000)

    page = text(visitor_of(run.account), url(run))

    assert "x … 995000 more characters" in page
    assert len(page) < 100_000


def test_a_step_that_never_began_says_so(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    RunStepFactory(run=run, status=RunStatus.CANCELLED, skipped=True)

    assert "it never began" in text(visitor_of(run.account), url(run, "open=4"))


def test_a_run_without_steps_says_there_is_no_log(visitor_of: VisitorOf) -> None:
    run = RunFactory(cancelled=True)

    assert "There is no log: no step began." in text(visitor_of(run.account), url(run))


def test_while_a_step_speaks_its_log_asks_for_the_next_lines(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(running=True), status=RunStatus.RUNNING, started_at=now())
    says(step, "one\ntwo\nhalf a li")
    visitor = visitor_of(step.run.account)

    page = text(visitor, url(step.run))
    [asks] = re.findall(r'hx-get="([^"]+line=[^"]+)"', page)
    LogChunk.objects.create(step=step, stream="console", offset=17, text="ne\nfour\nfi")
    more = visitor.get(asks.replace("&amp;", "&"), headers={"HX-Request": "true"}).content.decode()

    assert lines_in(page, step.index) == [1, 2]
    assert "half a li" not in page
    assert lines_in(more, step.index) == [3, 4]
    assert "<span>half a line</span>" in more
    assert "line=4" in more


def test_the_last_lines_of_a_step_that_ended_ask_for_no_more(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(
        run=RunFactory(failed=True), status=RunStatus.ERROR, started_at=now(), finished_at=now()
    )
    says(step, "one\ntwo")
    address = url(step.run, f"step={step.index}&after=4&line=1", "log_tail")
    visitor = visitor_of(step.run.account)

    last = visitor.get(address, headers={"HX-Request": "true"}).content.decode()
    end = visitor.get(address.replace("=4&", "=7&"), headers={"HX-Request": "true"})

    assert "<span>two</span>" in last
    assert "hx-get" not in end.content.decode()


def test_a_search_is_gone_through_line_by_line(visitor_of: VisitorOf, run: Run) -> None:
    step_of(run, 5, RunStatus.SUCCESS, numbered(3000))
    visitor = visitor_of(run.account)

    page = text(visitor, url(run, "q=word+5&hit=2"))

    assert "Line 2 of 111 with “word 5”" in page
    assert 'id="step-5-L50"' in page
    assert "<mark>word 5</mark>0</span>" in page
    assert 'href="?q=word+5&amp;hit=1#step-5-L5"' in page
    assert 'href="?q=word+5&amp;hit=3#step-5-L51"' in page


def test_a_search_goes_round_at_its_end(visitor_of: VisitorOf, run: Run) -> None:
    page = text(visitor_of(run.account), url(run, "q=four&hit=99"))

    assert "Line 2 of 2" in page
    assert 'id="next-hit" class="button" href="?q=four&amp;hit=1#step-4-L1"' in page


def test_a_walk_through_nothing_says_so(visitor_of: VisitorOf, run: Run) -> None:
    assert "0 lines with “zebra”." in text(visitor_of(run.account), url(run, "q=zebra&hit=1"))


def test_the_debug_log_leaves_out_what_matters_less(visitor_of: VisitorOf, run: Run) -> None:
    debug = (
        "09:00:00.1 [debug] [MainThread]: quiet\n  more of it\n"
        "09:00:00.2 [warn ] [Thread-1]: careful\n  why\n"
        "09:00:00.3 [error] [Thread-1]: broken\n"
    )
    says(run.steps.get(index=4), debug, stream="debug")
    visitor = visitor_of(run.account)

    page = text(visitor, url(run, "stream=debug&level=warn"))

    assert lines_in(page, 4) == [3, 4, 5]
    assert lines_in(text(visitor, url(run, "stream=debug&level=error")), 4) == [5]


def test_long_lines_are_wrapped_or_not_by_the_address(visitor_of: VisitorOf, run: Run) -> None:
    visitor = visitor_of(run.account)

    assert 'class="stack unwrapped"' not in text(visitor, url(run))
    page = text(visitor, url(run, "wrap=off"))
    assert 'class="stack unwrapped"' in page
    assert 'href="?wrap=off&amp;open=3&amp;open=4#step-3"' in page


# --- Events --------------------------------------------------------------------------------


@pytest.fixture
def told(run: Run) -> Run:
    """Its fourth step logged a debug, an info and an error event, two of them of a node."""
    records = [
        {"ts": "2026-11-21T09:00:00.1Z", "level": "debug", "name": "Opened", "text": "hello"},
        {"level": "info", "name": "Started", "node": "model.shop.orders", "text": "1 of 2"},
        {"level": "error", "name": "Broke", "code": "Q1", "node": "model.shop.items", "text": "no"},
    ]
    said = "".join(f"{json.dumps(record)}\n" for record in records)
    says(run.steps.get(index=4), said, stream="events")
    return run


def test_events_are_a_table_of_the_step_that_failed(visitor_of: VisitorOf, told: Run) -> None:
    page = text(visitor_of(told.account), url(told, "stream=events"))

    assert "3 events of step 4" in page
    assert "09:00:00.1" in page
    assert 'Broke <span class="mut">Q1</span>' in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("node=model.shop.items", ["Broke"]),
        ("level=info", ["Started", "Broke"]),
        ("q=HELLO", ["Opened"]),
        ("q=q1", ["Broke"]),
        ("after=2", ["Broke"]),
        ("level=nonsense&after=x&step=99999999999999999999", ["Opened", "Started", "Broke"]),
    ],
)
def test_events_are_filtered(
    visitor_of: VisitorOf, told: Run, query: str, names: list[str]
) -> None:
    page = text(visitor_of(told.account), url(told, f"stream=events&{query}"))

    assert re.findall(r"<td>(Opened|Started|Broke)", page) == names


def test_a_filter_that_no_event_passes_says_so(visitor_of: VisitorOf, told: Run) -> None:
    page = text(visitor_of(told.account), url(told, "stream=events&q=%00zebra"))

    assert "None of the 3 events of this step is like that." in page


def test_a_step_without_events_leads_to_its_debug_log(visitor_of: VisitorOf, told: Run) -> None:
    page = text(visitor_of(told.account), url(told, "stream=events&step=3"))

    assert "No events of step 3 are kept." in page
    assert "?stream=debug&amp;open=3#step-3" in page


def test_events_are_shown_page_by_page(visitor_of: VisitorOf, run: Run) -> None:
    said = "".join(f'{{"text": "word {n}"}}\n' for n in range(1, 251))
    says(run.steps.get(index=4), said, stream="events")
    visitor = visitor_of(run.account)

    page = text(visitor, url(run, "stream=events"))

    assert 'href="?stream=events&amp;after=200"' in page
    assert 'id="event-201"' not in page
    assert 'id="event-250"' in text(visitor, url(run, "stream=events&after=200"))


def test_the_logs_take_few_queries(
    visitor_of: VisitorOf, run: Run, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    visitor = visitor_of(run.account)

    with django_assert_max_num_queries(15):
        text(visitor, url(run))
