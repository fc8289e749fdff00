"""Text of strangers on a git host's pages: read as a Markdown reader reads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ci.comment import LARGEST, Told, comment
from ci.summary import (
    Built,
    ComparedModel,
    Comparison,
    FailedNode,
    Finding,
    Selected,
    Summary,
)
from ci.words import block, code, naming, plain, word

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
OUR_HTML = ("<!-- ours -->", "<details><summary>", "</details>")

HOSTILE = [
    "@everyone",
    "`` ` ``` @ana",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "</details><script>alert(1)</script>",
    "<!-- ours -->",
    "fixes #1, acme/shop#2",
    "a | b\n| - | - |\n# heading",
    "```\n@ana\n```\n~~~",
    "https://evil.example www.evil.example ana@evil.example",
    "\u202egnitfihs\u202c \u200b",
    "&#64;ana &lt;b&gt;",
    "$`x`$ \\` \\",
    "",
    "\0\ud800",
]


def tokens_of(text: str) -> Iterator[Token]:
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def outside_code(text: str) -> list[str]:
    """What a reader takes for text, markup or addresses: all that is no code."""
    told = []
    for token in tokens_of(text):
        if token.type in {"code_inline", "fence", "inline"}:
            continue
        told += [token.content, *map(str, token.attrs.values())]
    return [part for part in told if part]


def codes(text: str) -> list[str]:
    return [token.content for token in tokens_of(text) if token.type in {"code_inline", "fence"}]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_code_span_holds_all_of_a_text_and_lets_none_of_it_out(text: str) -> None:
    shown = f"before {code(text)} after"

    assert outside_code(shown) == ["before ", " after"]
    assert len(codes(shown)) == 1


@given(st.text())
def test_no_text_gets_out_of_a_code_span(text: str) -> None:
    shown = f"before {code(text)} after"

    assert outside_code(shown) == ["before ", " after"]


@given(st.text(alphabet=st.sampled_from("`~ \n\r\t<>@a|-#")))
def test_no_text_gets_out_of_a_block(text: str) -> None:
    shown = f"before\n\n{block(text, characters=200, lines=5)}\n\nafter"

    assert outside_code(shown) == ["before", "after"]


def test_a_block_shows_the_first_lines_and_says_that_there_are_more() -> None:
    shown = block("one\n\ntwo\r\nthree\n", characters=100, lines=2)

    assert codes(shown) == ["one\ntwo\n…\n"]


def test_a_line_keeps_no_sign_that_cannot_be_seen() -> None:
    assert plain("a\u202e\u200b\0b\n\tc \N{GRINNING FACE}") == "a b c"


def test_a_line_is_cut_where_it_is_too_long() -> None:
    assert plain("x" * 300, 140) == "x" * 139 + "…"


def test_a_word_of_dbts_is_shown_as_it_is_and_any_other_as_code() -> None:
    assert word("runtime error") == "runtime error"
    assert word("@ana") == "`@ana`"


def test_failed_nodes_are_named_as_far_as_a_status_has_room() -> None:
    names = [f"a_model_with_a_long_name_{number}" for number in range(20)]

    named = naming("20 nodes failed", names)

    assert len(named) <= 140
    assert named.startswith("20 nodes failed: a_model_with_a_long_name_0, ")
    assert named.endswith(" more")


def test_all_failed_nodes_are_named_where_there_is_room() -> None:
    assert naming("2 nodes failed", ["orders", "unique_id"]) == "2 nodes failed: orders, unique_id"


def told(text: str, number: int = 1) -> Told:
    """A job about which everything that a stranger can name is ``text``."""
    return Told(
        job=text,
        sign="X",
        state="failed",
        link="https://jobs.example/runs/1/",
        link_text="Run 1",
        message=text,
        summary=Summary(
            counts={text: 1},
            failed=[
                FailedNode(name=text, kind=text, path=text, status=text, message=text)
                for _place in range(number)
            ],
            failed_count=number,
            selected=Selected(
                modified=1,
                downstream=1,
                deferred=3,
                built=[Built(name=text, differs=["body"]), Built(name=text, below=[text])],
            ),
            findings=[Finding(path=text, line=1, column=1, code=text, description=text)],
            finding_count=1,
            comparison=Comparison(
                note=text,
                models=[
                    ComparedModel(
                        name=text, status=text, message=text, columns=[text], changed={text: 1}
                    )
                ],
                count=1,
            ),
        ),
    )


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip("\0\ud800\u202e")])
def test_nothing_hostile_in_a_comment_is_more_than_code(text: str) -> None:
    body = comment("<!-- ours -->", "dbt: 1 of 1 job did not pass", [told(text)])

    calm = comment("<!-- ours -->", "dbt: 1 of 1 job did not pass", [told("PLAIN")])
    assert outside_code(body) == outside_code(calm)
    html = [token.content for token in tokens_of(body) if token.type.startswith("html")]
    assert all(part.startswith(OUR_HTML) for part in html)


def test_a_comment_says_what_was_modified_and_what_was_read_from_elsewhere() -> None:
    body = comment("<!-- ours -->", "dbt", [told("orders")])

    assert "- modified: 1, downstream: 1, deferred: 3" in body
    assert "- `orders`: body" in body
    assert "- `orders`: downstream of `orders`" in body


def test_a_comment_of_many_failures_has_room_in_githubs() -> None:
    body = comment("<!-- ours -->", "dbt", [told("x" * 4_000, 50) for _job in range(60)])

    assert len(body.encode()) <= LARGEST
    assert "And 10 more jobs." in body
